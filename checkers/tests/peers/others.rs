//! Other checkers over the same calls: `porcupine-rs`, the tester of stateright, and `todc-utils`.
//!
//! The first and the last know no operations that never return, so those get returns of their own after the end,
//! as Porcupine does it; reads among them mean nothing and are left out. They get operations small enough to be
//! copied, so that they are not slowed down by ours.

use checkers::history::{Op, Reply};
use checkers::linearizable::Call;
use checkers::model::Register;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

/// An operation on a register with its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Read(Option<u64>),
    Write(u64),
    Swapped {
        from: u64,
        to: u64,
    },
    /// Refused, and the value seen was not told.
    Refused {
        from: u64,
    },
    /// Refused although the value seen was the one expected, which no register does.
    Absurd,
    /// Never returned.
    MaybeSwapped {
        from: u64,
        to: u64,
    },
}

impl Step {
    /// The state after it, if it is possible.
    fn apply(self, state: Option<u64>) -> Option<Option<u64>> {
        match self {
            Step::Read(seen) => (state == seen).then_some(state),
            Step::Write(value) => Some(Some(value)),
            Step::Swapped { from, to } => (state == Some(from)).then_some(Some(to)),
            Step::Refused { from } => (state != Some(from)).then_some(state),
            Step::Absurd => None,
            Step::MaybeSwapped { from, to } => Some(if state == Some(from) { Some(to) } else { state }),
        }
    }

    fn of(call: &Call<Register>) -> Option<Step> {
        match (&call.op, &call.ret) {
            (Op::Cas { from, .. }, Some(Reply::NotSwapped { seen })) if *seen == Some(*from) => {
                Some(Step::Absurd)
            }
            (_, Some(Reply::Read { value } | Reply::NotSwapped { seen: value })) => Some(Step::Read(*value)),
            (&Op::Write { value, .. }, _) => Some(Step::Write(value)),
            (&Op::Cas { from, to, .. }, Some(Reply::Swapped)) => Some(Step::Swapped { from, to }),
            (&Op::Cas { from, .. }, Some(_)) => Some(Step::Refused { from }),
            (&Op::Cas { from, to, .. }, None) => Some(Step::MaybeSwapped { from, to }),
            _ => None,
        }
    }
}

/// An operation that returns, if only after the end.
#[derive(Clone, Copy)]
pub struct Returning {
    invoked: u64,
    returned: u64,
    step: Step,
}

pub fn returning(calls: &[Call<Register>]) -> Vec<Returning> {
    let mut end = calls.iter().map(|call| call.returned.unwrap_or(call.invoked)).max().unwrap_or(0);
    let steps = calls.iter().filter_map(|call| Some((call, Step::of(call)?)));
    steps
        .map(|(call, step)| {
            let returned = call.returned.unwrap_or_else(|| {
                end += 1;
                end
            });
            Returning { invoked: call.invoked, returned, step }
        })
        .collect()
}

#[derive(Clone)]
struct PorcupineRegister;

impl porcupine_rs::Model for PorcupineRegister {
    type State = Option<u64>;
    type Op = Step;
    type Metadata = ();

    fn init() -> Option<u64> {
        None
    }

    fn step(state: &Option<u64>, step: &Step) -> (bool, Option<u64>) {
        step.apply(*state).map_or((false, *state), |after| (true, after))
    }
}

/// The verdict of `porcupine-rs`, on this thread and without a limit.
pub fn porcupine(calls: &[Returning]) -> bool {
    let stamp = |time: u64| i64::try_from(time).expect("stamps of a generated history are small");
    let operations: Vec<_> = calls
        .iter()
        .map(|call| porcupine_rs::Operation::<PorcupineRegister> {
            client_id: None,
            call_time: stamp(call.invoked),
            return_time: stamp(call.returned),
            op: call.step,
            metadata: None,
        })
        .collect();
    porcupine_rs::check_operations(&operations)
}

/// The verdict of stateright's tester, which has a memo of nothing and recurses over the whole history: for tiny
/// histories.
pub fn stateright(calls: &[Call<Register>]) -> bool {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (position, call) in calls.iter().enumerate() {
        events.push((call.invoked, false, position));
        events.extend(call.returned.map(|returned| (returned, true, position)));
    }
    // At one stamp invocations first: equal stamps are concurrent.
    events.sort_unstable();
    let mut tester = LinearizabilityTester::new(Register::default());
    for (_, returns, position) in events {
        let call = &calls[position];
        // Each operation is a thread of its own; the order within a thread is part of real time here.
        if !returns {
            tester.on_invoke(position, call.op.clone()).expect("each thread invokes once");
        } else if let Some(reply) = &call.ret {
            tester.on_return(position, reply.clone()).expect("each thread has invoked before it returns");
        }
    }
    tester.is_consistent()
}

struct TodcRegister;

impl Specification for TodcRegister {
    type State = Option<u64>;
    type Operation = Step;

    fn init() -> Option<u64> {
        None
    }

    fn apply(step: &Step, state: &Option<u64>) -> (bool, Option<u64>) {
        step.apply(*state).map_or((false, *state), |after| (true, after))
    }
}

/// The verdict of `todc-utils`.
pub fn todc(calls: &[Returning]) -> bool {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (position, call) in calls.iter().enumerate() {
        events.push((call.invoked, false, position));
        events.push((call.returned, true, position));
    }
    events.sort_unstable();
    let action = |(_, returns, position): (u64, bool, usize)| {
        let step = calls[position].step;
        (position, if returns { Action::Response(step) } else { Action::Call(step) })
    };
    WGLChecker::<TodcRegister>::is_linearizable(History::from_actions(
        events.into_iter().map(action).collect(),
    ))
}
