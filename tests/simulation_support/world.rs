//! The control loop against the played cluster: time passes, bytes arrive, events are applied, tables come out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pointsman::cluster::event::{ClusterEvent, Fact, SourceEvent};
use pointsman::cluster::sources::file;
use pointsman::cluster::sources::mesos::decode::ResponseDecoder;
use pointsman::cluster::sources::mesos::session::{Action, Request, Session};
use pointsman::cluster::sources::mesos::wire;
use pointsman::cluster::state::ClusterState;
use pointsman::config::Config;
use pointsman::config::checked::{FileConfig, Masters, MesosConfig, MesosEncoding};
use pointsman::model::check::{CheckReport, CheckState, Verdict};
use pointsman::model::id::stable_hash;
use pointsman::model::time::Timestamp;
use pointsman::table::Table;
use pointsman::table::writer::Writer;

use super::cluster::{Cluster, MASTERS, Process};
use super::network::{HEARTBEAT, Lie, Link, Stream, encode, event, head, record, subscribed};
use super::seeds::Story;

pub const CLUSTER: &str = "mesos";
pub const START: Timestamp = Timestamp(1_700_000_000_000);
/// Happenings within one advance of time; more are a busy loop.
const MOST_HAPPENINGS: usize = 20_000;

pub struct World {
    pub random: fastrand::Rng,
    pub now: Duration,
    pub cluster: Cluster,
    pub link: Link,
    pub session: Session,
    pub queue: VecDeque<ClusterEvent>,
    pub writer: Writer,
    pub table: Arc<Table>,
    /// What led to it.
    pub table_causes: Vec<String>,
    pub config: Arc<Config>,
    pub encoding: MesosEncoding,
    /// Leaders are detected through ZooKeeper, not tried one by one.
    pub detects: bool,
    detected_leader: Option<usize>,
    listing: Option<(Duration, Request)>,
    /// Snapshots are wrong in this way until then.
    pub lie: Option<(Lie, Duration)>,
    /// What was said once; some of it is said again, late.
    pub said: Vec<SourceEvent>,
    pub file_stream: u64,
    pub file_services: BTreeSet<u16>,
    pub knowledge: Knowledge,
    steps: Vec<String>,
    course: u64,
}

/// What the checks remember.
#[derive(Default)]
pub struct Knowledge {
    /// Tasks whose end was told on a stream that is still open, and may not have been received.
    pub ends_told: Vec<String>,
    /// Tasks whose end was received.
    pub ends_received: BTreeSet<String>,
    /// Since when the table has held a task for away.
    pub away_since: BTreeMap<String, Duration>,
    /// Tasks of which the present batch says that they live: whatever else it says of them, they were here first.
    pub told_alive: BTreeSet<String>,
    /// Since when a task has been in the table and not in what the master lists, while that was listened to.
    pub absent_since: BTreeMap<String, Duration>,
    /// Tasks that were seen ready, and of which nothing was told since.
    pub ready: BTreeSet<String>,
    /// What the program's own checks have come to, of tasks in the table.
    pub verdicts: BTreeMap<String, CheckState>,
    /// Tasks that have been away: who is given up and comes back is checked anew.
    pub were_away: BTreeSet<String>,
    /// Agents that the master had given up and that are back, while the word of that is on its way.
    pub returning: BTreeSet<String>,
}

fn told_alive(batch: &[ClusterEvent]) -> BTreeSet<String> {
    let facts = batch.iter().filter_map(|event| match event {
        ClusterEvent::Source(said) => Some(&said.facts),
        _ => None,
    });
    let alive = facts.flatten().filter_map(|fact| match fact {
        Fact::Task(task) if !task.state.is_away() => Some(task.key.task().to_owned()),
        _ => None,
    });
    alive.collect()
}

/// The verdicts of a batch, the last one of each task.
fn verdicts(batch: &[ClusterEvent]) -> BTreeMap<String, CheckState> {
    let reports = batch.iter().filter_map(|event| match event {
        ClusterEvent::Checked(reports) => Some(reports),
        _ => None,
    });
    reports.flatten().map(|report| (report.task.task().to_owned(), report.verdict.state)).collect()
}

impl Story for World {
    fn steps(&self) -> &[String] {
        &self.steps
    }

    fn course(&self) -> u64 {
        self.course
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let encoding = if random.bool() { MesosEncoding::Json } else { MesosEncoding::Protobuf };
        let detects = random.bool();
        let config = Arc::new(config(encoding, detects));
        let writer = Writer::new(ClusterState::new(config.clone(), START), 1, START);
        let session = Session::new(&config.mesos[0], random.u64(..), START.0);
        let mut world = Self {
            now: Duration::ZERO,
            cluster: Cluster::new(random.u64(..)),
            link: Link::None,
            session,
            queue: VecDeque::new(),
            table: Arc::new(Table::empty(config.clone())),
            table_causes: Vec::new(),
            writer,
            config,
            encoding,
            detects,
            detected_leader: None,
            listing: None,
            lie: None,
            said: Vec::new(),
            file_stream: 0,
            file_services: BTreeSet::new(),
            knowledge: Knowledge::default(),
            steps: vec![format!("{encoding:?}, {}", if detects { "ZooKeeper" } else { "a list of masters" })],
            course: seed,
            random,
        };
        world.table = world.writer.first(START);
        world.write_file();
        world.act();
        world
    }

    pub fn note(&mut self, step: &str) {
        self.steps.push(format!("{:>7.1} s  {step}", self.now.as_secs_f64()));
        let mut tasks: Vec<String> =
            self.table.tasks.iter().map(|(key, view)| format!("{key} {:?}", view.state)).collect();
        tasks.sort_unstable();
        let deadlines = (self.now, self.session.deadline(), self.writer.next_deadline());
        self.course = stable_hash(&(self.course, step, self.random.get_seed(), tasks, deadlines));
    }

    pub fn wall(&self) -> Timestamp {
        START.plus(self.now)
    }

    /// The source reads, what was said is known, and what it was told is the truth.
    pub fn is_settled(&self) -> bool {
        let Link::Streaming(stream) = &self.link else { return false };
        self.session.is_live()
            && stream.outbox.is_empty()
            && stream.honest
            && self.queue.is_empty()
            && self.cluster.is_leading(stream.master)
    }

    /// Where everybody stands, for reports.
    pub fn describe(&self) -> String {
        let link = match &self.link {
            Link::None => "no connection".to_owned(),
            Link::Asking { request, at } => format!("asking {} until {at:?}", request.target),
            Link::Streaming(stream) => {
                let (master, octets, honest) = (stream.master, stream.outbox.len(), stream.honest);
                format!("streaming from {master}, {octets} octets under way, honest: {honest}")
            }
        };
        let Cluster { masters, leader, recovered, .. } = &self.cluster;
        let (live, deadline) = (self.session.is_live(), self.session.deadline());
        format!(
            "{link}; session live: {live}, until {deadline:?}; masters {masters:?}, leader {leader:?}, recovered: {recovered}"
        )
    }

    /// Lets time pass, with everything that it brings about.
    pub fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        for _ in 0..MOST_HAPPENINGS {
            let due = self.next_at().map_or(until, |at| at.min(until)).max(self.now);
            let is_last = due == until;
            self.now = due;
            self.tick();
            if is_last && self.next_at().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("time stands still at {:?}", self.now);
    }

    fn next_at(&self) -> Option<Duration> {
        let of_writer = self.writer.next_deadline().map(|at| at.since(START));
        let of_link = match &self.link {
            Link::None => None,
            Link::Asking { request, at } => self.answers(request).then_some(*at),
            Link::Streaming(stream) => self.speaks(stream.master).then_some(stream.next_heartbeat),
        };
        let of_listing = self.listing.as_ref().map(|(at, _)| *at);
        [self.session.deadline(), of_writer, of_link, of_listing, self.cluster.next_at()].into_iter().flatten().min()
    }

    fn tick(&mut self) {
        let events = self.cluster.tick(self.now, self.wall());
        self.tell(&events);
        self.end_restarted();
        self.detect();
        self.answer();
        self.beat();
        if self.random.u8(..4) > 0 {
            self.deliver();
        }
        self.session.poll(self.now);
        self.act();
        if self.random.u8(..4) > 0 {
            self.apply();
        } else if self.writer.next_deadline().is_some_and(|at| at <= self.wall()) {
            self.apply_batch(vec![ClusterEvent::DeadlineReached]);
        }
    }

    /// Everything that was said arrives and is applied.
    pub fn settle(&mut self) {
        self.deliver();
        self.session.flush();
        self.act();
        self.apply();
        if let Link::Streaming(stream) = &self.link
            && stream.outbox.is_empty()
        {
            let told = std::mem::take(&mut self.knowledge.ends_told);
            self.knowledge.ends_received.extend(told);
        }
    }

    // --- the network

    fn answers(&self, request: &Request) -> bool {
        self.master_at(request).is_none_or(|master| self.cluster.masters[master] != Process::Frozen)
    }

    fn speaks(&self, master: usize) -> bool {
        self.cluster.masters[master] == Process::Up
    }

    fn master_at(&self, request: &Request) -> Option<usize> {
        (0..MASTERS).find(|master| Cluster::address(*master).to_string() == request.target.to_string())
    }

    /// What the leader says, if anybody listens to it.
    pub fn tell(&mut self, events: &[wire::Event]) {
        let encoding = self.encoding;
        if let Link::Streaming(stream) = &mut self.link
            && self.cluster.is_leading(stream.master)
        {
            stream.outbox.extend(events.iter().flat_map(|event| record(event, encoding)));
        }
    }

    pub fn say(&mut self, bytes: &[u8]) {
        if let Link::Streaming(stream) = &mut self.link {
            stream.outbox.extend(bytes);
        }
    }

    fn beat(&mut self) {
        let (now, encoding) = (self.now, self.encoding);
        if let Link::Streaming(stream) = &mut self.link
            && stream.next_heartbeat <= now
            && self.cluster.masters[stream.master] == Process::Up
        {
            stream.next_heartbeat = now + HEARTBEAT;
            stream.outbox.extend(record(&event("HEARTBEAT"), encoding));
        }
    }

    /// Some of what was said arrives, in pieces of any size.
    pub fn deliver(&mut self) {
        let Link::Streaming(stream) = &mut self.link else { return };
        if self.cluster.masters[stream.master] == Process::Frozen {
            return;
        }
        let bytes: Vec<u8> = stream.outbox.drain(..).collect();
        self.receive(&bytes);
    }

    fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let most = [3, 200, 5_000, 60_000][self.random.usize(..4)];
            let (piece, rest) = bytes.split_at(self.random.usize(1..=most).min(bytes.len()));
            self.session.received(self.now, piece);
            if self.random.u8(..3) == 0 {
                self.session.flush();
            }
            bytes = rest;
        }
        self.session.flush();
        self.act();
    }

    /// A master that had been stopped goes on, says one thing more to whoever still listens, and exits.
    fn end_restarted(&mut self) {
        for master in std::mem::take(&mut self.cluster.restarted) {
            if matches!(&self.link, Link::Streaming(stream) if stream.master == master) {
                self.say(&record(&event("HEARTBEAT"), self.encoding));
                self.cut(false);
            }
        }
    }

    /// The connection breaks, anywhere in what was said.
    pub fn cut(&mut self, in_order: bool) {
        let Link::Streaming(mut stream) = std::mem::replace(&mut self.link, Link::None) else { return };
        self.knowledge.ends_told.clear();
        let bytes: Vec<u8> = stream.outbox.drain(..).collect();
        let received = if in_order { bytes.len() } else { self.random.usize(..=bytes.len()) };
        let live = self.session.is_live();
        self.receive(&bytes[..received]);
        // Unless the source has turned away by itself meanwhile.
        if matches!(self.link, Link::None) {
            if in_order && live {
                self.session.ended(self.now);
            } else {
                self.session.failed(self.now, "the connection was reset");
            }
            self.act();
        }
    }

    fn answer(&mut self) {
        if let Some((_, request)) = self.listing.take_if(|(at, _)| *at <= self.now) {
            self.answer_listing(&request);
        }
        let due = matches!(&self.link, Link::Asking { request, at } if *at <= self.now && self.answers(request));
        if !due {
            return;
        }
        let Link::Asking { request, .. } = std::mem::replace(&mut self.link, Link::None) else { return };
        let master = self.master_at(&request);
        match master {
            Some(master) if self.cluster.masters[master] == Process::Up => self.answer_as(master),
            _ => self.session.failed(self.now, "connection refused"),
        }
        self.act();
    }

    fn answer_as(&mut self, master: usize) {
        let (encoding, now) = (self.encoding, self.now);
        let peer = Some(Cluster::address(master));
        let masters: Vec<_> = (0..MASTERS).map(Cluster::address).collect();
        if self.cluster.leader != Some(master) {
            let location = self.cluster.leader.map(|leader| format!("//{}/master/api/v1", Cluster::address(leader)));
            let status = if location.is_some() { 307 } else { 503 };
            return self.session.answered(now, &head(status, encoding, location), peer, &masters);
        }
        if !self.cluster.recovered || self.random.u8(..20) == 0 {
            return self.session.answered(now, &head(503, encoding, None), peer, &masters);
        }
        self.session.answered(now, &head(200, encoding, None), peer, &masters);
        let state = self.cluster.model.snapshot();
        let is_doubtful = |lie: &Lie| *lie != Lie::MostAbsent || self.is_doubted(&state);
        let lie = self.lie.filter(|(_, until)| *until > now).map(|(lie, _)| lie).filter(is_doubtful);
        let listed = state.get_tasks.as_ref().map_or(0, |lists| lists.tasks.len());
        self.note(&format!(
            "  master {master} lists {listed} tasks{}",
            lie.map(|lie| format!(", as {lie:?}")).unwrap_or_default()
        ));
        let outbox = subscribed(state, lie, self.random.u8(..8) == 0, encoding).into();
        self.knowledge.ends_told.clear();
        let next_heartbeat = now + HEARTBEAT;
        self.link = Link::Streaming(Stream { master, outbox, next_heartbeat, honest: lie.is_none() });
        if lie.is_some() {
            // At once, so that two lies are never so far apart that the guard takes them for agreement.
            self.settle();
        }
    }

    /// Whether the guard has to doubt a third of this snapshot: enough of what is left out is known.
    fn is_doubted(&self, state: &wire::GetState) -> bool {
        let tasks = state.get_tasks.as_ref().map_or(&[][..], |lists| &lists.tasks);
        let left_out: BTreeSet<&str> =
            tasks[tasks.len() / 3..].iter().filter_map(|task| task.task_id.as_ref()?.value.as_deref()).collect();
        let known: Vec<_> = self.table.tasks.keys().filter(|key| key.cluster().as_str() == CLUSTER).collect();
        let absent = known.iter().filter(|key| left_out.contains(key.task())).count();
        absent > 10 && absent * 5 > known.len()
    }

    fn answer_listing(&mut self, request: &Request) {
        let leads = self.master_at(request).is_some_and(|master| self.cluster.is_leading(master));
        let answer = if leads && self.random.u8(..10) > 0 {
            let response = wire::Response {
                r#type: Some(wire::response_type::number("GET_AGENTS")),
                get_agents: Some(self.cluster.model.agent_lists()),
                ..wire::Response::default()
            };
            let (mut decoder, mut items) = (ResponseDecoder::new(self.encoding), Vec::new());
            decoder.push(&encode(&response, self.encoding), &mut items).and_then(|()| decoder.finish()).unwrap();
            Ok(items)
        } else {
            Err("no answer".to_owned())
        };
        self.session.agents_listed(self.now, answer);
        self.act();
    }

    // --- the source

    /// Does what the session wants done.
    fn act(&mut self) {
        while let Some(action) = self.session.next_action() {
            match action {
                Action::Open(request) => {
                    let at = self.now + Duration::from_millis(self.random.u64(1..2000));
                    self.hang_up();
                    self.link = Link::Asking { request, at };
                }
                Action::Disconnect => self.hang_up(),
                Action::ListAgents(request) => {
                    self.listing = Some((self.now + Duration::from_millis(self.random.u64(1..2000)), request));
                }
                Action::Emit(event) => {
                    if self.said.len() < 400 && self.random.u8(..4) == 0 {
                        self.said.push(event.clone());
                    }
                    self.queue.push_back(ClusterEvent::Source(event));
                }
            }
        }
    }

    fn hang_up(&mut self) {
        self.listing = None;
        self.link = Link::None;
        self.knowledge.ends_told.clear();
    }

    /// ZooKeeper tells who leads, if that is what the source asks.
    fn detect(&mut self) {
        if self.detects && self.cluster.leader != self.detected_leader {
            self.detected_leader = self.cluster.leader;
            let detected = self.cluster.detected();
            self.session.leader_detected(self.now, detected);
            self.act();
        }
    }

    /// The file is written anew.
    pub fn write_file(&mut self) {
        self.file_stream += 1;
        let service = |port: &u16| {
            format!(
                "[[services]]\nname = \"static-{port}\"\nhosts = [\"static-{port}.example.com\"]\nendpoints = [\"10.2.0.1:{port}\"]\n"
            )
        };
        let text: String = self.file_services.iter().map(service).collect();
        let document = file::read(&text, Path::new("f"), &self.config.files[0]).unwrap();
        let name = self.config.files[0].name.clone();
        let facts = document.contents.into_facts(&name.as_str().into()).collect();
        let event = SourceEvent { source: name, stream: self.file_stream, facts };
        self.queue.push_back(ClusterEvent::Source(event));
    }

    /// The program's own checks of a task come to a verdict.
    pub fn judge_by_check(&mut self, id: &str, state: CheckState) {
        self.knowledge.ready.remove(id);
        let error = (state == CheckState::Bad).then(|| "connection refused".into());
        let verdict = Verdict { state, since: self.wall(), error };
        let report = CheckReport { task: self.key(id), port: "http".into(), verdict };
        self.queue.push_back(ClusterEvent::Checked(vec![report]));
    }

    // --- the writer

    /// Applies what is queued, in batches of any size.
    pub fn apply(&mut self) {
        while !self.queue.is_empty() {
            let most = [1, 1, 3, 16][self.random.usize(..4)];
            let count = self.random.usize(1..=most).min(self.queue.len());
            let batch = self.queue.drain(..count).collect();
            self.apply_batch(batch);
        }
        if self.writer.next_deadline().is_some_and(|at| at <= self.wall()) {
            self.apply_batch(vec![ClusterEvent::DeadlineReached]);
        }
    }

    pub fn apply_batch(&mut self, batch: Vec<ClusterEvent>) {
        self.knowledge.told_alive = told_alive(&batch);
        let verdicts = verdicts(&batch);
        let outcome = self.writer.apply(batch, self.wall());
        if let Some((table, record)) = outcome.table {
            self.table_causes = record.causes;
            self.note_held(&table);
            let before = std::mem::replace(&mut self.table, table);
            self.check_change(&before);
        }
        // What is said of a task that is not there, or not any more, is nobody's verdict.
        let here = verdicts.into_iter().filter(|(id, _)| self.find(id).is_some());
        let here: Vec<_> = here.collect();
        self.knowledge.verdicts.extend(here);
        if !outcome.wanted_snapshots.is_empty() {
            self.session.request_snapshot(self.now);
            self.act();
        }
    }

    fn note_held(&mut self, table: &Table) {
        let held = |table: &Table| table.sources.iter().find_map(|source| source.held.as_ref().map(|held| held.tasks));
        if held(table) != held(&self.table) {
            self.note(&format!("  held: {:?}", held(table)));
        }
    }

    /// The process ends and starts again from what it stored.
    pub fn restart(&mut self) {
        let view = self.writer.state().view(self.wall());
        let bytes = view.write(Vec::new()).unwrap();
        let state = pointsman::cluster::store::read(&bytes[..], Path::new("state"), self.config.clone(), self.wall());
        self.queue.clear();
        self.said.clear();
        self.hang_up();
        let wall = self.wall();
        self.writer = Writer::new(state.unwrap(), 2, wall);
        let before = std::mem::replace(&mut self.table, self.writer.first(wall));
        self.check_change(&before);
        self.session = Session::new(&self.config.mesos[0], self.random.u64(..), self.wall().0);
        self.detected_leader = None;
        self.file_stream = 0;
        self.write_file();
        self.act();
    }
}

fn config(encoding: MesosEncoding, detects: bool) -> Config {
    let mut config = Config::default();
    let masters: Vec<String> = (0..MASTERS).map(|master| Cluster::address(master).to_string()).collect();
    let masters: Vec<&str> = masters.iter().map(String::as_str).collect();
    let mut mesos = MesosConfig { encoding, ..MesosConfig::with_masters(CLUSTER, "mesos", &masters) };
    mesos.agents_interval = Duration::from_secs(60);
    if detects {
        mesos.masters = Masters::ZooKeeper { servers: vec!["z:2181".into()], path: "/mesos".into(), auth: None };
    }
    config.mesos.push(mesos);
    config.files.push(FileConfig { name: "file".into(), path: "f".into(), zones: Vec::new() });
    config.upstreams.allowed_networks.push("10.0.0.0/8".parse().unwrap());
    config
}
