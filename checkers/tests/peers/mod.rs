//! What the comparison with other checkers needs, in the tests, the nightly fuzzer and the benchmark alike:
//! a generator of register histories, and the other checkers behind one face.

// Each of the three uses its own part of it.
#![allow(dead_code, unreachable_pub)]

pub mod dice;
pub mod fuzz;
pub mod load;
pub mod others;
