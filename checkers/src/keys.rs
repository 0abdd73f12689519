//! The keys of a history: what happened to each, and judging them one by one on all cores.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::history::Operation;

/// The operations of each key. Those of no key, the transactions, are left out.
pub(crate) fn by_key<'h>(
    operations: impl IntoIterator<Item = &'h Operation>,
) -> BTreeMap<&'h str, Vec<&'h Operation>> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        if let Some(key) = operation.op.key() {
            keys.entry(key).or_default().push(operation);
        }
    }
    keys
}

/// Applies `work` to each key on as many threads as there are cores; the results are in the order of the keys,
/// whoever was faster.
pub(crate) fn for_each_key<R: Send>(
    keys: &BTreeMap<&str, Vec<&Operation>>,
    work: impl Fn(&str, &[&Operation]) -> R + Sync,
) -> Vec<R> {
    let keys: Vec<(&str, &Vec<&Operation>)> =
        keys.iter().map(|(key, operations)| (*key, operations)).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(keys.len());
    let upcoming = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<R>>> = keys.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = upcoming.fetch_add(1, Ordering::Relaxed);
                    let Some((key, operations)) = keys.get(index) else { return };
                    let result = work(key, operations);
                    *results[index].lock().expect("no thread panics while it holds a result") = Some(result);
                }
            });
        }
    });
    results
        .into_iter()
        .map(|slot| {
            let result = slot.into_inner().expect("no thread panics while it holds a result");
            result.expect("every key was taken by one thread")
        })
        .collect()
}
