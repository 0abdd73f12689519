//! Membership: members change one server at a time (thesis §4.1).
//!
//! That a majority of the old voters and one of the new always meet rests on four promises, each of which a trace shows
//! the moment it is broken, long before two majorities that do not meet have done any harm:
//!
//! - one change adds or removes one voter;
//! - a leader makes it when the one before is committed,
//! - and when it has committed an entry of its own term (the correction of 2015: two leaders may each have made one);
//! - a configuration that is cut off the log is in force no longer.

use std::collections::BTreeSet;

use super::{Anomalies, names, when, without_traces};
use crate::evidence::Evidence;
use crate::finding::{Budget, Checker, Finding, count};
use crate::history::NodeId;
use crate::trace::{LogIndex, Place, Role, Term, Trace, TraceEvent};

/// One change of the members at a time.
pub struct Membership;

impl Checker for Membership {
    fn name(&self) -> &'static str {
        "membership"
    }

    fn about(&self) -> &'static str {
        "members change one voter at a time, each change after the last is committed (Raft thesis, 4.1)"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        if let Some(finding) = without_traces(self, evidence) {
            return finding;
        }
        let mut anomalies = Anomalies::new();
        let mut changes = 0;
        for trace in &evidence.traces {
            changes += Watch::default().judge(evidence, trace, &mut anomalies);
        }
        let valid = match changes {
            0 => "the members never changed".to_owned(),
            changes => format!("{} of the members, one at a time", count(changes, "change")),
        };
        anomalies.finding(self, evidence, valid).with_checked("changes", changes)
    }
}

/// A configuration in force.
#[derive(Clone, Copy)]
struct InForce<'a> {
    index: LogIndex,
    voters: &'a [NodeId],
    place: Place<'a>,
}

/// One node, as far as it concerns its members.
#[derive(Default)]
struct Watch<'a> {
    in_force: Option<InForce<'a>>,
    /// A cut of the log that took the configuration in force with it.
    cut: Option<Place<'a>>,
    /// The term that it leads, if it does.
    leads: Option<Term>,
    commit_index: LogIndex,
    /// The term of the last entry known to be committed.
    commit_term: Term,
}

impl<'a> Watch<'a> {
    /// The number of changes that this node has made as a leader.
    fn judge(mut self, evidence: &Evidence, trace: &'a Trace, anomalies: &mut Anomalies) -> usize {
        let mut changes = 0;
        for (place, event) in trace.events() {
            if let (Some(cut), Some(kept)) = (self.cut.take(), self.in_force)
                && !matches!(event, TraceEvent::Members { .. } | TraceEvent::Boot { .. })
            {
                kept_after_cut(evidence, anomalies, cut, kept);
            }
            match event {
                TraceEvent::Boot { snapshot_index, .. } => {
                    self = Watch { commit_index: *snapshot_index, ..Watch::default() };
                }
                TraceEvent::Role { role, term } => self.leads = (*role == Role::Leader).then_some(*term),
                TraceEvent::Commit { index, entry_term, .. } => {
                    (self.commit_index, self.commit_term) = (*index, *entry_term);
                }
                TraceEvent::Truncate { from_index } => {
                    let gone = |in_force: InForce<'_>| in_force.index > 0 && in_force.index >= *from_index;
                    self.cut = self.in_force.is_some_and(gone).then_some(place);
                }
                TraceEvent::Members { index, voters, .. } => {
                    let fresh = InForce { index: *index, voters, place };
                    if let (Some(before), Some(term)) = (self.in_force, self.leads) {
                        changes += 1;
                        self.change(evidence, anomalies, term, before, fresh);
                    }
                    self.in_force = Some(fresh);
                }
                TraceEvent::Term { .. }
                | TraceEvent::Vote { .. }
                | TraceEvent::Append { .. }
                | TraceEvent::Durable { .. }
                | TraceEvent::Apply { .. }
                | TraceEvent::Snapshot { .. }
                | TraceEvent::Restore { .. }
                | TraceEvent::Aside(_) => {}
            }
        }
        changes
    }

    /// A leader has put another configuration in force.
    fn change(
        &self,
        evidence: &Evidence,
        anomalies: &mut Anomalies,
        term: Term,
        before: InForce<'_>,
        fresh: InForce<'_>,
    ) {
        let places = [before.place, fresh.place];
        let told =
            || format!("{} changed the voters to {}", when(evidence, fresh.place), names(fresh.voters));
        let set = |voters: &[NodeId]| voters.iter().copied().collect::<BTreeSet<_>>();
        if set(before.voters).symmetric_difference(&set(fresh.voters)).count() > 1 {
            anomalies.add("more than one voter changed at a time", &places, || {
                vec![told(), format!("before that they were {}", names(before.voters))]
            });
        }
        if before.index > self.commit_index {
            anomalies.add("changed again before the last change was committed", &places, || {
                vec![
                    told(),
                    format!(
                        "the change before is entry {}, and it knew entry {} to be committed",
                        before.index, self.commit_index
                    ),
                ]
            });
        }
        if self.commit_term != term {
            anomalies.add("changed before anything of the term was committed", &places, || {
                vec![
                    told(),
                    format!(
                        "it led term {term}, and the last entry that it knew to be committed was of term {}",
                        self.commit_term
                    ),
                ]
            });
        }
    }
}

fn kept_after_cut(evidence: &Evidence, anomalies: &mut Anomalies, cut: Place<'_>, kept: InForce<'_>) {
    anomalies.add("members of an entry that is gone", &[kept.place, cut], || {
        vec![
            format!("{} cut entry {} off its log", when(evidence, cut), kept.index),
            format!("it goes on by the voters of that entry, {}", names(kept.voters)),
        ]
    });
}
