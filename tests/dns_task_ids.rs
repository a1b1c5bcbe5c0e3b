//! Names of single tasks by id, asked over the wire while tables change.

mod common;
mod dns_common;

use std::sync::Arc;

use common::facts::{event, framework, key, status, task};
use common::world::{World, at, marathon};
use dns_common::{Server, ask_udp, query};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use pointsman::cluster::event::Fact;
use pointsman::config::checked::ExtraName;
use pointsman::model::framework::FrameworkFacts;
use pointsman::model::id::TaskKey;
use pointsman::model::task::{DiscoveryPort, PortScope, TaskFacts, TaskState};
use pointsman::table::dump::dump;
use pointsman::table::handle::TableHandle;
use pointsman::table::history::VersionRecord;
use pointsman::table::names::ids::id_label;

/// An id as Marathon makes them: too long for a label, with dots and underscores.
const POD: &str = "shop.instance-c9de6033-b669-11e6-a48f-0ea4f4b1778c._app.1";

/// A cluster whose tables a DNS server answers from.
struct Cluster {
    world: World,
    handle: TableHandle,
    server: Server,
}

impl Cluster {
    fn new(facts: Vec<Fact>) -> Self {
        Self::within(World::new(), facts)
    }

    fn within(mut world: World, facts: Vec<Fact>) -> Self {
        world.say(common::facts::snapshot(1, facts));
        let handle = TableHandle::new((*world.table()).clone(), 4);
        let server = Server::start_on("127.0.0.1:0", 1, &handle.reader());
        Self { world, handle, server }
    }

    fn say(&mut self, facts: Vec<Fact>) {
        self.world.facts(1, facts);
        self.handle.publish(self.world.table(), VersionRecord::default());
    }

    fn ask(&self, name: &str, record_type: RecordType) -> Message {
        ask_udp(self.server.address, &query(7, &format!("{name}."), record_type))
    }

    /// The answers in short: addresses, `port target` for SRV, sorted; the response code where there is none.
    fn answers(&self, name: &str, record_type: RecordType) -> Vec<String> {
        let answer = self.ask(name, record_type);
        let mut shown: Vec<String> = answer.answers.iter().map(|record| show(&record.data)).collect();
        shown.sort();
        match (answer.metadata.response_code, shown.is_empty()) {
            (ResponseCode::NXDomain, _) => vec!["nxdomain".into()],
            (ResponseCode::NoError, true) => vec!["nodata".into()],
            (ResponseCode::NoError, false) => shown,
            (code, _) => vec![format!("{code:?}")],
        }
    }

    fn check(&self, name: &str, record_type: RecordType, expected: &[&str]) {
        assert_eq!(self.answers(name, record_type), expected, "{name} {record_type}");
    }
}

fn show(data: &RData) -> String {
    match data {
        RData::A(address) => address.0.to_string(),
        RData::AAAA(address) => address.0.to_string(),
        RData::SRV(srv) => format!("{} {}", srv.port, srv.target),
        other => format!("{other:?}"),
    }
}

fn pod() -> String {
    format!("{}.id.marathon.mesos", id_label(POD))
}

fn said(facts: TaskFacts) -> Fact {
    Fact::Task(Box::new(facts))
}

/// Two tasks of one name, of which one has an address of either family.
fn shop() -> Vec<Fact> {
    let mut own = task(POD, "shop", 1, 9000, &[]);
    own.addresses = ["10.3.0.1".parse().unwrap(), "fd00::1".parse().unwrap()].into_iter().collect();
    vec![said(own), said(task("shop-2", "shop", 2, 9001, &[])), at(1), at(2), marathon()]
}

#[test]
fn an_id_finds_precisely_its_task() {
    let cluster = Cluster::new(shop());
    let name = pod();
    cluster.check("shop.marathon.mesos", RecordType::A, &["10.1.0.2", "10.3.0.1"]);
    cluster.check(&name, RecordType::A, &["10.3.0.1"]);
    cluster.check(&name, RecordType::AAAA, &["fd00::1"]);
    cluster.check(&name, RecordType::SRV, &[&format!("9000 {name}.")]);
    cluster.check("shop-2.id.marathon.mesos", RecordType::A, &["10.1.0.2"]);
    cluster.check("SHOP-2.Id.Marathon.Mesos", RecordType::A, &["10.1.0.2"]);
    cluster.check("shop-2.id.marathon.mesos", RecordType::AAAA, &["nodata"]);
    // The agent's part, with host ports.
    let on_agent = format!("{}.slave.mesos", name.strip_suffix(".mesos").unwrap());
    cluster.check(&on_agent, RecordType::A, &["10.1.0.1"]);
    cluster.check(&on_agent, RecordType::SRV, &[&format!("9000 {on_agent}.")]);
    // What an SRV answer points to comes along.
    let answer = cluster.ask(&name, RecordType::SRV);
    let along: Vec<_> = answer.additionals.iter().map(|record| show(&record.data)).collect();
    assert!(along.contains(&"10.3.0.1".to_owned()) && along.contains(&"fd00::1".to_owned()), "{along:?}");
}

#[test]
fn ports_are_found_by_name_and_protocol() {
    let mut facts = task(POD, "shop", 1, 9000, &[]);
    let mut definition = (*facts.definition).clone();
    let port = |number, name: &str, protocol: &str| DiscoveryPort {
        number,
        name: name.into(),
        protocol: protocol.into(),
        scope: PortScope::Host,
        labels: Box::new([]),
    };
    let discovery = definition.discovery.as_mut().unwrap();
    discovery.ports = Box::new([port(9000, "http", "tcp"), port(9001, "metrics", "tcp"), port(9002, "", "udp")]);
    facts.definition = Arc::new(definition);
    let cluster = Cluster::new(vec![said(facts), at(1), marathon()]);
    let name = pod();
    let all = [9000, 9001, 9002].map(|port| format!("{port} {name}."));
    cluster.check(&name, RecordType::SRV, &all.each_ref().map(String::as_str));
    cluster.check(&format!("_http._tcp.{name}"), RecordType::SRV, &[&all[0]]);
    cluster.check(&format!("_metrics._tcp.{name}"), RecordType::SRV, &[&all[1]]);
    cluster.check(&format!("_http._tcp.{name}"), RecordType::A, &["nodata"]);
    cluster.check(&format!("_http._udp.{name}"), RecordType::SRV, &["nxdomain"]);
    cluster.check(&format!("_none._tcp.{name}"), RecordType::SRV, &["nxdomain"]);
    // Above names of ports there is a name; above none there is none.
    cluster.check(&format!("_tcp.{name}"), RecordType::SRV, &["nodata"]);
    cluster.check(&format!("_udp.{name}"), RecordType::SRV, &["nxdomain"]);
}

#[test]
fn without_declared_ports_the_host_ports_count() {
    let mut facts = task("plain", "plain", 1, 9000, &[]);
    let mut definition = (*facts.definition).clone();
    definition.discovery = None;
    facts.definition = Arc::new(definition);
    let cluster = Cluster::new(vec![said(facts), at(1), marathon()]);
    let expected = ["9000 plain.id.marathon.slave.mesos."];
    cluster.check("plain.id.marathon.mesos", RecordType::SRV, &expected);
    cluster.check("plain.id.marathon.slave.mesos", RecordType::SRV, &expected);
    cluster.check("plain.id.marathon.slave.mesos", RecordType::A, &["10.1.0.1"]);
}

#[test]
fn what_is_missing_is_told_from_what_is_empty() {
    let cluster = Cluster::new(shop());
    for empty in ["id.marathon.mesos", "id.marathon.slave.mesos"] {
        cluster.check(empty, RecordType::A, &["nodata"]);
    }
    for missing in [
        "shop-3.id.marathon.mesos",
        "id.mesos",
        "shop-2.id.other.mesos",
        "x.shop-2.id.marathon.mesos",
        "_tcp.shop-3.id.marathon.mesos",
        "shop-2.id.mesos",
    ] {
        cluster.check(missing, RecordType::A, &["nxdomain"]);
    }
    cluster.check("shop-2.id", RecordType::A, &["Refused"]);
    // An id that is no label is not found as it was said.
    let dotted = format!("{POD}.id.marathon.mesos");
    cluster.check(&dotted, RecordType::A, &["nxdomain"]);
}

#[test]
fn the_name_lives_as_long_as_its_task() {
    let mut cluster = Cluster::new(shop());
    let name = pod();
    let status = |state, health| vec![Fact::Status(Box::new(status(POD, state, health)))];
    cluster.say(status(TaskState::Running, Some(false)));
    cluster.check("shop.marathon.mesos", RecordType::A, &["10.1.0.2"]);
    // Whoever asks for just this task wants no other instead.
    cluster.check(&name, RecordType::A, &["10.3.0.1"]);
    cluster.say(status(TaskState::Killing, None));
    cluster.check(&name, RecordType::A, &["nodata"]);
    cluster.check(&name, RecordType::SRV, &["nodata"]);
    cluster.check(&format!("_http._tcp.{name}"), RecordType::SRV, &["nodata"]);
    cluster.say(status(TaskState::Ended, None));
    cluster.check(&name, RecordType::A, &["nxdomain"]);
    cluster.check("id.marathon.mesos", RecordType::A, &["nodata"]);
    cluster.say(vec![Fact::TaskGone(key("shop-2"))]);
    cluster.check("shop-2.id.marathon.mesos", RecordType::A, &["nxdomain"]);
    cluster.check("id.marathon.mesos", RecordType::A, &["nxdomain"]);
    cluster.check("id.marathon.slave.mesos", RecordType::A, &["nxdomain"]);
}

#[test]
fn a_task_that_moves_is_found_where_it_is() {
    let mut cluster = Cluster::new(shop());
    cluster.say(vec![said(task("shop-2", "shop", 1, 9005, &[]))]);
    cluster.check("shop-2.id.marathon.mesos", RecordType::A, &["10.1.0.1"]);
    cluster.check("shop-2.id.marathon.mesos", RecordType::SRV, &["9005 shop-2.id.marathon.mesos."]);
    // Its framework goes by another name now.
    cluster.say(vec![Fact::Framework(Box::new(framework("Marathon.Prod")))]);
    cluster.check("shop-2.id.marathon.prod.mesos", RecordType::A, &["10.1.0.1"]);
    cluster.check("shop-2.id.marathon.mesos", RecordType::A, &["nxdomain"]);
}

#[test]
fn frameworks_of_one_name_share_an_id() {
    let other = FrameworkFacts { id: "F-0002".into(), ..framework("marathon") };
    let twin = |id: &str| TaskFacts {
        key: TaskKey::new("mesos".into(), "F-0002".into(), id),
        ..task(id, "shop", 2, 9001, &[])
    };
    let facts = vec![
        said(task("same", "shop", 1, 9000, &[])),
        said(twin("same")),
        said(twin("own")),
        Fact::Framework(Box::new(other)),
    ];
    let mut cluster = Cluster::new([facts, vec![at(1), at(2), marathon()]].concat());
    // Two tasks that nothing in the name tells apart.
    cluster.check("same.id.marathon.mesos", RecordType::A, &["10.1.0.1", "10.1.0.2"]);
    cluster.check("own.id.marathon.mesos", RecordType::A, &["10.1.0.2"]);
    cluster.say(vec![Fact::TaskGone(key("same"))]);
    cluster.check("same.id.marathon.mesos", RecordType::A, &["10.1.0.2"]);
}

#[test]
fn a_name_by_id_takes_nothing_from_names_that_read_like_it() {
    let mut cluster = Cluster::new(shop());
    // A discovery name as it was written may have dots; this one reads like the other task's id.
    cluster.say(vec![said(task("liar", "shop-2.id", 1, 9666, &[]))]);
    cluster.check("shop-2.id.marathon.mesos", RecordType::A, &["10.1.0.2"]);
    cluster.check("shop-2.id.marathon.mesos", RecordType::SRV, &["9001 shop-2.id.marathon.mesos."]);
    cluster.say(vec![Fact::TaskGone(key("shop-2"))]);
    cluster.check("shop-2.id.marathon.mesos", RecordType::A, &["10.1.0.1"]);
}

#[test]
fn there_are_none_where_the_configuration_wants_none() {
    let mut config = common::facts::config();
    // As with Mesos-DNS's own file, which leads to no extra names at all.
    config.dns.extra_names.retain(|kind| *kind != ExtraName::Ids);
    let cluster = Cluster::within(World::with(config), shop());
    cluster.check("shop-2.id.marathon.mesos", RecordType::A, &["nxdomain"]);
    cluster.check("id.marathon.mesos", RecordType::A, &["nxdomain"]);
    assert!(cluster.world.writer.state().task(&key("shop-2")).is_some());
}

#[test]
fn names_that_are_not_held_go_with_their_records() {
    let mut config = common::facts::config();
    config.dns.hold_names = false;
    let mut cluster = Cluster::within(World::with(config), shop());
    cluster.check("shop-2.id.marathon.mesos", RecordType::A, &["10.1.0.2"]);
    cluster.say(vec![Fact::Status(Box::new(status("shop-2", TaskState::Killing, None)))]);
    cluster.check("shop-2.id.marathon.mesos", RecordType::A, &["nxdomain"]);
}

#[test]
fn kept_up_to_date_equals_made_anew() {
    let mut cluster = Cluster::new(shop());
    cluster.say(vec![said(task("a.b", "ab", 1, 9002, &[])), said(task("a_b", "ab", 2, 9003, &[]))]);
    cluster.say(vec![Fact::Framework(Box::new(framework(&"x".repeat(120))))]);
    cluster.say(vec![Fact::TaskGone(key("a_b")), Fact::Status(Box::new(status(POD, TaskState::Ended, None)))]);
    let now = cluster.world.now;
    let mut anew = pointsman::table::writer::Writer::new(cluster.world.writer.state().clone(), 1, now);
    let (kept, made) = (dump(&cluster.world.table()), dump(&anew.first(now)));
    assert_eq!(kept, made);
    assert!(kept.contains(&format!("id {}: ", id_label("a.b"))), "{kept}");
}

#[test]
fn before_its_source_has_spoken_no_name_is_missing() {
    let mut world = World::new();
    world.say(event(1, vec![said(task("a", "a", 1, 9000, &[]))]));
    let handle = TableHandle::new((*world.table()).clone(), 4);
    let server = Server::start_on("127.0.0.1:0", 1, &handle.reader());
    let cluster = Cluster { world, handle, server };
    cluster.check("a.id.marathon.mesos", RecordType::A, &["ServFail"]);
}
