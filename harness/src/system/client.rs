//! What a client of a system must do.

use std::future::Future;
use std::pin::Pin;

use checkers::history::{Completion, Op};

/// One logical client, one operation at a time. Trouble is a completion, never an error.
///
/// The completion must be honest: `fail` promises that the operation has no effect, now or later; whatever is not
/// certain is `info`. A client that retries would make one operation happen twice and is not allowed.
pub trait Client: Send {
    /// Sends the operation and waits for its end.
    fn invoke<'a>(&'a mut self, op: &'a Op) -> Pin<Box<dyn Future<Output = Completion> + Send + 'a>>;
}
