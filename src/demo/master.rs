//! Masters over loopback HTTP: the operator API, redirects, election.
//!
//! One leads. The others redirect to whoever they hold for the leader, and that is the dead one until its session has
//! expired. A leader's streams end without a final chunk when it dies.
//!
//! Not here: the agents' return after a failover, which is the cluster's and not the masters'
//! ([`super::scheduler::Scheduler::fail_over`]).

mod answer;
mod legacy;
mod stream;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::feed::Feed;
use super::serve::{self, Closing};
use crate::model::time::Timestamp;

/// All masters.
#[derive(Debug)]
pub struct Masters {
    shared: Arc<Shared>,
    running: Mutex<Vec<Option<Running>>>,
}

#[derive(Debug)]
struct Shared {
    feed: Arc<Feed>,
    addresses: Vec<SocketAddr>,
    ids: Vec<String>,
    heartbeat: Duration,
    started: Timestamp,
    election: Mutex<Election>,
}

/// What the masters hold for true of their leader.
#[derive(Clone, Copy, Debug)]
struct Election {
    leader: Option<usize>,
    recovered: bool,
    elected: Timestamp,
}

#[derive(Debug)]
struct Running {
    closing: Closing,
    tasks: TaskTracker,
}

impl Masters {
    /// Starts a master on each listener, with its id; the first leads. Must be called within a runtime.
    pub fn start(
        feed: Arc<Feed>,
        listeners: Vec<(TcpListener, SocketAddr)>,
        ids: Vec<String>,
        heartbeat: Duration,
    ) -> Self {
        let now = Timestamp::now();
        let (listeners, addresses): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
        let election = Mutex::new(Election { leader: Some(0), recovered: true, elected: now });
        let shared = Arc::new(Shared { feed, addresses, ids, heartbeat, started: now, election });
        let run = |(index, listener)| Some(Running::start(listener, answer::Master { index, shared: shared.clone() }));
        let running = Mutex::new(listeners.into_iter().enumerate().map(run).collect());
        Self { shared, running }
    }

    /// Where they listen.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.shared.addresses
    }

    /// Who leads, or is held for the leader.
    pub fn leader(&self) -> Option<usize> {
        self.shared.election().leader
    }

    /// The leader dies: its connections end, its port is closed, and the others do not know yet. `None`: nobody led.
    pub async fn kill_leader(&self) -> Option<usize> {
        let leader = self.leader()?;
        self.shared.feed.end_streams();
        self.end(leader).await;
        Some(leader)
    }

    /// The one after `dead` is elected and reads its registry.
    pub fn elect_after(&self, dead: usize) -> usize {
        let leader = (dead + 1) % self.shared.addresses.len();
        self.shared.elect(Election { leader: Some(leader), recovered: false, elected: Timestamp::now() });
        leader
    }

    /// The leader has read its registry and answers.
    pub fn finish_recovery(&self) {
        let election = self.shared.election();
        self.shared.elect(Election { recovered: true, ..election });
    }

    /// A dead master comes back; unless it is the leader, as one that waits.
    ///
    /// # Errors
    /// Its port was taken meanwhile.
    pub async fn restart(&self, index: usize) -> std::io::Result<()> {
        let address = self.shared.addresses[index];
        let listener = TcpListener::bind(address).await?;
        let running = Running::start(listener, answer::Master { index, shared: self.shared.clone() });
        self.slots()[index] = Some(running);
        Ok(())
    }

    /// All masters end.
    pub async fn stop(&self) {
        self.shared.feed.end_streams();
        for index in 0..self.shared.addresses.len() {
            self.end(index).await;
        }
    }

    async fn end(&self, index: usize) {
        let running = self.slots()[index].take();
        if let Some(running) = running {
            running.closing.cut.cancel();
            running.tasks.wait().await;
        }
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, Vec<Option<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn start(listener: TcpListener, master: answer::Master) -> Self {
        let (closing, tasks) = (Closing::default(), TaskTracker::new());
        tasks.spawn(serve::http(listener, master, closing.clone()));
        tasks.close();
        Self { closing, tasks }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.closing.cut.cancel();
    }
}

impl Shared {
    fn election(&self) -> Election {
        *self.election.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elect(&self, election: Election) {
        *self.election.lock().unwrap_or_else(PoisonError::into_inner) = election;
    }
}
