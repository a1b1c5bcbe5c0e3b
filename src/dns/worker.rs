//! What the sockets of one worker share. One thread, so cells and no locks; nothing is borrowed across an await.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::answer::{Authority, Outcome};
use super::cache::AnswerCache;
use super::metrics::{Count, WorkerMetrics};
use super::source::{LoadNames, NameSource};
use super::wire::Transport;
use crate::config::checked::DnsConfig;

/// How often a connection that waits for a slot looks whether the configuration allows more by now.
const CAP_RECHECK: Duration = Duration::from_secs(1);

/// Under pressure, idle connections must make room this many times sooner (RFC 7766 §6.2.3).
const PRESSURE: u32 = 10;

/// One worker's part in the server.
pub(crate) struct Worker<L> {
    names: RefCell<L>,
    random: RefCell<fastrand::Rng>,
    cache: RefCell<AnswerCache>,
    own_addresses: Arc<[IpAddr]>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    connections: Cell<usize>,
    freed: Notify,
}

impl<L: LoadNames> Worker<L> {
    pub(crate) fn new(names: L, own_addresses: Arc<[IpAddr]>, metrics: Arc<WorkerMetrics>) -> Self {
        Self {
            names: RefCell::new(names),
            random: RefCell::new(fastrand::Rng::new()),
            cache: RefCell::default(),
            own_addresses,
            metrics,
            connections: Cell::new(0),
            freed: Notify::new(),
        }
    }

    /// Runs `batch` with one version of the names.
    pub(crate) fn with_names<R>(&self, batch: impl FnOnce(&mut Answering<'_, L::Names>) -> R) -> R {
        let mut names = self.names.borrow_mut();
        batch(&mut Answering {
            authority: Authority { names: names.load_names(), own_addresses: &self.own_addresses },
            random: &mut self.random.borrow_mut(),
            cache: &mut self.cache.borrow_mut(),
            metrics: &self.metrics,
        })
    }

    /// Lets go of an old version of the names, which a reader otherwise keeps until it is asked something.
    pub(crate) fn refresh(&self) {
        self.names.borrow_mut().load_names();
    }

    /// How long a connection may go without a complete query.
    pub(crate) fn idle_time(&self) -> Duration {
        let (idle, cap) = self.setting(|config| (config.tcp_idle, config.max_tcp_connections));
        if self.connections.get() >= cap { idle / PRESSURE } else { idle }
    }

    /// Waits until one more connection is allowed.
    pub(crate) async fn slot(&self) {
        let mut waited = false;
        while self.connections.get() >= self.setting(|config| config.max_tcp_connections) {
            if !waited {
                self.metrics.count(Count::TcpCapped);
                waited = true;
            }
            // Whichever comes first, the condition is looked at again.
            let _ = tokio::time::timeout(CAP_RECHECK, self.freed.notified()).await;
        }
    }

    /// Counts a connection in; it counts itself out when it is dropped.
    pub(crate) fn connected(self: &Rc<Self>) -> Connected<L> {
        self.connections.set(self.connections.get() + 1);
        self.metrics.count(Count::TcpAccepted);
        Connected(self.clone())
    }

    fn setting<R>(&self, read: impl FnOnce(&DnsConfig) -> R) -> R {
        read(self.names.borrow_mut().load_names().config())
    }
}

/// A connection that counts.
pub(crate) struct Connected<L>(pub(crate) Rc<Worker<L>>);

impl<L> Drop for Connected<L> {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.metrics.count(Count::TcpClosed);
        self.0.freed.notify_one();
    }
}

/// One batch of queries, answered from one version of the names.
pub(crate) struct Answering<'a, N> {
    authority: Authority<'a, N>,
    random: &'a mut fastrand::Rng,
    cache: &'a mut AnswerCache,
    metrics: &'a WorkerMetrics,
}

impl<N: NameSource> Answering<'_, N> {
    /// Appends the answer to `out`; `false`: there is none.
    pub(crate) fn answer(&mut self, transport: Transport, message: &[u8], out: &mut Vec<u8>) -> bool {
        match self.cache.answer(&self.authority, transport, message, self.random, out) {
            Outcome::Ignored(reason) => {
                self.metrics.ignored(reason);
                false
            }
            Outcome::Answered(answered) => {
                self.metrics.answered(transport, &answered);
                true
            }
        }
    }
}
