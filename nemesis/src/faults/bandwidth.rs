//! Links carry only so much.
//!
//! What is more queues, up to 128 KiB, and then overflows: the longer the queue, the later heartbeats are behind bulk
//! such as snapshots.

use super::weather::{DIRECTION, Weather};
use crate::knobs::{Knob, Knobs, Range};
use crate::net::Rule;

/// Narrow links.
pub(super) static BANDWIDTH: Weather = Weather {
    name: "bandwidth",
    about: "the targets' links carry only so many bits a second; more queues and overflows",
    knobs: KNOBS,
    beyond_promise: None,
    rule,
};

const KNOBS: &[Knob] = &[
    Knob {
        name: "kbit_s",
        about: "how much each link carries in each direction, headers included",
        // Beyond, a machine that is busy could pass for a narrow link.
        range: Range::Number { min: 64, max: 20_000, usual: &[1000, 4000, 16_000] },
    },
    DIRECTION,
];

fn rule(knobs: &Knobs) -> Rule {
    let kbit_s = u64::try_from(knobs.number("kbit_s")).expect("knobs are within their range");
    Rule { bandwidth: Some(kbit_s * 1000), ..Rule::OPEN }
}
