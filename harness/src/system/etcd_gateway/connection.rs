//! One connection to a gateway: a request is sent at most once, within a deadline, without redirects, and its end says
//! whether it may have had an effect.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Statuses of requests that were not even tried. Others of the 400s are not among them: a gateway may answer 408 or 499
/// to a request that it has passed on.
const REFUSED: [u16; 4] = [400, 404, 405, 413];

/// A connection, made when it is needed.
pub(super) struct Connection {
    address: SocketAddr,
    open: Option<SendRequest<Full<Bytes>>>,
}

/// How a request ended that was not answered with 200.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Whether it may have an effect, now or later.
    pub(super) may_have_effect: bool,
    pub(super) reason: String,
}

impl Connection {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// The body of the answer, if it is 200.
    pub(super) async fn post(&mut self, path: &str, body: &Json, deadline: Instant) -> Result<Json, Trouble> {
        let answer = self.exchange(path, body, deadline).await;
        if answer.is_err() {
            // An answer that comes after the deadline belongs to nobody; the next request must not see it.
            self.open = None;
        }
        match answer? {
            (200, body) => Ok(body),
            (status, body) => {
                let message =
                    body["message"].as_str().or_else(|| body["error"].as_str()).unwrap_or("no message");
                let may_have_effect = !REFUSED.contains(&status) && body["effect"] != "none";
                Err(Trouble { may_have_effect, reason: format!("{status} {message}") })
            }
        }
    }

    async fn exchange(&mut self, path: &str, body: &Json, deadline: Instant) -> Result<(u16, Json), Trouble> {
        let unsent = |reason: String| Trouble { may_have_effect: false, reason };
        let sent = |reason: String| Trouble { may_have_effect: true, reason };
        let mut connection = match self.open.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => timeout_at(deadline, connect(self.address))
                .await
                .map_err(|_| unsent("timeout while connecting".into()))?
                .map_err(unsent)?,
        };
        let request = Request::post(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("the request is built from constants and an address");
        let exchange = async {
            // A request that follows an answer at once may find the connection still busy with its end.
            connection.ready().await.map_err(|error| unsent(error.to_string()))?;
            // The connection may be dead without our knowing: from here on the request counts as sent, except
            // that hyper says so when it cancelled a request before writing any of it.
            let mut response = match connection.try_send_request(request).await {
                Ok(response) => response,
                Err(mut error) => {
                    let never_written = error.take_message().is_some();
                    let reason = error.into_error().to_string();
                    return Err(if never_written { unsent(reason) } else { sent(reason) });
                }
            };
            let status = response.status().as_u16();
            let bytes =
                response.body_mut().collect().await.map_err(|error| sent(error.to_string()))?.to_bytes();
            let body = serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| json!({ "message": String::from_utf8_lossy(&bytes).trim() }));
            Ok((status, body))
        };
        let answer = timeout_at(deadline, exchange).await.map_err(|_| sent("timeout".into()))??;
        self.open = Some(connection);
        Ok(answer)
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Its errors also reach the request that is under way.
    tokio::spawn(connection);
    Ok(sender)
}
