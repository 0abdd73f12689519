//! Cycles of dependencies, each the worst and shortest of its kind that its part of the graph holds.

use std::collections::BTreeSet;

use super::super::graph::Step;
use super::dependencies::{Dependencies, Why};

/// Transactions that must each come before the next, and the last before the first.
pub(super) struct Cycle<'a> {
    /// Its name: `G0`, `G1c`, `G-single`, `G2`, with `-process` or `-realtime`.
    pub(super) name: String,
    pub(super) steps: Vec<Step<Why<'a>>>,
}

/// Finds cycles, first those of the fewest kinds of dependencies. Of a part of the graph that holds one
/// already, the weaker ones are not told: they would mostly be the same story again. `work` bounds how many
/// edges are looked at for a *short* cycle of one part.
pub(super) fn find<'a>(dependencies: &Dependencies<'a>, work: u64) -> Vec<Cycle<'a>> {
    let mut found: Vec<(Cycle<'a>, BTreeSet<usize>)> = Vec::new();
    for order in [Order::None, Order::Process, Order::RealTime] {
        for level in [Level::Writes, Level::Reads, Level::AntiDependencies] {
            let allowed = |why: Why<'_>| is_allowed(why, level, order);
            for component in dependencies.graph.components(allowed) {
                let is_told =
                    |nodes: &BTreeSet<usize>| nodes.iter().all(|node| component.binary_search(node).is_ok());
                if found.iter().any(|(_, nodes)| is_told(nodes)) {
                    continue;
                }
                let steps = shortest(dependencies, &component, level, allowed, work);
                let nodes = steps.iter().map(|step| step.from).collect();
                found.push((Cycle { name: name(&steps), steps }, nodes));
            }
        }
    }
    found.into_iter().map(|(cycle, _)| cycle).collect()
}

/// The dependencies that a cycle may use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Writes,
    Reads,
    AntiDependencies,
}

/// The order that it may use beside them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    None,
    Process,
    RealTime,
}

fn is_allowed(why: Why<'_>, level: Level, order: Order) -> bool {
    match why {
        Why::WriteWrite { .. } => true,
        Why::WriteRead { .. } => level != Level::Writes,
        Why::ReadWrite { .. } => level == Level::AntiDependencies,
        Why::Process => order >= Order::Process,
        Why::RealTime => order >= Order::RealTime,
    }
}

fn shortest<'a>(
    dependencies: &Dependencies<'a>,
    component: &[usize],
    level: Level,
    allowed: impl Fn(Why<'_>) -> bool + Copy,
    mut work: u64,
) -> Vec<Step<Why<'a>>> {
    let graph = &dependencies.graph;
    let single = if level == Level::AntiDependencies {
        with_one_anti_dependency(dependencies, component, allowed, &mut work)
    } else {
        None
    };
    let short = single.or_else(|| graph.cycle(component, allowed, &mut work));
    short.unwrap_or_else(|| {
        // No work is left for a short one. Any will do, at the price of one look at each edge.
        let inside = |node: usize, why| allowed(why) && component.binary_search(&node).is_ok();
        let mut unbounded = u64::MAX;
        let any = graph.path(component[0], component[0], inside, &mut unbounded);
        any.expect("every node of a component lies on a cycle")
    })
}

/// A shortest cycle that has exactly one anti-dependency, if there is one.
fn with_one_anti_dependency<'a>(
    dependencies: &Dependencies<'a>,
    component: &[usize],
    allowed: impl Fn(Why<'_>) -> bool,
    work: &mut u64,
) -> Option<Vec<Step<Why<'a>>>> {
    let graph = &dependencies.graph;
    let inside = |node: usize| component.binary_search(&node).is_ok();
    let rest =
        |node: usize, why: Why<'_>| allowed(why) && !matches!(why, Why::ReadWrite { .. }) && inside(node);
    let mut best: Option<Vec<Step<Why<'a>>>> = None;
    for &from in component {
        for &(to, why) in graph.edges(from) {
            if !matches!(why, Why::ReadWrite { .. }) || !inside(to) {
                continue;
            }
            if let Some(way) = graph.path(to, from, rest, work)
                && best.as_ref().is_none_or(|best| way.len() + 1 < best.len())
            {
                best = Some([vec![Step { from, to, why }], way].concat());
            }
            if best.as_ref().is_some_and(|best| best.len() == 2) {
                return best;
            }
        }
    }
    best
}

fn name(steps: &[Step<Why<'_>>]) -> String {
    let count = |is: fn(&Why<'_>) -> bool| steps.iter().filter(|step| is(&step.why)).count();
    let reads = count(|why| matches!(why, Why::WriteRead { .. }));
    let name = match count(|why| matches!(why, Why::ReadWrite { .. })) {
        0 if reads == 0 => "G0",
        0 => "G1c",
        1 => "G-single",
        _ => "G2",
    };
    let order = if count(|why| *why == Why::RealTime) > 0 {
        "-realtime"
    } else if count(|why| *why == Why::Process) > 0 {
        "-process"
    } else {
        ""
    };
    format!("{name}{order}")
}
