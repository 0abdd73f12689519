//! Reads JSON requests as etcd's gateway does, and says which field is wrong.
//!
//! Names may be `snake_case` or `camelCase`, 64-bit numbers may be numbers or strings, bytes are base64 in the
//! standard alphabet with padding, `null` is the same as nothing. A field that nobody asked for is an error:
//! ignoring a misspelt `serializable` would answer another question than the one that was put.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

/// What is wrong with a request, with the path of the field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid(pub(super) String);

/// The fields of an object that have not been read yet.
#[derive(Debug)]
pub(super) struct Fields {
    /// Where the object is, with a dot at the end; empty for the request itself.
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    /// A request's body. An empty one is an empty object.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Invalid> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self { path: String::new(), map: Map::new() });
        }
        let value = serde_json::from_slice(body).map_err(|error| Invalid(format!("not JSON: {error}")))?;
        Self::object_at(String::new(), value)
    }

    fn object_at(path: String, value: Value) -> Result<Self, Invalid> {
        match value {
            Value::Object(map) => Ok(Self { path, map }),
            other => {
                let place = if path.is_empty() { "the request" } else { path.trim_end_matches('.') };
                Err(Invalid(format!("{place}: an object is needed, not {other}")))
            }
        }
    }

    pub(super) fn bytes(&mut self, name: &str) -> Result<Vec<u8>, Invalid> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => {
                BASE64.decode(&text).map_err(|error| self.wrong(name, format_args!("not base64: {error}")))
            }
            Some(other) => Err(self.wrong(name, format_args!("a base64 string is needed, not {other}"))),
        }
    }

    pub(super) fn number(&mut self, name: &str) -> Result<i64, Invalid> {
        let Some(value) = self.take(name) else { return Ok(0) };
        let number = match &value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        number.ok_or_else(|| self.wrong(name, format_args!("a 64-bit number is needed, not {value}")))
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Invalid> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.wrong(name, format_args!("true or false is needed, not {other}"))),
        }
    }

    /// One of several names, or its number; the first is the default.
    pub(super) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Result<T, Invalid> {
        let Some(value) = self.take(name) else { return Ok(choices[0].1) };
        let found = match &value {
            Value::String(text) => choices.iter().find(|(name, _)| name == text),
            Value::Number(number) => {
                number.as_u64().and_then(|number| choices.get(usize::try_from(number).ok()?))
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.wrong(name, format_args!("one of {} is needed, not {value}", names.join(", ")))
        })
    }

    pub(super) fn strings(&mut self, name: &str) -> Result<Vec<String>, Invalid> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let wrong = self.wrong(name, format_args!("a list of strings is needed, not {value}"));
        serde_json::from_value(value).map_err(|_| wrong)
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, Invalid> {
        self.take(name).map(|value| Self::object_at(format!("{}{name}.", self.path), value)).transpose()
    }

    pub(super) fn objects(&mut self, name: &str) -> Result<Vec<Self>, Invalid> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .into_iter()
                .enumerate()
                .map(|(i, value)| Self::object_at(format!("{}{name}[{i}].", self.path), value))
                .collect(),
            Some(other) => Err(self.wrong(name, format_args!("a list is needed, not {other}"))),
        }
    }

    /// Turns away what etcd knows and this store does not, unless it says nothing but the default.
    pub(super) fn unsupported(&mut self, names: &[&str]) -> Result<(), Invalid> {
        for name in names {
            let Some(value) = self.take(name) else { continue };
            let default = match &value {
                Value::Bool(flag) => !flag,
                Value::Number(number) => number.as_i64() == Some(0),
                Value::String(text) => matches!(text.as_str(), "" | "0" | "NONE" | "KEY"),
                Value::Null | Value::Array(_) | Value::Object(_) => false,
            };
            if !default {
                return Err(self.wrong(name, format_args!("raft-kv does not support this field")));
            }
        }
        Ok(())
    }

    /// Whether anything is left.
    pub(super) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name) || self.map.contains_key(&camel_case(name))
    }

    /// Everything has been read that the request may hold.
    pub(super) fn finish(self) -> Result<(), Invalid> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.wrong(name, format_args!("this field does not belong here"))),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let value = self.map.remove(name).or_else(|| self.map.remove(&camel_case(name)));
        value.filter(|value| !value.is_null())
    }

    pub(super) fn wrong(&self, name: &str, what: std::fmt::Arguments<'_>) -> Invalid {
        Invalid(format!("{}{name}: {what}", self.path))
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        camel.push_str(&word[..1].to_uppercase());
        camel.push_str(&word[1..]);
    }
    camel
}
