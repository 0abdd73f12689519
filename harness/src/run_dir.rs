//! The directory of one run.
//!
//! ```text
//! results/latest -> raft-kv-register/20261124T101500-1
//! results/raft-kv-register/20261124T101500-1/
//!     plan.json        the plan, saved before anything boots
//!     history.jsonl    operations and faults, written as they happen
//!     findings.json    what the checkers found
//!     harness.log      what the harness itself had to say
//!     network.pcap     packets, on failure or when asked for
//!     nodes/n1/        stdout.log  stderr.log  trace.jsonl  data/ (kept on failure)
//!                      disk.log (what was asked of a faulty disk, kept on failure)
//! ```

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use checkers::history::NodeId;

use crate::error::{Error, Result};
use crate::plan::Plan;

/// What a run directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A run to be judged; `latest` points at it.
    Test,
    /// A cluster to play with.
    Up,
}

/// One run on disk.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes a new directory for a run of this plan, saves the plan in it and points `latest` at it.
    pub fn create(results: &Path, plan: &Plan, purpose: Purpose) -> Result<Self> {
        let kind = match purpose {
            Purpose::Test => plan.workload.as_str(),
            Purpose::Up => "up",
        };
        let name = match &plan.settings.bug {
            Some(bug) => format!("{}-{kind}-{bug}", plan.system),
            None => format!("{}-{kind}", plan.system),
        };
        let parent = results.join(&name);
        fs::create_dir_all(&parent).map_err(|error| Error::io("create", &parent, &error))?;
        let stamp = timestamp(SystemTime::now());
        // Two runs of one seed may start within a second, from two shells: the second gets a suffix.
        let mut attempt = 0;
        let (path, leaf) = loop {
            let leaf = match attempt {
                0 => format!("{stamp}-{}", plan.seed),
                _ => format!("{stamp}-{}-{attempt}", plan.seed),
            };
            let path = parent.join(&leaf);
            match fs::create_dir(&path) {
                Ok(()) => break (path, leaf),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => attempt += 1,
                Err(error) => return Err(Error::io("create", &path, &error)),
            }
        };
        let run = Self { path };
        for node in run.node_ids(plan) {
            let data = run.data(node);
            fs::create_dir_all(&data).map_err(|error| Error::io("create", &data, &error))?;
        }
        plan.write(&run.plan())?;
        if purpose == Purpose::Up {
            return Ok(run);
        }
        // A link that is replaced in one step: no reader ever finds it missing.
        // Its name is the run's: the pid is that of a small namespace, the same in every run.
        let beside = results.join(format!(".latest-{name}-{leaf}"));
        let latest = results.join("latest");
        symlink(Path::new(&name).join(leaf), &beside)
            .and_then(|()| fs::rename(&beside, &latest))
            .map_err(|error| Error::io("link", &latest, &error))?;
        Ok(run)
    }

    /// Opens the directory of a former run.
    pub fn open(path: &Path) -> Result<Self> {
        // `results/latest` will move on; what we print should not.
        let path = path.canonicalize().map_err(|error| {
            Error::usage(format!("cannot open the run {}: {error}", path.display()))
                .help("name a run directory, such as results/latest")
        })?;
        let run = Self { path };
        if !run.history().is_file() {
            return Err(Error::usage(format!("{} has no history.jsonl", run.path.display()))
                .help("name a run directory, such as results/latest"));
        }
        Ok(run)
    }

    /// Reads the plan back.
    pub fn read_plan(&self) -> Result<Plan> {
        Plan::read(&self.plan())
    }

    /// The nodes of a plan.
    pub fn node_ids(&self, plan: &Plan) -> Vec<NodeId> {
        (1..=plan.nodes).map(NodeId).collect()
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `plan.json`.
    pub fn plan(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    /// `history.jsonl`.
    pub fn history(&self) -> PathBuf {
        self.path.join("history.jsonl")
    }

    /// `findings.json`.
    pub fn findings(&self) -> PathBuf {
        self.path.join("findings.json")
    }

    /// `counterexample.svg`.
    pub fn picture(&self) -> PathBuf {
        self.path.join("counterexample.svg")
    }

    /// `harness.log`.
    pub fn log(&self) -> PathBuf {
        self.path.join("harness.log")
    }

    /// `network.pcap`.
    pub fn pcap(&self) -> PathBuf {
        self.path.join("network.pcap")
    }

    /// The directory of a node.
    pub fn node(&self, node: NodeId) -> PathBuf {
        self.path.join("nodes").join(node.to_string())
    }

    /// The trace of a node.
    pub fn trace(&self, node: NodeId) -> PathBuf {
        self.node(node).join("trace.jsonl")
    }

    /// Where a faulty disk of a node is mounted during a run.
    pub fn mount_point(&self, node: NodeId) -> PathBuf {
        self.node(node).join("disk")
    }

    /// `disk.log` of a node.
    pub fn disk_journal(&self, node: NodeId) -> PathBuf {
        self.node(node).join("disk.log")
    }

    /// The data directory of a node.
    pub fn data(&self, node: NodeId) -> PathBuf {
        self.node(node).join("data")
    }
}

/// `20261124T101500`, in UTC.
fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).expect("the wall clock is past 1970").as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}")
}

/// The Gregorian date of a day counted from 1970-01-01.
///
/// Years are counted from March, so that the leap day is the last of a year and months have a regular pattern.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_MARCH_OF_YEAR_0: u64 = 719_468;
    let days = days + DAYS_TO_MARCH_OF_YEAR_0;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timestamps_are_utc_dates() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101T000000");
        assert_eq!(at(951_782_400), "20000229T000000");
        assert_eq!(at(1_709_251_199), "20240229T235959");
        assert_eq!(at(1_795_515_300), "20261124T101500");
    }
}
