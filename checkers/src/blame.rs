//! Which fault brought a violation out: the last one that had been injected when the violation was complete.
//!
//! A hint for people, not a proof: what is found in quiet was sown by the fault before it.

use std::collections::BTreeMap;

use crate::disturbance::disturbances;
use crate::evidence::Evidence;
use crate::finding::{EventRef, Finding, Verdict, seconds};
use crate::history::{EventIndex, NodeId, Time};

/// The fault behind the earliest violation, in words; `None` if nothing was violated, or no fault came before.
pub fn blame(evidence: &Evidence, findings: &[Finding]) -> Option<String> {
    let times = times(evidence);
    let invalid = findings.iter().filter(|finding| finding.verdict == Verdict::Invalid);
    let complete = |finding: &Finding| {
        let anomalies = finding.anomalies.iter();
        // An anomaly is there once the last of its events is.
        anomalies
            .filter_map(|anomaly| anomaly.events.iter().filter_map(|event| times.get(event)).max())
            .min()
            .copied()
    };
    let violated = invalid.filter_map(complete).min()?;
    let mut before = disturbances(&evidence.history);
    before.retain(|fault| fault.fault != "death" && fault.began <= violated);
    let fault = before.into_iter().max_by_key(|fault| fault.began)?;
    let nodes = fault.nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ");
    Some(format!(
        "{} on {nodes}, injected at {}, came before the first violation at {}",
        fault.fault,
        seconds(fault.began),
        seconds(violated)
    ))
}

/// When each event of history and traces was, by where it is found.
fn times(evidence: &Evidence) -> BTreeMap<EventRef, Time> {
    let history = &evidence.history;
    let of_history = history.events().iter().enumerate();
    let of_history = of_history.map(|(index, event)| (history.locate(EventIndex(index)), event.time()));
    let origin_ns = history.header().origin_ns;
    let of_traces = evidence.traces.iter().flat_map(crate::Trace::events);
    let of_traces = of_traces.map(|(place, _)| (place.locate(), place.at_ns().saturating_sub(origin_ns)));
    of_history.chain(of_traces).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Expectations;
    use crate::finding::Anomaly;
    use crate::history::{Event, FaultPhase, Header, History, Outcome, Receipt};

    fn fault(at_s: u64, name: &str) -> Event {
        Event::Fault {
            time: at_s * 1_000_000_000,
            fault: name.to_owned(),
            phase: FaultPhase::Inject,
            nodes: vec![NodeId(1), NodeId(2)],
            receipt: Receipt { outcome: Outcome::Installed, evidence: Vec::new() },
        }
    }

    #[test]
    fn the_last_fault_before_the_violation_is_named() {
        let header = Header { origin_ns: 0, system: "s".into(), workload: "w".into(), seed: 1 };
        let death = Event::Death {
            time: 8_500_000_000,
            node: NodeId(1),
            status: "exit status 101".into(),
            crash: true,
            log: Vec::new(),
        };
        let events = vec![fault(2, "kill"), fault(4, "power-loss"), death, fault(9, "pause")];
        let history = History::new(header, events).expect("well-formed");
        let events = vec![history.locate(EventIndex(2))];
        let anomaly = Anomaly { title: String::new(), text: Vec::new(), events };
        let finding =
            Finding { anomalies: vec![anomaly], ..Finding::new(&crate::Crashes, Verdict::Invalid, "died") };
        let evidence = Evidence { history, traces: Vec::new(), expectations: Expectations::default() };
        let said = blame(&evidence, std::slice::from_ref(&finding)).expect("there is a fault");
        assert_eq!(
            said,
            "power-loss on n1, n2, injected at 4.000 s, came before the first violation at 8.500 s"
        );
        let unknown = Finding { verdict: Verdict::Unknown, ..finding };
        assert_eq!(blame(&evidence, &[unknown]), None);
    }
}
