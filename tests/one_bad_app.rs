//! A label that cannot be understood, among 5,000 apps: what it costs, and whom.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use common::facts::snapshot;
use common::world::{World, at, marathon, route, running};
use pointsman::table::Table;

const APPS: usize = 5000;

/// Labels that stopped marathon-lb, made its file invalid, or were obeyed although nobody should.
const POISON: &[&[(&str, &str)]] = &[
    &[("HAPROXY_0_AUTH", "only-a-realm")],
    &[("HAPROXY_0_PORT", "eighty")],
    &[("HAPROXY_0_BACKEND_WEIGHT", "heavy")],
    &[("HAPROXY_0_BACKEND_HEALTHCHECK_PORT_INDEX", "first")],
    &[("HAPROXY_0_MODE", "tcp; http")],
    &[("HAPROXY_0_PATH", "-m end .php")],
    &[("HAPROXY_0_BIND_ADDR", "eth0")],
    &[("HAPROXY_0_SSL_CERT", "/etc/ssl/sh op.pem")],
    &[("HAPROXY_0_GROUP", ",")],
    &[("HAPROXY_0_ENABLED", "perhaps")],
    &[("HAPROXY_0_HTTP_BACKEND_REVPROXY_PATH", "no-slash")],
    &[("HAPROXY_0_HTTP_BACKEND_REDIR", "no-slash")],
    &[("HAPROXY_DEPLOYMENT_GROUP", "/")],
    &[("HAPROXY_0_BACKEND_HTTP_OPTIONS", "  bind *:1 { {nonsense")],
    &[("HAPROXY_DEPLOYMENT_GROUP", ""), ("HAPROXY_DEPLOYMENT_STARTED_AT", "yesterday")],
    &[("HAPROXY_0_BACKEND_NETWORK_ALLOWED_ACL", "everybody")],
    &[("pointsman.path_regex", "(((")],
    &[("pointsman.weight", "-1"), ("pointsman.rewrite", "no-slash")],
];

fn app(number: usize, more: &[(&str, &str)]) -> pointsman::cluster::event::Fact {
    let name = format!("app-{number}");
    let host = format!("{name}.test");
    let labels = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", host.as_str())];
    let labels: Vec<_> = labels.into_iter().chain(more.iter().copied()).collect();
    running(&name, &name, 1, &labels)
}

/// Services, and routes, that are not the very same in both tables.
fn touched(before: &Table, after: &Table) -> Vec<String> {
    let mut names = Vec::new();
    for service in after.services.values() {
        if !before.service(&service.id).is_some_and(|former| Arc::ptr_eq(former, service)) {
            names.push(service.id.name().to_owned());
        }
    }
    for number in 0..APPS {
        let host = format!("app-{number}.test");
        let [was, is] = [before, after].map(|table| route(table, &host, "/").cloned());
        let is_same = match (&was, &is) {
            (Some(was), Some(is)) => Arc::ptr_eq(was, is),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            names.push(format!("app-{number}"));
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn a_bad_label_among_5000_apps_costs_its_own_app_alone() {
    let mut config = common::facts::config();
    config.routing.groups = vec!["external".into()];
    let mut world = World::with(config);
    let apps = (0..APPS).map(|number| app(number, &[]));
    world.say(snapshot(1, [at(1), marathon()].into_iter().chain(apps).collect()));
    let healthy = world.table();
    assert_eq!((healthy.services.len(), healthy.problems.iter().count()), (APPS, 0));
    for (number, labels) in POISON.iter().enumerate() {
        let (victim, bystander) = (format!("app-{number}"), format!("app-{}", number + 1000));
        let before = world.table();
        world.facts(1, vec![app(number, labels)]);
        let after = world.table();
        assert!(
            touched(&before, &after).iter().all(|name| *name == victim),
            "{labels:?}: {:?}",
            touched(&before, &after)
        );
        // It is told, and of nobody else.
        let told: Vec<_> =
            after.problems.iter().filter(|(subject, _)| !before.problems.contains_key(*subject)).collect();
        assert!(!told.is_empty(), "{labels:?} is no problem");
        let is_victims = |subject: &str| subject.split('/').any(|part| part == victim);
        assert!(told.iter().all(|(subject, _)| is_victims(subject)), "{labels:?}: {told:?}");
        // Meanwhile others change as before: nothing waits for the bad one.
        world.facts(1, vec![app(number + 1000, &[("pointsman.weight", "7")])]);
        let next = world.table();
        assert_eq!(touched(&after, &next), [bystander], "{labels:?}");
    }
}
