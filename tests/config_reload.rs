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
