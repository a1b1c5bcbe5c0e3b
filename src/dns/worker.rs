//! What the sockets of one address share on one thread, beside what all of the thread's sockets do ([`super::kept`]). One
//! thread, so cells and no locks; nothing is borrowed across an await.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::answer::{self, Answered, Authority, Outcome};
use super::asker::Asker;
use super::cache::AnswerCache;
use super::forward::{self, Aliases, Begun, Denial, Forwarder, RA, Request, Waiting};
use super::kept::{Answers, Kept};
use super::limit::{Kind, RateLimiter, Verdict};
use super::log::{Gathering, LogSender};
use super::metrics::{Count, WorkerMetrics};
use super::search;
use super::source::{LoadNames, NameSource};
use super::transfer::{self, NoTransfer};
use super::tsig::{self, Session};
use super::wire::name::NameText;
use super::wire::option::ExtendedError;
use super::wire::query::{self, Incoming, Query, Question};
use super::wire::{CLASS_IN, Rcode, Transport, flags, read_u16, record_type};
use crate::config::checked::DnsConfig;
use crate::model::zone_slot::ZoneSlot;
use crate::table::handle::TableHandle;
use crate::table::names::Found;

/// How often a connection that waits for a slot looks whether the configuration allows more by now.
const CAP_RECHECK: Duration = Duration::from_secs(1);

/// Under pressure, idle connections must make room this many times sooner (RFC 7766 §6.2.3).
const PRESSURE: u32 = 10;

/// One worker's part in the server.
pub(crate) struct Worker<L> {
    names: RefCell<L>,
    random: RefCell<fastrand::Rng>,
    history: Option<Arc<TableHandle>>,
    log: RefCell<Option<Gathering>>,
    transfers: Semaphore,
    kept: Rc<Kept>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    connections: Cell<usize>,
    freed: Notify,
}

impl<L: LoadNames> Worker<L> {
    pub(crate) fn new(names: L, history: Option<Arc<TableHandle>>, log: Option<LogSender>, kept: Rc<Kept>) -> Self {
        Self {
            names: RefCell::new(names),
            random: RefCell::new(fastrand::Rng::new()),
            history,
            log: RefCell::new(log.map(Gathering::new)),
            transfers: Semaphore::new(transfer::MOST_AT_A_TIME),
            metrics: kept.metrics.clone(),
            kept,
            connections: Cell::new(0),
            freed: Notify::new(),
        }
    }

    /// Runs `batch` with one version of the names.
    pub(crate) fn with_names<R>(&self, batch: impl FnOnce(&mut Answering<'_, L::Names>) -> R) -> R {
        let mut names = self.names.borrow_mut();
        let mut log = self.log.borrow_mut();
        let kept = &*self.kept;
        let mut answers = kept.answers.borrow_mut();
        let Answers { cache, own_addresses } = &mut *answers;
        let authority = Authority { names: names.load_names(), own_addresses };
        let result = batch(&mut Answering {
            log: log.as_mut(),
            forwarder: kept.forwarder.is_on().then_some(&kept.forwarder),
            allows_all: authority.names.config().allows_all(),
            authority,
            random: &mut self.random.borrow_mut(),
            cache,
            metrics: &self.metrics,
            limiter: &kept.limiter,
            started: kept.started,
            now: unix_seconds(),
        });
        if let Some(log) = log.as_mut() {
            log.give();
        }
        result
    }

    /// Lets go of an old version of the names, which a reader otherwise keeps until it is asked something, and takes
    /// over what is configured for other names. Within a `LocalSet`.
    pub(crate) fn refresh(&self) {
        self.setting(|config| self.kept.forwarder.configure(&config.forward));
    }

    /// The answer to a query that had to wait for others, counted. `None`: it is held back.
    pub(crate) async fn forwarded(&self, client: Option<IpAddr>, waiting: Box<Waiting>) -> Option<Vec<u8>> {
        let request = waiting.request().clone();
        let transport = request.transport;
        let (mut octets, rcode, truncated) = waiting.finish().await;
        let answered = Answered::plain(Some(request.record_type), rcode);
        self.metrics.answered(transport, &Answered { truncated, zone: Some(request.zone), ..answered });
        let limited = (transport == Transport::Udp && !request.is_proven).then_some(client).flatten();
        if let Some(client) = limited {
            let message = request.message();
            let mut text = NameText::default();
            let Incoming::Query(query) = query::parse(&message, &mut text) else { return Some(octets) };
            let kind = kind_of(&query.question, &answered, &octets);
            let Kept { limiter, started, .. } = &*self.kept;
            match self.setting(|config| judge(config, &self.metrics, limiter, client, kind, *started)) {
                Verdict::Send => {}
                Verdict::Drop => return None,
                Verdict::Slip => {
                    octets.clear();
                    forward::write_truncated(&request, rcode, &mut octets);
                }
            }
        }
        self.log(transport, client, &octets);
        Some(octets)
    }

    /// Notes an answer that did not come at once.
    pub(crate) fn log(&self, transport: Transport, client: Option<IpAddr>, answer: &[u8]) {
        if let Some(log) = self.log.borrow_mut().as_mut() {
            self.setting(|config| log.note(config, (transport, client), &[], answer));
            log.give();
        }
    }

    /// Begins a transfer, once few enough others are under way. `None`: that takes too long.
    pub(crate) async fn transfer(
        &self,
        request: transfer::Request,
    ) -> Option<(transfer::Messages, SemaphorePermit<'_>)> {
        let permit = tokio::time::timeout(self.idle_time(), self.transfers.acquire()).await.ok()?.ok()?;
        self.metrics.count(Count::Transfers);
        let names = self.names.borrow_mut().share_names();
        let own_addresses = self.kept.answers.borrow().own_addresses.clone();
        Some((transfer::begin(request, names, own_addresses, self.history.clone()), permit))
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
    /// Everybody is answered, as nearly always: looked up once for a batch.
    allows_all: bool,
    /// Set if others are asked for names that are not ours.
    forwarder: Option<&'a Rc<Forwarder>>,
    random: &'a mut fastrand::Rng,
    cache: &'a mut AnswerCache,
    metrics: &'a WorkerMetrics,
    limiter: &'a RefCell<RateLimiter>,
    log: Option<&'a mut Gathering>,
    started: Instant,
    /// Seconds since 1970.
    now: u32,
}

/// What becomes of a query for a name of others.
enum Forwarded {
    /// The answer was appended.
    Answered(Answered),
    /// Others are asked first.
    Later(Box<Waiting>),
}

/// What becomes of a message.
pub(crate) enum Reply {
    /// There is no answer.
    None,
    /// The answer was appended.
    Ready,
    /// Others are asked first; see [`Worker::forwarded`].
    Later(Box<Waiting>),
    /// A zone is to be sent; see [`Worker::transfer`]. Only where messages follow one another.
    Transfer(Box<transfer::Request>),
}

impl<N: NameSource> Answering<'_, N> {
    /// Appends the answer to `out`, if there is one at once.
    pub(crate) fn answer(
        &mut self,
        transport: Transport,
        client: Option<IpAddr>,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Reply {
        let start = out.len();
        let reply = self.answer_unlogged(transport, client, message, out);
        if let (Reply::Ready, Some(log)) = (&reply, &mut self.log) {
            log.note(self.authority.names.config(), (transport, client), message, &out[start..]);
        }
        reply
    }

    fn answer_unlogged(
        &mut self,
        transport: Transport,
        client: Option<IpAddr>,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Reply {
        let asker = Asker { transport, client, now: self.now, reserved: 0 };
        let config = self.authority.names.config();
        let may_be_signed = !config.transfer.keys.is_empty() && read_u16(message, 10).is_some_and(|extras| extras > 0);
        if may_be_signed && let Some(reply) = self.answer_by_signature(&asker, message, out) {
            return reply;
        }
        self.answer_as(&asker, message, None, out)
    }

    /// Answers what is signed, as the signature is. `None`: there is none, or it does not matter.
    fn answer_by_signature(&mut self, asker: &Asker, message: &[u8], out: &mut Vec<u8>) -> Option<Reply> {
        let config = self.authority.names.config();
        let mut text = NameText::default();
        let Incoming::Query(query) = query::parse(message, &mut text) else { return None };
        match tsig::check(&config.transfer.keys, message, query.tsig.as_ref()?, u64::from(self.now)) {
            Ok(unsigned) => Some(self.answer_signed(asker, &unsigned.message, unsigned.session, out)),
            // Who may not ask learns nothing of keys.
            Err(_) if self.is_denied(asker.client) => None,
            Err(fault) => {
                let start = out.len();
                answer::write_bad_signature(config, asker, message, &query, fault, out);
                self.metrics.count(Count::BadSignatures);
                let answered = Answered::plain(Some(query.question.record_type), Rcode::NotAuth);
                self.metrics.answered(asker.transport, &answered);
                Some(self.limit(asker, &answered, message, start, out))
            }
        }
    }

    fn is_denied(&self, client: Option<IpAddr>) -> bool {
        !self.allows_all && client.is_some_and(|client| !self.authority.names.config().allows(client))
    }

    /// Answers what was signed, signed.
    fn answer_signed(&mut self, asker: &Asker, message: &[u8], mut session: Session, out: &mut Vec<u8>) -> Reply {
        let start = out.len();
        let asker = Asker { reserved: session.octets(), ..*asker };
        let reply = self.answer_as(&asker, message, Some(&session), out);
        if matches!(reply, Reply::Ready) {
            session.sign(u64::from(self.now), start, out);
        }
        reply
    }

    fn answer_as(&mut self, asker: &Asker, message: &[u8], session: Option<&Session>, out: &mut Vec<u8>) -> Reply {
        let Asker { transport, client, .. } = *asker;
        let start = out.len();
        let hits = self.cache.hits();
        let config = self.authority.names.config();
        let is_denied = self.is_denied(client);
        let outcome = match is_denied {
            false => self.cache.answer(&self.authority, *asker, message, self.random, out),
            true => {
                self.metrics.count(Count::Denied);
                answer::prohibit(config, asker, message, out)
            }
        };
        if self.cache.hits() > hits {
            self.metrics.count(Count::Cached);
        }
        let mut answered = match outcome {
            Outcome::Ignored(reason) => {
                self.metrics.ignored(reason);
                return Reply::None;
            }
            Outcome::Answered(answered) => Answered { is_proven: answered.is_proven || session.is_some(), ..answered },
        };
        if !is_denied && let Some(reply) = self.transfer(asker, &answered, message, session, start, out) {
            return reply;
        }
        if let (Some(forwarder), Some(client)) = (self.forwarder, client) {
            let is_allowed = forwarder.allows(client);
            if is_allowed
                && answered.rcode == Rcode::NxDomain
                && let Some(helped) = self.help(forwarder, (asker, message), start, out)
            {
                answered = Answered { zone: answered.zone, is_proven: answered.is_proven, ..helped };
            }
            // What others say cannot be signed by us.
            if (answered.is_outside || answered.leads_outside || answered.is_delegated)
                && session.is_none()
                && let Some(reply) = self.forward(forwarder, is_allowed, (asker, message, &answered), start, out)
            {
                return match reply {
                    Forwarded::Answered(others) => {
                        let others = Answered { is_proven: answered.is_proven, ..others };
                        self.limit(asker, &others, message, start, out)
                    }
                    Forwarded::Later(waiting) => Reply::Later(waiting),
                };
            }
            if is_allowed
                && forwarder.says_available()
                && let Some(octet) = out.get_mut(start + 3)
            {
                *octet |= RA.to_be_bytes()[1];
            }
        }
        self.metrics.answered(transport, &answered);
        self.limit(asker, &answered, message, start, out)
    }

    /// Begins a transfer, or says why not. `None`: none is asked for, and what stands in `out` is the answer.
    fn transfer(
        &mut self,
        asker: &Asker,
        answered: &Answered,
        message: &[u8],
        session: Option<&Session>,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Option<Reply> {
        let asked = answered.record_type.filter(|asked| matches!(*asked, record_type::AXFR | record_type::IXFR))?;
        let is_wanted = answered.rcode == Rcode::Refused && (asker.transport.is_stream() || asked == record_type::IXFR);
        let mut text = NameText::default();
        let Incoming::Query(query) = query::parse(message, &mut text) else { return None };
        if !is_wanted || query.question.class != CLASS_IN {
            return None;
        }
        let zone = self.authority.names.find(query.question.name).zone().map(|zone| zone.slot);
        let refused = self.no_transfer(asker, &query, session.is_some());
        if refused.is_none() && asker.transport.is_stream() {
            out.truncate(start);
            let request = transfer::Request { session: session.cloned(), ..transfer::Request::new(&query) };
            self.metrics.answered(asker.transport, &Answered { zone, ..Answered::plain(Some(asked), Rcode::NoError) });
            return Some(Reply::Transfer(Box::new(request)));
        }
        out.truncate(start);
        let rcode = match refused {
            None => answer::write_soa(&self.authority, asker, &query, self.random, out),
            Some(refused) => {
                self.metrics.count(Count::TransfersRefused);
                let reason = (refused == NoTransfer::Prohibited).then_some(ExtendedError::Prohibited);
                let code = (refused.rcode(), reason);
                answer::write_code(self.authority.names.config(), asker, &query, code, out);
                refused.rcode()
            }
        };
        let answered = Answered { is_proven: answered.is_proven, zone, ..Answered::plain(Some(asked), rcode) };
        self.metrics.answered(asker.transport, &answered);
        Some(self.limit(asker, &answered, message, start, out))
    }

    fn no_transfer(&self, asker: &Asker, query: &Query<'_>, is_signed: bool) -> Option<NoTransfer> {
        let transfer = &self.authority.names.config().transfer;
        let client = asker.client?.to_canonical();
        let is_allowed = transfer.allow.iter().any(|network| network.contains(&client));
        if !is_allowed || (!transfer.keys.is_empty() && !is_signed) {
            return Some(NoTransfer::Prohibited);
        }
        let name = query.question.name;
        match self.authority.names.find(name) {
            Found::Node(zone, _) | Found::Unready(zone) if *zone.name == *name => None,
            _ => Some(NoTransfer::NotOurs),
        }
    }

    /// Holds an answer back that somebody seems to make us send to others, over and over.
    fn limit(&self, asker: &Asker, answered: &Answered, message: &[u8], start: usize, out: &mut Vec<u8>) -> Reply {
        let config = self.authority.names.config();
        let Some(client) = asker.client else { return Reply::Ready };
        if config.rate_limit.responses_per_second == 0 || asker.transport != Transport::Udp || answered.is_proven {
            return Reply::Ready;
        }
        let mut text = NameText::default();
        let query = match query::parse(message, &mut text) {
            Incoming::Query(query) => Some(query),
            Incoming::Rejected(_) => None,
            Incoming::Ignored(_) => return Reply::Ready,
        };
        let kind = query.as_ref().map_or(Kind::Error, |query| kind_of(&query.question, answered, &out[start..]));
        match judge(config, self.metrics, self.limiter, client, kind, self.started) {
            Verdict::Send => Reply::Ready,
            Verdict::Slip => {
                // A rejection says nothing that could be cut.
                if let Some(query) = &query {
                    out.truncate(start);
                    answer::write_truncated(config, asker, query, answered.rcode, out);
                }
                Reply::Ready
            }
            Verdict::Drop => {
                out.truncate(start);
                Reply::None
            }
        }
    }

    /// Answers a question for a missing name with what the client's search path leads to, if it leads anywhere. `None`: what
    /// stands in `out` is the answer.
    fn help(
        &mut self,
        forwarder: &Forwarder,
        (asker, message): (&Asker, &[u8]),
        start: usize,
        out: &mut Vec<u8>,
    ) -> Option<Answered> {
        let search = &self.authority.names.config().forward.search;
        if search.is_empty() {
            return None;
        }
        let mut text = NameText::default();
        let Incoming::Query(query) = query::parse(message, &mut text) else { return None };
        // Resolvers that follow a search path want the rest done for them, and do not sign what they ask.
        let is_stub = query.header.flags & flags::RD != 0 && query.tsig.is_none() && asker.reserved == 0;
        if !is_stub || matches!(query.question.record_type, record_type::CNAME | record_type::ANY) {
            return None;
        }
        let end = search::end(self.authority.names, search, query.question.name)?;
        if !end.is_ours && !forwarder.knows(&end.name) {
            return None;
        }
        out.truncate(start);
        self.metrics.count(Count::Helped);
        Some(answer::write_alias(&self.authority, asker, &query, end.name, self.random, out))
    }

    /// Asks others for a name that is not ours, or that an alias of ours leads to. `None`: the refusal, or the alias, that
    /// stands in `out` is the answer.
    fn forward(
        &self,
        forwarder: &Rc<Forwarder>,
        is_allowed: bool,
        (asker, message, own): (&Asker, &[u8], &Answered),
        start: usize,
        out: &mut Vec<u8>,
    ) -> Option<Forwarded> {
        let mut text = NameText::default();
        let Incoming::Query(query) = query::parse(message, &mut text) else { return None };
        if forwarder.is_own_probe(query.question.name) {
            return None;
        }
        if !is_allowed {
            if own.is_outside {
                self.metrics.forward.denied(Denial::Client);
            }
            return None;
        }
        // Without RD a client only wants to know what is here: of others' names, nothing.
        if query.header.flags & flags::RD == 0 {
            return None;
        }
        let config = self.authority.names.config();
        let (edns, _) = answer::edns_reply(config, asker, query.edns);
        let limit = answer::limit(config, asker, query.edns);
        let mut request = Request::new(&query, asker.transport, edns, limit);
        request.is_proven = own.is_proven;
        let zone = own.zone.unwrap_or(ZoneSlot::OUTSIDE);
        if own.leads_outside {
            request = request.behind(Aliases::of(out.get(start..)?)?, zone);
        }
        let record_type = request.record_type;
        let without_others = out.split_off(start);
        match forwarder.begin(request, out) {
            Begun::Answered(rcode, truncated) => {
                let answered = Answered { truncated, zone: Some(zone), ..Answered::plain(Some(record_type), rcode) };
                self.metrics.answered(asker.transport, &answered);
                Some(Forwarded::Answered(answered))
            }
            Begun::Waiting(waiting) => Some(Forwarded::Later(waiting)),
            Begun::Nobody => {
                out.extend_from_slice(&without_others);
                None
            }
        }
    }
}

/// What an answer is, as far as it counts as equal to others.
fn kind_of<'q>(question: &'q Question<'_>, answered: &Answered, answer: &[u8]) -> Kind<'q> {
    let has_records = read_u16(answer, 6).is_some_and(|answers| answers > 0);
    let (name, record_type) = (question.name, question.record_type);
    match answered.rcode {
        Rcode::NoError if has_records => match answered.wildcard.and_then(|at| name.get(at..)) {
            Some(above) => Kind::Wildcard(above, record_type),
            None => Kind::Records(name, record_type),
        },
        Rcode::NoError | Rcode::NxDomain => Kind::Absence,
        _ => Kind::Error,
    }
}

/// Whether an answer over UDP may be sent to `client`; counts those that may not.
fn judge(
    config: &DnsConfig,
    metrics: &WorkerMetrics,
    limiter: &RefCell<RateLimiter>,
    client: IpAddr,
    kind: Kind<'_>,
    started: Instant,
) -> Verdict {
    let workers = metrics.forward.workers;
    let verdict = limiter.borrow_mut().judge(&config.rate_limit, workers, client, kind, started.elapsed());
    match verdict {
        Verdict::Send => {}
        Verdict::Slip => metrics.count(Count::LimitedSlipped),
        Verdict::Drop => metrics.count(Count::LimitedDropped),
    }
    verdict
}

/// The time, as cookies carry it: it wraps round in 2106, and is compared so.
fn unix_seconds() -> u32 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u32::try_from(since.as_secs() & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_wildcard_gives_is_counted_together() {
        let message =
            |name: &[u8]| [&[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name, b"\x05mesos\0\0\x01\0\x01"].concat();
        let (one, two) = (message(b"\x01a"), message(b"\x02xy"));
        let mut texts = [NameText::default(), NameText::default()];
        let [first, second] = &mut texts;
        let (Incoming::Query(one), Incoming::Query(two)) = (query::parse(&one, first), query::parse(&two, second))
        else {
            panic!()
        };
        let answered = |wildcard| Answered { wildcard, ..Answered::plain(Some(record_type::A), Rcode::NoError) };
        // A header that says that there is an answer.
        let answer = [0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0];
        let kind =
            |query: &Query<'_>, wildcard| format!("{:?}", kind_of(&query.question, &answered(wildcard), &answer));
        assert_eq!(kind(&one, Some(2)), kind(&two, Some(3)));
        assert_ne!(kind(&one, None), kind(&two, None));
    }
}
