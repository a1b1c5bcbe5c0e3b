//! Looks at the first message of a TLS client and takes nothing of it.

use std::io;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::client_hello::{LONGEST, NoClientHello, Sniffed, server_name};

/// Looked at first: nearly every message.
const FIRST_LOOK: usize = 4096;
/// Looks at one message: most need one or two, and each costs a copy of all that has come.
const LOOKS: usize = 64;

/// Why there is no name.
#[derive(Debug, thiserror::Error)]
pub enum SniffFault {
    /// It is no TLS.
    #[error(transparent)]
    NoTls(#[from] NoClientHello),
    /// It ended before, or is longer than any.
    #[error("the client's first message does not end")]
    Unfinished,
    /// The connection.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The name that the client asks for, if any. For as long as the caller lets it.
///
/// # Errors
/// Why it is not known.
pub async fn sniff(stream: &TcpStream) -> Result<Option<Box<str>>, SniffFault> {
    let mut look = vec![0; FIRST_LOOK];
    for _ in 0..LOOKS {
        let ready = stream.ready(Interest::READABLE).await?;
        let seen = match stream.peek(&mut look).await? {
            0 => return Err(SniffFault::Unfinished),
            seen => seen,
        };
        match server_name(&look[..seen])? {
            Sniffed::Whole(name) => return Ok(name),
            Sniffed::Partial if ready.is_read_closed() => return Err(SniffFault::Unfinished),
            // Records that divide a message add to it.
            Sniffed::Partial if look.len() >= 4 * LONGEST => return Err(SniffFault::Unfinished),
            Sniffed::Partial if seen == look.len() => look.resize(look.len() * 2, 0),
            Sniffed::Partial => wait_for_more(stream),
        }
    }
    Err(SniffFault::Unfinished)
}

/// What was seen stays where it is, so that the socket is as readable as before: only what comes after this wakes.
fn wait_for_more(stream: &TcpStream) {
    let _ = stream.try_io(Interest::READABLE, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
}
