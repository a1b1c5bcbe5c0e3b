//! The blast-radius guard: holds removals that are only implied by absence until there is reason to believe them.
//!
//! Explicit terminal events always act. What is implied (a task that a snapshot does not list) is believed at once
//! only when it is small. An empty snapshot may come from a master that has not finished its recovery, a filtered
//! one from credentials that may not see tasks; neither is proof of an empty cluster.

use crate::model::hash::HashSet;
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
    /// Why they are held.
    pub doubt: Doubt,
}

/// Why removals are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// They are many.
    Many,
    /// The snapshot showed agents and no task where tasks were known: it is taken for a filtered view.
    Filtered,
    /// The snapshot showed no task where tasks were known, and no agents (so does a master that has been elected and has not
    /// read its registry), or agents where any number is believed.
    Empty,
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
    // Whoever believes removals however many they are has said so of these too: a second look is enough then.
    let believes_any = config.max_share >= 1.0;
    if view.listed == 0 && view.agents > 0 && view.known > 0 && !believes_any {
        let since = before.map_or(now, |held| held.since);
        return hold(absent, view, since, Doubt::Filtered);
    }
    let (empty, before) = match before {
        Some(held) if held.doubt == Doubt::Empty => (Some(held), None),
        other => (None, other),
    };
    if view.listed == 0 && view.known > 0 {
        // However few: nothing but a second look tells a dead cluster from a master that does not know it yet.
        let Some(first) = empty else { return hold(absent, view, now, Doubt::Empty) };
        if now.since(first.since) < config.confirm_after {
            return hold(absent, view, first.since, Doubt::Empty);
        }
        // What was not there to be missing the first time has been missing once.
        let (confirmed, fresh): (HashSet<_>, HashSet<_>) =
            absent.into_iter().partition(|key| first.tasks.contains(key));
        if fresh.is_empty() {
            return Verdict::Believe(confirmed);
        }
        let held = Held { tasks: fresh, of: view.known, since: now, doubt: Doubt::Empty };
        return Verdict::Hold { now: confirmed, held };
    }
    if let Some(before) = before {
        let agreed = now.since(before.since) >= config.confirm_after;
        let filtered = before.doubt == Doubt::Filtered;
        if !filtered && !agreed {
            // A look too early neither confirms nor starts the clock again; what has come back is no longer held.
            return Verdict::Hold { now: HashSet::default(), held: Held { tasks: absent, ..before.clone() } };
        }
        if agreed && !filtered {
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
    if is_large(config, absent.len(), view.known) {
        return hold(absent, view, now, Doubt::Many);
    }
    Verdict::Believe(absent)
}

fn hold(tasks: HashSet<TaskKey>, view: SnapshotView, since: Timestamp, doubt: Doubt) -> Verdict {
    Verdict::Hold { now: HashSet::default(), held: Held { tasks, of: view.known, since, doubt } }
}

/// Whether removing `count` of `known` tasks wants a second look.
#[expect(clippy::cast_precision_loss, reason = "a share of counts far below 2^52")]
pub fn is_large(config: &GuardConfig, count: usize, known: usize) -> bool {
    count > config.max_count && count as f64 > config.max_share * known as f64
}

impl Held {
    /// When the hold ends by itself.
    pub fn until(&self, config: &GuardConfig) -> Option<Timestamp> {
        (self.doubt == Doubt::Many).then(|| self.since.plus(config.give_up_after))
    }

    /// How it is shown.
    pub fn show(&self, config: &GuardConfig) -> HeldRemovals {
        let reason: &str = match self.doubt {
            Doubt::Filtered => {
                "the snapshot lists agents and no task: the credentials may not be allowed to see tasks (VIEW_TASK, \
                 VIEW_FRAMEWORK); never believed by time alone"
            }
            Doubt::Empty => {
                "the snapshot lists no task: the master may not have finished its recovery; a second read that agrees ends \
                 the hold, never time alone"
            }
            Doubt::Many => {
                "more tasks are absent at once than the guard believes; a second read that agrees ends the hold"
            }
        };
        let reason: Arc<str> = reason.into();
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
        assert_eq!(first.doubt, Doubt::Filtered);
        assert_eq!(first.until(&config), None);
        assert_eq!(held(judge(&config, Some(&first), keys(0..2), view(2, 0), at(10_000))).doubt, Doubt::Filtered);
    }

    #[test]
    fn whoever_believes_any_number_believes_agents_without_tasks_at_the_second_look() {
        let config = GuardConfig { max_share: 1.0, ..GuardConfig::default() };
        let first = held(judge(&config, None, keys(0..20), view(20, 0), at(0)));
        assert_eq!((first.doubt, first.until(&config)), (Doubt::Empty, None));
        assert_eq!(held(judge(&config, Some(&first), keys(0..20), view(20, 0), at(59))).since, at(0));
        assert_eq!(judge(&config, Some(&first), keys(0..20), view(20, 0), at(60)), Verdict::Believe(keys(0..20)));
        assert_eq!(judge(&config, None, keys(0..19), view(20, 1), at(0)), Verdict::Believe(keys(0..19)));
        // A hold from before the setting was changed is one more look to wait for.
        let filtered = held(judge(&GuardConfig::default(), None, keys(0..20), view(20, 0), at(0)));
        let after = held(judge(&config, Some(&filtered), keys(0..20), view(20, 0), at(100)));
        assert_eq!((after.doubt, after.since), (Doubt::Empty, at(100)));
    }

    #[test]
    fn an_empty_view_is_believed_only_when_a_second_one_agrees_however_few_go() {
        let config = GuardConfig::default();
        let empty = SnapshotView { known: 2, listed: 0, agents: 0 };
        let first = held(judge(&config, None, keys(0..2), empty, at(0)));
        assert_eq!((first.doubt, first.until(&config)), (Doubt::Empty, None));
        let early = held(judge(&config, Some(&first), keys(0..2), empty, at(59)));
        assert_eq!(early.since, at(0));
        assert_eq!(judge(&config, Some(&early), keys(0..2), empty, at(60)), Verdict::Believe(keys(0..2)));
        // What a recovered master then does not list is judged as if nothing had been held.
        let recovered = SnapshotView { known: 100, listed: 70, agents: 3 };
        let later = held(judge(&config, Some(&first), keys(0..30), recovered, at(120)));
        assert_eq!((later.doubt, later.since), (Doubt::Many, at(120)));
    }

    #[test]
    fn a_second_empty_view_confirms_only_what_the_first_one_missed() {
        let config = GuardConfig::default();
        let empty = SnapshotView { known: 5, listed: 0, agents: 0 };
        let first = held(judge(&config, None, keys(0..2), empty, at(0)));
        match judge(&config, Some(&first), keys(0..5), empty, at(60)) {
            Verdict::Hold { now, held } => {
                assert_eq!((now, held.tasks, held.since), (keys(0..2), keys(2..5), at(60)));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_empty_view_confirms_nothing_that_was_held_before_it() {
        let config = GuardConfig::default();
        let first = held(judge(&config, None, keys(0..30), view(100, 70), at(0)));
        let empty = SnapshotView { known: 100, listed: 0, agents: 0 };
        let second = held(judge(&config, Some(&first), keys(0..100), empty, at(600)));
        assert_eq!((second.tasks.len(), second.since, second.doubt), (100, at(600), Doubt::Empty));
    }
}
