//! What is near comes first for clients whose place is known, by the network that asks or that a trusted resolver names.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod dns_common;
mod names_support;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::str::FromStr;

use common::facts::{agent, config, framework, task};
use dns_common::PATIENCE;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RData, RecordType};
use names_support::{Served, serve};
use pointsman::cluster::event::Fact;
use pointsman::config::Config;
use pointsman::config::checked::Place;

fn place(network: &str, region: &str, zone: Option<&str>) -> Place {
    Place { networks: vec![network.parse().unwrap()], region: Some(region.into()), zone: zone.map(Into::into) }
}

/// 127.0.0.2 is in zone 1 of the region eu, 127.0.0.3 somewhere in the region us, 127.0.0.9 is a trusted resolver, and
/// 10.77.0.0/16 is in zone 2 of eu.
fn placed() -> Config {
    let mut config = config();
    config.dns.locality.places = vec![
        place("127.0.0.2/32", "eu", Some("eu-1")),
        place("127.0.0.3/32", "us", None),
        place("10.77.0.0/16", "eu", Some("eu-2")),
        place("10.0.0.0/8", "us", None),
    ];
    config.dns.locality.trusted_resolvers = vec!["127.0.0.9/32".parse().unwrap()];
    config
}

/// Six tasks `web`, two on each of three agents: 1 in eu-1, 2 in eu-2, 3 in us-1. Task N has 10.2.AGENT.N.
fn served(config: Config) -> Served {
    let mut facts = vec![Fact::Framework(Box::new(framework("marathon")))];
    for (number, region, zone) in [(1, "eu", "eu-1"), (2, "eu", "eu-2"), (3, "us", "us-1")] {
        let mut agent = agent(number);
        agent.region = Some(region.into());
        agent.zone = Some(zone.into());
        facts.push(Fact::Agent(Box::new(agent)));
        for n in 0..2u8 {
            let mut task = task(&format!("t{number}{n}"), "web", number, 9000, &[]);
            task.addresses = [IpAddr::from([10, 2, number, n])].into_iter().collect();
            facts.push(Fact::Task(Box::new(task)));
        }
    }
    serve(config, facts)
}

/// Asks from an address of this machine, as a resolver does that names a client's network.
fn ask(server: SocketAddr, from: &str, name: &str, record_type: RecordType, subnet: Option<&str>) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    if let Some(subnet) = subnet {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        edns.options_mut().insert(EdnsOption::Subnet(ClientSubnet::from_str(subnet).unwrap()));
        message.edns = Some(edns);
    }
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(&message.to_vec().unwrap()).unwrap();
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer).unwrap();
    Message::from_vec(&answer[..length]).unwrap()
}

/// The agents of the addresses in an answer, in its order.
fn agents(answer: &Message) -> Vec<u8> {
    let agent = |data: &RData| match data {
        RData::A(address) => address.octets()[2],
        other => panic!("{other}"),
    };
    answer.answers.iter().map(|record| agent(&record.data)).collect()
}

const WEB: &str = "web.marathon.mesos.";

#[test]
fn addresses_of_the_same_zone_come_first_and_then_of_the_region() {
    let served = served(placed());
    let mut first = BTreeSet::new();
    for _ in 0..40 {
        let answer = ask(served.server.address, "127.0.0.2", WEB, RecordType::A, None);
        assert_eq!(agents(&answer), [1, 1, 2, 2, 3, 3]);
        first.insert(answer.answers[0].data.to_string());
        let answer = ask(served.server.address, "127.0.0.3", WEB, RecordType::A, None);
        assert_eq!(agents(&answer)[..2], [3, 3]);
    }
    assert_eq!(first.len(), 2, "among the near ones the order is drawn: {first:?}");
    // Who is nowhere gets any order.
    let anywhere: BTreeSet<_> =
        (0..60).map(|_| agents(&ask(served.server.address, "127.0.0.1", WEB, RecordType::A, None))[0]).collect();
    assert_eq!(anywhere.len(), 3, "{anywhere:?}");
}

#[test]
fn services_have_a_priority_by_distance() {
    let served = served(placed());
    let priorities = |from: &str| -> BTreeSet<(u16, String)> {
        let answer = ask(served.server.address, from, "_web._tcp.marathon.mesos.", RecordType::SRV, None);
        let priority = |data: &RData| match data {
            RData::SRV(srv) => (srv.priority, srv.target.to_string().rsplit('-').next().unwrap()[..2].to_owned()),
            other => panic!("{other}"),
        };
        answer.answers.iter().map(|record| priority(&record.data)).collect()
    };
    let expected =
        |all: &[(u16, &str)]| all.iter().map(|(n, agent)| (*n, (*agent).to_owned())).collect::<BTreeSet<_>>();
    assert_eq!(priorities("127.0.0.2"), expected(&[(0, "s1"), (1, "s2"), (2, "s3")]));
    assert_eq!(priorities("127.0.0.3"), expected(&[(1, "s3"), (2, "s1"), (2, "s2")]));
    assert_eq!(priorities("127.0.0.1"), expected(&[(0, "s1"), (0, "s2"), (0, "s3")]));
}

#[test]
fn a_trusted_resolver_says_where_its_client_is() {
    let served = served(placed());
    let address = served.server.address;
    let scope = |answer: &Message| match answer.edns.as_ref().unwrap().option(EdnsCode::Subnet) {
        Some(EdnsOption::Subnet(subnet)) => Some((subnet.addr(), subnet.source_prefix(), subnet.scope_prefix())),
        _ => None,
    };
    for _ in 0..10 {
        // The longest network that its own client lies in.
        let answer = ask(address, "127.0.0.9", WEB, RecordType::A, Some("10.77.3.0/24"));
        assert_eq!(agents(&answer), [2, 2, 1, 1, 3, 3]);
        assert_eq!(scope(&answer), Some(("10.77.3.0".parse().unwrap(), 24, 16)));
        let answer = ask(address, "127.0.0.9", WEB, RecordType::A, Some("10.1.0.0/16"));
        assert_eq!(agents(&answer)[..2], [3, 3]);
    }
    // A place that is not known is none of those that are: what it is told holds as far as none of them begins.
    let answer = ask(address, "127.0.0.9", WEB, RecordType::A, Some("192.0.2.0/24"));
    assert_eq!(scope(&answer), Some(("192.0.2.0".parse().unwrap(), 24, 1)));
    // Who wants nothing said is treated like everybody.
    let answer = ask(address, "127.0.0.9", WEB, RecordType::A, Some("0.0.0.0/0"));
    assert_eq!(scope(&answer), Some(("0.0.0.0".parse().unwrap(), 0, 0)));
    // Others are not believed, and get no such option back; where they ask from is known all the same.
    for _ in 0..10 {
        let answer = ask(address, "127.0.0.2", WEB, RecordType::A, Some("10.1.0.0/16"));
        assert_eq!(agents(&answer)[..2], [1, 1]);
        assert_eq!(scope(&answer), None);
    }
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
}

#[test]
fn a_scope_covers_no_other_place_rfc7871_7_2_1() {
    let mut config = placed();
    config.dns.locality.places.extend([place("10.64.0.0/13", "eu", None), place("fd00:1::/32", "us", None)]);
    // Its own networks are no other place's.
    config.dns.locality.places[3].networks.push("10.1.2.0/24".parse().unwrap());
    let locality = &config.dns.locality;
    for (network, region, scope) in [
        // 10.64/13 begins within 10/9: 10.0/10 is apart from it.
        ("10.1.0.0/16", Some("us"), 10),
        ("10.1.2.7/32", Some("us"), 24),
        ("10.128.0.0/24", Some("us"), 9),
        ("10.64.0.0/24", Some("eu"), 13),
        ("10.72.0.0/24", Some("us"), 14),
        ("10.77.200.0/24", Some("eu"), 16),
        // Too little is said of where the client is: next time more is to be.
        ("10.0.0.0/8", Some("us"), 10),
        ("10.64.0.0/10", Some("us"), 13),
        ("10.0.0.0/7", None, 16),
        ("10.76.0.0/14", Some("us"), 16),
        ("fd00::/16", None, 32),
        ("fd00:1::/48", Some("us"), 32),
        ("fd00:3::/32", None, 31),
        ("2001:db8::/32", None, 1),
        ("::ffff:10.1.0.0/112", Some("us"), 106),
    ] {
        let (address, bits) = network.split_once('/').unwrap();
        let (place, found) = locality.place_of_network(address.parse().unwrap(), bits.parse().unwrap());
        assert_eq!((place.and_then(|place| place.region.as_deref()), found), (region, scope), "{network}");
    }
    // … and through the server: neither the resolver's cache nor ours hands 10.77's answer to others.
    let served = served(config);
    for (subnet, first) in [("10.1.0.0/16", [3, 3]), ("10.77.0.0/16", [2, 2]), ("10.1.0.0/16", [3, 3])] {
        let answer = ask(served.server.address, "127.0.0.9", WEB, RecordType::A, Some(subnet));
        assert_eq!(agents(&answer)[..2], first, "{subnet}");
    }
}

#[test]
fn what_one_place_is_answered_is_not_kept_for_another() {
    let served = served(placed());
    let address = served.server.address;
    // One task alone: the same octets each time, which are kept from the second time on.
    let own = served.table.names.list("mesos").unwrap();
    let (own, _) = own.iter().find(|(name, _)| name.starts_with("_http._tcp.web-") && name.contains("-s3.")).unwrap();
    let priority = |from: &str| {
        let answer = ask(address, from, &format!("{own}."), RecordType::SRV, None);
        match &answer.answers[0].data {
            RData::SRV(srv) => srv.priority,
            other => panic!("{other}"),
        }
    };
    for _ in 0..4 {
        assert_eq!((priority("127.0.0.1"), priority("127.0.0.3")), (0, 1));
    }
}

#[test]
fn without_places_nothing_changes() {
    let served = served(config());
    let first: BTreeSet<_> =
        (0..60).map(|_| agents(&ask(served.server.address, "127.0.0.2", WEB, RecordType::A, None))[0]).collect();
    assert_eq!(first.len(), 3, "{first:?}");
    let answer = ask(served.server.address, "127.0.0.9", WEB, RecordType::A, Some("10.77.3.0/24"));
    assert!(answer.edns.unwrap().option(EdnsCode::Subnet).is_none());
}
