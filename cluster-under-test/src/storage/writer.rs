//! Group commit: one thread writes, everything that waits goes to disk with one sync.
//!
//! A sync takes as long for one record as for a hundred. While it runs, the node goes on and hands over more
//! writes; they wait together for the next one. The first error ends the thread: after a failed sync nobody
//! knows what is on the disk.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::{Storage, StorageError};
use crate::raft::Write;

/// Most writes that share a sync. It bounds the buffer, and the time until the first of them is reported.
const BATCH_WRITES_MAX: usize = 512;

/// The thread that owns the [`Storage`] and the queue to it.
///
/// The queue has no bound of its own: the protocol stops producing writes when its peers' acknowledgements or its
/// clients' answers stop, and both wait for syncs.
#[derive(Debug)]
pub struct Writer {
    queue: Sender<Write>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the thread. It reports the `seq` of the last durable write, or the error that ended it.
    pub fn start(
        storage: Storage,
        report: impl Fn(Result<u64, StorageError>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, writes) = channel();
        let thread = std::thread::Builder::new()
            .name("storage".into())
            .spawn(move || run(storage, &writes, &report))?;
        Ok(Self { queue, thread })
    }

    /// Hands over a write. Writes become durable in the order of this call.
    pub fn submit(&self, write: Write) {
        // The thread only goes away after it has reported an error, which says more than this one.
        let _ = self.queue.send(write);
    }

    /// Finishes what was handed over.
    pub fn stop(self) {
        drop(self.queue);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

fn run(mut storage: Storage, writes: &Receiver<Write>, report: &dyn Fn(Result<u64, StorageError>)) {
    while let Ok(first) = writes.recv() {
        let batch: Vec<Write> =
            std::iter::once(first).chain(writes.try_iter().take(BATCH_WRITES_MAX - 1)).collect();
        let last = batch.last().expect("the batch has its first write").seq;
        let outcome = storage.write(batch).map(|()| last);
        let failed = outcome.is_err();
        report(outcome);
        if failed {
            return;
        }
    }
}
