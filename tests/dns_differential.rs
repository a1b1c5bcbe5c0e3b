//! The same records, asked of NSD, of Knot and of ours: the answers must be alike, but for the differences listed here.
//!
//! - ANY: one record set (RFC 8482); NSD gives all, or TC. Not compared.
//! - Class ANY: refused; NSD answers from IN. Class CH: refused; NSD tells its version. Not compared.
//! - DO in the answer to another EDNS version: copied (RFC 3225); NSD clears it. Not compared.
//! - AXFR over UDP: refused; NSD says NOTIMP. Octets behind the end of a query: FORMERR; NSD ignores them.
//! - Order within a section, and which records of a set that does not fit are kept. Compared is how many fit, roughly.
//! - RRSIG and NSEC of an alias: the alias is followed, as NSD does; Knot says that there are none. Two questions: FORMERR, as NSD
//!   says; Knot says nothing.
//! - Addresses on top of an answer. Not compared; NSD may add name servers, which are left out by its setting.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test that cannot run says so; helpers unwrap")]

mod common;
mod dns_common;
#[path = "dns_common/knot.rs"]
mod knot;
mod names_support;
#[path = "dns_common/nsd.rs"]
mod nsd;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use common::facts::{agent, config, framework, task};
use common::ports;
use common::program::Folder;
use dns_common::{PATIENCE, Server, framed};
use hickory_proto::op::Message;
use hickory_proto::rr::{Record, RecordType};
use knot::Knot;
use nsd::Nsd;
use pointsman::cluster::event::Fact;
use pointsman::dns::sample::Sample;
use pointsman::model::network::MastersFacts;

/// One zone, both ways.
fn zone() -> (Sample, String) {
    let mut names = Sample::new("mesos");
    names.config.nameserver_addresses = vec![[192, 0, 2, 53].into()];
    let mut file =
        String::from("$ORIGIN mesos.\n$TTL 5\n@ SOA ns1 root.ns1 7 60 600 86400 1\n@ NS ns1\nns1 A 192.0.2.53\n");
    let mut address = |name: &str, last: u8| {
        writeln!(file, "{name} A 10.0.0.{last}").unwrap();
        names = std::mem::replace(&mut names, Sample::new("mesos"))
            .with_address(&format!("{name}.mesos"), [10, 0, 0, last].into());
    };
    for last in 1..=60 {
        address("many.marathon", last);
    }
    for last in 1..=3 {
        address("web.marathon", last);
        address(&format!("web-abcd{last}-s0.marathon"), last);
    }
    address("a-rather-long-name-that-has-more-than-sixty-octets-in-one-label.deep.er", 9);
    for last in 1..=3 {
        writeln!(file, "_web._tcp.marathon SRV 0 1 {last} web-abcd{last}-s0.marathon").unwrap();
        let target = format!("web-abcd{last}-s0.marathon.mesos");
        names = names.with_srv("_web._tcp.marathon.mesos", last, &target);
    }
    for (alias, target) in [("alias", "web.marathon"), ("second", "alias"), ("dangling", "gone"), ("empty", "marathon")]
    {
        writeln!(file, "{alias} CNAME {target}").unwrap();
        names = names.with_alias(&format!("{alias}.mesos"), &format!("{target}.mesos"));
    }
    writeln!(file, "out CNAME www.example.com.").unwrap();
    (names.with_alias("out.mesos", "www.example.com"), file)
}

/// An NSD that serves the zone `mesos`; `None`, with a message, where it is not installed.
fn serve(zone: &str) -> Option<Nsd> {
    let (options, zones) = ("minimal-responses: yes\n rrl-ratelimit: 0", "zone:\n name: mesos\n zonefile: zone\n");
    let nsd = Nsd::start(ports::unused(), options, zones, Some(zone))?;
    until_it_answers(nsd.address, "mesos");
    Some(nsd)
}

/// Waits until a server has the zone.
fn until_it_answers(server: SocketAddr, zone: &str) {
    let started = Instant::now();
    let has_zone = |octets: Vec<u8>| octets[3] & 0xf == 0;
    while !ask(server, &plain(zone, 6), Duration::from_millis(100)).is_some_and(has_zone) {
        assert!(started.elapsed() < PATIENCE, "nobody answers on {server}");
    }
}

fn ask(server: SocketAddr, query: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.send(query).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

fn question(name: &str, record_type: u16, class: u16) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets.extend(record_type.to_be_bytes());
    octets.extend(class.to_be_bytes());
    octets
}

fn message(flags: u16, counts: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let [upper, lower] = flags.to_be_bytes();
    let [q, a, n, x] = counts;
    [&[0x47, 0x11, upper, lower, 0, q, 0, a, 0, n, 0, x][..], rest].concat()
}

fn plain(name: &str, record_type: u16) -> Vec<u8> {
    message(0, [1, 0, 0, 0], &question(name, record_type, 1))
}

fn opt(size: u16, version: u8, flags: u16, options: &[u8]) -> Vec<u8> {
    let length = u16::try_from(options.len()).unwrap();
    [&[0, 0, 41], &size.to_be_bytes()[..], &[0, version], &flags.to_be_bytes(), &length.to_be_bytes(), options].concat()
}

/// Every query, with a name for the report.
fn queries() -> Vec<(String, Vec<u8>)> {
    let names = [
        "mesos",
        "MeSoS",
        "ns1.mesos",
        "marathon.mesos",
        "_tcp.marathon.mesos",
        "web.marathon.mesos",
        "WEB.marathon.MESOS",
        "many.marathon.mesos",
        "_web._tcp.marathon.mesos",
        "web-abcd1-s0.marathon.mesos",
        "alias.mesos",
        "second.mesos",
        "dangling.mesos",
        "empty.mesos",
        "out.mesos",
        "gone.mesos",
        "gone.marathon.mesos",
        "below.web.marathon.mesos",
        "root.ns1.mesos",
        "a-rather-long-name-that-has-more-than-sixty-octets-in-one-label.deep.er.mesos",
        "deep.er.mesos",
        "er.mesos",
        "below.alias.mesos",
        "example.com",
        "",
        "xmesos",
        "com",
    ];
    let types = [1u16, 2, 5, 6, 12, 15, 16, 28, 33, 35, 43, 46, 47, 48, 64, 65, 99, 1000, 65_280];
    let mut queries = Vec::new();
    for name in names {
        for record_type in types {
            queries.push((format!("{name} {record_type}"), plain(name, record_type)));
            for (what, opt) in [
                ("edns", opt(1232, 0, 0, &[])),
                ("edns 0", opt(0, 0, 0, &[])),
                ("edns 700", opt(700, 0, 0, &[])),
                ("do", opt(4096, 0, 0x8000, &[])),
                ("flags", opt(1232, 0, 0x7fff, &[])),
                ("option", opt(1232, 0, 0, &[0, 100, 0, 2, 1, 2])),
            ] {
                let rest = [question(name, record_type, 1), opt].concat();
                queries.push((format!("{name} {record_type} {what}"), message(0, [1, 0, 0, 1], &rest)));
            }
        }
        for (what, flags) in [("rd", 0x100), ("aa", 0x400), ("tc", 0x200), ("ra", 0x80), ("z", 0x40), ("ad", 0x20)] {
            queries.push((format!("{name} {what}"), message(flags, [1, 0, 0, 0], &question(name, 1, 1))));
        }
        for version in [1, 255] {
            let rest = [question(name, 6, 1), opt(1232, version, 0, &[])].concat();
            queries.push((format!("{name} edns version {version}"), message(0, [1, 0, 0, 1], &rest)));
        }
    }
    queries
}

/// Queries that are rejected before they are looked up, of which only the flags must be alike: how much of what was
/// asked is repeated is each server's choice.
fn rejected() -> Vec<(String, Vec<u8>)> {
    let soa = question("mesos", 6, 1);
    let mut queries = Vec::new();
    for opcode in (1..=15).filter(|opcode| !matches!(opcode, 4 | 5)) {
        queries.push((format!("opcode {opcode}"), message(opcode << 11, [1, 0, 0, 0], &soa)));
        queries.push((format!("opcode {opcode}, header only"), message(opcode << 11, [0, 0, 0, 0], &[])));
    }
    let twice = [soa.clone(), opt(1232, 0, 0, &[]), opt(1232, 0, 0, &[])].concat();
    let others = [
        ("header only", message(0, [0, 0, 0, 0], &[])),
        ("two questions", message(0, [2, 0, 0, 0], &[soa.clone(), soa.clone()].concat())),
        ("an answer in a query", message(0, [1, 1, 0, 0], &soa)),
        ("class HS", message(0, [1, 0, 0, 0], &question("mesos", 6, 4))),
        ("class NONE", message(0, [1, 0, 0, 0], &question("mesos", 6, 254))),
        ("OPT twice", message(0, [1, 0, 0, 2], &twice)),
    ];
    queries.extend(others.map(|(what, query)| (what.to_owned(), query)));
    queries
}

/// What must be alike.
fn essence(octets: &[u8]) -> String {
    let message = Message::from_vec(octets).unwrap();
    let records = |records: &[Record]| {
        let mut lines: Vec<String> = records.iter().map(ToString::to_string).map(|line| line.to_lowercase()).collect();
        lines.sort();
        lines
    };
    let truncated = message.metadata.truncation;
    // Of a set that does not fit, the choice is free; and NSD keeps none of it where DNS allows some.
    let answers = if truncated { Vec::new() } else { records(&message.answers) };
    format!(
        "flags {:02x}{:02x} questions {:?} answers {answers:?} authorities {:?} edns {:?}",
        octets[2],
        octets[3],
        message.queries,
        records(&message.authorities),
        message.edns.map(|edns| (edns.version(), edns.flags().dnssec_ok, edns.rcode_high())),
    )
}

/// What differs between two servers' answers to these queries.
fn differences(
    theirs: SocketAddr,
    ours: SocketAddr,
    queries: Vec<(String, Vec<u8>)>,
    alike: fn(&[u8]) -> String,
) -> Vec<String> {
    let differs = |(what, query): (String, Vec<u8>)| {
        let theirs = ask(theirs, &query, PATIENCE).map(|octets| alike(&octets));
        let ours = ask(ours, &query, PATIENCE).map(|octets| alike(&octets));
        (theirs != ours || ours.is_none()).then(|| format!("{what}\n  theirs: {theirs:?}\n  ours:   {ours:?}"))
    };
    queries.into_iter().filter_map(differs).collect()
}

#[track_caller]
fn assert_alike(
    theirs: SocketAddr,
    ours: SocketAddr,
    queries: Vec<(String, Vec<u8>)>,
    rejected: Vec<(String, Vec<u8>)>,
) {
    let mut all = differences(theirs, ours, queries, essence);
    all.extend(differences(theirs, ours, rejected, |octets| format!("{:02x?}", &octets[..4])));
    assert!(all.is_empty(), "{}:\n{}", all.len(), all.join("\n"));
}

#[test]
fn answers_as_nsd_does() {
    let (names, file) = zone();
    let Some(nsd) = serve(&file) else { return };
    let server = Server::start(names);
    assert_alike(nsd.address, server.address, queries(), rejected());
}

#[test]
fn answers_as_knot_does() {
    let (names, file) = zone();
    let Some(knot) = Knot::start(ports::unused(), "mesos", &file) else { return };
    until_it_answers(knot.address, "mesos");
    let server = Server::start(names);
    // These types live beside an alias (RFC 4035 §2.5), so that Knot has nothing to follow.
    let aliases = ["alias.", "second.", "dangling.", "empty.", "out."];
    let is_alike = |what: &str| !(aliases.iter().any(|alias| what.starts_with(alias)) && what.contains(".mesos 4"));
    let mut asked = queries();
    asked.retain(|(what, _)| is_alike(what) || !(what.contains(" 46") || what.contains(" 47")));
    let mut refused = rejected();
    refused.retain(|(what, _)| what != "two questions");
    assert_alike(knot.address, server.address, asked, refused);
}

/// What operators write: every type that files may have, wildcards and wildcard aliases, chains, names that only lie above
/// others, delegations with and without glue, names beneath them that are not ours to tell.
const ZONE: &str = r#"$TTL 60
@ MX 10 mail
@ TXT "v=spf1 -all"
@ CAA 0 issue "ca.example"
mail A 192.0.2.1
 AAAA 2001:db8::1
 MX 10 mail
www A 192.0.2.2
 A 192.0.2.3
_http._tcp.www SRV 1 2 80 www
_http._tcp.www SRV 1 2 81 host.deep
host.deep 30 A 192.0.2.4
a.b.c.d TXT "deep"
alias CNAME www
second CNAME alias
third CNAME second
dangling CNAME gone
toent CNAME c.d
out CNAME www.example.com.
towild CNAME any.wild
*.wild A 192.0.2.9
*.wild TXT "wild"
exact.wild A 192.0.2.10
sub.exact.wild A 192.0.2.11
*.walias CNAME www
*.wout CNAME www.example.com.
*.wmx MX 5 mail
big TXT "x" "y"
key SSHFP 4 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
_443._tcp.www TLSA 3 1 1 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF
odd TYPE65280 \# 2 0102
1.2.3.4 PTR www
sub NS ns.sub
sub NS mail
sub DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118
ns.sub A 192.0.2.20
ns.sub AAAA 2001:db8::20
deep.sub TXT "occluded"
far.deleg NS ns.elsewhere.test.
intosub CNAME x.sub
*.wsub CNAME deep.sub
"#;

/// A zone as dig gets it whole, in the form of zone files; `None`, with a message, where dig is not installed.
fn export(server: SocketAddr, zone: &str) -> Option<String> {
    let port = server.port().to_string();
    let arguments = ["@127.0.0.1", "-p", &port, zone, "AXFR", "+onesoa"];
    match Command::new("dig").args(arguments).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(!text.contains("Transfer failed"), "{text}");
            let lines = text.lines().filter(|line| !line.starts_with(';') && !line.trim().is_empty());
            Some(lines.map(|line| format!("{line}\n")).collect())
        }
        Err(error) => {
            println!("SKIP: dig cannot be run: {error}");
            None
        }
    }
}

/// The names of an exported zone, below its own.
fn owners(exported: &str, zone: &str) -> Vec<String> {
    let of_line = |line: &str| {
        let name = line.split_whitespace().next().unwrap().trim_end_matches('.').to_lowercase();
        let below = name.strip_suffix(zone).unwrap_or_else(|| panic!("{line}\n{exported}"));
        below.trim_end_matches('.').to_owned()
    };
    exported.lines().map(of_line).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Draws questions about a zone's names, and about names that it nearly has.
struct Questions {
    random: fastrand::Rng,
    zone: Vec<String>,
    owners: Vec<String>,
    labels: Vec<String>,
}

impl Questions {
    fn new(seed: u64, zone: &str, owners: Vec<String>) -> Self {
        let others = ["x", "gone", "*", "a.b", "ns1"].map(str::to_owned);
        let labels: BTreeSet<String> =
            owners.iter().flat_map(|owner| owner.split('.').map(str::to_owned)).chain(others).collect();
        let labels = labels.into_iter().filter(|label| !label.is_empty()).collect();
        let zone = zone.split('.').map(str::to_owned).collect();
        Self { random: fastrand::Rng::with_seed(seed), zone, owners, labels }
    }

    fn label(&mut self) -> String {
        self.labels[self.random.usize(..self.labels.len())].clone()
    }

    /// Labels of a name: one that exists, one above or below it, one beside it, any.
    fn name(&mut self) -> Vec<String> {
        let owner = self.random.usize(..self.owners.len());
        let mut name: Vec<String> =
            self.owners[owner].split('.').filter(|label| !label.is_empty()).map(str::to_owned).collect();
        match self.random.u8(..10) {
            0 => name.insert(0, self.label()),
            1 if !name.is_empty() => drop(name.remove(0)),
            2 if !name.is_empty() => {
                let at = self.random.usize(..name.len());
                name[at] = self.label();
            }
            3 => name.splice(0..0, [self.label(), self.label()]).for_each(drop),
            4 => name = (0..self.random.usize(1..4)).map(|_| self.label()).collect(),
            _ => {}
        }
        if name.first().is_some_and(|label| label == "*") && self.random.bool() {
            name[0] = self.label();
        }
        name.extend(self.zone.clone());
        name
    }

    /// A query, with a name for the report.
    fn query(&mut self) -> (String, Vec<u8>) {
        const TYPES: [u16; 19] = [1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 43, 44, 52, 64, 65, 99, 257, 1000, 65_280];
        const FLAGS: [u16; 6] = [0, 0, 0x100, 0x10, 0x20, 0x110];
        const EDNS: [Option<(u16, u16)>; 7] = [
            None,
            Some((1232, 0)),
            Some((512, 0)),
            Some((0, 0)),
            Some((700, 0)),
            Some((4096, 0x8000)),
            Some((1232, 0x8000)),
        ];
        let name = self.name();
        let record_type = TYPES[self.random.usize(..TYPES.len())];
        let (edns, flags) = (EDNS[self.random.usize(..EDNS.len())], FLAGS[self.random.usize(..FLAGS.len())]);
        let spell = self.random.u8(..3) == 0;
        let mut asked = Vec::new();
        for label in &name {
            asked.push(u8::try_from(label.len()).unwrap());
            let mut letter = |octet: u8| if spell && self.random.bool() { octet.to_ascii_uppercase() } else { octet };
            asked.extend(label.bytes().map(&mut letter));
        }
        asked.extend([&[0][..], &record_type.to_be_bytes(), &[0, 1]].concat());
        let what = format!("{name:?} type {record_type} flags {flags:x} edns {edns:?}");
        let additional = edns.map(|(size, flags)| opt(size, 0, flags, &[])).unwrap_or_default();
        (what, message(flags, [1, 0, 0, u8::from(edns.is_some())], &[asked, additional].concat()))
    }

    fn queries(&mut self, count: usize) -> Vec<(String, Vec<u8>)> {
        (0..count).map(|_| self.query()).collect()
    }
}

/// What differs over TCP, on one connection each.
fn differences_over_tcp(theirs: SocketAddr, ours: SocketAddr, queries: Vec<(String, Vec<u8>)>) -> Vec<String> {
    let mut streams = [theirs, ours].map(|server| {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    });
    let differs = |(what, query): (String, Vec<u8>)| {
        let [theirs, ours] = streams.each_mut().map(|stream| {
            stream.write_all(&framed(&query)).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).unwrap();
            essence(&answer)
        });
        (theirs != ours).then(|| format!("TCP {what}\n  theirs: {theirs}\n  ours:   {ours}"))
    };
    queries.into_iter().filter_map(differs).collect()
}

/// The zone that `ours` sends whole, in NSD and in Knot: drawn questions must be answered alike.
fn assert_exported_alike(ours: SocketAddr, zone: &str, count: usize) {
    const SEED: u64 = 20_261;
    let Some(exported) = export(ours, zone) else { return };
    let owners = owners(&exported, zone);
    let options = "minimal-responses: yes\n rrl-ratelimit: 0";
    let nsd =
        Nsd::start(ports::unused(), options, &format!("zone:\n name: {zone}\n zonefile: zone\n"), Some(&exported));
    let knot = Knot::start(ports::unused(), zone, &exported);
    let servers = [("NSD", nsd.as_ref().map(|nsd| nsd.address)), ("Knot", knot.as_ref().map(|knot| knot.address))];
    for (who, theirs) in servers {
        let Some(theirs) = theirs else { continue };
        until_it_answers(theirs, zone);
        let mut questions = Questions::new(SEED, zone, owners.clone());
        let mut all = differences(theirs, ours, questions.queries(count), essence);
        all.extend(differences_over_tcp(theirs, ours, questions.queries(count / 10)));
        assert!(all.is_empty(), "{who}, seed {SEED}, {} differ:\n{}", all.len(), all.join("\n"));
    }
}

#[test]
fn the_program_answers_for_a_zone_file_as_those_do_that_have_the_zone_by_transfer() {
    let folder = Folder::new();
    let address = ports::unused();
    let many: String = (1..=60).map(|last| format!("many A 10.0.0.{last}\n")).collect();
    folder.write("zone", format!("{ZONE}{many}"));
    folder.write("services.toml", "zone_file = \"zone\"\norigin = \"example.test\"\n");
    folder.configure(&format!(
        "[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\nzones = [\"example.test\"]\n\
         [dns]\nlisten = [\"{address}\"]\n[dns.soa]\nnameserver_addresses = [\"192.0.2.53\"]\n\
         [dns.transfer]\nallow = [\"127.0.0.1\"]\n"
    ));
    let mut program = folder.start();
    program.until_ready();
    assert_exported_alike(address, "example.test", 3000);
    program.stop();
}

/// Two tasks of one name with ports of several kinds, another in a container, their agents, their masters.
fn cluster() -> names_support::Served {
    let mut config = config();
    config.dns.reverse = vec!["10.0.0.0/8".parse().unwrap()];
    config.dns.transfer.allow = vec!["127.0.0.1/32".parse().unwrap()];
    let masters: Vec<SocketAddr> = (1..=3).map(|last| SocketAddr::from(([10, 9, 0, last], 5050))).collect();
    let mut own = task("db.1", "db", 2, 5432, &[("pointsman.http.protocol", "tcp")]);
    own.addresses = ["10.2.0.7".parse::<IpAddr>().unwrap(), "fd00::7".parse().unwrap()].into_iter().collect();
    let mut framework = framework("marathon");
    framework.port = Some(8080);
    let facts = vec![
        Fact::Agent(Box::new(agent(1))),
        Fact::Agent(Box::new(agent(2))),
        Fact::Framework(Box::new(framework)),
        Fact::Masters(MastersFacts { leader: Some(masters[0]), masters }),
        Fact::Task(Box::new(task("web.1", "web", 1, 9000, &[("pointsman.http.protocol", "h2")]))),
        Fact::Task(Box::new(task("web.2", "web", 2, 9001, &[]))),
        Fact::Task(Box::new(own)),
    ];
    names_support::serve(config, facts)
}

#[test]
fn a_clusters_zones_are_answered_as_those_do_that_have_them_by_transfer() {
    let served = cluster();
    assert_exported_alike(served.server.address, "mesos", 1500);
    assert_exported_alike(served.server.address, "10.in-addr.arpa", 300);
}

/// What dig gets whole is what one gets who asks for each name and type: no record more, none less.
#[test]
fn a_clusters_zones_are_sent_as_they_are_answered() {
    let served = cluster();
    for zone in ["mesos", "10.in-addr.arpa"] {
        let Some(exported) = export(served.server.address, zone) else { return };
        let mut sent: BTreeMap<(String, RecordType), usize> = BTreeMap::new();
        for line in exported.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (name, record_type) = (fields[0].trim_end_matches('.'), fields[3].parse().unwrap());
            *sent.entry((name.to_owned(), record_type)).or_default() += 1;
        }
        let names: BTreeSet<String> = sent.keys().map(|(name, _)| name.clone()).collect();
        let types: BTreeSet<RecordType> = sent.keys().map(|(_, record_type)| *record_type).collect();
        assert!(names.len() >= 5, "{exported}");
        for name in &names {
            for record_type in &types {
                let expected = sent.get(&(name.clone(), *record_type)).copied().unwrap_or_default();
                assert_eq!(served.ask(name, *record_type).answers.len(), expected, "{name} {record_type}");
            }
        }
    }
}
