//! A model cluster with faults, in one thread, from a seed: the state, the guard and the table against the truth.
//!
//! After every step: nothing is gone that lives; nothing is served that has been dead longer than the longest deadline;
//! a lying snapshot empties nothing; and at the end incremental equals rebuilt. A failing seed is printed and repeats:
//! `POINTSMAN_SEED=N cargo test --test simulation`.

mod common;
#[path = "simulation_support/seeds.rs"]
mod seeds;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use common::facts::{agent, config, event, framework, key, status, task};
use pointsman::cluster::event::{ClusterEvent, Fact, SnapshotScope};
use pointsman::cluster::state::ClusterState;
use pointsman::model::task::TaskState;
use pointsman::model::time::Timestamp;
use pointsman::table::Table;
use pointsman::table::dump::dump;
use pointsman::table::writer::Writer;
use seeds::{Story, each_repeats, each_seed};

const AGENTS: u8 = 8;
/// Steps of a run.
const STEPS: usize = 120;
/// Longer than any deadline of the state: recovered agents, the guard, lost agents.
const LONGEST: Duration = Duration::from_secs(901 + 601);

/// What really is, and what the master of the day knows of it.
struct Truth {
    /// Tasks that run, with their agent.
    alive: BTreeMap<u32, u8>,
    /// Tasks that ended, with the time.
    dead: BTreeMap<u32, Timestamp>,
    /// Agents that the leader cannot reach.
    cut_off: BTreeSet<u8>,
    /// Agents that have not come back to a new leader.
    recovered: BTreeSet<u8>,
    next: u32,
}

struct World {
    writer: Writer,
    truth: Truth,
    now: Timestamp,
    stream: u64,
    live: bool,
    /// Since when the stream has been open without a lie on it.
    honest_since: Timestamp,
    random: fastrand::Rng,
    steps: Vec<String>,
}

impl Story for World {
    fn steps(&self) -> &[String] {
        &self.steps
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let now = Timestamp(1_700_000_000_000);
        let writer = Writer::new(ClusterState::new(Arc::new(config()), now), seed, now);
        let truth = Truth {
            alive: BTreeMap::new(),
            dead: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            recovered: BTreeSet::new(),
            next: 0,
        };
        let random = fastrand::Rng::with_seed(seed);
        Self { writer, truth, now, stream: 0, live: false, honest_since: now, random, steps: Vec::new() }
    }

    fn say(&mut self, facts: Vec<Fact>) {
        // In batches of random size: the writer must not care.
        let mut facts = facts.into_iter().peekable();
        while facts.peek().is_some() {
            let size = self.random.usize(1..8);
            let slice: Vec<Fact> = facts.by_ref().take(size).collect();
            self.writer.apply([event(self.stream, slice)], self.now);
        }
    }

    fn table(&mut self) -> Arc<Table> {
        self.writer.first(self.now)
    }

    fn fact(&self, id: u32) -> Fact {
        let on = self.truth.alive[&id];
        let port = 9000 + u16::try_from(id % 20_000).unwrap();
        let labels = [("pointsman.host", "a.example.com")];
        Fact::Task(Box::new(task(&format!("t{id}"), &format!("app{}", id % 5), on, port, &labels)))
    }

    fn tell(&mut self, id: u32, state: TaskState) {
        if self.live {
            self.say(vec![Fact::Status(Box::new(status(&format!("t{id}"), state, None)))]);
        }
    }

    fn known_to_leader(&self, on: u8) -> bool {
        !self.truth.cut_off.contains(&on) && !self.truth.recovered.contains(&on)
    }

    // --- what happens

    fn launch(&mut self, count: u32) {
        for _ in 0..count {
            let on = self.random.u8(..AGENTS);
            if !self.known_to_leader(on) {
                continue;
            }
            let id = self.truth.next;
            self.truth.next += 1;
            self.truth.alive.insert(id, on);
            if self.live {
                let fact = self.fact(id);
                self.say(vec![fact]);
            }
        }
    }

    fn end_some(&mut self, count: usize) {
        for _ in 0..count {
            let reachable: Vec<u32> =
                self.truth.alive.iter().filter(|(_, on)| self.known_to_leader(**on)).map(|(id, _)| *id).collect();
            if reachable.is_empty() {
                return;
            }
            let id = reachable[self.random.usize(..reachable.len())];
            self.truth.alive.remove(&id);
            self.truth.dead.insert(id, self.now);
            self.tell(id, TaskState::Killing);
            self.tell(id, TaskState::Ended);
        }
    }

    fn cut_off_agent(&mut self) {
        let on = self.random.u8(..AGENTS);
        if !self.live || !self.known_to_leader(on) {
            return;
        }
        self.truth.cut_off.insert(on);
        let ids: Vec<u32> = self.truth.alive.iter().filter(|(_, at)| **at == on).map(|(id, _)| *id).collect();
        for id in ids {
            self.tell(id, TaskState::Unreachable);
        }
    }

    fn return_agent(&mut self) {
        let away: Vec<u8> = self.truth.cut_off.iter().chain(&self.truth.recovered).copied().collect();
        if away.is_empty() {
            return;
        }
        let on = away[self.random.usize(..away.len())];
        self.truth.cut_off.remove(&on);
        self.truth.recovered.remove(&on);
        if self.live {
            let ids: Vec<u32> = self.truth.alive.iter().filter(|(_, at)| **at == on).map(|(id, _)| *id).collect();
            let mut facts: Vec<Fact> = ids.into_iter().map(|id| self.fact(id)).collect();
            facts.push(Fact::Agent(Box::new(agent(on))));
            self.say(facts);
        }
    }

    fn lose_stream(&mut self) {
        if std::mem::take(&mut self.live) {
            self.say(vec![Fact::Lost { error: "cut".into() }]);
        }
    }

    fn subscribe(&mut self) {
        self.stream += 1;
        let mut facts = vec![Fact::SnapshotStarted];
        let listed: Vec<u32> =
            self.truth.alive.iter().filter(|(_, on)| self.known_to_leader(**on)).map(|(id, _)| *id).collect();
        facts.extend(listed.into_iter().map(|id| self.fact(id)));
        facts.push(Fact::Framework(Box::new(framework("marathon"))));
        facts.extend((0..AGENTS).filter(|on| self.known_to_leader(*on)).map(|on| Fact::Agent(Box::new(agent(on)))));
        let recovered_agents = self.truth.recovered.iter().map(|on| agent(*on).id).collect();
        facts.push(Fact::SnapshotFinished(SnapshotScope { recovered_agents, authoritative: false }));
        facts.push(Fact::Live);
        self.say(facts);
        self.live = true;
        self.honest_since = self.now;
    }

    /// Another leader: agents have to come back to it one by one.
    fn fail_over(&mut self) {
        self.lose_stream();
        for on in 0..AGENTS {
            if self.random.u8(..3) > 0 && !self.truth.cut_off.contains(&on) {
                self.truth.recovered.insert(on);
            }
        }
        // Whoever was unreachable for the former leader is not known to this one at all; it comes back as a new one.
        self.subscribe();
    }

    /// A snapshot of a master that has not finished, or of credentials that may not see tasks.
    fn lie(&mut self) {
        let table = self.table();
        // With a hold under way the lie may be the second look that ends it: then only what it held may go.
        let doubtless = table.sources[0].held.is_none();
        let before = table.tasks.len();
        self.stream += 1;
        let mut facts = vec![Fact::SnapshotStarted];
        if self.random.bool() {
            facts.extend((0..AGENTS).map(|on| Fact::Agent(Box::new(agent(on)))));
        }
        facts.extend([Fact::SnapshotFinished(SnapshotScope::default()), Fact::Live]);
        self.say(facts);
        if doubtless && before > 10 {
            let after = self.table().tasks.len();
            assert_eq!(after, before, "a lying snapshot removed tasks");
        }
        self.live = true;
        self.subscribe();
    }

    fn step(&mut self) {
        let (name, seconds) = (self.random.u8(..100), self.random.u64(..40));
        let what = match name {
            0..30 => {
                let count = self.random.u32(1..12);
                self.launch(count);
                "launch"
            }
            30..50 => {
                let count = self.random.usize(1..6);
                self.end_some(count);
                "end"
            }
            50..58 => {
                self.cut_off_agent();
                "cut off"
            }
            58..74 => {
                self.return_agent();
                "return"
            }
            74..80 => {
                self.lose_stream();
                "lose"
            }
            80..88 => {
                self.subscribe();
                "subscribe"
            }
            88..92 => {
                self.fail_over();
                "fail over"
            }
            92..96 => {
                self.lie();
                "lie"
            }
            _ => {
                self.launch(60);
                self.end_some(40);
                "storm"
            }
        };
        self.steps.push(format!("{what} (+{seconds} s)"));
        self.now = self.now.plus(Duration::from_secs(seconds));
        self.writer.apply([ClusterEvent::DeadlineReached], self.now);
    }

    // --- what must hold

    fn check(&mut self) {
        let table = self.table();
        if self.live {
            for (id, on) in &self.truth.alive {
                if self.known_to_leader(*on) {
                    assert!(table.tasks.contains_key(&key(&format!("t{id}"))), "t{id} lives and is gone");
                }
            }
            for (id, since) in &self.truth.dead {
                let overdue = self.now.since((*since).max(self.honest_since)) > LONGEST;
                let gone = !table.tasks.contains_key(&key(&format!("t{id}")));
                assert!(gone || !overdue, "t{id} has been dead since {since:?} and is still there at {:?}", self.now);
            }
        }
        for service in table.services.values() {
            assert!(
                service.available.iter().all(|e| service.endpoint(&e.id).is_some()),
                "{} serves a stranger",
                service.id
            );
        }
        for route in table.routes.iter() {
            assert!(table.service(&route.owner).is_some(), "route to nowhere: {}", route.owner);
        }
    }
}

#[test]
fn the_table_keeps_to_the_truth_under_faults() {
    each_seed(150, 3_000, World::new, |world| {
        world.subscribe();
        for _ in 0..STEPS {
            world.step();
            world.check();
        }
        let incremental = dump(&world.table());
        let now = world.now;
        world.writer.apply([ClusterEvent::Configured(Arc::new(config()))], now);
        let rebuilt = dump(&world.table());
        let only =
            |a: &str, b: &str| a.lines().filter(|line| !b.lines().any(|l| l == *line)).map(str::to_owned).collect();
        let (lost, found): (Vec<String>, Vec<String>) = (only(&incremental, &rebuilt), only(&rebuilt, &incremental));
        assert!(lost.is_empty() && found.is_empty(), "incremental has {lost:#?}, rebuilt has {found:#?}");
    });
}

#[test]
fn a_seed_repeats() {
    each_repeats("the_table_keeps_to_the_truth_under_faults", 0..3);
}
