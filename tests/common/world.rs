//! A writer with a clock that tests move, and short ways to say things to it.

use std::sync::Arc;
use std::time::Duration;

use pointsman::cluster::event::{ClusterEvent, Fact};
use pointsman::cluster::state::ClusterState;
use pointsman::config::Config;
use pointsman::model::refinement::Head;
use pointsman::model::time::Timestamp;
use pointsman::table::Table;
use pointsman::table::routes::Route;
use pointsman::table::writer::{Outcome, Writer};

use super::facts::{agent, config, event, framework, snapshot, task};

/// A writer with a clock that tests move.
pub struct World {
    pub writer: Writer,
    pub now: Timestamp,
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: Config) -> Self {
        let now = Timestamp(1_700_000_000_000);
        Self { writer: Writer::new(ClusterState::new(Arc::new(config), now), 1, now), now }
    }

    pub fn say(&mut self, event: ClusterEvent) -> Outcome {
        self.writer.apply([event], self.now)
    }

    pub fn facts(&mut self, stream: u64, facts: Vec<Fact>) {
        self.say(event(stream, facts));
    }

    pub fn pass(&mut self, seconds: u64) -> Outcome {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self.say(ClusterEvent::DeadlineReached)
    }

    pub fn table(&mut self) -> Arc<Table> {
        self.writer.first(self.now)
    }

    pub fn tasks(&mut self) -> usize {
        self.table().tasks.len()
    }

    pub fn held(&mut self) -> Option<usize> {
        self.table().sources[0].held.as_ref().map(|held| held.tasks)
    }
}

pub fn running(id: &str, name: &str, on: u8, labels: &[(&str, &str)]) -> Fact {
    Fact::Task(Box::new(task(id, name, on, 9000, labels)))
}

pub fn at(number: u8) -> Fact {
    Fact::Agent(Box::new(agent(number)))
}

pub fn marathon() -> Fact {
    Fact::Framework(Box::new(framework("marathon")))
}

pub fn many(count: usize, on: u8) -> Vec<Fact> {
    (0..count).map(|n| running(&format!("t{n}"), "web", on, &[])).collect()
}

/// A snapshot of `count` tasks on agent 1.
pub fn world_of(count: usize) -> World {
    let mut world = World::new();
    let mut facts = many(count, 1);
    facts.extend([at(1), marathon()]);
    world.say(snapshot(1, facts));
    assert_eq!(world.tasks(), count);
    world
}

/// The route of a GET without a header.
pub fn route<'a>(table: &'a Table, host: &str, path: &str) -> Option<&'a Arc<Route>> {
    table.routes.find(&Head { host, path, query: None, method: "GET", fields: &http::HeaderMap::new() })
}
