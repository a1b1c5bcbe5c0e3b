//! The DNS server: authoritative answers from the table, over UDP, TCP, TLS and HTTPS, and other servers' answers for the rest.
//!
//! ```text
//!  transport/udp, tcp, https          octets in, octets out; one set of sockets for each worker
//!        │ message      ▲ answer
//!        ▼              │
//!  answer ── wire/query (read) ── resolve (names → records) ── wire/response (write)
//!        │                            │
//!        │                         source (the table, as this room sees it)
//!        └ a name of others ─ forward (cache, upstream servers)
//! ```
//!
//! Invariants: a query for a name of ours is answered from one table, on the thread that read it, without waiting for
//! anybody, and what waits for other servers keeps nobody else waiting; nothing
//! that the network sends can make it panic, answer more than the asker can take, or answer a response.
//!
//! Not here: recursion (others do that), DNSSEC.

pub mod answer;
#[cfg(test)]
mod answer_tests;
pub mod asker;
pub mod cache;
mod chaos;
pub mod cookies;
pub mod forward;
pub mod kept;
pub mod limit;
pub mod log;
mod lots;
pub mod metrics;
pub(crate) mod nameserver;
pub mod resolve;
#[doc(hidden)]
pub mod sample;
mod search;
mod set;
pub mod source;
pub mod transfer;
pub mod transport;
pub mod tsig;
pub mod wire;
mod worker;

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use kept::Kept;
use log::LogSender;
use source::LoadNames;
use transport::bind::{Spoken, StreamSocket, WorkerSockets};
use transport::secure::Secure;
use transport::tcp::{AtTheEnd, Carries, TcpServer};
use transport::udp;
use worker::Worker;

use crate::table::handle::TableHandle;

/// How often a worker that nobody asks lets go of old tables.
const REFRESH: Duration = Duration::from_secs(1);

/// What one worker serves an address with.
pub struct DnsWorker<L> {
    /// Its sockets, from [`transport::bind::bind`].
    pub sockets: WorkerSockets,
    /// What encrypted connections are made with; without it, sockets for them are closed.
    pub secure: Option<Secure>,
    /// Where its answers come from.
    pub names: L,
    /// Where former versions of the names are found, for those who ask what changed.
    pub history: Option<Arc<TableHandle>>,
    /// The addresses that the server is reached by, from [`transport::bind::own_addresses`].
    pub own_addresses: Arc<[IpAddr]>,
    /// Where answers are written down, where that is wanted.
    pub log: Option<LogSender>,
    /// What it shares with the thread's other addresses, its counters too.
    pub kept: Rc<Kept>,
    /// Ends it; a sender that is gone counts as [`Drain::Draining`].
    pub drain: watch::Receiver<Drain>,
}

/// How far sockets are from their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drain {
    /// They are served.
    #[default]
    Serving,
    /// A successor serves the same sockets from now on; connections go on.
    HandedOver,
    /// What has arrived is answered, then they are closed.
    Draining,
}

/// Serves until the drain has begun and what had arrived is answered.
///
/// The future stays on its thread: await it within a `LocalSet`, which lives as long as what is kept. Questions that other
/// servers are being asked go on there, since others may wait for them who came by another address.
///
/// # Errors
/// A socket cannot be registered with the runtime.
pub async fn serve<L: LoadNames + 'static>(worker: DnsWorker<L>) -> io::Result<()> {
    let DnsWorker { sockets, secure, names, history, own_addresses, log, kept, drain } = worker;
    kept.reached_by(own_addresses);
    let worker = Rc::new(Worker::new(names, history, log, kept));
    let mut draining = Draining(drain);
    worker.refresh();
    let mut servers = JoinSet::new();
    for socket in sockets.udp {
        servers.spawn_local(udp::serve(socket, worker.clone(), draining.clone())?);
    }
    let path: Option<Rc<str>> = secure.as_ref().map(|secure| (&*secure.https_path).into());
    for StreamSocket { listener, spoken, is_inherited } in sockets.streams {
        let carries = match (spoken, &secure, &path) {
            (Spoken::Plain, ..) => Carries::Messages,
            (Spoken::Tls, Some(secure), _) => Carries::Tls(secure.tls.clone()),
            (Spoken::Https, Some(secure), Some(path)) => Carries::Https(secure.https.clone(), path.clone()),
            _ => continue,
        };
        let queue = if is_inherited { AtTheEnd::Leave } else { AtTheEnd::Empty };
        servers.spawn_local(TcpServer::new(listener, carries, queue, worker.clone())?.run(draining.clone()));
    }
    loop {
        // Cancel safe: both only wait.
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => worker.refresh(),
            () = draining.ended() => break,
        }
    }
    while servers.join_next().await.is_some() {}
    Ok(())
}

/// Tells when the drain begins.
#[derive(Clone)]
pub(crate) struct Draining(watch::Receiver<Drain>);

impl Draining {
    /// Waits for it. Cancel safe.
    pub(crate) async fn begun(&mut self) {
        // A sender that is gone will not say so any more: then it begins now.
        let _ = self.0.wait_for(|drain| *drain == Drain::Draining).await;
    }

    /// Waits until nothing more is to be taken from the sockets. Cancel safe.
    pub(crate) async fn ended(&mut self) {
        let _ = self.0.wait_for(|drain| *drain != Drain::Serving).await;
    }

    /// Whether a successor goes on with the sockets.
    pub(crate) fn is_handed_over(&self) -> bool {
        *self.0.borrow() == Drain::HandedOver
    }
}

/// Answers arbitrary octets over both transports and checks what must hold for any answer. For the fuzz target.
#[doc(hidden)]
pub fn fuzz_query(message: &[u8]) {
    sample::check_any(message);
}
