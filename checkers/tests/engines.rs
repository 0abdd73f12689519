//! The engines against each other and against brute force, on small random histories.

mod random;

use std::cell::Cell;

use checkers::history::{Event, History, Operation};
use checkers::linearizable::{Call, StreamChecker, Zones, zones};
use checkers::model::{Register, SequentialSpec};
use random::{Shape, for_all};

fn calls(history: &History) -> Vec<Call<Register>> {
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
fn brute_force(state: &Register, left: &[Call<Register>]) -> bool {
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

/// Values are drawn from many, so most histories have no value twice.
const UNIQUE: Shape = Shape { operations: 8, clients: 4, values: 10_000, ties: true };

#[test]
fn zones_agree_with_brute_force() {
    let (illegal, answered) = (Cell::new(0), Cell::new(0));
    for_all(20_000, UNIQUE, |history| {
        let calls = calls(history);
        let expected = brute_force(&Register::default(), &calls);
        match zones(&Register::default(), &calls) {
            Zones::Linearizable(_) => assert!(expected, "{calls:#?}"),
            Zones::NotLinearizable(core) => {
                assert!(!expected, "{calls:#?}");
                let core: Vec<_> = core.into_iter().map(|position| calls[position].clone()).collect();
                assert!(!brute_force(&Register::default(), &core), "no proof: {core:#?} of {calls:#?}");
                illegal.set(illegal.get() + 1);
            }
            Zones::NotApplicable => return,
        }
        answered.set(answered.get() + 1);
    });
    assert!(answered.get() > 10_000, "only {} were answered", answered.get());
    assert!(illegal.get() > 1_000, "only {} are illegal", illegal.get());
}

/// Judges each prefix by brute force; the stream must object at the first that is not linearizable.
#[test]
fn a_stream_objects_at_the_first_event_that_makes_it_certain() {
    let objected = Cell::new(0);
    for_all(20_000, UNIQUE, |history| {
        let mut stream = StreamChecker::new();
        let found = history.events().iter().position(|event| stream.on_event(event).is_some());
        if stream.blind_keys().next().is_some() {
            return;
        }
        let is_legal = |events: &[Event]| {
            let prefix = History::new(history.header().clone(), events.to_vec()).expect("a prefix");
            brute_force(&Register::default(), &calls(&prefix))
        };
        let events = history.events();
        match found {
            None => assert!(is_legal(events), "missed in {history:#?}"),
            Some(index) => {
                assert!(!is_legal(&events[..=index]), "false alarm at event {index} of {history:#?}");
                assert!(is_legal(&events[..index]), "late at event {index} of {history:#?}");
                objected.set(objected.get() + 1);
            }
        }
    });
    assert!(objected.get() > 1_000, "only {} are illegal", objected.get());
}
