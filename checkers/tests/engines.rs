//! The engines against each other and against brute force, on small random histories.

mod brute_force;
mod peers;
mod random;

use std::cell::Cell;

use brute_force::{brute_force, calls};
use checkers::Budget;
use checkers::history::{Completion, Event, History, ProcessId, Reply};
use checkers::linearizable::{Call, Judgement, StreamChecker, Zones, judge, zones};
use checkers::model::Register;
use peers::fuzz::draw;
use peers::load::{Load, perform};
use random::{Shape, for_all};

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

/// The calls as events; each call has a process of its own.
fn events(calls: &[Call<Register>]) -> Vec<Event> {
    let mut events = Vec::new();
    for (number, call) in (0..).zip(calls) {
        let process = ProcessId(number);
        events.push(Event::Invoke { time: call.invoked, process, node: None, op: call.op.clone() });
        let completion = match (&call.ret, call.returned) {
            (Some(reply), Some(time)) => (time, Completion::Ok(reply.clone())),
            _ => (call.invoked + 40, Completion::Info { reason: "timeout".into() }),
        };
        events.push(Event::Complete { time: completion.0, process, completion: completion.1 });
    }
    // At one time invocations come first.
    events.sort_by_key(|event| (event.time(), !matches!(event, Event::Invoke { .. })));
    events
}

#[test]
fn a_stream_agrees_with_the_judgement_of_the_finished_history() {
    let (mut judged, mut illegal) = (0, 0);
    for seed in 0..40_000 {
        let calls = draw(seed);
        if calls.iter().any(|call| call.ret == Some(Reply::Mismatch)) {
            // The stream leaves such operations out, so it may miss what they prove.
            continue;
        }
        let mut stream = StreamChecker::new();
        let found = events(&calls).iter().any(|event| stream.on_event(event).is_some());
        if stream.blind_keys().next().is_some() {
            continue;
        }
        let judgement = judge(&Register::default(), &calls, Budget::default());
        assert_eq!(found, matches!(judgement, Judgement::NotLinearizable(_)), "seed {seed}: {calls:#?}");
        judged += 1;
        illegal += u32::from(found);
    }
    assert!(judged > 10_000 && illegal > 2_000, "{judged} judged, {illegal} illegal: too few");
}

#[test]
fn a_stream_remembers_what_is_open_and_not_what_has_been() {
    let most = |operations| {
        let mut stream = StreamChecker::new();
        let load = Load { cas: true, ..Load::new(operations, 20, 7) };
        events(&perform(load)).iter().fold(0, |most, event| {
            assert_eq!(stream.on_event(event), None);
            stream.remembered().max(most)
        })
    };
    let (short, long) = (most(2_000), most(50_000));
    assert!(long < 200 && long < 2 * short, "{short} after 2,000 operations, {long} after 50,000");
}
