//! What is said to the peers of a WebSocket that the proxy ends, and how long they have to hear it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How long the end of a frame that has begun, and the way of the last words to whoever reads late, are waited for.
pub(crate) const BOUNDARY: Duration = Duration::from_millis(250);
/// How long both have to answer (RFC 6455 section 7.1.2: each side sends a Close frame), and then to take the end.
pub(crate) const ANSWER: Duration = Duration::from_millis(200);
/// The longest time from a deadline to the end of a tunnel, with some for the machine.
const LONGEST_GOODBYE: Duration = Duration::from_millis(700);
/// How often it is looked whether all have ended, and how long their last words take to leave.
const LOOK: Duration = Duration::from_millis(10);

/// 1001 (RFC 6455 section 7.4.1).
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// A Close frame to a client: never masked (RFC 6455 section 5.1).
pub(crate) const TO_CLIENT: [u8; 4] = [0x88, 2, GOING_AWAY[0], GOING_AWAY[1]];

/// A Close frame to an endpoint, whose client the proxy is: always masked, with a key of its own (RFC 6455 section 5.3).
pub(crate) fn to_endpoint([a, b, c, d]: [u8; 4]) -> [u8; 8] {
    [0x88, 0x82, a, b, c, d, GOING_AWAY[0] ^ a, GOING_AWAY[1] ^ b]
}

/// Waits for the WebSockets that hold `open` to end, as long as that may take: whoever is about to cut the connections that
/// carry them as streams (RFC 8441) cuts their last words otherwise. Each of them has heard of the deadline by itself.
pub(crate) async fn goodbyes(open: &Rc<()>) {
    let limit = Instant::now() + LONGEST_GOODBYE;
    while Rc::strong_count(open) > 1 && Instant::now() < limit {
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells both ways of one tunnel that it has to end.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    is_asked: Cell<bool>,
    asked: Notify,
}

impl Ending {
    /// It has to end.
    pub(crate) fn ask(&self) {
        self.is_asked.set(true);
        self.asked.notify_waiters();
    }

    /// Whether it has to end.
    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked.get()
    }

    /// Waits until it has to end. Cancel safe. Of one thread, so that nothing is said between the look and the waiting.
    pub(crate) async fn wait(&self) {
        while !self.is_asked() {
            self.asked.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::Frames;
    use super::*;

    #[test]
    fn the_last_words_are_frames_rfc6455_5_5_1() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let masked = to_endpoint(key);
        for octets in [&TO_CLIENT[..], &masked[..]] {
            let mut frames = Frames::default();
            frames.feed(octets);
            assert!(frames.is_between() && frames.have_closed());
        }
        assert_eq!(u16::from_be_bytes([masked[6] ^ key[0], masked[7] ^ key[1]]), 1001);
        assert_eq!(u16::from_be_bytes([TO_CLIENT[2], TO_CLIENT[3]]), 1001);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_cuts_connections_waits_for_websockets_and_not_for_ever() {
        let open: Rc<()> = Rc::default();
        let begun = Instant::now();
        goodbyes(&open).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let socket = open.clone();
        tokio::join!(goodbyes(&open), async {
            tokio::time::sleep(LONGEST_GOODBYE / 2).await;
            drop(socket);
        });
        assert!(begun.elapsed() < LONGEST_GOODBYE);
        let _stuck = open.clone();
        goodbyes(&open).await;
        assert!(begun.elapsed() < LONGEST_GOODBYE * 2);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_waits_hears_of_the_end_and_whoever_comes_late_does_too() {
        let ending = Ending::default();
        assert!(tokio::time::timeout(Duration::ZERO, ending.wait()).await.is_err());
        let both = async { tokio::join!(ending.wait(), ending.wait(), async { ending.ask() }) };
        tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
        ending.wait().await;
    }
}
