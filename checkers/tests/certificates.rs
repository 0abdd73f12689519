//! Every verdict has a certificate, the checker accepts its own, and refuses one that was tampered with.

mod peers;
mod random;

use checkers::Budget;
use checkers::history::{History, Op, Reply};
use checkers::linearizable::{Call, Certificate, Zones, calls_of_key, certify, zones};
use checkers::model::Register;
use peers::fuzz::draw;
use random::{Shape, for_all};

fn initial() -> Register {
    Register::default()
}

fn call(id: usize, op: Op, ret: Reply, invoked: u64, returned: u64) -> Call<Register> {
    Call { id, op, ret: Some(ret), invoked, returned: Some(returned) }
}

fn write(id: usize, value: u64, invoked: u64, returned: u64) -> Call<Register> {
    call(id, Op::Write { key: "x".to_owned(), value }, Reply::Write, invoked, returned)
}

fn read(id: usize, value: u64, invoked: u64, returned: u64) -> Call<Register> {
    call(id, Op::Read { key: "x".to_owned() }, Reply::Read { value: Some(value) }, invoked, returned)
}

/// Two writes one after the other, and a read beside the second that may see either.
fn fresh() -> Vec<Call<Register>> {
    vec![write(0, 1, 10, 20), write(1, 2, 30, 40), read(2, 1, 35, 60)]
}

/// The read began after the second write had returned, and saw the first.
fn stale() -> Vec<Call<Register>> {
    vec![write(0, 1, 10, 20), write(1, 2, 30, 40), read(2, 1, 50, 60), read(3, 1, 51, 52)]
}

fn certified(calls: &[Call<Register>]) -> Certificate<Register> {
    certify(&initial(), calls, Budget::default()).expect("three calls are within the budget")
}

fn order(calls: &[Call<Register>]) -> Vec<usize> {
    match certified(calls) {
        Certificate::Order(order) => order,
        Certificate::Core(core) => panic!("{core:?} should have an order"),
    }
}

fn core(calls: &[Call<Register>]) -> Vec<Call<Register>> {
    match certified(calls) {
        Certificate::Core(core) => core,
        Certificate::Order(order) => panic!("{order:?} should not explain it"),
    }
}

fn refused(certificate: &Certificate<Register>, calls: &[Call<Register>]) -> String {
    let verified = certificate.verify(&initial(), calls, Budget::default());
    verified.expect_err("the certificate proves nothing").to_string()
}

#[test]
fn random_histories_have_certificates_that_hold() {
    let shape = Shape { operations: 8, clients: 3, values: 3, ties: false };
    for_all(2_000, shape, |history: &History| {
        let keys: std::collections::BTreeSet<&str> =
            history.operations().iter().filter_map(|operation| operation.op.key()).collect();
        for key in keys {
            let calls = calls_of_key(history, key);
            let certificate = certified(&calls);
            let verified = certificate.verify(&initial(), &calls, Budget::default());
            assert_eq!(verified, Ok(matches!(certificate, Certificate::Order(_))), "{calls:?}");
        }
    });
}

#[test]
fn cores_of_values_that_were_overwritten_hold() {
    let mut overwritten = 0;
    for seed in 0..4_000 {
        let calls = draw(seed);
        if let Zones::Overwritten(_) = zones(&initial(), &calls) {
            let core = Certificate::Core(core(&calls));
            assert_eq!(
                core.verify(&initial(), &calls, Budget::default()),
                Ok(false),
                "seed {seed}: {calls:#?}"
            );
            overwritten += 1;
        }
    }
    assert!(overwritten > 100, "only {overwritten} were of this kind");
}

#[test]
fn an_order_is_refused_if_it_contradicts_the_model_or_real_time() {
    let mut order = order(&fresh());
    order.reverse();
    assert!(refused(&Certificate::Order(order), &fresh()).contains("does not explain"));
}

#[test]
fn an_order_is_refused_if_a_call_is_missing_or_unknown() {
    let mut short = order(&fresh());
    short.pop();
    assert!(refused(&Certificate::Order(short), &fresh()).contains("does not explain"));
    let mut foreign = order(&fresh());
    foreign[0] = 9;
    assert!(refused(&Certificate::Order(foreign), &fresh()).contains("names call 9"));
}

#[test]
fn an_order_of_another_history_is_refused() {
    refused(&Certificate::Order(order(&fresh())), &stale());
}

#[test]
fn a_core_is_refused_without_the_call_that_explains_it() {
    // Without the write of 1 nobody could have read 1: impossible as well, but no proof about the history.
    let mut tampered = core(&stale());
    tampered.retain(|call| call.id > 1);
    assert!(refused(&Certificate::Core(tampered), &stale()).contains("leaves out call 0"));
}

#[test]
fn a_core_may_begin_with_a_write_that_is_before_all_of_it() {
    // Whatever the write of 1 did, the write of 2 came behind it, and the read behind that.
    let begins = |calls: &[Call<Register>]| Certificate::Core(calls[1..3].to_vec());
    assert_eq!(begins(&stale()).verify(&initial(), &stale(), Budget::default()), Ok(false));
    // Beside the read it is not before it.
    assert!(refused(&begins(&fresh()), &fresh()).contains("leaves out call 0"));
    // And what returned after it began may have come behind it.
    let mut beside = stale();
    beside[0].returned = Some(30);
    assert!(refused(&begins(&beside), &beside).contains("leaves out call 0"));
}

#[test]
fn a_core_is_refused_if_a_call_was_changed() {
    let mut tampered = core(&stale());
    let last = tampered.last_mut().expect("a core has calls");
    last.invoked += 1;
    assert!(refused(&Certificate::Core(tampered), &stale()).contains("not as the history has it"));
    let mut tampered = core(&stale());
    tampered[0].ret = None;
    assert!(refused(&Certificate::Core(tampered), &stale()).contains("not as the history has it"));
}

#[test]
fn a_core_that_an_order_explains_is_refused() {
    assert!(refused(&Certificate::Core(fresh()), &fresh()).contains("an order explains its core"));
}

#[test]
fn a_core_of_a_history_that_was_cut_short_holds() {
    // The write of 3 and the late read return after the violation; the core ends before.
    let mut calls = stale();
    calls.push(write(4, 3, 55, 90));
    calls.push(read(5, 3, 95, 99));
    let core = Certificate::Core(core(&calls));
    assert_eq!(core.verify(&initial(), &calls, Budget::default()), Ok(false));
}
