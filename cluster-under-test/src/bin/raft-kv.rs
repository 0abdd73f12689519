//! The stand-alone node.
fn main() {}
