//! Which upstream server is asked, and how long it is waited for before another one is asked as well. Pure.

use std::time::Duration;

use smallvec::SmallVec;

/// Failures in a row after which a server is asked last.
const DOWN_AFTER: u32 = 2;

/// Refusals in a row after which a server is asked behind those that answer. A few may be the names' own fault.
const REFUSING_AFTER: u32 = 3;

/// How long a server that is down is left alone, doubling up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Before a server is known, and the bounds of what is waited for the others.
const UNKNOWN_WAIT: Duration = Duration::from_millis(400);
const SHORTEST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// One query in so many goes to a server that does not seem to be the fastest, lest it never gets a chance.
const EXPLORE: u32 = 32;

/// What is known of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// The smoothed time that it takes to answer (as TCP does it, RFC 6298).
    smoothed: Option<Duration>,
    deviation: Duration,
    failures: u32,
    down_until: Duration,
    /// Answers in a row that it cannot or will not answer.
    refusals: u32,
}

impl Health {
    /// It answered after `took`.
    pub(super) fn answered(&mut self, took: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(took);
                self.deviation = took / 2;
            }
            Some(smoothed) => {
                self.deviation = (self.deviation * 3 + smoothed.abs_diff(took)) / 4;
                self.smoothed = Some((smoothed * 7 + took) / 8);
            }
        }
        self.failures = 0;
        self.refusals = 0;
    }

    /// It said that it cannot or will not answer (SERVFAIL, REFUSED). It is there, but how fast it says no is not how fast
    /// it answers.
    pub(super) fn refused(&mut self) {
        self.failures = 0;
        self.refusals = self.refusals.saturating_add(1);
    }

    /// It did not answer, or could not be reached.
    pub(super) fn failed(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= DOWN_AFTER {
            let doublings = (self.failures - DOWN_AFTER).min(10);
            self.down_until = now + (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE);
        }
    }

    /// Whether it is asked in its turn.
    pub(super) fn is_up(&self, now: Duration) -> bool {
        !self.is_down() || self.down_until <= now
    }

    /// Whether it has failed too often since it last answered.
    pub(super) fn is_down(&self) -> bool {
        self.failures >= DOWN_AFTER
    }

    /// Whether it answers, but never with what was asked for.
    fn is_refusing(&self) -> bool {
        self.refusals >= REFUSING_AFTER
    }

    /// How long it may take before another server is asked as well.
    pub(super) fn wait(&self) -> Duration {
        match self.smoothed {
            None => UNKNOWN_WAIT,
            Some(smoothed) => (smoothed + 4 * self.deviation).clamp(SHORTEST_WAIT, LONGEST_WAIT),
        }
    }

    /// The smoothed time that it takes, if it ever answered.
    #[cfg(test)]
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }
}

/// The order in which servers are asked: those that are up by their speed, then those that refuse, then the others, which
/// someone has to ask if nobody else answers.
pub(super) fn order(servers: &[Health], now: Duration, random: &mut fastrand::Rng) -> SmallVec<[usize; 8]> {
    let mut order: SmallVec<[usize; 8]> = (0..servers.len()).collect();
    // Servers that nobody has asked yet come before the slow ones, in any order among themselves.
    random.shuffle(&mut order);
    order.sort_by_key(|at| {
        let server = &servers[*at];
        (!server.is_up(now), server.is_refusing(), server.smoothed.unwrap_or(SHORTEST_WAIT))
    });
    let up = servers.iter().filter(|server| server.is_up(now)).count();
    if up > 1 && random.u32(..EXPLORE) == 0 {
        order.swap(0, random.usize(1..up));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn times_are_smoothed() {
        let mut health = Health::default();
        assert_eq!(health.wait(), UNKNOWN_WAIT);
        health.answered(milliseconds(100));
        health.answered(milliseconds(20));
        assert_eq!(health.smoothed(), Some(milliseconds(90)));
        for _ in 0..100 {
            health.answered(milliseconds(10));
        }
        assert!(health.wait() <= SHORTEST_WAIT && health.smoothed().unwrap() < milliseconds(11));
    }

    #[test]
    fn a_server_that_is_down_is_asked_last_and_tried_again_later() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut servers = [Health::default(), Health::default()];
        servers[0].answered(milliseconds(1));
        servers[1].answered(milliseconds(30));
        let mut first = |servers: &[Health; 2], now| {
            let firsts = (0..320).filter(|_| order(servers, now, &mut random)[0] == 0).count();
            firsts > 200
        };
        assert!(first(&servers, Duration::ZERO));
        servers[0].failed(Duration::ZERO);
        assert!(first(&servers, Duration::ZERO), "one loss is no failure");
        servers[0].failed(Duration::ZERO);
        assert!(!first(&servers, milliseconds(900)));
        assert!(first(&servers, milliseconds(1000)));
        servers[0].failed(milliseconds(1000));
        assert!(!first(&servers, milliseconds(2900)));
        assert!(first(&servers, milliseconds(3000)));
        for _ in 0..100 {
            servers[0].failed(milliseconds(3000));
        }
        assert!(servers[0].is_up(milliseconds(33_000)), "the pause is bounded");
        servers[0].answered(milliseconds(1));
        assert!(first(&servers, milliseconds(3001)));
    }

    #[test]
    fn a_server_that_only_refuses_is_asked_behind_those_that_answer() {
        let mut random = fastrand::Rng::with_seed(3);
        // The second is slow, the third is down.
        let mut servers = [Health::default(), Health::default(), Health::default()];
        servers[0].answered(milliseconds(1));
        servers[1].answered(milliseconds(300));
        servers[2].failed(Duration::ZERO);
        servers[2].failed(Duration::ZERO);
        let mut firsts = |servers: &[Health; 3]| {
            let orders: Vec<_> = (0..320).map(|_| order(servers, Duration::ZERO, &mut random)).collect();
            assert!(orders.iter().all(|order| order[2] == 2), "who is down comes last");
            orders.iter().filter(|order| order[0] == 0).count()
        };
        servers[0].refused();
        servers[0].refused();
        assert!(firsts(&servers) > 200, "names may be at fault");
        servers[0].refused();
        let chances = firsts(&servers);
        assert!((1..60).contains(&chances), "it gets a chance at times, lest it stays behind for ever: {chances}");
        servers[0].answered(milliseconds(1));
        assert!(firsts(&servers) > 200);
        // It says no, but it is there.
        servers[0].failed(Duration::ZERO);
        servers[0].refused();
        servers[0].failed(Duration::ZERO);
        assert!(servers[0].is_up(Duration::ZERO));
    }

    #[test]
    fn how_fast_a_server_refuses_is_not_how_fast_it_answers() {
        let mut health = Health::default();
        health.refused();
        assert_eq!(health.smoothed(), None);
        health.answered(milliseconds(80));
        health.refused();
        assert_eq!(health.smoothed(), Some(milliseconds(80)));
    }

    #[test]
    fn others_get_a_chance() {
        let mut random = fastrand::Rng::with_seed(2);
        let mut servers = [Health::default(), Health::default()];
        servers[0].answered(milliseconds(1));
        servers[1].answered(milliseconds(300));
        let seconds = (0..3200).filter(|_| order(&servers, Duration::ZERO, &mut random)[0] == 1).count();
        assert!((20..300).contains(&seconds), "{seconds}");
    }
}
