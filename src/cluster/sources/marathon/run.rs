//! The life of the source: a thread of its own that follows Marathon's events and reads what they name.
//!
//! ```text
//! next URL → /v2/info → /v2/events open → everything read → Live → event → the app it names read → … → lost → pause
//! ```
//!
//! Events are read while an answer is awaited: Marathon drops a client that lags behind.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::changes::{self, Changed, SUBSCRIBED};
use super::client::Client;
use super::deployments::{self, DeploymentEvent};
use super::ended::Ended;
use super::killing::{Killing, LONGEST};
use super::listing::Listing;
use super::metrics::{MarathonMetrics, SourceMetrics};
use super::pods;
use super::reading::{self, Document, PODS, Read, Reading};
use super::reads::Reads;
use super::sse::{Decoder, TooLong};
use super::translate::{self, Said, SaidTask, Scope, Unread};
use super::wire::Info;
use crate::cluster::event::{
    ClusterEvent, DeclaredApp, EventSender, FACTS_PER_EVENT, Fact, SnapshotScope, SourceEvent,
};
use crate::cluster::sources::http::{Answer, ClientError, Target};
use crate::cluster::sources::mesos::backoff;
use crate::cluster::sources::mesos::subscribe::{SourceControl, SourceThread};
use crate::config::checked::MarathonConfig;
use crate::model::agent::AgentFacts;
use crate::model::framework::FrameworkFacts;
use crate::model::id::TaskKey;
use crate::model::task::{Health, TaskState, TaskStatus};
use crate::model::time::Timestamp;

/// How long a host's address is believed.
const HOST_TIME: Duration = Duration::from_secs(60);
/// Between an event that cannot be understood and the list that tells what it meant: more of them may come.
const LIST_PAUSE: Duration = Duration::from_secs(1);
/// For the look-up of a host.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the source of one Marathon. `alone`: no Mesos source tells of its cluster.
///
/// # Errors
/// The thread or its runtime cannot be made.
pub fn spawn(
    config: MarathonConfig,
    alone: bool,
    events: EventSender,
    metrics: &MarathonMetrics,
) -> std::io::Result<SourceThread> {
    let metrics = metrics.source(&config.name);
    let (stop, snapshot) = (CancellationToken::new(), Arc::new(Notify::new()));
    let control = SourceControl::new(config.name.clone(), stop.clone(), snapshot.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name(format!("marathon-{}", config.name)).spawn(move || {
        let source = Source::new(config, alone, events, snapshot, metrics);
        runtime.block_on(stop.run_until_cancelled(source.run()));
    })?;
    Ok(SourceThread::new(control, thread))
}

pub(super) struct Source {
    config: MarathonConfig,
    alone: bool,
    client: Client,
    events: EventSender,
    snapshot: Arc<Notify>,
    metrics: SourceMetrics,
    stream: u64,
    failures: u32,
    random: fastrand::Rng,
    /// By app or pod, as last read.
    known: HashMap<String, Known>,
    ended: Ended,
    hosts: HashMap<String, (Option<IpAddr>, Instant)>,
    agents: HashMap<String, Option<IpAddr>>,
    last_error: Option<String>,
    /// Tasks that are taken out of service with the answer that is being taken over, which may show them as running.
    pub(super) leaving: Vec<String>,
    /// What was wrong with the list of deployments.
    unread_deployments: Vec<Fact>,
}

/// What was said of an app or a pod.
#[derive(Default)]
struct Known {
    apps: Vec<DeclaredApp>,
    /// Its tasks.
    tasks: HashMap<TaskKey, Seen>,
}

/// What becomes of a task's requests, as far as the source can tell.
#[derive(Clone, Default)]
struct Seen {
    /// What it is of: its app, or a pod's container.
    name: Arc<str>,
    /// They may have reached it: then it is not held back when a readiness check, which speaks during a deployment alone, has
    /// nothing to say of it.
    has_served: bool,
    /// They reach it now, beyond doubt: it may stand in for another task of its app.
    serves: bool,
}

/// Why a stream is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Over {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("{0}")]
    Other(String),
    #[error("the program stops")]
    Stopping,
}

/// A stream that is followed, and what is still to be read.
pub(super) struct Following {
    info: Info,
    pub(super) scope: Scope,
    decoder: Decoder,
    pub(super) reads: Reads,
    listing: Listing,
    pub(super) killing: Killing,
    /// When everything was read last.
    whole_at: Instant,
    /// Everything was read once.
    live: bool,
}

impl Following {
    /// What is heard of from here on is read; everything is, at first.
    pub(super) fn new(info: Info, scope: Scope, now: Instant) -> Self {
        let mut reads = Reads::default();
        reads.want_everything();
        let (decoder, listing) = (Decoder::default(), Listing::new(now));
        Self { info, scope, decoder, reads, listing, killing: Killing::default(), whole_at: now, live: false }
    }

    /// Everything may have changed without a word.
    fn want_all(&mut self, now: Instant) {
        self.reads.want_everything();
        self.listing.want(now);
    }
}

impl Source {
    pub(super) fn new(
        config: MarathonConfig,
        alone: bool,
        events: EventSender,
        snapshot: Arc<Notify>,
        metrics: SourceMetrics,
    ) -> Self {
        Self {
            client: Client::new(config.clone()),
            config,
            alone,
            events,
            snapshot,
            metrics,
            // A source that is started anew, with other settings, goes before its former self.
            stream: Timestamp::now().0,
            failures: 0,
            random: fastrand::Rng::new(),
            known: HashMap::new(),
            ended: Ended::default(),
            hosts: HashMap::new(),
            agents: HashMap::new(),
            last_error: None,
            leaving: Vec::new(),
            unread_deployments: Vec::new(),
        }
    }

    async fn run(mut self) {
        let targets: Vec<Target> = self.config.urls.iter().filter_map(|url| Target::parse(url)).collect();
        for turn in 0usize.. {
            let Some(target) = targets.get(turn % targets.len().max(1)) else { return };
            self.stream += 1;
            // What was read belongs to the stream that read it; the next one reads everything again.
            let Err(over) = Box::pin(self.follow(target)).await else { return };
            if matches!(over, Over::Stopping) {
                return;
            }
            self.metrics.live.set(0);
            self.metrics.failures.inc();
            let error = over.to_string();
            tracing::warn!(source = %self.config.name, error, "Marathon's events are interrupted");
            if self.last_error.as_ref() != Some(&error) {
                self.last_error = Some(error.clone());
                if self.emit(vec![Fact::Lost { error: error.into() }]).await.is_break() {
                    return;
                }
            }
            self.failures += 1;
            // Every address of a list is tried before the first pause.
            if turn % targets.len() == targets.len() - 1 || self.failures as usize >= targets.len() {
                let pause = backoff::pause(self.failures, self.config.max_backoff, &mut self.random);
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// One stream, from its opening to its end.
    async fn follow(&mut self, target: &Target) -> Result<(), Over> {
        let (info, scope) = self.introduce(target).await?;
        // The stream first: what changes while everything is read is then heard of.
        let mut stream = self.client.get(target, &subscription(), "text/event-stream").await?;
        self.metrics.streams.inc();
        tracing::info!(source = %self.config.name, marathon = %stream.target, "following Marathon's events");
        let mut on = Following::new(info, scope, Instant::now());
        self.unread_deployments.clear();
        let over = self.listen(target, &mut stream, &mut on).await;
        // Whoever is held back is so no longer: the next stream may be long in coming.
        let mut held = std::mem::take(&mut self.leaving);
        held.extend(on.killing.end());
        self.withdraw(&held, TaskState::Killing, &on.scope).await?;
        over
    }

    /// Follows a stream until it is over.
    async fn listen(&mut self, target: &Target, stream: &mut Answer, on: &mut Following) -> Result<(), Over> {
        let client = Client::new(self.config.clone());
        let (mut reading, mut listing) = (None, None);
        let mut heard = Instant::now();
        let snapshot = self.snapshot.clone();
        loop {
            let now = Instant::now();
            // Here, since a stream that is never silent lets nothing below have its turn.
            let overdue = on.killing.overdue(now);
            self.withdraw(&overdue, TaskState::Killing, &on.scope).await?;
            if reading.is_none() {
                reading = on.reads.next(now).map(|next| reading::read(&client, target, next));
            }
            if on.listing.begin(now) {
                listing = Some(reading::deployments(&client, target));
            }
            let retry = on.reads.next_retry().filter(|_| reading.is_none());
            tokio::select! {
                // The stream first: Marathon drops a client that lags.
                biased;
                bytes = stream.next() => {
                    heard = Instant::now();
                    let Some(bytes) = bytes? else {
                        return Err(Over::Other(format!("{} ended the stream of events", stream.target)));
                    };
                    self.hear(&bytes, on).await?;
                }
                read = pending_or(reading.as_mut()) => {
                    reading = None;
                    self.take(read, on).await?;
                }
                document = pending_or(listing.as_mut()) => {
                    listing = None;
                    self.take_deployments(&document, on).await?;
                }
                () = until(retry) => {}
                () = until(on.listing.due()) => {}
                () = until(on.killing.due()) => {}
                () = snapshot.notified() => on.want_all(Instant::now()),
                () = tokio::time::sleep_until(heard + self.config.silence) => {
                    let silence = self.config.silence.as_secs_f64();
                    return Err(Over::Other(format!("{} was silent for {silence} s", stream.target)));
                }
                () = tokio::time::sleep_until(on.whole_at + self.config.resync),
                    if on.live && !on.reads.wants_everything() =>
                {
                    on.whole_at = Instant::now();
                    on.want_all(on.whole_at);
                }
            }
        }
    }

    /// Something came on the stream.
    pub(super) async fn hear(&mut self, bytes: &[u8], on: &mut Following) -> Result<(), Over> {
        self.metrics.heard(Timestamp::now());
        for event in on.decoder.push(bytes)? {
            self.metrics.events.inc();
            let changed = changes::of(&event.name, event.data.as_bytes());
            self.leaving(&changed, on).await?;
            if let Some(event) = &changed.deployment {
                self.hear_of_deployment(event, on).await?;
            }
            if changed.everything {
                on.reads.want_everything();
            }
            on.reads.want(changed.ids);
        }
        Ok(())
    }

    /// What cannot be understood of a deployment, the list tells.
    async fn hear_of_deployment(&mut self, event: &DeploymentEvent, on: &mut Following) -> Result<(), Over> {
        match deployments::heard(event, &on.scope, Timestamp::now()) {
            Ok(heard) => {
                on.listing.hear(heard.id);
                self.say(heard.facts).await
            }
            Err(problem) => {
                on.listing.want(Instant::now() + LIST_PAUSE);
                self.say(vec![Fact::Problem(Box::new(problem))]).await
            }
        }
    }

    /// An answer came, or did not.
    async fn take(&mut self, read: Read, on: &mut Following) -> Result<(), Over> {
        self.count(&read);
        on.reads.end();
        match read {
            Read::Everything(read) => {
                let (apps, pods) = read?;
                self.leaving = on.killing.answered(None);
                on.whole_at = Instant::now();
                self.take_everything(&apps, pods.as_deref(), on).await?;
                on.live = true;
                self.metrics.live.set(1);
                self.failures = 0;
                self.last_error = None;
            }
            Read::One(id, Ok((app, pod))) => {
                on.reads.succeeded(&id);
                self.leaving = on.killing.answered(Some(&id));
                self.take_one(&id, app.as_deref(), pod.as_deref(), &on.scope).await?;
            }
            // The stream goes on, and so do the others.
            Read::One(id, Err(error)) => {
                self.metrics.failures.inc();
                tracing::warn!(source = %self.config.name, app = id, error = %error, "an app cannot be read");
                let (most, random) = (self.config.max_backoff, &mut self.random);
                on.reads.fail(&id, Instant::now(), |failures| backoff::pause(failures, most, random));
                self.leaving = on.killing.answered(Some(&id));
            }
        }
        // Also those that the answer did not have.
        let leaving = std::mem::take(&mut self.leaving);
        self.withdraw(&leaving, TaskState::Killing, &on.scope).await
    }

    /// The list of deployments came, or did not: nothing else waits for it. A Marathon without one says nothing of them.
    async fn take_deployments(&mut self, document: &Document, on: &mut Following) -> Result<(), Over> {
        let fresh = match document {
            Ok(_) => on.listing.finish(),
            Err(_) => {
                let (most, random) = (self.config.max_backoff, &mut self.random);
                on.listing.fail(Instant::now(), |failures| backoff::pause(failures, most, random));
                BTreeSet::new()
            }
        };
        let list = match document {
            Ok(None) => Ok((Vec::new(), Vec::new())),
            Ok(Some(list)) => deployments::listed(list, fresh, &on.scope).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let (mut facts, problems) = list.unwrap_or_else(|error| {
            self.metrics.failures.inc();
            tracing::warn!(source = %self.config.name, error, "the deployments cannot be read");
            (Vec::new(), vec![deployments::unreadable_list(&error)])
        });
        self.unread_deployments = problems.into_iter().map(|problem| Fact::Problem(Box::new(problem))).collect();
        facts.extend(self.unread_deployments.iter().cloned());
        self.say(facts).await
    }

    /// Who answers, and for which framework it speaks.
    async fn introduce(&self, target: &Target) -> Result<(Info, Scope), Over> {
        let info = self.client.read(target, "/v2/info").await?;
        let info: Info =
            serde_json::from_slice(&info).map_err(|error| Over::Other(format!("{target}/v2/info: {error}")))?;
        let Some(framework) = info.framework_id.clone() else {
            return Err(Over::Other(format!("{target} is not registered at a master yet")));
        };
        let scope = Scope {
            cluster: self.config.cluster.clone(),
            framework: framework.as_str().into(),
            use_health: self.config.use_health,
            active_checks: self.config.active_checks,
        };
        Ok((info, scope))
    }

    fn count(&self, read: &Read) {
        let (counter, first, second) = match read {
            Read::Everything(Ok((apps, pods))) => (&self.metrics.reads_whole, Some(apps), pods.as_ref()),
            Read::One(_, Ok((app, pod))) => (&self.metrics.reads_one, app.as_ref(), pod.as_ref()),
            Read::Everything(Err(_)) | Read::One(_, Err(_)) => return,
        };
        counter.inc();
        let octets: usize = [first, second].into_iter().flatten().map(Bytes::len).sum();
        self.metrics.bytes.inc_by(octets as u64);
    }

    /// A task that an event says is going: nothing new is sent there while its app is read. One that has its grace, and that no
    /// other is known to stand in for, waits for what was said of its app before.
    async fn leaving(&mut self, changed: &Changed, on: &mut Following) -> Result<(), Over> {
        let Some((id, state)) = &changed.leaving else { return Ok(()) };
        if state.is_final() {
            self.ended.add(id);
            on.killing.forget(id);
        } else {
            let answers = changed.ids.iter().map(|app| on.reads.awaited(app)).max().unwrap_or(0);
            let until = self.is_alone(id, &changed.ids).then(|| Instant::now() + LONGEST);
            if answers > 0 && on.killing.add(id, &changed.ids, answers, until) && until.is_some() {
                return Ok(());
            }
        }
        self.withdraw(std::slice::from_ref(id), *state, &on.scope).await
    }

    /// Whether no other task of these apps is known to serve what it serves: of a pod's containers only those of the same name
    /// do. Which ones serve, checks that are made here decide too.
    fn is_alone(&self, task: &str, apps: &BTreeSet<String>) -> bool {
        let tasks = || apps.iter().filter_map(|app| self.known.get(app)).flat_map(|known| &known.tasks);
        let Some((_, own)) = tasks().find(|(key, _)| key.task() == task) else { return true };
        let mut others = tasks().filter(|(key, seen)| key.task() != task && seen.name == own.name);
        self.config.active_checks || !others.any(|(_, seen)| seen.serves)
    }

    /// These tasks, as far as they are known, are going away or gone.
    async fn withdraw(&mut self, tasks: &[String], state: TaskState, scope: &Scope) -> Result<(), Over> {
        let mut facts = Vec::new();
        for id in tasks {
            let key = TaskKey::new(scope.cluster.clone(), scope.framework.clone(), id.as_str());
            if let Some(seen) = self.known.values_mut().find_map(|known| known.tasks.get_mut(&key)) {
                seen.serves = false;
                facts.push(Fact::Status(Box::new(TaskStatus {
                    key,
                    state,
                    health: None,
                    addresses: None,
                    networks: None,
                    labelled: None,
                    agent: None,
                    unreachable_since: None,
                })));
            }
        }
        self.say(facts).await
    }

    async fn take_everything(&mut self, apps: &[u8], pods: Option<&[u8]>, on: &Following) -> Result<(), Over> {
        let scope = &on.scope;
        let apps = translate::apps(apps).map_err(|error| Over::Other(format!("/v2/apps: {error}")))?;
        // Without an answer Marathon is of a version that has no pods. One that is no list of pods says nothing of them.
        let pods = pods.map(translate::pods).transpose();
        let pods = pods.map_err(|error| Over::Other(format!("{PODS}: {error}")))?.unwrap_or_default();
        let read = apps.into_iter().map(|raw| translate::app(raw, scope));
        let read: Vec<_> = read.chain(pods.into_iter().map(|raw| pods::pod(raw, scope))).collect();
        let mut facts = vec![Fact::SnapshotStarted];
        if self.alone {
            facts.push(Fact::Framework(Box::new(framework(&on.info, scope))));
        }
        self.agents.clear();
        let mut problems = Vec::new();
        let (mut former, mut known) = (std::mem::take(&mut self.known), HashMap::new());
        let mut nameless = false;
        for said in read {
            match said {
                Ok(said) => {
                    let before = former.remove(&said.id).unwrap_or_default();
                    known.insert(said.id.clone(), self.add(said, &before, scope, &mut facts, &mut problems).await);
                }
                Err(unread) => {
                    nameless |= unread.id.is_empty();
                    let before = former.remove(&unread.id).unwrap_or_default();
                    let (id, kept) = keep(*unread, before, &mut facts, &mut problems);
                    known.insert(id, kept);
                }
            }
        }
        // What has no name may be any of those that are not listed. That one of them is gone, an event tells.
        if nameless {
            former.values().for_each(|known| confirm(known, &mut facts));
            known.extend(former);
        }
        self.known = known;
        facts.push(Fact::SnapshotFinished(SnapshotScope::default()));
        facts.append(&mut problems);
        // A complete read takes the place of whatever was wrong before; deployments are read apart from it.
        facts.extend(self.unread_deployments.iter().cloned());
        if !on.live {
            facts.push(Fact::Live);
        }
        self.say(facts).await
    }

    pub(super) async fn take_one(
        &mut self,
        id: &str,
        app: Option<&[u8]>,
        pod: Option<&[u8]>,
        scope: &Scope,
    ) -> Result<(), Over> {
        let (mut facts, mut problems) = (Vec::new(), Vec::new());
        let said = match (app, pod) {
            (Some(app), _) => translate::one_app(app).map(|raw| translate::app(raw, scope)),
            (None, Some(pod)) => serde_json::from_slice(pod).map(|raw| pods::pod(raw, scope)),
            // It is no more.
            (None, None) => Ok(Ok(Said { id: id.to_owned(), ..Said::default() })),
        };
        let before = self.known.remove(id).unwrap_or_default();
        let known = match said {
            // What is asked for by an id is that, whatever it says.
            Ok(Ok(said)) => {
                let now = self.add(said, &before, scope, &mut facts, &mut problems).await;
                let gone = before.tasks.into_keys().filter(|key| !now.tasks.contains_key(key));
                facts.extend(gone.map(Fact::TaskGone));
                let is_gone = |app: &DeclaredApp| now.apps.iter().all(|now| now.key != app.key);
                facts.extend(before.apps.into_iter().filter(is_gone).map(|app| Fact::AppGone(app.key)));
                now
            }
            Ok(Err(unread)) => {
                let nameless = || translate::unreadable("app", id, &"it does not say what it is");
                let problem = if unread.id.is_empty() { nameless() } else { unread.problem };
                let unread = Unread { id: id.to_owned(), tasks: unread.tasks, problem };
                keep(unread, before, &mut facts, &mut problems).1
            }
            Err(error) => {
                let problem = translate::unreadable("app", id, &error);
                let unread = Unread { id: id.to_owned(), tasks: Vec::new(), problem };
                keep(unread, before, &mut facts, &mut problems).1
            }
        };
        if !known.tasks.is_empty() || !known.apps.is_empty() {
            self.known.insert(id.to_owned(), known);
        }
        facts.append(&mut problems);
        self.say(facts).await
    }

    /// The facts of an app or a pod; returns what is known of it now.
    async fn add(
        &mut self,
        said: Said,
        before: &Known,
        scope: &Scope,
        facts: &mut Vec<Fact>,
        problems: &mut Vec<Fact>,
    ) -> Known {
        problems.extend(said.problems.into_iter().map(|problem| Fact::Problem(Box::new(problem))));
        facts.extend(said.apps.iter().map(|app| Fact::App(Box::new(app.clone()))));
        let has_served = |key: &TaskKey| before.tasks.get(key).is_some_and(|seen| seen.has_served);
        let mut known = Known { apps: said.apps, tasks: HashMap::new() };
        for key in said.unread.into_iter().filter(|key| !self.ended.contains(key.task())) {
            facts.push(Fact::TaskUnreadable(key.clone()));
            let seen = before.tasks.get(&key).cloned().unwrap_or_default();
            known.tasks.insert(key, Seen { serves: false, ..seen });
        }
        for SaidTask { facts: mut task, awaited, host } in said.tasks {
            if self.ended.contains(task.key.task()) {
                continue;
            }
            let served = has_served(&task.key);
            task.held &= !(awaited && served);
            if let (true, Some(host), Some(agent)) = (self.alone, &host, &task.agent) {
                let address = self.resolve(host).await;
                if self.agents.insert(agent.as_str().to_owned(), address) != Some(address) {
                    facts.push(Fact::Agent(Box::new(AgentFacts {
                        cluster: scope.cluster.clone(),
                        id: agent.clone(),
                        hostname: host.as_str().into(),
                        address,
                        port: None,
                        region: None,
                        zone: None,
                        active: true,
                        recovered: false,
                    })));
                }
            }
            // The answer may be of before it was told to end.
            if task.state == TaskState::Running && self.leaving.iter().any(|leaving| leaving == task.key.task()) {
                task.state = TaskState::Killing;
            }
            let may_serve = task.state == TaskState::Running && !task.held;
            // A verdict that is not said may be the last one, which nobody knows here.
            let is_well = match task.health {
                Health::Healthy => true,
                Health::Unknown => !task.definition.has_health_check,
                Health::Unhealthy => false,
            };
            let name = task.definition.name.clone();
            let seen = Seen { name, has_served: served || may_serve, serves: may_serve && is_well };
            known.tasks.insert(task.key.clone(), seen);
            facts.push(Fact::Task(Box::new(task)));
        }
        known
    }

    /// The address of an agent that is named. The last one stands while the name cannot be looked up.
    async fn resolve(&mut self, host: &str) -> Option<IpAddr> {
        if let Ok(address) = host.parse() {
            return Some(address);
        }
        let now = Instant::now();
        let known = self.hosts.get(host).copied();
        if let Some((address, until)) = known
            && until > now
        {
            return address;
        }
        let found = timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, 0))).await;
        let found = found.ok().and_then(Result::ok).and_then(|mut found| found.next()).map(|address| address.ip());
        let address = found.or(known.and_then(|(address, _)| address));
        self.hosts.insert(host.to_owned(), (address, now + HOST_TIME));
        address
    }

    async fn say(&self, facts: Vec<Fact>) -> Result<(), Over> {
        match self.emit(facts).await {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Over::Stopping),
        }
    }

    async fn emit(&self, facts: Vec<Fact>) -> ControlFlow<()> {
        let mut facts = facts.into_iter().peekable();
        while facts.peek().is_some() {
            let part = facts.by_ref().take(FACTS_PER_EVENT).collect();
            let event = SourceEvent { source: self.config.name.clone(), stream: self.stream, facts: part };
            if self.events.send(ClusterEvent::Source(event)).await.is_err() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

/// Of what cannot be read, all that was known stays; what can be told of it is known from now on.
fn keep(unread: Unread, mut known: Known, facts: &mut Vec<Fact>, problems: &mut Vec<Fact>) -> (String, Known) {
    for key in unread.tasks {
        known.tasks.entry(key).or_default();
    }
    confirm(&known, facts);
    problems.push(Fact::Problem(unread.problem));
    (unread.id, known)
}

/// What is known is still there.
fn confirm(known: &Known, facts: &mut Vec<Fact>) {
    facts.extend(known.apps.iter().map(|app| Fact::App(Box::new(app.clone()))));
    facts.extend(known.tasks.keys().cloned().map(Fact::TaskUnreadable));
}

fn framework(info: &Info, scope: &Scope) -> FrameworkFacts {
    let config = &info.marathon_config;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    FrameworkFacts {
        cluster: scope.cluster.clone(),
        id: scope.framework.clone(),
        name: config.framework_name.clone().unwrap_or_else(|| "marathon".into()).into(),
        hostname: "".into(),
        address: None,
        port: None,
        principal: text(&config.mesos_principal).into(),
        roles: config.mesos_role.iter().map(|role| role.as_str().into()).collect(),
        connected: true,
    }
}

/// Where the events are that change an answer.
fn subscription() -> String {
    SUBSCRIBED.iter().fold("/v2/events?plan-format=light".to_owned(), |mut path, name| {
        path.push_str("&event_type=");
        path.push_str(name);
        path
    })
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn pending_or<T>(future: Option<&mut Reading<'_, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
