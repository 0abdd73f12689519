//! A client of etcd's v3 JSON gateway, which raft-kv speaks too.
//!
//! One connection, one request at a time, an exact timeout for the whole operation, no redirects and no retries. What an
//! answer proves:
//!
//! | what happened | completion |
//! |---|---|
//! | no connection, or the request was not yet written | `fail`: nothing was sent |
//! | 200 | `ok` |
//! | 200, and the guard of a transaction did not hold | `fail`: nothing was written |
//! | 400, 404, 405, 413, or an error with `"effect":"none"` | `fail`: the request was refused as it stands |
//! | any other end of a read | `fail`: a read has no effect |
//! | any other end of an update | `info` |
//!
//! How the objects stand in keys:
//!
//! | object | key and value | update |
//! |---|---|---|
//! | register | a decimal number | put; a compare-and-set is a transaction that reads the key if it does not swap |
//! | list, queue | decimal numbers with commas | read, then a transaction guarded by the revision that was read |
//! | counter | a decimal number | likewise |
//! | set | a key for each element below the set's | put |
//! | lock | the token of its owner, while it is held | a transaction guarded by the absence of the key, or by the token |
//!
//! A transaction over lists reads all of its keys in one step; if it appends, a second step writes, guarded by the
//! revision of *every* key that was read. So all of it happens at the second step, or none of it. The first step of an
//! update is always a linearizable read.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use checkers::history::{Completion, MicroOp, Op, Reply, Value};
use checkers::model::Object;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::{Client, ClientOptions};
use crate::config::Reads;
use connection::Connection;
use wire::Held;

mod connection;
mod wire;

const RANGE: &str = "/v3/kv/range";
const PUT: &str = "/v3/kv/put";
const TXN: &str = "/v3/kv/txn";
const DELETE: &str = "/v3/kv/deleterange";

/// A client bound to one node.
pub(super) struct EtcdGateway {
    connection: Connection,
    options: ClientOptions,
    deadline: Instant,
    /// The token in each lock that is held.
    tokens: HashMap<String, u64>,
}

/// An operation that has no reply ends with its completion.
type Ended<T> = Result<T, Completion>;

fn fail<T>(reason: impl Into<String>) -> Ended<T> {
    Err(Completion::Fail { reason: reason.into() })
}

fn unreadable(body: &Json) -> String {
    format!("unreadable answer: {body}")
}

/// A token that no other client of this process has. It needs no chance: a cluster belongs to one run.
fn fresh_token() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl EtcdGateway {
    pub(super) fn new(address: SocketAddr, options: ClientOptions) -> Self {
        let connection = Connection::new(address);
        Self { connection, options, deadline: Instant::now(), tokens: HashMap::new() }
    }

    async fn perform(&mut self, op: &Op) -> Ended<Reply> {
        self.deadline = Instant::now() + self.options.timeout;
        match op {
            Op::Read { key } => self.read_object(key).await,
            Op::Write { key, value } => {
                self.update(PUT, wire::put(key, &value.to_string()), |_| Some(Reply::Write)).await
            }
            Op::Cas { key, from, to } => self.swap(key, *from, *to).await,
            Op::Delete { key } => self.update(DELETE, wire::range(key), |_| Some(Reply::Delete)).await,
            Op::Append { key, value } => {
                self.change_list(key, |list| list.push(*value)).await?;
                Ok(Reply::Append)
            }
            Op::Add { key, value } => self.add(key, *value).await,
            Op::Enqueue { key, value } => {
                self.change_list(key, |list| list.push(*value)).await?;
                Ok(Reply::Enqueue)
            }
            Op::Dequeue { key } => self.dequeue(key).await,
            Op::Acquire { key } => self.acquire(key).await,
            Op::Release { key } => self.release(key).await,
            Op::Txn { ops } => self.transact(ops).await,
        }
    }

    /// Asks what has no effect.
    async fn ask<T>(&mut self, path: &str, body: Json, read: impl FnOnce(&Json) -> Option<T>) -> Ended<T> {
        match self.connection.post(path, &body, self.deadline).await {
            Ok(answer) => match answer.get("header").and_then(|_| read(&answer)) {
                Some(seen) => Ok(seen),
                None => fail(unreadable(&answer)),
            },
            Err(trouble) => fail(trouble.reason),
        }
    }

    /// Asks what may have an effect.
    async fn update<T>(&mut self, path: &str, body: Json, read: impl FnOnce(&Json) -> Option<T>) -> Ended<T> {
        let reason = match self.connection.post(path, &body, self.deadline).await {
            Ok(answer) => match answer.get("header").and_then(|_| read(&answer)) {
                Some(seen) => return Ok(seen),
                None => unreadable(&answer),
            },
            Err(trouble) if !trouble.may_have_effect => return fail(trouble.reason),
            Err(trouble) => trouble.reason,
        };
        Err(Completion::Info { reason })
    }

    /// A transaction without an `else`; whether its guard held.
    async fn guarded(&mut self, compare: Vec<Json>, success: Vec<Json>) -> Ended<bool> {
        let body = json!({ "compare": compare, "success": success });
        self.update(TXN, body, |answer| Some(answer["succeeded"] == true)).await
    }

    /// A range as the clients of this run ask it.
    fn asked(&self, range: Json) -> Json {
        match self.options.reads {
            Reads::ReadIndex | Reads::Lease => range,
            Reads::Serializable => wire::serializable(range),
        }
    }

    async fn read_object(&mut self, key: &str) -> Ended<Reply> {
        let range = match self.options.object {
            Object::Set => wire::range_of_set(key),
            Object::Register | Object::List | Object::Counter | Object::Queue | Object::Lock => {
                wire::range(key)
            }
        };
        let (range, object) = (self.asked(range), self.options.object);
        self.ask(RANGE, range, |answer| {
            Some(match object {
                Object::Register | Object::Counter | Object::Lock => {
                    Reply::Read { value: wire::held(answer)?.number()? }
                }
                Object::List | Object::Queue => Reply::ReadList { values: wire::held(answer)?.list()? },
                Object::Set => Reply::ReadList { values: wire::elements(answer)? },
            })
        })
        .await
    }

    async fn swap(&mut self, key: &str, from: Value, to: Value) -> Ended<Reply> {
        let body = json!({
            "compare": [wire::holds(key, &from.to_string())],
            "success": [wire::step("request_put", wire::put(key, &to.to_string()))],
            "failure": [wire::step("request_range", wire::range(key))],
        });
        self.update(TXN, body, |answer| {
            if answer["succeeded"] == true {
                return Some(Reply::Swapped);
            }
            let seen = wire::held(wire::ranges(answer)?.first()?)?.number()?;
            Some(Reply::NotSwapped { seen })
        })
        .await
    }

    async fn add(&mut self, key: &str, value: Value) -> Ended<Reply> {
        if self.options.object == Object::Set {
            let body = wire::put(&wire::element(key, value), &value.to_string());
            return self.update(PUT, body, |_| Some(Reply::Add)).await;
        }
        let held = self.fetch(key).await?;
        let Some(total) = held.number() else { return fail(format!("{key} holds no number")) };
        let total = total.unwrap_or(0).saturating_add(value);
        self.replace(key, &held, &total.to_string()).await?;
        Ok(Reply::Add)
    }

    /// What a key holds, and since when, to be changed next.
    async fn fetch(&mut self, key: &str) -> Ended<Held> {
        self.ask(RANGE, wire::range(key), wire::held).await
    }

    /// Writes the key, if it is still what was fetched.
    async fn replace(&mut self, key: &str, held: &Held, text: &str) -> Ended<()> {
        let write = wire::step("request_put", wire::put(key, text));
        if self.guarded(vec![wire::unchanged(key, held.revision)], vec![write]).await? {
            return Ok(());
        }
        fail(format!("{key} was changed by somebody else meanwhile"))
    }

    async fn change_list<T>(&mut self, key: &str, change: impl FnOnce(&mut Vec<Value>) -> T) -> Ended<T> {
        let held = self.fetch(key).await?;
        let Some(mut list) = held.list() else { return fail(format!("{key} holds no list")) };
        let changed = change(&mut list);
        self.replace(key, &held, &wire::list(&list)).await?;
        Ok(changed)
    }

    async fn dequeue(&mut self, key: &str) -> Ended<Reply> {
        let held = self.fetch(key).await?;
        let Some(waiting) = held.list() else { return fail(format!("{key} holds no list")) };
        let Some((&first, rest)) = waiting.split_first() else {
            // Nothing to take: the read alone was the operation.
            return Ok(Reply::Dequeue { value: None });
        };
        self.replace(key, &held, &wire::list(rest)).await?;
        Ok(Reply::Dequeue { value: Some(first) })
    }

    async fn acquire(&mut self, key: &str) -> Ended<Reply> {
        let token = fresh_token();
        let write = wire::step("request_put", wire::put(key, &token.to_string()));
        if !self.guarded(vec![wire::absent(key)], vec![write]).await? {
            return fail("somebody holds it");
        }
        self.tokens.insert(key.to_owned(), token);
        Ok(Reply::Acquire)
    }

    async fn release(&mut self, key: &str) -> Ended<Reply> {
        let Some(token) = self.tokens.remove(key) else { return fail("this process does not hold it") };
        let remove = wire::step("request_delete_range", wire::range(key));
        match self.guarded(vec![wire::holds(key, &token.to_string())], vec![remove]).await {
            Ok(true) => Ok(Reply::Release),
            Ok(false) => fail("it does not hold the token of this process"),
            Err(completion) => {
                // What surely did not happen can be tried again.
                if matches!(completion, Completion::Fail { .. }) {
                    self.tokens.insert(key.to_owned(), token);
                }
                Err(completion)
            }
        }
    }

    async fn transact(&mut self, ops: &[MicroOp]) -> Ended<Reply> {
        let keys: Vec<&str> = ops.iter().map(MicroOp::key).collect::<BTreeSet<_>>().into_iter().collect();
        let appends = ops.iter().any(|op| matches!(op, MicroOp::Append { .. }));
        let range = |key: &&str| {
            let range = wire::range(key);
            wire::step("request_range", if appends { range } else { self.asked(range) })
        };
        let body = json!({ "success": keys.iter().map(range).collect::<Vec<_>>() });
        let read = |answer: &Json| {
            let ranges = wire::ranges(answer)?;
            let held = ranges.into_iter().map(wire::held).collect::<Option<Vec<_>>>()?;
            (held.len() == keys.len()).then_some(held)
        };
        let held = self.ask(TXN, body, read).await?;
        let lists = keys.iter().zip(&held).map(|(&key, held)| Some((key, held.list()?)));
        let Some(mut lists) = lists.collect::<Option<HashMap<_, _>>>() else {
            return fail(format!("one of {} holds no list", keys.join(", ")));
        };
        let done = ops.iter().map(|op| apply(op, &mut lists)).collect();
        if appends {
            let compare = keys.iter().zip(&held).map(|(key, held)| wire::unchanged(key, held.revision));
            let written: BTreeSet<&str> =
                ops.iter().filter(|op| matches!(op, MicroOp::Append { .. })).map(MicroOp::key).collect();
            let write = |key: &str| wire::step("request_put", wire::put(key, &wire::list(&lists[key])));
            let success = written.into_iter().map(write).collect();
            if !self.guarded(compare.collect(), success).await? {
                return fail("a list was changed by somebody else meanwhile");
            }
        }
        Ok(Reply::Txn { ops: done })
    }
}

/// One step of a transaction on the lists that it has read.
fn apply(op: &MicroOp, lists: &mut HashMap<&str, Vec<Value>>) -> MicroOp {
    let list = lists.get_mut(op.key()).expect("every key of the transaction was read");
    match op {
        MicroOp::Append { value, .. } => {
            list.push(*value);
            op.clone()
        }
        MicroOp::Read { key, .. } => MicroOp::Read { key: key.clone(), values: Some(list.clone()) },
    }
}

impl Client for EtcdGateway {
    fn invoke<'a>(&'a mut self, op: &'a Op) -> Pin<Box<dyn Future<Output = Completion> + Send + 'a>> {
        Box::pin(async move {
            let completion = self.perform(op).await.map_or_else(|ended| ended, Completion::Ok);
            if matches!(completion, Completion::Info { .. }) {
                // The process is retired, and what it held is nobody's.
                self.tokens.clear();
            }
            completion
        })
    }
}

#[cfg(test)]
mod tests;
