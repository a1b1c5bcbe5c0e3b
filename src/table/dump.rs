//! A table as text: the same content gives the same text, byte for byte, whatever led to it.
//!
//! Generation, times and run-time state are left out: tables of two instances can be compared by it, and a test can
//! show where two differ.

use std::fmt::Write;

use super::Table;
use super::names::{Content, Names};
use crate::model::id::stable_hash;

/// Everything that answers are given from, sorted, one thing a line.
pub fn dump(table: &Table) -> String {
    let mut out = String::new();
    services(table, &mut out);
    for route in table.routes.sorted() {
        line(&mut out, format_args!("route {} → {} ({})", route.place(), route.owner, route.name));
        if let Some(actions) = &route.actions {
            line(&mut out, format_args!("   does {actions:?}"));
        }
    }
    ways(table, &mut out);
    let mut tasks: Vec<_> = table.tasks.iter().collect();
    tasks.sort_by(|a, b| a.0.cmp(b.0));
    for (key, task) in tasks {
        let facts = &task.facts;
        let agent = facts.agent.as_ref().map(|agent| agent.as_str()).unwrap_or_default();
        line(
            &mut out,
            format_args!(
                "task {key} {} {} {} agent={agent} version={} addresses={:?}",
                facts.state.as_str(),
                facts.health.as_str(),
                task.state.as_str(),
                task.version,
                task.addresses()
            ),
        );
    }
    for (subject, order) in table.drains.iter() {
        line(&mut out, format_args!("drained {subject} by {}", order.actor));
    }
    names(&table.names, &mut out);
    let mut problems: Vec<_> = table.problems.values().flat_map(|list| list.iter()).collect();
    problems.sort();
    for problem in problems {
        line(&mut out, format_args!("problem {} {} {}", problem.code.as_str(), problem.subject, problem.at));
    }
    line(&mut out, format_args!("ready {} digest {:016x}", table.ready, table.digest));
    out
}

fn ways(table: &Table, out: &mut String) {
    let mut ports: Vec<_> = table.ways.ports.iter().collect();
    ports.sort_by_key(|(port, _)| **port);
    for (port, way) in ports {
        line(out, format_args!("port {port} → {}", way.owner));
    }
    let mut apps: Vec<_> = table.ways.apps.iter().collect();
    apps.sort_by_key(|(app, _)| (*app).clone());
    for (app, way) in apps {
        line(out, format_args!("app {app} → {}", way.owner));
    }
    let mut names: Vec<_> = table.ways.names.iter().collect();
    names.sort_by_key(|(host, _)| (*host).clone());
    for (host, way) in names {
        line(out, format_args!("TLS for {host} → {}", way.owner));
    }
}

fn services(table: &Table, out: &mut String) {
    let mut services: Vec<_> = table.services.values().collect();
    services.sort_by(|a, b| a.id.cmp(&b.id));
    for service in services {
        let retained = service.empty_since.is_some();
        let ring = service.ring.as_ref().map(|ring| format!(" ring={:016x}", stable_hash(&**ring))).unwrap_or_default();
        line(
            out,
            format_args!(
                "service {} {} panic={} retained={retained}{ring}",
                service.id,
                service.protocol.as_str(),
                service.panic
            ),
        );
        for share in service.shares.iter().flat_map(|shares| shares.iter()) {
            line(out, format_args!("   version {} gets {}", share.version, share.weight));
        }
        if let Some(rules) = &service.rules {
            line(out, format_args!("   rules {rules:?}"));
        }
        for endpoint in service.endpoints.iter() {
            let kept = service.sticky.get(&endpoint.id.fingerprint()).is_some();
            let sticky = if kept { " sticky" } else { "" };
            let chosen = if service.available.get(&endpoint.id).is_some() { "*" } else { " " };
            line(
                out,
                format_args!(
                    " {chosen} {} {} {} {} weight={} version={}{sticky}",
                    endpoint.id,
                    endpoint.address,
                    endpoint.protocol.as_str(),
                    endpoint.state.as_str(),
                    endpoint.weight.0,
                    endpoint.version
                ),
            );
        }
    }
}

fn names(names: &Names, out: &mut String) {
    for zone in &names.zones {
        line(out, format_args!("zone {} ready={} content={:016x}", zone.zone.name, zone.ready, names.content(zone)));
        let Content::Cluster(names) = &zone.content else { continue };
        let mut groups: Vec<_> = names.groups.iter().collect();
        groups.sort_by(|a, b| a.0.cmp(b.0));
        for (name, group) in groups {
            let members: Vec<String> = group
                .members
                .iter()
                .map(|member| format!("{}{}", member.view.facts.key.task(), member.suffix().unwrap_or_default()))
                .collect();
            line(out, format_args!("  name {name}: {}", members.join(" ")));
        }
        for (label, key) in names.ids.sorted() {
            line(out, format_args!("  id {label}: {key}"));
        }
        let mut frameworks: Vec<_> = names.frameworks.iter().collect();
        frameworks.sort_by(|a, b| a.0.cmp(b.0));
        line(out, format_args!("  frameworks {frameworks:?} agents {:?} masters {:?}", names.agents, names.masters));
        line(out, format_args!("  above {:?}", names.parents.sorted()));
        for (address, tasks) in names.address_names.sorted() {
            let tasks: Vec<&str> = tasks.iter().map(|view| view.facts.key.task()).collect();
            line(out, format_args!("  address {address}: {}", tasks.join(" ")));
        }
        line(out, format_args!("  above addresses {:?}", names.address_names.above()));
        line(out, format_args!("  agents {:?}", names.agent_names));
        line(out, format_args!("  vips {:?} frameworks {:?}", names.vips.sorted(), names.dotted_frameworks));
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}
