//! A whole admin server over a table built by hand, on sockets of its own.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(missing_docs, reason = "test code")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman::acme::status::SharedStatus;
use pointsman::admin::{AdminContext, AdminServer, Phase, ReloadOutcome, ReloadStatus};
use pointsman::cluster::event::{ClusterEvent, Command, EventReceiver};
use pointsman::config::Config;
use pointsman::config::checked::{AdminConfig, IpSource, Secret};
use pointsman::deploys::run::SharedLedger;
use pointsman::labels::host::HostPattern;
use pointsman::model::agent::AgentFacts;
use pointsman::model::drain::DrainOrder;
use pointsman::model::endpoint::{Endpoint, EndpointId, EndpointState, Family, Weight};
use pointsman::model::id::{ServiceId, TaskKey};
use pointsman::model::problem::{Problem, ProblemCode};
use pointsman::model::service::{Protocol, Service, Target};
use pointsman::model::sorted::SortedList;
use pointsman::model::task::{Health, Label, TaskDefinition, TaskFacts, TaskState};
use pointsman::model::time::Timestamp;
use pointsman::model::weights::WeightOrder;
use pointsman::table::Table;
use pointsman::table::handle::TableHandle;
use pointsman::table::history::VersionRecord;
use pointsman::table::routes::Route;
use pointsman::table::status::{HeldRemovals, SourceState, SourceStatus};
use pointsman::table::task::{TaskExtras, TaskView};
use tokio::sync::{mpsc, watch};

pub const TOKEN: &str = "a-token-for-tests";

pub struct TestAdmin {
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    pub socket: PathBuf,
    pub table: Arc<TableHandle>,
    pub events: EventReceiver,
    pub phase: watch::Sender<Phase>,
    pub levels: Arc<Mutex<Vec<String>>>,
    running: Option<pointsman::admin::RunningAdmin>,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
    _reload: watch::Sender<ReloadStatus>,
}

impl TestAdmin {
    /// Serves the table that [`table`] makes.
    pub fn start() -> Self {
        Self::with(table)
    }

    pub fn with(table: impl FnOnce(Arc<Config>) -> Table) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let admin = AdminConfig {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            metrics_listen: Some("127.0.0.1:0".parse().unwrap()),
            socket: Some(socket.clone()),
            token: Some(Secret(TOKEN.into())),
            hosts: vec!["ops.example.com".into()],
            ..AdminConfig::default()
        };
        let config = Arc::new(Config { admin: admin.clone(), ..Config::default() });
        let table = Arc::new(TableHandle::new(table(config), 8));
        let (sender, events) = mpsc::channel(4);
        let (phase, phase_receiver) = watch::channel(Phase::Serving);
        let reload = ReloadStatus { at: Timestamp(5), outcome: ReloadOutcome::Started, errors: vec![] };
        let (reload, reload_receiver) = watch::channel(reload);
        let levels = Arc::new(Mutex::new(Vec::new()));
        let kept = levels.clone();
        let context = AdminContext {
            table: table.clone(),
            events: sender,
            registry: prometheus::Registry::new(),
            reload: reload_receiver,
            phase: phase_receiver,
            set_log_level: Box::new(move |level| {
                if level == "nonsense" {
                    return Err("there is no such level".into());
                }
                kept.lock().unwrap().push(level.to_owned());
                Ok(())
            }),
            config_json: Box::new(|config| serde_json::json!({ "admin": { "hosts": config.admin.hosts } })),
            workers: 2,
            deploys: SharedLedger::default(),
            acme: SharedStatus::default(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (addresses, running) = runtime.block_on(async {
            let server = AdminServer::bind(&admin).await.unwrap();
            (server.addresses(), server.serve(Arc::new(context)).unwrap())
        });
        Self {
            address: addresses[0],
            metrics: addresses[1],
            socket,
            table,
            events,
            phase,
            levels,
            running: Some(running),
            runtime,
            _folder: folder,
            _reload: reload,
        }
    }

    pub fn stop(&mut self) {
        let running = self.running.take().unwrap();
        self.runtime.block_on(running.stop(Duration::from_secs(10)));
    }

    /// Publishes a changed copy of the current table.
    pub fn publish(&self, cause: &str, change: impl FnOnce(&mut Table)) {
        publish(&self.table, cause, change);
    }

    /// From here on orders are carried out as the writer does, as far as the table shows them.
    pub fn obey(&mut self) {
        let (_, nobody) = mpsc::channel(1);
        let (mut events, table) = (std::mem::replace(&mut self.events, nobody), self.table.clone());
        // Ends with the API, which has the only sender.
        std::thread::spawn(move || {
            while let Some(event) = events.blocking_recv() {
                let ClusterEvent::Command(command) = event else { continue };
                publish(&table, "an order", |table| carry_out(table, command));
            }
        });
    }

    /// GET over TCP: status and JSON.
    pub fn get(&self, path: &str) -> (u16, serde_json::Value) {
        let reply = self.send("GET", path, &[], "");
        (reply.status, serde_json::from_str(&reply.body).unwrap_or_default())
    }

    /// A request over TCP with the right host.
    pub fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
        let host = format!("Host: {}", self.address);
        let headers: Vec<&str> = std::iter::once(host.as_str()).chain(headers.iter().copied()).collect();
        exchange(TcpStream::connect(self.address).unwrap(), method, path, &headers, body)
    }

    /// A request over the Unix socket.
    pub fn send_socket(&self, method: &str, path: &str, body: &str) -> Reply {
        exchange(UnixStream::connect(&self.socket).unwrap(), method, path, &["Host: localhost"], body)
    }
}

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

pub fn exchange(mut stream: impl Read + Write, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
    let headers = headers.iter().map(|header| format!("{header}\r\n")).collect::<String>();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Reply { status: head[9..12].parse().unwrap(), head: head.to_lowercase(), body: body.to_owned() }
}

fn publish(handle: &TableHandle, cause: &str, change: impl FnOnce(&mut Table)) {
    let mut next = (*handle.load()).clone();
    next.generation += 1;
    change(&mut next);
    let record = VersionRecord { events: 1, causes: vec![cause.into()], tasks_changed: 1, publish_ns: 2000 };
    handle.publish(Arc::new(next), record);
}

fn carry_out(table: &mut Table, command: Command) {
    let since = Timestamp(3);
    match command {
        Command::Drain { subject, actor } => {
            table.drains.add(subject, DrainOrder { since, actor });
        }
        Command::Undrain { subject, .. } => {
            table.drains.remove(&subject);
        }
        Command::Weigh { service, versions, .. } if versions.is_empty() => {
            table.weights.remove(&service);
        }
        Command::Weigh { service, versions, actor } => {
            table.weights.set(service, WeightOrder { versions, since, actor });
        }
        Command::AcceptRemovals { .. } => {}
    }
}

pub fn service_id(namespace: &str, name: &str) -> ServiceId {
    ServiceId::new("prod".into(), namespace, name, "http")
}

fn endpoint(service: &ServiceId, task: &str, port: u16, state: EndpointState) -> Arc<Endpoint> {
    let key = TaskKey::new("prod".into(), service.namespace().into(), task);
    Arc::new(Endpoint {
        id: EndpointId { task: key, port: "http".into(), family: Family::V4 },
        service: service.clone(),
        address: SocketAddr::from(([10, 0, 0, 1], port)),
        protocol: Protocol::Http,
        tls: None,
        proxy_protocol: None,
        version: "v1".into(),
        weight: Weight(100),
        version_weight: None,
        deployment: None,
        state,
        agent: Some("agent-1".into()),
        ready_since: Some(Timestamp(1)),
        drain_time: None,
        sticky: false,
        balance: None,
        bounds: None,
        rules: None,
        check: None,
        run: Arc::default(),
    })
}

fn service(namespace: &str, name: &str, states: &[EndpointState]) -> Service {
    let id = service_id(namespace, name);
    let (mut endpoints, mut available) = (SortedList::default(), SortedList::default());
    for (port, state) in (8000_u16..).zip(states) {
        let endpoint = endpoint(&id, &format!("{name}.{port}"), port, *state);
        endpoints.insert(endpoint.clone());
        if *state == EndpointState::Ready {
            available.insert(endpoint);
        }
    }
    let framework = if namespace == "f-1" { "marathon" } else { "chronos" };
    Service {
        id,
        framework: framework.into(),
        protocol: Protocol::Http,
        endpoints,
        available,
        sticky: SortedList::default(),
        ring: None,
        panic: false,
        rules: None,
        mixed_rules: false,
        shares: None,
        said_shares: 0,
        empty_since: None,
    }
}

fn task(service: &Service, endpoint: &Endpoint) -> TaskView {
    let label = |key: &str, value: &str| Label { key: key.into(), value: value.into() };
    let definition = TaskDefinition {
        name: service.id.name().into(),
        labels: Arc::new([label("version", "v1"), label("HAPROXY_0_AUTH", "hunter2"), label("db_password", "hunter2")]),
        ..TaskDefinition::default()
    };
    let facts = TaskFacts {
        key: endpoint.id.task.clone(),
        agent: endpoint.agent.clone(),
        state: TaskState::Running,
        health: Health::Healthy,
        held: false,
        addresses: [endpoint.address.ip()].into_iter().collect(),
        networks: None,
        labelled: None,
        unreachable_since: None,
        definition: Arc::new(definition),
    };
    let agent = AgentFacts {
        cluster: "prod".into(),
        id: "agent-1".into(),
        hostname: "node1.example".into(),
        address: Some([10, 0, 0, 1].into()),
        port: None,
        region: None,
        zone: None,
        active: true,
        recovered: false,
    };
    TaskView {
        source: pointsman::cluster::source::SourceKind::Mesos,
        facts: Arc::new(facts),
        agent: Some(Arc::new(agent)),
        framework: None,
        verdicts: None,
        drained: false,
        state: endpoint.state,
        version: endpoint.version.clone(),
        services: [(service.id.clone(), endpoint.id.family)].into_iter().collect(),
        address_source: Some(IpSource::Netinfo),
        extras: Some(Box::new(TaskExtras {
            scrape: Some((endpoint.address, "/metrics".into())),
            ..TaskExtras::default()
        })),
    }
}

pub fn add(table: &mut Table, service: Service) {
    for endpoint in service.endpoints.iter() {
        table.tasks.insert(endpoint.id.task.clone(), Arc::new(task(&service, endpoint)));
    }
    table.services.insert(service.id.clone(), Arc::new(service));
}

pub fn add_service(table: &mut Table, namespace: &str, name: &str, states: &[EndpointState]) {
    add(table, service(namespace, name, states));
}

pub fn source(complete: bool, state: SourceState) -> SourceStatus {
    let held = HeldRemovals { tasks: 30, of: 40, since: Timestamp(1), until: None, reason: "too many at once".into() };
    SourceStatus {
        name: "prod".into(),
        kind: "mesos",
        state,
        since: Timestamp(1),
        error: None,
        complete,
        tasks: 3,
        agents: 1,
        recovered_agents: 0,
        held: Some(held),
    }
}

/// Two services called `web`, one called `api`, a route, a problem, a source that holds removals back.
pub fn table(config: Arc<Config>) -> Table {
    let mut table = Table::empty(config);
    (table.epoch, table.generation, table.digest, table.ready) = (0xabc, 1, 7, true);
    table.built_at = Timestamp::now();
    add_service(&mut table, "f-1", "web", &[EndpointState::Ready, EndpointState::Draining]);
    add_service(&mut table, "f-2", "web", &[EndpointState::Ready]);
    add_service(&mut table, "f-1", "api", &[EndpointState::Unhealthy]);
    for (host, name) in [("web.example.com", "web"), ("*.api.example.com", "api")] {
        let owner = service_id("f-1", name);
        table.routes.insert(Arc::new(Route {
            targets: [Target { service: owner.clone(), version: None, weight: 1 }].into(),
            owner,
            name: "default".into(),
            host: HostPattern::parse(host).unwrap(),
            path: "/".into(),
            refined: None,
            priority: 0,
            since: Timestamp(1),
            actions: None,
        }));
    }
    let subject: Arc<str> = "prod/f-1/web.8000".into();
    let problem = Problem {
        code: ProblemCode::UnknownLabel,
        subject: subject.clone(),
        at: "pointsman.hots".into(),
        message: "there is no such label".into(),
        mend: "write pointsman.host".into(),
    };
    table.problems.insert(subject, Arc::new([problem]));
    table.sources = Arc::new([source(true, SourceState::Live)]);
    table
}
