//! The engines against each other and against brute force, on small random histories.

mod brute_force;
mod peers;
mod random;

use std::cell::Cell;

use brute_force::{brute_force, calls};
use checkers::Budget;
use checkers::history::{Completion, Event, History, Op, ProcessId, Reply};
use checkers::linearizable::stream::Problem;
use checkers::linearizable::{Call, Judgement, StreamChecker, Zones, judge, zones};
use checkers::model::Register;
use peers::fuzz::draw;
use peers::load::{Load, perform, perform_for};
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
            Zones::NotLinearizable(core) | Zones::Overwritten(core) => {
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

/// The most that a stream remembers of a valid load, and what it can never forget of it.
fn remembered(load: Load) -> (usize, usize) {
    let mut stream = StreamChecker::new();
    let mut most = 0;
    perform_for(load, |_, event| {
        assert_eq!(stream.on_event(&event), None);
        most = most.max(stream.remembered() - stream.in_doubt());
    });
    (most, stream.in_doubt())
}

#[test]
fn a_stream_remembers_what_is_open_and_not_what_has_been() {
    let load = |operations| Load { cas: true, ..Load::new(operations, 20, 7) };
    let (short, long) = (remembered(load(2_000)), remembered(load(50_000)));
    assert!(long.0 < 200 && long.0 < 2 * short.0, "{short:?} after 2,000 operations, {long:?} after 50,000");
    assert_eq!((short.1, long.1), (0, 0), "everything returned");
}

#[test]
fn of_what_never_returned_a_stream_remembers_what_nobody_saw() {
    let load = |operations| Load { cas: true, never_return_percent: 3, ..Load::new(operations, 20, 7) };
    let (short, long) = (remembered(load(5_000)), remembered(load(50_000)));
    assert!(long.0 < 300 && long.0 < 2 * short.0, "{short:?} after 5,000 operations, {long:?} after 50,000");
    assert!((500..1_500).contains(&long.1), "{} of 1,000 lost updates are in doubt", long.1);
}

/// A value may be seen for the first time long after its writer was given up, and a swap that was given up may be
/// what others rest on.
#[test]
fn a_stream_knows_what_timed_out_long_ago() {
    let mut stream = StreamChecker::new();
    let mut time = 0;
    let mut processes = 100;
    let mut happen = |op: Op, reply: Option<Reply>| {
        processes += 1;
        time += 2;
        let process = ProcessId(processes);
        let completion = match reply {
            Some(reply) => Completion::Ok(reply),
            None => Completion::Info { reason: "timeout".into() },
        };
        assert_eq!(stream.on_event(&Event::Invoke { time: time - 1, process, node: None, op }), None);
        stream.on_event(&Event::Complete { time, process, completion }).map(|violation| violation.problem)
    };
    let key = || "x".to_owned();
    let write = |value| Op::Write { key: key(), value };
    let read = |value| (Op::Read { key: key() }, Some(Reply::Read { value: Some(value) }));
    let swap = |from, to| Op::Cas { key: key(), from, to };
    assert_eq!(happen(write(1_000), None), None);
    assert_eq!(happen(swap(1_000, 1_001), None), None);
    assert_eq!(happen(write(2_000), None), None);
    for value in 0..100 {
        assert_eq!(happen(write(value), Some(Reply::Write)), None);
    }
    let mut seen = |(op, reply): (Op, Option<Reply>)| happen(op, reply);
    assert_eq!(seen(read(1_001)), None, "the swap took place now, and before it the write that it rests on");
    assert_eq!(seen(read(2_000)), None);
    assert_eq!(seen(read(1_000)), Some(Problem::Unwritten(Some(1_000))), "it was swapped away before");
}

/// What the generator plants is a violation whatever the rest of the history is, so others may be timed on it.
#[test]
fn planted_violations_are_certain() {
    let mut planted = 0;
    for seed in 0..500 {
        let load = Load {
            cas: seed % 2 == 0,
            values: [None, Some(2), Some(4)][seed as usize % 3],
            never_return_percent: 5,
            violation: true,
            ..Load::new(24, 2, seed)
        };
        if perform_for(load, |_, _| {}) {
            let calls = perform(load);
            assert!(!brute_force(&Register::default(), &calls), "seed {seed}: {calls:#?}");
            let calls = perform(Load { violation: false, ..load });
            assert!(brute_force(&Register::default(), &calls), "seed {seed} without it: {calls:#?}");
            planted += 1;
        }
    }
    assert!(planted > 50, "only {planted} were planted");
}
