//! Whether the other side of a connection is there still: one that says nothing is asked (RFC 9113 section 6.7).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::state::Core;

/// Asks who is silent.
#[derive(Debug)]
pub struct Alive {
    /// Who says nothing for so long is asked.
    every: Duration,
    /// Who does not answer for so long is gone.
    most: Duration,
    /// One without streams need not say anything.
    only_busy: bool,
    timer: Pin<Box<Sleep>>,
    /// The timer wakes the connection's task.
    is_set: bool,
    /// Something was read since that was looked at.
    has_spoken: bool,
    is_asked: bool,
}

impl Alive {
    /// Asks whoever is silent for `every`, and waits for `most`; `only_busy`: only where streams are open.
    pub fn new(every: Duration, most: Duration, only_busy: bool) -> Self {
        let timer = Box::pin(sleep(every));
        Self { every, most, only_busy, timer, is_set: false, has_spoken: false, is_asked: false }
    }

    /// Something was read.
    pub fn speaks(&mut self) {
        self.has_spoken = true;
    }

    /// Ready when the other side is gone.
    pub fn poll(&mut self, core: &mut Core, context: &mut Context<'_>) -> Poll<()> {
        // Asked in each turn: the timer is looked at when it has something to say.
        if self.is_set && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let is_silent = !std::mem::take(&mut self.has_spoken);
            if is_silent && self.is_asked {
                return Poll::Ready(());
            }
            self.is_asked = is_silent && !(self.only_busy && core.open() == 0);
            if self.is_asked {
                core.ping();
            }
            let after = if self.is_asked { self.most } else { self.every };
            self.timer.as_mut().reset(Instant::now() + after);
        }
        self.is_set = true;
        Poll::Pending
    }
}
