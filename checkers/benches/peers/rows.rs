//! The histories of the benchmark, and how one of them is measured by one checker.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use checkers::history::Operation;
use checkers::linearizable::{Call, Judgement, Outcome, Reductions, Zones, judge, search, zones};
use checkers::model::Register;
use checkers::{Budget, History};
use nix::time::{ClockId, clock_gettime};

use crate::heap;
use crate::peers::load::{Load, perform};
use crate::peers::others;

/// One checker of the table.
pub(crate) struct Named {
    /// Its name.
    pub(crate) name: &'static str,
    judge: fn(&[Call<Register>]) -> bool,
}

/// The column that the others are measured by: they give a verdict and no proof.
pub(crate) const REFERENCE: usize = 1;

/// The columns, ours first.
pub(crate) const CHECKERS: &[Named] = &[
    Named { name: "checkers", judge: ours },
    Named { name: "verdict alone", judge: verdict_alone },
    Named { name: "porcupine-rs", judge: |calls| others::porcupine(&others::returning(calls)) },
    Named { name: "stateright", judge: others::stateright },
    Named { name: "todc-utils", judge: |calls| others::todc(&others::returning(calls)) },
];

fn ours(calls: &[Call<Register>]) -> bool {
    match judge(&Register::default(), calls, Budget::default()) {
        Judgement::Linearizable => true,
        Judgement::NotLinearizable(_) => false,
        Judgement::Unknown { configurations, .. } => {
            panic!("undecided after {configurations} configurations")
        }
    }
}

/// Without the core that proves a violation and its second opinion.
fn verdict_alone(calls: &[Call<Register>]) -> bool {
    let initial = Register::default();
    match zones(&initial, calls) {
        Zones::Linearizable(_) => true,
        Zones::NotLinearizable(_) | Zones::Overwritten(_) => false,
        Zones::NotApplicable => match search(&initial, calls, Budget::default(), Reductions::ALL).outcome {
            Outcome::Linearizable(_) => true,
            Outcome::NotLinearizable(_) => false,
            Outcome::OutOfBudget(_) => panic!("undecided"),
        },
    }
}

/// A row of the table.
pub(crate) struct Row {
    /// What the histories are.
    pub(crate) name: &'static str,
    source: Source,
    /// Whether the others are asked, too; where they gave no answer on a hundredth of it they are not.
    alone: bool,
}

enum Source {
    /// The recorded histories of etcd, see `tests/recorded.rs`.
    Etcd,
    Generated(Load),
}

const UNIQUE: Load = Load {
    operations: 10_000,
    clients: 10,
    cas: false,
    values: None,
    tells_seen: true,
    never_return_percent: 0,
    violation: false,
    seed: 1,
};
const HOT: Load = Load { never_return_percent: 1, violation: true, ..UNIQUE };
const SMALL: Load = Load { cas: true, values: Some(5), never_return_percent: 1, tells_seen: false, ..UNIQUE };

const fn row(name: &'static str, load: Load) -> Row {
    Row { name, source: Source::Generated(load), alone: false }
}

const fn alone(name: &'static str, load: Load) -> Row {
    Row { name, source: Source::Generated(load), alone: true }
}

/// The rows, in their order.
pub(crate) const ROWS: &[Row] = &[
    Row { name: "52 recorded histories of etcd, in sum", source: Source::Etcd, alone: false },
    row("unique values, 10,000 operations, 5 clients", Load { clients: 5, ..UNIQUE }),
    row("unique values, 10,000 operations, 10 clients", UNIQUE),
    row("unique values, violation, 10,000 operations, 10 clients", Load { violation: true, ..UNIQUE }),
    row(
        "unique values, 1 % never return, violation, 1,000 operations, 25 clients",
        Load { operations: 1_000, clients: 25, ..HOT },
    ),
    alone(
        "unique values, 1 % never return, violation, 500,000 operations, 25 clients",
        Load { operations: 500_000, clients: 25, ..HOT },
    ),
    alone(
        "unique values, 1 % never return, violation, 1,000,000 operations, 25 clients",
        Load { operations: 1_000_000, clients: 25, ..HOT },
    ),
    alone(
        "unique values, 1 % never return, violation, 2,000,000 operations, 25 clients",
        Load { operations: 2_000_000, clients: 25, ..HOT },
    ),
    alone(
        "unique values, 1 % never return, violation, 500,000 operations, 100 clients",
        Load { operations: 500_000, clients: 100, ..HOT },
    ),
    alone(
        "unique values, 1 % never return, violation, 1,000,000 operations, 100 clients",
        Load { operations: 1_000_000, clients: 100, ..HOT },
    ),
    alone(
        "unique values, 1 % never return, violation, 2,000,000 operations, 100 clients",
        Load { operations: 2_000_000, clients: 100, ..HOT },
    ),
    row(
        "five values with CAS, 1 % never return, 100,000 operations, 5 clients",
        Load { operations: 100_000, clients: 5, ..SMALL },
    ),
    alone(
        "five values with CAS, 1 % never return, 100,000 operations, 10 clients",
        Load { operations: 100_000, ..SMALL },
    ),
    alone(
        "five values with CAS, 1 % never return, 10,000 operations, 25 clients",
        Load { clients: 25, ..SMALL },
    ),
    alone(
        "five values with CAS, 1 % never return, violation, 10,000 operations, 25 clients",
        Load { clients: 25, violation: true, ..SMALL },
    ),
];

impl Row {
    /// Whether its histories are there.
    pub(crate) fn is_available(&self) -> bool {
        match self.source {
            Source::Etcd => etcd_folder().is_dir(),
            Source::Generated(_) => true,
        }
    }

    /// Whether this checker is not asked.
    pub(crate) fn leaves_out(&self, checker: &Named) -> bool {
        self.alone && !CHECKERS[..=REFERENCE].iter().any(|ours| ours.name == checker.name)
    }

    /// The histories, each with its verdict.
    fn histories(&self) -> Vec<(Vec<Call<Register>>, bool)> {
        match self.source {
            Source::Generated(load) => vec![(perform(load), !load.violation)],
            Source::Etcd => etcd(),
        }
    }
}

fn etcd_folder() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    std::env::var_os("HARNESS_DATA").map_or(beside, PathBuf::from).join("porcupine/etcd")
}

fn etcd() -> Vec<(Vec<Call<Register>>, bool)> {
    let table = fs::read_to_string(etcd_folder().join("verdicts.csv")).expect("the verdicts can be read");
    let history = |line: &str| {
        let file = line.split(',').next().expect("a line has a first cell");
        let text = fs::read_to_string(etcd_folder().join(file)).expect("the history can be read");
        let (history, _) = History::parse_any(&text, file).expect("the history is well-formed");
        (calls(&history), line.ends_with(",linearizable"))
    };
    table.lines().skip(1).map(history).collect()
}

fn calls(history: &History) -> Vec<Call<Register>> {
    let call = |operation: &Operation| Call {
        id: operation.index,
        op: operation.op.clone(),
        ret: operation.reply().cloned(),
        invoked: operation.invoked_at,
        returned: operation.reply().and(operation.completed_at),
    };
    history.operations().iter().filter(|operation| !operation.failed()).map(call).collect()
}

/// Repeats until so long has passed, or so often.
const REPEAT_FOR: Duration = Duration::from_secs(1);
const REPEATS_MAX: usize = 11;

/// What all threads of this process have used; what else the machine does counts little in it.
pub(crate) fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("every process has this clock").into()
}

/// The exit status of a process that used more processor time than it was given.
pub(crate) const NO_ANSWER: i32 = 3;

/// Ends this process once judging has used so much. A limit of the system's would do, but while one is in force the
/// kernel counts processor time in whole ticks, which is more than most rows take.
fn end_after(limit: Duration) {
    let begun = processor_time();
    std::thread::spawn(move || {
        while processor_time() - begun < limit {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::process::exit(NO_ANSWER);
    });
}

/// Measures one row by one checker and prints the outcome for [`Measured::parse`].
pub(crate) fn measure(row: &str, checker: &str, limit_s: u64) {
    let row = ROWS.iter().find(|known| known.name == row).expect("a row of the table");
    let checker = CHECKERS.iter().find(|known| known.name == checker).expect("a column of the table");
    let histories = row.histories();
    end_after(Duration::from_secs(limit_s));
    let begun = Instant::now();
    let mut times = Vec::new();
    let before = heap::mark();
    let mut expected = true;
    while times.is_empty() || (begun.elapsed() < REPEAT_FOR && times.len() < REPEATS_MAX) {
        heap::give_back();
        let start = processor_time();
        for (calls, verdict) in &histories {
            let found = (checker.judge)(calls);
            expected &= *verdict == found;
        }
        times.push(processor_time() - start);
    }
    times.sort_unstable();
    let most = heap::most();
    println!("{expected} {} {} {most}", times[times.len() / 2].as_nanos(), most - before);
}

/// What a measurement found.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    /// Whether all verdicts were as known.
    pub(crate) expected: bool,
    time_ns: f64,
    /// Taken by judging.
    bytes: f64,
    /// With the history.
    bytes_in_all: f64,
}

impl Measured {
    /// Reads what [`measure`] printed.
    pub(crate) fn parse(text: &str) -> Option<Measured> {
        let mut words = text.split_whitespace();
        Some(Measured {
            expected: words.next()?.parse().ok()?,
            time_ns: words.next()?.parse().ok()?,
            bytes: words.next()?.parse().ok()?,
            bytes_in_all: words.next()?.parse().ok()?,
        })
    }
}

/// A cell of the table.
pub(crate) enum Cell {
    Measured(Measured),
    NoAnswer { limit_s: u64 },
    NoMemory { limit_mb: u64 },
    NoStack,
    LeftOut,
}

impl Cell {
    /// The cell as text, with how many times ours it is.
    pub(crate) fn show(&self, ours: &Cell) -> String {
        match self {
            Cell::NoAnswer { limit_s } => format!("no answer in {limit_s} s"),
            Cell::NoMemory { limit_mb } => format!("no answer in {limit_mb} MB"),
            Cell::NoStack => "stack overflow".to_owned(),
            Cell::LeftOut => "–".to_owned(),
            Cell::Measured(own) => {
                let figures = format!("{}, {}", time(own.time_ns), memory(own.bytes));
                match ours {
                    Cell::Measured(ours) if !std::ptr::eq(ours, own) => {
                        let times = |theirs: f64, ours: f64| significant(theirs / ours.max(1.0));
                        let (slower, larger) =
                            (times(own.time_ns, ours.time_ns), times(own.bytes, ours.bytes));
                        format!("{figures} ({slower} ×, {larger} ×)")
                    }
                    // The history of a million operations is larger than what judging it takes.
                    _ if own.bytes_in_all > 5e7 => format!("{figures} ({} in all)", memory(own.bytes_in_all)),
                    _ => figures,
                }
            }
        }
    }
}

fn time(ns: f64) -> String {
    if ns < 1e9 { format!("{} ms", significant(ns / 1e6)) } else { format!("{} s", significant(ns / 1e9)) }
}

pub(crate) fn memory(bytes: f64) -> String {
    format!("{} MB", significant(bytes / 1e6))
}

/// Two significant digits; the third is noise.
pub(crate) fn significant(number: f64) -> String {
    if number <= 0.0 {
        return "0".to_owned();
    }
    let magnitude = number.log10().floor() as i32;
    let scale = 10_f64.powi(magnitude - 1);
    let rounded = (number / scale).round() * scale;
    let decimals = (1 - magnitude).max(0) as usize;
    let digits = format!("{rounded:.decimals$}");
    let (whole, fraction) =
        digits.split_once('.').map_or((digits.as_str(), ""), |(whole, rest)| (whole, rest));
    let mut grouped = String::new();
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}

const BEGIN: &str = "<!-- begin: cargo bench -p checkers -- --write -->\n";
const END: &str = "<!-- end -->";

/// Puts the table into the README, between its marks.
pub(crate) fn write_readme(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(&path).expect("checkers/README.md can be read");
    let (before, rest) = text.split_once(BEGIN).expect("checkers/README.md marks where the table begins");
    let (_, after) = rest.split_once(END).expect("checkers/README.md marks where the table ends");
    fs::write(&path, format!("{before}{BEGIN}\n{table}\n{END}{after}"))
        .expect("checkers/README.md can be written");
}
