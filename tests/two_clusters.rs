//! Two Mesos clusters at once, whose frameworks, agents and tasks have the same ids: nothing of one is ever taken for the
//! other's, also when one is lost.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::backend::Backend;
use common::{dns, program};
use hickory_proto::rr::{RData, RecordType};
use pointsman::cluster::status::SourceState;
use pointsman::config::Config;
use pointsman::config::checked::{ListenerConfig, MesosConfig};
use pointsman::demo::app::AppSpec;
use pointsman::demo::cluster::{ClusterModel, TaskState};
use pointsman::demo::feed::Feed;
use pointsman::demo::master::Masters;
use pointsman::model::problem::ProblemCode;
use pointsman::server::{Options, Server};
use pointsman::table::Table;
use tokio::net::TcpListener;

/// What both clusters draw their ids from.
const SEED: u64 = 7;
const NAMES: [&str; 2] = ["one", "two"];

/// A cluster with one master and one agent; its tasks are servers of the test's.
struct Cluster {
    name: &'static str,
    feed: Arc<Feed>,
    masters: Masters,
    agent: String,
}

impl Cluster {
    async fn start(name: &'static str) -> Self {
        let mut model = ClusterModel::new(SEED);
        let (agent, _) = model.add_agent("agent-1", IpAddr::V4(Ipv4Addr::LOCALHOST));
        model.connect_framework();
        let ids = vec![model.draw_id()];
        let feed = Arc::new(Feed::new(model));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let masters = Masters::start(feed.clone(), vec![(listener, address)], ids, Duration::from_secs(15));
        Self { name, feed, masters, agent }
    }

    /// Runs an instance of `web` at a server; the task's id.
    fn run(&self, backend: &Backend) -> String {
        let host = format!("web.{}.test", self.name);
        let app = AppSpec { checked: false, ..AppSpec::http("web", 1, &[("pointsman.host", &host)]) };
        let port = backend.address.port();
        let id = self.feed.try_change(|model, _| model.launch(&app, &self.agent, port)).unwrap();
        for state in [TaskState::Starting, TaskState::Running] {
            self.feed.change(|model, now| model.update(&id, state, None, now));
        }
        id
    }

    fn end(&self, id: &str) {
        self.feed.change(|model, now| model.update(id, TaskState::Killed, None, now));
    }

    fn source(&self) -> MesosConfig {
        let master = self.masters.addresses()[0].to_string();
        let source = MesosConfig::with_masters(self.name, &format!("{}.zone", self.name), &[&master]);
        MesosConfig { max_backoff: Duration::from_millis(200), ..source }
    }
}

/// The program that serves both.
struct World {
    server: Server,
    dns: SocketAddr,
    proxy: SocketAddr,
}

impl World {
    fn start(clusters: [&Cluster; 2]) -> Self {
        let mesos = clusters.iter().map(|cluster| cluster.source()).collect();
        let mut config = Config { mesos, ..Config::default() };
        config.upstreams.allowed_networks.push("127.0.0.0/8".parse().unwrap());
        config.dns.listen.push(([127, 0, 0, 1], 0).into());
        config.proxy.listeners.push(ListenerConfig::plain("http", ([127, 0, 0, 1], 0).into()));
        config.server.workers = 1;
        let server = tokio::task::block_in_place(|| Server::start(config, Options::default())).unwrap();
        let (dns, proxy) = (server.addresses().dns[0], server.addresses().proxy[0]);
        Self { server, dns, proxy }
    }

    async fn until(&self, what: &str, condition: impl Fn(&Table) -> bool) -> Arc<Table> {
        let mut generations = self.server.table().watch();
        let come_true = async {
            loop {
                let table = self.server.table().load();
                if condition(&table) {
                    return table;
                }
                generations.changed().await.unwrap();
            }
        };
        tokio::time::timeout(program::PATIENCE, come_true).await.unwrap_or_else(|_| panic!("{what}: did not come true"))
    }

    /// The ports that DNS gives for `web` of a cluster.
    fn ports(&self, cluster: &str) -> Vec<u16> {
        let name = format!("_web._tcp.marathon.{cluster}.zone.");
        let answer = tokio::task::block_in_place(|| dns::over_udp(self.dns, &name, RecordType::SRV));
        let port = |record: &hickory_proto::rr::Record| match &record.data {
            RData::SRV(srv) => Some(srv.port),
            _ => None,
        };
        answer.answers.iter().filter_map(port).collect()
    }

    /// What a client of a cluster's `web` gets.
    fn get(&self, cluster: &str) -> String {
        let host = format!("web.{cluster}.test");
        let reply = tokio::task::block_in_place(|| program::get(self.proxy, &host, "/")).unwrap();
        format!("{} {}", reply.status, reply.body)
    }
}

fn states(table: &Table) -> Vec<SourceState> {
    table.sources.iter().map(|source| source.state).collect()
}

/// The tasks' keys without the cluster, by cluster.
fn keys(table: &Table, cluster: &str) -> BTreeSet<String> {
    let keys = table.tasks.keys().filter(|key| key.cluster().as_str() == cluster);
    keys.map(|key| format!("{}/{}", key.framework().as_str(), key.task())).collect()
}

/// The ports of the endpoints of a cluster's services, by service.
fn endpoints(table: &Table, cluster: &str) -> Vec<Vec<u16>> {
    let services = table.services.values().filter(|service| service.id.cluster().as_str() == cluster);
    services.map(|service| service.endpoints.iter().map(|endpoint| endpoint.address.port()).collect()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_with_the_same_ids_are_kept_apart_and_one_may_be_lost() {
    let (one, two) = (Cluster::start("one").await, Cluster::start("two").await);
    let backends = NAMES.map(Backend::start);
    let ports = [backends[0].address.port(), backends[1].address.port()];
    let ids = [one.run(&backends[0]), two.run(&backends[1])];
    assert_eq!((&ids[0], &one.agent), (&ids[1], &two.agent), "both clusters draw the same ids");
    let world = World::start([&one, &two]);
    let both_live = |table: &Table| states(table) == [SourceState::Live; 2] && table.tasks.len() == 2;
    let table = world.until("both are served", both_live).await;
    assert_eq!(keys(&table, "one"), keys(&table, "two"), "equal but for the cluster");
    for (name, port) in NAMES.into_iter().zip(ports) {
        assert_eq!(endpoints(&table, name), [[port]], "{name}: one service, with its own endpoint");
        assert_eq!((world.ports(name), world.get(name)), (vec![port], format!("200 {name}")));
    }
    let mut problems = table.problems.values().flat_map(|list| list.iter());
    assert!(problems.all(|problem| problem.code != ProblemCode::RouteConflict), "{:?}", table.problems);

    // One master dies: its cluster is served as it was, and the other goes on.
    one.masters.stop().await;
    let is_lost = |table: &Table| states(table) == [SourceState::Stale, SourceState::Live];
    world.until("one is lost", is_lost).await;
    let again = Backend::start("two again");
    two.run(&again);
    // A task ends that has the same ids in the cluster that is lost.
    two.end(&ids[1]);
    let renewed = again.address.port();
    let table = world.until("two has another task", |table| endpoints(table, "two") == [[renewed]]).await;
    assert!(is_lost(&table) && table.is_stale());
    assert_eq!(endpoints(&table, "one"), [[ports[0]]]);
    assert_eq!((world.ports("one"), world.get("one")), (vec![ports[0]], "200 one".to_owned()));
    assert_eq!((world.ports("two"), world.get("two")), (vec![renewed], "200 two again".to_owned()));

    // It comes back with another task in place of its own.
    let back = Backend::start("one again");
    one.run(&back);
    one.end(&ids[0]);
    one.masters.restart(0).await.unwrap();
    let returned = back.address.port();
    let is_back = |table: &Table| states(table) == [SourceState::Live; 2] && endpoints(table, "one") == [[returned]];
    let table = world.until("one is back", is_back).await;
    assert_eq!(endpoints(&table, "two"), [[renewed]]);
    assert_eq!((world.ports("one"), world.get("one")), (vec![returned], "200 one again".to_owned()));
    assert_eq!((world.ports("two"), world.get("two")), (vec![renewed], "200 two again".to_owned()));
    tokio::task::block_in_place(|| world.server.stop(Duration::ZERO));
    two.masters.stop().await;
    one.masters.stop().await;
}
