//! What one thread keeps for all of its sockets of DNS: answers, what other servers said, what networks were sent.
//!
//! However many addresses are listened on, and whichever of them come and go, there is one of each: so that what one address
//! has learnt the others know, and the size of the caches, the rate and the questions to others are bounded for all addresses
//! together (connections and transfers at a time for each of its own). One thread, so cells
//! and no locks; nothing is borrowed across an await.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::cache::AnswerCache;
use super::forward::Forwarder;
use super::limit::RateLimiter;
use super::metrics::WorkerMetrics;
use crate::config::checked::ForwardConfig;

/// What all sockets of one thread share.
pub struct Kept {
    pub(super) answers: RefCell<Answers>,
    pub(super) limiter: RefCell<RateLimiter>,
    pub(super) forwarder: Rc<Forwarder>,
    pub(super) metrics: Arc<WorkerMetrics>,
    /// What the limiter counts its time from.
    pub(super) started: Instant,
}

/// Answers that are kept, and what they depend on beside the names.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) cache: AnswerCache,
    /// The addresses that the server is reached by.
    pub(super) own_addresses: Arc<[IpAddr]>,
}

impl Kept {
    /// Nothing is kept yet, and nobody else is asked. `metrics` are the thread's, from
    /// [`DnsMetrics::worker`](super::metrics::DnsMetrics::worker).
    pub fn new(metrics: Arc<WorkerMetrics>) -> Self {
        Self {
            answers: RefCell::default(),
            limiter: RefCell::default(),
            forwarder: Rc::new(Forwarder::new(metrics.forward.clone())),
            metrics,
            started: Instant::now(),
        }
    }

    /// From now on the server is reached by these addresses: answers that name others are let go of.
    pub(super) fn reached_by(&self, own_addresses: Arc<[IpAddr]>) {
        let mut answers = self.answers.borrow_mut();
        if answers.own_addresses != own_addresses {
            *answers = Answers { own_addresses, ..Answers::default() };
        }
    }

    /// No socket is left: nobody else is asked any more, and what others said is let go of. The next socket takes up what
    /// is configured then.
    pub fn rest(&self) {
        self.forwarder.configure(&ForwardConfig::default());
    }
}
