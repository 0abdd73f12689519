//! Packets are damaged on their way, and their checksums tell.
//!
//! The receiving kernel discards such packets without a word. To TCP and to programs this is loss under another name,
//! with one difference: counters of the network between do not show it. For damage that programs get to see, there is
//! [`corrupt_data`](super::corrupt_data).

use super::weather::{DIRECTION, Weather, share};
use crate::knobs::{Knob, Range};
use crate::net::Rule;

/// Links that damage packets.
pub(super) static CORRUPT: Weather = Weather {
    name: "corrupt",
    about: "packets of the targets' links are damaged, and discarded by their receivers' checksums",
    knobs: KNOBS,
    beyond_promise: None,
    rule: |knobs| Rule { corrupt: share(knobs), ..Rule::OPEN },
};

const KNOBS: &[Knob] = &[
    Knob {
        name: "percent",
        about: "how many packets are damaged",
        range: Range::Number { min: 1, max: 100, usual: &[2, 5, 10] },
    },
    DIRECTION,
];
