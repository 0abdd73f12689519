//! Reads files of JSON lines so that trouble is named by file, line and field.
//!
//! A file that was being written when its writer died ends in half a line. That is a warning and everything
//! before it counts; a damaged line anywhere else is an error, because what follows it cannot be trusted to
//! be complete.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A history or trace that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Malformed {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The field at fault, where it is one field.
    pub field: Option<String>,
    /// What is wrong with it.
    pub problem: String,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} line {}", self.file, self.line)?;
        if let Some(field) = &self.field {
            write!(f, ", field `{field}`")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Something odd that does not keep a file from being judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is odd about it.
    pub text: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} line {}: {}", self.file, self.line, self.text)
    }
}

/// One line: a JSON object whose fields are asked for by name.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    file: &'a str,
    number: usize,
    fields: Map<String, Value>,
}

/// Splits a file into its lines. Half a line at the end becomes a warning.
pub(crate) fn lines<'a>(text: &str, file: &'a str) -> Result<(Vec<Line<'a>>, Vec<Warning>), Malformed> {
    let mut lines = Vec::new();
    let mut warnings = Vec::new();
    let mut texts = text.lines().enumerate().peekable();
    while let Some((index, line)) = texts.next() {
        let number = index + 1;
        match serde_json::from_str(line) {
            Ok(fields) => lines.push(Line { file, number, fields }),
            // A line that has its newline was written to its end; half of it missing is damage.
            Err(error)
                if error.is_eof() && texts.peek().is_none() && !line.is_empty() && !text.ends_with('\n') =>
            {
                let text =
                    "the last line is incomplete and was left out; the writer was cut short".to_owned();
                warnings.push(Warning { file: file.to_owned(), line: number, text });
            }
            Err(error) => {
                let problem = if line.trim().is_empty() {
                    "the line is empty".to_owned()
                } else {
                    // The parser saw one line only; ours is the number that counts.
                    format!(
                        "not a JSON object: {}",
                        error.to_string().replace(" at line 1 column", " at column")
                    )
                };
                return Err(Malformed { file: file.to_owned(), line: number, field: None, problem });
            }
        }
    }
    Ok((lines, warnings))
}

impl Line<'_> {
    /// An error about this line and one of its fields.
    pub(crate) fn malformed(&self, field: &str, problem: impl Into<String>) -> Malformed {
        Malformed {
            file: self.file.to_owned(),
            line: self.number,
            field: Some(field.to_owned()),
            problem: problem.into(),
        }
    }

    /// A field that must be there, although it may be `null` if `T` allows it.
    pub(crate) fn field<T: DeserializeOwned>(&self, name: &str) -> Result<T, Malformed> {
        let value = self.fields.get(name).ok_or_else(|| self.malformed(name, "missing"))?;
        T::deserialize(value).map_err(|error| self.malformed(name, error.to_string()))
    }

    /// A field that may be absent or `null`.
    pub(crate) fn optional<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Malformed> {
        match self.fields.get(name) {
            None => Ok(None),
            Some(_) => self.field(name),
        }
    }

    /// The format version, which must be the one that we read.
    pub(crate) fn expect_format(&self, known: u32) -> Result<(), Malformed> {
        let found: u32 = self.field("format")?;
        if found == known {
            Ok(())
        } else {
            Err(self.malformed("format", format!("version {found} is not known; this program reads {known}")))
        }
    }
}
