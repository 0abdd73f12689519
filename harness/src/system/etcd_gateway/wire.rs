//! Requests and answers of etcd's v3 JSON gateway: bytes are base64, 64-bit numbers are strings, and what is zero, false
//! or empty is left out.
//!
//! Whatever cannot be read gives `None`, never a guess.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use checkers::history::Value;
use serde_json::{Value as Json, json};

fn encode(text: &str) -> String {
    BASE64.encode(text)
}

fn decode(bytes: Option<&Json>) -> Option<String> {
    let Some(bytes) = bytes else { return Some(String::new()) };
    String::from_utf8(BASE64.decode(bytes.as_str()?).ok()?).ok()
}

/// Asks for one key.
pub(super) fn range(key: &str) -> Json {
    json!({ "key": encode(key) })
}

/// Asks for every element of a set; see [`element`].
pub(super) fn range_of_set(key: &str) -> Json {
    // The character that follows a slash ends the range.
    json!({ "key": encode(&format!("{key}/")), "range_end": encode(&format!("{key}0")) })
}

/// The key of an element of a set: each has one of its own below the set's, so that adding needs no guard.
pub(super) fn element(key: &str, value: Value) -> String {
    format!("{key}/{value}")
}

/// The same question, answered by the node from its own state.
pub(super) fn serializable(mut range: Json) -> Json {
    range["serializable"] = json!(true);
    range
}

/// Writes one key.
pub(super) fn put(key: &str, text: &str) -> Json {
    json!({ "key": encode(key), "value": encode(text) })
}

/// A step of a transaction: one of the requests above.
pub(super) fn step(kind: &str, request: Json) -> Json {
    Json::Object([(kind.to_owned(), request)].into_iter().collect())
}

/// A condition: nobody has written the key since that revision; 0 if it did not exist.
pub(super) fn unchanged(key: &str, revision: i64) -> Json {
    json!({ "key": encode(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision.to_string() })
}

/// A condition: the key does not exist.
pub(super) fn absent(key: &str) -> Json {
    json!({ "key": encode(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0" })
}

/// A condition: the key exists and holds this.
pub(super) fn holds(key: &str, text: &str) -> Json {
    json!({ "key": encode(key), "target": "VALUE", "result": "EQUAL", "value": encode(text) })
}

/// What a key held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// `None` if the key did not exist.
    pub(super) text: Option<String>,
    /// The revision that wrote it; 0 if it did not exist.
    pub(super) revision: i64,
}

impl Held {
    /// The decimal number in it.
    #[expect(clippy::option_option, reason = "an absent key and an unreadable one are different things")]
    pub(super) fn number(&self) -> Option<Option<Value>> {
        self.text.as_deref().map_or(Some(None), |text| text.parse().ok().map(Some))
    }

    /// The list of decimal numbers in it; an absent key is an empty list.
    pub(super) fn list(&self) -> Option<Vec<Value>> {
        match self.text.as_deref() {
            None | Some("") => Some(Vec::new()),
            Some(text) => text.split(',').map(|element| element.parse().ok()).collect(),
        }
    }
}

/// A list as it stands in a key.
pub(super) fn list(elements: &[Value]) -> String {
    elements.iter().map(Value::to_string).collect::<Vec<_>>().join(",")
}

/// The one key that was asked for.
pub(super) fn held(range: &Json) -> Option<Held> {
    match range.get("kvs").and_then(|kvs| kvs.get(0)) {
        None => Some(Held { text: None, revision: 0 }),
        Some(kv) => {
            let revision = kv.get("mod_revision")?.as_str()?.parse().ok()?;
            Some(Held { text: Some(decode(kv.get("value"))?), revision })
        }
    }
}

/// The elements of a set.
pub(super) fn elements(range: &Json) -> Option<Vec<Value>> {
    let Some(kvs) = range.get("kvs") else { return Some(Vec::new()) };
    kvs.as_array()?.iter().map(|kv| decode(kv.get("value"))?.parse().ok()).collect()
}

/// The ranges that a transaction read, in order.
pub(super) fn ranges(txn: &Json) -> Option<Vec<&Json>> {
    let Some(responses) = txn.get("responses") else { return Some(Vec::new()) };
    responses.as_array()?.iter().map(|response| response.get("response_range")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_key_reads_as_nothing_at_revision_zero() {
        let held = held(&json!({ "header": { "revision": "2" } })).expect("readable");
        assert_eq!((held.number(), held.list(), held.revision), (Some(None), Some(vec![]), 0));
    }

    #[test]
    fn a_list_is_read_as_it_was_written_also_when_it_is_empty() {
        for elements in [vec![], vec![7], vec![1, 20, 3]] {
            // An empty value is left out of the answer.
            let mut kv = json!({ "mod_revision": "9" });
            if !elements.is_empty() {
                kv["value"] = json!(encode(&list(&elements)));
            }
            let held = held(&json!({ "kvs": [kv] })).expect("readable");
            assert_eq!((held.list(), held.revision), (Some(elements), 9));
        }
    }

    #[test]
    fn what_is_no_number_is_not_guessed() {
        let held = |text: &str| Held { text: Some(text.into()), revision: 1 };
        assert_eq!(held("1,x").list(), None);
        assert_eq!(held("x").number(), None);
        assert_eq!(elements(&json!({ "kvs": [{ "value": encode("x") }] })), None);
    }

    #[test]
    fn the_range_of_a_set_holds_its_elements_and_no_other_sets() {
        let bounds = range_of_set("s1");
        let text = |field: &str| decode(bounds.get(field)).expect("base64");
        let (first, end) = (text("key"), text("range_end"));
        let inside = |key: String| first <= key && key < end;
        assert!(inside(element("s1", 0)) && inside(element("s1", u64::MAX)));
        assert!(!inside(element("s10", 5)) && !inside(element("s2", 5)) && !inside("s1".to_owned()));
    }
}
