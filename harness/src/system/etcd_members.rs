//! Members and leadership over etcd's v3 JSON gateway, where a member's ID is the node's number.
//!
//! One request a call, on a connection of its own and blocking: the nemesis has a thread to itself.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use checkers::history::NodeId;
use nemesis::cluster::Voice;
use serde_json::{Value as Json, json};

use super::{Change, Members, NodeSpec};

/// How long a change may take; after that the caller looks at the members to see what came of it.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The gateway of each node, and the port by which members name each other.
pub(super) struct EtcdMembers {
    pub(super) client_port: u16,
    pub(super) peer_port: u16,
}

impl Members for EtcdMembers {
    fn list(&self, asked: &NodeSpec) -> Result<BTreeMap<NodeId, Voice>, String> {
        let answer = self.post(asked, "/v3/cluster/member/list", &json!({}))?;
        let members = answer["members"].as_array().ok_or("the answer has no members")?;
        members.iter().map(|member| read_member(member).ok_or(format!("not a member: {member}"))).collect()
    }

    fn change(&self, asked: &NodeSpec, change: Change, node: &NodeSpec) -> Result<(), String> {
        let id = node.id.0.to_string();
        let (path, body) = match change {
            Change::Add => {
                let urls = [format!("http://{}:{}", node.address, self.peer_port)];
                ("/v3/cluster/member/add", json!({ "ID": id, "peerURLs": urls, "isLearner": true }))
            }
            Change::Promote => ("/v3/cluster/member/promote", json!({ "ID": id })),
            Change::Remove => ("/v3/cluster/member/remove", json!({ "ID": id })),
            Change::Transfer => ("/v3/maintenance/transfer-leadership", json!({ "targetID": id })),
        };
        self.post(asked, path, &body).map(drop)
    }
}

impl EtcdMembers {
    /// The answer, or what went wrong in words.
    fn post(&self, node: &NodeSpec, path: &str, body: &Json) -> Result<Json, String> {
        let text = self.exchange(node, path, &body.to_string()).map_err(|error| error.to_string())?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("the answer was cut short")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        let answer = serde_json::from_str::<Json>(body);
        match answer {
            Ok(answer) if status == "200" => Ok(answer),
            Ok(answer) => Err(answer["message"].as_str().unwrap_or(body).to_owned()),
            Err(_) => Err(format!("status {status}: {body}")),
        }
    }

    fn exchange(&self, node: &NodeSpec, path: &str, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&(node.address, self.client_port).into(), TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let length = body.len();
        let (address, port) = (node.address, self.client_port);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Its number, which the gateway writes as text, and whether it has a vote.
fn read_member(member: &Json) -> Option<(NodeId, Voice)> {
    let id = member["ID"].as_str()?.parse().ok()?;
    let is_learner = member["isLearner"].as_bool().unwrap_or(false);
    Some((NodeId(id), if is_learner { Voice::Learner } else { Voice::Voter }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_as_etcd_writes_them() {
        let read = |text: &str| read_member(&serde_json::from_str(text).expect("JSON"));
        assert_eq!(read(r#"{"ID":"3","name":"n3"}"#), Some((NodeId(3), Voice::Voter)));
        assert_eq!(read(r#"{"ID":"4","isLearner":true}"#), Some((NodeId(4), Voice::Learner)));
        assert_eq!(read(r#"{"name":"n3"}"#), None);
    }
}
