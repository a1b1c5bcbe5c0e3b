//! A client that opens WebSockets: for one message, or for long. What follows the handshake is echoed octet by octet.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::http1::read_head;
use super::{Fault, Outcome, Target, connect, lost};

/// An open one.
pub struct Socket {
    stream: BufReader<TcpStream>,
    /// Who is at its other end.
    pub task: String,
}

impl Socket {
    /// Opens one (RFC 6455 section 4.1).
    pub async fn open(target: &Target) -> Result<Self, Fault> {
        let mut stream = BufReader::new(connect(target.http).await?);
        let request = format!(
            "GET /socket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            target.host
        );
        stream.write_all(request.as_bytes()).await.map_err(lost("write"))?;
        let mut status = String::new();
        stream.read_line(&mut status).await.map_err(lost("read"))?;
        let head = read_head(&mut stream).await.map_err(lost("read"))?;
        let field = |name: &str| head.get(name).cloned().unwrap_or_default();
        if !status.starts_with("HTTP/1.1 101 ") {
            return Err(Fault::Lost(format!("{} {}", status.trim_end(), field("x-pointsman-reason"))));
        }
        Ok(Self { task: field("x-task"), stream })
    }

    /// Sends a message and reads its echo.
    pub async fn echo(&mut self, message: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(message).await?;
        let mut back = vec![0; message.len()];
        self.stream.read_exact(&mut back).await?;
        assert_eq!(back, message, "a WebSocket changed what was sent");
        Ok(())
    }
}

/// A handshake, a message and its echo.
pub async fn ask(target: &Target) -> Outcome {
    let mut socket = Socket::open(target).await?;
    // The handshake was answered: an endpoint that falls over now takes its connections along.
    socket.echo(b"hello").await.map_err(|_| Fault::Cut)?;
    Ok(socket.task)
}
