//! The requests of etcd's JSON gateway as transactions.

use super::fields::{Fields, Invalid};
use crate::kv::{Compare, KeyRange, Op, Relation, Target, Txn};

/// Most operations or compares of one list of a transaction; etcd's default.
const TXN_OPS_MAX: usize = 128;

/// How a compare may relate, in the order of the numbers in etcd's protocol.
const RELATIONS: &[(&str, Relation)] = &[
    ("EQUAL", Relation::Equal),
    ("GREATER", Relation::Greater),
    ("LESS", Relation::Less),
    ("NOT_EQUAL", Relation::NotEqual),
];

/// What a compare may look at, in the order of the numbers in etcd's protocol, and where its other side stands.
const TARGETS: &[(&str, ReadTarget)] = &[
    ("VERSION", |fields| fields.number("version").map(Target::Version)),
    ("CREATE", |fields| fields.number("create_revision").map(Target::Create)),
    ("MOD", |fields| fields.number("mod_revision").map(Target::Mod)),
    ("VALUE", |fields| fields.bytes("value").map(Target::Value)),
    ("LEASE", |fields| fields.number("lease").map(Target::Lease)),
];

type ReadTarget = fn(&mut Fields) -> Result<Target, Invalid>;

/// A request to `/v3/kv/range`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RangeRequest {
    pub(super) op: Op,
    /// Answer from this node's state, however old it is.
    pub(super) serializable: bool,
}

pub(super) fn range(mut fields: Fields) -> Result<RangeRequest, Invalid> {
    let keys = key_range(&mut fields)?;
    let limit = usize::try_from(fields.number("limit")?)
        .map_err(|_| fields.wrong("limit", format_args!("it cannot be negative")))?;
    let op = Op::Range {
        keys,
        limit,
        keys_only: fields.flag("keys_only")?,
        count_only: fields.flag("count_only")?,
    };
    let serializable = fields.flag("serializable")?;
    fields.unsupported(&[
        "revision",
        "sort_order",
        "sort_target",
        "min_mod_revision",
        "max_mod_revision",
        "min_create_revision",
        "max_create_revision",
    ])?;
    fields.finish()?;
    Ok(RangeRequest { op, serializable })
}

pub(super) fn put(mut fields: Fields) -> Result<Op, Invalid> {
    let op =
        Op::Put { key: key(&mut fields)?, value: fields.bytes("value")?, prev_kv: fields.flag("prev_kv")? };
    fields.unsupported(&["lease", "ignore_value", "ignore_lease"])?;
    fields.finish()?;
    Ok(op)
}

pub(super) fn delete_range(mut fields: Fields) -> Result<Op, Invalid> {
    let op = Op::DeleteRange { keys: key_range(&mut fields)?, prev_kv: fields.flag("prev_kv")? };
    fields.finish()?;
    Ok(op)
}

pub(super) fn txn(mut fields: Fields) -> Result<Txn, Invalid> {
    let compares = fields.objects("compare")?;
    let success = fields.objects("success")?;
    let failure = fields.objects("failure")?;
    fields.finish()?;
    if [&compares, &success, &failure].iter().any(|list| list.len() > TXN_OPS_MAX) {
        return Err(Invalid("etcdserver: too many operations in txn request".into()));
    }
    let txn = Txn {
        compares: compares.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: success.into_iter().map(op).collect::<Result<_, _>>()?,
        failure: failure.into_iter().map(op).collect::<Result<_, _>>()?,
    };
    for branch in [&txn.success, &txn.failure] {
        if puts_a_key_twice(branch) {
            return Err(Invalid("etcdserver: duplicate key given in txn request".into()));
        }
    }
    Ok(txn)
}

fn op(mut fields: Fields) -> Result<Op, Invalid> {
    if fields.has("request_txn") {
        return Err(fields
            .wrong("request_txn", format_args!("raft-kv does not support transactions in transactions")));
    }
    let op = if let Some(request) = fields.object("request_put")? {
        put(request)?
    } else if let Some(request) = fields.object("request_range")? {
        // Inside a transaction there is one answer to all reads; a serializable one may be fresher than asked.
        range(request)?.op
    } else if let Some(request) = fields.object("request_delete_range")? {
        delete_range(request)?
    } else {
        let known = "request_put, request_range or request_delete_range is needed";
        return Err(fields.wrong("request", format_args!("{known}")));
    };
    fields.finish()?;
    Ok(op)
}

fn compare(mut fields: Fields) -> Result<Compare, Invalid> {
    let relation = fields.choice("result", RELATIONS)?;
    let keys = key_range(&mut fields)?;
    let target = fields.choice("target", TARGETS)?;
    let target = target(&mut fields)?;
    fields.finish()?;
    Ok(Compare { keys, target, relation })
}

fn key(fields: &mut Fields) -> Result<Vec<u8>, Invalid> {
    let key = fields.bytes("key")?;
    if key.is_empty() {
        return Err(fields.wrong("key", format_args!("etcdserver: key is not provided")));
    }
    Ok(key)
}

fn key_range(fields: &mut Fields) -> Result<KeyRange, Invalid> {
    Ok(KeyRange { key: key(fields)?, range_end: fields.bytes("range_end")? })
}

/// Two puts of one key, or a put of a key that a deleterange of the same branch removes, would give one key two
/// states in one revision.
fn puts_a_key_twice(branch: &[Op]) -> bool {
    let puts = || {
        branch.iter().enumerate().filter_map(|(i, op)| match op {
            Op::Put { key, .. } => Some((i, key)),
            Op::Range { .. } | Op::DeleteRange { .. } => None,
        })
    };
    puts().any(|(i, key)| {
        branch.iter().enumerate().any(|(j, op)| match op {
            Op::Put { key: other, .. } => i != j && key == other,
            Op::DeleteRange { keys, .. } => keys.contains(key),
            Op::Range { .. } => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Fields {
        Fields::parse(body.as_bytes()).unwrap()
    }

    fn error<T: std::fmt::Debug>(outcome: Result<T, Invalid>) -> String {
        outcome.unwrap_err().0
    }

    #[test]
    fn a_compare_and_set_is_read() {
        let body = r#"{"compare":[{"key":"YQ==","target":"VALUE","result":"EQUAL","value":"MQ=="}],
            "success":[{"request_put":{"key":"YQ==","value":"Mg=="}}],
            "failure":[{"requestRange":{"key":"YQ=="}}]}"#;
        let txn = txn(fields(body)).unwrap();
        assert_eq!(txn.compares[0].target, Target::Value(b"1".to_vec()));
        assert_eq!(txn.success, [Op::Put { key: b"a".into(), value: b"2".into(), prev_kv: false }]);
        assert!(matches!(&txn.failure[0], Op::Range { keys, .. } if keys.is_single()));
    }

    #[test]
    fn numbers_may_be_strings_and_choices_may_be_numbers() {
        let body = r#"{"compare":[{"key":"YQ==","target":2,"result":3,"modRevision":"7"}]}"#;
        let compare = &txn(fields(body)).unwrap().compares[0];
        assert_eq!((&compare.target, compare.relation), (&Target::Mod(7), Relation::NotEqual));
        assert_eq!(
            range(fields(r#"{"key":"YQ==","limit":"2"}"#)),
            range(fields(r#"{"key":"YQ==","limit":2}"#))
        );
    }

    #[test]
    fn the_defaults_of_a_compare_are_those_of_etcd() {
        let compare = &txn(fields(r#"{"compare":[{"key":"YQ=="}]}"#)).unwrap().compares[0];
        assert_eq!((&compare.target, compare.relation), (&Target::Version(0), Relation::Equal));
    }

    #[test]
    fn an_error_names_the_field() {
        assert_eq!(error(put(fields(r#"{"value":"YQ=="}"#))), "key: etcdserver: key is not provided");
        assert!(error(put(fields(r#"{"key":"a"}"#))).starts_with("key: not base64: "));
        assert_eq!(
            error(range(fields(r#"{"key":"YQ==","limit":"x"}"#))),
            "limit: a 64-bit number is needed, not \"x\""
        );
        assert_eq!(
            error(range(fields(r#"{"key":"YQ==","serialisable":true}"#))),
            "serialisable: this field does not belong here"
        );
        assert_eq!(
            error(range(fields(r#"{"key":"YQ==","revision":"3"}"#))),
            "revision: raft-kv does not support this field"
        );
        let nested = r#"{"success":[{"request_put":{"key":"YQ=="}},{"request_put":{"key":7}}]}"#;
        assert_eq!(
            error(txn(fields(nested))),
            "success[1].request_put.key: a base64 string is needed, not 7"
        );
        assert_eq!(
            error(txn(fields(r#"{"failure":[{"request_txn":{}}]}"#))),
            "failure[0].request_txn: raft-kv does not support transactions in transactions"
        );
        assert_eq!(
            error(txn(fields(r#"{"compare":[{"key":"YQ==","target":"AGE"}]}"#))),
            "compare[0].target: one of VERSION, CREATE, MOD, VALUE, LEASE is needed, not \"AGE\""
        );
        assert!(error(Fields::parse(b"{").map(|_| ())).starts_with("not JSON: "));
        assert_eq!(error(Fields::parse(b"7").map(|_| ())), "the request: an object is needed, not 7");
    }

    #[test]
    fn a_transaction_cannot_give_a_key_two_states() {
        let put = r#"{"request_put":{"key":"YQ==","value":"MQ=="}}"#;
        let delete = r#"{"request_delete_range":{"key":"YQ=="}}"#;
        for branch in [format!("[{put},{put}]"), format!("[{put},{delete}]"), format!("[{delete},{put}]")] {
            let body = format!(r#"{{"success":{branch}}}"#);
            assert_eq!(error(txn(fields(&body))), "etcdserver: duplicate key given in txn request");
        }
        assert!(txn(fields(&format!(r#"{{"success":[{put}],"failure":[{put}]}}"#))).is_ok());
    }
}
