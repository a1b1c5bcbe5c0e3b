//! Telling secondaries that a zone has changed (NOTIFY, RFC 1996), with repeats until each has heard it.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, Opts, Registry};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
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

/// Attempts for one change (RFC 1996 §3.6 gives five as a reasonable number).
const ATTEMPTS: u32 = 5;

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
    serials: HashMap<Subject, u32>,
    under_way: HashSet<Subject>,
}

/// Tells secondaries of each new version of each zone, until `stop`.
pub async fn follow(handle: Arc<TableHandle>, metrics: NotifyMetrics, stop: CancellationToken) {
    let mut generations = handle.watch();
    let mut told = Told::default();
    let mut telling = JoinSet::new();
    loop {
        // Cancel safe: all only wait, and what is being told is owned by the set.
        tokio::select! {
            () = stop.cancelled() => return,
            changed = generations.changed() => {
                if changed.is_err() {
                    return;
                }
                sleep(TOGETHER).await;
            }
            Some(ended) = telling.join_next() => {
                if let Ok((subject, outcome)) = ended {
                    end(&mut told, &subject, outcome, &metrics);
                }
            }
        }
        for (subject, keys) in due(&mut told, &handle.load()) {
            telling.spawn(async move {
                let outcome = tell(&subject, keys).await;
                (subject, outcome)
            });
        }
    }
}

fn end(told: &mut Told, subject: &Subject, outcome: Outcome, metrics: &NotifyMetrics) {
    metrics.0.with_label_values(&[outcome.as_str()]).inc();
    if outcome != Outcome::Heard {
        let (zone, secondary) = subject;
        tracing::warn!(%zone, %secondary, outcome = outcome.as_str(), "a secondary DNS server did not hear of a change");
    }
    told.under_way.remove(subject);
}

/// Whom there is something to tell now: each that has not heard of a version, and is not being told of one.
fn due(told: &mut Told, table: &Table) -> Vec<(Subject, Option<TsigKey>)> {
    let transfer = &table.config.dns.transfer;
    let mut due = Vec::new();
    for zone in table.names.ready_zones() {
        for secondary in &transfer.notify {
            let subject = (zone.name.clone(), *secondary);
            if told.serials.get(&subject) == Some(&zone.serial) || told.under_way.contains(&subject) {
                continue;
            }
            told.serials.insert(subject.clone(), zone.serial);
            told.under_way.insert(subject.clone());
            due.push((subject, transfer.keys.first().cloned()));
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
            return if rcode == 0 { Outcome::Heard } else { Outcome::Refused };
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
