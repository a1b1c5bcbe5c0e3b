//! Mesos-DNS's configuration file, read as it is: every option obeyed or warned about by name.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use pointsman::config::checked::{
    IpSource, LabelRule, Masters, MesosCredentials, MesosMode, NameUnhealthy, Secret, UpstreamServer,
};
use pointsman::config::{self, Config, Environment};
use pointsman::mesos_dns::{Loaded, Machine, check, check_on};
use serde_json::{Value, json};

fn load(text: &str) -> Result<Loaded, String> {
    let folder = Path::new("/etc/mesos-dns");
    check(text, Path::new("config.json"), folder, Environment::empty()).map_err(|errors| errors.to_string())
}

fn loaded(text: &str) -> Loaded {
    let loaded = load(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    // What `pointsman migrate` prints passes `pointsman check` and is the same configuration.
    let printed = config::check(&loaded.migration.text, Path::new("/elsewhere/p.toml"), Environment::empty());
    assert_eq!(printed.as_ref(), Ok(&loaded.config), "{}", loaded.migration.text);
    loaded
}

/// A file with `masters` and these options.
fn with(options: &Value) -> Loaded {
    let mut document = json!({"masters": ["10.0.0.1:5050"]});
    document.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    loaded(&document.to_string())
}

fn config_with(options: &Value) -> Config {
    with(options).config
}

fn warned(options: &Value) -> BTreeSet<String> {
    with(options).migration.warnings.into_iter().map(|warning| warning.option).collect()
}

fn refused(text: &str) -> String {
    load(text).map(|_| ()).expect_err(text)
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn the_smallest_file_has_the_defaults_of_mesos_dns() {
    let Loaded { config, .. } = loaded(r#"{"masters": ["10.0.0.1:5050"]}"#);
    assert_eq!(config.dns.listen, [socket("0.0.0.0:53")]);
    assert_eq!((config.dns.ttl_seconds, config.dns.negative_ttl_seconds), (60, 60));
    assert_eq!(config.dns.ip_sources, [IpSource::Netinfo, IpSource::Mesos, IpSource::Host]);
    assert_eq!((config.dns.label_rule, config.dns.srv_weight), (LabelRule::Rfc1123, 1));
    assert_eq!((&*config.dns.nameserver, &*config.dns.contact), ("ns1", "root.ns1"));
    let soa = (config.dns.soa_refresh_seconds, config.dns.soa_retry_seconds, config.dns.soa_expire_seconds);
    assert_eq!(soa, (60, 600, 86_400));
    assert_eq!(config.admin.mesos_dns_listen, Some(socket("0.0.0.0:8123")));
    assert!(config.admin.mesos_dns_enumeration);
    // Who is named is Mesos-DNS's own.
    assert_eq!((config.dns.name_unhealthy, config.dns.hold_names), (NameUnhealthy::Always, false));
    assert!(config.server.service_retention.is_zero());
    let [mesos] = config.mesos.as_slice() else { panic!("one source") };
    assert_eq!((&*mesos.zone, &mesos.masters), ("mesos", &Masters::List(vec!["10.0.0.1:5050".into()])));
    assert_eq!((mesos.mode, mesos.poll_interval.as_secs(), mesos.poll_timeout.as_secs()), (MesosMode::State, 60, 300));
    assert_eq!((mesos.credentials.as_ref(), mesos.tls.as_ref()), (None, None));
    assert_eq!(config.dns.forward.upstreams[0].to_string(), "8.8.8.8:53");
    assert!(config.proxy.listeners.is_empty() && config.admin.listen.is_none());
}

#[test]
fn every_option_is_obeyed() {
    let config = config_with(&json!({
        "ttl": 7, "domain": "Cluster.Example", "listener": "127.0.0.1", "port": 5353, "httpPort": 8124,
        "HTTPListener": "127.0.0.2", "SOAMname": "dns.cluster.example", "SOARname": "admin@cluster.example.",
        "SOARefresh": 1, "SOARetry": 2, "SOAExpire": 3, "SRVRecordDefaultWeight": 9, "EnforceRFC952": true,
        "IPSources": ["host", "docker"], "EnumerationOn": false, "refreshSeconds": 3, "stateTimeoutSeconds": 4,
    }));
    assert_eq!(config.dns.listen, [socket("127.0.0.1:5353")]);
    assert_eq!(config.admin.mesos_dns_listen, Some(socket("127.0.0.2:8124")));
    assert!(!config.admin.mesos_dns_enumeration);
    assert_eq!((config.mesos[0].poll_interval.as_secs(), config.mesos[0].poll_timeout.as_secs()), (3, 4));
    assert_eq!((config.dns.ttl_seconds, config.dns.negative_ttl_seconds, config.dns.srv_weight), (7, 7, 9));
    assert_eq!((&*config.mesos[0].zone, &*config.dns.nameserver), ("cluster.example", "dns"));
    assert_eq!((&*config.dns.contact, config.dns.label_rule), ("admin", LabelRule::Rfc952));
    assert_eq!((config.dns.soa_refresh_seconds, config.dns.soa_retry_seconds), (1, 2));
    assert_eq!((config.dns.soa_expire_seconds, &*config.dns.ip_sources), (3, &[IpSource::Host, IpSource::Docker][..]));
    let forwarding = json!({
        "resolvers": ["10.0.0.2", "10.0.0.3:5353", "[fd00::1]:53"], "timeout": 2, "zoneResolvers": {"weave": ["10.0.0.4"]},
    });
    let forward = config_with(&forwarding).dns.forward;
    let servers: Vec<String> = forward.upstreams.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.2:53", "10.0.0.3:5353", "[fd00::1]:53"]);
    assert_eq!((forward.timeout.as_secs(), &*forward.zones[0].zone), (2, "weave"));
    assert_eq!(forward.zones[0].upstreams[0].to_string(), "10.0.0.4:53");
    assert!(config_with(&json!({"externalOn": false})).dns.forward.upstreams.is_empty());
    assert!(config_with(&json!({"dnsOn": false})).dns.listen.is_empty());
    assert_eq!(config_with(&json!({"httpOn": false})).admin.mesos_dns_listen, None);
    let v6 = config_with(&json!({"listener": "::1", "port": 54}));
    assert_eq!(v6.dns.listen, [socket("[::1]:54")]);
}

#[test]
fn names_outside_the_domain_are_absolute() {
    let config = config_with(&json!({"domain": "dc1", "SOARname": "me@example.com"}));
    assert_eq!((&*config.dns.nameserver, &*config.dns.contact), ("ns1.mesos.", "me.example.com."));
    assert_eq!(&*config_with(&json!({"SOAMname": "mesos"})).dns.nameserver, "mesos.");
}

#[test]
fn masters_zookeeper_tls_and_credentials() {
    let zk = loaded(r#"{"zk": "zk://a:b@zk1:2181,zk2:2181/mesos", "masters": ["10.0.0.1:5050"]}"#);
    let Masters::ZooKeeper { servers, path, auth } = &zk.config.mesos[0].masters else { panic!("ZooKeeper") };
    assert_eq!((servers.len(), path.as_str(), auth.as_ref()), (2, "/mesos", Some(&Secret("a:b".into()))));
    assert!(zk.migration.warnings.iter().any(|warning| warning.option == "masters"));
    let config = config_with(&json!({
        "MesosHTTPSOn": true, "CACertFile": "ca.pem", "CertFile": "/a/cert.pem", "KeyFile": "/a/key.pem",
        "MesosAuthentication": "basic", "MesosCredentials": {"Principal": "p\"q", "Secret": "s\\#e"},
    }));
    let tls = config.mesos[0].tls.clone().unwrap();
    assert_eq!(tls.ca.as_deref(), Some(Path::new("/etc/mesos-dns/ca.pem")));
    assert_eq!(tls.key.as_deref(), Some(Path::new("/a/key.pem")));
    let basic = MesosCredentials::Basic { principal: "p\"q".into(), secret: Secret("s\\#e".into()) };
    assert_eq!(config.mesos[0].credentials, Some(basic));
    assert_eq!(config_with(&json!({"CACertFile": "/ca.pem"})).mesos[0].tls, None);
    let account = json!({"MesosAuthentication": "iam", "IAMConfigFile": "account.json"});
    let account = config_with(&account).mesos[0].credentials.clone();
    assert_eq!(account, Some(MesosCredentials::ServiceAccount("/etc/mesos-dns/account.json".into())));
    assert_eq!(config_with(&json!({"IAMConfigFile": "account.json"})).mesos[0].credentials, None);
}

#[test]
fn recursion_is_said_to_be_available_as_it_is_wanted() {
    assert!(config_with(&json!({})).dns.forward.says_available);
    assert!(!config_with(&json!({"recurseOn": false})).dns.forward.says_available);
}

#[test]
fn what_is_not_obeyed_is_warned_about_by_name() {
    let none = BTreeSet::new();
    assert_eq!(warned(&json!({"externalOn": false, "recurseOn": false})), none);
    for (options, expected) in [
        (json!({"zkDetectionTimeout": 0}), "zkDetectionTimeout"),
        (json!({"SOAMinttl": 5}), "SOAMinttl"),
        (json!({"SOASerial": 5}), "SOASerial"),
        (json!({"SetTruncateBit": false}), "SetTruncateBit"),
        (json!({"email": "a@b"}), "email"),
        (json!({"ns": "ns1"}), "ns"),
        (json!({"File": "x"}), "File"),
        (json!({"nonsense\n": 1}), "nonsense\n"),
        (json!({"MesosHTTPSOn": true}), "MesosHTTPSOn"),
        (json!({"CACertFile": "/x"}), "CACertFile"),
        (json!({"IAMConfigFile": "/x"}), "IAMConfigFile"),
        (json!({"MesosCredentials": {"Principal": "p", "Secret": "s"}}), "MesosCredentials"),
        (json!({"ttl": 100_000}), "ttl"),
        (json!({"SOARefresh": 0}), "SOARefresh"),
    ] {
        let warnings = warned(&options);
        assert!(warnings.contains(expected), "{options}: {warnings:?}");
        let mut quiet = options;
        quiet["externalOn"] = false.into();
        assert_eq!(warned(&quiet), [expected.to_owned()].into(), "{quiet}");
    }
}

#[test]
fn every_warning_stands_where_it_belongs_and_nowhere_else() {
    let set = |options: &[&str]| options.iter().map(|option| (*option).to_owned()).collect::<BTreeSet<_>>();
    for (options, expected) in [
        (json!({}), set(&["externalOn"])),
        // recurseOn: RA goes with forwarding.
        (json!({"recurseOn": false}), set(&["externalOn"])),
        // Credentials are for those who are listed; ZooKeeper tells of every master.
        (json!({"MesosAuthentication": "iam", "IAMConfigFile": "/x"}), set(&["externalOn", "IAMConfigFile"])),
        (
            json!({"externalOn": false, "MesosAuthentication": "basic",
                "MesosCredentials": {"Principal": "p", "Secret": "s"}}),
            set(&["MesosCredentials"]),
        ),
        (
            json!({"externalOn": false, "MesosAuthentication": "basic", "zk": "zk://h:2181/mesos",
                "MesosCredentials": {"Principal": "p", "Secret": "s"}}),
            set(&["masters"]),
        ),
        (
            json!({"externalOn": false, "MesosAuthentication": "iam", "IAMConfigFile": "/x", "zk": "zk://h:2181/mesos"}),
            set(&["masters"]),
        ),
        (json!({"recurseOn": true}), set(&["externalOn"])),
        (json!({"externalOn": false, "recurseOn": true}), set(&["recurseOn"])),
        (json!({"externalOn": false}), set(&[])),
        // Resolvers, and the time that they have together.
        (json!({"resolvers": []}), set(&["externalOn", "resolvers"])),
        (json!({"resolvers": ["10.0.0.1", "10.0.0.1"]}), set(&["externalOn", "resolvers"])),
        (json!({"resolvers": ["10.0.0.1", "10.0.0.2"]}), set(&["externalOn"])),
        (json!({"resolvers": ["10.0.0.1", "10.0.0.2"], "timeout": 3}), set(&["externalOn", "timeout"])),
        (json!({"resolvers": ["10.0.0.1"], "timeout": 3}), set(&["externalOn"])),
        (json!({"timeout": 31}), set(&["externalOn", "timeout"])),
        (json!({"timeout": 0}), set(&["externalOn"])),
        (
            json!({"timeout": 3, "zoneResolvers": {"weave": ["10.0.0.1", "10.0.0.2", "10.0.0.2:53"]}}),
            set(&["externalOn", "timeout", "zoneResolvers"]),
        ),
        // Files for TLS without TLS; with it they are obeyed.
        (json!({"externalOn": false, "CertFile": "/c", "KeyFile": "/k"}), set(&["CertFile", "KeyFile"])),
        (
            json!({"externalOn": false, "CACertFile": "/a", "CertFile": "/c", "KeyFile": "/k"}),
            set(&["CACertFile", "CertFile", "KeyFile"]),
        ),
        (
            json!({"externalOn": false, "MesosHTTPSOn": true, "CACertFile": "/a", "CertFile": "/c", "KeyFile": "/k"}),
            set(&[]),
        ),
        // Numbers out of our bounds, and on them.
        (json!({"externalOn": false, "ttl": 0}), set(&[])),
        (json!({"externalOn": false, "ttl": 86_400}), set(&[])),
        (json!({"externalOn": false, "ttl": 86_401}), set(&["ttl"])),
        (json!({"externalOn": false, "SOARefresh": 0, "SOARetry": 0, "SOAExpire": 0}), {
            set(&["SOARefresh", "SOARetry", "SOAExpire"])
        }),
        (json!({"externalOn": false, "SOARefresh": 31_536_000, "SOARetry": 1, "SOAExpire": 31_536_000}), set(&[])),
        (json!({"externalOn": false, "SOARefresh": 4_294_967_295_u32}), set(&["SOARefresh"])),
        (json!({"externalOn": false, "SOARetry": 31_536_001}), set(&["SOARetry"])),
        (json!({"externalOn": false, "SOAExpire": 31_536_001}), set(&["SOAExpire"])),
        (json!({"externalOn": false, "refreshSeconds": 86_401}), set(&["refreshSeconds"])),
        (json!({"externalOn": false, "stateTimeoutSeconds": 3601}), set(&["stateTimeoutSeconds"])),
        // What Mesos-DNS itself never uses, or overwrites.
        (json!({"externalOn": false, "ttl": 5, "SOAMinttl": 5}), set(&[])),
        (json!({"externalOn": false, "ttl": 5, "SOAMinttl": 6}), set(&["SOAMinttl"])),
        (json!({"externalOn": false, "SetTruncateBit": true}), set(&[])),
        (json!({"externalOn": false, "SetTruncateBit": false}), set(&["SetTruncateBit"])),
        (json!({"externalOn": false, "email": "a@b", "ns": "ns1"}), set(&["email", "ns"])),
        (json!({"externalOn": false, "zkDetectionTimeout": 30}), set(&["zkDetectionTimeout"])),
        (json!({"externalOn": false, "IAMConfigFile": "/x"}), set(&["IAMConfigFile"])),
        (json!({"externalOn": false, "tttl": 5, "Resolver": 1, "": null}), set(&["tttl", "Resolver", ""])),
    ] {
        let loaded = with(&options);
        let found: BTreeSet<String> = loaded.migration.warnings.iter().map(|w| w.option.clone()).collect();
        assert_eq!(found, expected, "{options}");
        // Each stands at the head of the printed file too.
        let head: Vec<&str> = loaded.migration.text.lines().take_while(|line| line.starts_with('#')).collect();
        for warning in &loaded.migration.warnings {
            let line = format!("# - {}: {}.", warning.option, warning.reason);
            assert!(head.contains(&line.as_str()), "{line}");
        }
    }
}

#[test]
fn numbers_out_of_bounds_become_the_nearest_that_is_within() {
    let options =
        json!({"ttl": 100_000, "SOARefresh": 0, "SOARetry": 4_000_000_000_u32, "SOAExpire": 0, "timeout": 600});
    let Loaded { config, migration } = with(&options);
    assert_eq!((config.dns.ttl_seconds, config.dns.negative_ttl_seconds), (86_400, 86_400));
    let soa = (config.dns.soa_refresh_seconds, config.dns.soa_retry_seconds, config.dns.soa_expire_seconds);
    assert_eq!(soa, (1, 31_536_000, 1));
    assert_eq!(config.dns.forward.timeout.as_secs(), 30);
    let of = |option: &str| migration.warnings.iter().find(|w| w.option == option).map(|w| w.reason.as_str());
    assert_eq!(of("SOARetry"), Some("4000000000 seconds are out of bounds here; 31536000 are used"));
    assert_eq!(of("ttl"), Some("100000 seconds are out of bounds here; 86400 are used"));
}

#[test]
fn an_empty_list_of_resolvers_means_those_of_the_system() {
    let text = r#"{"masters": ["10.0.0.1:5050"], "resolvers": [], "zoneResolvers": {"weave": ["10.0.0.4"]}}"#;
    let own: [IpAddr; 1] = ["10.0.0.9".parse().unwrap()];
    let on = |resolv_conf: &str| {
        let machine = Machine { folder: Path::new("/etc/mesos-dns"), resolv_conf, own: &own };
        let loaded = check_on(machine, text, Path::new("config.json"), Environment::empty()).unwrap();
        let servers: Vec<String> = loaded.config.dns.forward.upstreams.iter().map(ToString::to_string).collect();
        let reason = loaded.migration.warnings.iter().find(|w| w.option == "resolvers").map(|w| w.reason.clone());
        (servers, reason.unwrap())
    };
    let (servers, reason) = on("nameserver 127.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.9\nnameserver fd00::1\n");
    assert_eq!(servers, ["10.0.0.2:53", "[fd00::1]:53"]);
    assert!(reason.ends_with("10.0.0.2, fd00::1"), "{reason}");
    let (servers, reason) = on("nameserver 127.0.0.53\n");
    assert_eq!(servers, [] as [String; 0]);
    assert!(reason.contains("names no server but this machine"), "{reason}");
    // A list that is not empty is all there is.
    let with_list = text.replace("[],", "[\"10.0.0.3\"],");
    let machine = Machine { folder: Path::new("/"), resolv_conf: "nameserver 10.0.0.2", own: &own };
    let loaded = check_on(machine, &with_list, Path::new("config.json"), Environment::empty()).unwrap();
    assert_eq!(loaded.config.dns.forward.upstreams.len(), 1);
}

#[test]
fn resolvers_that_stand_in_a_list_twice_are_asked_once() {
    let resolvers = ["10.0.0.2", "10.0.0.3", "10.0.0.2:53", "[fd00::1]:53", "fd00::1", "10.0.0.2:54"];
    let Loaded { config, migration } =
        with(&json!({"resolvers": resolvers, "zoneResolvers": {"a": ["10.0.0.4", "10.0.0.4"]}}));
    let servers: Vec<String> = config.dns.forward.upstreams.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.2:53", "10.0.0.3:53", "[fd00::1]:53", "10.0.0.2:54"]);
    assert_eq!(config.dns.forward.zones[0].upstreams.len(), 1);
    let told: Vec<&str> = migration.warnings.iter().map(|w| w.reason.as_str()).collect();
    for twice in ["10.0.0.2:53", "fd00::1", "10.0.0.4"] {
        let reason = format!("\"{twice}\" stands in the list twice, and is asked once");
        assert!(told.contains(&reason.as_str()), "{told:?}");
    }
}

#[test]
fn of_more_resolvers_than_are_asked_the_first_ones_are() {
    let resolvers = |count: usize| (1..=count).map(|number| format!("10.0.0.{number}")).collect::<Vec<_>>();
    let told = |loaded: &Loaded, option: &str| {
        let of = loaded.migration.warnings.iter().filter(|warning| warning.option == option);
        of.map(|warning| warning.reason.clone()).collect::<Vec<_>>()
    };
    let last = |servers: &[UpstreamServer]| (servers.len(), servers[servers.len() - 1].to_string());
    let sixteen = (16, "10.0.0.16:53".to_owned());
    for (count, cut) in [(16, None), (17, Some("16 of 17")), (40, Some("16 of 40"))] {
        // One that stands there twice takes no place.
        let mut list = resolvers(count);
        list.insert(1, list[0].clone());
        let loaded =
            with(&json!({"resolvers": list, "zoneResolvers": {"a": ["10.0.0.99"], "weave": resolvers(count)}}));
        let forward = &loaded.config.dns.forward;
        assert_eq!(last(&forward.upstreams), sixteen, "{count}");
        let zone = |name: &str| forward.zones.iter().find(|zone| *zone.zone == *name).unwrap();
        assert_eq!(last(&zone("weave").upstreams), sixteen, "{count}");
        assert_eq!(last(&zone("a").upstreams), (1, "10.0.0.99:53".to_owned()));
        let reason = cut.map(|cut| format!("{cut} resolvers are asked: \"10.0.0.17\" and those after it are not"));
        let twice = "\"10.0.0.1\" stands in the list twice, and is asked once".to_owned();
        assert_eq!(told(&loaded, "resolvers"), [Some(twice), reason.clone()].into_iter().flatten().collect::<Vec<_>>());
        assert_eq!(told(&loaded, "zoneResolvers"), reason.into_iter().collect::<Vec<_>>());
    }
    // Those of the system as well.
    let resolv_conf: String = resolvers(17).iter().map(|ip| format!("nameserver {ip}\n")).collect();
    let machine = Machine { folder: Path::new("/"), resolv_conf: &resolv_conf, own: &[] };
    let text = r#"{"masters": ["10.0.0.1:5050"], "resolvers": []}"#;
    let loaded = check_on(machine, text, Path::new("config.json"), Environment::empty()).unwrap();
    assert_eq!(last(&loaded.config.dns.forward.upstreams), sixteen);
    assert!(told(&loaded, "resolvers").iter().any(|reason| reason.starts_with("16 of 17 resolvers are asked")));
}

/// Every option of the table in Mesos-DNS's documentation is known: given alone it is no unknown key.
#[test]
fn every_option_is_known() {
    let options = json!({
        "zk": "zk://h:1/mesos", "masters": ["h:1"], "zkDetectionTimeout": 1, "refreshSeconds": 1, "stateTimeoutSeconds": 1,
        "ttl": 1, "domain": "d", "listener": "127.0.0.1", "port": 1, "dnsOn": true, "httpOn": true, "httpPort": 2,
        "HTTPListener": "127.0.0.1", "externalOn": true, "resolvers": ["1.1.1.1", "[::1]:5353"],
        "zoneResolvers": {"weave": ["1.1.1.1:54"]}, "timeout": 1, "recurseOn": true, "SOAMname": "a.b", "SOARname": "a.b",
        "SOARefresh": 1, "SOARetry": 1, "SOAExpire": 1, "SOAMinttl": 1, "SRVRecordDefaultWeight": 1,
        "SetTruncateBit": true, "EnforceRFC952": true, "IPSources": ["netinfo"], "EnumerationOn": true,
        "MesosHTTPSOn": false, "CACertFile": "", "CertFile": "", "KeyFile": "", "MesosAuthentication": "",
        "MesosCredentials": {"Principal": "", "Secret": ""}, "IAMConfigFile": "", "email": "", "ns": "",
    });
    let unknown = |loaded: &Loaded| {
        let told = loaded.migration.warnings.iter().filter(|warning| warning.reason.contains("knows no such option"));
        told.map(|warning| warning.option.clone()).collect::<Vec<_>>()
    };
    assert_eq!(unknown(&with(&options)), [] as [String; 0]);
    // Keys have no case.
    let shouted: serde_json::Map<String, Value> =
        options.as_object().unwrap().iter().map(|(key, value)| (key.to_uppercase(), value.clone())).collect();
    let loud = loaded(&Value::Object(shouted).to_string());
    assert_eq!(unknown(&loud), [] as [String; 0]);
    assert_eq!(loud.config, with(&options).config);
}

#[test]
fn values_are_read_as_mesos_dns_reads_them() {
    // A null leaves the default, and the last of two counts.
    assert_eq!(config_with(&json!({"ttl": null})).dns.ttl_seconds, 60);
    let twice = loaded(r#"{"masters": ["h:1"], "ttl": 1, "TTL": 2}"#);
    assert_eq!(twice.config.dns.ttl_seconds, 2);
    assert_eq!(config_with(&json!({"domain": "mEsOs"})).mesos[0].zone, "mesos".into());
}

#[test]
fn faults_are_told_at_once_with_their_places() {
    let text = "{\n  \"masters\": [\"h:1\"],\n  \"ttl\": \"60\",\n  \"port\": 0.5,\n  \"dnsOn\": 1,\n  \"IPSources\": \"host\"\n}";
    assert_eq!(
        refused(text),
        "config.json:3:10: ttl: found a string, expected a whole number from -2147483648 to 2147483647; write it like 60\n\
         config.json:4:11: port: found a fraction, expected a whole number; write it like 60\n\
         config.json:5:12: dnsOn: found a whole number, expected true or false; write it like true\n\
         config.json:6:16: IPSources: found a string, expected a list of strings; write it like [\"one\", \"two\"]"
    );
    let broken = refused("{\n  \"masters\": [\"h:1\"],\n  \"ttl\" 60\n}");
    assert!(broken.starts_with("config.json:3:9: this is no Mesos-DNS configuration: expected `:`"), "{broken}");
    assert!(refused("").starts_with("config.json:1:1: "), "{}", refused(""));
    assert!(refused("[]").contains("expected an object"), "{}", refused("[]"));
    assert!(refused("{}").starts_with("config.json: masters: there is neither `zk` nor `masters`"));
}

#[test]
fn what_mesos_dns_refuses_or_dies_of_is_refused() {
    for (options, expected) in [
        (json!({"dnsOn": false, "httpOn": false}), "dnsOn: neither DNS nor HTTP is on"),
        (json!({"masters": ["h:1", "h:1"]}), "masters: \"h:1\" stands in the list twice"),
        (json!({"masters": ["h"], "port": 70_000}), "port: 70000 is no port"),
        (json!({"listener": "localhost"}), "listener: \"localhost\" is no IP address"),
        (json!({"IPSources": []}), "IPSources: the list is empty"),
        (json!({"IPSources": ["rkt"]}), "IPSources: \"rkt\" is no source"),
        (json!({"IPSources": ["host", "host"]}), "IPSources: \"host\" stands in the list twice"),
        (json!({"domain": "a..b"}), "domain: \"a..b\" is no domain"),
        (json!({"domain": "a_b"}), "domain: \"a_b\" is no domain"),
        (json!({"resolvers": ["dns.example"]}), "resolvers: \"dns.example\" is no resolver"),
        (json!({"zoneResolvers": {"a.mesos": ["1.1.1.1"]}}), "zoneResolvers: \"a.mesos\" and the domain"),
        (json!({"zoneResolvers": {"a": ["1.1.1.1"], "b.a": ["1.1.1.1"]}}), "zoneResolvers: \"b.a\" lies within \"a\""),
        (json!({"zoneResolvers": {"a": []}}), "zoneResolvers: \"a\" has no resolver"),
        (json!({"stateTimeoutSeconds": 0}), "stateTimeoutSeconds: 0 seconds are no time"),
        (json!({"refreshSeconds": -1}), "refreshSeconds: -1 seconds are no time"),
        (json!({"CertFile": "/x"}), "CertFile: there is no `KeyFile` with it"),
        (json!({"MesosAuthentication": "kerberos"}), "MesosAuthentication: \"kerberos\" is no way"),
        (json!({"MesosAuthentication": "basic"}), "MesosCredentials: basic authentication needs"),
        (json!({"MesosAuthentication": "iam"}), "IAMConfigFile: authentication by \"iam\" needs"),
        (json!({"zk": "zookeeper"}), "zk: it is no ZooKeeper URL"),
        (json!({"zk": "zk://h:2181"}), "zk: the path of the masters' nodes in ZooKeeper is missing"),
        (json!({"ttl": -1}), "ttl: -1 is no time to live"),
    ] {
        let mut document = json!({"masters": ["10.0.0.1:5050"]});
        document.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let told = refused(&document.to_string());
        assert!(told.contains(expected), "{options}: {told}");
        assert!(told.lines().all(|line| line.starts_with("config.json")), "{told}");
    }
    // Resolvers count only where they are used.
    let unused = json!({"externalOn": false, "resolvers": ["dns.example"]});
    assert_eq!(warned(&unused), BTreeSet::new());
}

#[test]
fn secrets_are_in_no_message() {
    let told = refused(r#"{"masters": ["h:1"], "MesosCredentials": {"Principal": "p", "Secret": 12345}}"#);
    assert!(told.contains("MesosCredentials") && !told.contains("12345"), "{told}");
    let told = refused(
        r#"{"masters": ["h:1"], "MesosAuthentication": "basic", "MesosCredentials": {"Principal": "p", "Secret": "hunter\n2"}}"#,
    );
    assert!(told.contains("MesosCredentials") && !told.contains("hunter"), "{told}");
}
