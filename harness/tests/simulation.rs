//! Thousands of seeds of the simulation: the paper's Raft is never found guilty, and planted bugs are.

use checkers::Verdict;
use harness::config::Settings;
use harness::simulation::{Config, simulate, sweep};

/// No finding of any seed is anything but valid.
fn is_valid(seeds: std::ops::Range<u64>, configure: impl Fn(Config) -> Config + Sync) {
    let judged = sweep(seeds, |seed| {
        let findings = simulate(&configure(Config::new(seed))).expect("the config names no bug").judge();
        findings.into_iter().find(|finding| finding.verdict != Verdict::Valid)
    });
    for (seed, finding) in judged {
        if let Some(finding) = finding {
            panic!("seed {seed}: {}: {}\n{:#?}", finding.checker, finding.summary, finding.anomalies);
        }
    }
}

#[test]
fn the_papers_raft_is_valid_on_five_nodes() {
    is_valid(0..1500, |config| config);
}

#[test]
fn the_papers_raft_is_valid_on_three_nodes() {
    is_valid(10_000..10_700, |config| Config { nodes: 3, ..config });
}

#[test]
fn the_papers_raft_is_valid_without_pre_vote_and_check_quorum() {
    is_valid(20_000..20_700, |config| {
        let settings = Settings { pre_vote: false, check_quorum: false, ..config.settings };
        Config { settings, ..config }
    });
}

#[test]
fn a_seed_is_bit_identical() {
    for seed in 0..5 {
        let once = simulate(&Config::new(seed)).expect("no bug");
        assert_eq!(once, simulate(&Config::new(seed)).expect("no bug"), "seed {seed}");
        assert_ne!(once.history, simulate(&Config::new(seed + 100)).expect("no bug").history);
    }
}
