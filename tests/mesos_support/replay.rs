//! Recorded streams, record by record, through the source's session into the writer: what is served after each event.

use std::sync::Arc;
use std::time::Duration;

use pointsman::cluster::event::ClusterEvent;
use pointsman::cluster::sources::mesos::refusal::Head;
use pointsman::cluster::sources::mesos::session::{Action, Session};
use pointsman::cluster::state::ClusterState;
use pointsman::config::Config;
use pointsman::config::checked::{MesosConfig, MesosEncoding};
use pointsman::model::time::Timestamp;
use pointsman::table::Table;
use pointsman::table::task::TaskView;
use pointsman::table::writer::Writer;
use serde_json::Value;

use super::recordings::{bytes, event, records};

/// A recording that is being replayed.
pub struct Replay {
    session: Session,
    writer: Writer,
    now: Timestamp,
    encoding: MesosEncoding,
    records: std::vec::IntoIter<Vec<u8>>,
    /// The same events in JSON, to choose places by.
    events: std::vec::IntoIter<Value>,
    pub table: Arc<Table>,
}

impl Replay {
    /// Replays `recording`, whose name has `{}` where its encoding is told.
    pub fn new(recording: &str, encoding: MesosEncoding) -> Self {
        let mut config = Config::default();
        config.mesos.push(MesosConfig { encoding, ..MesosConfig::with_masters("prod", "mesos", &["m1:5050"]) });
        config.upstreams.allowed_networks.push("127.0.0.0/8".parse().unwrap());
        let now = Timestamp(1_700_000_000_000);
        let mut writer = Writer::new(ClusterState::new(Arc::new(config.clone()), now), 1, now);
        let table = writer.first(now);
        let session = Session::new(&config.mesos[0], 1, 1);
        let none = || Vec::new().into_iter();
        let mut replay =
            Self { session, writer, now, encoding, records: none(), events: Vec::new().into_iter(), table };
        replay.subscribe(recording);
        replay
    }

    /// Another stream takes over, from its beginning.
    pub fn subscribe(&mut self, recording: &str) {
        let name = match self.encoding {
            MesosEncoding::Json => "json",
            MesosEncoding::Protobuf => "protobuf",
        };
        let split = |name: &str| records(&bytes(name)).into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
        self.records = split(&recording.replace("{}", name)).into_iter();
        let events: Vec<Value> = split(&recording.replace("{}", "json")).iter().map(|record| event(record)).collect();
        self.events = events.into_iter();
        if self.session.is_live() {
            self.session.ended(Duration::from_secs(1));
        }
        // Whatever pause the session makes is over by then.
        self.session.poll(Duration::from_secs(3600));
        self.act();
        let content_type = Some(format!("application/{}", if name == "json" { "json" } else { "x-protobuf" }));
        let head = Head { status: 200, content_type, ..Head::default() };
        self.session.answered(Duration::from_secs(3600), &head, None, &[]);
        self.act();
    }

    /// The next event arrives; gives it, or nothing at the end.
    pub fn step(&mut self) -> Option<Value> {
        let record = self.records.next()?;
        self.session.received(Duration::from_secs(3600), &record);
        self.session.flush();
        self.act();
        self.events.next()
    }

    /// Events arrive up to the first for which this is true, that one included.
    pub fn through(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.step().expect("such an event is in the recording");
            if is_it(&event) {
                return event;
            }
        }
    }

    /// Everything arrives.
    pub fn all(&mut self) {
        while self.step().is_some() {}
    }

    /// The connection breaks.
    pub fn lose(&mut self) {
        self.session.failed(Duration::from_secs(3600), "closed");
        self.act();
    }

    /// Time passes for the state.
    pub fn pass(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self.apply(ClusterEvent::DeadlineReached);
    }

    /// The task whose id begins so.
    pub fn task(&self, id: &str) -> Option<Arc<TaskView>> {
        self.table.tasks.iter().find(|(key, _)| key.task().starts_with(id)).map(|(_, task)| task.clone())
    }

    /// How many endpoints of tasks whose ids begin so requests go to, whichever services they are of.
    pub fn available(&self, tasks: &str) -> usize {
        let endpoints = self.table.services.values().flat_map(|service| service.available.iter());
        endpoints.filter(|endpoint| endpoint.id.task.task().starts_with(tasks)).count()
    }

    fn act(&mut self) {
        while let Some(action) = self.session.next_action() {
            if let Action::Emit(event) = action {
                self.apply(ClusterEvent::Source(event));
            }
        }
    }

    fn apply(&mut self, event: ClusterEvent) {
        if let Some((table, _)) = self.writer.apply([event], self.now).table {
            self.table = table;
        }
    }
}

/// Whether an event tells that the task whose id begins so is in this state.
pub fn tells(event: &Value, task: &str, state: &str) -> bool {
    let update = &event["task_updated"];
    update["state"] == state && update["status"]["task_id"]["value"].as_str().is_some_and(|id| id.starts_with(task))
}
