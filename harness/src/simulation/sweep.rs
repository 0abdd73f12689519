//! Many seeds of the simulation, on all cores.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs each seed once; the results by seed. Which thread runs a seed makes no difference to its result.
pub fn sweep<T: Send>(seeds: Range<u64>, run: impl Fn(u64) -> T + Sync) -> BTreeMap<u64, T> {
    let next = AtomicU64::new(seeds.start);
    let results = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let result = run(seed);
                    results.lock().expect("no run panics with the results locked").insert(seed, result);
                }
            });
        }
    });
    results.into_inner().expect("no run panics with the results locked")
}
