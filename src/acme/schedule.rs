//! When a certificate is due. Pure: the present is an argument, and chance is drawn by whoever calls or comes from the
//! certificate itself, so that each look gives the same moment.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use super::folder::{Held, Record};
use super::wanted::Wanted;
use crate::config::acme::AcmeConfig;

/// Seconds since 1970.
pub type Seconds = i64;

/// A renewal comes up to so much of its time earlier: a thousand certificates of one day are not all renewed on one.
const SPREAD: f64 = 0.1;

/// The moment when an order for a certificate is due.
pub fn due(wanted: &Wanted, held: Option<&Held>, record: Option<&Record>, config: &AcmeConfig) -> Seconds {
    let known = record.filter(|record| record.directory == config.directory && record.hosts == wanted.hosts);
    // What another authority issued, or for other hosts, is no renewal's business; what nobody asked for is somebody's own
    // and as good as any.
    let is_ours = record.is_none_or(|record| record.directory == config.directory);
    let wish = match held.filter(|held| held.covers && is_ours) {
        Some(held) => return renewal(&wanted.name, held, config.renew_before).max(known.map_or(0, |known| known.next)),
        None => 0,
    };
    // Instances that share a folder and not their settings would order against each other.
    let changed =
        |record: &Record| record.tried.saturating_add(seconds(doubled(record.changes.saturating_add(1), config)));
    wish.max(known.map_or_else(|| record.map_or(0, changed), |known| known.next))
}

/// When a certificate is renewed.
fn renewal(name: &str, held: &Held, before: Option<Duration>) -> Seconds {
    let life = (held.ends - held.begins).max(0);
    let asked = before.map_or(life / 3, seconds);
    // Longer before than half of its life, every certificate would be due as soon as it is there.
    let before = asked.min(life / 2);
    let spread = f64_seconds(before) * SPREAD * chance(name, held);
    held.ends - before - rounded(spread)
}

/// From 0 to 1, the same each time for one certificate.
fn chance(name: &str, held: &Held) -> f64 {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((name, held.ends));
    f64::from(u32::try_from(hash >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

/// The pause after so many failures in a row: doubled each time, by chance up to a half shorter, and not shorter than what
/// the authority asks for.
pub fn pause(failures: u32, config: &AcmeConfig, told: Option<Duration>, random: &mut fastrand::Rng) -> Duration {
    doubled(failures, config).mul_f64(1.0 - random.f64() / 2.0).max(told.unwrap_or_default())
}

/// The pause for the first time, doubled each further time, up to the longest.
fn doubled(times: u32, config: &AcmeConfig) -> Duration {
    config.retry.saturating_mul(1 << times.saturating_sub(1).min(20)).min(config.max_retry.max(config.retry))
}

/// Whole seconds, rounded up: a pause is never shorter than asked for.
pub fn seconds(time: Duration) -> Seconds {
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    Seconds::try_from(whole).unwrap_or(Seconds::MAX)
}

fn f64_seconds(seconds: Seconds) -> f64 {
    Duration::from_secs(seconds.unsigned_abs()).as_secs_f64()
}

fn rounded(seconds: f64) -> Seconds {
    Duration::try_from_secs_f64(seconds).map_or(0, |time| Seconds::try_from(time.as_secs()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const DAY: Seconds = 86_400;

    fn wanted(hosts: &[&str]) -> Wanted {
        let hosts: Vec<Arc<str>> = hosts.iter().map(|host| (*host).into()).collect();
        Wanted { name: hosts[0].clone(), hosts, of_route: false }
    }

    fn config() -> AcmeConfig {
        AcmeConfig { directory: "https://one".into(), ..AcmeConfig::default() }
    }

    fn held(life: Seconds) -> Held {
        Held { begins: 1000 * DAY, ends: 1000 * DAY + life, covers: true }
    }

    fn record(config: &AcmeConfig, wanted: &Wanted, next: Seconds) -> Record {
        Record { directory: config.directory.clone(), hosts: wanted.hosts.clone(), next, ..Record::default() }
    }

    #[test]
    fn what_is_missing_or_for_others_is_due_at_once() {
        let (config, wanted) = (config(), wanted(&["a.test"]));
        assert_eq!(due(&wanted, None, None, &config), 0);
        assert_eq!(due(&wanted, Some(&Held { covers: false, ..held(90 * DAY) }), None, &config), 0);
    }

    #[test]
    fn a_change_is_tried_soon_and_a_quarrel_of_instances_ever_later() {
        let (config, wanted) = (config(), wanted(&["a.test"]));
        let mut elsewhere = Record { directory: "https://other".into(), tried: 1000, ..record(&config, &wanted, 7) };
        let at = |record: &Record| due(&wanted, Some(&held(90 * DAY)), Some(record), &config);
        assert_eq!(at(&elsewhere), 1060);
        for (changes, pause) in [(1, 120), (3, 480), (100, 6 * 3600)] {
            elsewhere.changes = changes;
            assert_eq!(at(&elsewhere), 1000 + pause);
        }
        // Fewer hosts than the certificate has are no reason.
        let more = Record { hosts: vec!["a.test".into(), "b.test".into()], ..record(&config, &wanted, 0) };
        assert_eq!(at(&more), at(&record(&config, &wanted, 0)));
    }

    #[test]
    fn a_third_of_its_life_before_its_end_and_spread() {
        let (config, wanted) = (config(), wanted(&["a.test"]));
        let held = held(90 * DAY);
        let at = due(&wanted, Some(&held), None, &config);
        assert!((held.ends - 33 * DAY..=held.ends - 30 * DAY).contains(&at), "{}", (held.ends - at) / DAY);
        assert_eq!(at, due(&wanted, Some(&held), None, &config));
    }

    #[test]
    fn no_setting_makes_a_certificate_due_when_it_is_new() {
        let config = AcmeConfig { renew_before: Some(Duration::from_secs(3650 * 86_400)), ..config() };
        for life in [0, 1, 10, 100, 90 * DAY] {
            let held = held(life);
            let at = due(&wanted(&["a.test"]), Some(&held), None, &config);
            assert!(at >= held.begins + life / 2 - life / 20 - 1, "{life}");
        }
    }

    #[test]
    fn no_order_comes_before_its_pause_is_over() {
        let (config, wanted) = (config(), wanted(&["a.test"]));
        let failed = record(&config, &wanted, 5000 * DAY);
        assert_eq!(due(&wanted, None, Some(&failed), &config), 5000 * DAY);
        // Other hosts are another order.
        assert_eq!(due(&self::wanted(&["a.test", "b.test"]), None, Some(&failed), &config), 60);
    }

    #[test]
    fn pauses_double_to_the_longest_and_obey_the_authority() {
        let (config, mut random) = (config(), fastrand::Rng::with_seed(7));
        for failures in 1..70 {
            let ceiling = Duration::from_secs(60 << (failures - 1).min(20)).min(config.max_retry);
            for _ in 0..20 {
                let pause = pause(failures, &config, None, &mut random);
                assert!(pause <= ceiling && pause >= ceiling / 2, "{failures}: {pause:?}");
            }
        }
        let told = Duration::from_secs(86_400);
        assert_eq!(pause(1, &config, Some(told), &mut random), told);
        assert_eq!(seconds(Duration::from_millis(1)), 1);
    }
}
