//! In place of Mesos-DNS as a whole: started with its configuration, asked over DNS and over its HTTP API.

mod common;
mod mesos_dns_support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use mesos_dns_support::cluster::facts;
use mesos_dns_support::fixtures;
use mesos_dns_support::rules::{self, Agent, Cluster, Framework, Rules, Status, Task, fits};
use pointsman::cluster::event::{ClusterEvent, Fact, SourceEvent};
use pointsman::config::{self, Config, Environment};
use pointsman::mesos_dns;
use pointsman::server::{Options, Server};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server in place of Mesos-DNS whose only master is out of reach: the test says what the cluster is.
struct MesosDns {
    server: Option<Server>,
    dns: SocketAddr,
    http: SocketAddr,
}

impl MesosDns {
    fn start(options: &Value, cluster: Option<&Cluster>) -> Self {
        let mut document = json!({"masters": ["127.0.0.1:1"], "listener": "127.0.0.1", "HTTPListener": "127.0.0.1",
            "externalOn": false});
        document.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let folder = Path::new("/etc");
        let loaded = mesos_dns::check(&document.to_string(), Path::new("c.json"), folder, Environment::empty());
        Self::run(loaded.unwrap_or_else(|errors| panic!("{errors}")).config, cluster)
    }

    fn run(mut config: Config, cluster: Option<&Cluster>) -> Self {
        // The file has fixed ports; here the system chooses.
        config.dns.listen[0].set_port(0);
        config.admin.mesos_dns_listen.as_mut().unwrap().set_port(0);
        config.server.workers = 1;
        let server = Server::start(config, Options::default()).unwrap();
        let (dns, http) = (server.addresses().dns[0], server.addresses().mesos_dns.unwrap());
        if let Some(cluster) = cluster {
            let mut all = vec![Fact::SnapshotStarted];
            all.extend(facts(cluster));
            all.extend([Fact::SnapshotFinished(Default::default()), Fact::Live]);
            // A later stream than any of the real source, which only ever says that the master is out of reach.
            let event = ClusterEvent::Source(SourceEvent { source: "mesos".into(), stream: u64::MAX / 2, facts: all });
            server.events().blocking_send(event).unwrap();
            let begun = Instant::now();
            while !server.table().load().ready {
                assert!(begun.elapsed() < PATIENCE, "the table is not ready");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Self { server: Some(server), dns, http }
    }

    fn raw(&self, method: &str, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: any.name.at.all\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let kind = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-type: ").map(str::to_owned));
        (head[9..12].parse().unwrap(), kind.unwrap_or_default(), body.to_owned())
    }

    fn text(&self, path: &str) -> String {
        let (status, kind, body) = self.raw("GET", path);
        assert_eq!((status, &*kind), (200, "application/json"), "{path}: {body}");
        body
    }

    fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    /// What is answered as a whole: over TCP, if over UDP there is no room for it.
    fn ask_whole(&self, name: &str, record_type: RecordType) -> Message {
        let answer = self.ask(name, record_type);
        if !answer.metadata.truncation {
            return answer;
        }
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
        let query = query.to_vec().unwrap();
        let mut stream = TcpStream::connect(self.dns).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = u16::try_from(query.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length[..], &query].concat()).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        Message::from_vec(&answer).unwrap()
    }

    fn ask(&self, name: &str, record_type: RecordType) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
        socket.send_to(&query.to_vec().unwrap(), self.dns).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }
}

impl Drop for MesosDns {
    fn drop(&mut self) {
        self.server.take().unwrap().stop(Duration::ZERO);
    }
}

fn agent(id: &str, ip: &str) -> Agent {
    Agent { id: id.into(), hostname: "".into(), address: ip.parse().ok(), port: 5051 }
}

fn shop() -> Cluster {
    let status = |ips: &[&str]| Status {
        state: "TASK_RUNNING".into(),
        timestamp: 1.0,
        network: ips.iter().map(|ip| (*ip).to_owned()).collect(),
        labels: Vec::new(),
    };
    let task = |id: &str, ips: &[&str]| Task {
        id: id.into(),
        name: "web".into(),
        agent: "m-S0".into(),
        state: "TASK_RUNNING".into(),
        host_ports: vec![31000],
        discovery: Some(("web".into(), vec![(80, "tcp".into(), "http".into())])),
        statuses: vec![status(ips)],
    };
    let ended = Task { state: "TASK_KILLED".into(), ..task("gone", &["10.0.0.9"]) };
    let marathon = Framework {
        id: "F-1".into(),
        name: "marathon".into(),
        hostname: "".into(),
        address: Some("1.2.3.11:25501".parse().unwrap()),
        tasks: vec![task("test", &["10.0.0.1", "fd00::1"]), ended],
    };
    let idle = Framework { id: "F-2".into(), name: "chronos".into(), hostname: "".into(), ..Framework::default() };
    Cluster {
        leader: Some("1.2.3.1:5050".parse().unwrap()),
        masters: vec!["1.2.3.1:5050".parse().unwrap()],
        agents: vec![agent("m-S0", "1.2.3.11")],
        frameworks: vec![marathon, idle],
    }
}

#[test]
fn version() {
    let mesos_dns = MesosDns::start(&json!({}), Some(&shop()));
    let version = concat!("pointsman-", env!("CARGO_PKG_VERSION"));
    let url = "https://github.com/mesosphere/mesos-dns";
    let expected =
        format!("{{\n  \"Service\": \"Mesos-DNS\",\n  \"URL\": \"{url}\",\n  \"Version\": \"{version}\"\n }}");
    assert_eq!(mesos_dns.text("/v1/version"), expected);
}

#[test]
fn hosts_and_services() {
    let mesos_dns = MesosDns::start(&json!({}), Some(&shop()));
    let sorted = |path: &str| {
        let mut list = mesos_dns.get(path).as_array().unwrap().clone();
        list.sort_by_key(ToString::to_string);
        Value::Array(list)
    };
    let host = "web.marathon.mesos.";
    let both = json!([{"host": host, "ip": "10.0.0.1"}, {"host": host, "ip": "fd00::1"}]);
    for asked in ["web.marathon.mesos", "WEB.marathon.mesos.", "web.*.marathon.mesos"] {
        assert_eq!(sorted(&format!("/v1/hosts/{asked}")), both, "{asked}");
    }
    assert_eq!(mesos_dns.get("/v1/hosts/slave.mesos"), json!([{"host": "slave.mesos.", "ip": "1.2.3.11"}]));
    // Of `ns1.mesos.` it knows the addresses that it listens on.
    assert_eq!(mesos_dns.get("/v1/hosts/ns1.mesos"), json!([{"host": "ns1.mesos.", "ip": "127.0.0.1"}]));
    for unknown in ["nothing.mesos", "example.com", "_web._tcp.marathon.mesos", "marathon", "."] {
        assert_eq!(mesos_dns.get(&format!("/v1/hosts/{unknown}")), json!([{"host": "", "ip": ""}]), "{unknown}");
    }
    let own = "web-iffe9-s0.marathon.mesos.";
    for asked in ["_web._tcp.marathon.mesos", "_WEB._tcp.*.marathon.mesos.", "_http._web._tcp.marathon.mesos"] {
        let of = |ip: &str| json!({"service": asked, "host": own, "ip": ip, "port": "80"});
        assert_eq!(sorted(&format!("/v1/services/{asked}")), json!([of("10.0.0.1"), of("fd00::1")]), "{asked}");
    }
    let leader = json!([{"service": "_leader._tcp.mesos", "host": "leader.mesos.", "ip": "1.2.3.1", "port": "5050"}]);
    assert_eq!(mesos_dns.get("/v1/services/_leader._tcp.mesos"), leader);
    for unknown in ["_nothing._tcp.mesos", "web.marathon.mesos"] {
        let empty = json!([{"service": "", "host": "", "ip": "", "port": ""}]);
        assert_eq!(mesos_dns.get(&format!("/v1/services/{unknown}")), empty, "{unknown}");
    }
    // The order of the keys is part of it for those who compare texts.
    let text = mesos_dns.text("/v1/hosts/slave.mesos");
    assert_eq!(text, "[\n  {\n   \"host\": \"slave.mesos.\",\n   \"ip\": \"1.2.3.11\"\n  }\n ]");
}

#[test]
fn other_paths_and_methods() {
    let mesos_dns = MesosDns::start(&json!({}), Some(&shop()));
    let plain = "text/plain; charset=utf-8".to_owned();
    let not_implemented = (501, plain.clone(), "To be implemented...".to_owned());
    assert_eq!(mesos_dns.raw("GET", "/v1/hosts/web.marathon.mesos/ports"), not_implemented);
    for path in ["/", "/v1", "/v1/nothing", "/healthz", "/metrics", "/v1/hosts/", "/v1/tasks"] {
        assert_eq!(mesos_dns.raw("GET", path), (404, plain.clone(), "404: Page Not Found".into()), "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let refused = (405, plain.clone(), "405: Method Not Allowed".to_owned());
        assert_eq!(mesos_dns.raw(method, "/v1/version"), refused, "{method}");
    }
}

#[test]
fn transfer() {
    let mesos_dns = MesosDns::start(&json!({"ttl": 9}), Some(&shop()));
    let transfer = mesos_dns.get("/v1/axfr");
    let keys: Vec<&String> = transfer.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 7);
    assert_eq!((&transfer["TTL"], &transfer["Domain"]), (&json!(9), &json!("mesos")));
    assert_eq!((&transfer["Mname"], &transfer["Rname"]), (&json!("ns1.mesos."), &json!("root.ns1.mesos.")));
    let soa = mesos_dns.ask("mesos.", RecordType::SOA);
    let RData::SOA(soa) = &soa.answers[0].data else { panic!("{soa}") };
    assert_eq!(transfer["Serial"], json!(soa.serial));
    assert_eq!(transfer["Records"], records_of_the_shop());
}

/// A configuration of our own has names that Mesos-DNS has not, and whoever reads its API does not know them.
#[test]
fn a_transfer_has_the_names_of_mesos_dns_and_no_further_ones() {
    let text = "[[sources.mesos]]\nname = \"mesos\"\nzone = \"mesos\"\nmasters = [\"127.0.0.1:1\"]\n\
                [dns]\nlisten = [\"127.0.0.1:53\"]\n[admin]\nmesos_dns_listen = \"127.0.0.1:8123\"\n";
    let config = config::check(text, Path::new("p.toml"), Environment::empty());
    let mesos_dns = MesosDns::run(config.unwrap_or_else(|errors| panic!("{errors}")), Some(&shop()));
    for (name, record_type) in [
        ("test.id.marathon.mesos.", RecordType::A),
        ("m-s0.agent.mesos.", RecordType::A),
        ("_http._tcp.web.marathon.mesos.", RecordType::SRV),
    ] {
        assert_eq!(mesos_dns.ask(name, record_type).answers.len(), 1, "{name}");
    }
    assert_eq!(mesos_dns.get("/v1/axfr")["Records"], records_of_the_shop());
}

/// The zone of the rules, and the name server.
fn records_of_the_shop() -> Value {
    let mut expected = json!({"As": {"ns1.mesos.": ["127.0.0.1"]}, "AAAAs": {}, "SRVs": {}});
    for (name, records) in rules::zone(&shop(), &Rules::default()) {
        for record in records {
            let words: Vec<&str> = record.split(' ').collect();
            let (set, value) = match words[0] {
                "SRV" => ("SRVs", format!("{}.:{}", words[4], words[3])),
                other => (if other == "A" { "As" } else { "AAAAs" }, words[1].to_owned()),
            };
            let values = &mut expected[set][format!("{name}.")];
            if values.is_null() {
                *values = json!([]);
            }
            values.as_array_mut().unwrap().push(value.into());
        }
    }
    expected
}

#[test]
fn enumeration() {
    let mesos_dns = MesosDns::start(&json!({}), Some(&shop()));
    let enumeration = mesos_dns.get("/v1/enumerate");
    let names: Vec<&Value> = enumeration["frameworks"].as_array().unwrap().iter().map(|f| &f["name"]).collect();
    assert_eq!(names, [&json!("marathon"), &json!("chronos")]);
    let tasks = &enumeration["frameworks"][0]["tasks"];
    assert_eq!((tasks[0]["id"].as_str(), tasks[0]["name"].as_str()), (Some("test"), Some("web")));
    assert_eq!(tasks.as_array().unwrap().len(), 1, "tasks that do not run are not listed");
    let listed: BTreeSet<String> = tasks[0]["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| {
            format!("{} {} {}", r["name"].as_str().unwrap(), r["rtype"].as_str().unwrap(), r["host"].as_str().unwrap())
        })
        .collect();
    let own = "web-iffe9-s0.marathon";
    let expected = [
        "web.marathon.mesos. A 10.0.0.1".to_owned(),
        "web.marathon.mesos. AAAA fd00::1".into(),
        "web.marathon.slave.mesos. A 1.2.3.11".into(),
        format!("{own}.mesos. A 10.0.0.1"),
        format!("{own}.mesos. AAAA fd00::1"),
        format!("{own}.slave.mesos. A 1.2.3.11"),
        format!("_web._tcp.marathon.slave.mesos. SRV {own}.slave.mesos.:31000"),
        format!("_web._udp.marathon.slave.mesos. SRV {own}.slave.mesos.:31000"),
        format!("_web._tcp.marathon.mesos. SRV {own}.mesos.:80"),
        format!("_http._web._tcp.marathon.mesos. SRV {own}.mesos.:80"),
    ];
    assert_eq!(listed, BTreeSet::from(expected));
    assert_eq!(enumeration["frameworks"][1]["tasks"], json!([]));
}

#[test]
fn enumeration_can_be_off() {
    let mesos_dns = MesosDns::start(&json!({"EnumerationOn": false}), Some(&shop()));
    assert_eq!(mesos_dns.raw("GET", "/v1/enumerate").0, 404);
    assert_eq!(mesos_dns.raw("GET", "/v1/axfr").0, 404);
    assert_eq!(mesos_dns.raw("GET", "/v1/version").0, 200);
}

#[test]
fn config_hides_secrets() {
    let options = json!({
        "domain": "dc", "SOAMname": "ns1.dc", "ttl": 8, "MesosAuthentication": "basic",
        "MesosCredentials": {"Principal": "me", "Secret": "hunter2"}, "EnforceRFC952": true, "IPSources": ["host"],
    });
    let mesos_dns = MesosDns::start(&options, Some(&shop()));
    let text = mesos_dns.text("/v1/config");
    assert!(!text.contains("hunter2"), "{text}");
    let config: Value = serde_json::from_str(&text).unwrap();
    for (key, expected) in [
        ("TTL", json!(8)),
        ("Domain", json!("dc")),
        ("SOAMname", json!("ns1.dc.")),
        ("SOARname", json!("root.ns1.mesos.")),
        ("Masters", json!(["127.0.0.1:1"])),
        ("Zk", json!("")),
        ("Listener", json!("127.0.0.1")),
        ("HTTPListener", json!("127.0.0.1")),
        ("DnsOn", json!(true)),
        ("HttpOn", json!(true)),
        ("EnforceRFC952", json!(true)),
        ("IPSources", json!(["host"])),
        ("SRVRecordDefaultWeight", json!(1)),
        ("MesosAuthentication", json!("basic")),
        ("MesosCredentials", json!({"Principal": "me", "Secret": "[hidden]"})),
        ("ZoneResolvers", json!({})),
    ] {
        assert_eq!(config[key], expected, "{key}");
    }
    // The fields of Mesos-DNS 0.7, no other ones.
    let fields = [
        "CACertFile",
        "CertFile",
        "DnsOn",
        "Domain",
        "EnforceRFC952",
        "EnumerationOn",
        "ExternalOn",
        "File",
        "HTTPListener",
        "HttpOn",
        "HttpPort",
        "IAMConfigFile",
        "IPSources",
        "KeyFile",
        "Listener",
        "Masters",
        "MesosAuthentication",
        "MesosCredentials",
        "MesosHTTPSOn",
        "Port",
        "RecurseOn",
        "RefreshSeconds",
        "Resolvers",
        "SOAExpire",
        "SOAMinttl",
        "SOAMname",
        "SOARefresh",
        "SOARetry",
        "SOARname",
        "SOASerial",
        "SRVRecordDefaultWeight",
        "SetTruncateBit",
        "StateTimeoutSeconds",
        "TTL",
        "Timeout",
        "Zk",
        "ZkDetectionTimeout",
        "ZoneResolvers",
    ];
    let known: BTreeSet<&str> = config.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(known, BTreeSet::from(fields));
}

#[test]
fn before_the_masters_are_read_nothing_is_concluded() {
    let mesos_dns = MesosDns::start(&json!({}), None);
    assert_eq!(mesos_dns.raw("GET", "/v1/hosts/web.marathon.mesos").0, 503);
    assert_eq!(mesos_dns.ask("web.marathon.mesos.", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(mesos_dns.ask("example.com.", RecordType::A).metadata.response_code, ResponseCode::Refused);
}

#[test]
fn answers_are_those_of_mesos_dns_with_its_breaks_mended() {
    let mesos_dns = MesosDns::start(&json!({"ttl": 17, "SRVRecordDefaultWeight": 3}), Some(&shop()));
    let answer = mesos_dns.ask("Web.Marathon.MESOS.", RecordType::A);
    assert!(answer.metadata.authoritative && answer.metadata.response_code == ResponseCode::NoError);
    assert_eq!((answer.answers.len(), answer.answers[0].ttl), (1, 17));
    let answer = mesos_dns.ask("_web._tcp.marathon.mesos.", RecordType::SRV);
    let RData::SRV(srv) = &answer.answers[0].data else { panic!("{answer}") };
    assert_eq!((srv.priority, srv.weight, srv.port), (0, 3, 80));
    assert_eq!(answer.additionals.len(), 2, "the target's A and AAAA");
    // A task that has ended leaves no name behind.
    let missing = mesos_dns.ask("gone.marathon.mesos.", RecordType::A);
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    let RData::SOA(soa) = &missing.authorities[0].data else { panic!("{missing}") };
    assert_eq!((missing.authorities[0].name.to_string(), soa.minimum), ("mesos.".into(), 17));
    // Apex, other types and what lies above names exist.
    for (name, record_type) in [
        ("mesos.", RecordType::A),
        ("slave.mesos.", RecordType::AAAA),
        ("_tcp.marathon.mesos.", RecordType::SRV),
        ("marathon.slave.mesos.", RecordType::A),
    ] {
        let answer = mesos_dns.ask(name, record_type);
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0), "{name}");
    }
    assert_eq!(mesos_dns.ask("nothing.mesos.", RecordType::SRV).metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(mesos_dns.ask("mesos.", RecordType::SOA).answers.len(), 1);
}

/// Recordings that every run asks for, of each kind one: `POINTSMAN_FULL` has them all.
const SOME: [&str; 4] =
    ["mesosdns-fake.json", "mesosstate-state_di.json", "dcosnet-pod-tasks.jsonl", "dcosnet-hello-overlay.jsonl"];

#[test]
fn every_name_of_recorded_clusters_is_answered_over_dns() {
    let Some(folder) = fixtures::folder() else { return };
    let is_full = std::env::var_os("POINTSMAN_FULL").is_some();
    let mut clusters = fixtures::all(&folder);
    assert!(SOME.iter().all(|some| clusters.iter().any(|(name, _)| name == some)), "recordings are missing");
    clusters.retain(|(name, _)| is_full || SOME.contains(&name.as_str()));
    for (what, cluster) in clusters {
        let sources: &[&str] = &["docker", "mesos", "netinfo", "host"];
        let mesos_dns = MesosDns::start(&json!({"IPSources": sources}), Some(&cluster));
        let rules = Rules { sources: &["docker", "mesos", "netinfo", "host"], ..Rules::default() };
        let zone = rules::zone(&cluster, &rules);
        for (name, records) in zone.iter().filter(|(name, _)| fits(name)) {
            for (kind, record_type) in [("A ", RecordType::A), ("AAAA ", RecordType::AAAA), ("SRV ", RecordType::SRV)] {
                let all: BTreeSet<&str> = records.iter().filter_map(|record| record.strip_prefix(kind)).collect();
                // A target that cannot be asked for has a shorter name here.
                let expected = all.iter().copied().filter(|record| fits(record.rsplit(' ').next().unwrap()));
                let answer = mesos_dns.ask_whole(&format!("{name}."), record_type);
                assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{what}: {name} {record_type}");
                assert!(answer.metadata.authoritative && !answer.metadata.truncation, "{what}: {name} {record_type}");
                let found = answer.answers.iter().map(|record| record.data.to_string());
                let found: BTreeSet<String> = found.map(|text| text.trim_end_matches('.').to_owned()).collect();
                let missing: Vec<&str> = expected.filter(|record| !found.contains(*record)).collect();
                assert_eq!(missing, [] as [&str; 0], "{what}: {name} {record_type}: {found:?}");
                assert_eq!(found.len(), all.len(), "{what}: {name} {record_type}: {found:?} for {all:?}");
            }
            let below = format!("no.such.{name}");
            if fits(&below) {
                let missing = mesos_dns.ask(&format!("{below}."), RecordType::A);
                assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain, "{what}: {below}");
            }
        }
    }
}

/// The program itself: `serve --mesos-dns-config`, its warnings, and `migrate`.
#[test]
fn the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let (dns, http) = (common::ports::unused(), common::ports::unused());
    let file = folder.path().join("config.json");
    let document = json!({
        "masters": ["127.0.0.1:1"], "listener": "127.0.0.1", "HTTPListener": "127.0.0.1", "port": dns.port(),
        "httpPort": http.port(), "SetTruncateBit": false, "resolvers": ["192.0.2.1"],
    });
    std::fs::write(&file, document.to_string()).unwrap();
    let pointsman = || Command::new(env!("CARGO_BIN_EXE_pointsman"));
    let migrated = pointsman().args(["migrate", "mesos-dns"]).arg(&file).output().unwrap();
    assert!(migrated.status.success());
    let toml = folder.path().join("pointsman.toml");
    std::fs::write(&toml, &migrated.stdout).unwrap();
    assert!(String::from_utf8_lossy(&migrated.stderr).contains("SetTruncateBit: "));
    let checked = pointsman().arg("check").arg(&toml).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let log = folder.path().join("log");
    let mut serving = pointsman()
        .args(["serve", "--mesos-dns-config"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let listens = loop {
        if TcpStream::connect(dns).is_ok() && TcpStream::connect(http).is_ok() {
            break true;
        }
        if begun.elapsed() > PATIENCE {
            break false;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    serving.kill().unwrap();
    serving.wait().unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(listens, "{said}");
    assert_eq!(said.matches("SetTruncateBit").count(), 1, "each warning once: {said}");

    std::fs::write(&file, "{\"masters\": 5}").unwrap();
    let refused = pointsman().args(["serve", "--mesos-dns-config"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("config.json:1:13: masters: found a whole number"), "{said}");
}

/// A master that answers `GET /master/state` with what the test says.
fn master(state: std::sync::Arc<std::sync::Mutex<String>>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
                    _ => break,
                }
            }
            let found = request.starts_with(b"GET /master/state ");
            let body = if found { state.lock().unwrap().clone() } else { String::new() };
            let status = if found { "200 OK" } else { "404 Not Found" };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        }
    });
    address
}

#[test]
fn a_recorded_master_is_polled_and_answered_for() {
    let Some(folder) = fixtures::folder() else { return };
    let recorded = std::fs::read_to_string(folder.join("mesosdns-fake.json")).unwrap();
    let mut document: Value = serde_json::from_str(&recorded).unwrap();
    let state = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let address = master(state.clone());
    document["leader"] = format!("master@{address}").into();
    document["pid"] = format!("master@{address}").into();
    *state.lock().unwrap() = document.to_string();
    let options =
        json!({"masters": [address.to_string()], "refreshSeconds": 1, "IPSources": ["docker", "mesos", "host"]});
    let mesos_dns = MesosDns::start(&options, None);
    let begun = Instant::now();
    // A scheduler that is known by its host alone has a name once the system's resolver has found the host.
    while mesos_dns.raw("GET", "/v1/axfr").0 != 200
        || mesos_dns.get("/v1/axfr")["Records"]["As"].get("nopid.mesos.").is_none()
    {
        assert!(begun.elapsed() < PATIENCE, "the master is not read");
        std::thread::sleep(Duration::from_millis(10));
    }
    let (_, cluster) = fixtures::all(&folder).into_iter().find(|(name, _)| name == "mesosdns-fake.json").unwrap();
    let cluster = Cluster { leader: Some(address), masters: vec![address], ..cluster };
    let rules = Rules { sources: &["docker", "mesos", "host"], ..Rules::default() };
    let mut expected = rules::zone(&cluster, &rules);
    let found: BTreeSet<_> = ("localhost", 0).to_socket_addrs().unwrap().map(|found| found.ip()).collect();
    let records = found.iter().map(|ip| format!("{} {ip}", if ip.is_ipv4() { "A" } else { "AAAA" }));
    expected.insert("nopid.mesos".into(), records.collect());
    let transfer = mesos_dns.get("/v1/axfr")["Records"].clone();
    let names: BTreeSet<&str> = ["As", "AAAAs", "SRVs"]
        .iter()
        .flat_map(|set| transfer[set].as_object().unwrap().keys())
        .map(|name| name.trim_end_matches('.'))
        .filter(|name| *name != "ns1.mesos")
        .collect();
    assert_eq!(names, expected.keys().map(String::as_str).collect());
    for (name, records) in &expected {
        let of = |kind: &str| records.iter().filter(|record| record.starts_with(kind)).count();
        for (kind, set) in [("A ", "As"), ("AAAA ", "AAAAs"), ("SRV ", "SRVs")] {
            let found = transfer[set][format!("{name}.")].as_array().map_or(0, Vec::len);
            assert_eq!(found, of(kind), "{name} {set}");
        }
    }
    // What the master no longer lists is gone with the next look, however much it is.
    document["frameworks"].as_array_mut().unwrap().retain(|framework| framework["name"] != "marathon");
    *state.lock().unwrap() = document.to_string();
    while mesos_dns.ask("liquor-store.marathon.mesos.", RecordType::A).metadata.response_code != ResponseCode::NXDomain
    {
        assert!(begun.elapsed() < PATIENCE * 2, "the names stay");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(mesos_dns.ask("slave.mesos.", RecordType::A).metadata.response_code, ResponseCode::NoError);
    // So is the last task, though agents without any might be a view that hides them: two looks agree.
    let named = "toy-store.ipv6-framework.mesos.";
    assert_eq!(mesos_dns.ask(named, RecordType::AAAA).metadata.response_code, ResponseCode::NoError);
    for framework in document["frameworks"].as_array_mut().unwrap() {
        framework["tasks"] = json!([]);
    }
    *state.lock().unwrap() = document.to_string();
    while mesos_dns.ask(named, RecordType::AAAA).metadata.response_code != ResponseCode::NXDomain {
        assert!(begun.elapsed() < PATIENCE * 3, "the last names stay");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(mesos_dns.ask("slave.mesos.", RecordType::A).metadata.response_code, ResponseCode::NoError);
}

/// Where the masters are reached is the way to them, and not always where they are.
#[test]
fn the_leader_is_where_its_state_says_that_it_is() {
    let leader = "master@10.0.0.1:5055";
    let document = json!({
        "pid": leader, "leader": leader,
        "slaves": [{"id": "m-S0", "hostname": "10.0.0.2", "pid": "slave(1)@10.0.0.2:5051", "active": true}],
        "frameworks": [{"id": "F-1", "name": "marathon", "pid": "scheduler-1@10.0.0.3:15101", "hostname": "10.0.0.3",
            "active": true, "tasks": []}],
    });
    let forwarded = master(std::sync::Arc::new(std::sync::Mutex::new(document.to_string())));
    let mesos_dns = MesosDns::start(&json!({"masters": [forwarded.to_string()], "refreshSeconds": 1}), None);
    let begun = Instant::now();
    while mesos_dns.raw("GET", "/v1/axfr").0 != 200 {
        assert!(begun.elapsed() < PATIENCE, "the master is not read");
        std::thread::sleep(Duration::from_millis(10));
    }
    let addresses = |name: &str| -> BTreeSet<String> {
        let answer = mesos_dns.ask(name, RecordType::A);
        answer.answers.iter().map(|record| record.data.to_string()).collect()
    };
    let set = |ips: &[&str]| ips.iter().map(|ip| (*ip).to_owned()).collect::<BTreeSet<_>>();
    for (name, expected) in [
        ("leader.mesos.", set(&["10.0.0.1"])),
        ("master.mesos.", set(&["10.0.0.1", "127.0.0.1"])),
        ("master0.mesos.", set(&["127.0.0.1"])),
        ("master1.mesos.", set(&["10.0.0.1"])),
        ("master2.mesos.", set(&[])),
    ] {
        assert_eq!(addresses(name), expected, "{name}");
    }
    for name in ["_leader._tcp.mesos.", "_leader._udp.mesos."] {
        let answer = mesos_dns.ask(name, RecordType::SRV);
        let [record] = answer.answers.as_slice() else { panic!("{answer}") };
        let RData::SRV(srv) = &record.data else { panic!("{answer}") };
        assert_eq!((srv.port, srv.target.to_string()), (5055, "leader.mesos.".to_owned()), "{name}");
    }
    let transfer = mesos_dns.get("/v1/axfr");
    assert_eq!(transfer["Records"]["SRVs"]["_leader._tcp.mesos."], json!(["leader.mesos.:5055"]));
}
