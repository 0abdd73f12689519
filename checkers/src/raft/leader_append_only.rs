//! Leader append-only: a leader never overwrites or deletes entries in its log; it only appends new entries
//! (Figure 3).
//!
//! A reign lasts from the event that says `leader` to the next that says another role, another term or another
//! life. While it lasts, the log may not be cut, not be written over, and not be replaced by a snapshot. A leader
//! that steps down because it hears of a newer one says so before it gives way, so an honest trace never shows
//! the cut inside the reign.

use super::log_view::{Attachment, LogView};
use super::{Anomalies, when, without_traces};
use crate::evidence::Evidence;
use crate::finding::{Budget, Checker, Finding, Verdict, count};
use crate::trace::{LogIndex, Place, Role, Term, Trace, TraceEvent};

/// No leader takes back an entry of its log.
pub struct LeaderAppendOnly;

impl Checker for LeaderAppendOnly {
    fn name(&self) -> &'static str {
        "leader-append-only"
    }

    fn about(&self) -> &'static str {
        "a leader never overwrites or deletes entries in its log (Raft, Figure 3)"
    }

    fn check(&self, evidence: &Evidence, _budget: Budget) -> Finding {
        if let Some(finding) = without_traces(self, evidence) {
            return finding;
        }
        let mut anomalies = Anomalies::new();
        let (mut reigns, mut entries) = (0, 0);
        for trace in &evidence.traces {
            let mut watch = Watch { evidence, reign: None, log: LogView::default(), reigns: 0, entries: 0 };
            watch.judge(trace, &mut anomalies);
            reigns += watch.reigns;
            entries += watch.entries;
        }
        if reigns == 0 {
            return Finding::new(self, Verdict::Unknown, "no node ever led, so nothing was shown");
        }
        let valid =
            format!("{} appended in {}, none taken back", count(entries, "entry"), count(reigns, "reign"));
        anomalies
            .finding(self, evidence, valid)
            .with_checked("reigns", reigns)
            .with_checked("entries", entries)
    }
}

/// One node, and whether it leads.
struct Watch<'a> {
    evidence: &'a Evidence,
    reign: Option<(Term, Place<'a>)>,
    log: LogView,
    reigns: usize,
    /// Entries appended by leaders.
    entries: usize,
}

impl<'a> Watch<'a> {
    fn judge(&mut self, trace: &'a Trace, anomalies: &mut Anomalies) {
        for (place, event) in trace.events() {
            match *event {
                TraceEvent::Role { role: Role::Leader, term } => {
                    self.reign = Some((term, place));
                    self.reigns += 1;
                }
                TraceEvent::Boot { .. } | TraceEvent::Role { .. } | TraceEvent::Term { .. } => {
                    self.reign = None;
                }
                TraceEvent::Append { first_index, ref entries, .. } => {
                    if let Attachment::Apart { last } = self.log.attachment(first_index)
                        && first_index <= last
                    {
                        self.taken_back(place, anomalies, "overwrote", first_index);
                    }
                    if self.reign.is_some() {
                        self.entries += entries.len();
                    }
                }
                TraceEvent::Truncate { from_index } => {
                    self.taken_back(place, anomalies, "deleted", from_index);
                }
                TraceEvent::Restore { index, .. } => self.replaced(place, anomalies, index),
                TraceEvent::Vote { .. }
                | TraceEvent::Durable { .. }
                | TraceEvent::Commit { .. }
                | TraceEvent::Apply { .. }
                | TraceEvent::Snapshot { .. }
                | TraceEvent::Members { .. }
                | TraceEvent::Aside(_) => {}
            }
            self.log.follow(event);
        }
    }

    fn taken_back(&self, place: Place<'a>, anomalies: &mut Anomalies, did: &str, from: LogIndex) {
        self.report(place, anomalies, || format!("{did} the entries of its log from index {from}"));
    }

    fn replaced(&self, place: Place<'a>, anomalies: &mut Anomalies, index: LogIndex) {
        self.report(place, anomalies, || format!("replaced its log by a snapshot up to index {index}"));
    }

    fn report(&self, place: Place<'a>, anomalies: &mut Anomalies, what: impl FnOnce() -> String) {
        let Some((term, began)) = self.reign else { return };
        anomalies.add("a leader took entries back", &[began, place], || {
            vec![
                format!("{} {} while it led term {term}", when(self.evidence, place), what()),
                format!("{} became leader of term {term}", when(self.evidence, began)),
            ]
        });
    }
}
