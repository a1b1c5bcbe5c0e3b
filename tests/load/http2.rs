//! A client of HTTP/2, in clear text with prior knowledge or over TLS.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::http1::Stream;
use super::{Fault, Outcome, Target, connect, lost};

/// A connection, if there is one.
#[derive(Default)]
pub struct Client {
    kept: Option<http2::SendRequest<Empty<Bytes>>>,
}

impl Client {
    /// One request and its whole answer.
    pub async fn ask(
        &mut self,
        target: &Target,
        method: &'static str,
        of_http2: bool,
        tls: Option<&TlsConnector>,
    ) -> Outcome {
        let host = if of_http2 { target.host2 } else { target.host };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{host}/");
        let request = || Request::builder().method(method).uri(&uri).body(Empty::new()).unwrap();
        let mut sender = match self.kept.take().filter(|kept| !kept.is_closed()) {
            Some(kept) => kept,
            None => open(target, tls).await?,
        };
        let answer = match sender.try_send_request(request()).await {
            Ok(answer) => answer,
            // The connection was being closed (GOAWAY): the request went nowhere (RFC 9113 section 6.8).
            Err(mut error) => {
                if error.take_message().is_none() && !is_unprocessed(error.error()) {
                    return Err(Fault::Lost(format!("send: {:?}", error.into_error())));
                }
                sender = open(target, tls).await?;
                sender.send_request(request()).await.map_err(lost("send"))?
            }
        };
        let (head, body) = answer.into_parts();
        body.collect().await.map_err(|_| Fault::Cut)?;
        let field = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        if head.status != http::StatusCode::OK {
            return Err(Fault::Lost(format!("HTTP/2 {} {}", head.status.as_u16(), field("x-pointsman-reason"))));
        }
        self.kept = Some(sender);
        Ok(field("x-task"))
    }
}

/// Whether the stream lies above the last one that a GOAWAY without error lets be finished: it was begun while that was on
/// its way, and may be sent again.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let error = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_some_and(|error| error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR))
}

async fn open(target: &Target, tls: Option<&TlsConnector>) -> Result<http2::SendRequest<Empty<Bytes>>, Fault> {
    let stream = connect(target.http_or_https(tls.is_some())).await?;
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(tls) => {
            let name = ServerName::try_from(target.host).unwrap();
            Box::new(tls.connect(name, stream).await.map_err(lost("handshake"))?)
        }
    };
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(lost("handshake"))?;
    tokio::spawn(async move {
        // Whoever waits for an answer hears of an error.
        let _ = connection.await;
    });
    Ok(sender)
}
