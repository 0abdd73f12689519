//! What the rows of Porcupine's key-value logs mean: `put`, `append` and `get` of strings, initially empty.
//!
//! A string that grows by `append` is the list of what was put and appended, if there is only one way to cut it
//! into such pieces. So a `get` becomes a read of a list: the search then compares short lists of numbers, and a
//! counterexample can name the piece that is missing. A string that no pieces make up was never written: it
//! becomes a list of one element that nobody wrote, which is as impossible. Where a string can be cut in two
//! ways the history is refused.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::edn::Edn;
use super::import::{Import, Open};
use super::rows::{Kind, Row};
use super::{Completion, History, Op, OpKind, Reply, Value};
use crate::json::{Malformed, Warning};

/// Reads rows of a key-value log.
pub(super) fn read(
    rows: &[Row],
    warnings: Vec<Warning>,
    file: &str,
) -> Result<(History, Vec<Warning>), Malformed> {
    let mut import = Import::new(file);
    let pieces = pieces(&import, rows)?;
    let mut open: Open<Op> = Open::new();
    for row in rows {
        let Some(process) = row.process else { continue };
        if row.kind == Kind::Invoke {
            let op = op(&mut import, row)?;
            import.invoke(row, process, op.clone())?;
            open.begin(process, op);
            continue;
        }
        let op = open.end(&import, row, process)?;
        let completion = completion(&mut import, row, &op, &pieces)?;
        import.complete(row, process, completion)?;
    }
    import.finish(warnings)
}

fn text<'a>(
    import: &Import<'_>,
    row: &Row,
    field: &str,
    form: Option<&'a Edn>,
) -> Result<&'a str, Malformed> {
    match form {
        Some(Edn::Text(text)) => Ok(text),
        Some(other) => Err(import.error(row, field, format!("`{other}` is not a string"))),
        None => Err(import.error(row, field, "missing")),
    }
}

/// What was put and appended to one key.
#[derive(Default)]
struct Pieces<'a> {
    texts: HashSet<&'a str>,
    lengths: BTreeSet<usize>,
}

fn pieces<'a>(import: &Import<'_>, rows: &'a [Row]) -> Result<BTreeMap<&'a str, Pieces<'a>>, Malformed> {
    let mut keys: BTreeMap<&str, Pieces<'_>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.kind == Kind::Invoke && row.process.is_some()) {
        let of_key = keys.entry(text(import, row, ":key", row.key.as_ref())?).or_default();
        if row.function != "get" {
            let piece = text(import, row, ":value", Some(&row.value))?;
            if piece.is_empty() {
                let problem = "an empty string cannot be told from none when it is read";
                return Err(import.error(row, ":value", problem));
            }
            of_key.texts.insert(piece);
            of_key.lengths.insert(piece.len());
        }
    }
    Ok(keys)
}

fn op(import: &mut Import<'_>, row: &Row) -> Result<Op, Malformed> {
    let key = text(import, row, ":key", row.key.as_ref())?.to_owned();
    match row.function.as_str() {
        "get" => Ok(Op::Read { key }),
        "put" => Ok(Op::Write { key, value: import.number(row, &row.value)? }),
        "append" => Ok(Op::Append { key, value: import.number(row, &row.value)? }),
        unknown => {
            let problem = format!("`:{unknown}` is not an operation; there are :get, :put and :append");
            Err(import.error(row, ":f", problem))
        }
    }
}

fn completion(
    import: &mut Import<'_>,
    row: &Row,
    op: &Op,
    pieces: &BTreeMap<&str, Pieces<'_>>,
) -> Result<Completion, Malformed> {
    let reason = || row.error.as_ref().map_or_else(|| "no reason given".to_owned(), ToString::to_string);
    let (function, reply) = match op.kind() {
        OpKind::Write => ("put", Reply::Write),
        OpKind::Append => ("append", Reply::Append),
        _ => ("get", Reply::ReadList { values: Vec::new() }),
    };
    if row.function != function {
        let problem = format!("`:{}` completes an operation that began as `:{function}`", row.function);
        return Err(import.error(row, ":f", problem));
    }
    Ok(match (row.kind, reply) {
        (Kind::Fail, _) => Completion::Fail { reason: reason() },
        (Kind::Info, _) => Completion::Info { reason: reason() },
        (Kind::Ok | Kind::Invoke, Reply::ReadList { .. }) => {
            let read = text(import, row, ":value", Some(&row.value))?;
            let of_key =
                op.key().and_then(|key| pieces.get(key)).expect("each invocation's key has its pieces");
            Completion::Ok(Reply::ReadList { values: cut(import, row, read, of_key)? })
        }
        (Kind::Ok | Kind::Invoke, reply) => Completion::Ok(reply),
    })
}

/// Cuts a string into pieces, from its end: `ways[i]` are the ways to cut what begins at byte `i`.
fn cut(import: &mut Import<'_>, row: &Row, read: &str, pieces: &Pieces<'_>) -> Result<Vec<Value>, Malformed> {
    #[derive(Clone, Copy, PartialEq)]
    enum Ways {
        None,
        /// One, whose first piece has this length.
        One(usize),
        Several,
    }
    let bytes = read.len();
    let mut ways = vec![Ways::None; bytes + 1];
    // The empty rest is cut in one way, into nothing.
    ways[bytes] = Ways::One(0);
    for start in (0..bytes).rev().filter(|&start| read.is_char_boundary(start)) {
        for &length in pieces.lengths.range(..=bytes - start) {
            let is_piece = read.get(start..start + length).is_some_and(|text| pieces.texts.contains(text));
            if is_piece && ways[start + length] != Ways::None {
                ways[start] = match (ways[start], ways[start + length]) {
                    (Ways::None, Ways::One(_)) => Ways::One(length),
                    _ => Ways::Several,
                };
            }
        }
    }
    if ways[0] == Ways::None {
        return Ok(vec![import.number(row, &Edn::Text(read.to_owned()))?]);
    }
    let mut values = Vec::new();
    let mut start = 0;
    while start < bytes {
        let Ways::One(length) = ways[start] else {
            let problem = "the string can be cut into the pieces written to the key in several ways; only histories \
                           whose strings have one reading can be judged";
            return Err(import.error(row, ":value", problem));
        };
        values.push(import.number(row, &Edn::Text(read[start..start + length].to_owned()))?);
        start += length;
    }
    Ok(values)
}
