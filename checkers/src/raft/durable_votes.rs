//! Durable votes: a node votes at most once in a term, and keeps its word over a restart.
//!
//! Term and vote are on disk before a node answers (Figure 2, persistent state). A node that forgets them can
//! vote twice in a term, and then two candidates can both have a majority (§5.2). The double vote itself is
//! rare; that the disk held less than was promised shows at every restart.

use std::collections::{BTreeMap, HashMap};

use super::{Anomalies, Emptied, when, without_traces};
use crate::evidence::Evidence;
use crate::finding::{Budget, Checker, Finding, Verdict, count};
use crate::history::NodeId;
use crate::trace::{LogIndex, Place, Term, Trace, TraceEvent};

/// One vote a node and term, and no term or vote forgotten.
pub struct DurableVotes;

impl Checker for DurableVotes {
    fn name(&self) -> &'static str {
        "durable-votes"
    }

    fn about(&self) -> &'static str {
        "a node votes once in a term and forgets neither vote nor term at a restart (Raft, Figure 2)"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        if let Some(finding) = without_traces(self, evidence) {
            return finding;
        }
        let mut anomalies = Anomalies::new();
        let (mut votes, mut restarts) = (0, 0);
        for trace in &evidence.traces {
            let node = Voter::default().judge(evidence, trace, &mut anomalies);
            votes += node.votes.len();
            restarts += node.lives.saturating_sub(1);
        }
        if votes == 0 && anomalies.found == 0 {
            return Finding::new(self, Verdict::Unknown, "no node ever voted, so nothing was shown");
        }
        let valid = format!("{} kept over {}", count(votes, "vote"), count(restarts, "restart"));
        anomalies
            .finding(self, evidence, valid)
            .with_checked("votes", votes)
            .with_checked("restarts", restarts)
    }
}

/// What one node has promised so far.
#[derive(Default)]
struct Voter<'a> {
    lives: usize,
    votes: HashMap<Term, (NodeId, Place<'a>)>,
    /// The highest term that must be on disk, and the event that shows it.
    promised: Option<(Term, Place<'a>)>,
    /// Entries in memory that are not durable yet, with the node's term when each was appended.
    pending: BTreeMap<LogIndex, Term>,
}

impl<'a> Voter<'a> {
    fn judge(mut self, evidence: &Evidence, trace: &'a Trace, anomalies: &mut Anomalies) -> Self {
        let mut emptied = Emptied::new(evidence);
        for (place, event) in trace.events() {
            let is_empty = emptied.before(place, event);
            match *event {
                // A disk that was emptied holds no promise. Votes that were cast stay: a second one in their terms is one.
                TraceEvent::Boot { .. } if is_empty => {
                    self.lives += 1;
                    self.pending.clear();
                    self.promised = None;
                }
                TraceEvent::Boot { term, vote, .. } => self.boot(evidence, anomalies, place, term, vote),
                TraceEvent::Vote { term, candidate } => {
                    self.vote(evidence, anomalies, place, term, candidate);
                }
                TraceEvent::Append { term, first_index, ref entries, .. } => {
                    self.pending.split_off(&first_index);
                    self.pending.extend((first_index..).zip(entries).map(|(index, _)| (index, term)));
                }
                TraceEvent::Truncate { from_index } => drop(self.pending.split_off(&from_index)),
                TraceEvent::Durable { index, .. } => self.durable(place, index),
                TraceEvent::Term { .. }
                | TraceEvent::Role { .. }
                | TraceEvent::Commit { .. }
                | TraceEvent::Apply { .. }
                | TraceEvent::Snapshot { .. }
                | TraceEvent::Restore { .. }
                | TraceEvent::Members { .. }
                | TraceEvent::Aside(_) => {}
            }
        }
        self
    }

    fn boot(
        &mut self,
        evidence: &Evidence,
        anomalies: &mut Anomalies,
        place: Place<'a>,
        term: Term,
        vote: Option<NodeId>,
    ) {
        self.lives += 1;
        self.pending.clear();
        if let Some((promised, shown)) = self.promised
            && term < promised
        {
            anomalies.add("term forgotten", &[shown, place], || {
                vec![
                    format!(
                        "{} found term {term} on its disk after it had acted in term {promised}",
                        when(evidence, place)
                    ),
                    format!("{} acted in term {promised}", when(evidence, shown)),
                ]
            });
        }
        match self.votes.get(&term) {
            Some(&(candidate, cast)) if vote != Some(candidate) => {
                let found = vote.map_or_else(|| "no vote".to_owned(), |node| format!("a vote for {node}"));
                anomalies.add("vote forgotten", &[cast, place], || {
                    vec![
                        format!(
                            "{} found {found} in term {term} on its disk after it had voted for {candidate}",
                            when(evidence, place)
                        ),
                        format!("{} voted for {candidate} in term {term}", when(evidence, cast)),
                    ]
                });
            }
            Some(_) => {}
            None => {
                if let Some(candidate) = vote {
                    self.votes.insert(term, (candidate, place));
                }
            }
        }
        self.promise(term, place);
    }

    fn vote(
        &mut self,
        evidence: &Evidence,
        anomalies: &mut Anomalies,
        place: Place<'a>,
        term: Term,
        candidate: NodeId,
    ) {
        let (first_candidate, first) = *self.votes.entry(term).or_insert((candidate, place));
        if first_candidate != candidate {
            anomalies.add("two votes in a term", &[first, place], || {
                vec![
                    format!(
                        "{} voted for both {first_candidate} and {candidate} in term {term}",
                        place.node()
                    ),
                    format!("{} voted for {first_candidate}", when(evidence, first)),
                    format!("{} voted for {candidate}", when(evidence, place)),
                ]
            });
        }
        self.promise(term, place);
    }

    /// Entries that are durable were written with, or after, the term in which they were appended.
    fn durable(&mut self, place: Place<'a>, index: LogIndex) {
        let later = self.pending.split_off(&(index + 1));
        let confirmed = std::mem::replace(&mut self.pending, later);
        if let Some(&term) = confirmed.values().max() {
            self.promise(term, place);
        }
    }

    fn promise(&mut self, term: Term, place: Place<'a>) {
        if self.promised.is_none_or(|(promised, _)| promised < term) {
            self.promised = Some((term, place));
        }
    }
}
