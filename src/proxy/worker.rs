//! One worker of the proxy: what its connections share, and its life from the first accept to the end of draining.
//!
//! Everything here belongs to one thread. The server starts one of these a core, inside a current-thread runtime and a
//! `LocalSet`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::accept;
use super::access_log::{AccessLog, AccessSender};
use super::auth::Passwords;
use super::balance::WorkerSeat;
use super::balance::choose::Ask;
use super::balance::local::ServiceLocal;
use super::challenges::Challenges;
use super::deadlines::Deadlines;
use super::drain::{self, DrainSignal};
use super::filters::page_service::PageServices;
use super::handshakes::Handshakes;
use super::held::Held;
use super::http1::Engine;
use super::leash::Leashes;
use super::listen::Listener;
use super::metrics::Shard;
use super::outbound::Outbound;
use super::per_address::PerAddress;
use super::permits::Permits;
use super::pool::Pool;
use super::spans::{SpanSender, Spans};
use super::sweep;
use super::tls::profiles::TlsProfiles;
use super::uploads::Crowd;
use crate::config::Config;
use crate::model::agent::AgentFacts;
use crate::model::endpoint::Endpoint;
use crate::model::id::ServiceId;
use crate::model::run::Moment;
use crate::model::service::Service;
use crate::model::time::Timestamp;
use crate::table::Table;
use crate::table::handle::TableReader;

/// How long tasks without a client are waited for after the deadline.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What a worker is made of.
#[derive(Debug)]
pub struct ProxyWorker {
    /// Its number, from 0, and how many there are.
    pub seat: WorkerSeat,
    /// The sockets it begins with.
    pub listeners: Vec<Listener>,
    /// Sockets that a changed configuration adds; `None`: there will be none.
    pub arrivals: Option<mpsc::Receiver<Listener>>,
    /// Its view of the table.
    pub reader: TableReader,
    /// Tells of new tables.
    pub generations: watch::Receiver<u64>,
    /// Its shard of the metrics.
    pub shard: Arc<Shard>,
    /// How TLS is spoken with endpoints.
    pub tls: Arc<TlsProfiles>,
    /// Challenges of authorities that are open.
    pub challenges: Arc<Challenges>,
    /// Ends it.
    pub drain: DrainSignal,
    /// Who serves clients of HTTP/1.1.
    pub engine: Engine,
    /// Who writes requests down; `None`: nobody.
    pub access_log: Option<AccessSender>,
    /// Who sends spans of requests; `None`: nobody.
    pub spans: Option<SpanSender>,
}

/// What the connections of one worker share.
pub struct Worker {
    /// Its number, and how many there are.
    pub seat: WorkerSeat,
    /// Its shard of the metrics.
    pub shard: Arc<Shard>,
    /// How TLS is spoken with endpoints.
    pub tls: Arc<TlsProfiles>,
    /// Challenges of authorities that are open.
    pub challenges: Arc<Challenges>,
    /// Its connections to endpoints.
    pub pool: Rc<Pool>,
    /// What ends what hangs on endpoints that go away.
    pub leashes: Leashes,
    /// Deadlines of its requests.
    pub deadlines: Rc<Deadlines>,
    /// Tasks that are no client's connection: HTTP/2 streams, upstream connections, tunnels.
    pub tasks: TaskTracker,
    /// What it knows of passwords.
    pub passwords: Passwords,
    /// Its connections to those whom filters ask.
    pub outbound: Outbound,
    /// What it keeps of services that give pages for errors.
    pub pages: PageServices,
    /// Answers that it compresses now.
    pub compressing: Rc<Cell<usize>>,
    /// What it gathers for the access log.
    pub access_log: AccessLog,
    /// What it gathers of requests that are recorded.
    pub spans: Spans,
    /// Draining, on a channel of this thread: connections poll it often.
    pub drain: DrainSignal,
    /// Who serves clients of HTTP/1.1.
    pub engine: Engine,
    /// Randomness.
    pub rng: RefCell<fastrand::Rng>,
    /// A permit per client connection.
    pub(super) permits: Permits,
    /// Client connections by network.
    pub(super) per_address: PerAddress,
    /// TLS handshakes with clients.
    pub(super) handshakes: Handshakes,
    /// Connections of HTTP/2 that are not read from, because too much waits already.
    pub(super) crowd: Rc<Crowd>,
    /// Held by each WebSocket: they have a moment to say goodbye when draining ends.
    pub(super) websockets: Rc<()>,
    reader: RefCell<TableReader>,
    services: RefCell<hashbrown::HashMap<ServiceId, Rc<ServiceLocal>>>,
    /// The same services, the one that is looked at next first.
    turns: RefCell<VecDeque<ServiceId>>,
    date: RefCell<(u64, HeaderValue)>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("seat", &self.seat).finish_non_exhaustive()
    }
}

impl Worker {
    /// Looks at the current table. `look` must not wait; what is needed later is cloned.
    pub fn with_table<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(self.reader.borrow_mut().load())
    }

    /// Where an endpoint runs, as far as the current table says.
    pub fn agent_of(&self, endpoint: &Endpoint) -> Option<Arc<AgentFacts>> {
        self.with_table(|table| table.tasks.get(&endpoint.id.task).and_then(|task| task.agent.clone()))
    }

    /// Looks at a service as it is at `now`, for a request without a key that cannot be sent again; what differs is for `look` to
    /// say.
    pub fn with_ask<T>(
        &self,
        service: &Arc<Service>,
        local: &ServiceLocal,
        config: &Arc<Config>,
        now: Moment,
        look: impl FnOnce(Ask<'_>) -> T,
    ) -> T {
        let (outlook, zones) = local.look(service, config, now, Timestamp::now, |endpoint| self.agent_of(endpoint));
        look(Ask {
            service,
            outlook,
            zones: zones.as_deref(),
            local,
            config: &config.proxy.balance,
            key: None,
            is_repeatable: false,
            seat: self.seat,
            now,
            wall: if outlook.slow_start { Timestamp::now() } else { Timestamp(0) },
        })
    }

    /// The current configuration.
    pub fn config(&self) -> Arc<Config> {
        self.with_table(|table| table.config.clone())
    }

    /// What this worker keeps of a service.
    pub fn local(&self, service: &ServiceId) -> Rc<ServiceLocal> {
        if let Some(known) = self.services.borrow().get(service) {
            if Arc::ptr_eq(&known.counters.borrow(), self.shard.other()) {
                self.shard.services_limited.increment();
            }
            return known.clone();
        }
        let local = Rc::new(ServiceLocal::new(service, self.shard.clone(), &mut self.rng.borrow_mut()));
        self.services.borrow_mut().insert(service.clone(), local.clone());
        self.turns.borrow_mut().push_back(service.clone());
        local
    }

    /// The present as a `Date` field's value, made once a second.
    pub fn date(&self) -> HeaderValue {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut date = self.date.borrow_mut();
        if date.0 != second {
            let text = httpdate::fmt_http_date(now);
            *date = (second, HeaderValue::from_str(&text).expect("a date is visible ASCII"));
        }
        date.1.clone()
    }

    /// The current table, to be kept for a while.
    pub(super) fn table(&self) -> Arc<Table> {
        self.reader.borrow_mut().load().clone()
    }

    /// What was worked out of a service is out of date.
    pub(super) fn forget_view(&self, service: &ServiceId) {
        if let Some(local) = self.services.borrow().get(service) {
            local.forget_view();
        }
    }

    /// The same, of all.
    pub(super) fn forget_views(&self) {
        self.services.borrow().values().for_each(|local| local.forget_view());
    }

    /// Services that something is kept of.
    pub(super) fn services_known(&self) -> usize {
        self.services.borrow().len()
    }

    /// Looks at so many services, forgets those that are gone, and gives others counters of their own where there is room by
    /// now.
    pub(super) fn tidy_services(&self, some: usize, is_there: impl Fn(&ServiceId) -> bool) {
        let (mut services, mut turns) = (self.services.borrow_mut(), self.turns.borrow_mut());
        for _ in 0..some.min(turns.len()) {
            let Some(service) = turns.pop_front() else { break };
            if !is_there(&service) {
                services.remove(&service);
                self.shard.forget(&service);
                continue;
            }
            if let Some(local) = services.get(&service)
                && Arc::ptr_eq(&local.counters.borrow(), self.shard.other())
            {
                local.counters.replace(self.shard.service(&service));
            }
            turns.push_back(service);
        }
    }
}

/// Counts an upstream connection as open until it is dropped.
#[derive(Debug)]
pub struct Opened(Arc<Shard>);

impl Opened {
    /// Counts one more.
    pub fn count(shard: Arc<Shard>) -> Self {
        shard.upstream_opened.increment();
        Self(shard)
    }

    /// Counts what waits to be sent on it.
    pub fn held(&self) -> Held {
        Held::nothing(self.0.clone())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.upstream_closed.increment();
    }
}

/// Serves until drained. Must run inside a `LocalSet`; returns when every connection is over or the deadline has passed.
pub async fn serve(start: ProxyWorker) {
    let ProxyWorker {
        seat,
        listeners,
        mut arrivals,
        reader,
        generations,
        shard,
        tls,
        challenges,
        drain: signal,
        engine,
        access_log,
        spans,
    } = start;
    let (relay, drain) = watch::channel(*signal.borrow());
    let worker = Worker::new(seat, reader, (shard, tls), drain.clone(), engine);
    let (access_log, spans) = (AccessLog::new(access_log), Spans::new(spans));
    let worker = Rc::new(Worker { access_log, spans, challenges, ..worker });
    // Ends with this function.
    let mut clock = JoinSet::new();
    let deadlines = worker.deadlines.clone();
    clock.spawn_local(async move { deadlines.run().await });
    let gathering = worker.clone();
    clock.spawn_local(async move { gathering.access_log.run().await });
    let gathering = worker.clone();
    clock.spawn_local(async move { gathering.spans.run().await });
    clock.spawn_local(sweep::keep_time(worker.clone()));
    clock.spawn_local(sweep::keep_tidy(worker.clone()));
    clock.spawn_local(sweep::follow_tables(worker.clone(), generations));
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        acceptors.spawn_local(accept::accept(worker.clone(), listener));
    }
    let mut signal = signal;
    loop {
        // Every branch is cancel safe: `changed`, `recv` and `join_next` lose nothing.
        tokio::select! {
            changed = signal.changed() => {
                let drain = if changed.is_err() { drain::Drain::Until(Instant::now()) } else { *signal.borrow_and_update() };
                relay.send_replace(drain);
                if drain != drain::Drain::Serving {
                    break;
                }
            }
            arrived = arrive(&mut arrivals) => match arrived {
                Some(listener) => { acceptors.spawn_local(accept::accept(worker.clone(), listener)); }
                None => arrivals = None,
            },
            Some(_) = acceptors.join_next(), if !acceptors.is_empty() => {}
        }
    }
    finish(&worker, acceptors, signal, &relay).await;
}

impl Worker {
    fn new(
        seat: WorkerSeat,
        mut reader: TableReader,
        (shard, tls): (Arc<Shard>, Arc<TlsProfiles>),
        drain: DrainSignal,
        engine: Engine,
    ) -> Self {
        let connections = reader.load().config.proxy.limits.connections;
        Self {
            seat,
            shard,
            tls,
            challenges: Arc::default(),
            pool: Rc::default(),
            leashes: Leashes::default(),
            deadlines: Rc::default(),
            tasks: TaskTracker::new(),
            passwords: Passwords::default(),
            outbound: Outbound::default(),
            pages: PageServices::default(),
            compressing: Rc::default(),
            access_log: AccessLog::default(),
            spans: Spans::default(),
            drain,
            engine,
            rng: RefCell::new(fastrand::Rng::new()),
            per_address: PerAddress::default(),
            handshakes: Handshakes::default(),
            crowd: Rc::default(),
            websockets: Rc::default(),
            permits: Permits::new(connections),
            reader: RefCell::new(reader),
            services: RefCell::default(),
            turns: RefCell::default(),
            date: RefCell::new((0, HeaderValue::from_static(""))),
        }
    }
}

async fn arrive(arrivals: &mut Option<mpsc::Receiver<Listener>>) -> Option<Listener> {
    match arrivals {
        Some(arrivals) => arrivals.recv().await,
        None => std::future::pending().await,
    }
}

/// Waits for the connections, then for what has no client, and passes on a deadline that is brought forward.
async fn finish(
    worker: &Worker,
    mut acceptors: JoinSet<()>,
    mut signal: DrainSignal,
    relay: &watch::Sender<drain::Drain>,
) {
    worker.tasks.close();
    let everything = async {
        while acceptors.join_next().await.is_some() {}
        worker.pool.clear();
        worker.outbound.clear();
        worker.tasks.wait().await;
    };
    let mut everything = std::pin::pin!(everything);
    let mut end = relay.subscribe();
    loop {
        tokio::select! {
            () = &mut everything => return,
            changed = signal.changed() => {
                let drain = if changed.is_err() { drain::Drain::Until(Instant::now()) } else { *signal.borrow_and_update() };
                relay.send_replace(drain);
                if changed.is_err() {
                    break;
                }
            }
            () = expired_and(&mut end, LAST_WAIT) => return,
        }
    }
    let _ = tokio::time::timeout(LAST_WAIT, everything).await;
}

async fn expired_and(drain: &mut DrainSignal, more: Duration) {
    drain::expired(drain).await;
    tokio::time::sleep(more).await;
}
