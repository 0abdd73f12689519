//! What a fault can be set to: how many per cent are lost, by how much a clock steps, which file is hit.
//!
//! Every setting is a whole number in a stated unit, or a word. They are drawn when the schedule is, unless they were
//! asked for, and stand in the plan, so that a run can be read, repeated and made smaller.

use std::collections::BTreeMap;
use std::fmt;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::target::Rng;

/// One setting of a fault.
#[derive(Clone, Copy, Debug)]
pub struct Knob {
    /// How it is written, with its unit: `delay_ms`, `percent`.
    pub name: &'static str,
    /// What it does, in a line of `harness list`.
    pub about: &'static str,
    /// What it can be set to.
    pub range: Range,
}

/// What a knob can be set to.
#[derive(Clone, Copy, Debug)]
pub enum Range {
    /// A whole number.
    Number {
        /// The least that makes sense.
        min: i64,
        /// The most that makes sense.
        max: i64,
        /// What is drawn from, unless a number was asked for.
        usual: &'static [i64],
    },
    /// One of these words. All are drawn from.
    Word(&'static [&'static str]),
    /// One of these words. Only the usual ones are drawn.
    Choice {
        /// All that it can be.
        words: &'static [&'static str],
        /// What is drawn from, unless a word was asked for.
        usual: &'static [&'static str],
    },
    /// Any text without `:` and `,`; unless it was asked for, one of these is drawn.
    Text(&'static [&'static str]),
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { min, max, usual } => {
                let usual = usual.iter().map(ToString::to_string).collect::<Vec<_>>();
                write!(f, "{min} to {max}, usually {}", usual.join(" or "))
            }
            Self::Word(words) => write!(f, "{}", words.join(" or ")),
            Self::Choice { words, usual } => {
                write!(f, "{}; usually {}", words.join(" or "), usual.join(" or "))
            }
            Self::Text(usual) => write!(f, "usually {}", usual.join(" or ")),
        }
    }
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A whole number, in the unit that the knob's name ends with.
    Number(i64),
    /// A word.
    Word(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// The settings of one injection, by the names of the knobs. In a plan: `{"percent": 20}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Knobs(BTreeMap<String, Value>);

impl Knobs {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number that a knob is set to.
    ///
    /// # Panics
    ///
    /// The fault has no such knob, or it takes a word.
    pub fn number(&self, name: &str) -> i64 {
        match self.0.get(name) {
            Some(Value::Number(number)) => *number,
            other => panic!("faults ask only for numbers that they declare: {name} is {other:?}"),
        }
    }

    /// The word that a knob is set to.
    ///
    /// # Panics
    ///
    /// The fault has no such knob, or it takes a number.
    pub fn word(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(Value::Word(word)) => word,
            other => panic!("faults ask only for words that they declare: {name} is {other:?}"),
        }
    }

    /// Whether a knob is set to this word.
    pub fn has_word(&self, name: &str, word: &str) -> bool {
        matches!(self.0.get(name), Some(Value::Word(set)) if set == word)
    }

    /// Sets one of the `declared` knobs from text, as in `percent` and `20`.
    ///
    /// # Errors
    ///
    /// What is wrong with the name or the setting, and what there is instead.
    pub fn set(&mut self, declared: &[Knob], name: &str, text: &str) -> Result<(), String> {
        let knob = find(declared, name)?;
        let value = match knob.range {
            Range::Number { .. } => {
                Value::Number(text.parse().map_err(|_| format!("{name}: `{text}` is not a whole number"))?)
            }
            Range::Word(_) | Range::Choice { .. } | Range::Text(_) => Value::Word(text.to_owned()),
        };
        knob.check(&value)?;
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    /// Whether a fault with the `declared` knobs can have these settings; a plan may have been edited by hand.
    ///
    /// # Errors
    ///
    /// The first setting that it cannot have, and why.
    pub fn check(&self, declared: &[Knob]) -> Result<(), String> {
        self.0.iter().try_for_each(|(name, value)| find(declared, name)?.check(value))
    }

    /// These settings, and for every other knob that is `declared` one drawn from what is usual.
    #[must_use]
    pub fn complete(&self, declared: &[Knob], rng: &mut Rng) -> Self {
        let all = declared.iter().map(|knob| {
            // Drawn even where it is not used, so that asking for one setting does not change the others.
            let drawn = knob.draw(rng);
            (knob.name.to_owned(), self.0.get(knob.name).cloned().unwrap_or(drawn))
        });
        Self(all.collect())
    }

    /// These settings, and for about half of the other knobs that are `declared` one drawn from what is usual.
    #[must_use]
    pub fn half(&self, declared: &[Knob], rng: &mut Rng) -> Self {
        let Self(mut all) = self.complete(declared, rng);
        all.retain(|name, _| {
            // Drawn for every knob, so that asking for one setting does not change the others.
            let stays = rng.random_bool(0.5);
            stays || self.0.contains_key(name)
        });
        Self(all)
    }
}

impl fmt::Display for Knobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        f.write_str(&settings.join(":"))
    }
}

impl Knob {
    fn check(&self, value: &Value) -> Result<(), String> {
        let name = self.name;
        match (self.range, value) {
            (Range::Number { min, max, .. }, Value::Number(number)) if (min..=max).contains(number) => Ok(()),
            (Range::Number { min, max, .. }, value) => {
                Err(format!("{name}: `{value}` is not {min} to {max}"))
            }
            (Range::Word(words) | Range::Choice { words, .. }, Value::Word(word))
                if words.contains(&word.as_str()) =>
            {
                Ok(())
            }
            (Range::Word(words) | Range::Choice { words, .. }, value) => {
                Err(format!("{name}: `{value}` is not one of {}", words.join(", ")))
            }
            (Range::Text(_), Value::Word(_)) => Ok(()),
            (Range::Text(_), Value::Number(_)) => Err(format!("{name}: text is needed, in quotes")),
        }
    }

    fn draw(&self, rng: &mut Rng) -> Value {
        match self.range {
            Range::Number { usual, .. } => Value::Number(usual[rng.random_range(0..usual.len())]),
            Range::Word(words) | Range::Choice { usual: words, .. } | Range::Text(words) => {
                Value::Word(words[rng.random_range(0..words.len())].to_owned())
            }
        }
    }
}

fn find<'a>(declared: &'a [Knob], name: &str) -> Result<&'a Knob, String> {
    declared.iter().find(|knob| knob.name == name).ok_or_else(|| {
        if declared.is_empty() {
            return format!("there is nothing to set, also not `{name}`");
        }
        let names = declared.iter().map(|knob| knob.name).collect::<Vec<_>>().join(", ");
        format!("there is no `{name}` to set; there is {names}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOBS: &[Knob] = &[
        Knob { name: "percent", about: "", range: Range::Number { min: 1, max: 100, usual: &[5, 20] } },
        Knob { name: "clock", about: "", range: Range::Word(&["realtime", "monotonic"]) },
        Knob { name: "path", about: "", range: Range::Text(&["*"]) },
    ];

    fn set(text: &[(&str, &str)]) -> Result<Knobs, String> {
        let mut knobs = Knobs::default();
        text.iter().try_for_each(|(name, value)| knobs.set(KNOBS, name, value))?;
        Ok(knobs)
    }

    #[test]
    fn what_was_asked_for_stays_and_the_rest_is_drawn() {
        let asked = set(&[("percent", "42")]).expect("in range");
        let all = asked.complete(KNOBS, &mut Rng::new(1, 1));
        assert_eq!(all.number("percent"), 42);
        assert!(["realtime", "monotonic"].contains(&all.word("clock")));
        assert!(all.check(KNOBS).is_ok());
        let others = Knobs::default().complete(KNOBS, &mut Rng::new(1, 1));
        assert_eq!(others.word("clock"), all.word("clock"), "asking for one does not change another");
    }

    #[test]
    fn mistakes_name_the_knob_and_what_it_takes() {
        assert_eq!(set(&[("percent", "x")]).expect_err("no number"), "percent: `x` is not a whole number");
        assert_eq!(set(&[("percent", "0")]).expect_err("too small"), "percent: `0` is not 1 to 100");
        assert_eq!(
            set(&[("clock", "x")]).expect_err("no word"),
            "clock: `x` is not one of realtime, monotonic"
        );
        let unknown = set(&[("pct", "1")]).expect_err("no such knob");
        assert_eq!(unknown, "there is no `pct` to set; there is percent, clock, path");
    }

    #[test]
    fn settings_are_numbers_and_words_in_a_plan() {
        let knobs = set(&[("percent", "20"), ("path", "*.wal")]).expect("in range");
        let json = serde_json::to_string(&knobs).expect("plain data");
        assert_eq!(json, r#"{"path":"*.wal","percent":20}"#);
        assert_eq!(serde_json::from_str::<Knobs>(&json).expect("as written"), knobs);
        assert_eq!(knobs.to_string(), "path=*.wal:percent=20");
    }
}
