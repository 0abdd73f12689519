//! Data are damaged on their way, and nothing in the network tells: the checksums fit.
//!
//! So does broken memory in a router or a network card. TCP delivers such data as they came; only a checksum of the
//! program's own, as in TLS or in a frame of its protocol, notices them. A system whose messages have none believes a
//! damaged term, index or value, and may lose anything: that is outside what Raft promises, so `all` leaves this fault
//! out, and it is there for systems that claim to notice.

use super::weather::{DIRECTION, Weather, share};
use crate::knobs::{Knob, Range};
use crate::net::Rule;

/// Links that damage data unnoticed.
pub(super) static CORRUPT_DATA: Weather = Weather {
    name: "corrupt-data",
    about: "data on the targets' links are altered and the checksums made to fit: programs receive them",
    knobs: KNOBS,
    beyond_promise: Some("only systems with checksums in their own messages can survive altered data"),
    rule: |knobs| Rule { alter: share(knobs), ..Rule::OPEN },
};

const KNOBS: &[Knob] = &[
    Knob {
        name: "percent",
        about: "of how many packets the data are altered",
        range: Range::Number { min: 1, max: 100, usual: &[1, 2, 5] },
    },
    DIRECTION,
];
