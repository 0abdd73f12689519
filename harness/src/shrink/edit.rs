//! What can be taken out of a plan: faults, nodes, clients, time. Each edit gives a whole plan that can be run.
//!
//! Edits are pure. Which of them keeps the failure is for the caller to try.

use std::collections::BTreeSet;

use checkers::ExpectedFault;
use checkers::history::NodeId;
use nemesis::faults;
use nemesis::schedule::Step;
use nemesis::target::Target;

use crate::plan::Plan;

/// The quiet before each fault, and after the last one, once time is saved: one election timeout.
fn quiet_ms(plan: &Plan) -> u64 {
    plan.settings.election_ms
}

/// A smaller plan, and what was taken out.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    /// In words that read after "without" or "with".
    pub(super) about: String,
    /// What is left.
    pub(super) plan: Plan,
}

/// A kind of edit: all that could be tried next on a plan, the boldest first.
pub(super) struct Pass {
    /// What it takes out, in a word.
    pub(super) name: &'static str,
    /// The edits.
    pub(super) edits: fn(&Plan) -> Vec<Edit>,
}

/// The passes, in the order in which they pay: faults first, for each costs seconds of every run that follows, and
/// without its time.
pub(super) const PASSES: &[Pass] = &[
    Pass { name: "faults", edits: fewer_faults },
    Pass { name: "time", edits: less_time },
    Pass { name: "nodes", edits: fewer_nodes },
    Pass { name: "clients", edits: fewer_clients },
    Pass { name: "duration", edits: shorter_faults },
];

/// Without a half of the steps, a quarter, …, a single one (Zeller and Hildebrandt 2002, ddmin).
fn fewer_faults(plan: &Plan) -> Vec<Edit> {
    let steps = &plan.schedule.steps;
    let mut edits = Vec::new();
    let mut chunk = steps.len();
    while chunk > 0 {
        for from in (0..steps.len()).step_by(chunk) {
            let until = (from + chunk).min(steps.len());
            let without = |(nth, _): &(usize, &Step)| !(from..until).contains(nth);
            let left = steps.iter().enumerate().filter(without).map(|(_, step)| step.clone()).collect();
            let names =
                steps[from..until].iter().map(|step| step.fault.as_str()).collect::<Vec<_>>().join(", ");
            edits.push(edit(format!("without {names}"), plan, |plan| {
                plan.schedule.steps = left;
                save_time(plan);
            }));
        }
        chunk /= 2;
    }
    edits
}

/// The plan up to the moment when the failure had happened: what would have come later had no part in it.
///
/// `begun` is how many steps had begun by then, and `at_ms` when it was.
pub(super) fn up_to(plan: &Plan, begun: usize, at_ms: u64) -> Plan {
    edit(String::new(), plan, |plan| {
        plan.schedule.steps.truncate(begun);
        plan.time_limit_ms = (at_ms + quiet_ms(plan)).min(plan.time_limit_ms);
    })
    .plan
}

/// With no more quiet than the cluster needs, and nothing after the last fault but what recovery takes.
fn less_time(plan: &Plan) -> Vec<Edit> {
    let mut saved = plan.clone();
    save_time(&mut saved);
    if saved.time_limit_ms >= plan.time_limit_ms {
        return Vec::new();
    }
    let about =
        format!("in {} s of {}", saved.time_limit_ms.div_ceil(1000), plan.time_limit_ms.div_ceil(1000));
    vec![edit(about, plan, save_time)]
}

fn save_time(plan: &mut Plan) {
    let quiet_ms = quiet_ms(plan);
    let (mut end_ms, mut saved_ms) = (0, 0);
    for step in &mut plan.schedule.steps {
        // Faults that overlap keep their distance; what is saved is quiet in which nothing is in force.
        let gap_ms = step.at_ms.saturating_sub(end_ms);
        end_ms = step.end_ms().max(end_ms);
        saved_ms += gap_ms.saturating_sub(quiet_ms);
        step.at_ms -= saved_ms;
    }
    plan.time_limit_ms = (end_ms - saved_ms + 2 * quiet_ms).min(plan.time_limit_ms);
}

/// On fewer nodes, as far as the faults and their targets allow.
fn fewer_nodes(plan: &Plan) -> Vec<Edit> {
    let possible = |nodes: u16| {
        plan.schedule.steps.iter().all(|step| {
            let large_enough = faults::find(&step.fault).is_ok_and(|fault| fault.nodes_min() <= nodes);
            large_enough && step.target.check(usize::from(nodes)).is_ok() && !hits_all(&step.target, nodes)
        })
    };
    // An even cluster survives no more than the odd one below it.
    let sizes = [1, 3, 5, 7].into_iter().filter(|nodes| *nodes < plan.nodes && possible(*nodes));
    sizes
        .map(|nodes| {
            edit(format!("on {nodes} of {} nodes", plan.nodes), plan, |plan| {
                plan.nodes = nodes;
                plan.expectations.nodes = (1..=nodes).map(NodeId).collect();
            })
        })
        .collect()
}

/// Whether named nodes would be the whole cluster: another fault than the one that failed.
fn hits_all(target: &Target, nodes: u16) -> bool {
    matches!(target, Target::Nodes(named) if named.len() >= usize::from(nodes))
}

/// With one process a node, with half of them, with one less.
fn fewer_clients(plan: &Plan) -> Vec<Edit> {
    let now = plan.concurrency;
    let sizes = [u32::from(plan.nodes), now / 2, now.saturating_sub(1)];
    let sizes = sizes.into_iter().filter(|size| (1..now).contains(size)).collect::<BTreeSet<_>>();
    sizes
        .into_iter()
        .map(|size| {
            edit(format!("with {size} clients of {now}"), plan, |plan| {
                plan.rate = (plan.rate * size / now).max(1);
                plan.concurrency = size;
            })
        })
        .collect()
}

/// With one fault half as long.
fn shorter_faults(plan: &Plan) -> Vec<Edit> {
    const SHORTEST_MS: u64 = 200;
    let steps =
        plan.schedule.steps.iter().enumerate().filter(|(_, step)| step.duration_ms >= 2 * SHORTEST_MS);
    steps
        .map(|(nth, step)| {
            let half_ms = step.duration_ms / 2;
            edit(format!("with {} for {half_ms} ms", step.fault), plan, |plan| {
                plan.schedule.steps[nth].duration_ms = half_ms;
                for later in &mut plan.schedule.steps[nth + 1..] {
                    later.at_ms = later.at_ms.saturating_sub(half_ms);
                }
                plan.time_limit_ms = plan.time_limit_ms.saturating_sub(half_ms);
            })
        })
        .collect()
}

/// Changes a plan, and what it expects along with it: a smaller run cannot reach what the larger one had to.
fn edit(about: String, plan: &Plan, change: impl FnOnce(&mut Plan)) -> Edit {
    let mut plan = plan.clone();
    change(&mut plan);
    let names = plan.schedule.steps.iter().map(|step| step.fault.clone()).collect::<BTreeSet<_>>();
    plan.expectations.faults = names.into_iter().map(|name| ExpectedFault { name, times: 1 }).collect();
    plan.expectations.ok_operations_min = u64::from(plan.rate) * plan.time_limit_ms / 10_000;
    Edit { about, plan }
}

#[cfg(test)]
mod tests {
    use nemesis::faults::selection;

    use super::*;
    use crate::config::{RunConfig, Settings};
    use crate::plan::plan;

    fn drawn(faults: &str) -> Plan {
        let faults = selection::parse(faults).expect("these exist");
        let mut config = RunConfig::idle("raft-kv", 5, Settings::default());
        config = RunConfig { faults, time_limit_ms: 30_000, rate: 300, concurrency: 10, ..config };
        plan(&config, 1).expect("30 s are enough")
    }

    #[test]
    fn faults_go_in_halves_and_one_by_one() {
        let plan = drawn("kill,pause,partition");
        let steps = plan.schedule.steps.len();
        let edits = fewer_faults(&plan);
        assert!(edits[0].plan.schedule.steps.is_empty(), "boldest first");
        assert!(edits.iter().all(|edit| edit.plan.time_limit_ms < 30_000), "time goes with them");
        let single = edits.iter().filter(|edit| edit.plan.schedule.steps.len() == steps - 1);
        assert!(single.count() >= steps);
        for edit in &edits {
            let left = edit.plan.schedule.steps.iter().map(|step| &step.fault).collect::<BTreeSet<_>>();
            assert_eq!(
                edit.plan.expectations.faults.len(),
                left.len(),
                "nothing is expected that is not tried"
            );
        }
    }

    #[test]
    fn time_is_saved_once() {
        let edits = less_time(&drawn("kill,pause"));
        let [saved] = &edits[..] else { panic!("{edits:?}") };
        assert!(saved.plan.time_limit_ms < 30_000);
        let ends = saved.plan.schedule.steps.iter().map(Step::end_ms).max().expect("there are faults");
        assert_eq!(saved.plan.time_limit_ms, ends + 2000);
        assert!(less_time(&saved.plan).is_empty());
    }

    #[test]
    fn nodes_are_kept_that_a_fault_needs() {
        let sizes =
            |faults: &str| fewer_nodes(&drawn(faults)).iter().map(|edit| edit.plan.nodes).collect::<Vec<_>>();
        assert_eq!(sizes("kill:leader"), [1, 3]);
        assert_eq!(sizes("partition:minority"), [3]);
        assert_eq!(sizes("kill:n5"), Vec::<u16>::new());
        assert_eq!(sizes("kill:n1+n2+n3"), Vec::<u16>::new(), "of three nodes that would be all");
    }
}
