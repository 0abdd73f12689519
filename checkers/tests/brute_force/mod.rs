//! The dumbest judge of a register: every order is tried.

use checkers::History;
use checkers::history::Operation;
use checkers::linearizable::Call;
use checkers::model::{Register, SequentialSpec};

/// The operations as the checker would hand them to the search.
pub(crate) fn calls(history: &History) -> Vec<Call<Register>> {
    let not_failed = history.operations().iter().filter(|operation| !operation.failed());
    let call = |operation: &Operation| Call {
        id: operation.index,
        op: operation.op.clone(),
        ret: operation.reply().cloned(),
        invoked: operation.invoked_at,
        returned: operation.reply().and(operation.completed_at),
    };
    not_failed.map(call).collect()
}

/// Tries every order of every choice of those that never returned.
pub(crate) fn brute_force(state: &Register, left: &[Call<Register>]) -> bool {
    let may_be_next = |call: &Call<Register>| {
        left.iter().all(|other| other.returned.is_none_or(|returned| returned >= call.invoked))
    };
    left.iter().all(|call| call.returned.is_none())
        || left.iter().enumerate().filter(|(_, call)| may_be_next(call)).any(|(position, call)| {
            let mut after = state.clone();
            let reply = after.invoke(&call.op);
            let mut rest = left.to_vec();
            rest.remove(position);
            call.ret.as_ref().is_none_or(|ret| *ret == reply) && brute_force(&after, &rest)
        })
}
