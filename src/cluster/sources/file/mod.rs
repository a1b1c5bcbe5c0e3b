//! Services, routes and records from a watched TOML file.
//!
//! ```toml
//! [[services]]
//! name = "shop"                      # required
//! namespace = "static"               # default
//! port = "0"                         # a name such as "http"; default
//! protocol = "http"                  # http (default), h2c, tcp, udp
//! hosts = ["shop.example.com"]       # one route …
//! path = "/"
//! endpoints = ["10.0.0.1:8080", { address = "10.0.0.2:8080", weight = 50, version = "2" }]
//! # also: weight, version, sticky, balance, health_path, health_check, drain_time, priority, filters,
//! # max_requests, max_queue, queue_time, timeout; they mean what the labels of these names mean
//!
//! [[services.routes]]                # … or several
//! name = "api"
//! hosts = ["api.example.com", "*.api.example.com"]
//! path = "/v1"
//! # also: host_regex, path_exact, path_regex, method, header, query, cookie, priority,
//! # timeout, redirect, redirect_status, answer, answer_body, answer_type, rewrite, rewrite_host, request_headers, response_headers;
//! # lists of texts in place of separators
//!
//! [[records]]
//! name = "www.example.com"           # absolute, in one of the source's zones
//! type = "CNAME"                     # A, AAAA, SRV, CNAME, PTR, TXT, MX, NS, …
//! value = "shop.example.com"         # as in a zone file; the text itself for TXT
//! ttl = 60                           # seconds; default: the server's
//! ```
//!
//! For many: `zone_file = "path"` (a master file, one record a line) with `origin = "example.com"`, and `routes_file = "path"` (lines
//! `host address:port`) with `routes_protocol = "h2c"`. These stand before the first table.
//!
//! A file is read whole or not at all: while it has a fault, or is missing, what it said before goes on, and every
//! fault is told with line and column. What it says is authoritative: a service that is deleted from it is gone.

mod contents;
mod document;
mod error;
mod load;
mod reader;
mod record;
mod routes;
mod zone;

pub use contents::{DEFAULT_NAMESPACE, FileContents, StaticEndpoint, StaticService};
pub use document::{Document, Reference, read};
pub use error::{FileError, FileErrors, MAX_ERRORS, Place};

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::event::{ClusterEvent, EventSender, FACTS_PER_EVENT, Fact, SourceEvent};
use crate::config::checked::FileConfig;
use load::{Attempt, Fingerprint, load};

/// How often the file is looked at when nothing says that it changed: the certain way beside the fast one.
const POLL: Duration = Duration::from_secs(2);

/// How long a file that changed must stay as it is before it is read: whoever writes in place is not done at once.
const SETTLE: Duration = Duration::from_millis(20);

/// How often a file is waited for to settle. One that is written all the time is read nevertheless.
const SETTLE_ATTEMPTS: usize = 25;

/// The writer is gone, or the program stops.
struct Stopped;

/// Reads the source's file and tells what it says, again whenever `changed` says so or the file differs.
///
/// Ends when `stop` is cancelled or nobody listens any more. `changed` may stay silent, and its sender may go.
pub async fn run(config: FileConfig, changed: watch::Receiver<u64>, events: EventSender, stop: CancellationToken) {
    let source = Source { config: Arc::new(config), events, stream: 0 };
    // Dropping the loop at an await leaves at most a snapshot that is not finished: it removes nothing.
    stop.run_until_cancelled_owned(source.follow(changed)).await;
}

struct Source {
    config: Arc<FileConfig>,
    events: EventSender,
    stream: u64,
}

impl Source {
    async fn follow(mut self, mut changed: watch::Receiver<u64>) {
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            changed.mark_unchanged();
            let Some(attempt) = blocking({
                let config = self.config.clone();
                move || load(&config)
            })
            .await
            else {
                return;
            };
            let seen = attempt.fingerprint.clone();
            if self.tell(attempt).await.is_err() {
                return;
            }
            wait(&seen, &mut changed, &mut poll).await;
        }
    }

    async fn tell(&mut self, attempt: Attempt) -> Result<(), Stopped> {
        self.stream += 1;
        let source = &self.config.name;
        match attempt.result {
            Ok(loaded) => {
                info!(
                    %source,
                    services = loaded.contents.services.len(),
                    records = loaded.records.len(),
                    skipped_records = loaded.skipped_records,
                    "file read"
                );
                if let Some(soa) = &loaded.soa {
                    // Serial, times and contact are one for all zones, and a serial rises with what is served.
                    info!(%source, %soa, "the SOA of a zone file is not taken: the zone has the server's own (`dns.soa`)");
                }
                let cluster = source.as_str().into();
                self.send(loaded.contents.into_facts_with(loaded.records, &cluster)).await
            }
            Err(errors) => {
                let error = errors.summary();
                warn!(%source, %error, "file refused, what it said before goes on");
                let problems = errors.problems(source).into_iter().map(|problem| Fact::Problem(Box::new(problem)));
                self.send(std::iter::once(Fact::Lost { error: error.into() }).chain(problems)).await
            }
        }
    }

    async fn send(&self, facts: impl Iterator<Item = Fact>) -> Result<(), Stopped> {
        let mut facts = facts.peekable();
        while facts.peek().is_some() {
            let facts = facts.by_ref().take(FACTS_PER_EVENT).collect();
            let event = SourceEvent { source: self.config.name.clone(), stream: self.stream, facts };
            self.events.send(ClusterEvent::Source(event)).await.map_err(|_| Stopped)?;
        }
        Ok(())
    }
}

/// Waits until there is a reason to read again: a word of change, or files that differ from those seen.
async fn wait(seen: &Fingerprint, changed: &mut watch::Receiver<u64>, poll: &mut tokio::time::Interval) {
    let mut is_watched = true;
    loop {
        // The first tick comes at once: it sees what changed while the files were read.
        // Both are cancel safe: a change that is not seen here is seen at the next turn.
        tokio::select! {
            word = changed.changed(), if is_watched => match word {
                Ok(()) => break,
                Err(_) => is_watched = false,
            },
            _ = poll.tick() => {
                if look(seen).await != Some(false) {
                    break;
                }
            }
        }
    }
    settle(seen.clone()).await;
}

/// Whether the files differ; `None` if the program stops.
async fn look(seen: &Fingerprint) -> Option<bool> {
    let seen = seen.clone();
    blocking(move || seen.again() != seen).await
}

/// Waits until the files stop changing, but not for ever.
async fn settle(mut last: Fingerprint) {
    for _ in 0..SETTLE_ATTEMPTS {
        tokio::time::sleep(SETTLE).await;
        let before = last.clone();
        let Some(now) = blocking(move || before.again()).await else { return };
        if now == last {
            return;
        }
        last = now;
    }
}

/// Runs work on files apart; `None` if the runtime stops.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// Reads a zone file from a text and checks what must hold: no text panics.
#[doc(hidden)]
pub fn fuzz_zone(data: &[u8]) {
    let path: Arc<Path> = Path::new("zone").into();
    let mut errors = FileErrors::default();
    let zones = [Arc::from("test")];
    let zone = zone::read((data, data.len()), &path, Some("test"), &zones, &mut errors).unwrap_or_default();
    let noted = zone.records.len();
    let records = zone.records.finish();
    assert!(records.len() <= noted);
    assert!(records.iter().all(|record| record.name.len() <= 253 && record.name.ends_with("test")));
}

/// Reads a TOML file from a text: no text panics.
#[doc(hidden)]
pub fn fuzz_document(data: &[u8]) {
    let config = FileConfig { name: "file".into(), path: "file.toml".into(), zones: vec!["test".into()] };
    if let Ok(document) = read(&String::from_utf8_lossy(data), &config.path, &config) {
        assert!(document.contents.into_facts(&"file".into()).count() >= 4);
    }
}
