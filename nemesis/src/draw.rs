//! Draws a schedule from a seed: pure, no clock, no I/O.
//!
//! First each fault comes once, alone, in random order, with the target that it does most harm to, so that a finding can be
//! told from its neighbours. After that faults are drawn at random, and some begin while another is in force:
//!
//! ```text
//! |-quiet-|---kill---|-quiet-|--partition--|-quiet-|------pause------|-quiet-|- … -|      time limit
//!                                                       |----kill----|
//! ```
//!
//! Faults that overlap hurt, all together, no more nodes than a quorum can do without: either other nodes each, or the same
//! ones in another way. More is drawn only when it is asked for. A single fault may hurt a majority: it is soon healed, and
//! what a cluster does when it is back is worth seeing.
//!
//! A **mix** does not have to hold every fault: each is in it or not by a toss of a coin, any may have company, and half of the
//! settings stay the same all through. Runs that leave things out reach states that runs with everything in them never do.

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::faults::selection::Choice;
use crate::faults::{self, Fault, Unknown};
use crate::knobs::Knobs;
use crate::schedule::{Schedule, Step};
use crate::target::{Rng, Target};
use crate::trigger::Trigger;

/// What a schedule is drawn for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The faults asked for.
    pub faults: &'a [Choice],
    /// Whether some of them may be left out.
    pub mix: bool,
    /// When the last fault must have ended.
    pub time_limit_ms: u64,
    /// The size of the cluster.
    pub nodes: u16,
    /// Its least election timeout.
    pub election_ms: u64,
    /// How many faults may be in force at once.
    pub overlap: usize,
    /// Whether faults that overlap may hurt more nodes than a quorum can do without.
    pub beyond_quorum: bool,
}

/// How long something lasts, at least and at most.
#[derive(Clone, Copy, Debug)]
struct Span {
    min_ms: u64,
    max_ms: u64,
}

/// How long faults and the quiet before each of them last.
#[derive(Clone, Copy, Debug)]
struct Rhythm {
    quiet: Span,
    fault: Span,
}

impl Rhythm {
    /// In election timeouts. A timeout is drawn up to twice the least one, so a fault outlasts two and lets a new leader
    /// work for a while before the old one returns. The quiet lets the cluster elect once more if it must.
    fn usual(election_ms: u64) -> Self {
        let tenths =
            |min: u64, max: u64| Span { min_ms: election_ms * min / 10, max_ms: election_ms * max / 10 };
        Self { quiet: tenths(10, 16), fault: tenths(26, 36) }
    }

    /// For short runs: the least of both.
    fn short(election_ms: u64) -> Self {
        let exactly = |ms: u64| Span { min_ms: ms, max_ms: ms };
        Self { quiet: exactly(election_ms), fault: exactly(election_ms * 5 / 2) }
    }

    fn round_min_ms(self) -> u64 {
        self.quiet.min_ms + self.fault.min_ms
    }
}

/// The streams of random numbers, apart so that a target more or less does not shift the times.
const TIMES_STREAM: u64 = 1;
const TARGETS_STREAM: u64 = 2;
const KNOBS_STREAM: u64 = 3;
const MIX_STREAM: u64 = 4;
const COMPANIONS_STREAM: u64 = 5;

/// How often a fault gets company, where it may.
const COMPANY: f64 = 1.0 / 3.0;

/// Draws a schedule.
///
/// # Errors
///
/// A fault that does not exist or that the cluster is too small for, or a time limit too short: of a mix for a single
/// fault, otherwise for every fault to come once.
pub fn draw(wish: &Wish<'_>, seed: u64) -> Result<Schedule, DrawError> {
    let all = candidates(wish)?;
    let candidates = if wish.mix { mixed(all, wish, &mut Rng::new(seed, MIX_STREAM)) } else { all };
    if candidates.is_empty() {
        return Ok(Schedule::default());
    }
    let each_once = candidates.len() as u64;
    let (usual, short) = (Rhythm::usual(wish.election_ms), Rhythm::short(wish.election_ms));
    let rhythm = [usual, short]
        .into_iter()
        .find(|rhythm| each_once * rhythm.round_min_ms() <= wish.time_limit_ms)
        .ok_or(DrawError::TooShort {
            faults: candidates.len(),
            limit_ms: wish.time_limit_ms,
            needs_ms: each_once * short.round_min_ms(),
        })?;

    let mut times = Rng::new(seed, TIMES_STREAM);
    let mut targets = Rng::new(seed, TARGETS_STREAM);
    let mut settings = Rng::new(seed, KNOBS_STREAM);
    let mut company = Rng::new(seed, COMPANIONS_STREAM);
    let mut first_round = candidates.iter().collect::<Vec<_>>();
    first_round.shuffle(&mut times);
    let mut first_round = first_round.into_iter();

    let mut steps = Vec::new();
    let mut now_ms = 0;
    loop {
        let still_due_ms = first_round.len() as u64 * rhythm.round_min_ms();
        // What may be spent beyond the least times without taking any from the faults that must still come.
        let Some(mut spare_ms) =
            (wish.time_limit_ms - now_ms).checked_sub(still_due_ms.max(rhythm.round_min_ms()))
        else {
            return Ok(Schedule { steps });
        };
        let quiet_ms = draw_span(rhythm.quiet, &mut spare_ms, &mut times);
        let duration_ms = draw_span(rhythm.fault, &mut spare_ms, &mut times);
        let due = first_round.next();
        let (candidate, target) = match due {
            Some(candidate) => (candidate, candidate.targets[0].clone()),
            None => {
                let candidate = &candidates[times.random_range(0..candidates.len())];
                // Drawn even if it is not used, so that the next one does not depend on this choice.
                let any = targets.random_range(0..candidate.targets.len());
                let chosen = if targets.random_bool(0.5) { 0 } else { any };
                (candidate, candidate.targets[chosen].clone())
            }
        };
        let first = candidate.step(now_ms + quiet_ms, duration_ms, target, &mut settings);
        let mut group = vec![first];
        // What comes for the first time comes alone, but in a mix, which seldom has time for a second.
        while (due.is_none() || wish.mix) && group.len() < wish.overlap && company.random_bool(COMPANY) {
            let number = steps.len() + 1;
            match companion(&group, number, &candidates, wish, &mut company) {
                Some(step) => group.push(step),
                None => break,
            }
        }
        now_ms = group.iter().map(Step::end_ms).max().expect("the group has its first step");
        group.sort_by_key(|step| step.at_ms);
        steps.extend(group);
    }
}

/// A step that begins while the first of the group, which is step `number`, is in force.
fn companion(
    group: &[Step],
    number: usize,
    candidates: &[Candidate],
    wish: &Wish<'_>,
    rng: &mut Rng,
) -> Option<Step> {
    let (host, size) = (&group[0], usize::from(wish.nodes));
    let host_fault = faults::find(&host.fault).expect("it was drawn from the candidates");
    let spared = if wish.beyond_quorum { size } else { size.saturating_sub(1) / 2 };
    let on_them = host.target.count(size);
    // On nodes that are hurt already, only what a fault does beyond them counts.
    let beyond_them = |fault: &dyn Fault| fault.hurts(size, on_them).saturating_sub(on_them);
    let hurt_by = |step: &Step| {
        let fault = faults::find(&step.fault).expect("it was drawn from the candidates");
        match &step.target {
            Target::Step(_) => beyond_them(fault),
            target => fault.hurts(size, target.count(size)),
        }
    };
    let hurt: usize = group.iter().map(hurt_by).sum();
    let is_free = |candidate: &&Candidate| group.iter().all(|step| step.fault != candidate.fault.name());
    let free = candidates.iter().filter(is_free);
    let elsewhere = free.clone().flat_map(|candidate| {
        let targets = candidate
            .targets
            .iter()
            .filter(|target| hurt + candidate.fault.hurts(size, target.count(size)) <= spared);
        targets.map(move |target| (candidate, target.clone()))
    });
    // The same nodes in another way: cut off and slow, say. Two faults on one process would be in each other's way.
    let there = free.filter(|candidate| {
        let any_node = !candidate.is_aimed && candidate.targets.contains(&Target::One);
        let another_way = candidate.fault.needs() != host_fault.needs();
        any_node && another_way && on_them > 0 && hurt + beyond_them(candidate.fault) <= spared
    });
    let there = there.map(|candidate| (candidate, Target::Step(number)));
    let options = elsewhere.chain(there).collect::<Vec<_>>();
    let (candidate, target) = options.choose(rng)?.clone();

    let at_ms = host.at_ms + rng.random_range(1..=(host.duration_ms * 2 / 3).max(1));
    let left_ms = wish.time_limit_ms.saturating_sub(at_ms);
    let duration_ms = rng.random_range(host.duration_ms / 3..=host.duration_ms).min(left_ms);
    // A stream of random numbers belongs to the time of a step.
    let is_taken = group.iter().any(|step| step.at_ms == at_ms);
    (!is_taken && duration_ms > 0).then(|| candidate.step(at_ms, duration_ms, target, rng))
}

fn draw_span(span: Span, spare_ms: &mut u64, rng: &mut Rng) -> u64 {
    let more_ms = rng.random_range(0..=(span.max_ms - span.min_ms).min(*spare_ms));
    *spare_ms -= more_ms;
    span.min_ms + more_ms
}

/// A fault asked for, with the targets it may have: the one asked for, or all that the cluster is large enough for.
struct Candidate {
    fault: &'static dyn Fault,
    targets: Vec<Target>,
    /// Whether the target was asked for.
    is_aimed: bool,
    knobs: Knobs,
}

fn candidates(wish: &Wish<'_>) -> Result<Vec<Candidate>, DrawError> {
    let all = wish.faults.iter().map(|choice| Candidate::new(choice, wish.nodes));
    // A mix leaves out what the cluster is too small for.
    all.filter(|candidate| !(wish.mix && matches!(candidate, Err(DrawError::Impossible { .. })))).collect()
}

/// Some of them, as many as fit into the time, with some settings fixed for the whole run.
fn mixed(mut all: Vec<Candidate>, wish: &Wish<'_>, rng: &mut Rng) -> Vec<Candidate> {
    all.shuffle(rng);
    let fits = wish.time_limit_ms / Rhythm::usual(wish.election_ms).round_min_ms();
    let chosen = all.iter().map(|_| rng.random_bool(0.5)).collect::<Vec<_>>();
    for candidate in &mut all {
        candidate.knobs = candidate.knobs.half(candidate.fault.knobs(), rng);
    }
    // With bad luck none is chosen; then the first is.
    let nobody = !chosen.contains(&true);
    let chosen = all.into_iter().zip(chosen).enumerate();
    let kept = chosen.filter(|(index, (_, chosen))| *chosen || (nobody && *index == 0));
    kept.map(|(_, (candidate, _))| candidate)
        .take(usize::try_from(fits).unwrap_or(usize::MAX).max(1))
        .collect()
}

impl Candidate {
    fn new(Choice { fault, target, knobs }: &Choice, nodes: u16) -> Result<Self, DrawError> {
        let fault = faults::find(fault)?;
        let size = usize::from(nodes);
        let impossible = |reason| DrawError::Impossible { fault: fault.name(), reason };
        if nodes < fault.nodes_min() {
            let reason =
                format!("needs a cluster of at least {} nodes; this one has {nodes}", fault.nodes_min());
            return Err(impossible(reason));
        }
        let targets = match target {
            Some(target) => {
                target.check(size).map_err(impossible)?;
                vec![target.clone()]
            }
            None => fault.targets().iter().filter(|target| target.check(size).is_ok()).cloned().collect(),
        };
        Ok(Self { fault, targets, is_aimed: target.is_some(), knobs: knobs.clone() })
    }

    fn step(&self, at_ms: u64, duration_ms: u64, target: Target, settings: &mut Rng) -> Step {
        let trigger = target.needs_leader().then_some(Trigger::LEADER_KNOWN);
        let knobs = self.knobs.complete(self.fault.knobs(), settings);
        let fault = self.fault.name().to_owned();
        Step { at_ms, duration_ms, fault, target, knobs, trigger, until: None }
    }
}

/// Why no schedule can be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// There is no such fault.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The cluster cannot be hurt that way.
    #[error("{fault}: {reason}")]
    Impossible {
        /// The fault.
        fault: &'static str,
        /// Why not.
        reason: String,
    },
    /// Not every fault would come once.
    #[error(
        "{faults} faults need a time limit of at least {} s, this one is {} s; raise it or name fewer faults",
        .needs_ms.div_ceil(1000),
        *.limit_ms as f64 / 1000.0
    )]
    TooShort {
        /// How many faults were asked for.
        faults: usize,
        /// The limit given.
        limit_ms: u64,
        /// The least limit for them.
        needs_ms: u64,
    },
}
