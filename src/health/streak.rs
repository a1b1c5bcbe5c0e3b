//! When checks change a verdict.
//!
//! Pure. The first success of a new endpoint counts at once; later it takes some in a row to change a verdict either
//! way, so that one lost packet takes nobody out and one lucky answer brings nobody back (HAProxy's rise and fall).

use crate::model::check::CheckState;

/// The verdict on one endpoint, and what speaks against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streak {
    state: CheckState,
    /// Checks in a row that contradict the state.
    against: u32,
}

impl Streak {
    /// Goes on from a verdict of before.
    pub fn from(state: CheckState) -> Self {
        Self { state, against: 0 }
    }

    /// The verdict.
    pub fn state(&self) -> CheckState {
        self.state
    }

    /// Whether the next check may change the verdict, or the first one is still to come.
    pub fn is_undecided(&self) -> bool {
        self.state == CheckState::Waiting || self.against > 0
    }

    /// Takes the outcome of a check.
    pub fn push(&mut self, succeeded: bool, rise: u32, fall: u32) {
        let (wanted, next) = match (self.state, succeeded) {
            (CheckState::Waiting, true) => (1, CheckState::Good),
            (CheckState::Bad, true) => (rise, CheckState::Good),
            (CheckState::Good, false) => (fall, CheckState::Bad),
            (CheckState::Waiting | CheckState::Bad, false) | (CheckState::Good, true) => {
                self.against = 0;
                return;
            }
        };
        self.against += 1;
        if self.against >= wanted {
            *self = Self::from(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(begin: CheckState, outcomes: &str, expected: CheckState) {
        let mut streak = Streak::from(begin);
        outcomes.chars().for_each(|outcome| streak.push(outcome == '+', 2, 3));
        assert_eq!(streak.state(), expected, "{begin:?} {outcomes}");
    }

    #[test]
    fn the_first_success_counts_at_once() {
        check(CheckState::Waiting, "", CheckState::Waiting);
        check(CheckState::Waiting, "-----", CheckState::Waiting);
        check(CheckState::Waiting, "--+", CheckState::Good);
    }

    #[test]
    fn afterwards_it_takes_some_in_a_row() {
        check(CheckState::Good, "--+--", CheckState::Good);
        check(CheckState::Good, "---", CheckState::Bad);
        check(CheckState::Bad, "+-+-", CheckState::Bad);
        check(CheckState::Bad, "++", CheckState::Good);
        check(CheckState::Bad, "++---++", CheckState::Good);
    }
}
