//! What a reload changes, and what it refuses.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::path::Path;

use pointsman::config::{Config, Environment, ReloadPlan, RestartNeeded, check, reload};

const BASE: &str = r#"
[[sources.mesos]]
name = "a"
zone = "a"
masters = ["h1"]
token = "one"
[[sources.file]]
name = "f"
path = "f.toml"
[[proxy.listeners]]
name = "http"
address = "127.0.0.1:80"
[[policy]]
hosts = ["a.example"]
[server]
workers = 2
"#;

fn config(text: &str) -> Config {
    check(text, Path::new("p.toml"), Environment::empty()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The plan when `from` in the base becomes `to`.
fn plan(from: &str, to: &str) -> Result<ReloadPlan, Vec<RestartNeeded>> {
    assert!(BASE.contains(from));
    reload(&config(BASE), &config(&BASE.replacen(from, to, 1)))
}

#[track_caller]
fn changes(from: &str, to: &str, live: &[&str], listeners: &[&str], sources: &[&str]) {
    let plan = plan(from, to).unwrap();
    assert_eq!(plan.live, live);
    assert_eq!(plan.listeners, listeners);
    assert_eq!(plan.sources.iter().map(|name| name.as_str()).collect::<Vec<_>>(), sources);
}

#[test]
fn nothing_changes() {
    assert!(plan("h1", "h1").unwrap().is_empty());
    assert!(plan("workers = 2", "workers = 2 # a comment").unwrap().is_empty());
}

#[test]
fn live_settings() {
    changes("[server]", "[server]\ndrain_time = \"1m\"", &["server.drain_time"], &[], &[]);
    changes("a.example", "b.example", &["policy[0].hosts"], &[], &[]);
    changes("[[policy]]\nhosts = [\"a.example\"]", "", &["policy[0]"], &[], &[]);
    changes("zone = \"a\"", "zone = \"b\"", &["sources.mesos[a].zone"], &[], &[]);
    changes("zone = \"a\"", "zone = \"a\"\nguard.max_count = 3", &["sources.mesos[a].guard.max_count"], &[], &[]);
}

#[test]
fn sources_are_named() {
    changes("h1", "h2", &["sources.mesos[a].masters"], &[], &["a"]);
    changes("\"one\"", "\"two\"", &["sources.mesos[a].token"], &[], &["a"]);
    changes("h1\"]", "h1\"]\ntls = {}", &["sources.mesos[a].tls"], &[], &["a"]);
    changes("name = \"f\"", "name = \"g\"", &["sources.file[f]", "sources.file[g]"], &[], &["f", "g"]);
}

const MESOS: &str = "[[sources.mesos]]\nname = \"a\"\nzone = \"a\"\n";
const MASTERS: &str = "masters = [\"h1\"]\n";
const MASTERS_TLS: &str = "masters = [\"https://h1:5050\"]\n";
const POLLED: &str = "masters = [\"h1\"]\nmode = \"state\"\n";
const ZOOKEEPER: &str = "masters = \"zk://z/mesos\"\n";
const PRINCIPAL: &str = "masters = [\"h1\"]\nprincipal = \"p\"\n";
const SECRET: &str = "masters = [\"h1\"]\nsecret = \"s\"\n";
const WITH_KEY: &str = "masters = [\"h1\"]\ntls.key = \"k.pem\"\n";
const WITH_CERTIFICATE: &str = "masters = [\"h1\"]\ntls.certificate = \"c.pem\"\n";
const MARATHON: &str = "[[sources.marathon]]\nname = \"a\"\n";
const URLS: &str = "urls = [\"https://h1:8443\"]\n";
const URLS_KEY: &str = "urls = [\"https://h1:8443\"]\ntls.key = \"k.pem\"\n";
const URLS_CERTIFICATE: &str = "urls = [\"https://h1:8443\"]\ntls.certificate = \"c.pem\"\n";
const FILE: &str = "[[sources.file]]\nname = \"a\"\n";

/// Every live setting of a source: its entry without it, and two values.
const OF_SOURCES: &[(&str, &str, &str, &str, &str)] = &[
    ("sources.mesos.masters", MESOS, "", "[\"h1\"]", "[\"h2\"]"),
    ("sources.mesos.principal", MESOS, SECRET, "\"p\"", "\"q\""),
    ("sources.mesos.secret", MESOS, PRINCIPAL, "\"s\"", "\"t\""),
    ("sources.mesos.token", MESOS, MASTERS, "\"one\"", "\"two\""),
    ("sources.mesos.service_account", MESOS, MASTERS_TLS, "\"a.json\"", "\"b.json\""),
    ("sources.mesos.zookeeper_auth", MESOS, ZOOKEEPER, "\"u:p\"", "\"u:q\""),
    ("sources.mesos.mode", MESOS, MASTERS, "\"subscribe\"", "\"state\""),
    ("sources.mesos.poll_interval", MESOS, POLLED, "\"5s\"", "\"6s\""),
    ("sources.mesos.poll_timeout", MESOS, POLLED, "\"1m\"", "\"2m\""),
    ("sources.mesos.encoding", MESOS, MASTERS, "\"protobuf\"", "\"json\""),
    ("sources.mesos.missed_heartbeats", MESOS, MASTERS, "5", "6"),
    ("sources.mesos.max_backoff", MESOS, MASTERS, "\"30s\"", "\"10s\""),
    ("sources.mesos.agents_interval", MESOS, MASTERS, "\"1m\"", "\"2m\""),
    ("sources.mesos.tls.ca", MESOS, MASTERS, "\"a.pem\"", "\"b.pem\""),
    ("sources.mesos.tls.certificate", MESOS, WITH_KEY, "\"a.pem\"", "\"b.pem\""),
    ("sources.mesos.tls.key", MESOS, WITH_CERTIFICATE, "\"a.pem\"", "\"b.pem\""),
    ("sources.mesos.tls.server_name", MESOS, MASTERS, "\"one.example\"", "\"two.example\""),
    ("sources.marathon.urls", MARATHON, "", "[\"http://h1:8080\"]", "[\"http://h2:8080\"]"),
    ("sources.marathon.credentials", MARATHON, URLS, "\"u:p\"", "\"u:q\""),
    ("sources.marathon.token", MARATHON, URLS, "\"one\"", "\"two\""),
    ("sources.marathon.service_account", MARATHON, URLS, "\"a.json\"", "\"b.json\""),
    ("sources.marathon.use_health", MARATHON, URLS, "true", "false"),
    ("sources.marathon.active_checks", MARATHON, URLS, "false", "true"),
    ("sources.marathon.resync", MARATHON, URLS, "\"5m\"", "\"6m\""),
    ("sources.marathon.max_backoff", MARATHON, URLS, "\"30s\"", "\"10s\""),
    ("sources.marathon.tls.ca", MARATHON, URLS, "\"a.pem\"", "\"b.pem\""),
    ("sources.marathon.tls.certificate", MARATHON, URLS_KEY, "\"a.pem\"", "\"b.pem\""),
    ("sources.marathon.tls.key", MARATHON, URLS_CERTIFICATE, "\"a.pem\"", "\"b.pem\""),
    ("sources.marathon.tls.server_name", MARATHON, URLS, "\"one.example\"", "\"two.example\""),
    ("sources.file.path", FILE, "", "\"f.toml\"", "\"g.toml\""),
    ("sources.file.zones", FILE, "path = \"f.toml\"\n", "[\"a.example\"]", "[\"b.example\"]"),
];

/// What the derivation alone reads: the stream goes on, and what it says is judged by the new value.
const OF_DERIVATION: &[(&str, &str, &str)] = &[
    ("sources.mesos.zone", "zone = \"a\"", "zone = \"b\""),
    ("sources.mesos.guard.max_share", "", "guard.max_share = 0.5\n"),
    ("sources.mesos.guard.max_count", "", "guard.max_count = 5\n"),
    ("sources.mesos.guard.confirm_after", "", "guard.confirm_after = \"5s\"\n"),
    ("sources.mesos.guard.give_up_after", "", "guard.give_up_after = \"5m\"\n"),
    ("sources.mesos.guard.recovered_keep", "", "guard.recovered_keep = \"5m\"\n"),
];

#[test]
fn a_source_is_opened_anew_for_each_of_its_settings() {
    for (key, entry, others, before, after) in OF_SOURCES {
        let (kind, setting) = key["sources.".len()..].split_once('.').unwrap();
        let with = |value: &str| config(&format!("{entry}{others}{setting} = {value}\n"));
        let plan = reload(&with(before), &with(after)).unwrap();
        assert_eq!(plan.live, [format!("sources.{kind}[a].{setting}")], "{key}");
        assert_eq!(plan.sources.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["a"], "{key}");
    }
}

#[test]
fn what_only_the_derivation_reads_leaves_the_stream_alone() {
    let base = format!("{MESOS}{MASTERS}");
    for (key, from, to) in OF_DERIVATION {
        let changed = if from.is_empty() { format!("{base}{to}") } else { base.replacen(from, to, 1) };
        let plan = reload(&config(&base), &config(&changed)).unwrap();
        assert_eq!(plan.live, [key.replacen("mesos", "mesos[a]", 1)], "{key}");
        assert!(plan.sources.is_empty(), "{key}: {plan:?}");
    }
}

#[test]
fn every_live_setting_of_sources_is_here() {
    let (mut section, mut live) = (String::new(), Vec::new());
    for line in pointsman::config::reference_markdown().lines() {
        if let Some(heading) = line.strip_prefix("#### `") {
            section = heading.trim_end_matches('`').trim_matches(['[', ']']).to_owned();
        }
        if let [key, _, _, "live", _] = line.split(" | ").collect::<Vec<_>>()[..]
            && section.starts_with("sources.")
        {
            live.push(format!("{section}.{}", key.trim_start_matches("| ").trim_matches('`')));
        }
    }
    // Another name is another source: `sources_are_named`.
    live.retain(|key| !key.ends_with(".name"));
    let mut here: Vec<&str> =
        OF_SOURCES.iter().map(|line| line.0).chain(OF_DERIVATION.iter().map(|line| line.0)).collect();
    live.sort_unstable();
    here.sort_unstable();
    assert_eq!(here, live);
}

#[test]
fn listeners_are_named() {
    changes(":80", ":81", &[], &["proxy.listeners[http].address"], &[]);
    changes("name = \"http\"", "name = \"web\"", &[], &["proxy.listeners[http]", "proxy.listeners[web]"], &[]);
    let to = "name = \"http\"\npairs = [{ certificate = \"/c\" }]";
    changes("name = \"http\"", to, &[], &["proxy.listeners[http].pairs[0]"], &[]);
    let with_pair = BASE.replacen("name = \"http\"", to, 1);
    let plan = reload(&config(&with_pair), &config(&with_pair.replace("\"/c\"", "\"/d\""))).unwrap();
    assert_eq!(plan.listeners, ["proxy.listeners[http].pairs[0].certificate"]);
    changes("[server]", "[dns]\nlisten = [\"127.0.0.1:53\"]\n[server]", &[], &["dns.listen"], &[]);
}

#[test]
fn what_needs_a_restart_refuses_everything() {
    let others = "workers = 3\ndrain_time = \"1m\"\n[log]\nformat = \"json\"\n[state]\npath = \"/s\"";
    let refused = plan("workers = 2", others).unwrap_err();
    let keys: Vec<&str> = refused.iter().map(|needed| needed.key.as_str()).collect();
    assert_eq!(keys, ["log.format", "server.workers", "state.path"]);
    let refused = plan("zone = \"a\"", "zone = \"a\"\ncluster = \"c\"").unwrap_err();
    assert_eq!(
        refused[0].to_string(),
        "sources.mesos[a].cluster: a change takes effect only when the program starts; restart it, or take the change \
         back"
    );
}
