//! Compares two configurations: the same seeds, operations and faults under both, in pairs.
//!
//! Whether PreVote helps is no question for one run: elections are random, and so is who is cut off. Here each seed is
//! run under both configurations with the same schedule, one right after the other and in turning order, so that what
//! changes on the machine meanwhile hits both. What is told is the difference within pairs.

mod table;

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use checkers::measures::{MEASURES, measure};
use checkers::picture::{Panel, leadership};
use checkers::{Evidence, Verdict};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::child::{Found, Runner, say};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::judge::read_evidence;
use crate::plan::{Plan, plan};
use crate::run_dir::RunDir;
use crate::statistics::{Estimate, differs, median};

/// The version of the figures.
const FORMAT: u32 = 1;

/// One of the two configurations.
#[derive(Clone, Debug)]
pub struct Side {
    /// What sets it apart, as it was written.
    pub label: String,
    /// The whole of it.
    pub config: RunConfig,
}

/// What came of a comparison.
#[derive(Debug)]
pub struct Comparison {
    /// The worst verdict of all runs.
    pub verdict: Verdict,
    /// What sets the sides apart.
    labels: [String; 2],
    /// Every pair of runs.
    pairs: Vec<Pair>,
    /// One line a measure.
    rows: Vec<Row>,
    /// Leadership over time in a typical pair.
    pub picture: PathBuf,
    /// The figures as JSON.
    pub figures: PathBuf,
}

/// Two runs of one seed.
#[derive(Debug, Serialize)]
struct Pair {
    seed: u64,
    a: Taken,
    b: Taken,
}

/// What was measured of a run.
#[derive(Debug, Serialize)]
struct Taken {
    verdict: Verdict,
    run: PathBuf,
    /// In the order of [`MEASURES`].
    values: Vec<Option<f64>>,
    /// What the checkers found that is not valid.
    found: Vec<Found>,
}

/// A measure over all pairs that tell it.
#[derive(Debug, Serialize)]
struct Row {
    measure: &'static str,
    a: Estimate,
    b: Estimate,
    /// B less A, within pairs.
    difference: Estimate,
    /// In how many pairs A was higher, and in how many B.
    higher: [usize; 2],
    /// How many pairs tell it.
    pairs: usize,
    /// Whether chance alone would hardly put so many pairs on one side.
    differs: bool,
}

/// Runs every seed under both configurations.
///
/// # Errors
///
/// A configuration that cannot be planned, or a run that ended without a verdict.
pub fn compare(a: &Side, b: &Side, seeds: Range<u64>, runner: Runner) -> Result<Comparison> {
    let directory = directory(&runner, a, b)?;
    let runner = Runner { results: directory.clone(), ..runner };
    let count = seeds.clone().count();
    let mut pairs = Vec::new();
    for (nth, seed) in seeds.enumerate() {
        let plan_a = plan(&a.config, seed)?;
        let mut plan_b = plan(&b.config, seed)?;
        // Where both are asked for the same faults, both get the same ones at the same times; an election timeout
        // that differs would otherwise draw another schedule.
        if a.config.faults == b.config.faults {
            plan_b.schedule = plan_a.schedule.clone();
        }
        let pair = if nth % 2 == 0 {
            let a = take(&runner, &plan_a)?;
            Pair { seed, a, b: take(&runner, &plan_b)? }
        } else {
            let b = take(&runner, &plan_b)?;
            Pair { seed, a: take(&runner, &plan_a)?, b }
        };
        say(&format!("pair {}/{count} · seed {seed} · {}", nth + 1, table::pair(&pair)));
        pairs.push(pair);
    }
    let rows = rows(&pairs);
    let verdict =
        pairs.iter().flat_map(|pair| [pair.a.verdict, pair.b.verdict]).max().unwrap_or(Verdict::Unknown);
    let labels = [a.label.clone(), b.label.clone()];
    let picture = directory.join("compare.svg");
    let drawn = draw(&labels, typical(&pairs))?;
    fs::write(&picture, drawn).map_err(|error| Error::io("write", &picture, &error))?;
    let figures = directory.join("compare.json");
    let comparison = Comparison { verdict, labels, pairs, rows, picture, figures };
    let text = format!("{:#}\n", comparison.to_json());
    fs::write(&comparison.figures, text).map_err(|error| Error::io("write", &comparison.figures, &error))?;
    Ok(comparison)
}

impl Comparison {
    /// The figures for machines: every pair, and one row a measure.
    pub fn to_json(&self) -> Json {
        json!({
            "format": FORMAT,
            "verdict": self.verdict,
            "a": self.labels[0],
            "b": self.labels[1],
            "measures": self.rows,
            "pairs": self.pairs.iter().map(|pair| json!({"seed": pair.seed, "a": taken(&pair.a), "b": taken(&pair.b)})).collect::<Vec<_>>(),
            "picture": self.picture,
        })
    }

    /// The table and a sentence a measure, for people.
    pub fn to_text(&self) -> String {
        table::text(self)
    }
}

fn taken(taken: &Taken) -> Json {
    let values =
        MEASURES.iter().zip(&taken.values).map(|(measure, value)| (measure.name.to_owned(), json!(value)));
    json!({
        "verdict": taken.verdict,
        "run": taken.run,
        "measures": values.collect::<serde_json::Map<_, _>>(),
        "findings": taken.found,
    })
}

/// `results/compare/<a>-vs-<b>`, with a number behind it if there has been one.
fn directory(runner: &Runner, a: &Side, b: &Side) -> Result<PathBuf> {
    let name = format!("{}-vs-{}", file_name(&a.label), file_name(&b.label));
    let parent = runner.results.join("compare");
    fs::create_dir_all(&parent).map_err(|error| Error::io("create", &parent, &error))?;
    for attempt in 1.. {
        let path = parent.join(if attempt == 1 { name.clone() } else { format!("{name}-{attempt}") });
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("create", &path, &error)),
        }
    }
    unreachable!("numbers do not end before the disk is full")
}

fn file_name(label: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name = label.chars().map(plain).take(60).collect::<String>();
    if name.is_empty() { "default".to_owned() } else { name }
}

fn take(runner: &Runner, plan: &Plan) -> Result<Taken> {
    let ran = runner.run(plan)?;
    let (evidence, _) = read_evidence(&ran.run)?;
    let values = measure(&evidence).into_iter().map(|measured| measured.value).collect();
    Ok(Taken { verdict: ran.verdict, run: ran.run.path().to_owned(), values, found: ran.found })
}

fn rows(pairs: &[Pair]) -> Vec<Row> {
    let row = |(nth, measure): (usize, &checkers::measures::Measure)| {
        let told = pairs.iter().filter_map(|pair| Some((pair.a.values[nth]?, pair.b.values[nth]?)));
        let (a, b): (Vec<_>, Vec<_>) = told.unzip();
        let differences = a.iter().zip(&b).map(|(a, b)| b - a).collect::<Vec<_>>();
        let higher = |of: fn(&f64) -> bool| differences.iter().filter(|difference| of(difference)).count();
        Some(Row {
            measure: measure.name,
            a: median(&a)?,
            b: median(&b)?,
            difference: median(&differences)?,
            higher: [higher(|difference| *difference < 0.0), higher(|difference| *difference > 0.0)],
            pairs: differences.len(),
            differs: differs(&differences),
        })
    };
    MEASURES.iter().enumerate().filter_map(row).collect()
}

/// The pair whose terms rose most differently but one in two: neither the best nor the worst case is drawn.
fn typical(pairs: &[Pair]) -> &Pair {
    let rise = |pair: &Pair| match (pair.a.values[0], pair.b.values[0]) {
        (Some(a), Some(b)) => a - b,
        _ => 0.0,
    };
    let mut sorted = pairs.iter().collect::<Vec<_>>();
    sorted.sort_by(|one, other| rise(one).total_cmp(&rise(other)));
    sorted[sorted.len() / 2]
}

fn draw(labels: &[String; 2], pair: &Pair) -> Result<String> {
    let evidence = |taken: &Taken| -> Result<Evidence> { Ok(read_evidence(&RunDir::open(&taken.run)?)?.0) };
    let (a, b) = (evidence(&pair.a)?, evidence(&pair.b)?);
    let title =
        |letter: char, label: &str, taken: &Taken| format!("{letter}: {label} · {}", table::told(taken));
    let (title_a, title_b) = (title('A', &labels[0], &pair.a), title('B', &labels[1], &pair.b));
    let panels = [Panel { title: &title_a, evidence: &a }, Panel { title: &title_b, evidence: &b }];
    let title = format!("leadership over time, seed {}, {}", pair.seed, a.history.header().system);
    Ok(leadership(&title, &panels))
}
