//! Progress on standard error: a bar on a terminal, plain lines elsewhere.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use checkers::history::NodeId;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two plain lines.
const LINE_PERIOD: Duration = Duration::from_secs(5);
/// Columns of the word that begins a line.
const WORD: usize = 9;

/// Shows how far a run is.
pub struct Progress {
    /// Only on a terminal.
    bar: Option<ProgressBar>,
    last_line: Cell<Option<Instant>>,
    /// Whether the bar is on the screen.
    drawn: Cell<bool>,
}

/// How far the drive is.
pub struct DriveState {
    /// Since it began.
    pub elapsed: Duration,
    /// How long it will take.
    pub time_limit: Duration,
    /// Operations that happened.
    pub ok: u64,
    /// Who leads, in which term.
    pub leader: Option<(NodeId, u64)>,
    /// Changes of leader so far.
    pub leader_changes: u64,
    /// Faults in force.
    pub in_force: Vec<String>,
}

impl Progress {
    /// A bar if standard error is a terminal, lines otherwise.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("  {prefix:<8} {bar:24} {msg}")
                .expect("the template is a constant")
                .progress_chars("█▉ ");
            bar.set_style(style);
            bar
        });
        Self { bar, last_line: Cell::new(None), drawn: Cell::new(false) }
    }

    /// A line that stays.
    pub fn phase(&self, word: &str, text: &str) {
        let line = format!("  {word:<WORD$}{text}");
        match &self.bar {
            Some(bar) if self.drawn.get() => bar.suspend(|| say(&line)),
            // A bar that is not there yet would be drawn empty below the line.
            Some(_) | None => say(&line),
        }
    }

    /// How far the drive is: moves the bar, or writes a line now and then.
    pub fn drive(&self, state: &DriveState) {
        let seconds = state.elapsed.as_secs_f64();
        let rate = if seconds > 0.0 { state.ok as f64 / seconds } else { 0.0 };
        let leader = match state.leader {
            Some((node, term)) => format!("{node} leads term {term}"),
            None => "no leader".to_owned(),
        };
        let mut text = format!(
            "{seconds:4.0} s · {} ops ({rate:.0}/s) · {leader} · {} leader changes",
            state.ok, state.leader_changes
        );
        if !state.in_force.is_empty() {
            text = format!("{text} · {}", state.in_force.join(", "));
        }
        if let Some(bar) = &self.bar {
            bar.set_length(millis(state.time_limit));
            bar.set_position(millis(state.elapsed).min(millis(state.time_limit)));
            bar.set_prefix("drive");
            bar.set_message(text);
            self.drawn.set(true);
        } else if self.last_line.get().is_none_or(|at| at.elapsed() >= LINE_PERIOD) {
            self.last_line.set(Some(Instant::now()));
            self.phase("drive", &text);
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            self.drawn.set(false);
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Progress that cannot be shown (a closed pipe) is no reason to end a run.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
