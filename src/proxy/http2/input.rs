//! What is read, cut into frames, and what is written. A frame that has not come whole waits here; all others are looked
//! at where they lie.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::{Code, ConnectionFault, FrameHead, HEAD, PREFACE};
use super::receive::Event;
use super::state::Core;
use crate::proxy::http1::scratch::Scratch;

/// What was read of a frame that has not come whole.
#[derive(Debug)]
pub struct Input {
    /// Octets of the preface that are still to come.
    preface: usize,
    partial: Vec<u8>,
}

impl Input {
    /// From a client, which begins with its preface (RFC 9113 section 3.4).
    pub fn of_client() -> Self {
        Self { preface: PREFACE.len(), partial: Vec::new() }
    }

    /// From an endpoint.
    pub fn of_endpoint() -> Self {
        Self { preface: 0, partial: Vec::new() }
    }

    /// Octets of a frame that has not come whole, but for its head.
    pub fn waiting(&self) -> usize {
        self.partial.len().saturating_sub(HEAD)
    }

    /// Takes what was read: frames go to `take`, one by one.
    ///
    /// # Errors
    /// If the connection has to end.
    pub fn feed(
        &mut self,
        octets: &[u8],
        mut take: impl FnMut(&FrameHead, &[u8]) -> Result<(), ConnectionFault>,
    ) -> Result<(), ConnectionFault> {
        let mut rest = self.skip_preface(octets)?;
        while !self.partial.is_empty() && !rest.is_empty() {
            let whole = FrameHead::read(&self.partial).map_or(HEAD, |head| HEAD + head.length);
            let (now, later) = rest.split_at((whole - self.partial.len()).min(rest.len()));
            self.partial.extend_from_slice(now);
            rest = later;
            let Some(head) = FrameHead::read(&self.partial) else { continue };
            head.check()?;
            if self.partial.len() == HEAD + head.length {
                // Given up for good: an idle connection keeps nothing.
                let whole = std::mem::take(&mut self.partial);
                take(&head, &whole[HEAD..])?;
            }
        }
        while let Some(head) = FrameHead::read(rest) {
            head.check()?;
            let Some((whole, later)) = rest.split_at_checked(HEAD + head.length) else { break };
            take(&head, &whole[HEAD..])?;
            rest = later;
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    fn skip_preface<'a>(&mut self, octets: &'a [u8]) -> Result<&'a [u8], ConnectionFault> {
        let here = self.preface.min(octets.len());
        let (begun, rest) = octets.split_at(here);
        let expected = &PREFACE[PREFACE.len() - self.preface..];
        if !expected.starts_with(begun) {
            return Err(ConnectionFault { code: Code::PROTOCOL_ERROR, why: "no preface" });
        }
        self.preface -= here;
        Ok(rest)
    }
}

/// Gives what was read to a connection's state, and what has to be done to `act`.
///
/// # Errors
/// If the connection has to end.
pub fn feed(
    input: &mut Input,
    octets: &[u8],
    core: &RefCell<Core>,
    mut act: impl FnMut(Event),
) -> Result<(), ConnectionFault> {
    let fed = input.feed(octets, |head, payload| {
        let event = core.borrow_mut().receive(head, payload)?;
        event.into_iter().for_each(&mut act);
        Ok(())
    });
    core.borrow_mut().has_partial(input.waiting());
    fed
}

/// Why nothing more is read.
#[derive(Debug)]
pub enum Over {
    /// The other side has ended it.
    Ended,
    /// The connection is broken.
    Broken(io::Error),
    /// The other side breaks the rules.
    Fault(ConnectionFault),
}

/// Reads what is there into `scratch`, gives it to a connection's state, and what has to be done to `act`.
///
/// # Errors
/// Why nothing more is read.
pub fn poll_read(
    io: &mut (impl AsyncRead + Unpin),
    scratch: &mut Scratch,
    (input, core): (&mut Input, &RefCell<Core>),
    context: &mut Context<'_>,
    act: impl FnMut(Event),
) -> Poll<Result<(), Over>> {
    let mut buffer = ReadBuf::new(scratch.bytes_mut());
    Poll::Ready(match ready!(Pin::new(io).poll_read(context, &mut buffer)) {
        Err(error) => Err(Over::Broken(error)),
        Ok(()) if buffer.filled().is_empty() => Err(Over::Ended),
        Ok(()) => feed(input, buffer.filled(), core, act).map_err(Over::Fault),
    })
}

/// Writes what waits, all of it.
///
/// # Errors
/// If the connection is broken.
pub fn poll_write(
    io: &mut (impl AsyncWrite + Unpin),
    core: &mut Core,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !core.waiting().is_empty() {
        let written = ready!(Pin::new(&mut *io).poll_write(context, core.waiting()))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        core.was_sent(written);
    }
    if core.is_unflushed() {
        ready!(Pin::new(io).poll_flush(context))?;
        core.was_flushed();
    }
    Poll::Ready(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::super::frame::{self, kind};
    use super::*;

    #[test]
    fn frames_are_found_in_pieces_of_any_size() {
        let mut octets = PREFACE.to_vec();
        frame::write_settings(&[], &mut octets);
        frame::write(kind::DATA, 0, 1, &[7; 300], &mut octets);
        frame::write(kind::PING, 0, 0, &[1; 8], &mut octets);
        for piece in [1, 2, 8, 9, 10, 100, 1000] {
            let (mut input, mut found) = (Input::of_client(), Vec::new());
            for octets in octets.chunks(piece) {
                let fed = input.feed(octets, |head, payload| {
                    found.push((head.kind, payload.to_vec()));
                    Ok(())
                });
                fed.unwrap();
            }
            let expected = vec![(kind::SETTINGS, vec![]), (kind::DATA, vec![7; 300]), (kind::PING, vec![1; 8])];
            assert_eq!((found, input.waiting()), (expected, 0), "{piece}");
        }
    }

    #[test]
    fn what_cannot_be_right_is_not_waited_for() {
        let take = |_: &FrameHead, _: &[u8]| Ok(());
        assert!(Input::of_client().feed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", take).is_err());
        assert!(Input::of_client().feed(b"GET", take).is_err());
        let mut large = Vec::new();
        FrameHead { length: frame::FRAME + 1, kind: kind::DATA, flags: 0, stream: 1 }.write(&mut large);
        assert!(Input::of_endpoint().feed(&large, take).is_err());
        let mut input = Input::of_endpoint();
        assert!(input.feed(&large[..5], take).is_ok());
        // As soon as its length is known.
        assert!(input.feed(&large[5..], take).is_err());
    }
}
