//! What is counted of one request, from its head to the end of its answer.
//!
//! Dropping it is what ends the request: the counts are written then, whichever way it ended.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::access_log::line::{EndKind, Ended};
use super::access_log::note::Note;
use super::balance::InFlight;
use super::balance::local::ServiceLocal;
use super::connection::Client;
use super::leash::Hold;
use super::reason::Reason;
use super::request_body::Fate;
use super::spans::request::Record;

/// One request, until it is over.
#[derive(Debug)]
pub struct Account {
    client: Rc<Client>,
    started: Instant,
    service: Option<Rc<ServiceLocal>>,
    is_lost: bool,
    is_call: bool,
    is_silent: bool,
    status: Option<StatusCode>,
    end: End,
    /// What is noted of it, where anything is done with that.
    pub note: Option<Box<Note>>,
    /// The endpoint that serves it.
    pub in_flight: Option<InFlight>,
    /// Ends the request when the endpoint that serves it goes away.
    pub hold: Option<Hold>,
    /// What becomes of the request's body beside its answer.
    pub upload: Fate,
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
            is_call: false,
            is_silent: false,
            status: None,
            end: End::Open,
            note: None,
            in_flight: None,
            hold: None,
            upload: Fate::default(),
        }
    }

    /// Of a copy of a request that is counted already.
    pub fn silent(client: Rc<Client>, started: Instant) -> Self {
        let mut account = Self::begin(client, started);
        account.is_silent = true;
        account
    }

    /// When the request's head was complete.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The service that the request is for.
    pub fn belongs_to(&mut self, service: &Rc<ServiceLocal>) {
        self.service = Some(service.clone());
    }

    /// The request is a call over gRPC.
    pub fn is_a_call(&mut self) {
        self.is_call = true;
    }

    /// Whether the request is a call over gRPC.
    pub fn is_call(&self) -> bool {
        self.is_call
    }

    /// The answer begins.
    pub fn answers(&mut self, status: StatusCode) {
        self.status = Some(status);
        if !self.is_silent {
            self.client.watch.answered();
        }
        if let Some(note) = &mut self.note {
            note.first = Some(self.started.elapsed());
        }
    }

    /// So many endpoints were asked.
    pub fn attempted(&mut self, attempts: u32) {
        if let Some(note) = &mut self.note {
            note.attempts = attempts;
        }
    }

    /// The proxy answers by itself, whose answer tells the request's id.
    pub fn refused(&mut self, reason: Reason, answer: &mut HeaderMap) {
        let Some(note) = &mut self.note else { return };
        note.reason = Some(reason);
        if let Some((name, id)) = &note.request_id {
            answer.insert(name.clone(), id.clone());
        }
    }

    /// What the request lacked for a route.
    pub fn missed(&mut self, miss: Box<str>) {
        if let Some(note) = &mut self.note {
            note.miss = Some(miss);
        }
    }

    /// So many octets of the answer's body were handed on.
    pub fn sent(&mut self, octets: usize) {
        if let Some(note) = &mut self.note {
            note.sent += octets as u64;
        }
    }

    /// Of octets that were counted as handed on, so many became others.
    pub fn sent_instead(&mut self, taken: usize, octets: usize) {
        if let Some(note) = &mut self.note {
            note.sent = note.sent.saturating_sub(taken as u64) + octets as u64;
        }
    }

    /// So many octets were copied from the client and from the endpoint on a connection that was upgraded.
    pub fn copied(&mut self, from_client: u64, from_endpoint: u64) {
        if let Some(note) = &mut self.note {
            note.received.set(note.received.get() + from_client);
            note.sent += from_endpoint;
        }
    }

    /// The answer is whole.
    pub fn complete(&mut self) {
        self.end = End::Complete;
    }

    /// The answer was whole, and the client has not taken it.
    pub fn not_taken(&mut self) {
        if self.end == End::Complete {
            self.end = End::Open;
        }
    }

    /// No endpoint answered: the answer is an error in its place.
    pub fn lost(&mut self) {
        self.is_lost = true;
    }

    /// What the request was upgraded to was cut because its endpoint went away.
    pub fn drained(&self) {
        self.client.worker.shard.drained_upgrades.increment();
    }

    /// The answer broke off on the endpoint's side, unless the exchange was given up because the client's own part of it had
    /// broken off: then it is one with a client that went away.
    pub fn cut(&mut self) {
        self.client.watch.cut();
        if self.upload.has_failed() {
            return;
        }
        self.end = End::Cut;
        if let Some(in_flight) = &self.in_flight {
            in_flight.failed();
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.is_silent {
            return;
        }
        self.client.watch.end();
        if self.end == End::Open && self.status.is_none() {
            self.client.watch.abandon();
        }
        let shard = &self.client.worker.shard;
        match self.end {
            End::Complete => {}
            End::Cut => shard.cut_answers.increment(),
            End::Open => shard.client_gone.increment(),
        }
        if self.status.is_none() && self.note.is_none() {
            return;
        }
        let elapsed = self.started.elapsed();
        if let Some(note) = self.note.take() {
            self.write_down(&note, elapsed);
        }
        if let Some(status) = self.status {
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

impl Account {
    fn write_down(&self, note: &Note, elapsed: Duration) {
        let end = match self.end {
            End::Complete => EndKind::Complete,
            End::Cut => EndKind::Cut,
            End::Open => EndKind::ClientGone,
        };
        let endpoint = self.in_flight.as_ref().map(InFlight::endpoint);
        let status = self.status.map(|status| status.as_u16());
        let ended = Ended { status, end, elapsed, endpoint: endpoint.map(|endpoint| &**endpoint) };
        let worker = &self.client.worker;
        if let Some(span) = &note.span {
            worker.spans.ended(|| Record::new(span, note, &ended, endpoint.cloned()));
        }
        worker.with_table(|table| worker.access_log.ended(&table.config.proxy.access_log, note, &ended));
    }
}
