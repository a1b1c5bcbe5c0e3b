//! What differs between two versions of the table: everything that answers are given from is told, and nothing else.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::facts::{config, key, snapshot, status, task};
use common::world::{World, at, marathon, running};
use pointsman::cluster::event::{ClusterEvent, Fact, SourceEvent};
use pointsman::cluster::sources::file;
use pointsman::config::checked::{FileConfig, ListenerConfig, RouteBy};
use pointsman::model::task::TaskState;
use pointsman::table::Table;
use pointsman::table::difference::{Change, TableDiff, diff};

/// How a key was and is.
type Turn<'a> = (Option<&'a str>, Option<&'a str>);

/// What a list says of a key.
fn of<'a>(list: &'a [Change], key: &str) -> Turn<'a> {
    let found = list.iter().find(|change| change.key == key).unwrap_or_else(|| panic!("{key} is not in {list:?}"));
    (found.before.as_deref(), found.after.as_deref())
}

/// The lists that have anything, by what their entries are called.
fn kinds(diff: &TableDiff) -> Vec<&'static str> {
    diff.lists().into_iter().filter(|(_, list)| !list.is_empty()).map(|(kind, _)| kind).collect()
}

/// A cluster, and a file whose records lie in `corp.test`.
fn world() -> (World, FileConfig) {
    let file = FileConfig { name: "files".into(), path: "f".into(), zones: vec!["corp.test".into()] };
    let mut config = config();
    config.files.push(file.clone());
    config.proxy.service_ports.addresses = vec![[127, 0, 0, 1].into()];
    let apps = ListenerConfig::plain("apps", ([127, 0, 0, 1], 9091).into());
    config.proxy.listeners.push(ListenerConfig { route_by: RouteBy::App, ..apps });
    let mut world = World::with(config);
    read(&mut world, 1, &file, "");
    world.say(snapshot(1, vec![at(1), marathon()]));
    (world, file)
}

fn read(world: &mut World, stream: u64, file: &FileConfig, text: &str) {
    let document = file::read(text, Path::new("f"), file).unwrap();
    let facts = document.contents.into_facts(&file.name.as_str().into()).collect();
    world.say(ClusterEvent::Source(SourceEvent { source: file.name.clone(), stream, facts }));
}

/// What a change makes of the table.
fn difference(world: &mut World, change: impl FnOnce(&mut World)) -> (TableDiff, Arc<Table>) {
    let before = world.table();
    change(world);
    let after = world.table();
    // From back to front it is the same, turned round.
    let (there, back) = (diff(&before, &after), diff(&after, &before));
    for ((kind, forward), (_, backward)) in there.lists().into_iter().zip(back.lists()) {
        let turned = |change: &Change| Change {
            key: change.key.clone(),
            before: change.after.clone(),
            after: change.before.clone(),
        };
        let mut turned: Vec<Change> = backward.iter().map(turned).collect();
        turned.sort();
        assert_eq!(forward, turned.as_slice(), "{kind}");
    }
    (there, after)
}

/// The id of the service that is called so.
fn service(table: &Table, name: &str) -> String {
    table.services.keys().find(|id| id.name() == name).unwrap().to_string()
}

#[test]
fn every_way_in_is_told_when_it_comes_and_when_it_goes() {
    let (mut world, _) = world();
    let app = "team_shop.instance-c9de6033-b669-11e6-a48f-0ea4f4b1778c._app.1";
    let (diff, table) = difference(&mut world, |world| {
        let facts = vec![
            running("exact", "exact", 1, &[("pointsman.host", "a.test"), ("pointsman.path", "/x")]),
            running("wild", "wild", 1, &[("pointsman.host", "*.wild.test")]),
            running("regex", "regex", 1, &[("pointsman.host_regex", "v[0-9]+[.]test")]),
            running("any", "any", 1, &[("pointsman.host", "*")]),
            running("port", "port", 1, &[("pointsman.http.listen", "10001")]),
            running("name", "name", 1, &[("pointsman.host", "db.test"), ("pointsman.protocol", "tls")]),
            running(app, "app", 1, &[("pointsman.weight", "2")]),
        ];
        world.facts(1, facts);
    });
    let owner = |name: &str| service(&table, name);
    assert_eq!(of(&diff.routes, "a.test"), (None, Some(&*format!("/x → {}", owner("exact")))));
    assert_eq!(of(&diff.routes, "*.wild.test"), (None, Some(&*format!("/ → {}", owner("wild")))));
    assert_eq!(of(&diff.routes, "~v[0-9]+[.]test"), (None, Some(&*format!("/ → {}", owner("regex")))));
    assert_eq!(of(&diff.routes, "*"), (None, Some(&*format!("/ → {}", owner("any")))));
    assert_eq!(diff.routes.len(), 4, "{:?}", diff.routes);
    assert_eq!(of(&diff.ways, "port 10001"), (None, Some(&*owner("port"))));
    assert_eq!(of(&diff.ways, "TLS for db.test"), (None, Some(&*owner("name"))));
    assert_eq!(of(&diff.ways, "app /team/shop"), (None, Some(&*owner("app"))));
    assert_eq!(diff.ways.len(), 3, "{:?}", diff.ways);

    // Another app takes the host of an expression over, and the port is given up.
    let (diff, table) = difference(&mut world, |world| {
        let regex = [("pointsman.host_regex", "w[0-9]+[.]test")];
        world.facts(1, vec![running("regex", "regex", 1, &regex), running("port", "port", 1, &[])]);
    });
    let owner = |name: &str| service(&table, name);
    assert_eq!(of(&diff.routes, "~v[0-9]+[.]test"), (Some(&*format!("/ → {}", owner("regex"))), None));
    assert_eq!(of(&diff.routes, "~w[0-9]+[.]test"), (None, Some(&*format!("/ → {}", owner("regex")))));
    assert_eq!(of(&diff.ways, "port 10001"), (Some(&*owner("port")), None));
    assert_eq!((diff.routes.len(), diff.ways.len()), (2, 1), "{diff:?}");
    // What differs in nothing has no difference.
    assert_eq!(kinds(&difference(&mut world, |_| {}).0), Vec::<&str>::new());
}

#[test]
fn names_are_told_by_what_they_lead_to() {
    let (mut world, _) = world();
    let (diff, _) = difference(&mut world, |world| world.facts(1, vec![running("a", "web", 1, &[])]));
    assert_eq!(of(&diff.names, "web.marathon.mesos"), (None, Some("10.1.0.1 port 9000")));
    assert_eq!(diff.names.len(), 1, "{:?}", diff.names);
    assert_eq!(diff.lists().map(|(kind, list)| (kind, list.len())).to_vec(), {
        let counts =
            [("service", 1), ("route", 0), ("way", 0), ("task", 1), ("name", 1), ("record", 0), ("problem", 0)];
        counts.to_vec()
    });

    let second = Fact::Task(Box::new(task("b", "web", 1, 9001, &[])));
    let (diff, _) = difference(&mut world, |world| world.facts(1, vec![second]));
    let (before, after) = of(&diff.names, "web.marathon.mesos");
    assert_eq!(before, Some("10.1.0.1 port 9000"));
    let after = after.unwrap();
    assert!(after.contains("10.1.0.1 port 9000") && after.contains("10.1.0.1 port 9001"), "{after}");

    // A verdict changes a task, and no name.
    let verdict = || Fact::Status(Box::new(status("a", TaskState::Running, Some(true))));
    let (diff, _) = difference(&mut world, |world| world.facts(1, vec![verdict()]));
    assert!(diff.names.is_empty() && diff.tasks.len() == 1, "{diff:?}");

    // A name outlives its tasks without records, and is gone in the end.
    let ended = |id: &str| Fact::Status(Box::new(status(id, TaskState::Ended, None)));
    let (diff, _) = difference(&mut world, |world| world.facts(1, vec![ended("a"), ended("b")]));
    assert_eq!(of(&diff.names, "web.marathon.mesos").1, Some("no records"));
    let (diff, _) = difference(&mut world, |world| drop(world.pass(3600)));
    assert_eq!(of(&diff.names, "web.marathon.mesos"), (Some("no records"), None));
    assert!(world.table().tasks.get(&key("a")).is_none());
}

#[test]
fn frameworks_agents_and_masters_are_told() {
    let (mut world, _) = world();
    let leader = "10.0.0.7:5050".parse().unwrap();
    let masters = pointsman::model::network::MastersFacts { leader: Some(leader), masters: vec![leader] };
    let (diff, _) = difference(&mut world, |world| {
        let framework = pointsman::model::framework::FrameworkFacts {
            id: "F-2".into(),
            address: Some([10, 9, 9, 8].into()),
            port: Some(8080),
            ..common::facts::framework("chronos")
        };
        world.facts(1, vec![at(2), Fact::Framework(Box::new(framework)), Fact::Masters(masters.clone())]);
    });
    assert_eq!(of(&diff.names, "chronos.mesos"), (None, Some("10.9.9.8:8080")));
    assert_eq!(of(&diff.names, "slave.mesos"), (Some("10.1.0.1:5051"), Some("10.1.0.1:5051, 10.1.0.2:5051")));
    assert_eq!(of(&diff.names, "agent-2.agent.mesos"), (None, Some("10.1.0.2")));
    assert_eq!(of(&diff.names, "leader.mesos"), (None, Some("10.0.0.7:5050")));
    assert_eq!(of(&diff.names, "master.mesos"), (None, Some("10.0.0.7:5050")));
    let (diff, _) = difference(&mut world, |world| world.facts(1, vec![Fact::AgentGone("A-S2".into())]));
    assert_eq!(of(&diff.names, "slave.mesos").1, Some("10.1.0.1:5051"));
    assert_eq!(of(&diff.names, "agent-2.agent.mesos"), (Some("10.1.0.2"), None));
}

#[test]
fn records_of_files_and_their_zones_are_told() {
    let (mut world, file) = world();
    let record =
        |name: &str, value: &str| format!("[[records]]\nname = \"{name}\"\ntype = \"A\"\nvalue = \"{value}\"\n");
    let (diff, _) = difference(&mut world, |world| {
        read(world, 2, &file, &format!("{}{}", record("db.corp.test", "10.1.2.3"), record("db.corp.test", "10.1.2.4")));
    });
    assert_eq!(of(&diff.records, "db.corp.test"), (None, Some("A 10.1.2.3, A 10.1.2.4")));
    assert_eq!(kinds(&diff), ["record"]);
    let (diff, _) = difference(&mut world, |world| {
        read(world, 3, &file, &format!("{}ttl = 7\n", record("db.corp.test", "10.1.2.3")));
    });
    let (before, after) = (Some("A 10.1.2.3, A 10.1.2.4"), Some("A 10.1.2.3 for 7 s"));
    assert_eq!(of(&diff.records, "db.corp.test"), (before, after));

    // A zone that the configuration has no more takes its names along.
    let (diff, _) = difference(&mut world, |world| {
        let changed = FileConfig { zones: vec!["other.test".into()], ..file.clone() };
        let mut config = config();
        config.files.push(changed);
        world.say(ClusterEvent::Configured(Arc::new(config)));
    });
    assert_eq!(of(&diff.names, "corp.test").1, None);
    assert_eq!(of(&diff.names, "other.test").0, None);
    assert_eq!(of(&diff.records, "db.corp.test").1, None);
}
