//! The faults asked for on the command line: `kill,partition:minority`, `partitions`, `all` or `none`.

use super::{FAULTS, Fault, Needs, Unknown, find};
use crate::target::Target;

/// Names that stand for several faults.
pub const GROUPS: [&str; 3] = ["all", "partitions", "none"];

/// A fault by name, and the target if one was asked for.
pub type Choice = (String, Option<Target>);

/// Reads a list of faults, separated by commas. Each is chosen once, in the order written.
///
/// # Errors
///
/// A fault or target that does not exist, or a target on a fault that cannot have it.
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
    let (name, target) = match item.split_once(':') {
        Some((name, target)) => (name, Some(target)),
        None => (item, None),
    };
    let group: Option<Vec<Choice>> = match name {
        "all" => Some(whole(|_| true)),
        "partitions" => Some(whole(|fault| fault.needs() == Needs::Links)),
        "none" => Some(Vec::new()),
        _ => None,
    };
    match (group, target) {
        (Some(choices), None) => Ok(choices),
        (Some(_), Some(_)) => Err(SelectionError::GroupWithTarget { group: name.to_owned() }),
        (None, None) => Ok(vec![(find(name)?.name().to_owned(), None)]),
        (None, Some(target)) => {
            let fault = find(name)?;
            let target =
                target.parse().map_err(|reason| SelectionError::Target { fault: fault.name(), reason })?;
            if fault.targets() == [Target::All] && target != Target::All {
                let reason = "it always hits the whole cluster; leave the target out".to_owned();
                return Err(SelectionError::Target { fault: fault.name(), reason });
            }
            Ok(vec![(fault.name().to_owned(), Some(target))])
        }
    }
}

fn whole(belongs: impl Fn(&dyn Fault) -> bool) -> Vec<Choice> {
    FAULTS.iter().filter(|fault| belongs(**fault)).map(|fault| (fault.name().to_owned(), None)).collect()
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
    /// A target goes with one fault.
    #[error("`{group}` stands for several faults and takes no target; name the faults, as in `kill:leader`")]
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
            Ok(choices) => choices
                .iter()
                .map(|(name, target)| match target {
                    Some(target) => format!("{name}:{target}"),
                    None => name.clone(),
                })
                .collect::<Vec<_>>()
                .join(" "),
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
        check("partitions", "partition partition-one-way partition-ring partition-bridge");
        check("partition,partitions", "partition partition-one-way partition-ring partition-bridge");
        assert_eq!(parse("all").expect("a group").len(), FAULTS.len());
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
            "`all` stands for several faults and takes no target; name the faults, as in `kill:leader`",
        );
        check(
            "partition-ring:leader",
            "target of partition-ring: it always hits the whole cluster; leave the target out",
        );
        assert!(parse("kill:nobody").is_err());
    }
}
