//! Takes a header off a connection, and not one octet more: what follows is for TLS or HTTP to read.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::Addresses;
use super::header::{Fault, Parsed, parse};

/// Looked at once: every header of version 1, and those of version 2 that most senders write.
const LOOK: usize = 256;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveFault {
    /// What came is none.
    #[error(transparent)]
    Invalid(#[from] Fault),
    /// The connection ended before.
    #[error("the connection ended before the header did: {0}")]
    Ended(#[from] io::Error),
}

/// Reads a header. For as long as the caller lets it.
///
/// # Errors
/// Why there is none; the connection is of no use then.
pub async fn receive(stream: &mut TcpStream) -> Result<Option<Addresses>, ReceiveFault> {
    let (mut header, mut look) = (Vec::new(), [0; LOOK]);
    loop {
        let seen = stream.peek(&mut look).await?;
        if seen == 0 {
            return Err(ReceiveFault::Ended(io::ErrorKind::UnexpectedEof.into()));
        }
        let before = header.len();
        header.extend_from_slice(&look[..seen]);
        match parse(&header)? {
            Parsed::Whole { length, addresses } => {
                stream.read_exact(&mut look[..length - before]).await?;
                return Ok(addresses);
            }
            // All of it belongs to the header.
            Parsed::Partial => {
                stream.read_exact(&mut look[..seen]).await?;
            }
        }
    }
}
