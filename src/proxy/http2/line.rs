//! Those who wait until another stream may be opened (RFC 9113 section 5.1.2), in their order.
//!
//! No more are woken than may go: the others would only look and wait again, all of them at each end of a stream. Pure but
//! for wakers.

use std::collections::VecDeque;
use std::task::{Context, Waker};

/// A line of those who wait.
#[derive(Debug, Default)]
pub struct Line {
    /// By their numbers, which grow.
    places: VecDeque<Place>,
    next: u64,
}

#[derive(Debug)]
struct Place {
    number: u64,
    /// `None`: it was woken, and has not looked since.
    waker: Option<Waker>,
}

impl Line {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether who has `place` may go now, where so many may; the place is given up then. Else it is kept, and its owner is
    /// woken when its turn has come; who has none gets one at the end.
    pub fn is_turn(&mut self, place: &mut Option<u64>, room: usize, context: &Context<'_>) -> bool {
        let at = place.and_then(|number| self.find(number));
        if at.unwrap_or(self.places.len()) < room {
            if let Some(at) = at {
                self.places.remove(at);
            }
            *place = None;
            return true;
        }
        let waker = Some(context.waker().clone());
        match at.and_then(|at| self.places.get_mut(at)) {
            Some(known) => known.waker = waker,
            None => {
                self.places.push_back(Place { number: self.next, waker });
                *place = Some(self.next);
                self.next += 1;
            }
        }
        false
    }

    /// Who has this place waits no longer. Whoever was behind may have its turn: [`Line::wake`] is to follow.
    pub fn leave(&mut self, place: u64) {
        if let Some(at) = self.find(place) {
            self.places.remove(at);
        }
    }

    /// Wakes those who may go, where so many may, and who were not woken before.
    pub fn wake(&mut self, room: usize) {
        for place in self.places.iter_mut().take(room) {
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.places.binary_search_by_key(&number, |place| place.number).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    struct Waiting {
        place: Option<u64>,
        woken: Arc<Woken>,
    }

    impl Waiting {
        fn new() -> Self {
            Self { place: None, woken: Arc::default() }
        }

        fn looks(&mut self, line: &mut Line, room: usize) -> bool {
            let waker = Waker::from(self.woken.clone());
            line.is_turn(&mut self.place, room, &Context::from_waker(&waker))
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Relaxed)
        }
    }

    #[test]
    fn no_more_are_woken_than_may_go() {
        let mut line = Line::default();
        let mut waiting: Vec<_> = (0..5).map(|_| Waiting::new()).collect();
        for waiting in &mut waiting {
            assert!(!waiting.looks(&mut line, 0));
        }
        // The same place becoming free twice is no reason to wake anybody twice.
        line.wake(1);
        line.wake(1);
        assert_eq!(waiting.iter().map(Waiting::woken).collect::<Vec<_>>(), [1, 0, 0, 0, 0]);
        // A newcomer does not get what another waits for, and the second one does not go before the first.
        assert!(!Waiting::new().looks(&mut line, 1) && !waiting[1].looks(&mut line, 1));
        assert!(waiting[0].looks(&mut line, 1));
        line.wake(2);
        assert_eq!(waiting.iter().map(Waiting::woken).collect::<Vec<_>>(), [1, 1, 1, 0, 0]);
        assert!(waiting[2].looks(&mut line, 2) && waiting[1].looks(&mut line, 1));
        line.wake(usize::MAX);
        assert_eq!(waiting.iter().map(Waiting::woken).collect::<Vec<_>>(), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn who_goes_away_leaves_its_turn_to_the_next_one() {
        let mut line = Line::default();
        let mut waiting: Vec<_> = (0..3).map(|_| Waiting::new()).collect();
        for waiting in &mut waiting {
            waiting.looks(&mut line, 0);
        }
        line.wake(1);
        line.leave(waiting[0].place.unwrap());
        line.wake(1);
        assert_eq!(waiting.iter().map(Waiting::woken).collect::<Vec<_>>(), [1, 1, 0]);
        line.leave(waiting[2].place.unwrap());
        assert!(waiting[1].looks(&mut line, 1) && line.is_empty());
    }
}
