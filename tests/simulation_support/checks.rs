//! What must hold, whatever happens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pointsman::cluster::state::ClusterState;
use pointsman::demo::cluster::{AgentStanding, ModelTask, TaskState};
use pointsman::model::check::CheckState;
use pointsman::model::id::TaskKey;
use pointsman::model::task::{Health, TaskState as State};
use pointsman::table::Table;
use pointsman::table::dump::dump;
use pointsman::table::writer::Writer;

use super::answers::{proxy_ports, srv_ports};
use super::cluster::PROBED;
use super::world::{CLUSTER, START, World};

/// How long tasks of lost agents are kept.
const KEEP: Duration = Duration::from_secs(300);
/// The state's times are whole milliseconds.
const GRAIN: Duration = Duration::from_millis(1);
/// Longer than anything may be kept that the master does not list: for its agent to come back, then held by the guard.
const LONGEST: Duration = Duration::from_secs(900 + 600 + 60 + 30);

impl World {
    /// A table takes another's place: what is gone has to have a reason, and doubt is none.
    pub fn check_change(&mut self, before: &Table) {
        let of_cluster = |key: &&TaskKey| key.cluster().as_str() == CLUSTER;
        for key in before.tasks.keys().filter(of_cluster) {
            let id = key.task();
            if !self.table.tasks.contains_key(key) {
                self.check_removal(id);
                self.knowledge.away_since.remove(id);
                self.knowledge.verdicts.remove(id);
            }
        }
        for (key, task) in self.table.tasks.iter().filter(|(key, _)| of_cluster(key)) {
            if task.facts.state.is_away() {
                // One that is met for the first time has been away for as long as the master says. One that was first
                // told to live has been away since its loss was heard of, also where one batch told both.
                let is_known = before.tasks.contains_key(key) || self.knowledge.told_alive.contains(key.task());
                let told = task.facts.unreachable_since.filter(|_| !is_known);
                let since = told.map_or(self.now, |since| since.since(START).min(self.now));
                self.knowledge.away_since.entry(key.task().to_owned()).or_insert(since);
                self.knowledge.were_away.insert(key.task().to_owned());
            } else {
                self.knowledge.away_since.remove(key.task());
            }
        }
    }

    fn check_removal(&self, id: &str) {
        let Some(task) = self.cluster.living_task(id) else { return };
        let standing = self.cluster.model.agents()[&task.agent].standing;
        let away = self.knowledge.away_since.get(id).map(|since| self.now - *since);
        match (standing, away) {
            // The master gave its agent up, and if that was told, the time of grace is over.
            (AgentStanding::Unreachable, Some(away)) => {
                assert!(away + GRAIN >= KEEP, "{id} was removed {away:?} after its agent was lost");
            }
            (AgentStanding::Unreachable, None) => {}
            // It is back, or about to be, after the grace.
            (_, Some(away)) if away + GRAIN >= KEEP => {}
            // The present leader had given its agent up without having heard of its tasks, so nobody was told that they are
            // away; and that the agent is back is known to the leader alone.
            (_, None) if self.knowledge.returning.contains(&task.agent) => {}
            _ => panic!(
                "{id} lives on an agent that is {standing:?} ({away:?}), and is gone: {}",
                self.table_causes.join("; ")
            ),
        }
    }

    /// After every step.
    pub fn check(&mut self) {
        self.settle();
        let settled = self.is_settled();
        if settled {
            self.knowledge.returning.clear();
            self.check_against_master();
        } else {
            self.knowledge.absent_since.clear();
        }
        self.check_ends();
        self.check_verdicts();
        self.check_answers(settled);
        self.check_file();
    }

    /// What the master lists is in the table as it says, and what it does not list not for ever.
    fn check_against_master(&mut self) {
        let model = &self.cluster.model;
        let listed: Vec<(&String, &ModelTask)> = model
            .tasks()
            .iter()
            .filter(|(_, task)| model.agents()[&task.agent].standing == AgentStanding::Registered)
            .collect();
        let mut names = BTreeSet::new();
        for (id, task) in listed {
            // The agent's own silence delays what the master hears.
            if !model.agents()[&task.agent].connected {
                names.insert(id.clone());
                continue;
            }
            if task.state.is_ended() {
                continue;
            }
            names.insert(id.clone());
            let Some(view) = self.find(id) else { panic!("{id} is listed as {:?} and not in the table", task.state) };
            assert_eq!(view.facts.state, state(task.state), "{id}");
            let health = task.healthy.map_or(Health::Unknown, |h| if h { Health::Healthy } else { Health::Unhealthy });
            assert_eq!(view.facts.health, health, "{id}");
        }
        let extra: Vec<String> = self.ids().filter(|id| !names.contains(id)).collect();
        self.knowledge.absent_since.retain(|id, _| extra.contains(id));
        // Agents without any task look like credentials that may not see them: that is never believed by time alone.
        let looks_filtered = names.is_empty() && self.table.sources.iter().any(|source| source.held.is_some());
        for id in extra {
            let since = *self.knowledge.absent_since.entry(id.clone()).or_insert(self.now);
            assert!(looks_filtered || self.now - since <= LONGEST, "{id} has not been listed since {since:?}");
        }
    }

    /// Whose end was received is gone at once; whose agent was lost, after the time of grace.
    fn check_ends(&self) {
        for id in self.ids() {
            assert!(!self.knowledge.ends_received.contains(&id), "the end of {id} was received");
            let away = self.knowledge.away_since.get(&id).map(|since| self.now - *since);
            assert!(away.is_none_or(|away| away < KEEP + GRAIN), "{id} has been away for {away:?}");
        }
    }

    /// What the program's own checks have come to is in the table, through every snapshot, loss and restart.
    fn check_verdicts(&mut self) {
        let table = self.table.clone();
        let shown = |key: &TaskKey| {
            let verdicts = table.tasks.get(key)?.verdicts.clone()?;
            verdicts.get("http").map(|verdict| verdict.state)
        };
        for (id, state) in self.knowledge.verdicts.clone() {
            match shown(&self.key(&id)) {
                Some(shown) => assert_eq!(shown, state, "{id} by its checks"),
                // It was given up meanwhile: whoever comes back is checked anew.
                None if self.knowledge.were_away.contains(&id) => {
                    self.knowledge.verdicts.remove(&id);
                    self.knowledge.ready.remove(&id);
                }
                None => panic!("{id} was found {state:?}, and the table does not know"),
            }
        }
        for (key, view) in table.tasks.iter().filter(|(_, view)| view.verdicts.is_some()) {
            assert!(self.knowledge.verdicts.contains_key(key.task()), "{key} was never judged: {:?}", view.verdicts);
        }
    }

    /// Clients get what is ready, and nothing that is known to be gone.
    fn check_answers(&mut self, settled: bool) {
        let apps: Vec<String> = self.cluster.apps.iter().map(|app| app.name.clone()).collect();
        if settled {
            let model = &self.cluster.model;
            let is_ready = |(id, task): &(&String, &ModelTask)| {
                let agent = &model.agents()[&task.agent];
                let is_good = task.app != PROBED || self.knowledge.verdicts.get(*id) == Some(&CheckState::Good);
                agent.standing == AgentStanding::Registered && agent.connected && task.is_ready() && is_good
            };
            let ready = model.tasks().iter().filter(is_ready).map(|(id, _)| id.clone());
            self.knowledge.ready = ready.collect();
        }
        for app in apps {
            let ports = |world: &Self, wanted: &dyn Fn(&String) -> bool| -> BTreeSet<u16> {
                let tasks = world.cluster.ports.iter().filter(|(id, _)| wanted(id));
                let of_app = tasks.filter(|(id, _)| id.starts_with(&format!("{app}.instance-")));
                of_app.map(|(_, port)| *port).collect()
            };
            let given_up = |id: &str| {
                let task = self.cluster.living_task(id);
                task.is_none_or(|task| self.cluster.model.agents()[&task.agent].standing == AgentStanding::Unreachable)
            };
            let ready = ports(self, &|id| self.knowledge.ready.contains(id) && !given_up(id));
            let known = ports(self, &|id| self.find(id).is_some());
            // What the master does not list any more is served for a while, and what is on an agent whose silence it
            // has not noticed; never what it lists as not ready.
            let silent = |id: &str| {
                let task = self.cluster.model.tasks().get(id);
                task.is_some_and(|task| !self.cluster.model.agents()[&task.agent].connected)
            };
            let unlisted = ports(self, &|id| self.knowledge.absent_since.contains_key(id) || silent(id));
            // A name is given before the first verdict, as Mesos-DNS does; requests are not.
            let unverified = ports(self, &|id| match app == PROBED {
                true => !self.knowledge.verdicts.contains_key(id),
                false => self.cluster.living_task(id).is_some_and(|task| task.healthy.is_none()),
            });
            let table = self.table.clone();
            let by_name = srv_ports(&table, &app, &mut self.random);
            let by_proxy = proxy_ports(&table, &app, &mut self.random);
            for (who, answer, early) in [("DNS", by_name, &unverified), ("the proxy", by_proxy, &BTreeSet::new())] {
                assert!(answer.is_subset(&known), "{who} gives {answer:?} for {app}, the table has {known:?}");
                assert!(
                    ready.is_subset(&answer),
                    "{who} gives {answer:?} for {app}, ready are {ready:?}\n{}",
                    dump(&table)
                );
                if settled && !ready.is_empty() {
                    let more: BTreeSet<u16> = &(&answer - &ready) - early;
                    assert!(
                        more.is_subset(&unlisted),
                        "{who} gives {more:?} for {app} beside the ready ones {ready:?}\n{}",
                        dump(&table)
                    );
                }
            }
        }
    }

    /// A file's word counts at once and whole.
    fn check_file(&mut self) {
        let table = self.table.clone();
        for port in 9_000..9_008_u16 {
            let wanted: BTreeSet<u16> = self.file_services.contains(&port).then_some(port).into_iter().collect();
            let answer = proxy_ports(&table, &format!("static-{port}"), &mut self.random);
            assert_eq!(answer, wanted, "static-{port}");
        }
    }

    /// The table, built change by change, is the one that its facts make from scratch.
    pub fn check_rebuilt(&mut self) {
        let state: ClusterState = self.writer.state().clone();
        let rebuilt = dump(&Writer::new(state, 1, self.wall()).first(self.wall()));
        let table: Arc<Table> = self.writer.first(self.wall());
        let incremental = dump(&table);
        let only = |a: &str, b: &str| -> Vec<String> {
            let lines: BTreeSet<&str> = b.lines().collect();
            a.lines().filter(|line| !lines.contains(line)).map(str::to_owned).collect()
        };
        let (lost, found) = (only(&incremental, &rebuilt), only(&rebuilt, &incremental));
        assert!(lost.is_empty() && found.is_empty(), "incremental has {lost:#?}, rebuilt has {found:#?}");
    }

    /// The key of a task of the cluster.
    pub fn key(&self, id: &str) -> TaskKey {
        let framework = format!("{}-0000", self.framework());
        TaskKey::new(CLUSTER.into(), framework.as_str().into(), id)
    }

    pub fn find(&self, id: &str) -> Option<Arc<pointsman::table::task::TaskView>> {
        self.table.tasks.get(&self.key(id)).cloned()
    }

    /// The part of ids that all of the cluster's have in common.
    fn framework(&self) -> &str {
        let agent = self.cluster.model.agents().keys().next().expect("there are agents");
        agent.rsplit_once("-S").expect("an agent's id").0
    }

    pub fn ids(&self) -> impl Iterator<Item = String> {
        let table = self.table.clone();
        let mut ids: Vec<String> = table
            .tasks
            .keys()
            .filter(|key| key.cluster().as_str() == CLUSTER)
            .map(|key| key.task().to_owned())
            .collect();
        // The table's order is by hashes of this process's own.
        ids.sort_unstable();
        ids.into_iter()
    }
}

fn state(state: TaskState) -> State {
    match state {
        TaskState::Staging => State::Staging,
        TaskState::Starting => State::Starting,
        TaskState::Running => State::Running,
        TaskState::Killing => State::Killing,
        TaskState::Unreachable => State::Unreachable,
        TaskState::Lost => State::Lost,
        TaskState::Killed | TaskState::Finished | TaskState::Failed => State::Ended,
    }
}
