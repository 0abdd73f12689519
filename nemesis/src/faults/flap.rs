//! Links go down and come up again, over and over.
//!
//! Shorter than an election timeout, a link that is down costs a few heartbeats; longer, it is a partition that comes
//! back before anybody got used to it. Directions and links flap each in their own time, from the first packet on.

use std::time::Duration;

use super::weather::{DIRECTION, Weather};
use crate::knobs::{Knob, Knobs, Range};
use crate::net::{Flap, Rule};

/// Links that come and go.
pub(super) static FLAP: Weather = Weather {
    name: "flap",
    about: "the targets' links go down and come up again, over and over",
    knobs: KNOBS,
    beyond_promise: None,
    rule,
};

const KNOBS: &[Knob] = &[
    Knob {
        name: "down_ms",
        about: "how long a link is down",
        range: Range::Number { min: 10, max: 2000, usual: &[100, 200, 300] },
    },
    Knob {
        name: "up_ms",
        about: "how long it is up, until it goes down again",
        range: Range::Number { min: 10, max: 2000, usual: &[300, 500] },
    },
    DIRECTION,
];

fn rule(knobs: &Knobs) -> Rule {
    let ms = |name| {
        Duration::from_millis(u64::try_from(knobs.number(name)).expect("knobs are within their range"))
    };
    Rule { flap: Some(Flap { down: ms("down_ms"), up: ms("up_ms") }), ..Rule::OPEN }
}
