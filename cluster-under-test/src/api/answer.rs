//! Answers in the JSON of etcd's gateway: 64-bit numbers are strings; zero, false and nothing are left out.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::fields::Invalid;
use super::{Identity, Status};
use crate::kv::{KeyValue, OpResult, Outcome, Pair};
use crate::raft::{NodeId, RejectReason, Role};

/// The etcd version whose API is spoken; clients look at it.
const VERSION: &str = "3.4.0-raft-kv";

/// Builds an object, leaving out what etcd leaves out.
#[derive(Default)]
pub(super) struct Object(pub(super) Map<String, Value>);

impl Object {
    pub(super) fn number(mut self, name: &str, number: impl TryInto<i128>) -> Self {
        let number = number.try_into().ok().expect("every number of the API fits into an i128");
        if number != 0 {
            self.0.insert(name.into(), Value::String(number.to_string()));
        }
        self
    }

    fn bytes(mut self, name: &str, bytes: &[u8]) -> Self {
        if !bytes.is_empty() {
            self.0.insert(name.into(), Value::String(BASE64.encode(bytes)));
        }
        self
    }

    pub(super) fn flag(mut self, name: &str, flag: bool) -> Self {
        if flag {
            self.0.insert(name.into(), Value::Bool(true));
        }
        self
    }

    pub(super) fn value(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    fn pairs(self, name: &str, pairs: &[Pair]) -> Self {
        if pairs.is_empty() {
            return self;
        }
        self.value(name, pairs.iter().map(key_value).collect::<Vec<_>>())
    }
}

fn key_value((key, entry): &Pair) -> Value {
    let KeyValue { value, create_revision, mod_revision, version, salt: _ } = entry;
    Object::default()
        .bytes("key", key)
        .number("create_revision", *create_revision)
        .number("mod_revision", *mod_revision)
        .number("version", *version)
        .bytes("value", value)
        .0
        .into()
}

/// An object that begins with the header of every answer.
pub(super) fn header(identity: Identity, revision: i64, term: u64) -> Object {
    let header = Object::default()
        .number("cluster_id", identity.cluster)
        .number("member_id", identity.member)
        .number("revision", revision)
        .number("raft_term", term);
    Object::default().value("header", header.0)
}

/// The answer to a single operation: the header and the operation's own fields.
pub(super) fn single(identity: Identity, outcome: &Outcome, term: u64) -> Value {
    let [result] = outcome.results.as_slice() else { panic!("one operation has one result") };
    with_result(header(identity, outcome.revision, term), result).0.into()
}

/// The answer to a transaction.
pub(super) fn txn(identity: Identity, outcome: &Outcome, term: u64) -> Value {
    let object = header(identity, outcome.revision, term).flag("succeeded", outcome.succeeded);
    if outcome.results.is_empty() {
        return object.0.into();
    }
    let responses: Vec<Value> = outcome
        .results
        .iter()
        .map(|result| {
            let name = match result {
                OpResult::Put { .. } => "response_put",
                OpResult::Range { .. } => "response_range",
                OpResult::DeleteRange { .. } => "response_delete_range",
            };
            let header = Object::default().number("revision", outcome.revision);
            let response = with_result(Object::default().value("header", header.0), result);
            Object::default().value(name, response.0).0.into()
        })
        .collect();
    object.value("responses", responses).0.into()
}

fn with_result(object: Object, result: &OpResult) -> Object {
    match result {
        OpResult::Put { prev: None } => object,
        OpResult::Put { prev: Some(pair) } => object.value("prev_kv", key_value(pair)),
        OpResult::Range { kvs, count, more } => {
            object.pairs("kvs", kvs).flag("more", *more).number("count", *count as u64)
        }
        OpResult::DeleteRange { deleted, prev } => {
            object.number("deleted", *deleted as u64).pairs("prev_kvs", prev)
        }
    }
}

fn names(nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().map(ToString::to_string).collect()
}

/// The answer to `/v3/maintenance/status`. `voters`, `learners`, `isLeader` and `role` are ours.
pub(super) fn status(identity: Identity, status: &Status) -> Value {
    header(identity, status.revision, status.term)
        .value("version", VERSION)
        .number("dbSize", status.size_bytes as u64)
        .number("leader", status.leader.unwrap_or(0))
        .number("raftIndex", status.commit_index)
        .number("raftTerm", status.term)
        .number("raftAppliedIndex", status.applied_index)
        .flag("isLearner", status.members.learners().contains(&identity.member))
        .value("voters", names(&status.members.voters()))
        .value("learners", names(&status.members.learners()))
        .flag("isLeader", status.role == Role::Leader)
        .value("role", json!(status.role))
        .0
        .into()
}

/// Why a request got no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// It cannot be understood.
    Invalid(Invalid),
    /// It was turned away.
    Rejected(RejectReason),
    /// Only a leader can do it.
    NotLeader,
    /// No answer came in time.
    TimedOut {
        /// Whether it may have an effect, now or later.
        may_write: bool,
    },
    /// The node stopped while the request waited.
    Stopping {
        /// As above.
        may_write: bool,
    },
    /// There is nothing at this path.
    UnknownPath,
    /// There is, but not for this method.
    WrongMethod,
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        // The numbers are gRPC's: 3 invalid argument, 5 not found, 12 unimplemented, 14 unavailable.
        let effect = |may_write| Some(if may_write { "unknown" } else { "none" });
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        let (status, code, effect, message) = match self {
            Self::Invalid(Invalid(message)) => (StatusCode::BAD_REQUEST, 3, Some("none"), message),
            Self::Rejected(reason) => rejected(reason),
            Self::NotLeader => rejected_in_words_of_etcd(9, "not leader"),
            Self::TimedOut { may_write } => {
                (unavailable, 14, effect(may_write), "etcdserver: request timed out".into())
            }
            Self::Stopping { may_write } => {
                (unavailable, 14, effect(may_write), "etcdserver: server stopped".into())
            }
            Self::UnknownPath => (StatusCode::NOT_FOUND, 5, Some("none"), "Not Found".into()),
            Self::WrongMethod => {
                (StatusCode::METHOD_NOT_ALLOWED, 12, Some("none"), "Method Not Allowed".into())
            }
        };
        let body = json!({ "error": message, "message": message, "code": code, "effect": effect });
        (status, axum::Json(body)).into_response()
    }
}

/// Status, gRPC's number, effect and message.
type Rejection = (StatusCode, u8, Option<&'static str>, String);

fn rejected(reason: RejectReason) -> Rejection {
    let temporary = |reason: &str| {
        let message = format!("raft-kv: request rejected: {reason}");
        (StatusCode::SERVICE_UNAVAILABLE, 14, Some("none"), message)
    };
    match reason {
        RejectReason::NoLeader => temporary("no leader"),
        RejectReason::NotLeader => temporary("leader changed"),
        RejectReason::NotReady => temporary("the leader has not committed in its term yet"),
        RejectReason::Busy => temporary("too many requests wait already"),
        RejectReason::ChangePending => temporary("the last change of the members is not committed yet"),
        RejectReason::Transferring => temporary("the leader is handing over"),
        RejectReason::MemberExists => rejected_in_words_of_etcd(9, "member ID already exist"),
        RejectReason::MemberNotFound => rejected_in_words_of_etcd(5, "member not found"),
        RejectReason::NotLearner => rejected_in_words_of_etcd(9, "can only promote a learner member"),
        RejectReason::NotInSync => {
            rejected_in_words_of_etcd(9, "can only promote a learner member which is in sync with leader")
        }
        RejectReason::TooFewActive => {
            rejected_in_words_of_etcd(9, "re-configuration failed due to not enough started members")
        }
        RejectReason::BadTransferee => rejected_in_words_of_etcd(9, "bad leader transferee"),
        RejectReason::TransferTimedOut => {
            let message = "etcdserver: request timed out, leader transfer took too long".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, 14, Some("unknown"), message)
        }
    }
}

/// A refusal that asking again does not change.
fn rejected_in_words_of_etcd(code: u8, words: &str) -> Rejection {
    let status = if code == 5 { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
    (status, code, Some("none"), format!("etcdserver: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity { cluster: 9, member: 1 };

    #[test]
    fn zero_false_and_nothing_are_left_out() {
        let outcome = Outcome {
            revision: 2,
            succeeded: false,
            results: vec![OpResult::Range { kvs: vec![], count: 0, more: false }],
        };
        let expected = json!({
            "header": { "cluster_id": "9", "member_id": "1", "revision": "2", "raft_term": "3" },
            "responses": [{ "response_range": { "header": { "revision": "2" } } }],
        });
        assert_eq!(txn(IDENTITY, &outcome, 3), expected);
    }

    #[test]
    fn a_range_shows_keys_as_etcd_does() {
        let entry = KeyValue { value: b"1".into(), create_revision: 2, mod_revision: 4, version: 3, salt: 0 };
        let outcome = Outcome {
            revision: 4,
            succeeded: true,
            results: vec![OpResult::Range { kvs: vec![(b"a".into(), entry)], count: 2, more: true }],
        };
        let answer = single(IDENTITY, &outcome, 3);
        let kv = json!({
            "key": "YQ==", "create_revision": "2", "mod_revision": "4", "version": "3", "value": "MQ==",
        });
        assert_eq!(answer["kvs"], json!([kv]));
        assert_eq!((&answer["count"], &answer["more"]), (&json!("2"), &json!(true)));
    }
}
