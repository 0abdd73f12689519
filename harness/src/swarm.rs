//! Draws how cluster and clients are set, instead of what is usual, for a swarm of runs.
//!
//! A bug may need snapshots every few entries, a heartbeat that is nearly too slow, or a cluster of four. Runs that all look
//! alike never have them. About half of the settings stay as they were asked for, so that a finding does not need
//! everything to be odd at once. What was drawn stands in the plan like anything else.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::config::{RunConfig, Settings};

/// Heartbeat and least election timeout. Shorter ones would flap on a machine that is busy with the run itself.
const TIMES_MS: &[(u64, u64)] = &[(50, 500), (100, 1000), (150, 1000), (200, 2000)];
const NODES: &[u16] = &[3, 4, 5];
const SNAPSHOT_ENTRIES: &[u64] = &[20, 100, 500, 5000];
const CONCURRENCY: &[u32] = &[3, 10, 25];
/// In parts of the rate that was asked for.
const RATE_PERCENT: &[u32] = &[25, 50, 150];

/// The config with some of its settings drawn.
pub fn draw(config: &RunConfig, seed: u64) -> RunConfig {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let usual = &config.settings;
    let (heartbeat_ms, election_ms) = some((usual.heartbeat_ms, usual.election_ms), TIMES_MS, &mut rng);
    let settings = Settings {
        heartbeat_ms,
        election_ms,
        snapshot_entries: some(usual.snapshot_entries, SNAPSHOT_ENTRIES, &mut rng),
        // Both are optional in Raft: without them terms rise and leaders fall more often, and nothing else may change.
        pre_vote: usual.pre_vote && some(true, &[true, false], &mut rng),
        check_quorum: usual.check_quorum && some(true, &[true, false], &mut rng),
        ..usual.clone()
    };
    let percent = some(100, RATE_PERCENT, &mut rng);
    RunConfig {
        nodes: some(config.nodes, NODES, &mut rng),
        concurrency: some(config.concurrency, CONCURRENCY, &mut rng),
        rate: (config.rate.saturating_mul(percent) / 100).max(1),
        settings,
        ..config.clone()
    }
}

/// What is usual, or one of these, with even chances.
fn some<T: Copy>(usual: T, others: &[T], rng: &mut Pcg64Mcg) -> T {
    // Both are drawn always, so that no setting depends on another one's chance.
    let (stays, other) = (rng.random_bool(0.5), others.choose(rng).expect("there are some"));
    if stays { usual } else { *other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_swarm_can_run_and_seeds_differ() {
        let usual = RunConfig::idle("raft-kv", 5, Settings::default());
        let drawn = (0..200).map(|seed| draw(&usual, seed)).collect::<Vec<_>>();
        for config in &drawn {
            config.check().expect("what is drawn is within the limits");
        }
        let off = drawn.iter().filter(|config| !config.settings.pre_vote).count();
        assert!((20..90).contains(&off), "PreVote is off in {off} of 200, expected about 50");
        let as_asked = drawn.iter().filter(|config| config.nodes == 5).count();
        assert!((100..170).contains(&as_asked), "{as_asked} of 200 have five nodes, expected about 133");
        assert_eq!(draw(&usual, 1).settings, draw(&usual, 1).settings);
    }
}
