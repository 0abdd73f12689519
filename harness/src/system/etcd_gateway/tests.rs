//! The client against gateways that answer what a test tells them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;

/// What a gateway answers in turn, and what it was asked.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<Vec<(u16, Json)>>>,
    asked: Arc<Mutex<Vec<(String, Json)>>>,
}

impl Script {
    fn asked(&self) -> Vec<(String, Json)> {
        self.asked.lock().expect("no handler panics").clone()
    }
}

fn client(address: SocketAddr, object: Object, reads: Reads) -> EtcdGateway {
    EtcdGateway::new(address, ClientOptions { timeout: Duration::from_secs(5), reads, object })
}

/// A gateway that gives these answers, and then 500.
async fn gateway(answers: &[(u16, Json)]) -> (SocketAddr, Script) {
    let script = Script::default();
    script.answers.lock().expect("nobody else has it").extend(answers.iter().rev().cloned());
    let answer = async |State(script): State<Script>, uri: Uri, body: axum::body::Bytes| {
        let body = serde_json::from_slice(&body).expect("the client sends JSON");
        script.asked.lock().expect("no handler panics").push((uri.path().to_owned(), body));
        let next = script.answers.lock().expect("no handler panics").pop();
        let (status, body) = next.unwrap_or((500, json!({})));
        (StatusCode::from_u16(status).expect("a status"), axum::Json(body))
    };
    let router = Router::new().fallback(answer).with_state(script.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, script)
}

fn list_at(revision: &str, text: &str) -> Json {
    let kv = json!({ "value": BASE64.encode(text), "mod_revision": revision });
    json!({ "header": {}, "kvs": [kv], "count": "1" })
}

fn key() -> String {
    "k".to_owned()
}

fn cas() -> Op {
    Op::Cas { key: key(), from: 1, to: 2 }
}

fn append() -> Op {
    Op::Append { key: key(), value: 3 }
}

fn is_fail(completion: &Completion) -> bool {
    matches!(completion, Completion::Fail { .. })
}

#[tokio::test]
async fn a_failed_swap_returns_the_value_that_it_found() {
    let range = list_at("4", "7");
    let answer = json!({ "header": {}, "responses": [{ "response_range": range }] });
    let (address, _) = gateway(&[(200, answer)]).await;
    let completion = client(address, Object::Register, Reads::ReadIndex).invoke(&cas()).await;
    assert_eq!(completion, Completion::Ok(Reply::NotSwapped { seen: Some(7) }));
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_not_guessed() {
    let (address, _) = gateway(&[(200, json!({ "header": {} })), (200, json!({}))]).await;
    let mut client = client(address, Object::Register, Reads::ReadIndex);
    assert!(matches!(client.invoke(&cas()).await, Completion::Info { .. }));
    assert!(is_fail(&client.invoke(&Op::Read { key: key() }).await));
}

#[tokio::test]
async fn an_append_is_guarded_by_the_revision_that_was_read() {
    let done = json!({ "header": {}, "succeeded": true });
    let (address, script) = gateway(&[(200, list_at("9", "1,2")), (200, done)]).await;
    let completion = client(address, Object::List, Reads::Serializable).invoke(&append()).await;
    assert_eq!(completion, Completion::Ok(Reply::Append));
    let asked = script.asked();
    assert_eq!(asked[0], (RANGE.to_owned(), wire::range("k")), "what is changed next is read linearizably");
    assert_eq!(asked[1].1["compare"], json!([wire::unchanged("k", 9)]));
    assert_eq!(asked[1].1["success"][0]["request_put"], wire::put("k", "1,2,3"));
}

#[tokio::test]
async fn a_guard_that_did_not_hold_is_a_fail_and_is_not_tried_again() {
    let (address, script) = gateway(&[(200, list_at("9", "1")), (200, json!({ "header": {} }))]).await;
    let completion = client(address, Object::List, Reads::ReadIndex).invoke(&append()).await;
    assert!(is_fail(&completion), "{completion:?}");
    assert_eq!(script.asked().len(), 2);
}

#[tokio::test]
async fn the_first_step_of_an_update_has_no_effect_and_the_second_may_have() {
    let timed_out = (503, json!({ "message": "etcdserver: request timed out" }));
    let (address, _) = gateway(&[timed_out.clone(), (200, list_at("9", "1")), timed_out]).await;
    let mut client = client(address, Object::List, Reads::ReadIndex);
    assert!(is_fail(&client.invoke(&append()).await));
    assert!(matches!(client.invoke(&append()).await, Completion::Info { .. }));
}

#[tokio::test]
async fn reads_are_serializable_when_that_is_asked_for() {
    for (reads, flag) in [(Reads::ReadIndex, Json::Null), (Reads::Serializable, json!(true))] {
        let (address, script) = gateway(&[(200, json!({ "header": {} }))]).await;
        let completion = client(address, Object::Register, reads).invoke(&Op::Read { key: key() }).await;
        assert_eq!(completion, Completion::Ok(Reply::Read { value: None }));
        assert_eq!(script.asked()[0].1["serializable"], flag);
    }
}

#[tokio::test]
async fn a_transaction_sees_its_own_appends_and_is_guarded_by_all_that_it_read() {
    let absent = json!({});
    let read = json!({ "header": {}, "responses": [
        { "response_range": list_at("5", "1") }, { "response_range": absent },
    ] });
    let (address, script) = gateway(&[(200, read), (200, json!({ "header": {}, "succeeded": true }))]).await;
    let look = |key: &str, values| MicroOp::Read { key: key.into(), values };
    let push = MicroOp::Append { key: "b".into(), value: 7 };
    let ops = vec![look("b", None), push.clone(), look("b", None), look("a", None)];
    let completion = client(address, Object::List, Reads::ReadIndex).invoke(&Op::Txn { ops }).await;
    let seen = vec![look("b", Some(vec![])), push, look("b", Some(vec![7])), look("a", Some(vec![1]))];
    assert_eq!(completion, Completion::Ok(Reply::Txn { ops: seen }));
    let (_, second) = &script.asked()[1];
    assert_eq!(second["compare"], json!([wire::unchanged("a", 5), wire::unchanged("b", 0)]));
    assert_eq!(second["success"], json!([{ "request_put": wire::put("b", "7") }]));
}

#[tokio::test]
async fn an_empty_queue_is_found_by_reading_alone() {
    let (address, script) = gateway(&[(200, list_at("9", ""))]).await;
    let completion =
        client(address, Object::Queue, Reads::ReadIndex).invoke(&Op::Dequeue { key: key() }).await;
    assert_eq!(completion, Completion::Ok(Reply::Dequeue { value: None }));
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn a_lock_is_given_back_only_by_the_token_that_took_it() {
    let done = (200, json!({ "header": {}, "succeeded": true }));
    let refused = (503, json!({ "message": "no leader", "effect": "none" }));
    let (address, script) = gateway(&[done.clone(), refused, done]).await;
    let mut client = client(address, Object::Lock, Reads::ReadIndex);
    let (acquire, release) = (Op::Acquire { key: key() }, Op::Release { key: key() });
    assert!(is_fail(&client.invoke(&release).await), "it holds nothing yet");
    assert_eq!(client.invoke(&acquire).await, Completion::Ok(Reply::Acquire));
    assert!(is_fail(&client.invoke(&release).await), "refused");
    assert_eq!(client.invoke(&release).await, Completion::Ok(Reply::Release), "it still had the token");
    assert!(is_fail(&client.invoke(&release).await), "it has it no more");
    let asked = script.asked();
    assert_eq!(asked.len(), 3, "what cannot succeed is not sent");
    let token = &asked[0].1["success"][0]["request_put"]["value"];
    assert_eq!(&asked[2].1["compare"][0]["value"], token);
}

#[tokio::test]
async fn a_refused_connection_is_a_fail_because_nothing_was_sent() {
    // A port that was just free: nobody listens on it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    assert!(is_fail(&client(address, Object::Register, Reads::ReadIndex).invoke(&cas()).await));
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
    let timeout = Duration::from_millis(200);
    let options = ClientOptions { timeout, reads: Reads::ReadIndex, object: Object::Register };
    let mut client = EtcdGateway::new(address, options);
    assert!(matches!(client.invoke(&cas()).await, Completion::Info { .. }));
    assert!(is_fail(&client.invoke(&Op::Read { key: key() }).await));
}
