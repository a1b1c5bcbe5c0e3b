//! One source's life with its cluster: which master to ask, when to ask again, when to give a stream up, and what the
//! stream says. A state machine without I/O: bytes and outcomes go in with the time, [`Action`]s come out. Sockets
//! are [`subscribe`](super::subscribe)'s; a simulator drives this as well.
//!
//! Time is the time since an arbitrary start. Invariants:
//! - streams are numbered, rising; every fact carries the number of the stream that said it;
//! - each subscription says, in this order: SnapshotStarted, facts, SnapshotFinished, Live; a stream that is lost
//!   before SnapshotFinished takes its unfinished snapshot with it;
//! - a lost stream is told once, and again only when the reason changes;
//! - attempts never form a busy loop: only the first retry after a stream that went well is immediate.
//!
//! A source that reads the state at an interval goes the same way: each read is a stream that is nothing but a snapshot
//! and ends with it.

use std::collections::{HashSet, VecDeque};
use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::backoff;
use super::decode::StreamDecoder;
use super::leader::{Detected, Target, redirect};
use super::listing::Meanwhile;
use super::refusal::{self, Credentials, Head};
use super::schema::{Element, Item, TaskIdentity};
use super::state_document::{Ended, StateError, StateReader};
use super::translate::{InvalidMessage, Translator};
use crate::cluster::event::{FACTS_PER_EVENT, Fact, SnapshotScope, SourceEvent};
use crate::config::checked::{Masters, MesosConfig, MesosEncoding, MesosMode};
use crate::model::id::{AgentId, SourceName};
use crate::model::network::MastersFacts;
use crate::model::problem::{Problem, ProblemCode};

/// Mesos' own interval, until the master says another.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(15);

/// Redirects that are followed in a row.
const MAX_HOPS: u32 = 5;

/// A stream that lived this long went well: the next attempt starts from scratch.
const STEADY: Duration = Duration::from_secs(30);

/// How much input is decoded before its items are turned into facts: bounds what lies in between.
const SLICE_BYTES: usize = 16 << 10;

/// What the machine wants done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Connect and ask for the stream, or the state. Replaces whatever connection there is.
    Open(Request),
    /// Close the connection, if there is one.
    Disconnect,
    /// Ask for the agents, on a connection apart.
    ListAgents(Request),
    /// Hand this to the writer.
    Emit(SourceEvent),
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The master.
    pub target: Target,
    /// Whether credentials may go along: only to configured masters.
    pub sends_credentials: bool,
}

/// What happened, for metrics; taken and reset by the shell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Subscriptions that a master granted, and states that it began to send.
    pub subscriptions: u64,
    /// Attempts and streams that failed.
    pub failures: u64,
    /// Bytes of streams.
    pub bytes: u64,
    /// Elements and events that could not be read.
    pub unreadable: u64,
    /// Items by kind, in the order of [`EVENT_KINDS`].
    pub events: [u64; EVENT_KINDS.len()],
}

/// Kinds of items, for metrics.
pub const EVENT_KINDS: [&str; 13] = [
    "subscribed",
    "snapshot_task",
    "snapshot_agent",
    "snapshot_framework",
    "task_added",
    "task_updated",
    "agent_added",
    "agent_removed",
    "framework_added",
    "framework_updated",
    "framework_removed",
    "heartbeat",
    "unknown",
];

/// The machine.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    random: fastrand::Rng,
    translator: Translator,
    state: State,
    detected: Detected,
    masters: MastersFacts,
    /// The next of the listed masters to try.
    cursor: usize,
    /// Listed masters tried since the last pause.
    tried: usize,
    failures: u32,
    stream: u64,
    last_error: Option<Arc<str>>,
    /// In [`MesosMode::State`]: whether the last read went well.
    is_current: bool,
    /// Hashes of the tasks that the last good read listed; none before it.
    listed: Option<HashSet<u64>>,
    hasher: RandomState,
    facts: Vec<Fact>,
    items: Vec<Item>,
    actions: VecDeque<Action>,
    counts: Counts,
}

#[derive(Debug)]
struct Settings {
    source: SourceName,
    mode: MesosMode,
    poll_interval: Duration,
    poll_timeout: Duration,
    encoding: MesosEncoding,
    /// The masters to try, where the leader is not detected otherwise.
    listed: Option<Vec<Target>>,
    has_credentials: bool,
    uses_tls: bool,
    missed_heartbeats: u32,
    max_backoff: Duration,
    agents_interval: Duration,
}

#[derive(Debug)]
enum State {
    /// No leader is known.
    Idle,
    /// Pausing.
    Waiting { until: Duration },
    /// Asked, not answered.
    Connecting { request: Request, hops: u32, deadline: Duration },
    /// Subscribed.
    Streaming(Box<Streaming>),
}

#[derive(Debug)]
struct Streaming {
    request: Request,
    decoder: Decoder,
    places: Places,
    /// Redirects that led here.
    hops: u32,
    /// When it is given up, whatever it says.
    limit: Option<Duration>,
    since: Duration,
    last_heard: Duration,
    heartbeat: Duration,
    phase: Phase,
    next_listing: Option<Duration>,
    /// A GET_AGENTS is under way.
    listing: Option<Meanwhile>,
}

/// Where masters were found when one of them answered.
#[derive(Clone, Debug, Default)]
struct Places {
    /// The one that answered, as this machine reaches it.
    peer: Option<SocketAddr>,
    /// Those that are listed.
    listed: Vec<SocketAddr>,
}

#[derive(Debug)]
enum Decoder {
    Stream(StreamDecoder),
    State {
        reader: Box<StateReader>,
        /// The master's clock when it answered.
        date: Option<u64>,
    },
}

#[derive(Debug)]
enum Phase {
    /// Nothing came yet.
    Begun,
    /// Inside SUBSCRIBED.
    Snapshot { recovered: Vec<AgentId> },
    /// Events.
    Live,
}

impl Session {
    /// A session for `config`. `seed` feeds all its randomness; streams are numbered above `base_stream`, which
    /// must rise from one start of the source to the next (the wall clock's milliseconds do).
    pub fn new(config: &MesosConfig, seed: u64, base_stream: u64) -> Self {
        let listed = match &config.masters {
            Masters::List(masters) => Some(masters.iter().filter_map(|text| Target::parse(text)).collect()),
            Masters::ZooKeeper { .. } => None,
        };
        let state = if listed.is_some() { State::Waiting { until: Duration::ZERO } } else { State::Idle };
        Self {
            settings: Settings {
                source: config.name.clone(),
                mode: config.mode,
                poll_interval: config.poll_interval,
                poll_timeout: config.poll_timeout,
                encoding: config.encoding,
                listed,
                has_credentials: config.credentials.is_some(),
                uses_tls: config.tls.is_some(),
                missed_heartbeats: config.missed_heartbeats.max(1),
                max_backoff: config.max_backoff,
                agents_interval: config.agents_interval,
            },
            random: fastrand::Rng::with_seed(seed),
            translator: Translator::new(config.cluster.clone()),
            state,
            detected: Detected::default(),
            masters: MastersFacts::default(),
            cursor: 0,
            tried: 0,
            failures: 0,
            stream: base_stream,
            last_error: None,
            is_current: false,
            listed: None,
            hasher: RandomState::new(),
            facts: Vec::new(),
            items: Vec::new(),
            actions: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// What to do next; to be called until it says `None`.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Session::poll`] has something to do, if nothing else happens.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Idle => None,
            State::Waiting { until } => Some(*until),
            State::Connecting { deadline, .. } => Some(*deadline),
            State::Streaming(streaming) => {
                let silent = streaming.last_heard.saturating_add(self.patience(streaming.heartbeat));
                let others = [streaming.next_listing, streaming.limit];
                Some(others.into_iter().flatten().fold(silent, Duration::min))
            }
        }
    }

    /// Whether facts are kept back; see [`Session::flush`].
    pub fn has_facts(&self) -> bool {
        !self.facts.is_empty()
    }

    /// What happened since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Whether the stream is open and its snapshot complete, or the last read of the state went well.
    pub fn is_live(&self) -> bool {
        self.is_current || matches!(&self.state, State::Streaming(streaming) if matches!(streaming.phase, Phase::Live))
    }

    /// Does what time brings about.
    pub fn poll(&mut self, now: Duration) {
        match &self.state {
            State::Waiting { until } if *until <= now => self.connect(now),
            State::Connecting { request, deadline, .. } if *deadline <= now => {
                let error = match self.settings.mode {
                    MesosMode::Subscribe => format!("{} does not answer the subscription", request.target),
                    MesosMode::State => format!("{} does not answer", request.target),
                };
                self.fail(now, &error);
            }
            State::Streaming(streaming) if streaming.limit.is_some_and(|limit| limit <= now) => {
                let seconds = self.settings.poll_timeout.as_secs();
                let error = format!("{} does not send its whole state within {seconds} s", streaming.request.target);
                self.fail(now, &error);
            }
            State::Streaming(streaming) => {
                let silence = now.saturating_sub(streaming.last_heard);
                if silence >= self.patience(streaming.heartbeat) {
                    let error = format!(
                        "{} has been silent for {} s ({} heartbeats): it hangs or is cut off",
                        streaming.request.target,
                        silence.as_secs(),
                        self.settings.missed_heartbeats
                    );
                    self.fail(now, &error);
                } else if streaming.next_listing.is_some_and(|at| at <= now) {
                    self.list_agents();
                }
            }
            _ => {}
        }
    }

    /// ZooKeeper tells who leads. A new leader takes over at once: the old one's stream is dropped.
    pub fn leader_detected(&mut self, now: Duration, detected: Detected) {
        let is_new = self.detected.leader != detected.leader;
        self.detected = detected;
        self.say_masters(self.detected.facts.clone());
        self.flush();
        let Some(leader) = self.detected.leader.clone() else { return };
        match &self.state {
            // Masters that do not lead come and go; a leader that is being asked, or paused for, goes on being so.
            State::Waiting { .. } | State::Connecting { .. } | State::Streaming(_) if !is_new => {}
            State::Connecting { request, .. } if request.target.is_same_server(&leader) => {}
            State::Streaming(streaming) if streaming.request.target.is_same_server(&leader) => {}
            State::Streaming(streaming) => {
                let error = format!("the leader changed from {} to {leader}", streaming.request.target);
                self.say_lost(&error);
                self.failures = 0;
                self.connect(now);
            }
            _ => {
                self.failures = 0;
                self.connect(now);
            }
        }
    }

    /// ZooKeeper cannot be asked; the leader known last goes on counting. Told only while there is no stream.
    pub fn detection_failed(&mut self, error: &str) {
        if matches!(self.state, State::Idle) {
            self.counts.failures += 1;
            self.say_lost(error);
        }
    }

    /// The master answered the subscription's request. `peer` and `masters` are the addresses behind its name and
    /// those of the listed masters.
    ///
    /// A state says itself who leads, and whether the one that answered does: nothing is said of masters before it is
    /// complete. The stream of events says nothing of the kind, and only the leader grants it.
    pub fn answered(&mut self, now: Duration, head: &Head, peer: Option<SocketAddr>, masters: &[SocketAddr]) {
        let State::Connecting { request, hops, .. } = &self.state else { return };
        let (request, hops) = (request.clone(), *hops);
        if let (307 | 302 | 308, Some(location)) = (head.status, &head.location) {
            return self.follow(now, &request.target, location, hops);
        }
        let credentials = Credentials::of(self.settings.has_credentials, request.sends_credentials);
        match refusal::explain(head, self.media_type(), &request.target, credentials) {
            Some(error) => self.fail(now, &error),
            None => match self.decoder(head) {
                Ok(decoder) => {
                    self.accept(now, request, hops, decoder, Places { peer, listed: masters.to_vec() });
                }
                Err(error) => self.fail(now, &format!("{}: {error}", request.target)),
            },
        }
    }

    fn decoder(&self, head: &Head) -> Result<Decoder, StateError> {
        Ok(match self.settings.mode {
            MesosMode::Subscribe => Decoder::Stream(StreamDecoder::new(self.settings.encoding)),
            MesosMode::State => {
                let reader = StateReader::new(head.content_encoding.as_deref(), self.hasher.clone())?;
                Decoder::State { reader: Box::new(reader), date: head.date }
            }
        })
    }

    /// The connection could not be made, or broke.
    pub fn failed(&mut self, now: Duration, error: &str) {
        if matches!(self.state, State::Connecting { .. } | State::Streaming(_)) {
            self.fail(now, error);
        }
    }

    /// The stream ended in order: the master gave it up (too many subscribers) or ended it. Asked again at once,
    /// unless the stream was short and followed another that ended or failed.
    pub fn ended(&mut self, now: Duration) {
        let State::Streaming(streaming) = &self.state else { return };
        let target = streaming.request.target.clone();
        let Decoder::Stream(decoder) = &streaming.decoder else { return self.state_ended(now) };
        if !decoder.is_between_records() {
            return self.fail(now, &format!("{target} ended the stream within a record"));
        }
        if self.steady(now) {
            self.failures = 0;
        }
        self.say_lost(&format!("{target} ended the stream; subscribing again"));
        // The same master is the first to be asked.
        self.tried = 0;
        self.pause(now);
        self.failures = self.failures.saturating_add(1);
    }

    /// More of the stream. Facts are kept until there are enough of them for an event; see [`Session::flush`].
    pub fn received(&mut self, now: Duration, bytes: &[u8]) {
        for slice in bytes.chunks(SLICE_BYTES) {
            let State::Streaming(streaming) = &mut self.state else { return };
            streaming.last_heard = now;
            self.counts.bytes += slice.len() as u64;
            let mut items = std::mem::take(&mut self.items);
            let result = streaming.decoder.push(slice, &mut items).map_err(|error| error.to_string());
            let target = streaming.request.target.clone();
            for item in items.drain(..) {
                self.item(now, item);
            }
            self.items = items;
            // An item may have ended the stream already.
            if let (Err(error), State::Streaming(_)) = (result, &self.state) {
                return self.fail(now, &format!("{target}: {error}"));
            }
        }
    }

    /// Hands on the facts that are kept. To be called when no more input is at hand, so that nothing waits.
    pub fn flush(&mut self) {
        if !self.facts.is_empty() {
            let facts = std::mem::take(&mut self.facts);
            let event = SourceEvent { source: self.settings.source.clone(), stream: self.stream, facts };
            self.actions.push_back(Action::Emit(event));
        }
    }

    /// Somebody wants a second complete read: subscribes anew. Nothing to do where a read is under way or the next
    /// attempt will make one.
    pub fn request_snapshot(&mut self, now: Duration) {
        let is_reading = self.settings.mode == MesosMode::State && !matches!(self.state, State::Waiting { .. });
        if self.is_live() && !is_reading {
            self.flush();
            self.connect(now);
        }
    }

    /// The answer to [`Action::ListAgents`]: the items of a complete GET_AGENTS, or why there is none.
    pub fn agents_listed(&mut self, now: Duration, answer: Result<Vec<Item>, String>) {
        let State::Streaming(streaming) = &mut self.state else { return };
        let Some(meanwhile) = streaming.listing.take() else { return };
        streaming.next_listing = Some(now.saturating_add(self.settings.agents_interval));
        let items = match answer {
            Ok(items) => items,
            Err(error) => {
                self.counts.failures += 1;
                tracing::warn!(source = %self.settings.source, error, "agents could not be listed");
                return;
            }
        };
        let mut agents = Vec::with_capacity(items.len());
        for item in items {
            let agent = match item {
                Item::Agent(agent) => self.translator.agent(&agent),
                Item::RecoveredAgent(agent) => self.translator.recovered_agent(&agent),
                // An agent that cannot be read would seem to be gone: rather no list than a wrong one.
                Item::Unreadable { element, task, error } => {
                    self.unreadable(element, task, &error.to_string());
                    return self.flush();
                }
                _ => continue,
            };
            match agent {
                Ok(agent) => agents.push(agent),
                Err(error) => {
                    self.invalid(error);
                    return self.flush();
                }
            }
        }
        self.push(Fact::AgentsListed(meanwhile.put_over(agents)));
        self.flush();
    }

    /// The whole answer to `GET /master/state` has come.
    fn state_ended(&mut self, now: Duration) {
        let State::Streaming(streaming) = &mut self.state else { return };
        let Decoder::State { reader, date } = &mut streaming.decoder else { return };
        let mut items = Vec::new();
        let (target, hops, date) = (streaming.request.target.clone(), streaming.hops, *date);
        let result = reader.finish(date, &mut items);
        for item in items {
            self.item(now, item);
        }
        match result {
            Ok(ended) => self.finish_state(now, ended),
            Err(StateError::NotLeading { leader: Some(leader) }) if hops < MAX_HOPS => {
                match Target::of_pid(&leader).filter(|leader| !leader.is_same_server(&target)) {
                    Some(leader) => self.open(now, leader, hops + 1),
                    None => self.fail(now, &format!("{target} does not lead, and names {leader:?} as leader")),
                }
            }
            Err(error) => self.fail(now, &format!("{target}: {error}")),
        }
    }

    /// The state is complete, and a leader's.
    fn finish_state(&mut self, now: Duration, ended: Ended) {
        let pause = jittered(self.settings.poll_interval, &mut self.random);
        let waiting = State::Waiting { until: now.saturating_add(pause) };
        let State::Streaming(streaming) = std::mem::replace(&mut self.state, waiting) else { return };
        self.actions.push_back(Action::Disconnect);
        let Streaming { decoder, phase, places, .. } = *streaming;
        let (Decoder::State { reader, .. }, Phase::Snapshot { recovered }) = (decoder, phase) else { return };
        // The master may be behind a proxy: its own address is what others are to be told.
        self.say_leader(ended.leader.or(places.peer), &places.listed);
        for (framework, task) in ended.tasks {
            // Only tasks that were listed before: the others are known to have ended, or not at all.
            let is_news = self.listed.as_ref().is_none_or(|listed| listed.contains(&reader.hash(&framework, &task)));
            if is_news {
                let status = self.translator.ended(&framework, &task);
                self.push(Fact::Status(Box::new(status)));
            }
        }
        for framework in ended.frameworks {
            let id = self.translator.framework_id(&framework);
            self.push(Fact::FrameworkGone(id));
        }
        self.listed = Some(reader.into_listed());
        self.tried = 0;
        self.failures = 0;
        self.last_error = None;
        self.is_current = true;
        self.push(Fact::SnapshotFinished(SnapshotScope { recovered_agents: recovered, authoritative: false }));
        self.push(Fact::Live);
        self.flush();
    }

    fn media_type(&self) -> &'static str {
        match (self.settings.mode, self.settings.encoding) {
            (MesosMode::Subscribe, MesosEncoding::Protobuf) => refusal::PROTOBUF,
            (MesosMode::Subscribe, MesosEncoding::Json) | (MesosMode::State, _) => refusal::JSON,
        }
    }

    fn patience(&self, heartbeat: Duration) -> Duration {
        heartbeat.saturating_mul(self.settings.missed_heartbeats)
    }

    /// Whether the present stream lived long enough to count as good.
    fn steady(&self, now: Duration) -> bool {
        matches!(&self.state, State::Streaming(streaming) if now.saturating_sub(streaming.since) >= STEADY)
    }

    /// Asks the leader, or the next of the listed masters.
    fn connect(&mut self, now: Duration) {
        let target = match &self.settings.listed {
            Some(listed) => listed.get(self.cursor % listed.len().max(1)).cloned(),
            None => self.detected.leader.clone(),
        };
        match target {
            Some(target) => self.open(now, target, 0),
            None => self.state = State::Idle,
        }
    }

    fn open(&mut self, now: Duration, target: Target, hops: u32) {
        let (target, patience) = match self.settings.mode {
            MesosMode::Subscribe => (target, self.patience(DEFAULT_HEARTBEAT)),
            MesosMode::State => (target.for_state(), self.settings.poll_timeout),
        };
        let request = Request { sends_credentials: self.is_configured(&target), target };
        let deadline = now.saturating_add(patience);
        self.actions.push_back(Action::Open(request.clone()));
        self.state = State::Connecting { request, hops, deadline };
    }

    /// Whether credentials may be sent there.
    fn is_configured(&self, target: &Target) -> bool {
        let known = self.settings.listed.as_ref().unwrap_or(&self.detected.masters);
        self.settings.has_credentials && known.iter().any(|master| master.is_same_server(target))
    }

    fn follow(&mut self, now: Duration, from: &Target, location: &str, hops: u32) {
        if hops == MAX_HOPS {
            return self
                .fail(now, &format!("{from} redirects once more after {MAX_HOPS} redirects: no leader is agreed on"));
        }
        match redirect(location, from, self.settings.uses_tls) {
            Ok(target) => self.open(now, target, hops + 1),
            Err(error) => self.fail(now, &format!("{from} cannot be followed: {error}")),
        }
    }

    fn accept(&mut self, now: Duration, request: Request, hops: u32, decoder: Decoder, places: Places) {
        self.stream += 1;
        self.counts.subscriptions += 1;
        let (phase, limit) = match &decoder {
            Decoder::Stream(_) => {
                self.say_leader(places.peer, &places.listed);
                (Phase::Begun, None)
            }
            Decoder::State { .. } => {
                self.push(Fact::SnapshotStarted);
                (Phase::Snapshot { recovered: Vec::new() }, Some(now.saturating_add(self.settings.poll_timeout)))
            }
        };
        self.state = State::Streaming(Box::new(Streaming {
            request,
            decoder,
            places,
            hops,
            limit,
            since: now,
            last_heard: now,
            heartbeat: DEFAULT_HEARTBEAT,
            phase,
            next_listing: None,
            listing: None,
        }));
    }

    fn fail(&mut self, now: Duration, error: &str) {
        self.counts.failures += 1;
        if self.steady(now) {
            self.failures = 0;
        }
        self.say_lost(error);
        if let Some(listed) = &self.settings.listed {
            self.cursor = (self.cursor + 1) % listed.len().max(1);
            self.tried += 1;
            if self.tried < listed.len() {
                // Another master may lead: no pause within a round.
                self.actions.push_back(Action::Disconnect);
                return self.connect(now);
            }
        }
        self.tried = 0;
        self.failures = self.failures.saturating_add(1);
        self.pause(now);
    }

    fn pause(&mut self, now: Duration) {
        self.actions.push_back(Action::Disconnect);
        let pause = backoff::pause(self.failures, self.settings.max_backoff, &mut self.random);
        self.state = State::Waiting { until: now.saturating_add(pause) };
    }

    fn list_agents(&mut self) {
        if let State::Streaming(streaming) = &mut self.state {
            streaming.next_listing = None;
            streaming.listing = Some(Meanwhile::default());
            self.actions.push_back(Action::ListAgents(streaming.request.clone()));
        }
    }

    fn say_lost(&mut self, error: &str) {
        self.is_current = false;
        if self.last_error.as_deref() != Some(error) {
            let error: Arc<str> = error.into();
            self.last_error = Some(error.clone());
            self.push(Fact::Lost { error });
        }
        self.flush();
    }

    /// Who leads, where ZooKeeper does not say it.
    fn say_leader(&mut self, leader: Option<SocketAddr>, listed: &[SocketAddr]) {
        if self.settings.listed.is_some() {
            self.say_masters(MastersFacts::listed(leader, listed));
        }
    }

    fn say_masters(&mut self, masters: MastersFacts) {
        if self.masters != masters {
            self.masters = masters.clone();
            self.push(Fact::Masters(masters));
        }
    }

    fn push(&mut self, fact: Fact) {
        self.facts.push(fact);
        if self.facts.len() >= FACTS_PER_EVENT {
            self.flush();
        }
    }

    fn push_or_report(&mut self, fact: Result<Fact, InvalidMessage>) {
        match fact {
            Ok(fact) => self.push(fact),
            Err(error) => self.invalid(error),
        }
    }

    fn item(&mut self, now: Duration, item: Item) {
        let State::Streaming(streaming) = &mut self.state else { return };
        if let Some(kind) = kind(&item) {
            self.counts.events[kind] += 1;
        }
        match item {
            Item::SnapshotStarted => {
                streaming.phase = Phase::Snapshot { recovered: Vec::new() };
                self.push(Fact::SnapshotStarted);
            }
            Item::HeartbeatInterval(seconds) => streaming.heartbeat = heartbeat(seconds),
            Item::SnapshotFinished => self.finish_snapshot(now),
            Item::Heartbeat | Item::UnknownEvent(_) => {}
            _ if matches!(streaming.phase, Phase::Begun) => {
                let error = format!("{} does not begin with SUBSCRIBED", streaming.request.target);
                self.fail(now, &error);
            }
            Item::Unreadable { element, task, error } => self.unreadable(element, task, &error.to_string()),
            item => self.fact(item),
        }
    }

    fn finish_snapshot(&mut self, now: Duration) {
        let State::Streaming(streaming) = &mut self.state else { return };
        if let Phase::Snapshot { recovered } = std::mem::replace(&mut streaming.phase, Phase::Live) {
            let interval = self.settings.agents_interval;
            streaming.next_listing = (!interval.is_zero()).then(|| now.saturating_add(interval));
            self.tried = 0;
            self.last_error = None;
            self.push(Fact::SnapshotFinished(SnapshotScope { recovered_agents: recovered, authoritative: false }));
            self.push(Fact::Live);
        }
    }

    /// An item that is a fact.
    fn fact(&mut self, item: Item) {
        let State::Streaming(streaming) = &mut self.state else { return };
        let translator = &mut self.translator;
        let fact = match item {
            Item::Task(task) | Item::TaskAdded(task) => translator.task(&task).map(|task| Fact::Task(Box::new(task))),
            Item::TaskUpdated(update) => translator.status(&update).map(|status| Fact::Status(Box::new(status))),
            Item::Agent(agent) => translator.agent(&agent).map(|agent| Fact::Agent(Box::new(agent))),
            Item::AgentAdded(agent) => translator.agent(&agent).map(|agent| {
                if let Some(meanwhile) = &mut streaming.listing {
                    meanwhile.added(&agent);
                }
                Fact::Agent(Box::new(agent))
            }),
            Item::RecoveredAgent(agent) => translator.recovered_agent(&agent).map(|agent| {
                if let Phase::Snapshot { recovered } = &mut streaming.phase {
                    recovered.push(agent.id.clone());
                }
                Fact::Agent(Box::new(agent))
            }),
            Item::AgentRemoved(id) => {
                let id = translator.agent_id(&id);
                if let Some(meanwhile) = &mut streaming.listing {
                    meanwhile.removed(&id);
                }
                Ok(Fact::AgentGone(id))
            }
            Item::Framework(framework) | Item::FrameworkAdded(framework) | Item::FrameworkUpdated(framework) => {
                translator.framework(&framework).map(|framework| Fact::Framework(Box::new(framework)))
            }
            Item::FrameworkRemoved(id) => Ok(Fact::FrameworkGone(translator.framework_id(&id))),
            Item::StateFramework(framework, pid) => translator
                .framework_at(&framework, pid.as_deref())
                .map(|framework| Fact::Framework(Box::new(framework))),
            _ => return,
        };
        self.push_or_report(fact);
    }

    fn invalid(&mut self, error: InvalidMessage) {
        self.counts.unreadable += 1;
        self.problem(error.message, &error.to_string());
    }

    fn unreadable(&mut self, element: Element, task: Option<TaskIdentity>, error: &str) {
        self.counts.unreadable += 1;
        let Some(TaskIdentity { framework, task }) = task else { return self.problem(element.as_str(), error) };
        self.problem(&format!("{} {task}", element.as_str()), error);
        // It is there, whatever it looks like: not listing it would seem to be its end.
        let key = self.translator.key(&framework, &task);
        self.push(Fact::TaskUnreadable(key));
    }

    fn problem(&mut self, at: &str, message: &str) {
        let mend = match self.settings.mode {
            MesosMode::Subscribe => {
                "compare with the master's own answer to GET_STATE; if that is right, report it with the task's or \
                 agent's definition"
            }
            MesosMode::State => {
                "compare with the master's own answer at /master/state; what is named here is left out, and nothing else"
            }
        };
        self.push(Fact::Problem(Box::new(Problem {
            code: ProblemCode::InvalidFact,
            subject: self.settings.source.shared(),
            at: at.into(),
            message: message.into(),
            mend: mend.into(),
        })));
    }
}

impl Decoder {
    fn push(&mut self, bytes: &[u8], items: &mut Vec<Item>) -> Result<(), StateError> {
        match self {
            Self::Stream(decoder) => Ok(decoder.push(bytes, items)?),
            Self::State { reader, .. } => reader.push(bytes, items),
        }
    }
}

/// A tenth more or less, so that many readers of one master do not ask it together.
fn jittered(interval: Duration, random: &mut fastrand::Rng) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random.f64())
}

/// The interval that the master promises, within reason.
fn heartbeat(seconds: f64) -> Duration {
    if seconds.is_finite() && seconds > 0.0 {
        Duration::from_secs_f64(seconds.clamp(0.01, 3600.0))
    } else {
        DEFAULT_HEARTBEAT
    }
}

/// The index of an item's kind in [`EVENT_KINDS`]; none for parts of a snapshot that are no elements.
fn kind(item: &Item) -> Option<usize> {
    Some(match item {
        Item::HeartbeatInterval(_) | Item::SnapshotFinished | Item::State(_) => return None,
        Item::SnapshotStarted => 0,
        Item::Task(_) => 1,
        Item::Agent(_) | Item::RecoveredAgent(_) => 2,
        Item::Framework(_) | Item::StateFramework(..) => 3,
        Item::TaskAdded(_) => 4,
        Item::TaskUpdated(_) => 5,
        Item::AgentAdded(_) => 6,
        Item::AgentRemoved(_) => 7,
        Item::FrameworkAdded(_) => 8,
        Item::FrameworkUpdated(_) => 9,
        Item::FrameworkRemoved(_) => 10,
        Item::Heartbeat => 11,
        Item::UnknownEvent(_) | Item::Unreadable { .. } => 12,
    })
}
