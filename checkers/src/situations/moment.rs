//! The moments of a run: the events of its history and of all its traces in one order of time.

use crate::evidence::Evidence;
use crate::finding::EventRef;
use crate::history::{Event, EventIndex, History, NodeId, Time};
use crate::trace::{Place, Trace, TraceEvent};

/// Something that happened.
pub(super) struct Moment<'a> {
    /// When, on the clock of the history.
    pub(super) time: Time,
    pub(super) what: What<'a>,
}

/// What happened.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    /// A client, the nemesis or the harness did it.
    Recorded(Recorded<'a>),
    /// A node told of it.
    Traced(Place<'a>, &'a TraceEvent),
}

/// An event of the history.
#[derive(Clone, Copy)]
pub(super) struct Recorded<'a> {
    history: &'a History,
    index: EventIndex,
}

impl<'a> Recorded<'a> {
    pub(super) fn event(self) -> &'a Event {
        &self.history.events()[self.index.0]
    }

    pub(super) fn index(self) -> EventIndex {
        self.index
    }

    /// The history that it belongs to.
    pub(super) fn history(self) -> &'a History {
        self.history
    }
}

impl<'a> Moment<'a> {
    /// The event, if it is one of the history.
    pub(super) fn recorded(&self) -> Option<&'a Event> {
        match self.what {
            What::Recorded(recorded) => Some(recorded.event()),
            What::Traced(..) => None,
        }
    }

    /// Who told what, if it is an event of a trace.
    pub(super) fn traced(&self) -> Option<(NodeId, &'a TraceEvent)> {
        match self.what {
            What::Recorded(_) => None,
            What::Traced(place, event) => Some((place.node(), event)),
        }
    }

    /// Where a reader finds it.
    pub(super) fn locate(&self) -> EventRef {
        match self.what {
            What::Recorded(recorded) => recorded.history.locate(recorded.index),
            What::Traced(place, _) => place.locate(),
        }
    }
}

/// All moments. Each file keeps its own order; at one time the history comes first.
pub(super) fn moments(evidence: &Evidence) -> Vec<Moment<'_>> {
    let history = &evidence.history;
    let recorded = |(index, event): (usize, &Event)| Moment {
        time: event.time(),
        what: What::Recorded(Recorded { history, index: EventIndex(index) }),
    };
    let mut all: Vec<Moment<'_>> = history.events().iter().enumerate().map(recorded).collect();
    for trace in &evidence.traces {
        all.extend(traced(trace, history.header().origin_ns));
    }
    // Stable, and quick on what is made of a few sorted runs.
    all.sort_by_key(|moment| moment.time);
    all
}

fn traced(trace: &Trace, origin_ns: u64) -> impl Iterator<Item = Moment<'_>> {
    let mut latest = 0;
    trace.events().map(move |(place, event)| {
        // A line belongs behind the one above it, whatever its stamp says.
        latest = place.at_ns().saturating_sub(origin_ns).max(latest);
        Moment { time: latest, what: What::Traced(place, event) }
    })
}
