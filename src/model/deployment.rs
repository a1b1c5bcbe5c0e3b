//! A deploy from one colour of an app to the other, as marathon-lb's `zdd.py` drives it: what its labels say of an app,
//! and which part of the requests each colour has meanwhile.
//!
//! Pure. What marathon-lb means is kept: of the old colour's tasks as many get nothing more as new ones have come, as long
//! as the target's number serves. Its faults are not:
//! - who is old is said by when the deploys began, and by nothing else: scaling the old app does not swap the two;
//! - tasks that serve count, not those that are wished for: nothing is taken from the old colour before;
//! - nothing here asks how the app declares its ports.

use super::time::Timestamp;

/// What the labels of an app say of the deploy that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Deployment {
    /// When it began; `None`: the app was there before any.
    pub started: Option<Timestamp>,
    /// How many tasks are to serve, both colours together.
    pub target: Option<u32>,
    /// How many of these are to be the new colour's in the end; `None`: all.
    pub new: Option<u32>,
}

/// A version of a service in the midst of a deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour<'a> {
    /// What its tasks' labels say.
    pub said: Option<&'a Deployment>,
    /// Its tasks that can serve.
    pub serving: u32,
}

/// The share of each colour, relative to the others; `None`: no deploy is under way, each task counts alike.
pub fn shares(colours: &[Colour<'_>]) -> Option<Vec<u32>> {
    let started = |colour: &Colour<'_>| colour.said.and_then(|said| said.started);
    let newest = colours.iter().filter_map(started).max()?;
    let is_new = |colour: &Colour<'_>| started(colour) == Some(newest);
    let target = colours.iter().filter(|colour| is_new(colour)).find_map(|colour| colour.said?.target)?;
    let wished = colours.iter().filter(|colour| is_new(colour)).find_map(|colour| colour.said?.new);
    let sum = |of_new: bool| -> u128 {
        colours.iter().filter(|colour| is_new(colour) == of_new).map(|colour| u128::from(colour.serving)).sum()
    };
    let (new, old) = (sum(true), sum(false));
    if new == 0 || old == 0 {
        return None;
    }
    let (new_part, old_part) = parts(new, old, target.into(), wished.map(u128::from));
    // Within a side each task counts alike: a side's part in proportion, over one common denominator.
    let share = |colour: &Colour<'_>| match is_new(colour) {
        true => u128::from(colour.serving) * new_part * old,
        false => u128::from(colour.serving) * old_part * new,
    };
    Some(reduced(&colours.iter().map(share).collect::<Vec<u128>>()))
}

/// Of the old tasks as many get nothing more as new ones serve, but for those without which fewer than `target` would.
fn parts(new: u128, old: u128, target: u128, wished: Option<u128>) -> (u128, u128) {
    let new = wished.map_or(new, |wished| new.min(wished));
    let relieved = new.min((new + old).saturating_sub(target));
    (new, old.saturating_sub(relieved))
}

/// The same proportions in numbers as small as can be.
fn reduced(shares: &[u128]) -> Vec<u32> {
    let divisor = shares.iter().copied().fold(0, greatest_common_divisor).max(1);
    let most = shares.iter().copied().max().unwrap_or_default() / divisor;
    // More tasks than any cluster has: what is lost then is less than one of them.
    let excess = most / u128::from(u32::MAX) + 1;
    shares.iter().map(|share| u32::try_from(share / divisor / excess).unwrap_or(u32::MAX)).collect()
}

fn greatest_common_divisor(one: u128, other: u128) -> u128 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(started: u64, target: u32, new: Option<u32>) -> Deployment {
        Deployment { started: Some(Timestamp(started)), target: Some(target), new }
    }

    /// So many old and new tasks, the target, the part that is wished for, and the two shares.
    #[track_caller]
    fn check(old: u32, new: u32, target: u32, wished: Option<u32>, expected: Option<[u32; 2]>) {
        let (before, after) = (said(1, 99, None), said(2, target, wished));
        let colours = [(&before, old), (&after, new)];
        let colours = colours.map(|(said, serving)| Colour { said: Some(said), serving });
        assert_eq!(shares(&colours).as_deref(), expected.as_ref().map(<[u32; 2]>::as_slice), "{old} {new} of {target}");
    }

    #[test]
    fn the_new_colour_takes_over_task_by_task() {
        check(3, 0, 3, None, None);
        check(3, 1, 3, None, Some([2, 1]));
        check(2, 1, 3, None, Some([2, 1]));
        check(2, 2, 3, None, Some([1, 2]));
        check(1, 2, 3, None, Some([1, 2]));
        check(1, 3, 3, None, Some([0, 1]));
        check(0, 3, 3, None, None);
        // As long as too few serve, nobody is relieved.
        check(3, 1, 20, None, Some([3, 1]));
        // Never more at a time than have come.
        check(9, 1, 3, None, Some([8, 1]));
    }

    #[test]
    fn a_part_that_is_wished_for_is_not_passed() {
        check(10, 3, 10, Some(3), Some([7, 3]));
        check(7, 3, 10, Some(3), Some([7, 3]));
        check(7, 5, 10, Some(3), Some([7, 3]));
        // Scaling the old one back up makes it no newer.
        check(8, 3, 10, Some(3), Some([7, 3]));
    }

    #[test]
    fn who_is_new_is_said_by_times_alone() {
        let (old, new) = (Deployment { started: None, target: Some(5), new: None }, said(7, 2, None));
        let of = |colours: &[(Option<&Deployment>, u32)]| {
            let colours: Vec<_> = colours.iter().map(|&(said, serving)| Colour { said, serving }).collect();
            shares(&colours)
        };
        assert_eq!(of(&[(Some(&new), 1), (Some(&old), 2)]), Some(vec![1, 1]));
        assert_eq!(of(&[(None, 2), (Some(&new), 1)]), Some(vec![1, 1]), "an app without labels was there before");
        assert_eq!(of(&[(Some(&old), 2), (None, 1)]), None, "nobody says which is new");
        assert_eq!(of(&[(Some(&new), 2), (Some(&new), 1)]), None, "one colour, of which there are two versions");
        let silent = Deployment { started: Some(Timestamp(9)), target: None, new: None };
        assert_eq!(of(&[(Some(&silent), 2), (Some(&new), 1)]), None, "without a target each task counts alike");
        // What is left of an earlier deploy is old, too.
        assert_eq!(of(&[(Some(&old), 1), (Some(&said(5, 2, None)), 1), (Some(&new), 1)]), Some(vec![1, 1, 2]));
        assert_eq!(of(&[(Some(&old), u32::MAX), (Some(&new), u32::MAX)]), Some(vec![0, 1]));
    }
}
