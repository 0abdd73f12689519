//! The client API: a subset of etcd's v3 JSON gateway, so that one client drives raft-kv and etcd, and `curl` works.
//!
//! | path | answer |
//! |---|---|
//! | `POST /v3/kv/range` | keys; linearizable, or with `serializable` from this node's state, however old |
//! | `POST /v3/kv/put`, `/v3/kv/deleterange`, `/v3/kv/txn` | after the entry is applied here |
//! | `POST /v3/maintenance/status` | leader, term, indexes |
//! | `GET /health` | 200 if the node knows a leader, otherwise 503 |
//!
//! The rule: what an error says about the effect is a promise. Each error has a field `effect`: `"none"` means that
//! the request has no effect, now or later; `"unknown"` that it may have one, even after the answer. A request is
//! never sent twice from here.
//!
//! This module translates. What a request does is decided by the node, which gets it as an [`Ask`].

mod answer;
mod fields;
mod request;

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use self::answer::Failure;
use self::fields::{Fields, Invalid};
use crate::kv::{Outcome, Txn};
use crate::raft::{Index, NodeId, RejectReason, Role, Term};

/// The longest request: etcd's default of 1.5 MiB, a third more for base64, and something for the JSON around it.
const REQUEST_BYTES_MAX: usize = 2 << 20;
/// Requests that wait for the node's loop. Beyond, they are turned away.
pub const ASKS_MAX: usize = 1024;

/// What the header of each answer says about who answers.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The same in all nodes of a cluster.
    pub cluster: u64,
    /// This node.
    pub member: NodeId,
}

/// What a client asks of the node.
#[derive(Debug)]
pub enum Ask {
    /// A transaction, linearizable.
    Txn {
        /// What to do.
        txn: Txn,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Done, RejectReason>>,
    },
    /// A read-only transaction, answered from the node's own state at once.
    Local {
        /// What to do.
        txn: Txn,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Done, RejectReason>>,
    },
    /// How the node sees itself.
    Status {
        /// Where the answer goes.
        reply: oneshot::Sender<Status>,
    },
}

/// The answer to a transaction.
#[derive(Debug)]
pub struct Done {
    /// What it did.
    pub outcome: Outcome,
    /// The term of the node that answers.
    pub term: Term,
}

/// How a node sees itself.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader of that term, if it knows one.
    pub leader: Option<NodeId>,
    /// Its commit index.
    pub commit_index: Index,
    /// How far it has applied.
    pub applied_index: Index,
    /// The revision of its store.
    pub revision: i64,
    /// Bytes of keys and values in it.
    pub size_bytes: usize,
}

#[derive(Clone, Debug)]
struct Gateway {
    identity: Identity,
    asks: mpsc::Sender<Ask>,
    request_timeout: Duration,
}

type Answer = Result<axum::Json<Value>, Failure>;
type Body = Result<Bytes, BytesRejection>;

/// Serves clients until it is dropped.
pub async fn serve(
    listener: TcpListener,
    identity: Identity,
    asks: mpsc::Sender<Ask>,
    request_timeout: Duration,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/v3/kv/range", post(range))
        .route("/v3/kv/put", post(put))
        .route("/v3/kv/deleterange", post(delete_range))
        .route("/v3/kv/txn", post(txn))
        .route("/v3/maintenance/status", post(status))
        .route("/health", get(health))
        .fallback(async || Failure::UnknownPath)
        .method_not_allowed_fallback(async || Failure::WrongMethod)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(Gateway { identity, asks, request_timeout });
    let listener = listener.tap_io(|stream| {
        // Answers are small: without this, Nagle's algorithm and delayed acknowledgements cost 40 ms each.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("set TCP_NODELAY for a client: {error}");
        }
    });
    axum::serve(listener, router).await
}

async fn range(State(gateway): State<Gateway>, body: Body) -> Answer {
    let request = request::range(fields(body)?)?;
    let txn = Txn::only(request.op);
    let done = gateway.ask(txn, request.serializable).await?;
    Ok(axum::Json(answer::single(gateway.identity, &done.outcome, done.term)))
}

async fn put(State(gateway): State<Gateway>, body: Body) -> Answer {
    let done = gateway.ask(Txn::only(request::put(fields(body)?)?), false).await?;
    Ok(axum::Json(answer::single(gateway.identity, &done.outcome, done.term)))
}

async fn delete_range(State(gateway): State<Gateway>, body: Body) -> Answer {
    let done = gateway.ask(Txn::only(request::delete_range(fields(body)?)?), false).await?;
    Ok(axum::Json(answer::single(gateway.identity, &done.outcome, done.term)))
}

async fn txn(State(gateway): State<Gateway>, body: Body) -> Answer {
    let done = gateway.ask(request::txn(fields(body)?)?, false).await?;
    Ok(axum::Json(answer::txn(gateway.identity, &done.outcome, done.term)))
}

async fn status(State(gateway): State<Gateway>, body: Body) -> Answer {
    fields(body)?.finish()?;
    Ok(axum::Json(answer::status(gateway.identity, &gateway.status().await?)))
}

async fn health(State(gateway): State<Gateway>) -> Response {
    let healthy = gateway.status().await.is_ok_and(|status| status.leader.is_some());
    let code = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, axum::Json(json!({ "health": healthy.to_string() }))).into_response()
}

fn fields(body: Body) -> Result<Fields, Invalid> {
    match body {
        Ok(bytes) => Fields::parse(&bytes),
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(Invalid("etcdserver: request is too large".into()))
        }
        Err(rejection) => Err(Invalid(rejection.body_text())),
    }
}

impl Gateway {
    /// Hands a transaction to the node and waits for the answer. When the client goes away, the wait ends here and
    /// the request goes on.
    async fn ask(&self, txn: Txn, serializable: bool) -> Result<Done, Failure> {
        let may_write = !txn.is_read_only();
        let (reply, answer) = oneshot::channel();
        let ask = if serializable { Ask::Local { txn, reply } } else { Ask::Txn { txn, reply } };
        self.hand_over(ask)?;
        match timeout(self.request_timeout, answer).await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(reason))) => Err(Failure::Rejected(reason)),
            Ok(Err(_stopping)) => Err(Failure::Stopping { may_write }),
            Err(_elapsed) => Err(Failure::TimedOut { may_write }),
        }
    }

    async fn status(&self) -> Result<Status, Failure> {
        let (reply, answer) = oneshot::channel();
        self.hand_over(Ask::Status { reply })?;
        match timeout(self.request_timeout, answer).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(_stopping)) => Err(Failure::Stopping { may_write: false }),
            Err(_elapsed) => Err(Failure::TimedOut { may_write: false }),
        }
    }

    fn hand_over(&self, ask: Ask) -> Result<(), Failure> {
        self.asks.try_send(ask).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Failure::Rejected(RejectReason::Busy),
            mpsc::error::TrySendError::Closed(_) => Failure::Stopping { may_write: false },
        })
    }
}
