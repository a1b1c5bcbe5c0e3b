//! Draws the order of a record set's records, as far as a message has room for them.
//!
//! Invariants: each position comes once at most, and next is each of those that are left with the same probability, so
//! that what a message holds of a large set is a random choice of it. The cost is that of the positions drawn, however
//! many there are: where a message holds half of them or more they are shuffled; where it holds fewer, those drawn
//! already are noted and drawn again when they come up, which is at most every second time. Where more are drawn than were
//! to be expected, since some took no room, those that are left are shuffled.
//!
//! Pure: the random source is passed in.

use smallvec::{SmallVec, smallvec};

/// Positions of a set, in an order drawn by lot.
pub(super) struct Lots {
    count: u32,
    taken: u32,
    way: Way,
}

enum Way {
    /// Every position; the first ones are drawn.
    Shuffled(SmallVec<[u32; 256]>),
    /// So many are drawn at first, each noted (as its number plus one, 0 is nobody) in the first free place from its own
    /// on. At least half of the places, a power of two, stay free.
    Noted(u32, SmallVec<[u32; 256]>),
}

impl Lots {
    /// Positions below `count`, of which hardly ever more than `most` are drawn: about as many as a message has room for.
    pub(super) fn new(count: usize, most: usize) -> Self {
        // No set has four thousand million records.
        let all = u32::try_from(count).unwrap_or(u32::MAX - 1);
        let way = match u32::try_from(most) {
            Ok(bound) if most.saturating_mul(2) < count => {
                Way::Noted(bound, smallvec![0; (most * 2).next_power_of_two().max(2)])
            }
            _ => Way::Shuffled((0..all).collect()),
        };
        Self { count: all, taken: 0, way }
    }

    /// The next position; `None`: all are drawn.
    pub(super) fn draw(&mut self, random: &mut fastrand::Rng) -> Option<usize> {
        if let Way::Noted(most, noted) = &self.way
            && self.taken >= *most
        {
            self.way = Way::Shuffled(others(noted, self.count));
            self.taken = 0;
        }
        let position = match &mut self.way {
            Way::Shuffled(order) => shuffle_on(order, self.taken, random)?,
            Way::Noted(_, noted) => draw_another(noted, self.count, random),
        };
        self.taken += 1;
        usize::try_from(position).ok()
    }
}

/// One step of Fisher and Yates' shuffle: the positions before `taken` are drawn, the last one needs no lot.
fn shuffle_on(order: &mut [u32], taken: u32, random: &mut fastrand::Rng) -> Option<u32> {
    let at = usize::try_from(taken).ok().filter(|at| *at < order.len())?;
    if at + 1 < order.len() {
        order.swap(at, random.usize(at..order.len()));
    }
    Some(order[at])
}

/// The positions that are not noted.
fn others(noted: &[u32], count: u32) -> SmallVec<[u32; 256]> {
    let mut drawn: Vec<u32> = noted.iter().filter_map(|number| number.checked_sub(1)).collect();
    drawn.sort_unstable();
    (0..count).filter(|position| drawn.binary_search(position).is_err()).collect()
}

fn draw_another(noted: &mut [u32], count: u32, random: &mut fastrand::Rng) -> u32 {
    loop {
        let position = random.u32(0..count);
        if note(noted, position) {
            return position;
        }
    }
}

/// Notes a position; `false`: it was noted before.
fn note(noted: &mut [u32], position: u32) -> bool {
    let mask = noted.len() - 1;
    // Positions are drawn evenly: their last bits spread them well enough.
    let mut at = usize::try_from(position).unwrap_or_default() & mask;
    loop {
        match noted[at] {
            0 => {
                noted[at] = position + 1;
                return true;
            }
            known if known == position + 1 => return false,
            _ => at = (at + 1) & mask,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn drawn(count: usize, most: usize, random: &mut fastrand::Rng) -> Vec<usize> {
        let mut lots = Lots::new(count, most);
        std::iter::from_fn(|| lots.draw(random)).collect()
    }

    #[test]
    fn each_position_comes_once_and_none_is_missing_however_many_were_expected() {
        let mut random = fastrand::Rng::with_seed(1);
        for count in [0, 1, 2, 3, 17, 128, 129, 1000] {
            for most in [0, 1, 2, 3, 5, 63, 64, 65, 500, 1000, usize::MAX] {
                let positions = drawn(count, most, &mut random);
                let each: BTreeSet<_> = positions.iter().copied().collect();
                assert_eq!(each.len(), positions.len(), "{count} {most}: {positions:?}");
                assert!(each.iter().all(|position| *position < count), "{count} {most}: {positions:?}");
                assert_eq!(positions.len(), count, "{count} {most}");
            }
        }
    }

    /// Each position is drawn as often as any other, in the first place and in all, whichever way is taken.
    #[test]
    fn each_position_is_drawn_as_often_as_any_other() {
        const ROUNDS: usize = 40_000;
        let mut random = fastrand::Rng::with_seed(2);
        for (count, most) in [(20, usize::MAX), (20, 10), (20, 9), (21, 4)] {
            let (mut first, mut any) = (vec![0_usize; count], vec![0_usize; count]);
            let mut total = 0;
            for _ in 0..ROUNDS {
                let positions: Vec<usize> = drawn(count, most, &mut random).into_iter().take(9).collect();
                first[positions[0]] += 1;
                positions.iter().for_each(|position| any[*position] += 1);
                total += positions.len();
            }
            for (what, seen, sum) in [("first", &first, ROUNDS), ("any", &any, total)] {
                let expected = sum as f64 / count as f64;
                // Some 2,000 are expected with a deviation of at most 45: six of them.
                let room = 6.0 * expected.sqrt();
                for (position, seen) in seen.iter().enumerate() {
                    let distance = (*seen as f64 - expected).abs();
                    assert!(distance < room, "{what} {position} of {count}, {most}: {seen} for {expected}");
                }
            }
        }
    }

    /// Two that follow one another have nothing to do with each other: neighbours are drawn together no more often than
    /// others, as they would be if a run of the set were taken.
    #[test]
    fn what_is_drawn_second_does_not_follow_from_the_first() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut distances = [0_usize; 21];
        for _ in 0..40_000 {
            let positions = drawn(21, 4, &mut random);
            distances[(positions[1] + 21 - positions[0]) % 21] += 1;
        }
        assert_eq!(distances[0], 0);
        assert!(distances[1..].iter().all(|seen| (1700..2300).contains(seen)), "{distances:?}");
    }
}
