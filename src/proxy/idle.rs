//! When a client's connection has been silent for too long.
//!
//! [`Watch`] is what the layers of one connection tell each other; [`Deadline`] decides, purely. Timers are coarse: a
//! request costs no look at the clock. A kept connection is closed between one and two times its idle time.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::early::Early;
use super::frame_guard::Flood;
use super::head_scan::Violation;
use super::reason::Reason;

/// What is known of one client connection. One thread writes it; atomics only because what is behind an upgrade must
/// be `Send`.
#[derive(Debug, Default)]
pub struct Watch {
    in_flight: AtomicU32,
    requests: AtomicU32,
    /// The start of a head came, and not its end.
    head_begun: AtomicBool,
    /// Heads that have begun.
    heads: AtomicU32,
    /// What follows is no HTTP.
    switched: AtomicBool,
    /// The client knows no chunks: an answer whose length is not known ends with the connection.
    has_no_chunks: AtomicBool,
    /// An answer broke off.
    cut: AtomicBool,
    /// What it was cut off for, by its index plus one; 0: nothing.
    flooded: AtomicU8,
    /// Requests that ended before their answer began, less those whose answer did.
    abandoned: AtomicU32,
    /// Interim answers.
    pub early: Early,
    /// Number of the violating request, shifted by 8, and the reason's index plus one; 0: none.
    violation: AtomicU64,
    /// Nothing could be read of the violating request.
    unread: AtomicBool,
    /// Who waits for the end of a request. One thread uses it; the lock is taken only where somebody waits.
    ended: Mutex<Option<Waker>>,
    awaited: AtomicBool,
}

impl Watch {
    /// A request's head is complete; returns the request's number, from 1.
    pub fn begin(&self) -> u32 {
        self.in_flight.store(self.in_flight.load(Relaxed) + 1, Relaxed);
        self.head_begun.store(false, Relaxed);
        let number = self.requests.load(Relaxed).wrapping_add(1);
        self.requests.store(number, Relaxed);
        number
    }

    /// A request is over, its answer sent or given up.
    pub fn end(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed).saturating_sub(1), Relaxed);
        if self.awaited.load(Relaxed) {
            self.awaited.store(false, Relaxed);
            let waker = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Has somebody woken when a request is over.
    pub fn wake_at_end(&self, waker: &Waker) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
        self.awaited.store(true, Relaxed);
    }

    /// Bytes came from the client, over HTTP/1: while no request is under way they begin a head.
    pub fn received(&self) {
        if self.in_flight.load(Relaxed) == 0 && !self.head_begun.load(Relaxed) {
            self.heads.store(self.heads.load(Relaxed).wrapping_add(1), Relaxed);
            self.head_begun.store(true, Relaxed);
        }
    }

    /// Bytes came over HTTP/2, where heads are told from other frames: so many have begun, the last one is `open`.
    pub fn received_blocks(&self, blocks: u32, open: bool) {
        self.heads.store(blocks, Relaxed);
        self.head_begun.store(open, Relaxed);
    }

    /// From here on the connection speaks another protocol.
    pub fn switch(&self) {
        self.switched.store(true, Relaxed);
    }

    /// Whether the connection speaks another protocol by now.
    pub fn has_switched(&self) -> bool {
        self.switched.load(Relaxed)
    }

    /// The client speaks HTTP/1.0, which has no chunks.
    pub fn knows_no_chunks(&self) {
        self.has_no_chunks.store(true, Relaxed);
    }

    /// An answer broke off on the endpoint's side.
    pub fn cut(&self) {
        self.cut.store(true, Relaxed);
    }

    /// Whether the connection ends within an answer and its client would take the end for the answer's.
    pub fn is_torn(&self) -> bool {
        self.has_no_chunks.load(Relaxed) && (self.cut.load(Relaxed) || self.in_flight.load(Relaxed) > 0)
    }

    /// The client floods.
    pub fn report_flood(&self, flood: Flood) {
        self.flooded.store(flood.index() + 1, Relaxed);
    }

    /// What the client floods with, if it does.
    pub fn flood(&self) -> Option<Flood> {
        let index = usize::from(self.flooded.load(Relaxed)).checked_sub(1)?;
        Flood::ALL.get(index).copied()
    }

    /// The client gave a request up before its answer began.
    pub fn abandon(&self) {
        self.abandoned.store(self.abandoned.load(Relaxed).saturating_add(1), Relaxed);
    }

    /// An answer begins: it makes good for a request that was given up.
    pub fn answered(&self) {
        self.abandoned.store(self.abandoned.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// Requests that were given up and not made good for.
    pub fn abandoned(&self) -> u32 {
        self.abandoned.load(Relaxed)
    }

    /// Requests under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Requests so far.
    pub fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Whether a head has begun to arrive and is not complete.
    pub fn head_begun(&self) -> bool {
        self.head_begun.load(Relaxed)
    }

    /// Notes what is wrong with a request whose head is still to be parsed.
    pub fn report(&self, violation: Violation) {
        let packed = u64::from(violation.request) << 8 | (violation.reason.index() as u64 + 1);
        self.violation.store(packed, Relaxed);
    }

    /// Of the request that was reported nothing could be read.
    pub fn report_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    /// Whether nothing could be read of request `number`, which was reported.
    pub fn is_unread(&self, number: u32) -> bool {
        self.unread.load(Relaxed) && self.violation(number).is_some()
    }

    /// What is wrong with request `number`, if anything was reported.
    pub fn violation(&self, number: u32) -> Option<Reason> {
        let packed = self.violation.load(Relaxed);
        let index = usize::try_from(packed & 0xff).ok()?.checked_sub(1)?;
        (packed >> 8 == u64::from(number)).then(|| Reason::ALL.get(index).copied()).flatten()
    }
}

/// The times that a deadline is made of.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For a head, and for the first request of a connection.
    pub header: Duration,
    /// Between requests.
    pub keep_alive: Duration,
}

/// What a connection's one timer is set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    kind: Kind,
    /// Requests when it was set.
    requests: u32,
    /// Heads that had begun when it was set.
    heads: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The first request must come.
    First,
    /// A head that began must end.
    Head,
    /// A request was under way, or ended since: nothing to decide before the next time.
    Busy,
    /// The next request should come.
    KeepAlive,
}

/// What to do when the timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Set it again.
    Again(Deadline, Duration),
    /// Close: no request came in time.
    Idle,
    /// Close at once: a head did not end in time.
    SlowHead,
}

impl Deadline {
    /// For a connection that was just accepted.
    pub fn first(times: &Times) -> (Self, Duration) {
        (Self { kind: Kind::First, requests: 0, heads: 0 }, times.header)
    }

    /// A shorter deadline, if a head has begun that this one does not watch.
    pub fn on_progress(self, watch: &Watch, times: &Times) -> Option<(Self, Duration)> {
        let (requests, heads) = (watch.requests(), watch.heads.load(Relaxed));
        let watched = match self.kind {
            Kind::Head => self.heads == heads,
            Kind::First => self.requests == requests,
            Kind::Busy | Kind::KeepAlive => false,
        };
        (watch.head_begun() && !watched).then_some((Self { kind: Kind::Head, requests, heads }, times.header))
    }

    /// Decides when the timer has fired.
    pub fn on_timer(self, watch: &Watch, times: &Times) -> Verdict {
        let (requests, heads) = (watch.requests(), watch.heads.load(Relaxed));
        let unchanged = self.requests == requests;
        match self.kind {
            // Also beside other requests of an HTTP/2 connection: nothing else can be said until the head ends.
            Kind::Head if self.heads == heads && watch.head_begun() => Verdict::SlowHead,
            _ if watch.in_flight() > 0 => Verdict::Again(Self { kind: Kind::Busy, requests, heads }, times.keep_alive),
            Kind::First if unchanged => Verdict::SlowHead,
            Kind::KeepAlive if unchanged => Verdict::Idle,
            _ => Verdict::Again(Self { kind: Kind::KeepAlive, requests, heads }, times.keep_alive),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { header: Duration::from_secs(10), keep_alive: Duration::from_secs(60) };

    fn kind(verdict: Verdict) -> Option<Kind> {
        match verdict {
            Verdict::Again(deadline, _) => Some(deadline.kind),
            _ => None,
        }
    }

    #[test]
    fn a_silent_newcomer_and_a_slow_head_are_closed() {
        let watch = Watch::default();
        let (first, after) = Deadline::first(&TIMES);
        assert_eq!((first.on_timer(&watch, &TIMES), after), (Verdict::SlowHead, TIMES.header));
        watch.begin();
        watch.end();
        watch.received();
        let (head, after) = first.on_progress(&watch, &TIMES).unwrap();
        assert_eq!(after, TIMES.header);
        assert_eq!(head.on_progress(&watch, &TIMES), None);
        assert_eq!(head.on_timer(&watch, &TIMES), Verdict::SlowHead);
    }

    #[test]
    fn a_kept_connection_is_closed_after_a_quiet_period() {
        let watch = Watch::default();
        let (first, _) = Deadline::first(&TIMES);
        watch.begin();
        let Verdict::Again(busy, _) = first.on_timer(&watch, &TIMES) else { panic!("closed while busy") };
        watch.end();
        let Verdict::Again(quiet, after) = busy.on_timer(&watch, &TIMES) else { panic!("closed too soon") };
        assert_eq!((quiet.kind, after), (Kind::KeepAlive, TIMES.keep_alive));
        assert_eq!(quiet.on_timer(&watch, &TIMES), Verdict::Idle);
        watch.begin();
        watch.end();
        assert_eq!(kind(quiet.on_timer(&watch, &TIMES)), Some(Kind::KeepAlive));
    }

    #[test]
    fn answers_make_good_for_requests_that_were_given_up() {
        let watch = Watch::default();
        watch.answered();
        watch.abandon();
        watch.abandon();
        watch.answered();
        assert_eq!((watch.abandoned(), watch.flood()), (1, None));
        watch.report_flood(Flood::Library);
        assert_eq!(watch.flood(), Some(Flood::Library));
    }

    #[test]
    fn violations_belong_to_one_request() {
        let watch = Watch::default();
        assert_eq!(watch.violation(1), None);
        watch.report(Violation { request: 2, reason: Reason::BadLine });
        assert_eq!((watch.violation(1), watch.violation(2)), (None, Some(Reason::BadLine)));
    }
}
