//! Reigns: from when until when a node took itself for the leader, as its trace tells.

use crate::disturbance::Disturbance;
use crate::evidence::Evidence;
use crate::history::{NodeId, Time};
use crate::trace::{Role, Term, TraceEvent};

/// A time in which a node took itself for the leader.
pub(crate) struct Reign {
    pub(crate) node: NodeId,
    pub(crate) term: Term,
    pub(crate) from: Time,
    pub(crate) until: Time,
}

/// All reigns that the traces tell. One ends when its node says so, and when it is killed, which it cannot say.
pub(crate) fn reigns(evidence: &Evidence, disturbances: &[Disturbance]) -> Vec<Reign> {
    let origin = evidence.history.header().origin_ns;
    let mut reigns: Vec<Reign> = Vec::new();
    for trace in &evidence.traces {
        let mut present: Option<(Term, Time)> = None;
        let mut end = |present: &mut Option<(Term, Time)>, at: Time| {
            let Some((term, from)) = present.take() else { return };
            let killed = disturbances.iter().filter(|known| {
                matches!(known.fault.as_str(), "kill" | "death") && known.nodes.contains(&trace.node())
            });
            let killed = killed.map(|known| known.began).filter(|began| *began >= from).min();
            let until = killed.map_or(at, |killed| killed.min(at));
            reigns.push(Reign { node: trace.node(), term, from, until });
        };
        for (place, event) in trace.events() {
            let at = place.at_ns().saturating_sub(origin);
            match *event {
                TraceEvent::Role { role: Role::Leader, term } => {
                    end(&mut present, at);
                    present = Some((term, at));
                }
                TraceEvent::Role { .. } | TraceEvent::Boot { .. } | TraceEvent::Term { .. } => {
                    end(&mut present, at);
                }
                _ => {}
            }
        }
        end(&mut present, Time::MAX);
    }
    reigns.sort_by_key(|reign| (reign.from, reign.node));
    reigns
}
