//! A client of HTTP/1.1, in clear text or over TLS, that keeps its connection.

use std::collections::BTreeMap;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_rustls::TlsConnector;

use super::{Fault, Outcome, Target, connect, lost};

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection, if there is one.
#[derive(Default)]
pub struct Client {
    kept: Option<BufReader<Box<dyn Stream>>>,
    /// Times that a kept connection turned out to have been closed before an answer began.
    pub reopened: u64,
}

impl Client {
    /// One request and its whole answer. A kept connection that was closed meanwhile is no fault where the request may be
    /// repeated (RFC 9112 section 9.3.1): it is sent once more, on a new one.
    pub async fn ask(&mut self, target: &Target, method: &'static str, tls: Option<&TlsConnector>) -> Outcome {
        let text = format!("{method} / HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", target.host);
        let text = if method == "GET" { text.replace("Content-Length: 0\r\n", "") } else { text };
        if let Some(kept) = self.kept.take() {
            match self.exchange(kept, &text).await {
                Err(Fault::Lost(what)) if method == "GET" && what.starts_with(CLOSED) => self.reopened += 1,
                outcome => return outcome,
            }
        }
        let stream = connect(target.http_or_https(tls.is_some())).await?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from(target.host).unwrap();
                Box::new(tls.connect(name, stream).await.map_err(lost("handshake"))?)
            }
        };
        self.exchange(BufReader::new(stream), &text).await
    }

    async fn exchange(&mut self, mut stream: BufReader<Box<dyn Stream>>, text: &str) -> Outcome {
        stream.write_all(text.as_bytes()).await.map_err(lost(CLOSED))?;
        stream.flush().await.map_err(lost(CLOSED))?;
        let mut status = String::new();
        stream.read_line(&mut status).await.map_err(lost(CLOSED))?;
        if status.is_empty() {
            return Err(Fault::Lost(CLOSED.to_owned()));
        }
        let head = read_head(&mut stream).await.map_err(|_| Fault::Cut)?;
        let length = head.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.map_err(|_| Fault::Cut)?;
        let field = |name: &str| head.get(name).cloned().unwrap_or_default();
        if !status.starts_with("HTTP/1.1 200 ") {
            return Err(Fault::Lost(format!("{} {}", status.trim_end(), field("x-pointsman-reason"))));
        }
        if field("connection") != "close" {
            self.kept = Some(stream);
        }
        Ok(field("x-task"))
    }
}

/// What a fault of a connection without an answer begins with.
const CLOSED: &str = "closed before the answer";

impl Target {
    pub fn http_or_https(&self, is_secure: bool) -> std::net::SocketAddr {
        if is_secure { self.https } else { self.http }
    }
}

/// Reads fields up to the empty line; names in lower case.
pub async fn read_head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> std::io::Result<BTreeMap<String, String>> {
    let mut head = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.strip_suffix("\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(head);
        }
        let (name, value) = line.split_once(':').ok_or(std::io::ErrorKind::InvalidData)?;
        head.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}
