//! A test cluster for situations of deploys: real masters and their streams, tasks that are real sockets in a few real
//! processes, and the real program in front of them.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod crowd;
pub mod judge;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman::demo::app::AppSpec;
use pointsman::demo::cluster::{AgentStanding, ClusterModel, TaskState};
use pointsman::demo::feed::Feed;
use pointsman::demo::master::Masters;
use serde_json::Value;

use super::common::ports;
use super::common::program::{Folder, Program};
use super::faults_support::{Authority, HOST, HOST2};
use super::load::Target;
use crowd::Crowd;

/// How long a task that is told to end goes on: the time in which everybody hears of it.
pub const GRACE: Duration = Duration::from_millis(200);
/// Between two heartbeats of a stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Requests of each kind, at least.
pub fn least() -> u64 {
    if std::env::var_os("POINTSMAN_FULL").is_some() { 100_000 } else { 500 }
}

/// A task that runs: what the cluster calls it, and its place in a process.
pub struct Live {
    pub id: String,
    agent: usize,
    place: usize,
}

/// An agent: the process that all its tasks live in.
struct Agent {
    id: String,
    ip: IpAddr,
    crowd: Mutex<Crowd>,
    free: Mutex<Vec<usize>>,
}

/// The masters and the agents.
pub struct Cluster {
    pub feed: Arc<Feed>,
    pub masters: Masters,
    agents: Vec<Agent>,
}

impl Cluster {
    /// Three masters, and so many agents with so many places for tasks each.
    pub async fn start(agents: u8, places: usize) -> Self {
        let mut model = ClusterModel::new(u64::from(std::process::id()));
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let agents = (0..agents).map(|number| {
            // Linux answers on the whole of 127/8; nobody else is at these addresses.
            let ip = IpAddr::V4(Ipv4Addr::new(127, 100 + number, high, low | 1));
            let (id, _) = model.add_agent(&format!("agent-{number}"), ip);
            let free = Mutex::new((0..places).rev().collect());
            Agent { id, ip, crowd: Mutex::new(Crowd::start(ip, places)), free }
        });
        let agents = agents.collect();
        model.connect_framework();
        let ids = (0..3).map(|_| model.draw_id()).collect();
        let feed = Arc::new(Feed::new(model));
        let mut listeners = Vec::new();
        for _ in 0..3 {
            let address = ports::unused();
            listeners.push((tokio::net::TcpListener::bind(address).await.unwrap(), address));
        }
        Self { masters: Masters::start(feed.clone(), listeners, ids, HEARTBEAT), feed, agents }
    }

    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    /// The id of the framework whose tasks these are.
    pub fn framework(&self) -> String {
        let id = |model: &ClusterModel| {
            let framework = model.framework_lists().frameworks.into_iter().next()?;
            framework.framework_info?.id?.value
        };
        self.feed.read(id).expect("a framework is there")
    }

    /// What lets the program follow the masters.
    pub fn source(&self) -> String {
        let masters: Vec<String> = self.masters.addresses().iter().map(SocketAddr::to_string).collect();
        format!(
            "[[sources.mesos]]\nname = \"mesos\"\nzone = \"mesos\"\nmasters = {masters:?}\nmax_backoff = \"200ms\"\n"
        )
    }

    /// Launches a task on an agent; it runs when this returns.
    pub fn launch(&self, app: &AppSpec, agent: usize) -> Live {
        let live = self.begin(app, agent);
        self.run(&live);
        live
    }

    /// A task that was begun listens, and runs.
    pub fn run(&self, live: &Live) {
        self.agents[live.agent].crowd.lock().unwrap().open(live.place, &live.id);
        self.tell(live, TaskState::Running);
    }

    /// The id of a task's agent, and where the task listens.
    pub fn place(&self, live: &Live) -> (&str, SocketAddr) {
        let agent = &self.agents[live.agent];
        (&agent.id, SocketAddr::new(agent.ip, agent.crowd.lock().unwrap().ports[live.place]))
    }

    /// Launches one that the cluster takes for running, and that does not listen.
    pub fn launch_deaf(&self, app: &AppSpec, agent: usize) -> Live {
        let live = self.begin(app, agent);
        self.tell(&live, TaskState::Running);
        live
    }

    /// A task is launched, and does not run yet.
    pub fn begin(&self, app: &AppSpec, agent: usize) -> Live {
        let host = &self.agents[agent];
        let place = host.free.lock().unwrap().pop().expect("a free place");
        let port = host.crowd.lock().unwrap().ports[place];
        let id = self.feed.try_change(|model, _| model.launch(app, &host.id, port)).unwrap();
        let live = Live { id, agent, place };
        self.tell(&live, TaskState::Starting);
        live
    }

    /// Ends a task in good order: it is told to, goes on for its grace, and finishes what it has.
    pub fn end(&self, live: Live) {
        self.end_all(vec![live]);
    }

    /// The same for several at a time.
    pub fn end_all(&self, all: Vec<Live>) {
        all.iter().for_each(|live| self.kill(live));
        std::thread::sleep(GRACE);
        all.into_iter().for_each(|live| self.finish(live));
    }

    /// A task is told to end.
    pub fn kill(&self, live: &Live) {
        self.tell(live, TaskState::Killing);
    }

    /// A task that was told to end finishes what it has, and is gone.
    pub fn finish(&self, live: Live) {
        self.agents[live.agent].crowd.lock().unwrap().close(live.place);
        self.gone(live, TaskState::Killed);
    }

    /// A task falls over, and the cluster hears of it afterwards.
    pub fn crash(&self, live: Live) {
        self.agents[live.agent].crowd.lock().unwrap().break_down(live.place);
        self.gone(live, TaskState::Failed);
    }

    /// One that never listened fails.
    pub fn fail_deaf(&self, live: Live) {
        self.gone(live, TaskState::Failed);
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is gone: nobody ends it twice")]
    fn gone(&self, live: Live, state: TaskState) {
        self.tell(&live, state);
        self.agents[live.agent].free.lock().unwrap().insert(0, live.place);
    }

    fn tell(&self, live: &Live, state: TaskState) {
        self.feed.change(|model, now| model.update(&live.id, state, None, now));
    }

    /// The leading master dies: nobody tells of anything any more.
    pub async fn lose_leader(&self) -> usize {
        self.masters.kill_leader().await.expect("somebody leads")
    }

    /// Another one leads, which knows of no task before its agent is back: it answers from the first one on.
    pub async fn elect(&self, dead: usize, between_agents: Duration) {
        self.feed.change(|model, _| {
            model.fail_over();
            Vec::new()
        });
        self.masters.elect_after(dead);
        self.masters.restart(dead).await.unwrap();
        for (position, agent) in self.agents.iter().enumerate() {
            self.feed.change(|model, _| model.return_recovered(&agent.id));
            if position == 0 {
                self.masters.finish_recovery();
                self.feed.change(|model, _| model.connect_framework());
            }
            tokio::time::sleep(between_agents).await;
        }
        let away = |model: &ClusterModel| {
            model.agents().values().filter(|agent| agent.standing != AgentStanding::Registered).count()
        };
        assert_eq!(self.feed.read(away), 0);
    }
}

/// An app whose tasks are endpoints of the service for HTTP/1.1, and one for HTTP/2: where the one goes, the other goes.
#[derive(Clone)]
pub struct Twins(pub [AppSpec; 2]);

impl Twins {
    /// Apps of this name with these labels beside.
    pub fn new(name: &str, labels: &[(&str, &str)]) -> Self {
        let app = |kind: &str, host: &str, protocol: &str| {
            let own = [
                ("pointsman.host", host),
                ("pointsman.service", kind),
                ("pointsman.protocol", protocol),
                ("pointsman.drain_time", "10s"),
            ];
            let labels = [&own[..], labels].concat();
            AppSpec { checked: false, ..AppSpec::http(&format!("{kind}-{name}"), 1, &labels) }
        };
        Self([app("web", HOST, "http"), app("rpc", HOST2, "h2c")])
    }
}

/// The cluster and the program that serves it.
pub struct World {
    pub cluster: Arc<Cluster>,
    pub program: Program,
    pub target: Target,
    _folder: Folder,
}

impl World {
    pub async fn start(agents: u8, places: usize) -> Self {
        let cluster = Arc::new(Cluster::start(agents, places).await);
        let source = cluster.source();
        Self::serving(cluster, &source)
    }

    /// A cluster of which these sources tell.
    pub fn serving(cluster: Arc<Cluster>, sources: &str) -> Self {
        let (folder, authority) = (Folder::new(), Authority::new());
        std::fs::create_dir(folder.path("certificates")).unwrap();
        authority.write_pair(&folder.path("certificates"));
        let (http, https) = (ports::unused(), ports::unused());
        folder.configure(&format!(
            "[server]\nworkers = 2\n[state]\npath = \"state\"\n{sources}\
             [[proxy.listeners]]\nname = \"http\"\naddress = \"{http}\"\n\
             [[proxy.listeners]]\nname = \"https\"\naddress = \"{https}\"\ncertificates = \"certificates\"\n\
             [proxy.limits]\nper_try = \"5s\"\nresponse = \"20s\"\nidle = \"10m\"\n"
        ));
        let target = Target { http, https, host: HOST, host2: HOST2, tls: authority.connectors() };
        let mut world = Self { cluster, program: folder.start(), target, _folder: folder };
        world.program.until_ready();
        world
    }

    /// Waits until both services have so many endpoints that may be chosen.
    pub fn until_available(&mut self, count: usize) {
        self.program.until(&format!("{count} tasks of each service are served"), |program| {
            let services = services(program);
            ["web", "rpc"].iter().all(|name| services.get(*name).is_some_and(|service| service["available"] == count))
        });
    }

    /// Waits until the program knows everything that runs. It may know more: what ended while nobody led is not told.
    pub fn until_told(&mut self) {
        let running: Vec<String> = self.cluster.feed.read(|model| model.tasks().keys().cloned().collect());
        self.program.until("the program knows what runs", |program| {
            let tasks = program.api("/v1/tasks?limit=10000").1["tasks"].as_array().cloned().unwrap_or_default();
            let keys: Vec<&str> = tasks.iter().filter_map(|task| task["key"].as_str()).collect();
            running.iter().all(|id| keys.iter().any(|key| key.ends_with(id.as_str())))
        });
    }

    pub fn metric(&self, name: &str) -> f64 {
        self.program.metric(name).unwrap_or_else(|| panic!("no metric {name}"))
    }
}

/// What the API says of services, by name.
pub fn services(program: &Program) -> BTreeMap<String, Value> {
    let listed = program.api("/v1/services").1["services"].as_array().cloned().unwrap_or_default();
    listed.into_iter().map(|service| (service["name"].as_str().unwrap_or_default().to_owned(), service)).collect()
}

/// Runs what may wait for other processes beside the clients.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
