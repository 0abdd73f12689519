//! Log matching: if two logs contain an entry with the same index and term, then the logs are identical in
//! all entries up through that index (Figure 3).
//!
//! Comparing whole logs at every moment would be quadratic and is not needed. It suffices that, over all
//! nodes and lives, each (index, term) names one entry *and one predecessor term*. For then the entries before
//! two equal ones have equal index and term too, hence are equal, and so on down to the start of the log.

use std::collections::HashMap;

use super::log_view::{Attachment, LogView};
use super::{Anomalies, when, without_traces};
use crate::evidence::Evidence;
use crate::finding::{Budget, Checker, Finding, Verdict, count};
use crate::trace::{Digest, LogIndex, Place, Term, TraceEvent};

/// One entry and one predecessor for each index and term.
pub struct LogMatching;

/// What is known of the entry at an index and a term.
#[derive(Clone, Copy)]
struct Known<'a> {
    digest: Digest,
    digest_place: Place<'a>,
    /// Only an append tells it.
    predecessor: Option<(Term, Place<'a>)>,
}

impl Checker for LogMatching {
    fn name(&self) -> &'static str {
        "log-matching"
    }

    fn about(&self) -> &'static str {
        "logs that agree on an entry's index and term agree on all entries up to it (Raft, Figure 3)"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        if let Some(finding) = without_traces(self, evidence) {
            return finding;
        }
        let mut judge = Judge { evidence, entries: HashMap::new(), anomalies: Anomalies::new() };
        for trace in &evidence.traces {
            let mut log = LogView::default();
            for (place, event) in trace.events() {
                judge.look(&log, place, event);
                log.follow(event);
            }
        }
        let entries = judge.entries.len();
        if entries == 0 && judge.anomalies.found == 0 {
            return Finding::new(self, Verdict::Unknown, "no node ever had an entry, so nothing was shown");
        }
        let valid = format!("{} distinct by index and term", count(entries, "entry"));
        judge.anomalies.finding(self, evidence, valid).with_checked("entries", entries)
    }
}

struct Judge<'a> {
    evidence: &'a Evidence,
    entries: HashMap<(LogIndex, Term), Known<'a>>,
    anomalies: Anomalies,
}

impl<'a> Judge<'a> {
    fn look(&mut self, log: &LogView, place: Place<'a>, event: &TraceEvent) {
        match event {
            TraceEvent::Append { prev_term, first_index, entries, .. } => {
                self.attach(log, place, *first_index, *prev_term);
                let mut previous = *prev_term;
                for (index, &(term, digest)) in (*first_index..).zip(entries) {
                    self.entry(place, index, term, digest, Some(previous));
                    previous = term;
                }
            }
            TraceEvent::Apply { index, entry_term, digest, .. } => {
                self.entry(place, *index, *entry_term, *digest, None);
            }
            TraceEvent::Boot { .. }
            | TraceEvent::Term { .. }
            | TraceEvent::Role { .. }
            | TraceEvent::Vote { .. }
            | TraceEvent::Truncate { .. }
            | TraceEvent::Durable { .. }
            | TraceEvent::Commit { .. }
            | TraceEvent::Snapshot { .. }
            | TraceEvent::Restore { .. }
            | TraceEvent::Members { .. }
            | TraceEvent::Aside(_) => {}
        }
    }

    /// Entries are added to the end of the log, after an entry of the term that they claim (§5.3).
    fn attach(&mut self, log: &LogView, place: Place<'a>, first_index: LogIndex, prev_term: Term) {
        let problem = match log.attachment(first_index) {
            Attachment::After(term) if term != prev_term => {
                format!("claims to follow an entry of term {prev_term}, but that entry has term {term}")
            }
            Attachment::After(_) | Attachment::Unknown => return,
            Attachment::Apart { last } => format!("does not follow the last entry of its log, {last}"),
        };
        self.anomalies.add("entry out of place", &[place], || {
            vec![format!("{} appended entry {first_index}, which {problem}", when(self.evidence, place))]
        });
    }

    fn entry(
        &mut self,
        place: Place<'a>,
        index: LogIndex,
        term: Term,
        digest: Digest,
        previous: Option<Term>,
    ) {
        let fresh = Known { digest, digest_place: place, predecessor: previous.map(|term| (term, place)) };
        let known = self.entries.entry((index, term)).or_insert(fresh);
        if known.digest != digest {
            let first = known.digest_place;
            self.anomalies.add("two entries with one index and term", &[first, place], || {
                vec![
                    format!(
                        "entry {index} of term {term} differs between {} and {}",
                        first.node(),
                        place.node()
                    ),
                    format!("{}: {}", when(self.evidence, first), known.digest),
                    format!("{}: {digest}", when(self.evidence, place)),
                ]
            });
        }
        match (known.predecessor, previous) {
            (Some((first_term, first)), Some(term_here)) if first_term != term_here => {
                self.anomalies.add("logs differ before a common entry", &[first, place], || {
                    vec![
                        format!(
                            "entry {index} of term {term} is in the logs of {} and {}, which differ before it",
                            first.node(),
                            place.node()
                        ),
                        format!("{}: it follows an entry of term {first_term}", when(self.evidence, first)),
                        format!("{}: it follows an entry of term {term_here}", when(self.evidence, place)),
                    ]
                });
            }
            (None, Some(term_here)) => known.predecessor = Some((term_here, place)),
            (Some(_), Some(_)) | (_, None) => {}
        }
    }
}
