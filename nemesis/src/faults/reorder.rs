//! Some packets are held back, so that later ones overtake them.
//!
//! A gap of a few milliseconds is longer than TCP's patience, which then repeats what was not lost.

use std::time::Duration;

use super::weather::{DIRECTION, Weather, share};
use crate::knobs::{Knob, Knobs, Range};
use crate::net::Rule;

/// Links that lose the order.
pub(super) static REORDER: Weather = Weather {
    name: "reorder",
    about: "some packets of the targets' links are held back and overtaken by later ones",
    knobs: KNOBS,
    beyond_promise: None,
    rule,
};

const KNOBS: &[Knob] = &[
    Knob {
        name: "percent",
        about: "how many packets are held back",
        // A packet among others that are all held back is not overtaken.
        range: Range::Number { min: 1, max: 50, usual: &[5, 10, 25] },
    },
    Knob {
        name: "gap_ms",
        about: "for how long they are held back",
        range: Range::Number { min: 2, max: 1000, usual: &[5, 10, 20] },
    },
    DIRECTION,
];

fn rule(knobs: &Knobs) -> Rule {
    let gap_ms = u64::try_from(knobs.number("gap_ms")).expect("knobs are within their range");
    Rule { reorder: share(knobs), reorder_gap: Duration::from_millis(gap_ms), ..Rule::OPEN }
}
