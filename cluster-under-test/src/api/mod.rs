//! The client API: a subset of etcd's v3 JSON gateway, so that one client drives raft-kv and etcd, and `curl` works.
//!
//! | path | answer |
//! |---|---|
//! | `POST /v3/kv/range` | keys; linearizable, or with `serializable` from this node's state, however old |
//! | `POST /v3/kv/put`, `/v3/kv/deleterange`, `/v3/kv/txn` | after the entry is applied here |
//! | `POST /v3/maintenance/status` | leader, term, indexes, members |
//! | `POST /v3/cluster/member/{add,promote,remove}` | after the new configuration is applied here |
//! | `POST /v3/cluster/member/list` | the configuration that this node goes by |
//! | `POST /v3/maintenance/transfer-leadership` | at the leader: when `targetID` leads |
//! | `GET /health` | 200 if the node knows a leader, otherwise 503 |
//!
//! The rule: what an error says about the effect is a promise. Each error has a field `effect`: `"none"` means that
//! the request has no effect, now or later; `"unknown"` that it may have one, even after the answer. A request is
//! never sent twice from here.
//!
//! This module translates. What a request does is decided by the node, which gets it as an [`Ask`].

mod answer;
mod fields;
mod members;
mod request;

use std::collections::BTreeMap;
use std::net::SocketAddr;
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
use crate::raft::{Change, Index, Members, NodeId, RejectReason, Role, Term};

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
    /// Another configuration.
    Change {
        /// What is to change.
        change: Change,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Cluster, RejectReason>>,
    },
    /// Another leader.
    Transfer {
        /// Who shall lead.
        to: NodeId,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Cluster, RejectReason>>,
    },
    /// Who belongs to the cluster.
    Members {
        /// Where the answer goes.
        reply: oneshot::Sender<Cluster>,
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

/// Who belongs to the cluster, as one node knows it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// All members, with their addresses.
    pub members: Members,
    /// The term of the node that answers.
    pub term: Term,
    /// The revision of its store.
    pub revision: i64,
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
    /// The members it goes by.
    pub members: Members,
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
    addresses: BTreeMap<NodeId, SocketAddr>,
}

type Answer = Result<axum::Json<Value>, Failure>;
type Body = Result<Bytes, BytesRejection>;

/// Serves clients until it is dropped.
pub async fn serve(
    listener: TcpListener,
    identity: Identity,
    asks: mpsc::Sender<Ask>,
    request_timeout: Duration,
    addresses: BTreeMap<NodeId, SocketAddr>,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/v3/kv/range", post(range))
        .route("/v3/kv/put", post(put))
        .route("/v3/kv/deleterange", post(delete_range))
        .route("/v3/kv/txn", post(txn))
        .route("/v3/maintenance/status", post(status))
        .route("/v3/maintenance/transfer-leadership", post(transfer))
        .route("/v3/cluster/member/add", post(member_add))
        .route("/v3/cluster/member/promote", post(member_promote))
        .route("/v3/cluster/member/remove", post(member_remove))
        .route("/v3/cluster/member/list", post(member_list))
        .route("/health", get(health))
        .fallback(async || Failure::UnknownPath)
        .method_not_allowed_fallback(async || Failure::WrongMethod)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(Gateway { identity, asks, request_timeout, addresses });
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

async fn member_add(State(gateway): State<Gateway>, body: Body) -> Answer {
    let change = members::add(fields(body)?, &gateway.addresses)?;
    let Change::Add { node, member } = &change else { unreachable!("this is what was asked for") };
    let (node, member) = (*node, member.clone());
    let cluster = gateway.administer(|reply| Ask::Change { change, reply }).await?;
    Ok(axum::Json(members::added(gateway.identity, &cluster, node, &member)))
}

async fn member_promote(State(gateway): State<Gateway>, body: Body) -> Answer {
    let node = members::id(fields(body)?)?;
    let change = Change::Promote { node };
    let cluster = gateway.administer(|reply| Ask::Change { change, reply }).await?;
    Ok(axum::Json(members::list(gateway.identity, &cluster)))
}

async fn member_remove(State(gateway): State<Gateway>, body: Body) -> Answer {
    let node = members::id(fields(body)?)?;
    let change = Change::Remove { node };
    let cluster = gateway.administer(|reply| Ask::Change { change, reply }).await?;
    Ok(axum::Json(members::list(gateway.identity, &cluster)))
}

async fn member_list(State(gateway): State<Gateway>, body: Body) -> Answer {
    members::listing(fields(body)?)?;
    let cluster = gateway.wait(false, |reply| Ask::Members { reply }).await?;
    Ok(axum::Json(members::list(gateway.identity, &cluster)))
}

async fn transfer(State(gateway): State<Gateway>, body: Body) -> Answer {
    let to = members::target(fields(body)?)?;
    let outcome = gateway.administer(|reply| Ask::Transfer { to, reply }).await;
    let cluster = outcome.map_err(|failure| match failure {
        // Unlike a write, a transfer is not forwarded.
        Failure::Rejected(RejectReason::NotLeader) => Failure::NotLeader,
        failure => failure,
    })?;
    Ok(axum::Json(members::transferred(gateway.identity, &cluster)))
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
        let ask = |reply| if serializable { Ask::Local { txn, reply } } else { Ask::Txn { txn, reply } };
        self.wait(may_write, ask).await?.map_err(Failure::Rejected)
    }

    /// As [`Gateway::ask`], for another configuration or leader.
    async fn administer(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<Cluster, RejectReason>>) -> Ask,
    ) -> Result<Cluster, Failure> {
        self.wait(true, ask).await?.map_err(Failure::Rejected)
    }

    async fn status(&self) -> Result<Status, Failure> {
        self.wait(false, |reply| Ask::Status { reply }).await
    }

    async fn wait<T>(
        &self,
        may_write: bool,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        self.hand_over(ask(reply))?;
        match timeout(self.request_timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_stopping)) => Err(Failure::Stopping { may_write }),
            Err(_elapsed) => Err(Failure::TimedOut { may_write }),
        }
    }

    fn hand_over(&self, ask: Ask) -> Result<(), Failure> {
        self.asks.try_send(ask).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Failure::Rejected(RejectReason::Busy),
            mpsc::error::TrySendError::Closed(_) => Failure::Stopping { may_write: false },
        })
    }
}
