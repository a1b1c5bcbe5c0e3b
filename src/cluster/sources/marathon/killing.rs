//! Tasks that are told to end while their app is still to be read.
//!
//! Pure: the caller passes `now`. Marathon kills an old task as soon as a new one is healthy, and says both by events; but
//! that the new one is healthy is known only when the app has been read. Where the old task is the only one, nobody would
//! serve meanwhile. It goes on for its grace, so it is taken out of service with that read, or a little later without it. One
//! that others can stand in for is never held back, nor is that a task has ended.
//!
//! An answer that was made before the word of a task's end shows it as running. So whoever was told to end is taken out of
//! service once more with each answer that may be such a one.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// The longest that a task is held back: a part of the grace that tasks have, which is 3 s if nothing else is said.
pub(super) const LONGEST: Duration = Duration::from_millis(500);
/// Tasks that are known here at a time; of more it is said at once, and once.
const MANY: usize = 1000;

/// Tasks that are told to end, and whose app is still to be read.
#[derive(Debug, Default)]
pub(super) struct Killing {
    told: Vec<Told>,
}

#[derive(Debug)]
struct Told {
    task: String,
    apps: BTreeSet<String>,
    /// Until when it is held back; `None`: it was taken out of service.
    until: Option<Instant>,
    /// Answers about its apps that are to come until what was said of them before is known.
    answers: u32,
}

impl Killing {
    /// Remembers a task of these apps for so many answers about them, held back until then if anything: whether there was
    /// room for it.
    pub(super) fn add(&mut self, task: &str, apps: &BTreeSet<String>, answers: u32, until: Option<Instant>) -> bool {
        // It may be said again, which gives it no more time.
        if self.told.iter().any(|told| told.task == task) {
            return true;
        }
        let has_room = self.told.len() < MANY;
        if has_room {
            self.told.push(Told { task: task.to_owned(), apps: apps.clone(), until, answers });
        }
        has_room
    }

    /// A task has ended.
    pub(super) fn forget(&mut self, task: &str) {
        self.told.retain(|told| told.task != task);
    }

    /// An app was read, or could not be; everything, if none is named: its tasks that are to be taken out of service now.
    pub(super) fn answered(&mut self, app: Option<&str>) -> Vec<String> {
        let mut leaving = Vec::new();
        self.told.retain_mut(|told| {
            if app.is_some_and(|app| !told.apps.contains(app)) {
                return true;
            }
            told.answers = told.answers.saturating_sub(1);
            let is_known = told.answers == 0;
            if is_known || told.until.is_none() {
                leaving.push(told.task.clone());
            }
            !is_known
        });
        leaving
    }

    /// Tasks that were held back for long enough: they are taken out of service now.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<String> {
        let mut leaving = Vec::new();
        for told in self.told.iter_mut().filter(|told| told.until.is_some_and(|until| until <= now)) {
            told.until = None;
            leaving.push(told.task.clone());
        }
        leaving
    }

    /// When the next one is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.told.iter().filter_map(|told| told.until).min()
    }

    /// No answer will come any more: those that are still held back.
    pub(super) fn end(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told).into_iter().filter(|told| told.until.is_some()).map(|told| told.task).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(app: &str) -> BTreeSet<String> {
        BTreeSet::from([app.to_owned()])
    }

    #[test]
    fn they_wait_for_their_app_and_not_for_long() {
        let (mut killing, now) = (Killing::default(), Instant::now());
        let until = Some(now + LONGEST);
        assert!(killing.add("a.1", &of("/a"), 1, until) && killing.add("b.1", &of("/b"), 1, until));
        assert_eq!(killing.answered(Some("/c")), [""; 0]);
        assert_eq!(killing.answered(Some("/a")), ["a.1"]);
        assert_eq!((killing.overdue(now), killing.due()), (Vec::new(), until));
        assert_eq!((killing.overdue(now + LONGEST), killing.due()), (vec!["b.1".to_owned()], None));
        assert_eq!(killing.overdue(now + LONGEST), [""; 0]);
    }

    #[test]
    fn an_answer_that_was_on_its_way_is_not_the_one_they_wait_for() {
        let (mut killing, now) = (Killing::default(), Instant::now());
        assert!(killing.add("a.1", &of("/a"), 2, Some(now + LONGEST)));
        assert_eq!(killing.answered(None), [""; 0]);
        assert_eq!(killing.answered(Some("/a")), ["a.1"]);
        assert_eq!(killing.answered(Some("/a")), [""; 0]);
    }

    #[test]
    fn no_answer_that_may_be_old_brings_one_back() {
        let (mut killing, now) = (Killing::default(), Instant::now());
        assert!(killing.add("held", &of("/a"), 2, Some(now + LONGEST)) && killing.add("gone", &of("/a"), 2, None));
        assert_eq!(killing.answered(Some("/a")), ["gone"]);
        assert_eq!(killing.overdue(now + LONGEST), ["held"]);
        // That it is told once more neither holds it back again nor lets it wait for more.
        assert!(killing.add("held", &of("/a"), 2, Some(now + 2 * LONGEST)));
        assert_eq!(killing.due(), None);
        assert_eq!(killing.answered(Some("/a")), ["held", "gone"]);
        assert_eq!(killing.answered(Some("/a")), [""; 0]);
    }

    #[test]
    fn none_is_left_behind() {
        let (mut killing, now) = (Killing::default(), Instant::now());
        let until = Some(now + LONGEST);
        assert!((0..MANY).all(|number| killing.add(&format!("c.{number}"), &of("/c"), 1, until)));
        assert!(!killing.add("more", &of("/c"), 1, until));
        killing.forget("c.0");
        assert!(killing.add("more", &of("/c"), 1, None));
        assert_eq!((killing.end().len(), killing.due()), (MANY - 1, None), "one of them was not held back");
        assert_eq!(killing.end(), [""; 0]);
    }
}
