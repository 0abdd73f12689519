//! One operation of an object, as the engines see it, and the replay that every valid verdict must survive.

use crate::model::Model;

/// One operation of the object.
#[derive(Debug)]
pub struct Call<M: Model> {
    /// The caller's name for it; the search only hands it back.
    pub id: usize,
    /// What was asked.
    pub op: M::Op,
    /// What was returned; `None` if it never returned, and so took effect at any later time, or never.
    pub ret: Option<M::Ret>,
    /// When it was invoked.
    pub invoked: u64,
    /// When it returned; `None` if it never did. Equal times mean concurrent operations.
    pub returned: Option<u64>,
}

impl<M: Model> Clone for Call<M> {
    fn clone(&self) -> Self {
        Call {
            id: self.id,
            op: self.op.clone(),
            ret: self.ret.clone(),
            invoked: self.invoked,
            returned: self.returned,
        }
    }
}

/// Whether `order` is a linearization: it holds every call that returned, each once, contradicts no real-time
/// order, and the model allows each step. Shares nothing with the search but the model.
pub fn replay<M: Model>(initial: &M, calls: &[Call<M>], order: &[usize]) -> bool {
    let mut used = vec![false; calls.len()];
    let mut state = initial.clone();
    let mut latest_invocation = 0;
    for &position in order {
        let call = &calls[position];
        if std::mem::replace(&mut used[position], true) {
            return false;
        }
        // One that was ordered earlier began after this one had ended.
        if call.returned.is_some_and(|returned| returned < latest_invocation) {
            return false;
        }
        latest_invocation = latest_invocation.max(call.invoked);
        match &call.ret {
            Some(ret) if !state.is_valid_step(&call.op, ret) => return false,
            Some(_) => {}
            None => state.apply_unknown(&call.op),
        }
    }
    calls.iter().zip(used).all(|(call, used)| used || call.returned.is_none())
}
