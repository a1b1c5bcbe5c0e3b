//! What is to be read next: apps that changed, apps whose read failed, everything.
//!
//! Pure: the caller passes `now` and how long to wait. A read that fails costs its own app some time, and only when it
//! fails again and again everything is read, which tells of that app too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// More changed apps than this are read in one list.
const MANY: usize = 64;
/// Reads of one app that may fail in a row before everything is read.
const ATTEMPTS: u32 = 4;

/// Something to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The lists of apps and pods.
    Everything,
    /// The app or pod with this id.
    One(String),
}

/// What is still to be read on one stream.
#[derive(Debug, Default)]
pub(super) struct Reads {
    dirty: BTreeSet<String>,
    everything: bool,
    failed: BTreeMap<String, Failed>,
    /// What is being read.
    under_way: Option<Next>,
}

/// An app whose last read failed.
#[derive(Debug)]
struct Failed {
    times: u32,
    /// When it is read again; `None` while it is.
    due: Option<Instant>,
}

impl Reads {
    /// These apps and pods changed.
    pub(super) fn want(&mut self, ids: impl IntoIterator<Item = String>) {
        self.dirty.extend(ids);
    }

    /// Everything may have changed.
    pub(super) fn want_everything(&mut self) {
        self.everything = true;
    }

    /// Whether everything is to be read already.
    pub(super) fn wants_everything(&self) -> bool {
        self.everything
    }

    /// How many answers about an app are to come until what events have said of it is known: one that was asked for before
    /// does not tell. 0: it is known.
    pub(super) fn awaited(&self, app: &str) -> u32 {
        let is_being_read = match &self.under_way {
            Some(Next::Everything) => true,
            Some(Next::One(id)) => id == app,
            None => false,
        };
        let is_to_be_read = self.everything || self.dirty.contains(app);
        match (is_being_read, is_to_be_read) {
            (true, true) => 2,
            (false, false) => u32::from(self.failed.contains_key(app)),
            _ => 1,
        }
    }

    /// What to read now, if anything. It is being read until [`Reads::end`].
    pub(super) fn next(&mut self, now: Instant) -> Option<Next> {
        self.under_way = self.choose(now);
        self.under_way.clone()
    }

    /// An answer came, or did not.
    pub(super) fn end(&mut self) {
        self.under_way = None;
    }

    fn choose(&mut self, now: Instant) -> Option<Next> {
        if self.everything || self.dirty.len() > MANY {
            *self = Self::default();
            return Some(Next::Everything);
        }
        let is_due = |failed: &Failed| failed.due.is_some_and(|due| due <= now);
        let due = self.failed.iter().find(|(_, failed)| is_due(failed)).map(|(id, _)| id.clone());
        let id = self.dirty.pop_first().or(due)?;
        if let Some(failed) = self.failed.get_mut(&id) {
            failed.due = None;
        }
        Some(Next::One(id))
    }

    /// When the next read that failed is made again.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.failed.values().filter_map(|failed| failed.due).min()
    }

    /// An app was read.
    pub(super) fn succeeded(&mut self, id: &str) {
        self.failed.remove(id);
    }

    /// The read of an app failed: it is made again after `pause`, which is told how often it has failed, or everything is
    /// read.
    pub(super) fn fail(&mut self, id: &str, now: Instant, pause: impl FnOnce(u32) -> Duration) {
        let failed = self.failed.entry(id.to_owned()).or_insert(Failed { times: 0, due: None });
        failed.times += 1;
        if failed.times >= ATTEMPTS {
            self.everything = true;
        } else {
            failed.due = Some(now + pause(failed.times));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: &str) -> Option<Next> {
        Some(Next::One(id.into()))
    }

    #[test]
    fn an_app_whose_read_fails_is_read_again_alone_and_then_everything() {
        let (mut reads, mut now) = (Reads::default(), Instant::now());
        let second = Duration::from_secs(1);
        reads.want(["/a".to_owned(), "/b".to_owned()]);
        assert_eq!(reads.next(now), one("/a"));
        for times in 1..ATTEMPTS {
            reads.fail("/a", now, |failures| second * failures);
            let due = now + second * times;
            assert_eq!(reads.next_retry(), Some(due));
            // Others do not wait for it, and it is not read before its time.
            reads.want(["/b".to_owned()]);
            assert_eq!((reads.next(now), reads.next(now)), (one("/b"), None));
            now = due;
            assert_eq!(reads.next(now), one("/a"));
            assert_eq!((reads.next(now), reads.next_retry()), (None, None), "it is being read");
        }
        reads.fail("/a", now, |_| second);
        assert_eq!((reads.next(now), reads.next(now)), (Some(Next::Everything), None));
        // What everything told is told; the next failure is the first one again.
        reads.fail("/a", now, |failures| second * failures);
        assert_eq!(reads.next_retry(), Some(now + second));
    }

    #[test]
    fn an_app_that_changes_meanwhile_is_read_at_once_and_once() {
        let (mut reads, now) = (Reads::default(), Instant::now());
        reads.fail("/a", now, |_| Duration::from_secs(9));
        reads.want(["/a".to_owned()]);
        assert_eq!((reads.next(now), reads.next_retry()), (one("/a"), None));
        reads.succeeded("/a");
        assert_eq!(reads.next(now + Duration::from_secs(10)), None);
    }

    #[test]
    fn what_was_said_of_an_app_is_awaited_until_it_is_read() {
        let (mut reads, now) = (Reads::default(), Instant::now());
        assert_eq!(reads.awaited("/a"), 0);
        reads.want(["/a".to_owned()]);
        assert_eq!((reads.awaited("/a"), reads.awaited("/b")), (1, 0));
        assert_eq!(reads.next(now), one("/a"));
        assert_eq!(reads.awaited("/a"), 1);
        // What is said meanwhile the answer that is on its way may not have.
        reads.want(["/a".to_owned()]);
        assert_eq!((reads.awaited("/a"), reads.awaited("/b")), (2, 0));
        reads.end();
        reads.succeeded("/a");
        assert_eq!((reads.awaited("/a"), reads.next(now)), (1, one("/a")));
        reads.end();
        reads.fail("/a", now, |_| Duration::from_secs(1));
        assert_eq!(reads.awaited("/a"), 1);
        reads.succeeded("/a");
        assert_eq!(reads.awaited("/a"), 0);
        reads.want_everything();
        assert_eq!(reads.awaited("/b"), 1);
        assert_eq!(reads.next(now), Some(Next::Everything));
        assert_eq!(reads.awaited("/b"), 1);
        reads.want(["/b".to_owned()]);
        assert_eq!((reads.awaited("/a"), reads.awaited("/b")), (1, 2));
        reads.end();
        assert_eq!((reads.awaited("/a"), reads.awaited("/b")), (0, 1));
    }

    #[test]
    fn many_are_read_in_one_list() {
        let (mut reads, now) = (Reads::default(), Instant::now());
        reads.want((0..=MANY).map(|n| format!("/{n}")));
        assert_eq!((reads.next(now), reads.next(now)), (Some(Next::Everything), None));
        reads.want_everything();
        assert!(reads.wants_everything());
        assert_eq!(reads.next(now), Some(Next::Everything));
    }
}
