//! An answer as it is kept: a message without id, flags and OPT, and where its times to live stand.
//!
//! What a client gets is a copy with these filled in and its own spelling of the question, which owner names point to.

use super::key::{CD, Request};
use crate::dns::wire::option::ExtendedError;
use crate::dns::wire::response::EdnsReply;
use crate::dns::wire::{HEADER_LEN, Rcode, flags};

/// Recursion available.
pub(crate) const RA: u16 = 0x0080;

/// What an upstream server said, checked and cut to what was asked for.
#[derive(Debug)]
pub(super) struct Answer {
    /// The message; id, flags and the case of the question are as the writer of [`Answer::write`] wants them.
    pub(super) octets: Box<[u8]>,
    /// Where the question ends.
    pub(super) question_end: usize,
    /// Where the times to live stand.
    pub(super) ttls: Box<[u16]>,
    /// The response code.
    pub(super) rcode: Rcode,
    /// Seconds that it may be kept; 0: not at all.
    pub(super) lifetime: u32,
    /// Whether it says that there is nothing.
    pub(super) is_negative: bool,
}

/// Which times to live a copy gets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Age {
    /// Those it came with, less these seconds.
    Seconds(u32),
    /// This one, for an answer that is out of date (RFC 8767 §4).
    Stale(u32),
}

impl Answer {
    /// What this costs in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.octets.len() + self.ttls.len() * size_of::<u16>()
    }

    /// Appends the answer to `request`. `true`: it does not fit, and only says so.
    pub(super) fn write(&self, request: &Request, age: Age, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let authoritative = match &request.aliases {
            None => {
                out.extend_from_slice(&self.octets);
                self.age(age, &mut out[start..]);
                out[start + HEADER_LEN..start + self.question_end].copy_from_slice(&request.question);
                0
            }
            Some(aliases) => {
                let mut aged = self.octets.to_vec();
                self.age(age, &mut aged);
                if aliases.write(self, &aged, out).is_none() {
                    out.truncate(start);
                    write_failure(request, Rcode::ServFail, out);
                    return false;
                }
                // RFC 1035 §4.1.1: of several owners the flag speaks of the first, which is ours.
                flags::AA
            }
        };
        let reason = match age {
            Age::Seconds(_) => None,
            Age::Stale(_) => Some(ExtendedError::StaleAnswer),
        };
        let edns = explained(request, reason);
        let opt = edns.as_ref().map_or(0, EdnsReply::octets);
        let is_cut = out.len() - start + opt > request.limit;
        if is_cut {
            out.truncate(start + HEADER_LEN + request.question.len());
            out[start + 6..start + HEADER_LEN].fill(0);
        }
        let truncated = if is_cut { flags::TC } else { 0 };
        head(request, self.rcode, authoritative | truncated, edns.as_ref(), start, out);
        is_cut
    }

    /// Gives a copy of the message the times to live that it has now.
    fn age(&self, age: Age, octets: &mut [u8]) {
        for at in self.ttls.iter().map(|at| usize::from(*at)) {
            let stored = u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
            let ttl = match age {
                Age::Seconds(seconds) => stored.saturating_sub(seconds),
                Age::Stale(ttl) => ttl,
            };
            octets[at..at + 4].copy_from_slice(&ttl.to_be_bytes());
        }
    }
}

/// Appends the answer that says nothing but that it is truncated, so that the client asks again over TCP.
pub(crate) fn write_truncated(request: &Request, rcode: Rcode, out: &mut Vec<u8>) {
    let start = write_question(request, out);
    head(request, rcode, flags::TC, request.edns.as_ref(), start, out);
}

/// Appends an answer that says nothing but a response code.
pub(super) fn write_failure(request: &Request, rcode: Rcode, out: &mut Vec<u8>) {
    let start = write_question(request, out);
    let edns = explained(request, Some(ExtendedError::NoReachableAuthority));
    head(request, rcode, 0, edns.as_ref(), start, out);
}

/// Appends a message that consists of the question, and returns where it begins.
fn write_question(request: &Request, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&request.question);
    start
}

/// What the answer says by EDNS.
fn explained(request: &Request, reason: Option<ExtendedError>) -> Option<EdnsReply> {
    let mut edns = request.edns.clone()?;
    if let Some(reason) = reason {
        edns.explain(reason);
    }
    Some(edns)
}

/// Fills the header in, with the flags `own` besides those that every answer has, and appends OPT where the client sent one.
fn head(request: &Request, rcode: Rcode, own: u16, edns: Option<&EdnsReply>, start: usize, out: &mut Vec<u8>) {
    let echoed = request.header.flags & (flags::RD | CD);
    let word = flags::QR | RA | own | echoed | (rcode.code() & 0xf);
    out[start..start + 2].copy_from_slice(&request.header.id.to_be_bytes());
    out[start + 2..start + 4].copy_from_slice(&word.to_be_bytes());
    if let Some(edns) = edns {
        let count = u16::from_be_bytes([out[start + 10], out[start + 11]]) + 1;
        out[start + 10..start + 12].copy_from_slice(&count.to_be_bytes());
        edns.write(rcode, start, request.limit, out);
    }
}
