//! Answers that are given later: a thread that waits for the next one that is due.
//!
//! A process that waits for an answer of a FUSE server cannot be killed until it has it. So whoever kills a node first
//! gives up its answers; nothing here may be able to wait for long without that way out.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The time has come.
    Due,
    /// Nobody will live to see the answer.
    Abandoned,
}

type Task = Box<dyn FnOnce(End) + Send>;

/// The answers that wait.
#[derive(Default)]
pub(super) struct Delays {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    /// By time, and by number where two are due at once.
    tasks: BTreeMap<(Instant, u64), Task>,
    next: u64,
    closed: bool,
}

impl Delays {
    /// Starts the thread. It ends when the queue is closed.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let delays = Arc::new(Self::default());
        let worker = Arc::clone(&delays);
        thread::Builder::new().name("disk-delay".into()).spawn(move || worker.work())?;
        Ok(delays)
    }

    /// Does something later.
    pub(super) fn at(&self, due: Instant, task: impl FnOnce(End) + Send + 'static) {
        let mut queue = self.queue();
        let number = queue.next;
        queue.next += 1;
        queue.tasks.insert((due, number), Box::new(task));
        drop(queue);
        self.changed.notify_one();
    }

    /// Ends all waits now, as if they were due or for good.
    pub(super) fn give_up(&self, end: End) {
        let tasks = std::mem::take(&mut self.queue().tasks);
        tasks.into_values().for_each(|task| task(end));
    }

    /// Gives up everything, and ends the thread.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.changed.notify_one();
        self.give_up(End::Abandoned);
    }

    fn work(&self) {
        let mut queue = self.queue();
        while !queue.closed {
            let now = Instant::now();
            let next = queue.tasks.first_key_value().map(|(&(due, _), _)| due);
            match next {
                None => queue = self.changed.wait(queue).expect(UNPOISONED),
                Some(due) if due > now => {
                    queue = self.changed.wait_timeout(queue, due - now).expect(UNPOISONED).0;
                }
                Some(_) => {
                    let (_, task) = queue.tasks.pop_first().expect("it was just seen");
                    drop(queue);
                    task(End::Due);
                    queue = self.queue();
                }
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "nobody panics while holding the queue";

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_come_in_the_order_of_their_times_or_when_they_are_given_up() {
        let delays = Delays::start().expect("a thread can be started");
        let (sender, answers) = channel();
        let answer = |name: &'static str| {
            let sender = sender.clone();
            move |end| sender.send((name, end)).expect("the test waits")
        };
        let now = Instant::now();
        delays.at(now + Duration::from_secs(3600), answer("never"));
        delays.at(now + Duration::from_millis(20), answer("second"));
        delays.at(now, answer("first"));
        let next = || answers.recv_timeout(Duration::from_secs(10)).expect("it is due");
        assert_eq!(next(), ("first", End::Due));
        assert_eq!(next(), ("second", End::Due));
        assert!(now.elapsed() >= Duration::from_millis(20));
        delays.close();
        assert_eq!(next(), ("never", End::Abandoned));
    }
}
