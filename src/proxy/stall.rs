//! Ends an HTTP/2 stream whose client does not read.
//!
//! While the client gives no window, the implementation behind asks an answer's body for nothing, and nothing else
//! would ever end the stream: it holds its buffer, its endpoint's connection and its place (CVE-2019-9517,
//! CVE-2026-49975). Each stream is a task; the body notes here when it has handed something on, and when the task then
//! rests for too long without asking for more, it is dropped, which resets the stream. Other streams of the connection
//! go on.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use super::metrics::Shard;

thread_local! {
    /// What the body of the task that runs has done in this turn.
    static TURN: Cell<Turn> = const { Cell::new(Turn::Untouched) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Untouched,
    /// It was asked and has nothing yet.
    Waits,
    /// It handed something on.
    Gave,
}

/// The body of an answer was asked; `gave`: and handed something on.
pub fn note_asked(gave: bool) {
    TURN.set(if gave { Turn::Gave } else { Turn::Waits });
}

pin_project! {
    /// A stream's task with a bound on how long the client may leave it waiting.
    #[derive(Debug)]
    pub struct Unstalled<F> {
        #[pin]
        stream: F,
        limit: Duration,
        shard: Arc<Shard>,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F> Unstalled<F> {
    /// Ends `stream` when its client has not taken anything for `limit`.
    pub fn new(stream: F, limit: Duration, shard: Arc<Shard>) -> Self {
        Self { stream, limit, shard, timer: None }
    }
}

impl<F: Future> Future for Unstalled<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let parts = self.project();
        TURN.set(Turn::Untouched);
        if parts.stream.poll(context).is_ready() {
            return Poll::Ready(());
        }
        match TURN.get() {
            Turn::Untouched => {}
            Turn::Waits => *parts.timer = None,
            Turn::Gave => *parts.timer = Some(Box::pin(sleep(*parts.limit))),
        }
        match parts.timer.as_mut().map(|timer| timer.as_mut().poll(context)) {
            Some(Poll::Ready(())) => {
                parts.shard.timeout_write.increment();
                Poll::Ready(())
            }
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    const LIMIT: Duration = Duration::from_secs(30);

    /// A stream whose body does at each turn what `script` says, woken every 20 s.
    async fn ends(script: &'static [Option<bool>]) -> bool {
        let mut turns = script.iter();
        let mut pause = Box::pin(sleep(Duration::ZERO));
        let stream = poll_fn(move |context| {
            while pause.as_mut().poll(context).is_ready() {
                pause = Box::pin(sleep(Duration::from_secs(20)));
                if let Some(Some(gave)) = turns.next() {
                    note_asked(*gave);
                }
            }
            Poll::<()>::Pending
        });
        let task = Unstalled::new(stream, LIMIT, Arc::default());
        tokio::time::timeout(Duration::from_secs(200), task).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_client_that_takes_nothing_is_cut() {
        assert!(!ends(&[None]).await, "no answer yet");
        assert!(!ends(&[Some(false)]).await, "the endpoint is slow");
        assert!(!ends(&[Some(true), Some(true), Some(true), Some(false)]).await, "slow, but it takes");
        assert!(ends(&[Some(true)]).await);
        assert!(ends(&[Some(true), Some(true), None]).await);
    }
}
