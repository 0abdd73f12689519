//! The search against dumber twins: every order tried by brute force, and stateright's tester.

mod brute_force;
mod random;

use std::cell::Cell;

use brute_force::{brute_force, calls};
use checkers::history::{Completion, Event, Header, History, Op, ProcessId, Reply};
use checkers::linearizable::{Call, Judgement, Outcome, Reductions, judge, search};
use checkers::model::{Plain, Register};
use checkers::{Budget, Checker, Evidence, Expectations, Linearizable, Verdict};
use random::{Shape, for_all};
use stateright::semantics::register::{Register as PlainRegister, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

fn is_linearizable(calls: &[Call<Register>]) -> bool {
    match judge(&Register::default(), calls, Budget::default()) {
        Judgement::Linearizable => true,
        Judgement::NotLinearizable(core) => {
            assert!(!brute_force(&Register::default(), &core), "the core {core:?} is linearizable");
            false
        }
        Judgement::Unknown { configurations, .. } => {
            panic!("undecided after {configurations} configurations")
        }
    }
}

fn agrees_with_brute_force(shape: Shape) {
    let illegal = Cell::new(0);
    for_all(10_000, shape, |history| {
        let calls = calls(history);
        let expected = brute_force(&Register::default(), &calls);
        assert_eq!(is_linearizable(&calls), expected, "{calls:#?}");
        let plain = search(&Register::default(), &calls, Budget::default(), Reductions::NONE).outcome;
        assert_eq!(matches!(plain, Outcome::Linearizable(_)), expected, "without reductions: {calls:#?}");
        illegal.set(illegal.get() + u32::from(!expected));
    });
    assert!((500..9_500).contains(&illegal.get()), "{} of 10,000 are illegal: too one-sided", illegal.get());
}

#[test]
fn agrees_with_brute_force_on_repeated_values() {
    agrees_with_brute_force(Shape { operations: 7, clients: 4, values: 3, ties: true });
}

#[test]
fn agrees_with_brute_force_on_nearly_unique_values() {
    agrees_with_brute_force(Shape { operations: 7, clients: 3, values: 100, ties: true });
}

#[test]
fn agrees_with_the_tester_of_stateright() {
    let shape = Shape { operations: 10, clients: 3, values: 4, ties: false };
    for_all(10_000, shape, |history| {
        let mut tester = LinearizabilityTester::new(Register::default());
        // An operation that failed had no effect, so the tester does not hear of it.
        let failed = |event| history.operations().iter().any(|op| op.invoke_event.0 == event && op.failed());
        for (index, event) in history.events().iter().enumerate() {
            match event {
                Event::Invoke { process, op, .. } if !failed(index) => {
                    tester.on_invoke(process.0, op.clone()).expect("histories are well-formed");
                }
                Event::Complete { process, completion: Completion::Ok(reply), .. } => {
                    tester.on_return(process.0, reply.clone()).expect("histories are well-formed");
                }
                _ => {}
            }
        }
        assert_eq!(is_linearizable(&calls(history)), tester.is_consistent(), "{history:#?}");
    });
}

#[test]
fn every_counterexample_fits_a_page() {
    let shape = Shape { operations: 40, clients: 6, values: 200, ties: true };
    for_all(2_000, shape, |history| {
        let evidence =
            Evidence { history: history.clone(), traces: Vec::new(), expectations: Expectations::default() };
        let finding = Linearizable.check(&evidence, Budget::default());
        assert_eq!(finding, Linearizable.check(&evidence, Budget::default()), "not deterministic");
        if finding.verdict == Verdict::Invalid {
            let lines = finding.anomalies[0].text.len();
            assert!((2..=15).contains(&lines), "{lines} lines: {:#?}", finding.anomalies[0]);
        }
    });
}

/// A ring of swaps: each value hangs on all others, so nothing can be left out.
#[test]
fn a_counterexample_that_stays_large_has_a_short_text() {
    let mut events = Vec::new();
    let mut time = 0;
    let mut happen = |who, op: Op, reply: Reply| {
        time += 2;
        let completion = Completion::Ok(reply);
        events.push(Event::Invoke { time, process: ProcessId(who), node: None, op });
        events.push(Event::Complete { time: time + 1, process: ProcessId(who), completion });
    };
    let key = || "x".to_owned();
    happen(0, Op::Write { key: key(), value: 0 }, Reply::Write);
    for from in 0..100 {
        happen(1, Op::Cas { key: key(), from: from % 10, to: (from + 1) % 10 }, Reply::Swapped);
    }
    happen(2, Op::Read { key: key() }, Reply::Read { value: Some(5) });
    let header = Header { origin_ns: 0, system: "none".into(), workload: "register".into(), seed: 0 };
    let history = History::new(header, events).expect("well-formed");
    let evidence = Evidence { history, traces: Vec::new(), expectations: Expectations::default() };
    let finding = Linearizable.check(&evidence, Budget::default());
    assert_eq!(finding.verdict, Verdict::Invalid, "{finding:#?}");
    let longest = finding.anomalies[0].text.iter().map(String::len).max();
    assert!(longest < Some(500), "{:#?}", finding.anomalies[0].text);
}

/// A stateright specification as it is, with nothing that helps the search.
#[test]
fn any_stateright_specification_works_unchanged() {
    let read = RegisterOp::Read;
    let call = |id, op: &RegisterOp<char>, ret: Option<RegisterRet<char>>, invoked, returned| Call {
        id,
        op: op.clone(),
        ret,
        invoked,
        returned,
    };
    let write = RegisterOp::Write('B');
    let mut calls: Vec<Call<Plain<PlainRegister<char>>>> = vec![
        call(0, &write, None, 0, None),
        call(1, &read, Some(RegisterRet::ReadOk('A')), 1, Some(2)),
        call(2, &read, Some(RegisterRet::ReadOk('B')), 3, Some(4)),
    ];
    let initial = Plain(PlainRegister('A'));
    assert!(matches!(judge(&initial, &calls, Budget::default()), Judgement::Linearizable));
    calls.push(call(3, &read, Some(RegisterRet::ReadOk('A')), 5, Some(6)));
    assert!(matches!(judge(&initial, &calls, Budget::default()), Judgement::NotLinearizable(_)));
}

#[test]
fn a_long_history_overflows_no_stack() {
    let read = |id: usize, value| Call {
        id,
        op: Op::Read { key: "x".into() },
        ret: Some(Reply::Read { value }),
        invoked: 2 * id as u64,
        returned: Some(2 * id as u64 + 1),
    };
    let mut calls: Vec<Call<Register>> = (0..200_000).map(|id| read(id, None)).collect();
    assert!(is_linearizable(&calls));
    calls.push(read(200_000, Some(1)));
    assert!(!is_linearizable(&calls));
}
