//! What a client of a system must do.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use checkers::history::{Completion, Op};
use checkers::model::Object;

use crate::config::Reads;
use crate::plan::Plan;

/// One logical client, one operation at a time. Trouble is a completion, never an error.
///
/// The completion must be honest: `fail` promises that the operation has no effect, now or later; whatever is not
/// certain is `info`. A client that retries would make one operation happen twice and is not allowed.
pub trait Client: Send {
    /// Sends the operation and waits for its end.
    fn invoke<'a>(&'a mut self, op: &'a Op) -> Pin<Box<dyn Future<Output = Completion> + Send + 'a>>;
}

/// What a client must know besides the node that it is bound to.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// An operation without an answer is given up after this time, however many requests it takes.
    pub timeout: Duration,
    /// What it asks of its reads.
    pub reads: Reads,
    /// What the keys are: an `add` to a set is another request than one to a counter.
    pub object: Object,
}

impl ClientOptions {
    /// What the clients of a plan must know.
    pub fn of(plan: &Plan) -> Self {
        Self {
            timeout: Duration::from_millis(plan.operation_timeout_ms),
            reads: plan.settings.reads,
            object: Object::of_workload(&plan.workload),
        }
    }
}
