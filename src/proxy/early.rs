//! Interim answers (1xx) of an endpoint on their way to the client.
//!
//! RFC 9110 section 15.2: "A proxy MUST forward 1xx responses unless the proxy itself requested the generation of the
//! 1xx response", and a server must not send them to a client of HTTP/1.0. Over HTTP/2 they go before the head of their
//! stream's answer; those that hyper has read are handed on by whoever drives its connection, since what it tells of them
//! may hold nothing that belongs to one thread. Over HTTP/1.1 the implementation on the client's side has no way to send
//! them, so they are written beneath it: only while nothing of an earlier answer waits above, so that they stand before the
//! answer that they belong to. Where that is not so, they are dropped. `100 Continue` is the proxy's own to send, and `101`
//! is no interim answer.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, StatusCode, Version, response};

use super::headers;
use super::http2::handles::Interim;
use super::idle::Watch;

/// Octets of interim answers that may wait for a client that does not read.
const MOST: usize = 16 * 1024;
/// Interim answers that are read at once and passed on to a stream; further ones are left out.
const MOST_HEARD: usize = 8;

/// Interim answers that wait to be written on one client connection. One thread uses it; the lock is never contended,
/// and taken only where there is such an answer.
#[derive(Debug, Default)]
pub struct Early {
    /// All that was written above has left.
    flushed: AtomicBool,
    waits: AtomicBool,
    octets: Mutex<Vec<u8>>,
}

impl Early {
    /// Tells whether everything written so far has left.
    pub fn flushed(&self, flushed: bool) {
        self.flushed.store(flushed, Relaxed);
    }

    /// Whether something is to be written before anything else.
    pub fn waits(&self) -> bool {
        self.waits.load(Relaxed)
    }

    /// What is to be written before anything else.
    pub fn take(&self) -> Option<Bytes> {
        self.waits.swap(false, Relaxed).then(|| std::mem::take(&mut *self.lock()).into())
    }

    /// Adds an answer, if it would stand in the right place and there is room.
    fn add(&self, head: &[u8]) -> bool {
        if !self.flushed.load(Relaxed) {
            return false;
        }
        let mut octets = self.lock();
        let fits = octets.len() + head.len() <= MOST;
        if fits {
            octets.extend_from_slice(head);
            self.waits.store(true, Relaxed);
        }
        fits
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.octets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who hears of interim answers to a request.
#[derive(Clone, Debug)]
pub enum Ear {
    /// A client of HTTP/1.1.
    Connection(Arc<Watch>),
    /// A stream of a client of HTTP/2.
    Stream(Interim),
    /// A client that knows none.
    Nobody,
}

impl Ear {
    /// Passes one interim answer on to the client.
    pub fn hears(&self, answer: &response::Parts, via: &str) {
        match self {
            Self::Connection(watch) => add(watch, answer.status, answer.version, &answer.headers, via),
            Self::Stream(stream) => {
                if let Some(fields) = fields(answer.status, answer.version, &answer.headers, via) {
                    stream.send(answer.status, &fields);
                }
            }
            Self::Nobody => {}
        }
    }

    /// Passes interim answers to `request` on to the client, where hyper reads them. Those for a stream wait for
    /// [`Heard::pass_on`].
    pub fn pass_on<B>(&self, request: &mut Request<B>, via: Arc<str>) -> Heard {
        match self {
            Self::Connection(watch) => {
                let watch = watch.clone();
                hyper::ext::on_informational(request, move |answer| {
                    add(&watch, answer.status(), answer.version(), answer.headers(), &via);
                });
                Heard(None)
            }
            Self::Stream(stream) => {
                let queue = Queue::default();
                let heard = queue.clone();
                hyper::ext::on_informational(request, move |answer| {
                    if let Some(fields) = fields(answer.status(), answer.version(), answer.headers(), &via) {
                        queue.add(answer.status(), fields);
                    }
                });
                Heard(Some((stream.clone(), heard)))
            }
            Self::Nobody => Heard(None),
        }
    }
}

/// Interim answers that hyper has read, and the stream that they are for.
#[derive(Debug)]
pub struct Heard(Option<(Interim, Queue)>);

impl Heard {
    /// Passes on what there is. To be called after the connection was driven, and before the answer is passed on.
    pub fn pass_on(&self) {
        if let Some((stream, queue)) = &self.0 {
            for (status, fields) in queue.take() {
                stream.send(status, &fields);
            }
        }
    }
}

/// Answers that wait until the connection that they came by has been driven. One thread uses it; the lock is never
/// contended.
#[derive(Clone, Debug, Default)]
struct Queue(Arc<Mutex<Vec<(StatusCode, HeaderMap)>>>);

impl Queue {
    /// Adds one, if few wait already: all that has come is read in one turn.
    fn add(&self, status: StatusCode, fields: HeaderMap) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() < MOST_HEARD {
            answers.push((status, fields));
        }
    }

    fn take(&self) -> Vec<(StatusCode, HeaderMap)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn add(watch: &Watch, status: StatusCode, version: Version, fields: &HeaderMap, via: &str) {
    if let Some(head) = head(status, version, fields, via) {
        watch.early.add(&head);
    }
}

/// The fields as the client gets them; `None` where it gets none.
fn fields(status: StatusCode, version: Version, fields: &HeaderMap, via: &str) -> Option<HeaderMap> {
    if status == StatusCode::CONTINUE || status == StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    let mut fields = fields.clone();
    headers::prepare_answer(&mut fields, version, via);
    // RFC 9110 section 8.6: not in a 1xx.
    fields.remove(CONTENT_LENGTH);
    Some(fields)
}

/// The head as a client of HTTP/1.1 gets it; `None` where it gets none.
fn head(status: StatusCode, version: Version, lines: &HeaderMap, via: &str) -> Option<Vec<u8>> {
    let fields = fields(status, version, lines, via)?;
    let mut line = String::new();
    // Writing to a string cannot fail.
    let _ = write!(line, "HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let mut head = line.into_bytes();
    for (name, value) in &fields {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, lines: &[(&'static str, &'static str)], expected: Option<&str>) {
        let fields = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let head = head(StatusCode::from_u16(status).unwrap(), Version::HTTP_11, &fields, "p");
        assert_eq!(head.map(|head| String::from_utf8(head).unwrap()).as_deref(), expected, "{status}");
    }

    #[test]
    fn heads_rfc9110_15_2() {
        let link = ("link", "</a.css>; rel=preload");
        let hop = [link, ("connection", "x"), ("x", "y"), ("content-length", "0"), ("keep-alive", "5")];
        let early = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nvia: 1.1 p\r\n\r\n";
        check(103, &hop, Some(early));
        check(102, &[], Some("HTTP/1.1 102 Processing\r\nvia: 1.1 p\r\n\r\n"));
        check(199, &[], Some("HTTP/1.1 199 \r\nvia: 1.1 p\r\n\r\n"));
        check(100, &[link], None);
        check(101, &[link], None);
    }

    #[test]
    fn nothing_is_said_out_of_place_or_without_end() {
        let early = Early::default();
        assert!(!early.add(b"x") && early.take().is_none());
        early.flushed(true);
        assert!(early.add(b"x") && early.add(b"y"));
        assert_eq!(early.take().as_deref(), Some(&b"xy"[..]));
        assert!(early.take().is_none());
        assert!(!early.add(&[0; MOST + 1]) && early.take().is_none());
    }
}
