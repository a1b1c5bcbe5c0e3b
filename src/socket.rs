//! What every listening socket needs when it goes out of service, whoever serves it.
//!
//! Closing a listening socket resets every connection in its accept queue, and those whose handshake is under way.
//! So nothing new may begin first ([`refuse_new`]), what has begun is given [`HANDSHAKES`] to complete and is
//! accepted, and only then is the socket closed.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockFilter, SockRef};

/// How long a handshake that has begun may take to complete: a round trip to far away. Those that take longer are
/// reset, as all were without this.
pub const HANDSHAKES: Duration = Duration::from_millis(300);

/// Lets a listening TCP socket ignore what begins a connection (SYN), so that its accept queue can be emptied for
/// good. The client sends its SYN again after a second, and then meets whoever listens by then.
///
/// The filter belongs to the socket, not to the descriptor: never call it on a socket that another process, or a
/// successor, goes on with.
///
/// # Errors
/// The system refuses the filter; the socket goes on as before.
pub fn refuse_new(socket: &impl AsFd) -> io::Result<()> {
    // Classic BPF (Linux, Documentation/networking/filter.rst), run on each segment from its TCP header on.
    const LOAD_OCTET: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    // RFC 9293 section 3.1: the octet of the control bits, and the bit SYN in it.
    const CONTROL_BITS: u32 = 13;
    const SYN: u32 = 0x02;
    SockRef::from(socket).attach_filter(&[
        SockFilter::new(LOAD_OCTET, 0, 0, CONTROL_BITS),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_has_begun_goes_on_and_nothing_new_begins() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = TcpStream::connect(address).unwrap();
        refuse_new(&listener).unwrap();
        let refused = TcpStream::connect_timeout(&address, Duration::from_millis(100)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut, "{refused}");
        let (mut accepted, _) = listener.accept().unwrap();
        drop(listener);
        waiting.write_all(b"x").unwrap();
        let mut octet = [0];
        accepted.read_exact(&mut octet).unwrap();
        assert_eq!(octet, *b"x");
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
