//! Reads marathon-lb's labels, `HAPROXY_…`: those that carry the main case. The others are told apart: known and not
//! understood yet, text for HAProxy's file (refused), or unknown.

use std::collections::BTreeMap;

use super::complaint::{did_you_mean, nearest};
use super::keys::{Field, HAPROXY_KEYS, Haproxy, haproxy};
use super::native::{index, missing_port_mend, shared, sorted, value};
use super::path;
use super::ports::TaskPort;
use super::statements::{DEFAULT_ROUTE, Place, Said, Statements};
use super::value::{Fault, Kind, Value, list};
use super::{MAX_ROUTES, is_served};
use crate::model::problem::ProblemCode;
use crate::model::service::Protocol;
use crate::model::task::{Label, TaskDefinition};

const PREFIX: &str = "HAPROXY_";

/// The labels of one task, taken apart.
#[derive(Default)]
struct Labels<'a> {
    task: BTreeMap<&'a str, &'a Label>,
    ports: BTreeMap<usize, BTreeMap<&'a str, &'a Label>>,
}

/// Reads all labels of marathon-lb that are meant for the groups served here. Native labels are read before.
pub(super) fn read(definition: &TaskDefinition, ports: &[TaskPort], groups: &[String], statements: &mut Statements) {
    if !definition.labels.iter().any(|label| label.key.starts_with(PREFIX)) {
        return;
    }
    let labels = split(definition, statements);
    let mut any_served = false;
    for (&port, of_port) in &labels.ports {
        if !is_port_served(port, of_port, &labels, groups, statements) {
            continue;
        }
        any_served = true;
        if port < ports.len() {
            read_port(port, of_port, statements);
        } else {
            for label in of_port.values() {
                let message = format!("the task has no port {port}");
                let mend = missing_port_mend(ports);
                statements.complaints.add(ProblemCode::MissingPort, &label.key, message, mend);
            }
        }
    }
    if any_served {
        labels.task.iter().filter(|(name, _)| **name != "GROUP").for_each(|(name, label)| {
            judge(name, false, label, statements);
        });
    } else {
        complain_of_no_group(&labels, statements);
    }
}

/// Takes the labels apart. Of two with one key the first counts.
fn split<'a>(definition: &'a TaskDefinition, statements: &mut Statements) -> Labels<'a> {
    let mut out = Labels::default();
    let ours = definition.labels.iter().filter(|label| label.key.starts_with(PREFIX));
    for label in sorted(ours, &mut statements.complaints) {
        let rest = &label.key[PREFIX.len()..];
        let numbered = rest.split_once('_').and_then(|(word, name)| Some((index(word)?, name)));
        let (names, name) = match numbered {
            Some((port, name)) => (out.ports.entry(port).or_default(), name),
            None => (&mut out.task, rest),
        };
        let first = *names.entry(name).or_insert(label);
        if first.value != label.value {
            let message = "the label is there twice with different values, and the first counts";
            statements.complaints.add(ProblemCode::InvalidLabel, &label.key, message, "remove one of the two");
        }
    }
    out
}

/// Whether a port's labels are meant for us: by its own group, else the task's, else what native labels say.
fn is_port_served(
    port: usize,
    of_port: &BTreeMap<&str, &Label>,
    labels: &Labels<'_>,
    groups: &[String],
    statements: &Statements,
) -> bool {
    if let Some(label) = of_port.get("GROUP").or_else(|| labels.task.get("GROUP")) {
        return list(&label.value).is_ok_and(|said| is_served(&said, groups));
    }
    match statements.of_port(port, Field::Group).map(|said| &said.value) {
        Some(Value::List(said)) => is_served(said, groups),
        _ => matches!(statements.of_port(port, Field::Enabled), Some(Said { value: Value::Flag(true), .. })),
    }
}

/// Says why labels that make routes elsewhere make none here, unless a group says that they are meant for others.
fn complain_of_no_group(labels: &Labels<'_>, statements: &mut Statements) {
    if labels.task.contains_key("GROUP") {
        return;
    }
    let ungrouped = labels
        .ports
        .iter()
        .filter(|(port, of_port)| !of_port.contains_key("GROUP") && statements.of_port(**port, Field::Group).is_none());
    let Some(label) = ungrouped.filter_map(|(_, of_port)| of_port.get("VHOST")).next() else { return };
    let (message, mend) = (
        "the task's `HAPROXY_*` labels are not served, because it is in no group",
        "add `HAPROXY_GROUP`, for example `HAPROXY_GROUP=external`",
    );
    statements.complaints.add(ProblemCode::InvalidLabel, &label.key, message, mend);
}

fn read_port(port: usize, labels: &BTreeMap<&str, &Label>, statements: &mut Statements) {
    for (name, label) in labels {
        match haproxy(name, true) {
            Some(Haproxy::Means(Field::Enabled)) => flag(port, Field::Enabled, label, statements),
            Some(Haproxy::Means(Field::Sticky)) => flag(port, Field::Sticky, label, statements),
            Some(Haproxy::Means(Field::Protocol)) => mode(port, label, statements),
            Some(Haproxy::Means(Field::Balance)) => {
                if let Some(balance) = value(label, Kind::Balance, &mut statements.complaints) {
                    offer(Place::Port(port), Field::Balance, label, balance, statements);
                }
            }
            Some(Haproxy::Means(_)) => {}
            _ => judge(name, true, label, statements),
        }
    }
    routes(port, labels, statements);
}

/// marathon-lb's booleans are true for these words alone, and false for everything else.
fn flag(port: usize, field: Field, label: &Label, statements: &mut Statements) {
    let is_true = ["true", "t", "yes", "y"].iter().any(|word| word.eq_ignore_ascii_case(&label.value));
    offer(Place::Port(port), field, label, Value::Flag(is_true), statements);
}

fn mode(port: usize, label: &Label, statements: &mut Statements) {
    let protocol = match label.value.trim() {
        "http" => Protocol::Http,
        "tcp" => Protocol::Tcp,
        _ => {
            let fault = Fault::new("a mode is `http` or `tcp`", "write `http` or `tcp`");
            return statements.complaints.value(&label.key, &label.value, fault);
        }
    };
    offer(Place::Port(port), Field::Protocol, label, Value::Protocol(protocol), statements);
}

fn routes(port: usize, labels: &BTreeMap<&str, &Label>, statements: &mut Statements) {
    let place = || Place::Route(port, DEFAULT_ROUTE.into());
    if let Some(label) = labels.get("VHOST")
        && let Some(hosts) = value(label, Kind::Hosts, &mut statements.complaints)
    {
        offer(place(), Field::Hosts, label, hosts, statements);
    }
    let Some(label) = labels.get("PATH") else { return };
    let Some(hosts) = statements.at(place(), Field::Hosts).cloned() else {
        let message = "a path has no effect without hosts";
        let mend = format!("add `HAPROXY_{port}_VHOST`, or remove the path");
        return statements.complaints.add(ProblemCode::InvalidLabel, &label.key, message, mend);
    };
    if statements.at(place(), Field::Path).is_some() {
        return;
    }
    for (at, path) in paths(label, statements).into_iter().enumerate() {
        let name = if at == 0 { DEFAULT_ROUTE.to_owned() } else { format!("{DEFAULT_ROUTE}-{}", at + 1) };
        let place = Place::Route(port, name.into());
        statements.say_if_silent(place.clone(), Field::Hosts, hosts.clone());
        offer(place, Field::Path, label, Value::Text(path), statements);
    }
}

/// The prefixes of a `PATH` label. It goes into HAProxy's file behind `path_beg` and may hold flags: refused.
fn paths(label: &Label, statements: &mut Statements) -> Vec<std::sync::Arc<str>> {
    let mut out = Vec::new();
    for word in label.value.split_ascii_whitespace().take(MAX_ROUTES + 1) {
        let fault = match path::prefix(word) {
            Ok(path) if out.contains(&path) => continue,
            Ok(path) => {
                out.push(path);
                continue;
            }
            Err(_) if word.starts_with('-') => {
                let wrong =
                    format!("{:?} is a flag of HAProxy, and those are refused", super::value::shorten(word, 32));
                Fault::new(wrong, "write path prefixes alone, separated by spaces")
            }
            Err(error) => Fault::new(error.to_string(), error.mend()),
        };
        statements.complaints.value(&label.key, &label.value, fault);
    }
    out
}

fn offer(place: Place, field: Field, label: &Label, value: Value, statements: &mut Statements) {
    let (label, text) = shared(label);
    statements.say_if_silent(place, field, Said { value, label, text });
}

/// Says what becomes of a label that sets nothing.
fn judge(name: &str, per_port: bool, label: &Label, statements: &mut Statements) {
    let (code, message, mend) = match haproxy(name, per_port) {
        Some(Haproxy::Means(_)) => return,
        Some(Haproxy::NotYet) => (
            ProblemCode::UnsupportedLabel,
            "this label of marathon-lb is not understood yet, and has no effect",
            "remove it, or see the reference of labels for a native one".into(),
        ),
        Some(Haproxy::Raw) => (
            ProblemCode::UnsupportedLabel,
            "refused: raw HAProxy text, which this program has no use for",
            "remove it, or see the reference of labels for a native one".into(),
        ),
        None if statements.complaints.is_full() => {
            (ProblemCode::UnknownLabel, "marathon-lb has no such label", "".into())
        }
        None => (ProblemCode::UnknownLabel, "marathon-lb has no such label", unknown_mend(name, per_port, label)),
    };
    statements.complaints.add(code, &label.key, message, &*mend);
}

fn unknown_mend(name: &str, per_port: bool, label: &Label) -> std::sync::Arc<str> {
    let names = |of: bool| HAPROXY_KEYS.iter().filter(move |key| key.per_port == of).map(|key| key.name);
    let start = &label.key[..label.key.len() - name.len()];
    let same = nearest(name, names(per_port)).map(|known| format!("{start}{known}"));
    let numbered = || nearest(name, names(true)).map(|known| format!("{PREFIX}0_{known}"));
    let guess = same.or_else(|| if per_port { None } else { numbered() });
    did_you_mean(guess.as_deref(), "remove it")
}
