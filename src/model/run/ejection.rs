//! Whether an endpoint is spared because it failed.
//!
//! A spared endpoint gets nothing for a while, then exactly one request as a probe: if that succeeds it is back, gently,
//! else the while doubles (linkerd's breaker with probation). State belongs to the endpoint, not to a route or a table;
//! all workers share it. What fails is decided elsewhere.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Moment;

/// A probe without an outcome for so long is forgotten: another request may try.
const PROBE_PATIENCE: Duration = Duration::from_secs(60);
/// After this while of waiting for a request that could be repeated, any request may be the probe.
const PROBE_OVERDUE: Duration = Duration::from_secs(10);

/// What an endpoint is to a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It gets requests.
    Open,
    /// It may have one, as a probe.
    Probe,
    /// It is spared.
    Spared,
}

/// Whether an endpoint is spared; all workers share it. Written rarely.
#[derive(Debug, Default)]
pub struct Ejection {
    /// Until when it is spared, and how it came to that: see [`State`].
    state: AtomicU64,
    /// When it was last taken back; what was measured before counts no more. Zero: never.
    restored: AtomicU32,
}

/// The parts of the packed state: 32 bits of time, 32 bits of the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// Spared until then, or, with `probing`, a probe is under way since then.
    at: Moment,
    /// How often in a row; zero: not spared.
    times: u8,
    probing: bool,
}

impl State {
    fn unpack(packed: u64) -> Self {
        let [_, _, flag, times, at @ ..] = packed.to_be_bytes();
        Self { at: Moment(u32::from_be_bytes(at)), times, probing: flag != 0 }
    }

    fn pack(self) -> u64 {
        let [a, b, c, d] = self.at.0.to_be_bytes();
        u64::from_be_bytes([0, 0, self.probing.into(), self.times, a, b, c, d])
    }
}

impl Ejection {
    /// What the endpoint is at `now`, to a request that could be repeated elsewhere or not.
    pub fn admission(&self, now: Moment, is_repeatable: bool) -> Admission {
        let packed = self.state.load(Relaxed);
        // The common case costs one load.
        if packed == 0 {
            return Admission::Open;
        }
        let state = State::unpack(packed);
        let waited = now.since(state.at);
        let due = match (state.probing, is_repeatable) {
            (true, _) => waited.is_some_and(|waited| waited >= PROBE_PATIENCE),
            (false, true) => waited.is_some(),
            (false, false) => waited.is_some_and(|waited| waited >= PROBE_OVERDUE),
        };
        if due { Admission::Probe } else { Admission::Spared }
    }

    /// Takes the one probe; `false` if somebody else has.
    pub fn take_probe(&self, now: Moment) -> bool {
        let packed = self.state.load(Relaxed);
        let state = State::unpack(packed);
        let taken = State { at: now, probing: true, ..state };
        packed != 0 && self.state.compare_exchange(packed, taken.pack(), Relaxed, Relaxed).is_ok()
    }

    /// The probe had no outcome: another request may be it.
    pub fn return_probe(&self, now: Moment) {
        let state = State::unpack(self.state.load(Relaxed));
        if state.times > 0 {
            self.state.store(State { at: now, probing: false, ..state }.pack(), Relaxed);
        }
    }

    /// Spares the endpoint, the first time for `shortest`, then for twice as long each time up to `longest`; the time
    /// is drawn from the upper half of that. `random` is from 0 to 1.
    pub fn eject(&self, (shortest, longest): (Duration, Duration), now: Moment, random: f64) {
        let times = State::unpack(self.state.load(Relaxed)).times.saturating_add(1);
        let doubled = shortest.saturating_mul(1 << u32::from(times - 1).min(16)).min(longest);
        self.spare(doubled, times, now, random);
    }

    /// Spares the endpoint for `longest` at most, drawn from the upper half of that. If the probe then fails, the whiles of
    /// [`Ejection::eject`] follow.
    pub fn eject_for(&self, longest: Duration, now: Moment, random: f64) {
        self.spare(longest, 1, now, random);
    }

    fn spare(&self, longest: Duration, times: u8, now: Moment, random: f64) {
        let time = longest.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0));
        self.state.store(State { at: now.plus(time), times, probing: false }.pack(), Relaxed);
    }

    /// Takes the endpoint back.
    pub fn restore(&self, now: Moment) {
        self.restored.store(now.0.max(1), Relaxed);
        self.state.store(0, Relaxed);
    }

    /// Whether it is spared or on probation.
    pub fn is_ejected(&self) -> bool {
        self.state.load(Relaxed) != 0
    }

    /// When it was last taken back; the beginning of time if never.
    pub fn restored(&self) -> Moment {
        Moment(self.restored.load(Relaxed))
    }

    /// How often in a row it was spared.
    pub fn times(&self) -> u8 {
        State::unpack(self.state.load(Relaxed)).times
    }

    /// Goes on with what another process knew: spared so often in a row, and for so long still.
    pub fn go_on(&self, times: u8, left: Duration, now: Moment) {
        let state = State { at: now.plus(left), times, probing: false };
        self.state.store(if times == 0 { 0 } else { state.pack() }, Relaxed);
    }

    /// How long it is still spared, if it is; zero on probation.
    pub fn left(&self, now: Moment) -> Option<Duration> {
        let state = State::unpack(self.state.load(Relaxed));
        (state.times > 0).then(|| if state.probing { Duration::ZERO } else { state.at.since(now).unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

    fn at(seconds: u32) -> Moment {
        Moment(1_000_000 + seconds * 1000)
    }

    #[test]
    fn an_ejected_endpoint_has_one_probe_and_comes_back() {
        let ejection = Ejection::default();
        assert_eq!(ejection.admission(at(0), true), Admission::Open);
        ejection.eject(TIMES, at(0), 1.0);
        assert_eq!(ejection.admission(at(0), true), Admission::Spared);
        assert_eq!(ejection.left(at(0)), Some(Duration::from_secs(1)));
        assert_eq!(ejection.admission(at(1), true), Admission::Probe);
        assert_eq!(ejection.admission(at(1), false), Admission::Spared, "it could not be repeated");
        assert_eq!(ejection.admission(at(11), false), Admission::Probe, "nothing else came for long");
        assert!(ejection.take_probe(at(1)));
        assert_eq!(ejection.admission(at(2), true), Admission::Spared, "the probe is under way");
        assert_eq!(ejection.admission(at(62), true), Admission::Probe, "the probe is lost");
        ejection.return_probe(at(3));
        assert_eq!(ejection.admission(at(3), true), Admission::Probe);
        ejection.restore(at(4));
        assert_eq!((ejection.admission(at(4), true), ejection.restored()), (Admission::Open, at(4)));
    }

    #[test]
    fn a_while_that_was_chosen_is_followed_by_those_of_failed_probes() {
        let ejection = Ejection::default();
        ejection.eject_for(Duration::from_secs(60), at(0), 0.0);
        assert_eq!(ejection.left(at(0)), Some(Duration::from_secs(30)));
        assert!(ejection.admission(at(30), true) == Admission::Probe && ejection.take_probe(at(30)));
        ejection.eject(TIMES, at(30), 1.0);
        assert_eq!(ejection.left(at(30)), Some(Duration::from_secs(2)));
    }

    #[test]
    fn another_process_goes_on_where_this_one_ends() {
        let (one, other) = (Ejection::default(), Ejection::default());
        one.eject(TIMES, at(0), 1.0);
        one.eject(TIMES, at(0), 1.0);
        other.go_on(one.times(), one.left(at(1)).unwrap(), at(5));
        assert_eq!((other.times(), other.left(at(5))), (2, Some(Duration::from_secs(1))));
        assert_eq!(other.admission(at(6), true), Admission::Probe);
        other.go_on(0, Duration::ZERO, at(6));
        assert!(!other.is_ejected());
    }

    #[test]
    fn the_while_doubles_to_its_bound() {
        let ejection = Ejection::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            ejection.eject(TIMES, at(0), 1.0);
            assert_eq!(ejection.left(at(0)), Some(Duration::from_secs(seconds)));
        }
        ejection.eject(TIMES, at(0), 0.0);
        assert_eq!(ejection.left(at(0)), Some(Duration::from_secs(30)));
    }
}
