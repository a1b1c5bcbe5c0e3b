//! Telling secondaries that a zone has changed (NOTIFY, RFC 1996), with repeats until each has heard it.
//!
//! A few attempts in a row, for what gets lost; and for a secondary that was away all the while the same again, as often as one
//! that hears nothing would look by itself (the SOA's retry). Bounded: one conversation for each zone and secondary.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, Opts, Registry};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::checked::TsigKey;
use crate::dns::tsig::Session;
use crate::dns::wire::{CLASS_IN, flags, read_u16, record_type};
use crate::table::Table;
use crate::table::handle::TableHandle;

/// Changes that come within this time are told together.
const TOGETHER: Duration = Duration::from_millis(100);

/// How long the first answer is waited for; doubles with each attempt.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// Attempts in a row (RFC 1996 §3.6 gives five as a reasonable number).
const ATTEMPTS: u32 = 5;

/// The least and the most between two such rows; between them it is the SOA's retry, a quarter more or less, so that those who
/// share a secondary do not tell it together.
const LEAST_PAUSE: Duration = Duration::from_secs(60);
const MOST_PAUSE: Duration = Duration::from_secs(3600);

/// The response code of who cannot answer now (RFC 1035 section 4.1.1).
const SERVFAIL: u16 = 2;

/// The opcode of NOTIFY.
const NOTIFY: u16 = 4;

/// What telling counts.
#[derive(Clone, Debug)]
pub struct NotifyMetrics(IntCounterVec);

impl NotifyMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new(
            "pointsman_dns_notifies_total",
            "Changes of zones told to secondaries: heard, answered with an error, not answered.",
        );
        let told = IntCounterVec::new(opts, &["result"])?;
        for outcome in [Outcome::Heard, Outcome::Refused, Outcome::Unanswered] {
            told.with_label_values(&[outcome.as_str()]);
        }
        registry.register(Box::new(told.clone()))?;
        Ok(Self(told))
    }
}

/// How telling one secondary of one change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Heard,
    Refused,
    /// Nothing came, or that it cannot now.
    Unanswered,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Heard => "heard",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
        }
    }
}

/// Whom something is told of what.
type Subject = (Arc<str>, SocketAddr);

/// What each secondary was told last, and what it is being told.
#[derive(Default)]
struct Told {
    said: HashMap<Subject, Said>,
    under_way: HashSet<Subject>,
}

/// What a secondary was told last.
struct Said {
    serial: u32,
    /// It did not answer, and is told again then.
    again: Option<Instant>,
}

/// Who is to be told now, and when to look again though nothing changes.
#[derive(Default)]
struct Due {
    now: Vec<(Subject, Option<TsigKey>)>,
    next: Option<Instant>,
}

/// Tells secondaries of each new version of each zone, until `stop`.
pub async fn follow(handle: Arc<TableHandle>, metrics: NotifyMetrics, stop: CancellationToken) {
    let mut generations = handle.watch();
    let mut told = Told::default();
    let mut telling = JoinSet::new();
    let mut next = None;
    loop {
        // Cancel safe: all only wait, and what is being told is owned by the set.
        tokio::select! {
            () = stop.cancelled() => return,
            () = at(next) => {}
            changed = generations.changed() => {
                if changed.is_err() {
                    return;
                }
                sleep(TOGETHER).await;
            }
            Some(ended) = telling.join_next() => {
                if let Ok((subject, outcome)) = ended {
                    end(&mut told, &subject, outcome, &metrics, pause(&handle.load()));
                }
            }
        }
        let due = due(&mut told, &handle.load(), Instant::now());
        next = due.next;
        for (subject, keys) in due.now {
            telling.spawn(async move {
                let outcome = tell(&subject, keys).await;
                (subject, outcome)
            });
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// How long after it did not answer a secondary is told again.
fn pause(table: &Table) -> Duration {
    let retry = Duration::from_secs(table.config.dns.soa_retry_seconds.into());
    retry.clamp(LEAST_PAUSE, MOST_PAUSE).mul_f64(0.75 + fastrand::f64() / 2.0)
}

fn end(told: &mut Told, subject: &Subject, outcome: Outcome, metrics: &NotifyMetrics, pause: Duration) {
    metrics.0.with_label_values(&[outcome.as_str()]).inc();
    if outcome != Outcome::Heard {
        let (zone, secondary) = subject;
        tracing::warn!(%zone, %secondary, outcome = outcome.as_str(), "a secondary DNS server did not hear of a change");
    }
    told.under_way.remove(subject);
    if outcome == Outcome::Unanswered
        && let Some(said) = told.said.get_mut(subject)
    {
        said.again = Some(Instant::now() + pause);
    }
}

/// Whom there is something to tell: each that has not heard of a version, and is not being told of one. Who is no secondary
/// any more is forgotten.
fn due(told: &mut Told, table: &Table, now: Instant) -> Due {
    let transfer = &table.config.dns.transfer;
    if transfer.notify.is_empty() {
        told.said.clear();
        return Due::default();
    }
    let zones: HashSet<&Arc<str>> = table.names.zones().map(|zone| &zone.name).collect();
    told.said.retain(|(zone, secondary), _| zones.contains(zone) && transfer.notify.contains(secondary));
    let mut due = Due::default();
    for zone in table.names.ready_zones() {
        for secondary in &transfer.notify {
            let subject = (zone.name.clone(), *secondary);
            if told.under_way.contains(&subject) {
                continue;
            }
            if let Some(said) = told.said.get(&subject).filter(|said| said.serial == zone.serial) {
                let Some(again) = said.again else { continue };
                if again > now {
                    due.next = Some(due.next.map_or(again, |next| next.min(again)));
                    continue;
                }
            }
            told.said.insert(subject.clone(), Said { serial: zone.serial, again: None });
            told.under_way.insert(subject.clone());
            due.now.push((subject, transfer.keys.first().cloned()));
        }
    }
    due
}

async fn tell((zone, secondary): &Subject, key: Option<TsigKey>) -> Outcome {
    let any: SocketAddr = match secondary {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let Ok(socket) = UdpSocket::bind(any).await else { return Outcome::Unanswered };
    if socket.connect(secondary).await.is_err() {
        return Outcome::Unanswered;
    }
    let id = fastrand::u16(..);
    let message = notification(id, zone, key);
    for attempt in 0..ATTEMPTS {
        let _ = socket.send(&message).await;
        if let Ok(rcode) = timeout(FIRST_WAIT * 2u32.pow(attempt), answer(&socket, id)).await {
            return match rcode {
                0 => Outcome::Heard,
                // It knows the zone and cannot take it now, as while it starts: no answer, as far as the change goes.
                SERVFAIL => Outcome::Unanswered,
                _ => Outcome::Refused,
            };
        }
    }
    Outcome::Unanswered
}

/// RFC 1996 §3.7: a question for the zone's SOA, and that the sender knows.
fn notification(id: u16, zone: &str, key: Option<TsigKey>) -> Vec<u8> {
    let word = NOTIFY << flags::OPCODE_SHIFT | flags::AA;
    let mut message: Vec<u8> = [id, word, 1, 0, 0, 0].iter().flat_map(|word| word.to_be_bytes()).collect();
    for label in zone.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).unwrap_or_default());
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend(record_type::SOA.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    if let Some(key) = key {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        Session::new(key).sign(now, 0, &mut message);
    }
    message
}

/// Waits for the answer to a notification; its response code. Not believed for anything but an end to the repeats.
async fn answer(socket: &UdpSocket, id: u16) -> u16 {
    let mut buffer = [0; 512];
    loop {
        let Ok(length) = socket.recv(&mut buffer).await else {
            // The port is closed for now: the secondary may be about to start.
            sleep(FIRST_WAIT).await;
            continue;
        };
        let (Some(theirs), Some(word)) = (read_u16(&buffer[..length], 0), read_u16(&buffer[..length], 2)) else {
            continue;
        };
        if theirs == id && word & flags::QR != 0 && word & flags::OPCODE_MASK == NOTIFY << flags::OPCODE_SHIFT {
            return word & 0xf;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Socket;

    use super::*;
    use crate::cluster::state::ClusterState;
    use crate::config::Config;
    use crate::model::time::Timestamp;
    use crate::table::history::VersionRecord;
    use crate::table::writer::Writer;

    /// A secondary that counts what it is told, and answers where it should.
    struct Secondary {
        socket: Socket,
        heard: usize,
        answers: bool,
    }

    impl Secondary {
        fn listen(&mut self) {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
                self.heard += 1;
                if self.answers {
                    buffer[2] |= 0x80;
                    self.socket.send_to(&buffer[..length], from).unwrap();
                }
            }
        }

        /// What it heard in so many seconds.
        async fn heard_in(&mut self, seconds: u64) -> usize {
            let before = self.heard;
            for _ in 0..seconds * 2 {
                sleep(Duration::from_millis(500)).await;
                self.listen();
            }
            self.heard - before
        }
    }

    /// A table with one zone that is there without any source.
    fn table(config: Config) -> Arc<Table> {
        let now = Timestamp(1_700_000_000_000);
        Writer::new(ClusterState::new(Arc::new(config), now), 1, now).first(now)
    }

    fn config(notify: Vec<SocketAddr>, retry: u32) -> Config {
        let mut config = Config::default();
        config.dns.reverse = vec!["10.0.0.0/8".parse().unwrap()];
        config.dns.transfer.notify = notify;
        config.dns.soa_retry_seconds = retry;
        config
    }

    #[tokio::test(start_paused = true)]
    async fn a_secondary_that_is_silent_at_first_is_told_later() {
        let socket = Socket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut secondary = Secondary { heard: 0, answers: false, socket };
        let address = secondary.socket.local_addr().unwrap();
        let first = config(vec![address], 120);
        let handle = Arc::new(TableHandle::new(Table::empty(Arc::new(first.clone())), 1));
        let metrics = NotifyMetrics::register(&Registry::new()).unwrap();
        let counted = |outcome: Outcome| metrics.0.with_label_values(&[outcome.as_str()]).get();
        let stop = CancellationToken::new();
        let following = tokio::spawn(follow(handle.clone(), metrics.clone(), stop.clone()));
        tokio::task::yield_now().await;
        handle.publish(table(first), VersionRecord::default());

        // Five times within 62 seconds.
        assert_eq!(secondary.heard_in(70).await, 5);
        assert_eq!((counted(Outcome::Unanswered), counted(Outcome::Heard)), (1, 0));
        // Then a pause of 90 to 150, and the same again.
        assert_eq!(secondary.heard_in(80).await, 0);
        assert_eq!(secondary.heard_in(140).await, 5);
        assert_eq!(counted(Outcome::Unanswered), 2);
        secondary.answers = true;
        assert_eq!(secondary.heard_in(150).await, 1);
        assert_eq!((counted(Outcome::Unanswered), counted(Outcome::Heard)), (2, 1));
        // It knows, and is let alone.
        assert_eq!(secondary.heard_in(7200).await, 0);
        stop.cancel();
        following.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_no_secondary_any_more_is_not_told_again() {
        let socket = Socket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut secondary = Secondary { heard: 0, answers: false, socket };
        let address = secondary.socket.local_addr().unwrap();
        let mut told = Told::default();
        let table_of = |notify| table(config(notify, 1));
        let metrics = NotifyMetrics::register(&Registry::new()).unwrap();
        let with = table_of(vec![address]);
        let begun = due(&mut told, &with, Instant::now());
        assert_eq!((begun.now.len(), begun.next), (1, None));
        assert!(due(&mut told, &with, Instant::now()).now.is_empty(), "it is being told");
        for _ in 0..100 {
            let pause = pause(&with);
            assert!(pause >= LEAST_PAUSE * 3 / 4 && pause <= LEAST_PAUSE * 5 / 4, "{pause:?}");
        }
        end(&mut told, &begun.now[0].0, Outcome::Unanswered, &metrics, LEAST_PAUSE);
        let waiting = due(&mut told, &with, Instant::now());
        assert!(waiting.now.is_empty() && waiting.next.is_some());
        // Without it there is nothing to wait for, and nothing is kept.
        let without = due(&mut told, &table_of(Vec::new()), Instant::now());
        assert!(without.now.is_empty() && without.next.is_none() && told.said.is_empty());
        // One that refuses has answered.
        let again = due(&mut told, &with, Instant::now());
        end(&mut told, &again.now[0].0, Outcome::Refused, &metrics, LEAST_PAUSE);
        let refused = due(&mut told, &with, Instant::now() + MOST_PAUSE * 2);
        assert!(refused.now.is_empty() && refused.next.is_none());
        secondary.listen();
        assert_eq!(secondary.heard, 0, "nobody was told here");
    }
}
