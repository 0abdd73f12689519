//! A client of etcd's v3 JSON gateway, which raft-kv speaks too.
//!
//! One connection, one request at a time, an exact timeout, no redirects and no retries. What an answer proves:
//!
//! | what happened | completion |
//! |---|---|
//! | no connection, or the request was not yet written | `fail`: nothing was sent |
//! | 200 | `ok` |
//! | 400, 404, 405, 413, or an error with `"effect":"none"` | `fail`: the request was refused as it stands |
//! | any other end of a read | `fail`: a read has no effect |
//! | any other end of a write or compare-and-set | `info` |
//!
//! Registers are keys, values are decimal numbers. A compare-and-set is a transaction whose `failure` branch reads
//! the key, so that a failed one returns the value that it found.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use checkers::history::{Completion, Op, Reply, Value};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::Client;

/// A client bound to one node.
pub(super) struct EtcdGateway {
    address: SocketAddr,
    timeout: Duration,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// Statuses of requests that were not even tried. Others of the 400s are not among them: a gateway may answer 408 or 499
/// to a request that it has passed on.
const REFUSED: [u16; 4] = [400, 404, 405, 413];

/// How a request ended short of an answer that can be read.
struct Trouble {
    /// Whether the node may have received the request.
    sent: bool,
    reason: String,
}

impl EtcdGateway {
    pub(super) fn new(address: SocketAddr, timeout: Duration) -> Self {
        Self { address, timeout, connection: None }
    }

    async fn perform(&mut self, op: &Op) -> Completion {
        let Some((path, body)) = request(op) else {
            return Completion::Fail { reason: format!("the key-value gateway has no {}", op.kind()) };
        };
        let deadline = Instant::now() + self.timeout;
        let answer = self.post(path, &body, deadline).await;
        if answer.is_err() {
            // An answer that comes after the deadline belongs to nobody; the next request must not see it.
            self.connection = None;
        }
        match answer {
            Ok((200, body)) => match reply(op, &body) {
                Some(reply) => Completion::Ok(reply),
                None => lost(op, format!("unreadable answer: {body}")),
            },
            Ok((status, body)) => {
                let message =
                    body["message"].as_str().or_else(|| body["error"].as_str()).unwrap_or("no message");
                let reason = format!("{status} {message}");
                if REFUSED.contains(&status) || body["effect"] == "none" {
                    Completion::Fail { reason }
                } else {
                    lost(op, reason)
                }
            }
            Err(Trouble { sent: false, reason }) => Completion::Fail { reason },
            Err(Trouble { sent: true, reason }) => lost(op, reason),
        }
    }

    async fn post(&mut self, path: &str, body: &Json, deadline: Instant) -> Result<(u16, Json), Trouble> {
        let unsent = |reason: String| Trouble { sent: false, reason };
        let sent = |reason: String| Trouble { sent: true, reason };
        let mut connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => timeout_at(deadline, connect(self.address))
                .await
                .map_err(|_| unsent("timeout while connecting".into()))?
                .map_err(unsent)?,
        };
        let request = Request::post(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("the request is built from constants and an address");
        let exchange = async {
            // A request that follows an answer at once may find the connection still busy with its end.
            connection.ready().await.map_err(|error| unsent(error.to_string()))?;
            // The connection may be dead without our knowing: from here on the request counts as sent, except
            // that hyper says so when it cancelled a request before writing any of it.
            let mut response = match connection.try_send_request(request).await {
                Ok(response) => response,
                Err(mut error) => {
                    let never_written = error.take_message().is_some();
                    let reason = error.into_error().to_string();
                    return Err(if never_written { unsent(reason) } else { sent(reason) });
                }
            };
            let status = response.status().as_u16();
            let bytes =
                response.body_mut().collect().await.map_err(|error| sent(error.to_string()))?.to_bytes();
            let body = serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| json!({ "message": String::from_utf8_lossy(&bytes).trim() }));
            Ok((status, body))
        };
        let answer = timeout_at(deadline, exchange).await.map_err(|_| sent("timeout".into()))??;
        self.connection = Some(connection);
        Ok(answer)
    }
}

impl Client for EtcdGateway {
    fn invoke<'a>(&'a mut self, op: &'a Op) -> Pin<Box<dyn Future<Output = Completion> + Send + 'a>> {
        Box::pin(self.perform(op))
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Its errors also reach the request that is under way.
    tokio::spawn(connection);
    Ok(sender)
}

/// The completion of an operation whose answer was lost.
fn lost(op: &Op, reason: String) -> Completion {
    match op {
        Op::Read { .. } => Completion::Fail { reason },
        _ => Completion::Info { reason },
    }
}

/// The path and the body; `None` if the gateway has nothing like it.
fn request(op: &Op) -> Option<(&'static str, Json)> {
    let encode = |text: &str| BASE64.encode(text);
    let number = |value: Value| BASE64.encode(value.to_string());
    Some(match op {
        Op::Read { key } => ("/v3/kv/range", json!({ "key": encode(key) })),
        Op::Write { key, value } => ("/v3/kv/put", json!({ "key": encode(key), "value": number(*value) })),
        Op::Cas { key, from, to } => {
            let key = encode(key);
            let body = json!({
                "compare": [{ "key": key, "target": "VALUE", "result": "EQUAL", "value": number(*from) }],
                "success": [{ "request_put": { "key": key, "value": number(*to) } }],
                "failure": [{ "request_range": { "key": key } }],
            });
            ("/v3/kv/txn", body)
        }
        Op::Delete { key } => ("/v3/kv/deleterange", json!({ "key": encode(key) })),
        Op::Append { .. }
        | Op::Add { .. }
        | Op::Enqueue { .. }
        | Op::Dequeue { .. }
        | Op::Acquire { .. }
        | Op::Release { .. }
        | Op::Txn { .. } => return None,
    })
}

/// Reads an answer; `None` if it is not one to this operation.
fn reply(op: &Op, body: &Json) -> Option<Reply> {
    body.get("header")?;
    match op {
        Op::Read { .. } => Some(Reply::Read { value: value(body)? }),
        Op::Write { .. } => Some(Reply::Write),
        Op::Cas { .. } if body["succeeded"] == true => Some(Reply::Swapped),
        Op::Cas { .. } => {
            Some(Reply::NotSwapped { seen: value(body["responses"].get(0)?.get("response_range")?)? })
        }
        Op::Delete { .. } => Some(Reply::Delete),
        Op::Append { .. }
        | Op::Add { .. }
        | Op::Enqueue { .. }
        | Op::Dequeue { .. }
        | Op::Acquire { .. }
        | Op::Release { .. }
        | Op::Txn { .. } => None,
    }
}

/// The register in the answer to a range: absent, or one key with a decimal value. `None` if it is neither.
#[expect(clippy::option_option, reason = "an absent register and an unreadable answer are different things")]
fn value(range: &Json) -> Option<Option<Value>> {
    match range.get("kvs").and_then(|kvs| kvs.get(0)) {
        None => Some(None),
        Some(kv) => {
            let bytes = BASE64.decode(kv.get("value")?.as_str()?).ok()?;
            String::from_utf8(bytes).ok()?.parse().ok().map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cas() -> Op {
        Op::Cas { key: "k".into(), from: 1, to: 2 }
    }

    #[test]
    fn an_absent_key_reads_as_nothing() {
        let answer = json!({ "header": { "revision": "2" } });
        assert_eq!(reply(&Op::Read { key: "k".into() }, &answer), Some(Reply::Read { value: None }));
    }

    #[test]
    fn a_failed_swap_returns_the_value_that_it_found() {
        let answer = json!({
            "header": {},
            "responses": [{ "response_range": { "kvs": [{ "value": BASE64.encode("7") }], "count": "1" } }],
        });
        assert_eq!(reply(&cas(), &answer), Some(Reply::NotSwapped { seen: Some(7) }));
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_guessed() {
        assert_eq!(reply(&cas(), &json!({ "header": {} })), None);
        assert_eq!(reply(&cas(), &json!({})), None);
    }

    #[tokio::test]
    async fn a_refused_connection_is_a_fail_because_nothing_was_sent() {
        // A port that was just free: nobody listens on it.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        drop(listener);
        let mut client = EtcdGateway::new(address, Duration::from_secs(5));
        assert!(matches!(client.invoke(&cas()).await, Completion::Fail { .. }));
    }

    #[tokio::test]
    async fn silence_after_sending_is_info_for_a_write_and_fail_for_a_read() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let _server = tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                open.push(listener.accept().await);
            }
        });
        let mut client = EtcdGateway::new(address, Duration::from_millis(200));
        assert!(matches!(client.invoke(&cas()).await, Completion::Info { .. }));
        assert!(matches!(client.invoke(&Op::Read { key: "k".into() }).await, Completion::Fail { .. }));
    }
}
