//! Runs a plan in a process of its own: this program again, as `harness test --plan`.
//!
//! Commands that need many runs do each of them so. A run enters namespaces, which a process can do once and only
//! before it has threads; and whatever goes wrong in one run is over when the next begins.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use checkers::Verdict;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::run_dir::RunDir;

/// How a run in a process of its own ended.
#[derive(Debug)]
pub struct Ran {
    /// What the checkers said.
    pub verdict: Verdict,
    /// The findings that are not valid.
    pub found: Vec<Found>,
    /// What it left on disk.
    pub run: RunDir,
}

/// Where and how plans are run.
#[derive(Clone, Debug)]
pub struct Runner {
    /// Where run directories go.
    pub results: PathBuf,
    /// The TUN device.
    pub tun: PathBuf,
    /// Go on after a violation is certain, so that runs are of the same length.
    pub keep_going: bool,
}

/// What `--json` prints, as far as it matters here.
#[derive(Deserialize)]
struct Outcome {
    verdict: Verdict,
    run: PathBuf,
    findings: Vec<Found>,
}

/// A finding in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The checker.
    pub checker: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// What it says.
    pub summary: String,
}

impl Runner {
    /// Runs the plan and waits for its verdict.
    ///
    /// # Errors
    ///
    /// The run ended without a verdict; what it said on standard error is in the error's help.
    pub fn run(&self, plan: &Plan) -> Result<Ran> {
        std::fs::create_dir_all(&self.results).map_err(|error| Error::io("create", &self.results, &error))?;
        let file = PlanFile::create(&self.results, plan)?;
        let program = std::env::current_exe()
            .map_err(|error| Error::harness(format!("failed to find this program: {error}")))?;
        let mut command = Command::new(program);
        command.args(["test", "--json"]).arg("--plan").arg(&file.0);
        command.arg("--results").arg(&self.results).arg("--tun").arg(&self.tun);
        if self.keep_going {
            command.arg("--keep-going");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: prctl is async-signal-safe and allocates nothing. The thread that starts the run waits for it, so
        // the signal comes only if this whole process dies.
        unsafe { command.pre_exec(|| set_pdeathsig(Signal::SIGTERM).map_err(Into::into)) };
        let output =
            command.output().map_err(|error| Error::harness(format!("failed to start a run: {error}")))?;
        if !matches!(output.status.code(), Some(0..=2)) {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rev().take(12).collect::<Vec<_>>();
            let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
            let message = format!("the run of seed {} ended without a verdict: {}", plan.seed, output.status);
            return Err(Error::harness(message).help(last));
        }
        let outcome: Outcome = serde_json::from_slice(&output.stdout).map_err(|error| {
            Error::harness(format!("the run of seed {} printed no verdict: {error}", plan.seed))
        })?;
        let found = outcome.findings.into_iter().filter(|finding| finding.verdict != Verdict::Valid);
        Ok(Ran { verdict: outcome.verdict, found: found.collect(), run: RunDir::open(&outcome.run)? })
    }
}

/// A plan on its way to the process that runs it; removed when that has ended.
struct PlanFile(PathBuf);

impl PlanFile {
    fn create(results: &Path, plan: &Plan) -> Result<Self> {
        let path = results.join(format!(".plan-{}-{}.json", std::process::id(), plan.seed));
        plan.write(&path)?;
        Ok(Self(path))
    }
}

impl Drop for PlanFile {
    fn drop(&mut self) {
        // A hidden file left behind harms nobody.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Says on standard error how far many runs are. Progress that cannot be shown is no reason to end them.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "  {text}");
}
