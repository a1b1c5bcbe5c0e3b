//! Reads marathon-lb's labels, `HAPROXY_…`: those that carry the main case. The others are told apart: known and not
//! understood yet, text for HAProxy's file (refused), or unknown.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::complaint::{did_you_mean, nearest};
use super::host::HostPattern;
use super::keys::{Field, HAPROXY_KEYS, Haproxy, haproxy};
use super::native::{index, missing_port_mend, shared, sorted, value};
use super::ports::TaskPort;
use super::statements::{DEFAULT_ROUTE, Place, Said, Statements, default_route};
use super::value::{Fault, Kind, Value, list};
use super::{Scope, is_served, keys, paths, serves_all};
use crate::model::app;
use crate::model::problem::ProblemCode;
use crate::model::service::Protocol;
use crate::model::task::{Checked, Label, NetworkMode, TaskDefinition};

const PREFIX: &str = "HAPROXY_";

/// The labels of one task, taken apart.
#[derive(Default)]
struct Labels<'a> {
    task: BTreeMap<&'a str, &'a Label>,
    ports: BTreeMap<usize, BTreeMap<&'a str, &'a Label>>,
}

/// Reads all labels of marathon-lb that are meant for the groups served here. Native labels are read before.
pub(super) fn read(definition: &TaskDefinition, ports: &[TaskPort], scope: &Scope<'_>, statements: &mut Statements) {
    if !definition.labels.iter().any(|label| label.key.starts_with(PREFIX)) {
        if serves_all(scope.groups) && !scope.strict {
            unlabelled(ports, definition, statements);
        }
        return;
    }
    let mut labels = split(definition, statements);
    if labels.task.contains_key("GROUP") || serves_all(scope.groups) {
        // The group selects every port of the task, whether or not a label speaks of it.
        for port in 0..ports.len() {
            labels.ports.entry(port).or_default();
        }
    }
    let mut any_served = false;
    for (&port, of_port) in &labels.ports {
        if !is_port_served(port, of_port, &labels, scope.groups, statements) {
            continue;
        }
        any_served = true;
        if port < ports.len() {
            read_port(port, of_port, definition, statements);
            by_default(&ports[port], of_port, definition, scope.strict, statements);
        } else {
            for label in of_port.values() {
                let message = format!("the task has no port {port}");
                let mend = missing_port_mend(ports);
                statements.complaints.add(ProblemCode::MissingPort, &label.key, message, mend);
            }
        }
    }
    if any_served {
        deploy(&labels.task, statements);
        labels.task.iter().filter(|(name, _)| **name != "GROUP").for_each(|(name, label)| {
            judge(name, false, label, statements);
        });
    } else {
        complain_of_no_group(&labels, statements);
    }
}

/// An app without a label of marathon-lb's, where all are served: its ports have their service ports. Where it has none,
/// nothing of marathon-lb's is said of it.
fn unlabelled(ports: &[TaskPort], definition: &TaskDefinition, statements: &mut Statements) {
    for port in ports.iter().filter(|port| service_port(port, definition).is_some()) {
        by_default(port, &BTreeMap::new(), definition, false, statements);
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
    statements: &mut Statements,
) -> bool {
    if let Some(label) = of_port.get("GROUP").or_else(|| labels.task.get("GROUP")) {
        let said = list(&label.value).unwrap_or_else(|fault| {
            statements.complaints.value(&label.key, &label.value, fault);
            Vec::new()
        });
        return serves_all(groups) || (!said.is_empty() && is_served(&said, groups));
    }
    match statements.of_port(port, Field::Group).map(|said| &said.value) {
        Some(Value::List(said)) => is_served(said, groups),
        _ if serves_all(groups) => true,
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

fn read_port(port: usize, labels: &BTreeMap<&str, &Label>, definition: &TaskDefinition, statements: &mut Statements) {
    for (name, label) in labels {
        match haproxy(name, true) {
            Some(Haproxy::Means(field @ (Field::Enabled | Field::Sticky | Field::HttpsRedirect | Field::Hsts))) => {
                flag(port, field, label, statements)
            }
            Some(Haproxy::Means(Field::Protocol)) => mode(port, label, statements),
            Some(Haproxy::Means(Field::Balance)) => {
                if let Some(balance) = value(label, Kind::Balance, &mut statements.complaints) {
                    offer(Place::Port(port), Field::Balance, label, balance, statements);
                }
            }
            Some(Haproxy::Means(Field::Certificate)) => certificate(port, label, statements),
            Some(Haproxy::Means(field)) => typed(port, field, label, statements),
            _ => judge(name, true, label, statements),
        }
    }
    routes(port, labels, definition, statements);
}

/// What the labels of zdd say of the app. Without a group it is alone, and they mean nothing.
fn deploy(labels: &BTreeMap<&str, &Label>, statements: &mut Statements) {
    let Some(group) = labels.get("DEPLOYMENT_GROUP") else { return };
    let Some((id, name)) = deployment_group(group, statements) else { return };
    offer(Place::Task, Field::Service, group, name, statements);
    offer(Place::Task, Field::DeployGroup, group, Value::Text(id), statements);
    for (name, label) in labels {
        let (field, kind) = match haproxy(name, false) {
            Some(Haproxy::Means(Field::Version)) => (Field::Version, Kind::Version),
            Some(Haproxy::Means(field @ Field::DeployStarted)) => (field, Kind::Moment),
            Some(Haproxy::Means(field @ (Field::DeployTarget | Field::DeployNew))) => (field, Kind::Weight),
            _ => continue,
        };
        let Some(value) = value(label, kind, &mut statements.complaints) else { continue };
        if field == Field::Version {
            // Both colours may well have one label `version`, which is no label of ours.
            statements.unsay(&Place::Task, field, "version");
        }
        offer(Place::Task, field, label, value, statements);
    }
}

/// A deployment group as the id of the app that it stands for, with or without the slash in front, and as the name of its
/// service, which is made of it as of every app's id.
fn deployment_group(label: &Label, statements: &mut Statements) -> Option<(Arc<str>, Value)> {
    let text = label.value.trim();
    // What is made of nothing but slashes is as empty as nothing.
    let named = Label { key: label.key.clone(), value: app::name_of(text) };
    let name = value(&named, Kind::Name, &mut statements.complaints)?;
    Some((app::id_of(text)?, name))
}

/// marathon-lb's booleans are true for these words alone, and false for everything else.
fn flag(port: usize, field: Field, label: &Label, statements: &mut Statements) {
    let is_one_of = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(&label.value));
    let is_true = is_one_of(&["true", "t", "yes", "y"]);
    if !is_true && !is_one_of(&["false", "f", "no", "n", "off", "0", ""]) {
        let fault = Fault::new("it is none of `true`, `t`, `yes`, `y`, and counts as false", "write `true` or `false`");
        statements.complaints.value(&label.key, &label.value, fault);
    }
    offer(Place::Port(port), field, label, Value::Flag(is_true), statements);
}

/// A label whose value is written like that of a native key.
fn typed(port: usize, field: Field, label: &Label, statements: &mut Statements) {
    let kind = match field {
        Field::Listen => Kind::Number,
        Field::ListenAddress => Kind::Address,
        Field::Auth => Kind::Auth,
        Field::Networks => Kind::Networks,
        Field::StripPath => Kind::Prefix,
        Field::RewriteLocation | Field::RootRedirect => Kind::Target,
        Field::Priority => Kind::Priority,
        Field::HealthPort => Kind::Index,
        // Groups and routes are read apart.
        _ => return,
    };
    if let Some(value) = value(label, kind, &mut statements.complaints) {
        offer(Place::Port(port), field, label, value, statements);
    }
}

/// A path into the balancer's container there, a name in a folder of ours here: of a path the file's name counts, without
/// its ending, so that a tenant names no files of this host.
fn certificate(port: usize, label: &Label, statements: &mut Statements) {
    let first = label.value.split(',').next().unwrap_or_default().trim();
    let file = first.rsplit('/').next().unwrap_or_default();
    let name = file.strip_suffix(".pem").or_else(|| file.strip_suffix(".crt")).unwrap_or(file);
    let named = Label { key: label.key.clone(), value: name.into() };
    if let Some(value) = value(&named, Kind::Certificate, &mut statements.complaints) {
        offer(Place::Port(port), Field::Certificate, label, value, statements);
    }
}

/// What holds for a port of whose labels none says it: in strict mode it is off, without hosts it speaks TCP unless
/// its health check speaks HTTP, and it is listened for on its service port.
fn by_default(
    port: &TaskPort,
    labels: &BTreeMap<&str, &Label>,
    definition: &TaskDefinition,
    strict: bool,
    statements: &mut Statements,
) {
    let app = definition.app.as_deref();
    if strict {
        offer_default(port, Field::Enabled, Value::Flag(false), statements);
    }
    if let Some(listen) = service_port(port, definition) {
        offer_default(port, Field::Listen, listen, statements);
    }
    let checked = |index: usize| app.and_then(|app| app.checked.get(index).copied()).unwrap_or_default();
    let other = || match statements.of_port(port.index, Field::HealthPort) {
        Some(Said { value: Value::Number(other), .. }) => checked(usize::from(*other)),
        _ => Checked::No,
    };
    // Another port's check counts where the port has none, and speaks for HTTP in whichever way it is made.
    let is_checked_by_http = match checked(port.index) {
        Checked::No => matches!(other(), Checked::Http | Checked::OtherHttp),
        own => own == Checked::Http,
    };
    let has_hosts = labels.contains_key("VHOST") || !statements.routes(port.index).is_empty();
    if port.transports.tcp && !is_checked_by_http && !has_hosts {
        offer_default(port, Field::Protocol, Value::Protocol(Protocol::Tcp), statements);
    }
}

/// The service port that Marathon gave a port, where it is one to be listened on. Where it gave none and tasks have
/// addresses of their own, one is to be assigned.
fn service_port(port: &TaskPort, definition: &TaskDefinition) -> Option<Value> {
    let number = definition.app.as_deref()?.service_ports.get(port.index).copied().filter(|_| port.transports.tcp)?;
    match number {
        0 => (definition.network == NetworkMode::Container).then_some(Value::Assigned),
        number => Some(Value::Number(number)),
    }
}

fn offer_default(port: &TaskPort, field: Field, value: Value, statements: &mut Statements) {
    if statements.of_port(port.index, field).is_none() {
        let said = Said { value, label: "HAPROXY_GROUP".into(), text: "".into() };
        statements.say_if_silent(Place::Port(port.index), field, said);
    }
}

fn mode(port: usize, label: &Label, statements: &mut Statements) {
    // marathon-lb reads it in lower case.
    let protocol = match &*label.value.trim().to_ascii_lowercase() {
        "http" => Protocol::Http,
        "tcp" => Protocol::Tcp,
        _ => {
            let fault = Fault::new("a mode is `http` or `tcp`", "write `http` or `tcp`");
            return statements.complaints.value(&label.key, &label.value, fault);
        }
    };
    offer(Place::Port(port), Field::Protocol, label, Value::Protocol(protocol), statements);
}

fn routes(port: usize, labels: &BTreeMap<&str, &Label>, definition: &TaskDefinition, statements: &mut Statements) {
    let place = || Place::Route(port, default_route());
    if let Some(label) = labels.get("VHOST")
        && let Some(hosts) = value(label, Kind::Hosts, &mut statements.complaints)
    {
        offer(place(), Field::Hosts, label, hosts, statements);
    }
    let Some(label) = labels.get("PATH") else { return };
    let hosts = statements.at(place(), Field::Hosts).cloned().or_else(|| every_host(label, definition));
    let Some(hosts) = hosts else {
        let message = "a path has no effect without hosts";
        let mend = format!("add `HAPROXY_{port}_VHOST`, or remove the path");
        return statements.complaints.add(ProblemCode::InvalidLabel, &label.key, message, mend);
    };
    if statements.at(place(), Field::Path).is_some() {
        return;
    }
    let read = paths::read(label, &mut statements.complaints);
    if read.is_empty() && !label.value.trim().is_empty() {
        // What was meant to narrow the route and cannot be understood makes none.
        return offer(place(), Field::Path, label, Value::Nothing, statements);
    }
    for (at, (field, path)) in read.into_iter().enumerate() {
        let name = if at == 0 { default_route() } else { format!("{DEFAULT_ROUTE}-{}", at + 1).into() };
        let place = Place::Route(port, name);
        statements.say_if_silent(place.clone(), Field::Hosts, hosts.clone());
        offer(place, field, label, path, statements);
    }
}

/// A path without a host is had by every host that nobody claims. Where hosts are written in any way, and be it one that
/// cannot be read, it is not: it would be had by more than was meant.
fn every_host(label: &Label, definition: &TaskDefinition) -> Option<Said> {
    let of_ports = definition.discovery.iter().flat_map(|discovery| &discovery.ports).flat_map(|port| &port.labels);
    let names_hosts = |label: &Label| {
        let key = label.key.to_ascii_lowercase();
        ["host", "hosts", "host_regex"].iter().any(|word| key.ends_with(word))
            && (key.starts_with(keys::PREFIX) || label.key.starts_with(PREFIX))
    };
    if label.value.trim().is_empty() || definition.labels.iter().chain(of_ports).any(names_hosts) {
        return None;
    }
    let (label, text) = shared(label);
    Some(Said { value: Value::Hosts(vec![HostPattern::Any]), label, text })
}

fn offer(place: Place, field: Field, label: &Label, value: Value, statements: &mut Statements) {
    let (label, text) = shared(label);
    statements.say_if_silent(place, field, Said { value, label, text });
}

/// Says what becomes of a label that sets nothing.
fn judge(name: &str, per_port: bool, label: &Label, statements: &mut Statements) {
    let (code, message, mend) = match haproxy(name, per_port) {
        Some(Haproxy::Means(_) | Haproxy::Ignored) => return,
        Some(Haproxy::Raw) => (
            ProblemCode::UnsupportedLabel,
            "refused: raw HAProxy text, which this program has no use for",
            structured(name),
        ),
        None if statements.complaints.is_full() => {
            (ProblemCode::UnknownLabel, "marathon-lb has no such label", "".into())
        }
        None => (ProblemCode::UnknownLabel, "marathon-lb has no such label", unknown_mend(name, per_port, label)),
    };
    statements.complaints.add(code, &label.key, message, &*mend);
}

/// What does in a structured way what a template label was used for. In this order: a front-end's template for paths and
/// passwords is about routes, and needs both.
fn structured(name: &str) -> Arc<str> {
    let has = |word: &str| name.contains(word);
    let instead = match () {
        () if has("FRONTEND_APPID") => "send `X-Marathon-App-Id` to a listener with `route_by = \"app-id\"`",
        () if has("FRONTEND_") && has("AUTH") && has("PATH") => {
            "use `HAPROXY_{n}_VHOST`, `HAPROXY_{n}_PATH` and `HAPROXY_{n}_AUTH`"
        }
        () if has("FRONTEND_") && has("AUTH") => "use `HAPROXY_{n}_VHOST` and `HAPROXY_{n}_AUTH`",
        () if has("FRONTEND_") && has("PATH") => "use `HAPROXY_{n}_VHOST` and `HAPROXY_{n}_PATH`",
        () if has("HTTP_FRONTEND_") || has("HTTPS_FRONTEND_") => {
            "use `HAPROXY_{n}_VHOST`, or `pointsman.{port}.route.{name}.host` with `header`, `query` or `cookie`"
        }
        () if has("FRONTEND_BACKEND_GLUE") => "nothing is needed: a service's port leads to its tasks by itself",
        () if has("FRONTEND_HEAD") || has("BIND") => {
            "use `HAPROXY_{n}_PORT`, `HAPROXY_{n}_BIND_ADDR` and `HAPROXY_{n}_SSL_CERT`"
        }
        () if has("USERLIST") => "use `HAPROXY_{n}_AUTH`",
        () if has("BACKEND_HEAD") => "use `HAPROXY_{n}_BALANCE` and `HAPROXY_{n}_MODE`",
        () if has("REDIRECT") => "use `HAPROXY_{n}_REDIRECT_TO_HTTPS`",
        () if has("HSTS") => "use `HAPROXY_{n}_USE_HSTS`",
        () if has("STICKY") => "use `HAPROXY_{n}_STICKY`",
        () if has("HEALTHCHECK") => {
            "let the app's health check say it, or `pointsman.{port}.health.path` and `pointsman.{port}.health.check`"
        }
        () if has("PROXYPASS") => "use `HAPROXY_{n}_HTTP_BACKEND_PROXYPASS_PATH`",
        () if has("REVPROXY") => "use `HAPROXY_{n}_HTTP_BACKEND_REVPROXY_PATH`",
        () if has("NETWORK_ALLOWED") => "use `HAPROXY_{n}_BACKEND_NETWORK_ALLOWED_ACL`",
        () if has("SERVER_OPTIONS") => {
            "for TLS to the task use `pointsman.{port}.protocol=https` with `pointsman.{port}.tls`, for `send-proxy` \
             `pointsman.{port}.proxy_protocol`, for `maxconn` `pointsman.{port}.max_requests`"
        }
        () if has("HTTP_OPTIONS") => {
            "`X-Forwarded-For`, `-Port` and `-Proto` are sent by themselves; for others use \
             `pointsman.{port}.request_headers`, `pointsman.{port}.response_headers` and `pointsman.{port}.timeout`"
        }
        () => "see the reference of labels for a native one",
    };
    format!("{instead}, and remove it").into()
}

fn unknown_mend(name: &str, per_port: bool, label: &Label) -> Arc<str> {
    let names = |of: bool| HAPROXY_KEYS.iter().filter(move |key| key.per_port == of).map(|key| key.name);
    let start = &label.key[..label.key.len() - name.len()];
    let same = nearest(name, names(per_port)).map(|known| format!("{start}{known}"));
    let numbered = || nearest(name, names(true)).map(|known| format!("{PREFIX}0_{known}"));
    let guess = same.or_else(|| if per_port { None } else { numbered() });
    did_you_mean(guess.as_deref(), "remove it")
}
