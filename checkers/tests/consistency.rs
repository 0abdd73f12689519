//! The judges of transactions, of sequential consistency and of staleness against dumber twins: every order
//! tried by brute force, and a store whose lag is known. Histories are small, random, and the same each time.

use std::collections::BTreeMap;

use checkers::history::{
    Completion, Event, Header, History, MicroOp, Op, Operation, ProcessId, Reply, Value,
};
use checkers::model::{Register, SequentialSpec};
use checkers::{
    Append, Budget, Checker, Consistency, Evidence, Expectations, Finding, Sequential, Staleness, Verdict,
};

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

fn history(events: Vec<Event>) -> History {
    let header = Header { origin_ns: 0, system: "random".into(), workload: "register".into(), seed: 0 };
    History::new(header, events).expect("clients complete what they invoke")
}

fn judge(checker: &dyn Checker, history: &History, consistency: Consistency) -> Finding {
    let expectations = Expectations { consistency, ..Expectations::default() };
    let evidence = Evidence { history: history.clone(), traces: Vec::new(), expectations };
    assert!(checker.applies(&evidence));
    let finding = checker.check(&evidence, Budget::default());
    assert_eq!(finding, checker.check(&evidence, Budget::default()), "not deterministic");
    for anomaly in &finding.anomalies {
        assert!((1..=15).contains(&anomaly.text.len()), "{:#?}", anomaly.text);
    }
    finding
}

/// Drives clients that overlap: each invokes, takes effect by `apply`, and completes, in random order.
fn drive(
    dice: &mut Dice,
    clients: usize,
    operations: usize,
    mut draw: impl FnMut(&mut Dice) -> Op,
    mut apply: impl FnMut(&mut Dice, &Op, u64) -> Reply,
) -> Vec<Event> {
    struct Client {
        process: ProcessId,
        open: Option<(Op, Option<Reply>)>,
    }
    let mut processes = 0..;
    let mut client = || Client { process: ProcessId(processes.next().expect("endless")), open: None };
    let mut all: Vec<Client> = (0..clients).map(|_| client()).collect();
    let (mut events, mut time, mut invoked) = (Vec::new(), 0, 0);
    while invoked < operations || all.iter().any(|client| client.open.is_some()) {
        time += u64::from(!dice.one_in(4));
        let who = dice.below(clients);
        let process = all[who].process;
        match all[who].open.take() {
            None if invoked < operations => {
                invoked += 1;
                let op = draw(dice);
                events.push(Event::Invoke { time, process, node: None, op: op.clone() });
                all[who].open = Some((op, None));
            }
            None => {}
            Some((op, None)) if dice.one_in(12) => {
                let completion = if dice.one_in(2) {
                    Completion::Fail { reason: "no leader".into() }
                } else {
                    all[who] = client();
                    Completion::Info { reason: "timeout".into() }
                };
                drop(op);
                events.push(Event::Complete { time, process, completion });
            }
            Some((op, None)) => {
                let reply = apply(dice, &op, time);
                all[who].open = Some((op, Some(reply)));
            }
            Some((_, Some(_))) if dice.one_in(12) => {
                all[who] = client();
                let completion = Completion::Info { reason: "timeout".into() };
                events.push(Event::Complete { time, process, completion });
            }
            Some((_, Some(reply))) => {
                events.push(Event::Complete { time, process, completion: Completion::Ok(reply) });
            }
        }
    }
    events
}

/// Tries every order of the operations that did not fail, with every choice of those that never returned.
/// `may_come_first(a, b)`: whether a may come before b.
fn brute_force<S: Clone>(
    state: &S,
    left: &[&Operation],
    may_come_first: &dyn Fn(&Operation, &Operation) -> bool,
    step: &dyn Fn(&mut S, &Operation) -> bool,
) -> bool {
    left.iter().all(|operation| operation.reply().is_none())
        || left.iter().enumerate().any(|(position, next)| {
            let mut rest = left.to_vec();
            rest.remove(position);
            let mut after = state.clone();
            rest.iter().all(|other| may_come_first(next, other))
                && step(&mut after, next)
                && brute_force(&after, &rest, may_come_first, step)
        })
}

fn not_failed(history: &History) -> Vec<&Operation> {
    history.operations().iter().filter(|operation| !operation.failed()).collect()
}

/// Not if the other one of its process was invoked before it.
fn in_process_order(first: &Operation, second: &Operation) -> bool {
    first.process != second.process || first.index < second.index
}

/// Not if the other one was over before it began.
fn in_real_time(first: &Operation, second: &Operation) -> bool {
    second.reply().is_none() || second.completed_at.is_none_or(|over| over >= first.invoked_at)
}

type Lists = BTreeMap<String, Vec<Value>>;

/// Runs a transaction; false if a read would see something else.
fn run_transaction(lists: &mut Lists, operation: &Operation) -> bool {
    let ((_, Some(Reply::Txn { ops })) | (Op::Txn { ops }, _)) = (&operation.op, operation.reply()) else {
        unreachable!("there are only transactions")
    };
    ops.iter().all(|op| match op {
        MicroOp::Append { key, value } => {
            lists.entry(key.clone()).or_default().push(*value);
            true
        }
        MicroOp::Read { key, values } => {
            values.as_ref().is_none_or(|values| *values == lists.get(key).cloned().unwrap_or_default())
        }
    })
}

/// A few transactions over two lists; some reads are stale or falsified. With `final_read` the last one shows
/// every list as it is.
fn transactions(seed: u64, final_read: bool) -> History {
    let mut dice = Dice(seed);
    let mut values = 1..;
    let mut lists = Lists::new();
    let mut versions: Vec<Lists> = vec![Lists::new()];
    let draw = |dice: &mut Dice| {
        let micro_op = |dice: &mut Dice| {
            let key = ["x", "y"][dice.below(2)].to_owned();
            if dice.one_in(2) {
                MicroOp::Append { key, value: values.next().expect("endless") }
            } else {
                MicroOp::Read { key, values: None }
            }
        };
        let mut micro_op = micro_op;
        Op::Txn { ops: (0..=dice.below(3)).map(|_| micro_op(dice)).collect() }
    };
    let apply = |dice: &mut Dice, op: &Op, _| {
        let Op::Txn { ops } = op else { unreachable!("there are only transactions") };
        let is_stale = dice.one_in(4);
        let stale = versions[dice.below(versions.len())].clone();
        let mut ops = ops.clone();
        for op in &mut ops {
            match op {
                MicroOp::Append { key, value } => lists.entry(key.clone()).or_default().push(*value),
                MicroOp::Read { key, values } => {
                    let source = if is_stale { &stale } else { &lists };
                    let mut seen = source.get(key).cloned().unwrap_or_default();
                    if dice.one_in(25) && seen.len() > 1 {
                        seen.swap(0, 1);
                    }
                    *values = Some(seen);
                }
            }
        }
        versions.push(lists.clone());
        Reply::Txn { ops }
    };
    let mut events = drive(&mut dice, 3, 5, draw, apply);
    if final_read {
        let time = events.last().map_or(0, Event::time) + 1;
        let process = ProcessId(1_000);
        let read = |values: fn(&Lists, &str) -> Option<Vec<Value>>| {
            ["x", "y"].map(|key| MicroOp::Read { key: key.into(), values: values(&lists, key) }).to_vec()
        };
        let asked = read(|_, _| None);
        let answered = read(|lists, key| Some(lists.get(key).cloned().unwrap_or_default()));
        events.push(Event::Invoke { time, process, node: None, op: Op::Txn { ops: asked } });
        let completion = Completion::Ok(Reply::Txn { ops: answered });
        events.push(Event::Complete { time: time + 1, process, completion });
    }
    history(events)
}

/// Judged and expected, over so many seeds: how many are illegal, and how many of these were found.
fn compare_transactions(final_read: bool, consistency: Consistency) -> (u32, u32) {
    let (mut illegal, mut found) = (0, 0);
    for seed in 0..4_000 {
        let history = transactions(seed, final_read);
        let finding = judge(&Append, &history, consistency);
        let realtime = consistency == Consistency::Linearizable;
        let may_come_first = |first: &Operation, second: &Operation| {
            in_process_order(first, second) && (!realtime || in_real_time(first, second))
        };
        let legal = brute_force(&Lists::new(), &not_failed(&history), &may_come_first, &run_transaction);
        match finding.verdict {
            Verdict::Invalid => assert!(!legal, "seed {seed}: a false alarm: {finding:#?} {history:#?}"),
            Verdict::Valid => assert!(legal || !final_read, "seed {seed}: missed: {history:#?}"),
            Verdict::Unknown => assert!(history.operations().iter().all(|op| op.reply().is_none())),
        }
        illegal += u32::from(!legal);
        found += u32::from(finding.verdict == Verdict::Invalid);
    }
    (illegal, found)
}

#[test]
fn transactions_agree_with_brute_force_when_every_list_is_read_at_the_end() {
    for consistency in [Consistency::Linearizable, Consistency::Sequential] {
        let (illegal, found) = compare_transactions(true, consistency);
        assert!((400..3_600).contains(&illegal), "{illegal} of 4,000 are illegal: too one-sided");
        assert_eq!(illegal, found);
    }
}

/// Without the final read an order of appends may stay unknown. What is found is still never wrong, and little
/// is missed.
#[test]
fn transactions_raise_no_false_alarm_when_some_appends_were_never_seen() {
    let (illegal, found) = compare_transactions(false, Consistency::Linearizable);
    assert!(illegal > 400 && found * 100 >= illegal * 95, "{found} of {illegal} illegal ones were found");
}

/// A few operations on registers; some reads are stale.
fn registers(seed: u64, keys: usize, unique: bool) -> History {
    let mut dice = Dice(seed);
    let mut fresh = 1..;
    let mut versions: BTreeMap<String, Vec<Register>> = BTreeMap::new();
    let draw = |dice: &mut Dice| {
        let key = ["x", "y"][dice.below(keys)].to_owned();
        let mut value = |dice: &mut Dice| {
            if unique { fresh.next().expect("endless") } else { dice.below(3) as Value }
        };
        match dice.below(6) {
            0..3 => Op::Read { key },
            3 => Op::Cas { key, from: dice.below(4) as Value, to: value(dice) },
            _ => Op::Write { key, value: value(dice) },
        }
    };
    let apply = |dice: &mut Dice, op: &Op, _| {
        let key = op.key().expect("operations of registers have a key").to_owned();
        let versions = versions.entry(key).or_insert_with(|| vec![Register::default()]);
        let mut now = versions.last().expect("the initial one").clone();
        if dice.one_in(3) && matches!(op, Op::Read { .. }) {
            return versions[dice.below(versions.len())].clone().invoke(op);
        }
        let reply = now.invoke(op);
        versions.push(now);
        reply
    };
    history(drive(&mut dice, 3, 8, draw, apply))
}

fn step_registers(state: &mut BTreeMap<String, Register>, operation: &Operation) -> bool {
    let key = operation.op.key().expect("operations of registers have a key").to_owned();
    let seen = state.entry(key).or_default().invoke(&operation.op);
    operation.reply().is_none_or(|reply| *reply == seen)
}

fn compare_registers(keys: usize, unique: bool) {
    let mut illegal = 0;
    for seed in 0..3_000 {
        let history = registers(seed, keys, unique);
        let finding = judge(&Sequential, &history, Consistency::Sequential);
        let legal = brute_force(&BTreeMap::new(), &not_failed(&history), &in_process_order, &step_registers);
        match finding.verdict {
            Verdict::Invalid => assert!(!legal, "seed {seed}: a false alarm: {finding:#?} {history:#?}"),
            Verdict::Valid => assert!(legal, "seed {seed}: missed: {history:#?}"),
            Verdict::Unknown => assert!(history.operations().iter().all(|op| op.reply().is_none())),
        }
        illegal += u32::from(!legal);
    }
    assert!((150..2_850).contains(&illegal), "{illegal} of 3,000 are illegal: too one-sided");
}

#[test]
fn one_register_of_unique_values_agrees_with_brute_force() {
    compare_registers(1, true);
}

#[test]
fn one_register_of_repeated_values_agrees_with_brute_force() {
    compare_registers(1, false);
}

#[test]
fn two_registers_agree_with_brute_force() {
    compare_registers(2, true);
    compare_registers(2, false);
}

/// A run of usual size: many operations and processes, several keys.
#[test]
fn a_run_of_usual_size_is_decided() {
    let mut dice = Dice(1);
    let mut fresh = 1..;
    let mut registers: BTreeMap<String, Register> = BTreeMap::new();
    let draw = |dice: &mut Dice| {
        let key = format!("r{}", dice.below(6));
        match dice.below(4) {
            0 | 1 => Op::Read { key },
            2 => Op::Cas { key, from: dice.below(50) as Value, to: fresh.next().expect("endless") },
            _ => Op::Write { key, value: fresh.next().expect("endless") },
        }
    };
    let apply = |_: &mut Dice, op: &Op, _| {
        let key = op.key().expect("operations of registers have a key").to_owned();
        registers.entry(key).or_default().invoke(op)
    };
    let mut history = history(drive(&mut dice, 10, 3_000, draw, apply));
    let finding = judge(&Sequential, &history, Consistency::Sequential);
    assert_eq!(finding.verdict, Verdict::Valid, "{}", finding.summary);

    // A process that reads what it wrote first, after it wrote something else to the same key.
    let process = ProcessId(9_999);
    let mut events = history.events().to_vec();
    let own = [
        (Op::Write { key: "r0".into(), value: 100_001 }, Reply::Write),
        (Op::Write { key: "r0".into(), value: 100_002 }, Reply::Write),
        (Op::Read { key: "r0".into() }, Reply::Read { value: Some(100_001) }),
    ];
    for ((op, reply), time) in own.into_iter().zip(history.last_time()..) {
        events.push(Event::Invoke { time, process, node: None, op });
        events.push(Event::Complete { time, process, completion: Completion::Ok(reply) });
    }
    history = self::history(events);
    let finding = judge(&Sequential, &history, Consistency::Sequential);
    assert_eq!(finding.verdict, Verdict::Invalid, "{}", finding.summary);
}

/// The age told is a lower bound: never more than the store's true lag. And it is not always nothing.
#[test]
fn no_read_is_called_older_than_the_store_let_it_be() {
    let mut stale = 0;
    for seed in 0..2_000 {
        let mut dice = Dice(seed);
        let lag = dice.below(30) as u64;
        let mut fresh = 1..;
        let mut versions: Vec<(u64, Register)> = vec![(0, Register::default())];
        let draw = |dice: &mut Dice| {
            let key = "x".to_owned();
            if dice.one_in(2) {
                Op::Read { key }
            } else {
                Op::Write { key, value: fresh.next().expect("endless") }
            }
        };
        let apply = |dice: &mut Dice, op: &Op, time: u64| {
            let (_, mut now) = versions.last().expect("the initial one").clone();
            if let Op::Read { .. } = op {
                let at = time.saturating_sub(dice.below(lag as usize + 1) as u64);
                let (_, mut then) =
                    versions.iter().rfind(|(since, _)| *since <= at).expect("from 0 on").clone();
                return then.invoke(op);
            }
            let reply = now.invoke(op);
            versions.push((time, now));
            reply
        };
        let slow = |event: Event| match event {
            Event::Invoke { time, process, node, op } => {
                Event::Invoke { time: time * 1_000_000, process, node, op }
            }
            Event::Complete { time, process, completion } => {
                Event::Complete { time: time * 1_000_000, process, completion }
            }
            other => other,
        };
        let events = drive(&mut dice, 4, 40, draw, apply);
        let history = history(events.into_iter().map(slow).collect());
        let finding = judge(&Staleness, &history, Consistency::StaleWithinMs(lag));
        assert_eq!(finding.verdict, Verdict::Valid, "seed {seed}: {finding:#?}");
        stale += finding.checked["stale reads"];
    }
    assert!(stale > 1_000, "{stale} stale reads are too few to show anything");
}

/// A hundred thousand transactions in a row, and one at the end that missed the first.
#[test]
fn a_long_history_is_judged_without_recursion() {
    let mut events = Vec::new();
    let mut perform = |time: u64, asked: Vec<MicroOp>, answered: Vec<MicroOp>| {
        let process = ProcessId((time % 7) as u32);
        events.push(Event::Invoke { time, process, node: None, op: Op::Txn { ops: asked } });
        let completion = Completion::Ok(Reply::Txn { ops: answered });
        events.push(Event::Complete { time: time + 1, process, completion });
    };
    let key = |number: u64| format!("k{}", number / 10);
    let length = 100_000;
    for number in 0..length {
        let before: Vec<Value> = (number / 10 * 10..number).collect();
        let append = MicroOp::Append { key: key(number), value: number };
        let read = |values| MicroOp::Read { key: key(number), values };
        perform(2 * number, vec![read(None), append.clone()], vec![read(Some(before)), append]);
    }
    let valid = judge(&Append, &history(events.clone()), Consistency::Linearizable);
    assert_eq!(valid.verdict, Verdict::Valid, "{valid:#?}");
    let read = |values| vec![MicroOp::Read { key: key(0), values }];
    let process = ProcessId(7);
    let time = 2 * length;
    events.push(Event::Invoke { time, process, node: None, op: Op::Txn { ops: read(None) } });
    let completion = Completion::Ok(Reply::Txn { ops: read(Some(Vec::new())) });
    events.push(Event::Complete { time: time + 1, process, completion });
    let invalid = judge(&Append, &history(events), Consistency::Linearizable);
    assert_eq!(invalid.verdict, Verdict::Invalid, "{invalid:#?}");
    assert!(invalid.summary.starts_with("G-single-realtime"), "{}", invalid.summary);
}
