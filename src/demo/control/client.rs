//! Sends a command to a running demo.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Command;

/// A roll-out of many instances takes this long at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(600);

const ANSWER_OCTETS: usize = 64 * 1024;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error(
        "no demo answers at {address}: {source}; start one with `pointsman demo`, or name its address with --control"
    )]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke; whether the command was done is not known.
    #[error("the demo at {address} did not finish its answer: {reason}; see GET /demo for what became of it")]
    Broken {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The demo said no.
    #[error("{0}")]
    Refused(String),
}

/// Sends a command and waits until it is done; returns what was done, in words.
///
/// # Errors
/// See [`ControlError`].
pub async fn send(address: SocketAddr, command: &Command) -> Result<String, ControlError> {
    let broken = |reason: String| ControlError::Broken { address, reason };
    let stream = TcpStream::connect(address).await.map_err(|source| ControlError::Connect { address, source })?;
    let request = Request::builder().method(Method::POST).uri(command.target()).header(HOST, address.to_string());
    let request = request.body(Empty::<Bytes>::new()).expect("targets and addresses of ours are valid");
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.to_string()))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body =
            Limited::new(answer.into_body(), ANSWER_OCTETS).collect().await.map_err(|error| error.to_string())?;
        Ok::<_, String>((status, body.to_bytes()))
    };
    let driven = async {
        // The connection ends only after the exchange: the sender lives until then.
        tokio::pin!(exchange);
        tokio::select! {
            done = &mut exchange => done,
            ended = connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(error.to_string()),
            },
        }
    };
    let (status, body) =
        timeout(ANSWER_LIMIT, driven).await.map_err(|late| broken(late.to_string()))?.map_err(broken)?;
    let value: serde_json::Value = serde_json::from_slice(&body).map_err(|error| broken(error.to_string()))?;
    let said = |key: &str| value.get(key).and_then(serde_json::Value::as_str).map(ToOwned::to_owned);
    match said("done") {
        Some(done) if status.is_success() => Ok(done),
        _ => Err(ControlError::Refused(said("error").unwrap_or_else(|| status.to_string()))),
    }
}
