//! `harness list`: the faults, checkers, situations, systems, workloads, scenarios and bugs there are.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use nemesis::capability::Capabilities;
use nemesis::faults::FAULTS;

use crate::error::Result;
use crate::faults::lack;
use crate::scenario::{self, SCENARIOS};
use crate::system::{self, SYSTEMS, System};
use crate::workload::WORKLOADS;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only these
    #[arg(value_name = "KIND")]
    kind: Option<Kind>,
    /// The system whose faults are looked at
    #[arg(long, default_value = "raft-kv", value_name = "NAME")]
    system: String,
    /// The TUN device, if the usual one cannot be opened
    #[arg(long, default_value = "/dev/net/tun", value_name = "PATH")]
    tun: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Faults,
    Targets,
    Checkers,
    Situations,
    Systems,
    Workloads,
    Scenarios,
    Bugs,
}

const KINDS: [Kind; 8] = [
    Kind::Faults,
    Kind::Targets,
    Kind::Checkers,
    Kind::Situations,
    Kind::Systems,
    Kind::Workloads,
    Kind::Scenarios,
    Kind::Bugs,
];

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.kind == Some(Kind::Faults) {
        let system = system::find(&args.system)?;
        // It forks, and this process has no threads yet.
        super::print(&faults(&Capabilities::probe(&args.tun), system))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for kind in KINDS.into_iter().filter(|&kind| args.kind.is_none_or(|only| only == kind)) {
        let items = items(kind);
        let width = items.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        if args.kind.is_none() {
            text.push_str(kind.to_possible_value().expect("no kind is skipped").get_name());
            text.push('\n');
        }
        for (name, about) in items {
            text.push_str(&format!("  {name:<width$}  {about}\n"));
        }
        if args.kind.is_none() {
            text.push('\n');
        }
    }
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Each fault with what it needs, whether that is there, whom it hits, and how it is set.
fn faults(machine: &Capabilities, system: &dyn System) -> String {
    let width = FAULTS.iter().map(|fault| fault.name().len()).max().unwrap_or(0);
    let mut text = String::new();
    for fault in FAULTS {
        let mut line = |name: &str, words: &str| text.push_str(&format!("  {name:<width$}  {words}\n"));
        line(fault.name(), fault.about());
        let has = match lack(*fault, Some(machine), system) {
            Some((reason, _)) => format!("NO: {reason}"),
            None => "yes".to_owned(),
        };
        line("", &format!("needs {}: {has}", fault.needs()));
        if let Some(reason) = fault.beyond_promise() {
            line("", &format!("not in `all`: {reason}"));
        }
        let targets = fault.targets().iter().map(ToString::to_string).collect::<Vec<_>>();
        line("", &format!("targets {}", targets.join(", ")));
        for knob in fault.knobs() {
            line("", &format!("{}: {} ({})", knob.name, knob.about, knob.range));
        }
    }
    text
}

fn items(kind: Kind) -> Vec<(String, String)> {
    let item = |name: &str, about: &str| (name.to_owned(), about.to_owned());
    match kind {
        Kind::Faults => FAULTS.iter().map(|fault| item(fault.name(), fault.about())).collect(),
        Kind::Targets => nemesis::target::ABOUT.iter().map(|(name, about)| item(name, about)).collect(),
        Kind::Checkers => {
            checkers::CHECKERS.iter().map(|checker| item(checker.name(), checker.about())).collect()
        }
        Kind::Situations => checkers::SITUATIONS
            .iter()
            .map(|situation| item(situation.name, &format!("{} ({})", situation.about, situation.source)))
            .collect(),
        Kind::Systems => SYSTEMS.iter().map(|system| item(system.name(), system.about())).collect(),
        Kind::Workloads => WORKLOADS.iter().map(|workload| item(workload.name(), workload.about())).collect(),
        Kind::Scenarios => SCENARIOS
            .iter()
            .map(|known| item(known.name, &scenario::find(known.name).expect("a test reads them all").about))
            .collect(),
        Kind::Bugs => cluster_under_test::bugs::BUGS
            .iter()
            .map(|bug| item(bug.name, &format!("{} (breaks {})", bug.about, bug.breaks.join(", "))))
            .collect(),
    }
}
