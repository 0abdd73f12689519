//! Which of the faults that were asked for a run can have, on this machine and with this system, and why not the others.
//!
//! What is asked for by name and cannot be is refused before anything boots. `all` stands for whatever can be and a correct
//! system must survive; what it leaves out is told in a line.

use nemesis::capability::Capabilities;
use nemesis::faults::selection::{self, Choice};
use nemesis::faults::{Fault, Needs, find};

use crate::error::{Error, Result};
use crate::system::System;

/// The faults of a run.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Each with what was asked for of it.
    pub faults: Vec<Choice>,
    /// Whether `all` was asked for, so that a run may hold some of them only.
    pub is_all: bool,
    /// What `all` leaves out and why: `wipe: …`.
    pub left_out: Vec<String>,
}

/// Reads the list of faults of the command line. `probe` tries what the machine has; it is asked only if a fault acts on
/// more than processes and links, which every run has.
///
/// # Errors
///
/// A fault that does not exist, or was asked for by name and cannot be.
pub fn choose(text: &str, system: &dyn System, probe: impl FnOnce() -> Capabilities) -> Result<Chosen> {
    let parse = |text: &str| selection::parse(text).map_err(|error| Error::usage(error.to_string()));
    let items = text.split(',').map(str::trim);
    let (all, named) = items.partition::<Vec<_>, _>(|item| *item == "all");
    let named = parse(&named.join(","))?;
    let all = parse(&all.join(","))?;
    let fault = |choice: &Choice| find(&choice.fault).expect("it was just read");

    let is_special = |choice: &Choice| !matches!(fault(choice).needs(), Needs::Processes | Needs::Links);
    let machine = named.iter().chain(&all).any(is_special).then(probe);
    let lack = |fault: &dyn Fault| lack(fault, machine.as_ref(), system);
    for choice in &named {
        if let Some((reason, help)) = lack(fault(choice)) {
            return Err(Error::harness(format!("{} cannot be injected: {reason}", choice.fault)).help(help));
        }
    }
    let mut chosen = Chosen { is_all: !all.is_empty(), faults: named, left_out: Vec::new() };
    for choice in all {
        let fault = fault(&choice);
        let reason = lack(fault).map(|(reason, _)| reason);
        match reason.or_else(|| fault.beyond_promise().map(str::to_owned)) {
            Some(reason) => chosen.left_out.push(format!("{}: {reason}", choice.fault)),
            None if chosen.faults.contains(&choice) => (),
            None => chosen.faults.push(choice),
        }
    }
    Ok(chosen)
}

/// Why a fault cannot be injected, and what to do about it.
pub fn lack(
    fault: &dyn Fault,
    machine: Option<&Capabilities>,
    system: &dyn System,
) -> Option<(String, String)> {
    let needs = fault.needs();
    if let Some(lack) = machine.and_then(|machine| machine.lack(needs)) {
        return Some((lack.reason.clone(), lack.help.clone()));
    }
    let help = "choose others with --faults, or another system with --system".to_owned();
    system.lack(needs).map(|reason| (reason, help))
}
