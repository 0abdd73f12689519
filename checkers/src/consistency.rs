//! Judges of what systems promise beside linearizable objects: transactions, sequential consistency, bounded
//! staleness.

mod append;
mod graph;
mod sequential;
mod staleness;
mod words;

pub use append::Append;
pub use sequential::Sequential;
pub use staleness::Staleness;
