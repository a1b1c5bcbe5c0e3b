//! The cluster that is played: masters that are elected, die and freeze, agents that come and go, tasks.
//!
//! The truth is in the demo's model, which also knows what its leading master has heard.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pointsman::cluster::sources::mesos::leader::{Detected, master_nodes, master_of_node};
use pointsman::cluster::sources::mesos::wire;
use pointsman::demo::app::AppSpec;
use pointsman::demo::cluster::{AgentStanding, ClusterModel, ModelTask, TaskState};
use pointsman::model::network::MastersFacts;
use pointsman::model::time::Timestamp;

pub const MASTERS: usize = 3;
pub const AGENTS: u8 = 6;
/// The app whose tasks are checked by the program itself.
pub const PROBED: &str = "probed";

/// A master's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    Up,
    /// Stopped by a signal: connections stay open and are silent.
    Frozen,
    Down,
}

/// Something that happens later by itself.
#[derive(Clone, Debug)]
pub enum Later {
    /// The dead leader's node expires; another one is elected.
    Elect,
    /// The leader has read its registry.
    Recover,
    /// The scheduler finds the new leader.
    Connect,
    /// An agent finds the new leader.
    Return(String),
    /// The leader stops waiting for the agents that are not back.
    GiveUpRecovered,
    /// The leader gives a silent agent up.
    GiveUp(String),
    /// A dead or frozen master goes on as one that waits.
    Restart(usize),
}

pub struct Cluster {
    pub model: ClusterModel,
    pub masters: [Process; MASTERS],
    /// Whom the masters hold for the leader.
    pub leader: Option<usize>,
    /// Whether the leader answers.
    pub recovered: bool,
    pub later: Vec<(Duration, Later)>,
    pub apps: Vec<AppSpec>,
    pub ports: BTreeMap<String, u16>,
    /// When tasks ended.
    pub ended: BTreeMap<String, Duration>,
    /// Masters whose connections from before end now.
    pub restarted: Vec<usize>,
    /// ZooKeeper's nodes: number, master.
    nodes: Vec<(u32, usize)>,
    next_node: u32,
    next_port: u16,
}

impl Cluster {
    pub fn new(seed: u64) -> Self {
        let mut model = ClusterModel::new(seed);
        for number in 1..=AGENTS {
            model.add_agent(&format!("agent-{number}"), IpAddr::from([10, 1, 0, number]));
        }
        model.connect_framework();
        let app = |name: &str, checked| AppSpec {
            checked,
            ..AppSpec::http(name, 0, &[("pointsman.host", &format!("{name}.example.com"))])
        };
        let mut probed = app(PROBED, false);
        probed.labels.push(("pointsman.health.check".to_owned(), "tcp".to_owned()));
        Self {
            model,
            masters: [Process::Up; MASTERS],
            leader: Some(0),
            recovered: true,
            later: Vec::new(),
            apps: vec![app("web", true), app("api", false), app("shop", true), probed],
            ports: BTreeMap::new(),
            ended: BTreeMap::new(),
            restarted: Vec::new(),
            nodes: (0..MASTERS).map(|master| (u32::try_from(master).unwrap(), master)).collect(),
            next_node: 10,
            next_port: 20_000,
        }
    }

    pub fn address(master: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, u8::try_from(master + 1).unwrap()], 5050))
    }

    pub fn is_leading(&self, master: usize) -> bool {
        self.leader == Some(master) && self.masters[master] == Process::Up && self.recovered
    }

    pub fn next_at(&self) -> Option<Duration> {
        self.later.iter().map(|(at, _)| *at).min()
    }

    pub fn schedule(&mut self, at: Duration, later: Later) {
        self.later.push((at, later));
    }

    /// Does what is due; returns what the leader says of it.
    pub fn tick(&mut self, now: Duration, wall: Timestamp) -> Vec<wire::Event> {
        let mut events = Vec::new();
        while let Some(at) = self.later.iter().position(|(at, _)| *at <= now) {
            let (_, later) = self.later.remove(at);
            events.extend(self.happen(later, now, wall));
        }
        events
    }

    fn happen(&mut self, later: Later, now: Duration, wall: Timestamp) -> Vec<wire::Event> {
        match later {
            Later::Elect => {
                self.nodes.retain(|(_, master)| self.masters[*master] == Process::Up);
                self.nodes.sort_unstable();
                self.leader = self.nodes.first().map(|(_, master)| *master);
                self.schedule(now + Duration::from_secs(2), Later::Recover);
                Vec::new()
            }
            Later::Recover => {
                self.recovered = true;
                Vec::new()
            }
            Later::Connect => self.model.connect_framework(),
            Later::Return(agent) => self.model.return_recovered(&agent),
            Later::GiveUpRecovered => {
                let standing = |agent: &&String| self.model.agents()[*agent].standing == AgentStanding::Recovered;
                let away: Vec<String> = self.model.agents().keys().filter(standing).cloned().collect();
                for agent in away {
                    // Whoever is not back by now has lost the way.
                    let _ = self.model.disconnect_agent(&agent);
                    self.model.give_agent_up(&agent, wall);
                }
                Vec::new()
            }
            Later::GiveUp(agent) => self.model.give_agent_up(&agent, wall),
            Later::Restart(master) => {
                self.masters[master] = Process::Up;
                self.restarted.push(master);
                self.nodes.retain(|(_, of)| *of != master);
                self.nodes.push((self.next_node, master));
                self.next_node += 1;
                if self.leader.is_none() {
                    self.schedule(now + Duration::from_secs(1), Later::Elect);
                }
                Vec::new()
            }
        }
    }

    /// The leader dies or freezes. Nothing is heard by anybody until another is elected, and the agents come back to
    /// that one by and by.
    pub fn fail_over(&mut self, now: Duration, process: Process, random: &mut fastrand::Rng) -> Option<usize> {
        let dead = self.leader.filter(|_| self.recovered)?;
        self.masters[dead] = process;
        self.recovered = false;
        self.model.fail_over();
        // What the former leader had begun to wait for is forgotten with it.
        self.later.retain(|(_, later)| matches!(later, Later::GiveUp(_) | Later::Restart(_)));
        let seconds = |random: &mut fastrand::Rng, most: u64| now + Duration::from_millis(random.u64(..most * 1000));
        // The session of a dead master expires after ten seconds.
        self.schedule(now + Duration::from_secs(10), Later::Elect);
        let slowest = [20, 60, 400][random.usize(..3)];
        let agents: Vec<String> = self.model.agents().keys().cloned().collect();
        for agent in agents {
            self.schedule(seconds(random, slowest) + Duration::from_secs(12), Later::Return(agent));
        }
        self.schedule(seconds(random, slowest) + Duration::from_secs(12), Later::Connect);
        self.schedule(now + Duration::from_secs(612), Later::GiveUpRecovered);
        self.schedule(seconds(random, 60) + Duration::from_secs(15), Later::Restart(dead));
        Some(dead)
    }

    /// Launches an instance of one of the apps on an agent that the leader reaches.
    pub fn launch(&mut self, random: &mut fastrand::Rng) -> Vec<wire::Event> {
        let there = |agent: &&String| {
            let agent = &self.model.agents()[*agent];
            agent.connected && agent.standing == AgentStanding::Registered
        };
        let agents: Vec<String> = self.model.agents().keys().filter(there).cloned().collect();
        if agents.is_empty() || !self.recovered {
            return Vec::new();
        }
        let (agent, app) = (&agents[random.usize(..agents.len())], &self.apps[random.usize(..self.apps.len())]);
        self.next_port += 1;
        let (id, events) = self.model.launch(app, agent, self.next_port).expect("the agent is there");
        self.ports.insert(id, self.next_port);
        events
    }

    /// A task's own news.
    pub fn update(&mut self, id: &str, state: TaskState, now: Duration, wall: Timestamp) -> Vec<wire::Event> {
        if state.is_ended() {
            self.ended.insert(id.to_owned(), now);
        }
        self.model.update(id, state, None, wall)
    }

    pub fn living(&self) -> Vec<String> {
        self.model.tasks().iter().filter(|(_, task)| !task.state.is_ended()).map(|(id, _)| id.clone()).collect()
    }

    pub fn living_task(&self, id: &str) -> Option<&ModelTask> {
        self.model.tasks().get(id).filter(|task| !task.state.is_ended())
    }

    /// What ZooKeeper shows, read as the source reads it.
    pub fn detected(&self) -> Detected {
        let mut children: Vec<String> =
            self.nodes.iter().map(|(number, _)| format!("json.info_{number:010}")).collect();
        children.push("log_replicas".into());
        let (mut detected, mut leader, mut addresses) = (Detected::default(), None, Vec::new());
        for node in master_nodes(&children) {
            let (_, master) = self.nodes.iter().find(|(number, _)| i64::from(*number) == node.sequence).unwrap();
            let address = Self::address(*master);
            let value = format!(
                r#"{{"address":{{"hostname":"{ip}","ip":"{ip}","port":{port}}},"hostname":"{ip}","id":"m","pid":"master@{address}"}}"#,
                ip = address.ip(),
                port = address.port()
            );
            let (target, address) = master_of_node(&node.name, value.as_bytes()).unwrap();
            if detected.leader.is_none() {
                detected.leader = Some(target.clone());
                leader = address;
            }
            detected.masters.push(target);
            addresses.extend(address);
        }
        detected.facts = MastersFacts::found(leader, addresses);
        detected
    }
}
