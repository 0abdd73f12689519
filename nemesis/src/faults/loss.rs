//! Packets are lost, each by itself or several in a row.
//!
//! TCP hides single losses well and bursts badly: when all of what was in flight is gone, it waits for a timeout, and
//! each further loss doubles it. A link that loses one packet in five still works and is slow.

use super::weather::{DIRECTION, Weather, share};
use crate::knobs::{Knob, Knobs, Range};
use crate::net::Rule;

/// Lossy links.
pub(super) static LOSS: Weather = Weather {
    name: "loss",
    about: "packets of the targets' links are lost at random, or in bursts",
    knobs: KNOBS,
    beyond_promise: None,
    rule,
};

const KNOBS: &[Knob] = &[
    Knob {
        name: "percent",
        about: "how many packets are lost",
        range: Range::Number { min: 1, max: 100, usual: &[5, 10, 20] },
    },
    Knob {
        name: "burst",
        about: "how many are lost in a row, on average; 1: each by itself",
        range: Range::Number { min: 1, max: 10, usual: &[1, 1, 4] },
    },
    DIRECTION,
];

fn rule(knobs: &Knobs) -> Rule {
    let loss_burst = u32::try_from(knobs.number("burst")).expect("knobs are within their range");
    Rule { loss: share(knobs), loss_burst, ..Rule::OPEN }
}
