//! How many streams an endpoint takes at a time on one connection of HTTP/2.
//!
//! RFC 9113 section 5.1.2: "Endpoints MUST NOT exceed the limit set by their peer." The connection keeps to it, and what is
//! too much would wait there. So it is asked what the endpoint has said, and what is too much goes on further connections
//! ([`super::pool`]). The endpoint says it in its first frame (section 3.4), which comes some time after a connection is
//! open: until then the connection carries the request that it was opened for, and the others wait.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// Stands for a limit that the endpoint has not said yet: a number that no endpoint can say.
pub const UNSAID: usize = usize::MAX - 1;
/// The longest that the endpoint's settings are waited for: they come with its first octets, or something is wrong there, and then
/// those that wait are not to wait for ever.
const WAIT: Duration = Duration::from_millis(500);
/// How often is looked where the settings came in pieces.
const LOOK: Duration = Duration::from_millis(5);

/// What is known of the limit of one connection.
pub struct PeerStreams {
    /// What the connection knows; [`UNSAID`]: nothing yet.
    ask: Box<dyn Fn() -> usize>,
    /// What it knew when it was asked last.
    known: Cell<usize>,
    /// Told when something was read.
    read: Rc<Notify>,
}

impl fmt::Debug for PeerStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerStreams").field("known", &self.known).finish_non_exhaustive()
    }
}

impl PeerStreams {
    /// Of a connection that is asked by `ask`, and which tells `read` that something was read first.
    pub fn new(ask: impl Fn() -> usize + 'static, read: Rc<Notify>) -> Self {
        Self { ask: Box::new(ask), known: Cell::new(UNSAID), read }
    }

    /// Asks the connection: endpoints may change their minds (RFC 9113 section 6.5.2).
    pub fn look(&self) {
        self.known.set((self.ask)());
    }

    /// Whether the endpoint takes no stream for the moment (RFC 9113 section 6.5.2 has that for short times only).
    pub fn takes_none(&self) -> bool {
        self.known.get() == 0
    }

    /// How many streams there may be at a time, where we want `ours` at most. One where the endpoint takes none for the
    /// moment: there is nowhere else to wait for it.
    pub fn most(&self, ours: u32) -> u32 {
        u32::try_from(self.known.get()).map_or(ours, |theirs| theirs.clamp(1, ours.max(1)))
    }

    /// Waits until the endpoint has said its limit, for a moment at most, and for `most`.
    pub async fn said(&self, most: Duration) {
        let deadline = Instant::now() + WAIT.min(most);
        loop {
            self.look();
            if self.known.get() != UNSAID || Instant::now() >= deadline {
                return;
            }
            // Either way it is worth a look.
            let _ = timeout(LOOK, self.read.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lesser_limit_counts() {
        let said = Rc::new(Cell::new(UNSAID));
        let ask = said.clone();
        let streams = PeerStreams::new(move || ask.get(), Rc::default());
        // The last one: settings that say nothing of it.
        for (theirs, expected) in [(UNSAID, 100), (10, 10), (250, 100), (100, 100), (0, 1), (usize::MAX, 100)] {
            said.set(theirs);
            streams.look();
            assert_eq!(streams.most(100), expected, "{theirs}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_is_waited_for_until_it_is_said_and_not_for_ever() {
        let (said, read) = (Rc::new(Cell::new(UNSAID)), Rc::new(Notify::new()));
        let ask = said.clone();
        let streams = PeerStreams::new(move || ask.get(), read.clone());
        let begun = Instant::now();
        let says = async {
            said.set(7);
            read.notify_one();
        };
        tokio::join!(streams.said(WAIT), says);
        assert_eq!((streams.most(100), begun.elapsed()), (7, Duration::ZERO));
        said.set(UNSAID);
        streams.said(WAIT / 10).await;
        assert!(begun.elapsed() >= WAIT / 10 && begun.elapsed() < WAIT, "{:?}", begun.elapsed());
        streams.said(2 * WAIT).await;
        assert!(begun.elapsed() >= WAIT && begun.elapsed() < 2 * WAIT, "{:?}", begun.elapsed());
    }
}
