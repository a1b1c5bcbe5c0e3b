//! One worker's forwarding: what is kept, what is under way, who waits.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use super::answer::{Age, Answer, write_failure};
use super::cache::{Cache, Known, Refresh, Retry};
use super::exchange::{Failure, Question};
use super::key::{Key, Request};
use super::loops;
use super::metrics::{Denial, ForwardMetrics, Lookup, Reason};
use super::room::{Count, Load, Place, has_room};
use super::settings::{self, Group, Settings};
use super::watch;
use crate::config::checked::ForwardConfig;
use crate::dns::wire::Rcode;

/// RFC 8767 §5: how long a client waits for an answer that counts while one past its time is at hand.
const STALE_WAIT: Duration = Duration::from_millis(1800);

/// RFC 8767 §4: the time to live of an answer past its time.
const STALE_TTL: u32 = 30;

/// RFC 9520 §3.2: that nobody can answer a question is remembered for so long.
const FAILURE_TIME: Duration = Duration::from_secs(1);

/// A server is asked at most so often for one question, the first time included.
const ROUNDS: usize = 3;

/// One worker's forwarding.
pub(crate) struct Forwarder {
    settings: RefCell<Rc<Settings>>,
    cache: RefCell<Cache>,
    flights: RefCell<HashMap<Key, Rc<Flight>>>,
    /// What is under way for all groups of servers.
    load: Load,
    /// Questions that nobody could answer just now.
    failures: Rc<Count>,
    /// What the gauges were told last.
    told: Cell<(usize, usize)>,
    random: RefCell<fastrand::Rng>,
    metrics: ForwardMetrics,
    tasks: TaskTracker,
    started: Instant,
}

/// A question that somebody else is being asked.
struct Flight {
    result: RefCell<Option<Result<Rc<Answer>, Rcode>>>,
    done: Notify,
}

/// What becomes of a request at once.
pub(crate) enum Begun {
    /// It is answered.
    Answered(Rcode, bool),
    /// Others are asked.
    Waiting(Box<Waiting>),
    /// Nobody is to be asked for this name.
    Nobody,
}

/// A client that waits.
pub(crate) struct Waiting {
    forwarder: Rc<Forwarder>,
    request: Request,
    flight: Rc<Flight>,
    stale: Option<Rc<Answer>>,
    _places: [Place; 2],
}

impl Forwarder {
    /// Forwarding that is off until it is configured.
    pub(crate) fn new(metrics: ForwardMetrics) -> Self {
        let off = ForwardConfig::default();
        Self {
            settings: RefCell::new(Rc::new(Settings::new(&off, &metrics))),
            cache: RefCell::default(),
            flights: RefCell::default(),
            load: Load::default(),
            failures: Rc::default(),
            told: Cell::new((0, 0)),
            random: RefCell::new(fastrand::Rng::new()),
            metrics,
            tasks: TaskTracker::new(),
            started: Instant::now(),
        }
    }

    /// Takes a configuration over, if it differs. Within a `LocalSet`.
    pub(crate) fn configure(self: &Rc<Self>, config: &ForwardConfig) {
        let former = self.settings.borrow().clone();
        if former.config == *config {
            return;
        }
        if former.config.upstreams != config.upstreams || former.config.zones != config.zones {
            // Others may say something else.
            self.cache.borrow_mut().clear();
        }
        let settings = Rc::new(Settings::new(config, &self.metrics));
        *self.settings.borrow_mut() = settings.clone();
        self.cache.borrow_mut().shrink(self.cache_limit(config));
        self.tell_gauges();
        // They see that theirs are no longer the settings, and end.
        former.groups().iter().flat_map(|group| &group.doubts).for_each(Notify::notify_one);
        for group in settings.groups() {
            for at in 0..group.servers.len() {
                self.tasks.spawn_local(watch::watch(Rc::downgrade(self), settings.clone(), group.clone(), at));
            }
        }
    }

    /// Whether anybody is asked for anything.
    pub(crate) fn is_on(&self) -> bool {
        !self.settings.borrow().groups().is_empty()
    }

    /// Whether anybody is asked for this name, in lower case.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.settings.borrow().group(&settings::wire_name(name)).is_some()
    }

    /// Whether others are asked for this client.
    pub(crate) fn allows(&self, client: IpAddr) -> bool {
        self.settings.borrow().allows(client)
    }

    /// Whether answers about our own names say that others are asked too.
    pub(crate) fn says_available(&self) -> bool {
        self.settings.borrow().config.says_available
    }

    /// Whether the name is one of our own probes: the server that it was for leads back to us.
    pub(crate) fn is_own_probe(&self, name: &str) -> bool {
        let Some(server) = loops::probed(name) else { return false };
        if loops::found(server) {
            tracing::error!(%server, "this DNS server sends queries back to us and is not asked any more");
        }
        self.metrics.denied(Denial::Loop);
        true
    }

    /// Answers `request` from what is kept, or begins to ask. Within a `LocalSet`.
    pub(crate) fn begin(self: &Rc<Self>, request: Request, out: &mut Vec<u8>) -> Begun {
        let settings = self.settings.borrow().clone();
        let Some(group) = settings.group(request.key.name()) else { return Begun::Nobody };
        let known = self.cache.borrow_mut().find(&request.key, self.now(), settings.config.max_stale);
        let stale = match known {
            Known::Fresh(answer, age, refresh) => {
                self.metrics.lookup(Lookup::Hit);
                if refresh == Refresh::Now && settings.config.prefetch && self.may_ask(&request.key, &settings, &group)
                {
                    self.metrics.prefetches.inc();
                    self.flight(&request.key, &settings, group);
                }
                let is_cut = answer.write(&request, Age::Seconds(age), out);
                return Begun::Answered(answer.rcode, is_cut);
            }
            Known::Stale(answer, Retry::Later) => return self.write_stale(&answer, &request, out),
            Known::Stale(answer, Retry::Now) => Some(answer),
            Known::Nothing => None,
        };
        if !self.may_wait(&request.key, &settings, &group) {
            self.metrics.denied(Denial::Overload);
            if let Some(answer) = stale {
                return self.write_stale(&answer, &request, out);
            }
            write_failure(&request, Rcode::ServFail, out);
            return Begun::Answered(Rcode::ServFail, false);
        }
        self.metrics.lookup(Lookup::Miss);
        let places = [self.load.clients.take(), group.load.clients.take()];
        let flight = self.flight(&request.key, &settings, group);
        self.metrics.waiting.inc();
        Begun::Waiting(Box::new(Waiting { forwarder: self.clone(), request, flight, stale, _places: places }))
    }

    fn write_stale(&self, answer: &Answer, request: &Request, out: &mut Vec<u8>) -> Begun {
        self.metrics.lookup(Lookup::Stale);
        let is_cut = answer.write(request, Age::Stale(STALE_TTL), out);
        Begun::Answered(answer.rcode, is_cut)
    }

    /// Whether one more client may wait for `key`.
    fn may_wait(&self, key: &Key, settings: &Settings, group: &Group) -> bool {
        let (most, groups) = (settings.config.max_in_flight, settings.groups().len());
        has_room(most, &self.load.clients, &group.load.clients, groups) && self.may_ask(key, settings, group)
    }

    /// Whether others may be asked for `key`, or are being asked already.
    fn may_ask(&self, key: &Key, settings: &Settings, group: &Group) -> bool {
        let (most, groups) = (settings.config.max_in_flight, settings.groups().len());
        self.flights.borrow().contains_key(key) || has_room(most, &self.load.questions, &group.load.questions, groups)
    }

    /// The flight for a question: the one under way, or a new one.
    fn flight(self: &Rc<Self>, key: &Key, settings: &Rc<Settings>, group: Rc<Group>) -> Rc<Flight> {
        if let Some(flight) = self.flights.borrow().get(key) {
            self.metrics.coalesced.inc();
            return flight.clone();
        }
        let flight = Rc::new(Flight { result: RefCell::new(None), done: Notify::new() });
        self.flights.borrow_mut().insert(key.clone(), flight.clone());
        let places = [self.load.questions.take(), group.load.questions.take()];
        self.tasks.spawn_local(fly(self.clone(), key.clone(), settings.clone(), group, flight.clone(), places));
        flight
    }

    fn keep(&self, key: &Key, answer: &Rc<Answer>, settings: &Settings) {
        let limit = self.cache_limit(&settings.config);
        // An answer that comes after the servers were changed is given to those who wait, and not kept.
        let is_current = self.settings.borrow().config == settings.config;
        if limit > 0 && is_current {
            self.cache.borrow_mut().keep(key, answer, self.now(), limit);
            self.tell_gauges();
        }
    }

    fn cache_limit(&self, config: &ForwardConfig) -> usize {
        config.cache_bytes / self.metrics.workers
    }

    fn tell_gauges(&self) {
        let (entries, bytes) = {
            let mut cache = self.cache.borrow_mut();
            self.metrics.evictions.inc_by(cache.take_evictions());
            (cache.len(), cache.bytes())
        };
        self.tell(entries, bytes);
    }

    /// All workers share the gauges: each adds what changed.
    fn tell(&self, entries: usize, bytes: usize) {
        let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let (told_entries, told_bytes) = self.told.replace((entries, bytes));
        self.metrics.entries.add(signed(entries) - signed(told_entries));
        self.metrics.bytes.add(signed(bytes) - signed(told_bytes));
    }

    /// The groups of servers.
    #[cfg(test)]
    pub(super) fn groups(&self) -> Vec<Rc<Group>> {
        self.settings.borrow().groups().to_vec()
    }

    /// Whether these are the settings still.
    pub(super) fn runs_on(&self, settings: &Rc<Settings>) -> bool {
        Rc::ptr_eq(settings, &self.settings.borrow())
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.tell(0, 0);
    }
}

impl Waiting {
    /// The answer, when it has come, its response code, and whether it did not fit.
    pub(crate) async fn finish(self) -> (Vec<u8>, Rcode, bool) {
        let mut out = Vec::new();
        let result = match &self.stale {
            None => Some(self.flight.wait().await),
            Some(_) => timeout(STALE_WAIT, self.flight.wait()).await.ok(),
        };
        let (rcode, is_cut) = match (result, &self.stale) {
            (Some(Ok(answer)), _) => (answer.rcode, answer.write(&self.request, Age::Seconds(0), &mut out)),
            (_, Some(stale)) => match self.forwarder.write_stale(stale, &self.request, &mut out) {
                Begun::Answered(rcode, is_cut) => (rcode, is_cut),
                Begun::Waiting(_) | Begun::Nobody => (Rcode::ServFail, false),
            },
            (Some(Err(rcode)), None) => {
                write_failure(&self.request, rcode, &mut out);
                (rcode, false)
            }
            (None, None) => (Rcode::ServFail, false),
        };
        (out, rcode, is_cut)
    }

    /// How the query came, and the type asked for.
    pub(crate) fn request(&self) -> &Request {
        &self.request
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.forwarder.metrics.waiting.dec();
    }
}

impl Flight {
    async fn wait(&self) -> Result<Rc<Answer>, Rcode> {
        loop {
            // Made before the look, so that what comes in between is not missed; one thread, so nothing does.
            let done = self.done.notified();
            if let Some(result) = &*self.result.borrow() {
                return result.clone();
            }
            done.await;
        }
    }
}

/// Asks for one question until there is an answer or the time is over.
async fn fly(
    forwarder: Rc<Forwarder>,
    key: Key,
    settings: Rc<Settings>,
    group: Rc<Group>,
    flight: Rc<Flight>,
    places: [Place; 2],
) {
    let question =
        Rc::new(Question { key: key.clone(), bounds: settings.bounds(), random_case: settings.config.random_case });
    let answer = timeout(settings.timeout(), ask(&forwarder, &group, question)).await.ok().flatten();
    let result = match answer {
        Some(answer) => {
            forwarder.keep(&key, &answer, &settings);
            Ok(answer)
        }
        None => {
            forwarder.cache.borrow_mut().failed(&key, forwarder.now());
            Err(Rcode::ServFail)
        }
    };
    let is_failure = result.is_err();
    *flight.result.borrow_mut() = Some(result);
    flight.done.notify_waiters();
    // Nobody is asked any more.
    drop(places);
    if is_failure && forwarder.failures.now() < settings.config.max_in_flight {
        let _remembered = forwarder.failures.take();
        sleep(FAILURE_TIME).await;
    }
    forwarder.flights.borrow_mut().remove(&key);
}

/// Asks one server after the other, the next one when one fails or takes longer than it should; the first answer
/// counts.
async fn ask(forwarder: &Rc<Forwarder>, group: &Rc<Group>, question: Rc<Question>) -> Option<Rc<Answer>> {
    let order = group.order(forwarder.now(), &mut forwarder.random.borrow_mut());
    let order: Vec<usize> =
        order.into_iter().filter(|at| !loops::is_looping(group.servers[*at].config.address)).collect();
    let mut refusals = vec![false; group.servers.len()];
    let mut turns = (0..ROUNDS).flat_map(|round| order.iter().map(move |at| (round, *at)));
    let mut attempts = JoinSet::new();
    loop {
        // A server that has said no will not say anything else now.
        let turn = turns.find(|(_, at)| !refusals[*at]);
        let mut slow_after = None;
        if let Some((round, at)) = turn {
            let wait = group.wait(at) * (1 << round);
            slow_after = Some((Instant::now() + wait, at));
            attempts.spawn_local(attempt(forwarder.clone(), group.clone(), at, question.clone()));
        } else if attempts.is_empty() {
            return None;
        }
        // Cancel safe: attempts stay in their set.
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended {
                Ok((_, Ok(answer))) => return Some(answer),
                Ok((at, Err(Failure::Rcode))) => refusals[at] = true,
                Ok((_, Err(Failure::Unreachable))) | Err(_) => {}
            },
            at = slow(slow_after) => {
                group.servers[at].failed(Reason::Slow);
                group.failed(at, forwarder.now());
            }
        }
    }
}

async fn slow(after: Option<(Instant, usize)>) -> usize {
    match after {
        Some((at, server)) => {
            sleep_until(at).await;
            server
        }
        None => std::future::pending().await,
    }
}

async fn attempt(
    forwarder: Rc<Forwarder>,
    group: Rc<Group>,
    at: usize,
    question: Rc<Question>,
) -> (usize, Result<Rc<Answer>, Failure>) {
    let asked = Instant::now();
    let server = &group.servers[at];
    let result = server.ask(&question).await;
    match &result {
        Ok(_) => {
            server.latency.observe(asked.elapsed().as_secs_f64());
            group.answered(at, asked.elapsed());
        }
        Err(Failure::Rcode) => {
            server.latency.observe(asked.elapsed().as_secs_f64());
            group.refused(at);
        }
        Err(Failure::Unreachable) => group.failed(at, forwarder.now()),
    }
    (at, result)
}
