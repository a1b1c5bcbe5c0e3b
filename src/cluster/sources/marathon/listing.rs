//! When Marathon's list of deployments is read. Pure: the caller passes `now`.
//!
//! It is read beside everything else and holds nothing up: while it cannot be read, events tell what there is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// The reads of the list on one stream. The first one is due at once.
#[derive(Debug)]
pub(super) struct Listing {
    due: Option<Instant>,
    failures: u32,
    /// While it is read: the deployments that events told of meanwhile, which it may not have.
    fresh: Option<BTreeSet<Arc<str>>>,
}

impl Listing {
    /// A stream begins.
    pub(super) fn new(now: Instant) -> Self {
        Self { due: Some(now), failures: 0, fresh: None }
    }

    /// It may have changed without a word: it is to be read at this time, unless it is read before.
    pub(super) fn want(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Whether to read it now: then it is being read.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        if self.fresh.is_some() || self.due.is_none_or(|due| due > now) {
            return false;
        }
        (self.due, self.fresh) = (None, Some(BTreeSet::new()));
        true
    }

    /// When it is read next, unless it is being read.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.fresh.is_none())
    }

    /// An event told of a deployment.
    pub(super) fn hear(&mut self, id: Arc<str>) {
        if let Some(fresh) = &mut self.fresh {
            fresh.insert(id);
        }
    }

    /// It was read; what was heard of meanwhile.
    pub(super) fn finish(&mut self) -> BTreeSet<Arc<str>> {
        self.failures = 0;
        self.fresh.take().unwrap_or_default()
    }

    /// It could not be read: it is tried again after `pause`, which is told how often it has failed.
    pub(super) fn fail(&mut self, now: Instant, pause: impl FnOnce(u32) -> Duration) {
        self.fresh = None;
        self.failures += 1;
        self.due = Some(self.due.unwrap_or(now + pause(self.failures)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_at_first_when_wanted_and_after_a_failure() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut listing = Listing::new(now);
        assert!(listing.begin(now) && !listing.begin(now), "once at a time");
        listing.hear("a".into());
        assert_eq!((listing.finish().len(), listing.due()), (1, None));
        // What was heard while it was not read it has.
        listing.hear("b".into());
        listing.want(now);
        assert!(listing.begin(now));
        assert_eq!(listing.finish().len(), 0);
        listing.want(now);
        assert!(listing.begin(now));
        listing.fail(now, |failures| second * failures);
        assert_eq!(listing.due(), Some(now + second));
        assert!(!listing.begin(now) && listing.begin(now + second));
        listing.fail(now, |failures| second * failures);
        assert_eq!(listing.due(), Some(now + 2 * second));
        // Wanted while it is read, it is read once more.
        assert!(listing.begin(now + 2 * second));
        listing.want(now);
        assert_eq!(listing.due(), None);
        listing.finish();
        assert!(listing.begin(now));
    }
}
