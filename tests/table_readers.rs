//! A reader never sees half a change: whatever table it loads while others are being published, the name, the route, the
//! task and the endpoint in it are of one version.

mod common;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::facts::{agent, config, event, framework, key, snapshot, status, task};
use pointsman::cluster::event::{ClusterEvent, Fact, RecordData};
use pointsman::cluster::state::ClusterState;
use pointsman::model::refinement::Head;
use pointsman::model::task::TaskState;
use pointsman::model::time::Timestamp;
use pointsman::proxy::route;
use pointsman::table::Table;
use pointsman::table::dump::dump;
use pointsman::table::handle::TableHandle;
use pointsman::table::names::{Found, Record};
use pointsman::table::writer::Writer;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_000_000);
const APPS: usize = 3;
const READERS: usize = 3;
/// The port of an app's task says of which change it is, and so does the app's host.
const FIRST_PORT: u16 = 10_000;
/// The highest number of a change: the port must be one.
const LAST_CHANGE: u16 = 20_000;
/// Changes in one run, at least, and tables that readers have checked.
const CHANGES: u16 = 150;
const CHECKED: usize = 60;

fn host(app: usize, change: u16) -> String {
    format!("v{change}.app-{app}.test")
}

/// An app's task moves to a new port, on some agent, under a new host; or it ends.
fn change(random: &mut fastrand::Rng, number: u16) -> ClusterEvent {
    let app = random.usize(..APPS);
    let id = format!("t{app}");
    let fact = match random.usize(..6) {
        0 => Fact::Status(Box::new(status(&id, TaskState::Ended, None))),
        _ => {
            let labels = [("pointsman.host", &*host(app, number))];
            Fact::Task(Box::new(task(&id, &format!("app-{app}"), random.u8(..3), FIRST_PORT + number, &labels)))
        }
    };
    event(1, vec![fact])
}

/// A writer that knows the agents and the framework, and no task.
fn writer() -> Writer {
    let mut writer = Writer::new(ClusterState::new(Arc::new(config()), NOW), 7, NOW);
    let agents = (0..3).map(|number| Fact::Agent(Box::new(agent(number))));
    let facts = agents.chain([Fact::Framework(Box::new(framework("marathon")))]).collect();
    writer.apply([snapshot(1, facts)], NOW);
    writer
}

fn fingerprint(table: &Table) -> u64 {
    let mut hasher = DefaultHasher::new();
    dump(table).hash(&mut hasher);
    hasher.finish()
}

fn records(table: &Table, name: &str) -> Vec<Record> {
    match table.names.find(name) {
        Found::Node(_, node) => node.records.into_vec(),
        _ => Vec::new(),
    }
}

/// Whether everything that a table says of an app is of one version.
fn check_app(table: &Table, app: usize) -> Result<(), String> {
    let name = format!("app-{app}");
    let task = table.tasks.get(&key(&format!("t{app}")));
    let run: BTreeSet<SocketAddr> = task
        .iter()
        .flat_map(|view| {
            let port = view.facts.definition.discovery.as_ref().unwrap().ports[0].number;
            view.addresses().iter().map(move |address| SocketAddr::new(*address, port))
        })
        .collect();
    let addresses = records(table, &format!("{name}.marathon.mesos"));
    let services = records(table, &format!("_{name}._tcp.marathon.mesos"));
    let named: BTreeSet<IpAddr> = addresses.iter().filter_map(|record| address(&record.data)).collect();
    let ports: BTreeSet<u16> = services.iter().filter_map(|record| port(&record.data)).collect();
    let wanted = (run.iter().map(SocketAddr::ip).collect(), run.iter().map(SocketAddr::port).collect());
    if (named, ports) != wanted {
        return Err(format!("{name}: names say {addresses:?} {services:?}, the task is at {run:?}"));
    }
    let service = table.services.values().find(|service| service.id.name() == name);
    let endpoints: BTreeSet<SocketAddr> =
        service.iter().flat_map(|service| service.endpoints.iter().map(|endpoint| endpoint.address)).collect();
    let available = service.map_or(0, |service| service.available.len());
    if endpoints != run || available != run.len() {
        return Err(format!("{name}: endpoints {endpoints:?}, {available} available, the task is at {run:?}"));
    }
    let hosts = table.routes.iter().filter(|route| route.owner.name() == name).count();
    for at in &run {
        let host = host(app, at.port() - FIRST_PORT);
        let fields = http::HeaderMap::new();
        let head = Head { host: &host, path: "/", query: None, method: "GET", fields: &fields };
        let found = route::find(table, &head, &fields, || NOW, &mut fastrand::Rng::with_seed(0));
        let routed = found.ok().and_then(|to| to.service.endpoints.iter().next().map(|endpoint| endpoint.address));
        if (routed, hosts) != (Some(*at), 1) {
            return Err(format!("{name}: {host} leads to {routed:?}, of {hosts} routes, the task is at {at}"));
        }
    }
    Ok(())
}

fn check(table: &Table) -> Result<(), String> {
    (0..APPS).try_for_each(|app| check_app(table, app))
}

fn address(data: &RecordData) -> Option<IpAddr> {
    match data {
        RecordData::A(address) => Some((*address).into()),
        _ => None,
    }
}

fn port(data: &RecordData) -> Option<u16> {
    match data {
        RecordData::Srv { port, .. } => Some(*port),
        _ => None,
    }
}

/// What writer and readers share.
struct Shared {
    handle: TableHandle,
    /// What each generation says, as the writer has it.
    published: Mutex<HashMap<u64, u64>>,
    checked: AtomicUsize,
    is_over: AtomicBool,
}

impl Shared {
    /// Changes the table until there have been enough changes and the readers have seen enough of them.
    fn write(&self, writer: &mut Writer, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut number = 0;
        let is_enough = |number: u16| number >= CHANGES && self.checked.load(Ordering::SeqCst) >= CHECKED;
        while !is_enough(number) && !self.is_over.load(Ordering::SeqCst) {
            let steps = random.u16(1..4);
            // Numbers come round: what is compared is of one table.
            let batch: Vec<ClusterEvent> =
                (0..steps).map(|step| change(&mut random, (number + step) % LAST_CHANGE)).collect();
            number += steps;
            if number > LAST_CHANGE {
                number = CHANGES;
            }
            if let Some((table, record)) = writer.apply(batch, NOW).table {
                self.published.lock().unwrap().insert(table.generation, fingerprint(&table));
                self.handle.publish(table, record);
            }
        }
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Looks at each table that is met until there are no more.
    fn read(&self) -> Result<(), String> {
        let looked = self.look();
        // A reader that has found something must not be waited for.
        if looked.is_err() {
            self.is_over.store(true, Ordering::SeqCst);
        }
        looked
    }

    fn look(&self) -> Result<(), String> {
        let mut reader = self.handle.reader();
        let mut last = 0;
        while !self.is_over.load(Ordering::SeqCst) {
            let table = reader.load();
            if table.generation == last {
                std::thread::yield_now();
                continue;
            }
            if table.generation < last {
                return Err(format!("generation {} after {last}", table.generation));
            }
            last = table.generation;
            check(table).map_err(|fault| format!("generation {last}: {fault}"))?;
            if self.published.lock().unwrap().get(&last) != Some(&fingerprint(table)) {
                return Err(format!("generation {last} is not what was published"));
            }
            self.checked.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("POINTSMAN_FULL").is_some() { 300 } else { 8 }))]

    #[test]
    fn a_reader_never_sees_half_a_change(seed in any::<u64>()) {
        let mut writer = writer();
        let first = writer.first(NOW);
        let shared = Shared {
            published: Mutex::new(HashMap::from([(first.generation, fingerprint(&first))])),
            handle: TableHandle::new((*first).clone(), 4),
            checked: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        };
        let looked: Vec<Result<(), String>> = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(|| shared.read())).collect();
            shared.write(&mut writer, seed);
            readers.into_iter().map(|reader| reader.join().unwrap()).collect()
        });
        for outcome in looked {
            prop_assert!(outcome.is_ok(), "{outcome:?}");
        }
    }
}

#[test]
fn half_a_change_would_be_noticed() {
    let mut writer = writer();
    let mut at = |number: u16, on: u8| {
        let labels = [("pointsman.host", &*host(0, number))];
        let task = Fact::Task(Box::new(task("t0", "app-0", on, FIRST_PORT + number, &labels)));
        writer.apply([event(1, vec![task])], NOW).table.unwrap().0
    };
    let (before, after) = (at(1, 1), at(2, 2));
    assert_eq!((check(&before), check(&after)), (Ok(()), Ok(())));
    let mixed: [fn(&mut Table, &Table); 4] = [
        |half, before| half.names = before.names.clone(),
        |half, before| half.routes = before.routes.clone(),
        |half, before| half.services = before.services.clone(),
        |half, before| half.tasks = before.tasks.clone(),
    ];
    for (number, mix) in mixed.iter().enumerate() {
        let mut half = (*after).clone();
        mix(&mut half, &before);
        assert!(check(&half).is_err(), "part {number} of the former table is not noticed");
    }
}
