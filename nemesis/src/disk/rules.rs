//! Which operations a disk hurts, and how: by kind of operation, path and occurrence.
//!
//! A rule is armed and disarmed while the disk is in use. The first rule that wants an operation has it; operations
//! of a [probe](super::probe) meet the same rules, are always hurt by them, and are not counted, so that looking
//! whether a rule is in force does not use it up.

use std::fmt;
use std::time::Duration;

use nix::errno::Errno;
use rand::RngExt;

use crate::target::Rng;

/// What a program asks of a disk, as far as rules tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// `read`, and page faults of a mapped file.
    Read,
    /// `write`, `fallocate`, and mapped pages that are written back.
    Write,
    /// `ftruncate`, and `open` with `O_TRUNC`.
    Truncate,
    /// `fsync` and `fdatasync` of a file.
    Fsync,
    /// `fsync` of a directory.
    FsyncDirectory,
    /// A new file or directory.
    Create,
    /// `rename`; its path is the old one.
    Rename,
    /// `unlink` and `rmdir`.
    Unlink,
}

impl Operation {
    /// All, by their names.
    pub const NAMES: [(&str, Self); 8] = [
        ("read", Self::Read),
        ("write", Self::Write),
        ("truncate", Self::Truncate),
        ("fsync", Self::Fsync),
        ("fsync-dir", Self::FsyncDirectory),
        ("create", Self::Create),
        ("rename", Self::Rename),
        ("unlink", Self::Unlink),
    ];

    /// The operation of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, operation)| operation)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMES.iter().find(|(_, operation)| operation == self);
        f.pad(named.expect("every operation has a name").0)
    }
}

/// Paths: `*` stands for any text, `?` for any character. Without a slash it is about the last part of a path alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Every text is a pattern.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether a path is meant.
    pub fn matches(&self, path: &str) -> bool {
        let path = if self.0.contains('/') { path } else { path.rsplit('/').next().unwrap_or(path) };
        glob(self.0.as_bytes(), path.as_bytes())
    }

    /// A file name that is meant, for a probe. Its directory is left out.
    pub fn example(&self) -> String {
        let name = self.0.rsplit('/').next().unwrap_or(&self.0);
        name.replace('*', "probe").replace('?', "p")
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Linear in both but for the last star, which is tried at each place.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// What is done to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It fails and has no effect. Of a sync: the pages stay dirty, and another sync may save them.
    Fail(Errno),
    /// A sync fails, and its pages count as clean from then on, as in Linux: another sync succeeds and writes nothing.
    FailAndForget(Errno),
    /// A sync succeeds and saves nothing.
    Lie,
    /// A sync takes this much longer. Its pages are saved at its end.
    Delay(Duration),
    /// It does not happen, and everything that changes the disk stands still until somebody
    /// [thaws](super::FaultyDisk::thaw) it.
    Freeze,
}

/// Which operations are hurt, and how.
#[derive(Clone, Debug)]
pub struct Rule {
    /// These.
    pub operations: Vec<Operation>,
    /// On these paths.
    pub path: Pattern,
    /// So many are let pass first.
    pub skip: u64,
    /// So many are hurt then; `None` is all of them.
    pub times: Option<u64>,
    /// Each with this probability.
    pub percent: u8,
    /// In this way.
    pub action: Action,
    /// Seeds the choice by `percent`.
    pub seed: u64,
}

/// A rule in force. Of the disk that it was armed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u64);

/// The rules of a disk.
#[derive(Debug, Default)]
pub(super) struct Rules {
    armed: Vec<Armed>,
    next: u64,
}

#[derive(Debug)]
struct Armed {
    id: RuleId,
    rule: Rule,
    rng: Rng,
    seen: u64,
    hit: u64,
}

impl Rules {
    pub(super) fn arm(&mut self, rule: Rule) -> RuleId {
        let id = RuleId(self.next);
        self.next += 1;
        let rng = Rng::new(rule.seed, 0);
        self.armed.push(Armed { id, rule, rng, seen: 0, hit: 0 });
        id
    }

    /// Gives how many operations it has hurt, 0 if it was not armed.
    pub(super) fn disarm(&mut self, id: RuleId) -> u64 {
        match self.armed.iter().position(|armed| armed.id == id) {
            Some(at) => self.armed.remove(at).hit,
            None => 0,
        }
    }

    /// Whether a rule delays anything.
    pub(super) fn delay_any(&self) -> bool {
        self.armed.iter().any(|armed| matches!(armed.rule.action, Action::Delay(_)))
    }

    /// Disarms all; gives how many there were.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(&mut self.armed).len()
    }

    pub(super) fn hits(&self, id: RuleId) -> u64 {
        self.armed.iter().find(|armed| armed.id == id).map_or(0, |armed| armed.hit)
    }

    /// What is done to an operation of a node, or of a probe; `None` lets it pass.
    pub(super) fn decide(&mut self, operation: Operation, path: &str, by_probe: bool) -> Option<Action> {
        self.armed.iter_mut().find_map(|armed| armed.decide(operation, path, by_probe))
    }
}

impl Armed {
    fn decide(&mut self, operation: Operation, path: &str, by_probe: bool) -> Option<Action> {
        let rule = &self.rule;
        if !rule.operations.contains(&operation) || !rule.path.matches(path) {
            return None;
        }
        if by_probe {
            // Frozen probes would stand still with everything else.
            return (rule.action != Action::Freeze).then_some(rule.action);
        }
        self.seen += 1;
        if self.seen <= rule.skip || rule.times.is_some_and(|times| self.hit >= times) {
            return None;
        }
        // Drawn for each, so that the choices do not depend on the probability.
        if self.rng.random_range(0..100) >= rule.percent {
            return None;
        }
        self.hit += 1;
        Some(rule.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(path: &str, skip: u64, times: Option<u64>, percent: u8) -> Rule {
        let (operations, path) = (vec![Operation::Write], Pattern::new(path));
        Rule { operations, path, skip, times, percent, action: Action::Fail(Errno::EIO), seed: 7 }
    }

    fn hits(rule: Rule, path: &str, operations: usize) -> Vec<usize> {
        let mut rules = Rules::default();
        rules.arm(rule);
        (1..=operations).filter(|_| rules.decide(Operation::Write, path, false).is_some()).collect()
    }

    #[test]
    fn patterns_are_about_the_last_part_or_about_the_whole_path() {
        let yes =
            |pattern: &str, path: &str| assert!(Pattern::new(pattern).matches(path), "{pattern} {path}");
        let no =
            |pattern: &str, path: &str| assert!(!Pattern::new(pattern).matches(path), "{pattern} {path}");
        yes("*", "data/wal/1");
        yes("*.wal", "data/member/wal/0001.wal");
        no("*.wal", "data/wal/0001.tmp");
        yes("data/*/0001.wal", "data/member/wal/0001.wal");
        no("wal/*.wal", "data/wal/0001.wal");
        yes("wal-?.log", "data/wal-7.log");
        no("wal-?.log", "data/wal-77.log");
        yes("*a*b*", "xxaxbxab");
        no("*a*b", "xxaxbxa");
        assert_eq!(Pattern::new("data/wal-*.log").example(), "wal-probe.log");
    }

    #[test]
    fn occurrences_are_counted_from_the_time_it_is_armed() {
        assert_eq!(hits(rule("*", 0, None, 100), "log", 3), [1, 2, 3]);
        assert_eq!(hits(rule("*", 2, Some(2), 100), "log", 9), [3, 4]);
        assert_eq!(hits(rule("other", 0, None, 100), "log", 9), Vec::<usize>::new());
    }

    #[test]
    fn a_probability_is_kept_on_the_average() {
        let hit = hits(rule("*", 0, None, 30), "log", 10_000).len();
        // Five standard deviations of the binomial distribution: 5 * sqrt(10000 * 0.3 * 0.7) = 229.
        assert!((2771..=3229).contains(&hit), "{hit} of 10000, expected about 3000");
    }

    #[test]
    fn a_probe_meets_the_rule_and_does_not_use_it_up() {
        let mut rules = Rules::default();
        let id = rules.arm(rule("*", 0, Some(1), 1));
        assert_eq!(rules.decide(Operation::Write, "probe", true), Some(Action::Fail(Errno::EIO)));
        assert_eq!(rules.hits(id), 0);
        assert_eq!(rules.decide(Operation::Read, "probe", true), None);
        assert_eq!(rules.disarm(id), 0);
        assert_eq!(rules.decide(Operation::Write, "probe", true), None);
    }
}
