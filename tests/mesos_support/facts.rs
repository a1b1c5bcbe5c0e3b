//! What a source says, gathered, and applied to a simple model of a cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use pointsman::cluster::event::{ClusterEvent, EventReceiver, FACTS_PER_EVENT, Fact, QUEUE, SnapshotScope};
use pointsman::cluster::sources::mesos::metrics::MesosMetrics;
use pointsman::cluster::sources::mesos::subscribe::{SourceThread, spawn};
use pointsman::config::checked::{MesosConfig, MesosEncoding};
use pointsman::model::agent::AgentFacts;
use pointsman::model::framework::FrameworkFacts;
use pointsman::model::task::{TaskFacts, TaskState};

/// Longer than anything takes; a test that waits so long fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A source that runs, and what it says.
pub struct Source {
    pub registry: prometheus::Registry,
    thread: Option<SourceThread>,
    events: EventReceiver,
    runtime: tokio::runtime::Runtime,
}

/// A configuration for tests: pauses are short, agents are not listed.
pub fn config(masters: &[&str], encoding: MesosEncoding) -> MesosConfig {
    MesosConfig {
        encoding,
        max_backoff: Duration::from_millis(20),
        agents_interval: Duration::ZERO,
        ..MesosConfig::with_masters("prod", "mesos", masters)
    }
}

impl Source {
    pub fn start(config: MesosConfig) -> Self {
        let (sender, events) = tokio::sync::mpsc::channel(QUEUE);
        let registry = prometheus::Registry::new();
        let metrics = MesosMetrics::register(&registry).unwrap();
        let thread = Some(spawn(config, sender, &metrics).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { registry, thread, events, runtime }
    }

    pub fn request_snapshot(&self) {
        self.thread.as_ref().unwrap().control().request_snapshot();
    }

    /// The next batch of facts, with its stream's number.
    pub fn next(&mut self) -> (u64, Vec<Fact>) {
        let next = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.events.recv()).await });
        let Ok(Some(ClusterEvent::Source(event))) = next else { panic!("no event comes: {next:?}") };
        assert!(event.facts.len() <= FACTS_PER_EVENT, "a batch of {}", event.facts.len());
        assert_eq!(event.source.as_str(), "prod");
        (event.stream, event.facts)
    }

    /// All facts up to one for which `is_last` holds, that one included.
    pub fn until(&mut self, is_last: impl Fn(&Fact) -> bool) -> Vec<Fact> {
        let mut facts = Vec::new();
        loop {
            let (_, batch) = self.next();
            let found = batch.iter().any(&is_last);
            facts.extend(batch);
            if found {
                return facts;
            }
        }
    }

    /// The next reason for a loss.
    pub fn next_loss(&mut self) -> String {
        let facts = self.until(|fact| matches!(fact, Fact::Lost { .. }));
        losses(&facts).pop().expect("until a loss")
    }

    pub fn stop(mut self) {
        self.events.close();
        self.thread.take().unwrap().join();
    }
}

/// The reasons for losses.
pub fn losses(facts: &[Fact]) -> Vec<String> {
    let reason = |fact: &Fact| match fact {
        Fact::Lost { error } => Some(error.to_string()),
        _ => None,
    };
    facts.iter().filter_map(reason).collect()
}

/// What facts say in the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pub tasks: BTreeMap<String, TaskFacts>,
    pub agents: BTreeMap<String, AgentFacts>,
    pub frameworks: BTreeMap<String, FrameworkFacts>,
    pub scope: Option<SnapshotScope>,
    pub is_live: bool,
}

impl Model {
    pub fn of(facts: &[Fact]) -> Self {
        let mut model = Self::default();
        for fact in facts {
            model.apply(fact);
        }
        model
    }

    pub fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::Live => self.is_live = true,
            Fact::Lost { .. } => self.is_live = false,
            Fact::SnapshotFinished(scope) => self.scope = Some(scope.clone()),
            Fact::Task(task) => {
                self.tasks.insert(task.key.to_string(), (**task).clone());
            }
            Fact::Status(status) => {
                let known = self.tasks.get_mut(&status.key.to_string());
                known.expect("a status is of a task that was announced").apply(status);
            }
            Fact::Agent(agent) => {
                self.agents.insert(agent.id.to_string(), (**agent).clone());
            }
            Fact::AgentGone(id) => {
                self.agents.remove(id.as_str());
            }
            Fact::AgentsListed(agents) => {
                self.agents = agents.iter().map(|agent| (agent.id.to_string(), agent.clone())).collect();
            }
            Fact::Framework(framework) => {
                self.frameworks.insert(framework.id.to_string(), (**framework).clone());
            }
            Fact::FrameworkGone(id) => {
                self.frameworks.remove(id.as_str());
            }
            Fact::Problem(problem) => panic!("a problem with a recording: {problem:?}"),
            _ => {}
        }
    }

    /// Tasks that did not end for good.
    pub fn present(&self) -> Vec<&TaskFacts> {
        self.tasks.values().filter(|task| task.state != TaskState::Ended).collect()
    }

    pub fn in_state(&self, state: TaskState) -> usize {
        self.tasks.values().filter(|task| task.state == state).count()
    }
}
