//! The blast-radius guard: holds removals that are only implied by absence until there is reason to believe them.
//!
//! Explicit terminal events always act. What is implied (a task that a snapshot does not list) is believed at once
//! only when it is small. An empty snapshot may come from a master that has not finished its recovery, a filtered
//! one from credentials that may not see tasks; neither is proof of an empty cluster.

use std::collections::HashSet;
use std::sync::Arc;

use super::status::HeldRemovals;
use crate::config::checked::GuardConfig;
use crate::model::id::TaskKey;
use crate::model::time::Timestamp;

/// Removals that are held back for one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The tasks that would go.
    pub tasks: HashSet<TaskKey>,
    /// Tasks the source had when the hold began.
    pub of: usize,
    /// When the hold began.
    pub since: Timestamp,
    /// The snapshot showed agents and no task where tasks were known: it is taken for a filtered view.
    pub filtered: bool,
}

/// What one complete read shows.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotView {
    /// Tasks the source had before.
    pub known: usize,
    /// Tasks the read lists.
    pub listed: usize,
    /// Agents the read lists.
    pub agents: usize,
}

/// What to do about tasks that a read does not list.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Remove these now; nothing stays held.
    Believe(HashSet<TaskKey>),
    /// Remove `now`, keep the rest held.
    Hold {
        /// Tasks to remove now.
        now: HashSet<TaskKey>,
        /// Tasks to keep until there is reason.
        held: Held,
    },
}

/// Judges `absent`, the tasks that a complete read does not list and whose agents are not still to come back.
pub fn judge(
    config: &GuardConfig,
    before: Option<&Held>,
    absent: HashSet<TaskKey>,
    view: SnapshotView,
    now: Timestamp,
) -> Verdict {
    if absent.is_empty() {
        return Verdict::Believe(absent);
    }
    if view.listed == 0 && view.agents > 0 && view.known > 0 {
        let since = before.map_or(now, |held| held.since);
        return Verdict::Hold {
            now: HashSet::new(),
            held: Held { tasks: absent, of: view.known, since, filtered: true },
        };
    }
    if let Some(before) = before {
        let agreed = now.since(before.since) >= config.confirm_after;
        if !before.filtered && !agreed {
            // A look too early neither confirms nor starts the clock again; what has come back is no longer held.
            return Verdict::Hold { now: HashSet::new(), held: Held { tasks: absent, ..before.clone() } };
        }
        if agreed && !before.filtered {
            let (confirmed, fresh): (HashSet<_>, HashSet<_>) =
                absent.into_iter().partition(|key| before.tasks.contains(key));
            return match judge(config, None, fresh, view, now) {
                Verdict::Believe(more) => Verdict::Believe(confirmed.into_iter().chain(more).collect()),
                Verdict::Hold { now: more, held } => {
                    Verdict::Hold { now: confirmed.into_iter().chain(more).collect(), held }
                }
            };
        }
    }
    // A read that lists nothing at all is no proof of an empty cluster, however small it was.
    if view.listed == 0 || is_large(config, absent.len(), view.known) {
        return Verdict::Hold {
            now: HashSet::new(),
            held: Held { tasks: absent, of: view.known, since: now, filtered: false },
        };
    }
    Verdict::Believe(absent)
}

/// Whether removing `count` of `known` tasks wants a second look.
#[expect(clippy::cast_precision_loss, reason = "a share of counts far below 2^52")]
pub fn is_large(config: &GuardConfig, count: usize, known: usize) -> bool {
    count > config.max_count && count as f64 > config.max_share * known as f64
}

impl Held {
    /// When the hold ends by itself.
    pub fn until(&self, config: &GuardConfig) -> Option<Timestamp> {
        (!self.filtered).then(|| self.since.plus(config.give_up_after))
    }

    /// How it is shown.
    pub fn show(&self, config: &GuardConfig) -> HeldRemovals {
        let reason: Arc<str> = if self.filtered {
            "the snapshot lists agents and no task: the credentials may not be allowed to see tasks (VIEW_TASK, \
             VIEW_FRAMEWORK); never believed by time alone"
                .into()
        } else {
            "more tasks are absent at once than the guard believes; a second read that agrees ends the hold".into()
        };
        HeldRemovals { tasks: self.tasks.len(), of: self.of, since: self.since, until: self.until(config), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn keys(range: std::ops::Range<u32>) -> HashSet<TaskKey> {
        range.map(|n| TaskKey::new("c".into(), "f".into(), format!("t{n:03}"))).collect()
    }

    fn view(known: usize, listed: usize) -> SnapshotView {
        SnapshotView { known, listed, agents: 1 }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(0).plus(Duration::from_secs(seconds))
    }

    fn held(verdict: Verdict) -> Held {
        match verdict {
            Verdict::Hold { held, now } if now.is_empty() => held,
            other => panic!("not held whole: {other:?}"),
        }
    }

    #[test]
    fn small_removals_are_believed_at_once() {
        let config = GuardConfig::default();
        for (absent, known) in [(10, 10_usize), (20, 100)] {
            let listed = known - absent as usize + usize::from(absent as usize == known);
            assert_eq!(
                judge(&config, None, keys(0..absent), view(known, listed), at(0)),
                Verdict::Believe(keys(0..absent))
            );
        }
    }

    #[test]
    fn an_empty_read_waits_for_a_second_one_however_little_was_known() {
        let config = GuardConfig::default();
        let nothing = SnapshotView { known: 2, listed: 0, agents: 0 };
        let first = held(judge(&config, None, keys(0..2), nothing, at(0)));
        assert!(!first.filtered && first.until(&config).is_some());
        assert_eq!(judge(&config, Some(&first), keys(0..2), nothing, at(60)), Verdict::Believe(keys(0..2)));
    }

    #[test]
    fn large_removals_wait_for_a_second_read_a_minute_later() {
        let config = GuardConfig::default();
        let first = held(judge(&config, None, keys(0..21), view(100, 79), at(0)));
        let early = held(judge(&config, Some(&first), keys(0..20), view(100, 80), at(30)));
        assert_eq!((early.since, early.tasks.len()), (at(0), 20));
        assert_eq!(judge(&config, Some(&early), keys(0..20), view(100, 80), at(60)), Verdict::Believe(keys(0..20)));
    }

    #[test]
    fn what_the_second_read_newly_misses_is_judged_by_itself() {
        let config = GuardConfig::default();
        let first = held(judge(&config, None, keys(0..30), view(100, 70), at(0)));
        match judge(&config, Some(&first), keys(0..60), view(100, 40), at(61)) {
            Verdict::Hold { now, held } => {
                assert_eq!(now, keys(0..30));
                assert_eq!((held.tasks, held.since), (keys(30..60), at(61)));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn agents_without_tasks_are_a_filtered_view_and_never_believed_by_time_or_repetition() {
        let config = GuardConfig::default();
        let first = held(judge(&config, None, keys(0..2), view(2, 0), at(0)));
        assert!(first.filtered);
        assert_eq!(first.until(&config), None);
        assert!(held(judge(&config, Some(&first), keys(0..2), view(2, 0), at(10_000))).filtered);
    }
}
