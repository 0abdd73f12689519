//! The wish to end a run early, from Ctrl-C or SIGTERM, or because the harness itself is in trouble.
//!
//! The first wish ends the run cleanly: faults are healed, what was recorded is judged. A second one, more than a
//! second later, ends the process at once; the pid namespace takes the nodes with it. Wishes within a second are
//! one: a terminal sends Ctrl-C to every process in the foreground, and the sandbox passes it on as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// Two signals closer than this are one wish.
const ONE_WISH: Duration = Duration::from_secs(1);

/// Whether the run should end. Cheap to clone; all clones are one flag.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    wanted: AtomicBool,
    notify: Notify,
}

impl Stop {
    /// Asks the run to end.
    pub fn request(&self) {
        self.inner.wanted.store(true, Ordering::SeqCst);
        self.inner.notify.notify_waiters();
    }

    /// Whether somebody asked.
    pub fn requested(&self) -> bool {
        self.inner.wanted.load(Ordering::SeqCst)
    }

    /// Waits until somebody asks.
    pub async fn wait(&self) {
        let notified = self.inner.notify.notified();
        tokio::pin!(notified);
        // Registered before the flag is read, so that a request between the two is not missed.
        notified.as_mut().enable();
        if !self.requested() {
            notified.await;
        }
    }

    /// Sleeps, or less if somebody asks. Returns whether the whole time passed.
    pub async fn sleep(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => !self.requested(),
            () = self.wait() => false,
        }
    }

    /// Turns SIGINT and SIGTERM into requests, for the lifetime of the runtime.
    pub fn on_signals(&self) -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = self.clone();
        tokio::spawn(async move {
            let mut first: Option<Instant> = None;
            loop {
                tokio::select! {
                    _ = interrupt.recv() => (),
                    _ = terminate.recv() => (),
                }
                match first {
                    None => {
                        first = Some(Instant::now());
                        stop.request();
                    }
                    Some(at) if at.elapsed() < ONE_WISH => (),
                    Some(_) => std::process::exit(255),
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_wakes_those_who_wait_and_those_who_come_later() {
        let stop = Stop::default();
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.wait().await }
        });
        stop.request();
        waiting.await.expect("the waiter does not panic");
        stop.wait().await;
        assert!(!stop.sleep(Duration::from_secs(3600)).await);
    }
}
