//! `harness list`: the faults, checkers, situations, systems, workloads and bugs there are.

use std::process::ExitCode;

use clap::ValueEnum;

use crate::error::Result;
use crate::system::SYSTEMS;
use crate::workload::WORKLOADS;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only these
    #[arg(value_name = "KIND")]
    kind: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Faults,
    Targets,
    Checkers,
    Situations,
    Systems,
    Workloads,
    Bugs,
}

const KINDS: [Kind; 7] = [
    Kind::Faults,
    Kind::Targets,
    Kind::Checkers,
    Kind::Situations,
    Kind::Systems,
    Kind::Workloads,
    Kind::Bugs,
];

pub(super) fn run(args: &Args) -> Result<ExitCode> {
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

fn items(kind: Kind) -> Vec<(String, String)> {
    let item = |name: &str, about: &str| (name.to_owned(), about.to_owned());
    match kind {
        Kind::Faults => {
            nemesis::faults::FAULTS.iter().map(|fault| item(fault.name(), fault.about())).collect()
        }
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
        Kind::Bugs => cluster_under_test::bugs::BUGS
            .iter()
            .map(|bug| item(bug.name, &format!("{} (breaks {})", bug.about, bug.breaks.join(", "))))
            .collect(),
    }
}
