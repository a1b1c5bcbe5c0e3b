//! Tasks that are told to end while their app is still to be read.
//!
//! Pure: the caller passes `now`. Marathon kills an old task as soon as a new one is healthy, and says both by events; but
//! that the new one is healthy is known only when the app has been read. Where the old task is the only one, nobody would
//! serve meanwhile. It goes on for its grace, so it is taken out of service with that read, or a little later without it. That a
//! task has ended is never held back.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// The longest that it is held back: a part of the grace that tasks have, which is 3 s if nothing else is said.
const LONGEST: Duration = Duration::from_millis(500);
/// Tasks that are held back at a time; of more it is said at once.
const MANY: usize = 1000;

/// Tasks that are to be taken out of service.
#[derive(Debug, Default)]
pub(super) struct Killing {
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    task: String,
    apps: BTreeSet<String>,
    until: Instant,
}

impl Killing {
    /// Holds a task of these apps back; whether there was room for it.
    pub(super) fn hold(&mut self, task: &str, apps: &BTreeSet<String>, now: Instant) -> bool {
        let has_room = self.held.len() < MANY;
        if has_room {
            self.held.push(Held { task: task.to_owned(), apps: apps.clone(), until: now + LONGEST });
        }
        has_room
    }

    /// An app was read, or could not be; everything, if none is named: its tasks that are to be taken out of service now.
    pub(super) fn release(&mut self, app: Option<&str>) -> Vec<String> {
        self.take(|held| app.is_none_or(|app| held.apps.contains(app)))
    }

    /// Tasks that were held back for long enough.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<String> {
        self.take(|held| held.until <= now)
    }

    /// When the next one is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.iter().map(|held| held.until).min()
    }

    fn take(&mut self, is_wanted: impl Fn(&Held) -> bool) -> Vec<String> {
        self.held.extract_if(.., |held| is_wanted(held)).map(|held| held.task).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_wait_for_their_app_and_not_for_long() {
        let (mut killing, now) = (Killing::default(), Instant::now());
        let of = |app: &str| BTreeSet::from([app.to_owned()]);
        assert!(killing.hold("a.1", &of("/a"), now) && killing.hold("b.1", &of("/b"), now));
        assert_eq!(killing.release(Some("/c")), [""; 0]);
        assert_eq!(killing.release(Some("/a")), ["a.1"]);
        assert_eq!((killing.overdue(now), killing.due()), (Vec::new(), Some(now + LONGEST)));
        assert_eq!(killing.overdue(now + LONGEST), ["b.1"]);
        assert!((0..MANY).all(|number| killing.hold(&format!("c.{number}"), &of("/c"), now)));
        assert!(!killing.hold("more", &of("/c"), now));
        assert_eq!((killing.release(None).len(), killing.due()), (MANY, None));
    }
}
