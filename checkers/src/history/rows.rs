//! The rows of a history as Jepsen and those who follow it write them: a map of EDN each, or a line of the log.
//!
//! A row says who, what kind of event, which function and which value. What that means for an object is read by
//! [`super::jepsen`] and [`super::porcupine`].

use super::edn::{Edn, Reader, Unreadable};
use crate::json::{Malformed, Warning};

/// One event as it is written.
pub(super) struct Row {
    pub(super) line: usize,
    /// `None` for the nemesis and whoever else is no client.
    pub(super) process: Option<u32>,
    pub(super) kind: Kind,
    /// The function, without its colon.
    pub(super) function: String,
    pub(super) value: Edn,
    pub(super) error: Option<Edn>,
    /// The object, where a field of its own names it.
    pub(super) key: Option<Edn>,
    pub(super) time: Option<u64>,
}

/// What kind of event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

/// An error about one field of a row.
pub(super) fn malformed(file: &str, line: usize, field: &str, problem: impl Into<String>) -> Malformed {
    Malformed { file: file.to_owned(), line, field: Some(field.to_owned()), problem: problem.into() }
}

fn cut_short(file: &str, line: usize) -> Warning {
    let text = "the last line is incomplete and was left out; the writer was cut short".to_owned();
    Warning { file: file.to_owned(), line, text }
}

/// Reads maps one after the other, or in one vector.
pub(super) fn from_edn(text: &str, file: &str) -> Result<(Vec<Row>, Vec<Warning>), Malformed> {
    let mut rows = Vec::new();
    match read_edn(text, file, &mut rows) {
        Ok(()) => Ok((rows, Vec::new())),
        Err(Trouble::Malformed(malformed)) => Err(malformed),
        Err(Trouble::Unreadable(trouble)) => {
            let last_line = text.lines().count();
            // As in our own format: a line that has its newline was written to its end, so half of it is damage.
            // And a form that began earlier has swallowed whole rows: that is damage, too.
            if trouble.unfinished_since == Some(last_line) && !text.ends_with('\n') {
                return Ok((rows, vec![cut_short(file, last_line)]));
            }
            let line = trouble.unfinished_since.unwrap_or(trouble.line);
            let problem = format!("not EDN: {}", trouble.problem);
            Err(Malformed { file: file.to_owned(), line, field: None, problem })
        }
    }
}

enum Trouble {
    Malformed(Malformed),
    Unreadable(Unreadable),
}

impl From<Malformed> for Trouble {
    fn from(malformed: Malformed) -> Trouble {
        Trouble::Malformed(malformed)
    }
}

impl From<Unreadable> for Trouble {
    fn from(unreadable: Unreadable) -> Trouble {
        Trouble::Unreadable(unreadable)
    }
}

fn read_edn(text: &str, file: &str, rows: &mut Vec<Row>) -> Result<(), Trouble> {
    let mut reader = Reader::new(text);
    let in_vector = reader.accept('[')?;
    loop {
        if in_vector && reader.accept(']')? {
            if reader.at_end()? {
                return Ok(());
            }
            let problem = "there is more after the vector of events".to_owned();
            return Err(Malformed { file: file.to_owned(), line: reader.line(), field: None, problem }.into());
        }
        match reader.next_form()? {
            Some((line, form)) => rows.push(row_of_map(file, line, &form)?),
            None if in_vector => {
                let last_line = Some(text.lines().count());
                let problem = "the vector of events is not closed".to_owned();
                return Err(Unreadable { line: reader.line(), problem, unfinished_since: last_line }.into());
            }
            None => return Ok(()),
        }
    }
}

fn row_of_map(file: &str, line: usize, form: &Edn) -> Result<Row, Malformed> {
    if !matches!(form, Edn::Map(_)) {
        let problem =
            format!("`{form}` is not an event; an event is a map such as {{:process 0, :type :invoke, …}}");
        return Err(Malformed { file: file.to_owned(), line, field: None, problem });
    }
    let field = |name: &str| {
        form.get(name.trim_start_matches(':')).ok_or_else(|| malformed(file, line, name, "missing"))
    };
    let time = match form.get("time") {
        None | Some(Edn::Nil) => None,
        // Jepsen stamps a few events of its set-up before time 0.
        Some(Edn::Integer(time)) => {
            let time = u64::try_from((*time).max(0));
            Some(time.map_err(|_| malformed(file, line, ":time", "too large for nanoseconds in 64 bits"))?)
        }
        Some(other) => {
            return Err(malformed(file, line, ":time", format!("`{other}` is not a whole number")));
        }
    };
    Ok(Row {
        line,
        process: process(file, line, field(":process")?)?,
        kind: kind(file, line, field(":type")?)?,
        function: function(file, line, field(":f")?)?,
        value: form.get("value").cloned().unwrap_or(Edn::Nil),
        error: form.get("error").filter(|error| **error != Edn::Nil).cloned(),
        key: form.get("key").cloned(),
        time,
    })
}

/// What stands before the fields of an event in a log.
const LOG_MARK: &str = "jepsen.util";

/// Whether it is a line of Jepsen's log that holds an event.
pub(super) fn is_log_line(line: &str) -> bool {
    event_of_log(line).is_some()
}

/// The part of a line that holds an event: process, type, function, value and what went wrong, each a form of
/// EDN. `None` for other lines of the log.
fn event_of_log(line: &str) -> Option<&str> {
    let (_, after) = line.split_once(LOG_MARK)?;
    let event = after.strip_prefix(" - ").or_else(|| after.strip_prefix(": "))?;
    event.split_whitespace().nth(1).filter(|kind| kind.starts_with(':')).map(|_| event)
}

/// Reads the lines of a log that hold events; there the order of the lines is all that is known of time.
pub(super) fn from_log(text: &str, file: &str) -> Result<(Vec<Row>, Vec<Warning>), Malformed> {
    let mut rows = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let Some(event) = event_of_log(line) else { continue };
        match row_of_log(file, index + 1, event) {
            Ok(row) => rows.push(row),
            Err(_) if lines.peek().is_none() && !text.ends_with('\n') => {
                return Ok((rows, vec![cut_short(file, index + 1)]));
            }
            Err(malformed) => return Err(malformed),
        }
    }
    Ok((rows, Vec::new()))
}

fn row_of_log(file: &str, line: usize, event: &str) -> Result<Row, Malformed> {
    let mut reader = Reader::new(event);
    let mut form = |name: &str| match reader.next_form() {
        Ok(Some((_, form))) => Ok(form),
        Ok(None) => Err(malformed(file, line, name, "missing")),
        Err(trouble) => Err(malformed(file, line, name, format!("not EDN: {}", trouble.problem))),
    };
    let process = process(file, line, &form(":process")?)?;
    let kind = kind(file, line, &form(":type")?)?;
    let function = function(file, line, &form(":f")?)?;
    let value = form(":value")?;
    // What went wrong stands behind the value, in any words, or in its place.
    let behind = reader.rest().trim();
    let error = if behind.is_empty() {
        matches!(value, Edn::Keyword(_)).then(|| value.clone())
    } else {
        Some(Edn::Text(behind.to_owned()))
    };
    Ok(Row { line, process, kind, function, value, error, key: None, time: None })
}

fn process(file: &str, line: usize, form: &Edn) -> Result<Option<u32>, Malformed> {
    match form {
        Edn::Keyword(_) => Ok(None),
        Edn::Integer(number) => u32::try_from(*number)
            .map(Some)
            .map_err(|_| malformed(file, line, ":process", format!("{number} is not a process"))),
        other => Err(malformed(file, line, ":process", format!("`{other}` is not a process"))),
    }
}

fn kind(file: &str, line: usize, form: &Edn) -> Result<Kind, Malformed> {
    match form {
        Edn::Keyword(name) if name == "invoke" => Ok(Kind::Invoke),
        Edn::Keyword(name) if name == "ok" => Ok(Kind::Ok),
        Edn::Keyword(name) if name == "fail" => Ok(Kind::Fail),
        Edn::Keyword(name) if name == "info" => Ok(Kind::Info),
        other => {
            let problem = format!("`{other}` is not a type; there are :invoke, :ok, :fail and :info");
            Err(malformed(file, line, ":type", problem))
        }
    }
}

fn function(file: &str, line: usize, form: &Edn) -> Result<String, Malformed> {
    match form {
        Edn::Keyword(name) => Ok(name.clone()),
        other => Err(malformed(file, line, ":f", format!("`{other}` is not a keyword"))),
    }
}
