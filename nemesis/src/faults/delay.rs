//! Packets travel longer, each as long as the others or each as long as it takes.
//!
//! With jitter packets overtake each other, as they do in networks with several ways; TCP then sees gaps that are none.
//! In order, each waits for the one before, as behind one slow router.

use std::time::Duration;

use super::weather::{DIRECTION, Weather};
use crate::knobs::{Knob, Knobs, Range};
use crate::net::{Rule, Spread};

/// Slow links.
pub(super) static DELAY: Weather = Weather {
    name: "delay",
    about: "packets of the targets' links travel longer",
    knobs: KNOBS,
    beyond_promise: None,
    rule,
};

const KNOBS: &[Knob] = &[
    Knob {
        name: "delay_ms",
        about: "how long a packet travels, on average",
        range: Range::Number { min: 10, max: 10_000, usual: &[20, 50, 100] },
    },
    Knob {
        name: "jitter_ms",
        about: "how much that varies: the most it deviates if uniform, else the standard deviation",
        range: Range::Number { min: 0, max: 10_000, usual: &[0, 5, 20] },
    },
    Knob {
        name: "spread",
        about: "how travel times are distributed; pareto has few that are very late",
        range: Range::Word(&["uniform", "normal", "pareto"]),
    },
    Knob {
        name: "order",
        about: "whether packets may overtake each other",
        range: Range::Word(&["any", "fifo"]),
    },
    DIRECTION,
];

fn rule(knobs: &Knobs) -> Rule {
    let ms = |name| {
        Duration::from_millis(u64::try_from(knobs.number(name)).expect("knobs are within their range"))
    };
    let spread = match knobs.word("spread") {
        "normal" => Spread::Normal,
        "pareto" => Spread::Pareto,
        _ => Spread::Uniform,
    };
    Rule {
        delay: ms("delay_ms"),
        jitter: ms("jitter_ms"),
        spread,
        fifo: knobs.word("order") == "fifo",
        ..Rule::OPEN
    }
}
