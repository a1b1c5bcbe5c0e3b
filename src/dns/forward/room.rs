//! Who may begin to wait. Pure counting: what is under way is bounded, and no servers' names take all of it.
//!
//! Names of servers that do not answer stay under way for the whole time that an answer may take: a few hundred different
//! ones a second would fill any bound, and nobody else's names could be asked for. So a group of servers may have as
//! much under way as is left for all others (Choudhury and Hahne, "Dynamic queue length thresholds", 1998): one that does
//! not answer comes to half of the bound, two to a third each, and as much as one of them has is always left for those
//! that answer. Where there is but one group, it has the whole.

use std::cell::Cell;
use std::rc::Rc;

/// How many are under way.
#[derive(Debug, Default)]
pub(super) struct Count(Cell<usize>);

/// One of them. Dropped, it is no longer.
#[derive(Debug)]
pub(super) struct Place(Rc<Count>);

/// What is counted twice: for all, and for one group of servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    /// Questions that servers are being asked.
    pub(super) questions: Rc<Count>,
    /// Clients that wait.
    pub(super) clients: Rc<Count>,
}

impl Count {
    pub(super) fn now(&self) -> usize {
        self.0.get()
    }

    /// One more.
    pub(super) fn take(self: &Rc<Self>) -> Place {
        self.0.set(self.0.get() + 1);
        Place(self.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self(count) = self;
        count.0.set(count.0.get().saturating_sub(1));
    }
}

/// Whether one more of a group may be under way, where `own` are already, `all` with those of others, and `most` may be.
pub(super) fn has_room(most: usize, all: &Count, own: &Count, groups: usize) -> bool {
    let left = most.saturating_sub(all.now());
    left > 0 && (groups < 2 || own.now() < left)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets groups take what they can, by turns, and says how much each has.
    fn greedy(most: usize, groups: usize) -> Vec<usize> {
        let all = Rc::new(Count::default());
        let own: Vec<Rc<Count>> = (0..groups).map(|_| Rc::default()).collect();
        let mut places = Vec::new();
        loop {
            let before = places.len();
            for own in &own {
                if has_room(most, &all, own, groups + 1) {
                    places.extend([all.take(), own.take()]);
                }
            }
            if places.len() == before {
                break;
            }
        }
        // Whoever comes now has room.
        assert!(has_room(most, &all, &Count::default(), groups + 1), "{groups} of {most}");
        let taken = own.iter().map(|own| own.now()).collect();
        drop(places);
        assert!(own.iter().chain([&all]).all(|count| count.now() == 0));
        taken
    }

    #[test]
    fn whoever_answers_has_room_beside_those_that_do_not() {
        assert_eq!(greedy(1024, 1), [512]);
        assert_eq!(greedy(1023, 2), [341, 341]);
        assert_eq!(greedy(1024, 7), [128; 7]);
        for most in 2..50 {
            for groups in 1..most {
                let taken = greedy(most, groups);
                assert!(taken.iter().sum::<usize>() < most, "{taken:?} of {most}");
            }
        }
    }

    #[test]
    fn the_only_servers_have_the_whole() {
        let all = Rc::new(Count::default());
        let places: Vec<Place> = (0..4).map(|_| all.take()).collect();
        assert!(has_room(5, &all, &all, 1));
        assert!(!has_room(4, &all, &all, 1));
        drop(places);
        assert!(!has_room(0, &all, &all, 1));
    }
}
