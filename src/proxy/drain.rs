//! The two moments of stopping: from now on nothing new, and at the deadline nothing at all.

use tokio::sync::watch;
use tokio::time::Instant;

/// How far stopping has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drain {
    /// Not begun.
    #[default]
    Serving,
    /// Nothing new is accepted; what is in flight may go on until then. May be brought forward.
    Until(Instant),
}

/// The receiving end. A sender that is gone counts as a deadline that has passed: nobody could stop us otherwise.
pub type DrainSignal = watch::Receiver<Drain>;

/// Waits until draining begins.
pub async fn begun(signal: &mut DrainSignal) {
    // An error means that the sender is gone.
    let _ = signal.wait_for(|drain| *drain != Drain::Serving).await;
}

/// Waits until the deadline has passed, also if it changes meanwhile.
pub async fn expired(signal: &mut DrainSignal) {
    loop {
        let drain = *signal.borrow_and_update();
        let changed = match drain {
            Drain::Serving => signal.changed().await,
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

    #[tokio::test(flavor = "current_thread")]
    async fn a_lost_sender_ends_everything() {
        let (sender, mut signal) = watch::channel(Drain::Serving);
        drop(sender);
        begun(&mut signal).await;
        expired(&mut signal).await;
    }
}
