//! How many requests of a service may be sent again.
//!
//! Both forms that are in use, the stricter one counts: of the last ten seconds' requests a share, and some a second
//! whatever the load (Finagle, tower); of the requests under way a share, and three (Envoy). A service that fails as a
//! whole then gets little more than its load, not a multiple. Each worker keeps its part, for each service its own
//! (linkerd#1185). Pure.
//!
//! The two forms say no in different ways. When an endpoint falls over, all that it had in flight fails at one moment:
//! more than may be repeated at a time, but little beside what the seconds earn. Such repeats have to wait for one
//! another ([`Grant::Busy`]); what is spent is spent ([`Grant::Spent`]). A repeat that is followed by another gives it its
//! place: else those whose endpoints hang would wait for one another for ever.
//!
//! Invariant: when a repeat begins, those of its second and of the nine before it are no more than the share of these seconds'
//! requests and the reserve of ten seconds.

use std::time::Duration;

use crate::model::run::Moment;

/// Milliseconds of one slot, and slots: ten seconds.
const SLOT: u32 = 1000;
const SLOTS: u32 = 10;
/// Repeats a second that are always allowed, all workers together; at each worker one in ten seconds is, however many there are.
const RESERVE_PER_SECOND: f64 = 10.0;
/// Repeats under way at a time that are always allowed.
const FEW: u32 = 3;
/// A moment that lies less than this before another is earlier; moments wrap.
const EARLIER: Duration = Duration::from_secs(86_400);

/// What becomes of a wish for a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It may begin.
    Granted,
    /// Too many are under way: it may begin when one of them is over.
    Busy,
    /// The last seconds' share is used up.
    Spent,
}

/// One worker's budget for one service.
#[derive(Debug, Default)]
pub struct Budget {
    /// What was earned less what was spent, of each second.
    slots: [f64; SLOTS as usize],
    latest: Moment,
    under_way: u32,
}

impl Budget {
    /// A request that is no repeat: earns its share.
    pub fn deposit(&mut self, ratio: f64, now: Moment) {
        self.move_to(now);
        *self.slot() += ratio;
    }

    /// Asks for a repeat, with so many requests of the service under way at this worker, one of so many workers.
    pub fn withdraw(&mut self, ratio: f64, in_flight: u32, workers: usize, now: Moment) -> Grant {
        self.move_to(now);
        let most = f64::from(FEW).max(ratio * f64::from(in_flight));
        if self.is_spent(workers) {
            return Grant::Spent;
        }
        if f64::from(self.under_way) >= most {
            return Grant::Busy;
        }
        *self.slot() -= 1.0;
        self.under_way += 1;
        Grant::Granted
    }

    /// Asks for a repeat in the place of one that is under way; whether it may begin.
    pub fn withdraw_again(&mut self, workers: usize, now: Moment) -> bool {
        self.move_to(now);
        let is_granted = !self.is_spent(workers);
        if is_granted {
            *self.slot() -= 1.0;
        }
        is_granted
    }

    fn is_spent(&self, workers: usize) -> bool {
        // A worker's part of it is one repeat at least: else a service that was quiet would have none on a large machine.
        let reserve = (RESERVE_PER_SECOND * f64::from(SLOTS) / workers.max(1) as f64).max(1.0);
        self.slots.iter().sum::<f64>() + reserve < 1.0
    }

    /// A repeat is over.
    pub fn finished(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// The second that is under way.
    fn slot(&mut self) -> &mut f64 {
        &mut self.slots[(self.latest.0 / SLOT % SLOTS) as usize]
    }

    /// Forgets what is too long ago. A request may be told of when it is answered, after others that began later: time goes
    /// back for nobody, or what they have spent would be forgotten.
    fn move_to(&mut self, now: Moment) {
        let behind = self.latest.since(now).unwrap_or_default();
        if self.latest != Moment::default() && !behind.is_zero() && behind < EARLIER {
            return;
        }
        let slot = now.0 / SLOT;
        let passed = slot.wrapping_sub(self.latest.0 / SLOT);
        if passed >= SLOTS {
            self.slots = <[f64; SLOTS as usize]>::default();
        } else {
            (0..passed).for_each(|step| self.slots[((slot - step) % SLOTS) as usize] = 0.0);
        }
        self.latest = now;
    }
}
