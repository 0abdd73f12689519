//! Packets arrive twice.
//!
//! TCP discards the second; programs over UDP get both.

use super::weather::{DIRECTION, Weather, share};
use crate::knobs::{Knob, Range};
use crate::net::Rule;

/// Links that repeat themselves.
pub(super) static DUPLICATE: Weather = Weather {
    name: "duplicate",
    about: "packets of the targets' links arrive twice",
    knobs: KNOBS,
    beyond_promise: None,
    rule: |knobs| Rule { duplicate: share(knobs), ..Rule::OPEN },
};

const KNOBS: &[Knob] = &[
    Knob {
        name: "percent",
        about: "how many packets arrive twice",
        range: Range::Number { min: 1, max: 100, usual: &[5, 20, 50] },
    },
    DIRECTION,
];
