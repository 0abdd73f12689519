//! Members and leadership in the JSON of etcd's gateway.
//!
//! etcd makes up an id for whom it adds. Here a node is started with its number, so a request names it by an `ID` of its
//! own, or by an address that this node was started with (`--peers`).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

use super::answer::{Object, header};
use super::fields::{Fields, Invalid};
use super::{Cluster, Identity};
use crate::raft::{Change, Member, NodeId, Suffrage};

/// A request to `/v3/cluster/member/add`.
pub(super) fn add(mut fields: Fields, addresses: &BTreeMap<NodeId, SocketAddr>) -> Result<Change, Invalid> {
    let urls = fields.strings("peerURLs")?;
    let suffrage = if fields.flag("is_learner")? { Suffrage::Learner } else { Suffrage::Voter };
    let id = fields.number("ID")?;
    fields.finish()?;
    let [url] = urls.as_slice() else {
        return Err(Invalid("peerURLs: one URL such as http://10.0.0.4:2380 is needed".into()));
    };
    let address: SocketAddr = url
        .strip_prefix("http://")
        .and_then(|address| address.trim_end_matches('/').parse().ok())
        .ok_or_else(|| Invalid(format!("peerURLs: http://IP:PORT is needed, not {url:?}")))?;
    let known = addresses.iter().find(|(_, known)| **known == address).map(|(&node, _)| node);
    let node = match (id, known) {
        (0, Some(node)) => node,
        (0, None) => {
            return Err(Invalid(format!("ID: this node was not told with --peers who listens at {address}")));
        }
        (id, _) => node_id("ID", id)?,
    };
    Ok(Change::Add { node, member: Member { suffrage, address: address.to_string() } })
}

/// The `ID` of a request to promote or remove.
pub(super) fn id(mut fields: Fields) -> Result<NodeId, Invalid> {
    let id = fields.number("ID")?;
    fields.finish()?;
    node_id("ID", id)
}

/// The `targetID` of a request to transfer leadership.
pub(super) fn target(mut fields: Fields) -> Result<NodeId, Invalid> {
    let id = fields.number("targetID")?;
    fields.finish()?;
    node_id("targetID", id)
}

/// A request to `/v3/cluster/member/list`. Asking for a linearizable list is asking for something else.
pub(super) fn listing(mut fields: Fields) -> Result<(), Invalid> {
    fields.unsupported(&["linearizable"])?;
    fields.finish()
}

fn node_id(name: &str, id: i64) -> Result<NodeId, Invalid> {
    NodeId::try_from(id)
        .ok()
        .filter(|&id| id > 0)
        .ok_or_else(|| Invalid(format!("{name}: the number of a node is needed, from 1")))
}

fn member(id: NodeId, member: &Member) -> Value {
    let object = Object::default().number("ID", id).value("name", format!("n{id}"));
    let object = match member.address.as_str() {
        "" => object,
        address => object.value("peerURLs", vec![format!("http://{address}")]),
    };
    object.flag("isLearner", member.suffrage == Suffrage::Learner).0.into()
}

fn members(object: Object, cluster: &Cluster) -> Value {
    let members: Vec<Value> = cluster.members.0.iter().map(|(&id, node)| member(id, node)).collect();
    object.value("members", members).0.into()
}

/// The members.
pub(super) fn list(identity: Identity, cluster: &Cluster) -> Value {
    members(header(identity, cluster.revision, cluster.term), cluster)
}

/// The members, and the new one.
pub(super) fn added(identity: Identity, cluster: &Cluster, node: NodeId, new: &Member) -> Value {
    members(header(identity, cluster.revision, cluster.term).value("member", member(node, new)), cluster)
}

/// Nothing but the header.
pub(super) fn transferred(identity: Identity, cluster: &Cluster) -> Value {
    header(identity, cluster.revision, cluster.term).0.into()
}
