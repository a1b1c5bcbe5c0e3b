//! How many requests of a service may be under way, found out from how long they take.
//!
//! Netflix's `Gradient2Limit` (Netflix/concurrency-limits): the answers of a moment are compared with those of long ago.
//! While both take as long, the limit grows by a little; when the present ones take more than half as long again, it
//! shrinks by as much as they are slower. No probing phase with few requests is needed, unlike Envoy's `gradient`
//! controller. The limit does not grow while it is not used, and the memory of better times fades when they are long
//! over. Each worker finds its own for each service. Pure.

use std::time::Duration;

use crate::config::checked::AdaptiveConfig;
use crate::model::run::Moment;

/// The slower the present answers may be, before the limit shrinks.
const TOLERANCE: f64 = 1.5;
/// Requests that may wait at the endpoints: what the limit grows by.
const QUEUE: f64 = 4.0;
/// How much of a new limit counts at once.
const SMOOTHING: f64 = 0.2;
/// The long average is one of so many moments, ten minutes where requests never cease; the first ones are averaged
/// plainly.
const LONG: f64 = 6000.0;
const WARM_UP: u32 = 10;
/// A moment: at least so long, and so many answers.
const MOMENT: Duration = Duration::from_millis(100);
const ANSWERS: u32 = 10;

/// One worker's limit for one service.
#[derive(Debug, Default)]
pub struct Gradient {
    /// Zero: not begun.
    limit: f64,
    /// Seconds.
    long: f64,
    moments: u32,
    // The present moment.
    begun: Option<Moment>,
    sum: f64,
    answers: u32,
    most_asking: u32,
}

impl Gradient {
    /// Requests that may be under way now.
    pub fn limit(&self, config: &AdaptiveConfig) -> u32 {
        let limit = self.limit.clamp(f64::from(config.least), f64::from(config.most.max(config.least)));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two numbers of this type")]
        let limit = limit as u32;
        limit
    }

    /// A good answer began after so long, with so many requests under way.
    pub fn observe(&mut self, latency: Duration, asking: u32, now: Moment, config: &AdaptiveConfig) {
        let begun = *self.begun.get_or_insert(now);
        self.sum += latency.as_secs_f64();
        self.answers += 1;
        self.most_asking = self.most_asking.max(asking);
        if self.answers < ANSWERS || now.since(begun).is_none_or(|length| length < MOMENT) {
            return;
        }
        let short = (self.sum / f64::from(self.answers)).max(1e-6);
        let most_asking = self.most_asking;
        (self.begun, self.sum, self.answers, self.most_asking) = (None, 0.0, 0, 0);
        self.remember(short);
        self.change(short, most_asking, config);
    }

    fn remember(&mut self, short: f64) {
        self.moments = self.moments.saturating_add(1);
        let factor = if self.moments <= WARM_UP { 1.0 / f64::from(self.moments) } else { 2.0 / (LONG + 1.0) };
        self.long += (short - self.long) * factor;
        // After a bad time that was long the average would need as long to be right again.
        if self.long / short > 2.0 {
            self.long *= 0.95;
        }
    }

    fn change(&mut self, short: f64, most_asking: u32, config: &AdaptiveConfig) {
        let limit = f64::from(self.limit(config));
        if f64::from(most_asking) < limit / 2.0 {
            return;
        }
        let gradient = (TOLERANCE * self.long / short).clamp(0.5, 1.0);
        let wanted = limit * gradient + QUEUE;
        let current = if self.limit > 0.0 { self.limit } else { limit };
        let next = current * (1.0 - SMOOTHING) + wanted * SMOOTHING;
        self.limit = next.clamp(f64::from(config.least), f64::from(config.most.max(config.least)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: AdaptiveConfig = AdaptiveConfig { enabled: true, least: 20, most: 200 };

    /// Moments of ten answers with this latency each, the limit in use.
    fn moments(gradient: &mut Gradient, count: u32, latency: Duration, at: &mut u32) {
        for _ in 0..count {
            for answer in 0..ANSWERS {
                let now = Moment(*at + if answer + 1 == ANSWERS { 100 } else { 0 });
                let asking = gradient.limit(&CONFIG);
                gradient.observe(latency, asking, now, &CONFIG);
            }
            *at += 101;
        }
    }

    #[test]
    fn the_limit_grows_while_answers_are_quick_and_shrinks_when_they_are_not() {
        let (mut gradient, mut at) = (Gradient::default(), 1000);
        assert_eq!(gradient.limit(&CONFIG), 20);
        moments(&mut gradient, 50, Duration::from_millis(10), &mut at);
        let grown = gradient.limit(&CONFIG);
        assert!((50..=65).contains(&grown), "by 0.8 a moment: {grown}");
        // Slower, but not by half: it goes on growing.
        moments(&mut gradient, 10, Duration::from_millis(14), &mut at);
        assert!(gradient.limit(&CONFIG) > grown);
        moments(&mut gradient, 30, Duration::from_millis(60), &mut at);
        assert!(gradient.limit(&CONFIG) < 30, "{}", gradient.limit(&CONFIG));
        moments(&mut gradient, 1000, Duration::from_millis(10), &mut at);
        assert_eq!(gradient.limit(&CONFIG), 200, "it recovers, up to its bound");
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        let mut gradient = Gradient::default();
        for number in 0..1000 {
            gradient.observe(Duration::from_millis(1), 9, Moment(1000 + number * 20), &CONFIG);
        }
        assert_eq!(gradient.limit(&CONFIG), 20);
    }
}
