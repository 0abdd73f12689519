//! Which of the faults that were asked for a run can have, on this machine and with this system, and why not the others.
//!
//! What is asked for by name and cannot be is refused before anything boots. `all` stands for whatever can be and a correct
//! system must survive; what it leaves out is told in a line.

use nemesis::capability::Capabilities;
use nemesis::faults::selection::{self, Choice};
use nemesis::faults::{FAULTS, Fault, Needs, find};

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
    let (all, named) = text.split(',').map(str::trim).partition::<Vec<_>, _>(|item| *item == "all");
    let named = selection::parse(&named.join(",")).map_err(|error| Error::usage(error.to_string()))?;
    let named_faults = named.iter().map(|choice| find(&choice.fault).expect("it was just read"));
    let is_all = !all.is_empty();
    let all = if is_all { FAULTS } else { &[] };

    let is_special = |fault: &dyn Fault| !matches!(fault.needs(), Needs::Processes | Needs::Links);
    let machine = named_faults.clone().chain(all.iter().copied()).any(is_special).then(probe);
    let lack = |fault: &dyn Fault| lack(fault, machine.as_ref(), system);
    for fault in named_faults {
        if let Some((reason, help)) = lack(fault) {
            return Err(Error::harness(format!("{} cannot be injected: {reason}", fault.name())).help(help));
        }
    }
    let mut chosen = Chosen { is_all, faults: named, left_out: Vec::new() };
    for fault in all {
        let choice = Choice::any(*fault);
        let reason = lack(*fault).map(|(reason, _)| reason);
        match reason.or_else(|| fault.beyond_promise().map(str::to_owned)) {
            _ if chosen.faults.contains(&choice) => (),
            Some(reason) => chosen.left_out.push(format!("{}: {reason}", fault.name())),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::RaftKv;

    fn unasked() -> Capabilities {
        panic!("nothing but processes and links is needed")
    }

    #[test]
    fn what_every_run_has_is_chosen_without_a_look_at_the_machine() {
        let chosen = choose("kill,partition:minority", &RaftKv, unasked).expect("they exist");
        let names = chosen.faults.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((names.join(" ").as_str(), chosen.is_all), ("kill partition:minority", false));
    }

    #[test]
    fn a_mistyped_name_is_bad_usage() {
        let error = choose("kill,alll", &RaftKv, unasked).expect_err("no such fault");
        assert!(error.message.contains("no fault `alll`; did you mean `all`?"), "{error}");
    }
}
