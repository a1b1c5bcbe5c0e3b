//! What the tests of the embedded cluster share: a client that sends one request a connection, load, and waiting.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod load;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything takes; a test that waits so long fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub head: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.head.get(name).map_or("", String::as_str)
    }
}

/// Asks on a connection of its own.
pub async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await??;
    parse(&answer).ok_or_else(|| std::io::Error::other(String::from_utf8_lossy(&answer).into_owned()))
}

pub async fn get(address: SocketAddr, path: &str) -> Reply {
    ask(address, "GET", path, "", b"").await.unwrap()
}

/// A call of the operator API in JSON.
pub async fn call(address: SocketAddr, kind: &str) -> Reply {
    let headers = "Content-Type: application/json\r\nAccept: application/json\r\n";
    ask(address, "POST", "/api/v1", headers, format!(r#"{{"type":"{kind}"}}"#).as_bytes()).await.unwrap()
}

fn parse(answer: &[u8]) -> Option<Reply> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(&answer[..end]).ok()?, answer[end + 4..].to_vec());
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    Some(Reply { status, head: lines.filter_map(header).collect(), body })
}

/// Waits for a future, but not for ever.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it took too long")
}
