//! Compares the verdicts of all checkers on random histories, as many as there is time for:
//! `cargo run --release -p checkers --example fuzz -- --histories 1000000 --seed 1`.
//!
//! Prints the count and the seeds, and shows the first histories in dispute. Exit status 1 if there are any.

#[path = "../tests/peers/mod.rs"]
mod peers;

use std::process::ExitCode;

use peers::fuzz::{Tally, compare, draw};

/// Progress is told after so many.
const ROUND: u64 = 100_000;

fn main() -> ExitCode {
    let mut histories: u64 = 1_000_000;
    let mut seed: u64 = 0;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let number = arguments.next().and_then(|text| text.parse().ok());
        match (name.as_str(), number) {
            ("--histories", Some(number)) => histories = number,
            ("--seed", Some(number)) => seed = number,
            _ => {
                eprintln!("usage: fuzz [--histories N] [--seed N]");
                return ExitCode::from(254);
            }
        }
    }
    let mut total = Tally::default();
    while total.histories < histories {
        let round = compare(seed + total.histories, ROUND.min(histories - total.histories));
        total.histories += round.histories;
        total.illegal += round.illegal;
        total.tiny += round.tiny;
        for (seed, problem) in &round.disagreements {
            println!("seed {seed}: {problem}");
            if total.disagreements.len() < 5 {
                draw(*seed).iter().for_each(|call| println!("  {call:?}"));
            }
            total.disagreements.push((*seed, problem.clone()));
        }
        eprintln!("{} of {histories}", total.histories);
    }
    println!(
        "{} histories from seed {seed} on: {} illegal, {} judged by stateright too, {} in dispute",
        total.histories,
        total.illegal,
        total.tiny,
        total.disagreements.len()
    );
    ExitCode::from(u8::from(!total.disagreements.is_empty()))
}
