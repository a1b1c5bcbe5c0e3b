//! What is counted of one request, from its head to the end of its answer.
//!
//! Dropping it is what ends the request: the counts are written then, whichever way it ended.

use std::rc::Rc;

use http::StatusCode;
use tokio::time::Instant;

use super::balance::InFlight;
use super::balance::local::ServiceLocal;
use super::connection::Client;
use super::leash::Hold;

/// One request, until it is over.
#[derive(Debug)]
pub struct Account {
    client: Rc<Client>,
    started: Instant,
    service: Option<Rc<ServiceLocal>>,
    is_lost: bool,
    status: Option<StatusCode>,
    end: End,
    /// The endpoint that serves it.
    pub in_flight: Option<InFlight>,
    /// Ends the request when the endpoint that serves it goes away.
    pub hold: Option<Hold>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Not known: whoever drops the account now is a client that went away.
    Open,
    Complete,
    Cut,
}

impl Account {
    /// Begins to count a request of `client`.
    pub fn begin(client: Rc<Client>, started: Instant) -> Self {
        Self {
            client,
            started,
            service: None,
            is_lost: false,
            status: None,
            end: End::Open,
            in_flight: None,
            hold: None,
        }
    }

    /// When the request's head was complete.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The service that the request is for.
    pub fn belongs_to(&mut self, service: &Rc<ServiceLocal>) {
        self.service = Some(service.clone());
    }

    /// The answer begins.
    pub fn answers(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The answer is whole.
    pub fn complete(&mut self) {
        self.end = End::Complete;
    }

    /// No endpoint answered: the answer is an error in its place.
    pub fn lost(&mut self) {
        self.is_lost = true;
    }

    /// What the request was upgraded to was cut because its endpoint went away.
    pub fn drained(&self) {
        self.client.worker.shard.drained_upgrades.increment();
    }

    /// The answer broke off on the endpoint's side.
    pub fn cut(&mut self) {
        self.end = End::Cut;
        if let Some(in_flight) = &self.in_flight {
            in_flight.failed();
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.client.watch.end();
        let shard = &self.client.worker.shard;
        match self.end {
            End::Complete => {}
            End::Cut => shard.cut_answers.increment(),
            End::Open => shard.client_gone.increment(),
        }
        if let Some(status) = self.status {
            let elapsed = self.started.elapsed();
            match &self.service {
                Some(service) => {
                    service.counters.borrow().finished(status, elapsed);
                    service.tally.finished(self.is_lost, self.end == End::Cut);
                }
                None => shard.other().finished(status, elapsed),
            }
        }
    }
}
