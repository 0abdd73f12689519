//! The rows of a history as Jepsen and those who follow it write them: a map of EDN each, or a line of the log.
//!
//! A row says who, what kind of event, which function and which value. What that means for an object is read by
//! [`super::jepsen`] and [`super::porcupine`].

use super::edn::{self, Edn, Reader, Unreadable};
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
    fields_of_log(line).is_some()
}

/// The fields of an event; `None` for other lines of the log.
fn fields_of_log(line: &str) -> Option<Vec<&str>> {
    let (_, after) = line.split_once(LOG_MARK)?;
    let event = after.strip_prefix(" - ").or_else(|| after.strip_prefix(": "))?;
    let fields: Vec<&str> = event.split('\t').map(str::trim).collect();
    (fields.len() >= 2 && fields[1].starts_with(':')).then_some(fields)
}

/// Reads the lines of a log that hold events; there the order of the lines is all that is known of time.
pub(super) fn from_log(text: &str, file: &str) -> Result<(Vec<Row>, Vec<Warning>), Malformed> {
    let mut rows = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let Some(fields) = fields_of_log(line) else { continue };
        match row_of_fields(file, index + 1, &fields) {
            Ok(row) => rows.push(row),
            Err(_) if lines.peek().is_none() && !text.ends_with('\n') => {
                return Ok((rows, vec![cut_short(file, index + 1)]));
            }
            Err(malformed) => return Err(malformed),
        }
    }
    Ok((rows, Vec::new()))
}

fn row_of_fields(file: &str, line: usize, fields: &[&str]) -> Result<Row, Malformed> {
    let form = |position: usize, name: &str| {
        let text = fields.get(position).ok_or_else(|| malformed(file, line, name, "missing"))?;
        edn::single(text).map_err(|problem| malformed(file, line, name, problem))
    };
    let value = form(3, "value")?;
    // What went wrong stands in the place of the value, or behind it.
    let error = match fields.get(4) {
        Some(_) => Some(form(4, "error")?),
        None => matches!(value, Edn::Keyword(_)).then(|| value.clone()),
    };
    Ok(Row {
        line,
        process: process(file, line, &form(0, "process")?)?,
        kind: kind(file, line, &form(1, "type")?)?,
        function: function(file, line, &form(2, "f")?)?,
        value,
        error,
        key: None,
        time: None,
    })
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
