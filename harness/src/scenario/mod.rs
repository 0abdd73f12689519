//! Scenarios: known situations of Raft systems, each brought about on purpose and in the same way every time.
//!
//! A scenario is a file: which faults begin and end at which events, which situations the run must pass through, what
//! may happen on the way, and what must not. Steps wait for what they need (a leader, an uncommitted tail, a successor)
//! and not for time to pass. The file format is that of a plan's steps, in TOML; a file of one's own is run with
//! `--scenario PATH.toml`, and `harness shrink` writes one.
//!
//! A new scenario is one file here and one line in [`SCENARIOS`].

use std::fs;
use std::path::Path;

use checkers::Bound;
use nemesis::faults;
use nemesis::schedule::{Schedule, Step};
use serde::{Deserialize, Serialize};

use crate::config::Settings;
use crate::error::{Error, Result};
use crate::names;

/// A scenario that comes with the harness.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// How it is called on the command line.
    pub name: &'static str,
    text: &'static str,
}

/// Declares the built-in scenarios by the names of their files.
macro_rules! scenarios {
    ($($name:literal,)*) => {
        /// Every scenario, in the order shown by `harness list`.
        pub const SCENARIOS: &[BuiltIn] =
            &[$(BuiltIn { name: $name, text: include_str!(concat!($name, ".toml")) },)*];
    };
}

scenarios! {
    "returning-leader",
    "killed-leader-returns",
    "paused-leader-returns",
    "isolated-follower-returns",
    "restart-of-all",
    "half-split",
}

/// A scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// How it is called.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What happens, in a line of `harness list`.
    pub about: String,
    /// What must happen, in words; `situations` and the lower ends of `bounds` check it.
    pub must: String,
    /// What may happen, in words: nobody is alarmed.
    pub may: String,
    /// What must not happen, in words; the checkers and the upper ends of `bounds` look for it.
    pub must_not: String,
    /// How many nodes, unless `--nodes` says otherwise.
    pub nodes: u16,
    /// How long clients and nemesis work, unless `--time-limit` says otherwise.
    pub time_limit_s: u64,
    /// The situations that the run must pass through; one that misses them is unknown.
    #[serde(default)]
    pub situations: Vec<String>,
    /// What is allowed and demanded, in measures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bounds: Vec<ScenarioBound>,
    /// The faults, in the order of their beginning.
    pub steps: Vec<Step>,
}

/// A bound that may hold only for some settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioBound {
    /// For which settings; all, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// The bound.
    #[serde(flatten)]
    pub bound: Bound,
}

/// Settings that a bound is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Nodes ask before they campaign.
    PreVote,
    /// They do not.
    NoPreVote,
}

/// The scenario of that name, or the one in that file.
///
/// # Errors
///
/// There is none, or the file is no scenario; the error names what is wrong with it.
pub fn find(name: &str) -> Result<Scenario> {
    if let Some(built_in) = SCENARIOS.iter().find(|built_in| built_in.name == name) {
        return read(built_in.text, built_in.name, built_in.name);
    }
    let path = Path::new(name);
    if path.extension().is_some_and(|extension| extension == "toml") {
        let text = fs::read_to_string(path)
            .map_err(|error| Error::usage(format!("cannot read {}: {error}", path.display())))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        return read(&text, &stem, name);
    }
    Err(names::unknown("scenario", name, SCENARIOS.iter().map(|built_in| built_in.name)))
}

fn read(text: &str, name: &str, place: &str) -> Result<Scenario> {
    let mut scenario: Scenario =
        toml::from_str(text).map_err(|error| Error::usage(format!("{place}: not a scenario: {error}")))?;
    if scenario.name.is_empty() {
        name.clone_into(&mut scenario.name);
    }
    for step in &scenario.steps {
        faults::find(&step.fault).map_err(|error| Error::usage(format!("{place}: {error}")))?;
    }
    if let Some(bound) =
        scenario.bounds.iter().find(|bound| checkers::measures::find(&bound.bound.measure).is_none())
    {
        return Err(Error::usage(format!("{place}: there is no measure `{}`", bound.bound.measure)));
    }
    Ok(scenario)
}

impl Scenario {
    /// The names of its faults, as they would be asked for on the command line.
    pub fn faults(&self) -> String {
        self.steps.iter().map(|step| step.fault.as_str()).collect::<Vec<_>>().join(",")
    }

    /// What the nemesis does.
    pub fn schedule(&self) -> Schedule {
        Schedule { steps: self.steps.clone() }
    }

    /// The bounds for these settings.
    pub fn bounds(&self, settings: &Settings) -> Vec<Bound> {
        let holds = |when: Option<When>| match when {
            None => true,
            Some(When::PreVote) => settings.pre_vote,
            Some(When::NoPreVote) => !settings.pre_vote,
        };
        self.bounds.iter().filter(|bound| holds(bound.when)).map(|bound| bound.bound.clone()).collect()
    }

    /// As a file.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a scenario has only string keys, and no values before tables")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_can_be_read_and_written() {
        for built_in in SCENARIOS {
            let scenario = find(built_in.name).expect(built_in.name);
            assert_eq!(scenario.name, built_in.name);
            assert!(!scenario.steps.is_empty() && !scenario.about.is_empty(), "{}", built_in.name);
            let again = read(&scenario.to_toml(), "again", "again").expect("what is written can be read");
            assert_eq!(again, scenario);
        }
    }

    #[test]
    fn a_mistake_in_a_file_is_named() {
        let error = read("about = 1", "x", "x.toml").expect_err("no text");
        assert!(error.message.contains("x.toml") && error.message.contains("about"), "{}", error.message);
        let mistyped = find("returning-leadr").expect_err("mistyped");
        assert!(mistyped.help.is_some_and(|help| help.contains("`returning-leader`")));
    }
}
