//! The faults asked for on the command line: `kill,partition:minority`, `loss:leader:percent=20`, `partitions`, `all` or
//! `none`.

use std::fmt;

use super::{FAULTS, Fault, Unknown, find};
use crate::knobs::Knobs;
use crate::target::Target;

/// Names that stand for several faults.
pub const GROUPS: [&str; 4] = ["all", "partitions", "weather", "none"];

/// What was asked for of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its name.
    pub fault: String,
    /// The target, if one was asked for.
    pub target: Option<Target>,
    /// The settings that were asked for.
    pub knobs: Knobs,
}

impl Choice {
    /// A fault with whatever targets and settings are usual.
    pub fn any(fault: &dyn Fault) -> Self {
        Self { fault: fault.name().to_owned(), target: None, knobs: Knobs::default() }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault)?;
        if let Some(target) = &self.target {
            write!(f, ":{target}")?;
        }
        if !self.knobs.is_empty() {
            write!(f, ":{}", self.knobs)?;
        }
        Ok(())
    }
}

/// Reads a list of faults, separated by commas. Each is chosen once, in the order written.
///
/// # Errors
///
/// A fault, target or setting that does not exist, or a target on a fault that cannot have it.
pub fn parse(text: &str) -> Result<Vec<Choice>, SelectionError> {
    let mut choices = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        for choice in parse_item(item)? {
            if !choices.contains(&choice) {
                choices.push(choice);
            }
        }
    }
    Ok(choices)
}

fn parse_item(item: &str) -> Result<Vec<Choice>, SelectionError> {
    let mut parts = item.split(':');
    let name = parts.next().expect("splitting gives at least one part");
    let (settings, targets): (Vec<_>, Vec<_>) = parts.partition(|part| part.contains('='));
    let group: Option<Vec<Choice>> = match name {
        "all" => Some(whole(|fault| fault.beyond_promise().is_none())),
        "partitions" | "weather" => Some(whole(|fault| fault.group() == Some(name))),
        "none" => Some(Vec::new()),
        _ => None,
    };
    if let Some(choices) = group {
        if settings.is_empty() && targets.is_empty() {
            return Ok(choices);
        }
        return Err(SelectionError::GroupWithTarget { group: name.to_owned() });
    }
    let fault = find(name)?;
    let mut choice = Choice::any(fault);
    match targets[..] {
        [] => (),
        [target] => choice.target = Some(read_target(fault, target)?),
        [_, second, ..] => {
            let reason = format!("`{second}` is one target too many; write several nodes as n1+n2");
            return Err(SelectionError::Target { fault: fault.name(), reason });
        }
    }
    for setting in settings {
        let (knob, text) = setting.split_once('=').expect("parts with `=` are settings");
        let refused = |reason| SelectionError::Knob { fault: fault.name(), reason };
        choice.knobs.set(fault.knobs(), knob, text).map_err(refused)?;
    }
    Ok(vec![choice])
}

fn read_target(fault: &dyn Fault, text: &str) -> Result<Target, SelectionError> {
    let refused = |reason| SelectionError::Target { fault: fault.name(), reason };
    let target = text.parse().map_err(refused)?;
    if fault.targets() == [Target::All] && target != Target::All {
        return Err(refused("it always hits the whole cluster; leave the target out".to_owned()));
    }
    Ok(target)
}

fn whole(belongs: impl Fn(&dyn Fault) -> bool) -> Vec<Choice> {
    FAULTS.iter().filter(|fault| belongs(**fault)).map(|fault| Choice::any(*fault)).collect()
}

/// Why a list of faults cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// No such fault.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// No such target, or not for this fault.
    #[error("target of {fault}: {reason}")]
    Target {
        /// The fault.
        fault: &'static str,
        /// Why not.
        reason: String,
    },
    /// No such setting.
    #[error("{fault}: {reason}")]
    Knob {
        /// The fault.
        fault: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A target or setting goes with one fault.
    #[error(
        "`{group}` stands for several faults and takes no target or setting; name the faults, as in `kill:leader`"
    )]
    GroupWithTarget {
        /// The group.
        group: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let shown = match parse(text) {
            Ok(choices) => choices.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn faults_are_chosen_by_name_with_or_without_target() {
        check("kill, pause:leader,partition:n1+n2", "kill pause:leader partition:n1+n2");
        check("kill,kill,kill:all", "kill kill:all");
        check("none", "");
    }

    #[test]
    fn groups_stand_for_their_faults() {
        let partitions = "partition partition-one-way partition-deaf partition-ring partition-bridge \
                          partition-chain partition-star partition-halves partition-island \
                          partition-clients constrained-election";
        check("partitions", partitions);
        check("partition,partitions", partitions);
        check("weather", "delay loss duplicate reorder corrupt corrupt-data bandwidth flap");
        let all = parse("all").expect("a group");
        assert_eq!(all.len(), FAULTS.iter().filter(|fault| fault.beyond_promise().is_none()).count());
        assert!(
            !all.iter().any(|choice| choice.fault == "corrupt-data"),
            "frames need a checksum to survive it"
        );
    }

    #[test]
    fn mistakes_say_what_to_write() {
        check("kil", "there is no fault `kil`; did you mean `kill`?; `harness list` shows all");
        check(
            "partitons",
            "there is no fault `partitons`; did you mean `partitions`?; `harness list` shows all",
        );
        check(
            "all:leader",
            "`all` stands for several faults and takes no target or setting; name the faults, as in `kill:leader`",
        );
        check(
            "partition-ring:leader",
            "target of partition-ring: it always hits the whole cluster; leave the target out",
        );
        check("kill:percent=3", "kill: there is nothing to set, also not `percent`");
        check("kill:n1:n2", "target of kill: `n2` is one target too many; write several nodes as n1+n2");
        assert!(parse("kill:nobody").is_err());
    }
}
