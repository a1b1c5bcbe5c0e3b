//! The two moments of stopping: from now on nothing new, and at the deadline nothing at all.

use std::future;

use tokio::sync::watch;
use tokio::time::Instant;

/// How far stopping has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drain {
    /// Not begun.
    #[default]
    Serving,
    /// A listener alone: a successor accepts from the same socket from now on, and connections go on.
    HandedOver,
    /// Nothing new is accepted; what is in flight may go on until then. May be brought forward.
    Until(Instant),
}

/// The receiving end. A sender that is gone counts as a deadline that has passed: nobody could stop us otherwise.
pub type DrainSignal = watch::Receiver<Drain>;

impl Drain {
    /// What holds for a listener's connections: draining of the worker counts, and of the listener alone.
    fn or(self, worker: Self) -> Self {
        match (self, worker) {
            (Self::Until(own), Self::Until(worker)) => Self::Until(own.min(worker)),
            (_, Self::Until(worker)) => Self::Until(worker),
            (own, _) => own,
        }
    }
}

/// Waits until draining begins.
pub async fn begun(signal: &mut DrainSignal) {
    // An error means that the sender is gone.
    let _ = signal.wait_for(|drain| matches!(drain, Drain::Until(_))).await;
}

/// Waits until nothing more is to be accepted.
pub async fn ended(signal: &mut DrainSignal) {
    let _ = signal.wait_for(|drain| *drain != Drain::Serving).await;
}

/// Passes on to a listener and its connections what holds for them. Never ends.
pub async fn relay(mut worker: DrainSignal, mut listener: DrainSignal, to: watch::Sender<Drain>) {
    loop {
        let drain = listener.borrow_and_update().or(*worker.borrow_and_update());
        to.send_if_modified(|last| std::mem::replace(last, drain) != drain);
        let changed = tokio::select! {
            changed = worker.changed() => changed,
            changed = listener.changed() => changed,
        };
        if changed.is_err() {
            to.send_replace(Drain::Until(Instant::now()));
            return future::pending().await;
        }
    }
}

/// Waits until the deadline has passed, also if it changes meanwhile.
pub async fn expired(signal: &mut DrainSignal) {
    loop {
        let drain = *signal.borrow_and_update();
        let changed = match drain {
            Drain::Serving | Drain::HandedOver => signal.changed().await,
            Drain::Until(deadline) => tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                changed = signal.changed() => changed,
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(flavor = "current_thread")]
    async fn a_deadline_can_be_brought_forward() {
        let (sender, mut signal) = watch::channel(Drain::Serving);
        sender.send_replace(Drain::Until(Instant::now() + Duration::from_secs(3600)));
        begun(&mut signal).await;
        let waiting = tokio::spawn(async move { expired(&mut signal).await });
        sender.send_replace(Drain::Until(Instant::now()));
        waiting.await.unwrap();
    }

    #[test]
    fn the_earlier_deadline_counts() {
        let (soon, late) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let check = |own: Drain, worker: Drain, both: Drain| assert_eq!(own.or(worker), both);
        check(Drain::Serving, Drain::Serving, Drain::Serving);
        check(Drain::HandedOver, Drain::Serving, Drain::HandedOver);
        check(Drain::HandedOver, Drain::Until(late), Drain::Until(late));
        check(Drain::Until(soon), Drain::Serving, Drain::Until(soon));
        check(Drain::Until(late), Drain::Until(soon), Drain::Until(soon));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_lost_sender_ends_everything() {
        let (sender, mut signal) = watch::channel(Drain::Serving);
        drop(sender);
        begun(&mut signal).await;
        expired(&mut signal).await;
    }
}
