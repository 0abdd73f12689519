//! What Jepsen's rows mean.
//!
//! Keys of `jepsen.independent` stand before the value, as `[key value]`. Whether a value has one is seen in the
//! invocation, where a read has no value of its own and no other value is a pair. Without keys there is one object.

use super::edn::Edn;
use super::import::{Import, Open};
use super::rows::{Kind, Row};
use super::{Completion, History, MicroOp, Op, OpKind, Reply, Value};
use crate::json::{Malformed, Warning};

/// The name of the object when rows have no keys.
const ONLY_KEY: &str = "x";

struct Asked {
    op: Op,
    function: String,
    keyed: bool,
}

/// Reads rows of Jepsen.
pub(super) fn read(
    rows: &[Row],
    warnings: Vec<Warning>,
    file: &str,
) -> Result<(History, Vec<Warning>), Malformed> {
    let mut import = Import::new(file);
    let mut open: Open<Asked> = Open::new();
    for row in rows {
        let Some(process) = row.process else { continue };
        if row.kind == Kind::Invoke {
            let asked = asked(&mut import, row)?;
            import.invoke(row, process, asked.op.clone())?;
            open.begin(process, asked);
            continue;
        }
        let asked = open.end(&import, row, process)?;
        if asked.function != row.function {
            let problem =
                format!("`:{}` completes an operation that began as `:{}`", row.function, asked.function);
            return Err(import.error(row, ":f", problem));
        }
        let completion = completion(&mut import, row, &asked)?;
        import.complete(row, process, completion)?;
    }
    import.finish(warnings)
}

/// The key and the value behind it.
fn split_key(
    value: &Edn,
    keyed: bool,
    row_error: impl FnOnce() -> Malformed,
) -> Result<(String, &Edn), Malformed> {
    match value {
        Edn::Sequence(pair) if keyed && pair.len() == 2 => Ok((name(&pair[0]), &pair[1])),
        _ if keyed => Err(row_error()),
        _ => Ok((ONLY_KEY.to_owned(), value)),
    }
}

/// A key as ours are: a name.
fn name(form: &Edn) -> String {
    match form {
        Edn::Text(name) | Edn::Keyword(name) | Edn::Symbol(name) => name.clone(),
        other => other.to_string(),
    }
}

fn is_pair(value: &Edn) -> bool {
    matches!(value, Edn::Sequence(pair) if pair.len() == 2)
}

fn asked(import: &mut Import<'_>, row: &Row) -> Result<Asked, Malformed> {
    let keyed = match (row.function.as_str(), &row.value) {
        ("txn", _) => false,
        // `[from to]` is a pair, too; behind a key comes another.
        ("cas", Edn::Sequence(pair)) => pair.len() == 2 && is_pair(&pair[1]),
        (_, value) => is_pair(value),
    };
    let (key, value) =
        split_key(&row.value, keyed, || import.error(row, ":value", "expected `[key value]`"))?;
    let op = match row.function.as_str() {
        "read" => Op::Read { key },
        "write" => Op::Write { key, value: import.number(row, value)? },
        "cas" => {
            let Edn::Sequence(pair) = value else {
                return Err(import.error(row, ":value", format!("`{value}` is not `[from to]`")));
            };
            let [from, to] = pair.as_slice() else {
                return Err(import.error(row, ":value", format!("`{value}` is not `[from to]`")));
            };
            Op::Cas { key, from: import.number(row, from)?, to: import.number(row, to)? }
        }
        "delete" => Op::Delete { key },
        "append" => Op::Append { key, value: import.number(row, value)? },
        "add" => Op::Add { key, value: import.number(row, value)? },
        "enqueue" => Op::Enqueue { key, value: import.number(row, value)? },
        "dequeue" => Op::Dequeue { key },
        "acquire" => Op::Acquire { key },
        "release" => Op::Release { key },
        "txn" => Op::Txn { ops: micro_ops(import, row, Kind::Invoke)? },
        unknown => {
            let problem = format!(
                "`:{unknown}` is not an operation; there are :read, :write, :cas, :delete, :append, :add, :enqueue, \
                 :dequeue, :acquire, :release and :txn"
            );
            return Err(import.error(row, ":f", problem));
        }
    };
    Ok(Asked { op, function: row.function.clone(), keyed })
}

fn completion(import: &mut Import<'_>, row: &Row, asked: &Asked) -> Result<Completion, Malformed> {
    let reason = row.error.as_ref().map_or_else(|| "no reason given".to_owned(), reason);
    match row.kind {
        Kind::Ok => Ok(Completion::Ok(reply(import, row, asked)?)),
        Kind::Info => Ok(Completion::Info { reason }),
        Kind::Fail | Kind::Invoke => match asked.op.kind() {
            OpKind::Cas => refused(import, row, reason),
            _ => Ok(Completion::Fail { reason }),
        },
    }
}

/// A text as it stands, anything else as EDN.
fn reason(error: &Edn) -> String {
    match error {
        Edn::Text(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The error that our export writes for a compare-and-set that saw another value.
pub(super) const NOT_SWAPPED: &str = "not-swapped";

/// A failed compare-and-set without an error was refused: the object did not hold the value expected. With an
/// error it may not have got that far, and says nothing about the object.
fn refused(import: &mut Import<'_>, row: &Row, reason: String) -> Result<Completion, Malformed> {
    match &row.error {
        None => Ok(Completion::Ok(Reply::Mismatch)),
        Some(Edn::Sequence(error)) => match error.as_slice() {
            [Edn::Keyword(what), seen] if what == NOT_SWAPPED => {
                Ok(Completion::Ok(Reply::NotSwapped { seen: held(import, row, seen)? }))
            }
            _ => Ok(Completion::Fail { reason }),
        },
        Some(_) => Ok(Completion::Fail { reason }),
    }
}

fn reply(import: &mut Import<'_>, row: &Row, asked: &Asked) -> Result<Reply, Malformed> {
    let value =
        || split_key(&row.value, asked.keyed, || import.error(row, ":value", "expected `[key value]`"));
    match asked.op.kind() {
        OpKind::Read => match value()?.1 {
            Edn::Sequence(elements) => Ok(Reply::ReadList { values: numbers(import, row, elements)? }),
            single => Ok(Reply::Read { value: held(import, row, single)? }),
        },
        OpKind::Dequeue => Ok(Reply::Dequeue { value: held(import, row, value()?.1)? }),
        OpKind::Txn => {
            let ops = micro_ops(import, row, Kind::Ok)?;
            Ok(Reply::Txn { ops })
        }
        OpKind::Write => Ok(Reply::Write),
        OpKind::Cas => Ok(Reply::Swapped),
        OpKind::Delete => Ok(Reply::Delete),
        OpKind::Append => Ok(Reply::Append),
        OpKind::Add => Ok(Reply::Add),
        OpKind::Enqueue => Ok(Reply::Enqueue),
        OpKind::Acquire => Ok(Reply::Acquire),
        OpKind::Release => Ok(Reply::Release),
    }
}

/// A value read, or nil.
fn held(import: &mut Import<'_>, row: &Row, form: &Edn) -> Result<Option<Value>, Malformed> {
    if *form == Edn::Nil { Ok(None) } else { import.number(row, form).map(Some) }
}

fn numbers(import: &mut Import<'_>, row: &Row, forms: &[Edn]) -> Result<Vec<Value>, Malformed> {
    forms.iter().map(|form| import.number(row, form)).collect()
}

/// `[[:append key value] [:r key nil]]`, as Elle has it.
fn micro_ops(import: &mut Import<'_>, row: &Row, kind: Kind) -> Result<Vec<MicroOp>, Malformed> {
    let Edn::Sequence(steps) = &row.value else {
        return Err(import.error(row, ":value", format!("`{}` is not a vector of operations", row.value)));
    };
    let micro_op = |step: &Edn| {
        let bad = |import: &Import<'_>| {
            let problem = format!("`{step}` is neither `[:append key value]` nor `[:r key values]`");
            import.error(row, ":value", problem)
        };
        let Edn::Sequence(parts) = step else { return Err(bad(import)) };
        match parts.as_slice() {
            [Edn::Keyword(function), key, value] if function == "append" => {
                Ok(MicroOp::Append { key: name(key), value: import.number(row, value)? })
            }
            [Edn::Keyword(function), key, read] if function == "r" => {
                let values = match read {
                    // What a request holds in this place means nothing.
                    _ if kind == Kind::Invoke => None,
                    // Elle's nil is a list to which nothing was appended.
                    Edn::Nil => Some(Vec::new()),
                    Edn::Sequence(elements) => Some(numbers(import, row, elements)?),
                    _ => return Err(bad(import)),
                };
                Ok(MicroOp::Read { key: name(key), values })
            }
            _ => Err(bad(import)),
        }
    };
    steps.iter().map(micro_op).collect()
}
