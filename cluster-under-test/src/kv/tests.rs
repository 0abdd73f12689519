//! The store against etcd's way of counting, and its digest against one computed from scratch.

use proptest::prelude::*;

use super::*;

fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.into(), value: value.into(), prev_kv: true }
}

fn keys(key: &str, range_end: &str) -> KeyRange {
    KeyRange { key: key.into(), range_end: range_end.into() }
}

fn get(key: &str, range_end: &str) -> Op {
    Op::Range { keys: keys(key, range_end), limit: 0, keys_only: false, count_only: false }
}

fn delete(key: &str, range_end: &str) -> Op {
    Op::DeleteRange { keys: keys(key, range_end), prev_kv: false }
}

fn compare(key: &str, target: Target, relation: Relation) -> Compare {
    Compare { keys: keys(key, ""), target, relation }
}

/// `key=value c<create> m<mod> v<version>` for each key of the range.
fn show(kv: &Kv, key: &str, range_end: &str) -> Vec<String> {
    let outcome = kv.read(&Txn::only(get(key, range_end)));
    let [OpResult::Range { kvs, .. }] = outcome.results.as_slice() else { panic!("one range, one answer") };
    kvs.iter()
        .map(|(key, e)| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (c, m, v) = (e.create_revision, e.mod_revision, e.version);
            format!("{}={} c{c} m{m} v{v}", text(key), text(&e.value))
        })
        .collect()
}

fn store(pairs: &[(&str, &str)]) -> Kv {
    let mut kv = Kv::default();
    for (key, value) in pairs {
        kv.apply(&Txn::only(put(key, value)), 0);
    }
    kv
}

#[test]
fn a_put_counts_revision_and_version() {
    let mut kv = store(&[("a", "1"), ("b", "1"), ("a", "2")]);
    assert_eq!(kv.revision(), 4);
    assert_eq!(show(&kv, "a", "z"), ["a=2 c2 m4 v2", "b=1 c3 m3 v1"]);
    let outcome = kv.apply(&Txn::only(put("a", "3")), 0);
    let [OpResult::Put { prev: Some((_, prev)) }] = outcome.results.as_slice() else { panic!("{outcome:?}") };
    assert_eq!((prev.value.as_slice(), prev.version), (b"2".as_slice(), 2));
}

#[test]
fn a_deleted_key_begins_anew() {
    let mut kv = store(&[("a", "1"), ("a", "2")]);
    assert_eq!(kv.apply(&Txn::only(delete("a", "")), 0).revision, 4);
    assert_eq!(show(&kv, "a", ""), [""; 0]);
    kv.apply(&Txn::only(put("a", "3")), 0);
    assert_eq!(show(&kv, "a", ""), ["a=3 c5 m5 v1"]);
}

#[test]
fn deleting_nothing_is_no_new_revision() {
    let mut kv = store(&[("a", "1")]);
    let outcome = kv.apply(&Txn::only(delete("b", "z")), 0);
    assert_eq!(outcome.revision, 2);
    assert_eq!(outcome.results, [OpResult::DeleteRange { deleted: 0, prev: vec![] }]);
}

#[test]
fn the_changes_of_a_transaction_share_a_revision_and_are_seen_inside_it() {
    let mut kv = store(&[("a", "1")]);
    let txn = Txn { success: vec![put("b", "1"), delete("a", ""), get("a", "z")], ..Txn::default() };
    let outcome = kv.apply(&txn, 0);
    assert_eq!(outcome.revision, 3);
    let OpResult::Range { kvs, count, .. } = &outcome.results[2] else { panic!("{outcome:?}") };
    assert_eq!((kvs[0].0.as_slice(), kvs[0].1.mod_revision, *count), (b"b".as_slice(), 3, 1));
}

#[test]
fn ranges_follow_the_order_of_bytes_and_the_limit() {
    let kv = store(&[("b", "1"), ("a", "1"), ("c", "1"), ("ab", "1")]);
    let names = |key, end| show(&kv, key, end).iter().map(|s| s[..s.find('=').unwrap()].to_owned()).collect();
    let names = |key, end| -> Vec<String> { names(key, end) };
    assert_eq!(names("a", "c"), ["a", "ab", "b"]);
    assert_eq!(names("ab", "\0"), ["ab", "b", "c"]);
    assert_eq!(names("\0", "\0"), ["a", "ab", "b", "c"]);
    assert_eq!(names("b", "b"), [""; 0]);
    assert_eq!(names("c", "a"), [""; 0]);
    let op = Op::Range { keys: keys("a", "z"), limit: 2, keys_only: true, count_only: false };
    let outcome = kv.read(&Txn::only(op));
    let [OpResult::Range { kvs, count, more }] = outcome.results.as_slice() else { panic!("{outcome:?}") };
    assert_eq!((kvs.len(), *count, *more, kvs[0].1.value.len()), (2, 4, true, 0));
}

#[test]
fn an_absent_key_has_version_0_and_no_value() {
    let kv = store(&[("a", "1")]);
    let holds = |target, relation| kv.holds(&[compare("x", target, relation)]);
    assert!(holds(Target::Version(0), Relation::Equal));
    assert!(holds(Target::Create(0), Relation::Equal));
    assert!(holds(Target::Mod(1), Relation::Less));
    assert!(holds(Target::Lease(0), Relation::Equal));
    assert!(!holds(Target::Version(0), Relation::Greater));
    for relation in [Relation::Equal, Relation::NotEqual, Relation::Less, Relation::Greater] {
        assert!(!holds(Target::Value(vec![]), relation), "etcd: a compare of an absent value always fails");
    }
}

#[test]
fn a_compare_over_a_range_must_hold_for_each_key() {
    let kv = store(&[("a", "1"), ("b", "1"), ("b", "2")]);
    let over = |target, relation| kv.holds(&[Compare { keys: keys("a", "c"), target, relation }]);
    assert!(over(Target::Version(0), Relation::Greater));
    assert!(!over(Target::Version(1), Relation::Equal));
    assert!(over(Target::Value(b"0".to_vec()), Relation::Greater));
    assert!(!over(Target::Mod(4), Relation::NotEqual));
    assert!(over(Target::Mod(9), Relation::NotEqual));
}

#[test]
fn a_failed_compare_and_set_returns_the_value_seen() {
    let mut kv = store(&[("a", "5")]);
    let txn = Txn {
        compares: vec![compare("a", Target::Value(b"4".to_vec()), Relation::Equal)],
        success: vec![put("a", "6")],
        failure: vec![get("a", "")],
    };
    let outcome = kv.apply(&txn, 0);
    assert!(!outcome.succeeded);
    assert_eq!(outcome.revision, 2, "a branch that only reads is no new revision");
    let [OpResult::Range { kvs, .. }] = outcome.results.as_slice() else { panic!("{outcome:?}") };
    assert_eq!(kvs[0].1.value, b"5");
}

#[test]
fn a_salt_changes_the_digest_and_nothing_that_a_client_sees() {
    let (mut plain, mut salted) = (Kv::default(), Kv::default());
    let outcome = plain.apply(&Txn::only(put("a", "1")), 0);
    assert_eq!(salted.apply(&Txn::only(put("a", "1")), 7), outcome);
    assert_eq!(show(&plain, "a", ""), show(&salted, "a", ""));
    assert_ne!(plain.digest(), salted.digest());
    assert_eq!(Kv::decode(&salted.encode()).unwrap().digest(), salted.digest());
}

#[test]
fn bytes_that_are_no_state_are_refused() {
    assert!(matches!(Kv::decode(&[]), Err(DecodeError::Unreadable(_))));
    assert!(matches!(Kv::decode(&[9, 0]), Err(DecodeError::Version(9))));
    let bytes = store(&[("a", "1")]).encode();
    assert!(matches!(Kv::decode(&bytes[..bytes.len() - 1]), Err(DecodeError::Unreadable(_))));
}

fn any_op() -> impl Strategy<Value = Op> {
    let key = || prop::collection::vec(0..3_u8, 1..3);
    let range = (key(), prop::collection::vec(0..3_u8, 0..3))
        .prop_map(|(key, range_end)| KeyRange { key, range_end });
    prop_oneof![
        3 => (key(), prop::collection::vec(any::<u8>(), 0..4))
            .prop_map(|(key, value)| Op::Put { key, value, prev_kv: false }),
        1 => range.prop_map(|keys| Op::DeleteRange { keys, prev_kv: true }),
    ]
}

fn any_txn() -> impl Strategy<Value = Txn> {
    prop::collection::vec(any_op(), 0..4).prop_map(|success| Txn { success, ..Txn::default() })
}

proptest! {
    #[test]
    fn the_digest_kept_up_equals_the_digest_from_scratch(txns in prop::collection::vec(any_txn(), 0..40)) {
        let mut kv = Kv::default();
        for txn in &txns {
            let before = kv.digest();
            let outcome = kv.apply(&Txn::decode(&txn.encode()).unwrap(), 0);
            prop_assert_eq!(outcome.revision, kv.revision());
            let decoded = Kv::decode(&kv.encode()).unwrap();
            prop_assert_eq!(&decoded, &kv, "decode() computes the sum from scratch");
            prop_assert_eq!(decoded.digest(), kv.digest());
            if kv.revision() == 1 {
                prop_assert_eq!(before, kv.digest());
            } else if outcome.results.iter().any(|result| matches!(result, OpResult::Put { .. })) {
                prop_assert_ne!(before, kv.digest());
            }
        }
    }

    #[test]
    fn a_range_holds_the_keys_that_it_contains(
        txns in prop::collection::vec(any_txn(), 0..20),
        key in prop::collection::vec(0..3_u8, 1..3),
        range_end in prop::collection::vec(0..3_u8, 0..3),
    ) {
        let mut kv = Kv::default();
        for txn in &txns {
            kv.apply(txn, 0);
        }
        let keys = KeyRange { key, range_end };
        let found: Vec<_> = kv.pairs(&keys).map(|(key, _)| key.clone()).collect();
        let expected: Vec<_> = kv.keys.keys().filter(|key| keys.contains(key)).cloned().collect();
        prop_assert_eq!(found, expected);
    }
}
