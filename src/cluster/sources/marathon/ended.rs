//! Tasks that have ended, so that an answer made before their end does not bring them back.
//!
//! Bounded: of more than [`LIMIT`] the oldest are forgotten. Looked up for each task of each list, so by hash.

use std::collections::VecDeque;

use crate::model::hash::HashSet;

/// Ended tasks that are remembered.
const LIMIT: usize = 8192;

/// The ids of tasks that ended last.
#[derive(Debug, Default)]
pub(super) struct Ended {
    ids: HashSet<String>,
    /// The same, the oldest first.
    order: VecDeque<String>,
}

impl Ended {
    /// Remembers a task that ended.
    pub(super) fn add(&mut self, id: &str) {
        // Its end is told several times, by the task's status and by its instance's.
        if !self.ids.insert(id.to_owned()) {
            return;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    /// Whether the task has ended.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered_and_no_more() {
        let mut ended = Ended::default();
        for n in 0..LIMIT + 10 {
            ended.add(&format!("t{n}"));
            // Told twice, it takes no other's place.
            ended.add(&format!("t{n}"));
        }
        assert!(!ended.contains("t9") && ended.contains("t10") && ended.contains(&format!("t{}", LIMIT + 9)));
        assert_eq!((ended.ids.len(), ended.order.len()), (LIMIT, LIMIT));
    }
}
