//! Reads the TOML file itself: pure, and with every fault at once.
//!
//! What services and endpoints say becomes native labels, and the reader of labels judges their values: a value means
//! the same in a file as on a task. Unknown keys are refused.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::contents::{DEFAULT_NAMESPACE, FileContents, StaticEndpoint, StaticService};
use super::error::{FileErrors, Place};
use super::reader::{Reader, Value, Written, find, join, plain};
use super::record::{self, InvalidRecord, Type};
use crate::cluster::event::{RecordData, StaticRecord};
use crate::config::checked::FileConfig;
use crate::labels;
use crate::model::id::ServiceId;
use crate::model::service::Protocol;
use crate::model::task::Label;

/// What the TOML file says, and the files it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Its own services and records.
    pub contents: FileContents,
    /// A file with many records.
    pub zone_file: Option<Reference>,
    /// Completes relative names in the zone file.
    pub origin: Option<String>,
    /// A file with many routes.
    pub routes_file: Option<Reference>,
    /// What the endpoints of the routes file speak.
    pub routes_protocol: Protocol,
}

/// Another file, and where it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The file; relative paths are relative to the file that names it.
    pub path: PathBuf,
    /// Where it is named.
    pub place: Place,
    /// The key that names it.
    pub key: &'static str,
}

const ROOT_KEYS: &[&str] = &["services", "records", "zone_file", "origin", "routes_file", "routes_protocol"];
const SERVICE_KEYS: &[&str] = &[
    "namespace",
    "name",
    "port",
    "protocol",
    "tls",
    "tls_server_name",
    "proxy_protocol",
    "hosts",
    "path",
    "sticky",
    "weight",
    "health_path",
    "health_check",
    "balance",
    "drain_time",
    "max_requests",
    "max_queue",
    "queue_time",
    "timeout",
    "version",
    "priority",
    "filters",
    "routes",
    "endpoints",
];
const ROUTE_KEYS: &[&str] = &[
    "name",
    "hosts",
    "host_regex",
    "path",
    "path_exact",
    "path_regex",
    "method",
    "header",
    "query",
    "cookie",
    "priority",
    "filters",
    "timeout",
    "split",
    "redirect",
    "redirect_status",
    "answer",
    "answer_body",
    "answer_type",
    "rewrite",
    "rewrite_host",
    "request_headers",
    "response_headers",
];
const ENDPOINT_KEYS: &[&str] = &["address", "weight", "version", "version_weight"];
const RECORD_KEYS: &[&str] = &["name", "type", "value", "ttl"];

/// Keys of a service and the native label each stands for.
const SERVICE_LABELS: &[(&str, &str)] = &[
    ("protocol", "pointsman.protocol"),
    ("tls", "pointsman.tls"),
    ("tls_server_name", "pointsman.tls_server_name"),
    ("proxy_protocol", "pointsman.proxy_protocol"),
    ("hosts", "pointsman.host"),
    ("path", "pointsman.path"),
    ("sticky", "pointsman.sticky"),
    ("weight", "pointsman.weight"),
    ("health_path", "pointsman.health.path"),
    ("health_check", "pointsman.health.check"),
    ("balance", "pointsman.balance"),
    ("drain_time", "pointsman.drain_time"),
    ("max_requests", "pointsman.max_requests"),
    ("max_queue", "pointsman.max_queue"),
    ("queue_time", "pointsman.queue_time"),
    ("timeout", "pointsman.timeout"),
    ("version", "pointsman.version"),
    ("priority", "pointsman.priority"),
    ("filters", "pointsman.filters"),
];
const ENDPOINT_LABELS: &[(&str, &str)] =
    &[("weight", "pointsman.weight"), ("version", "pointsman.version"), ("version_weight", "pointsman.version_weight")];

/// Reads the text of a file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(text: &str, path: &Path, source: &FileConfig) -> Result<Document, FileErrors> {
    let mut reader = Reader::new(text, path, source);
    let (root, faults) = DeTable::parse_recoverable(text);
    for fault in faults {
        let place = reader.place(fault.span().unwrap_or_default().start);
        reader.errors.add(place, "", fault.message(), "write valid TOML; see https://toml.io");
    }
    // What syntax faults leave is guesswork: faults of content would mislead.
    if reader.errors.is_empty() {
        let document = reader.root(root.get_ref());
        if reader.errors.is_empty() {
            return Ok(document);
        }
    }
    reader.errors.sort();
    Err(reader.errors)
}

/// What each table of the file says.
impl Reader<'_> {
    fn root(&mut self, root: &DeTable<'_>) -> Document {
        self.refuse_unknown(root, "", ROOT_KEYS);
        let mut document = Document {
            contents: FileContents::default(),
            zone_file: self.reference(root, "zone_file"),
            origin: self.origin(root),
            routes_file: self.reference(root, "routes_file"),
            routes_protocol: self.routes_protocol(root),
        };
        for (key, table, span) in self.tables(root, "", "services") {
            if let Some(service) = self.service(&key, table, span) {
                document.contents.services.push(service);
            }
        }
        for (key, table, span) in self.tables(root, "", "records") {
            if let Some(record) = self.record(&key, table, span) {
                document.contents.records.push(record);
            }
        }
        document
    }

    fn origin(&mut self, root: &DeTable<'_>) -> Option<String> {
        let (value, text) = self.string(root, "", "origin")?;
        let read = record::name(&absolute(&text), None);
        read.map_err(|error| self.fault(value.span(), "origin", error.to_string(), error.mend())).ok()
    }

    fn routes_protocol(&mut self, root: &DeTable<'_>) -> Protocol {
        let Some((value, text)) = self.string(root, "", "routes_protocol") else { return Protocol::default() };
        let found = Protocol::ALL.into_iter().find(|protocol| protocol.is_http() && protocol.as_str() == text);
        found.unwrap_or_else(|| {
            let message = format!("{:?} is no protocol for routes", record::clip(&text));
            self.fault(value.span(), "routes_protocol", message, "write `http`, `https`, `h2c` or `h2`");
            Protocol::default()
        })
    }

    fn reference(&mut self, root: &DeTable<'_>, key: &'static str) -> Option<Reference> {
        let (value, text) = self.string(root, "", key)?;
        let folder = self.path.parent().unwrap_or(Path::new(""));
        Some(Reference { path: folder.join(text), place: self.place(value.span().start), key })
    }

    fn service(&mut self, at: &str, table: &DeTable<'_>, span: Range<usize>) -> Option<StaticService> {
        self.refuse_unknown(table, at, SERVICE_KEYS);
        let mut written = Written::default();
        let has_hosts = find(table, "hosts").is_some();
        for (key, name) in SERVICE_LABELS.iter().filter(|(key, _)| has_hosts || *key != "path") {
            self.write(&mut written, table, at, key, name);
        }
        if let Some(path) = find(table, "path").filter(|_| !has_hosts) {
            self.fault(path.span(), &join(at, "path"), "a path has no effect without hosts", "add `hosts`");
        }
        self.routes(&mut written, at, table, has_hosts);
        let label_count = written.labels.len();
        for (key, name) in [("name", "pointsman.service"), ("namespace", "pointsman.namespace")] {
            self.write(&mut written, table, at, key, name);
        }
        let name = self.required(table, at, "name", span.clone(), "name the service");
        let port = self.port(table, at);
        let reading = labels::read_declared(&written.labels, &port, &[]);
        self.judge(&reading.problems, &written);
        written.labels.truncate(label_count);
        let namespace = self.string(table, at, "namespace").map_or(DEFAULT_NAMESPACE.to_owned(), |(_, text)| text);
        let protocol = reading.spec.ports.first().and_then(|port| port.protocol).unwrap_or_default();
        let endpoints = self.endpoints(table, at, &port);
        let id = ServiceId::new(self.source.name.as_str().into(), namespace, name?, port);
        self.refuse_twin(&id, at, span);
        Some(StaticService { id, protocol, labels: written.labels.into(), endpoints })
    }

    fn refuse_twin(&mut self, id: &ServiceId, at: &str, span: Range<usize>) {
        if let Some(first) = self.services.get(id) {
            let message = format!("the service {id} is there already, in line {}", self.place(*first).line);
            self.fault(span, at, message, "give it another name, port or namespace, or join the two");
        } else {
            self.services.insert(id.clone(), span.start);
        }
    }

    fn port(&mut self, table: &DeTable<'_>, at: &str) -> String {
        let Some(value) = find(table, "port") else { return "0".to_owned() };
        let text = plain(value.get_ref()).unwrap_or_default();
        let is_good = (1..=63).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if is_good {
            return text;
        }
        let mend = "write a name such as \"http\"; the number belongs to the endpoints' addresses";
        self.fault(value.span(), &join(at, "port"), "it is no name of a port", mend);
        "0".to_owned()
    }

    fn routes(&mut self, written: &mut Written, at: &str, table: &DeTable<'_>, has_default: bool) {
        let mut names: Vec<String> = Vec::new();
        for (index, (key, route, span)) in self.tables(table, at, "routes").into_iter().enumerate() {
            self.refuse_unknown(route, &key, ROUTE_KEYS);
            let named = self.string(route, &key, "name").map(|(_, text)| text);
            let name = named.unwrap_or_else(|| match index {
                0 if !has_default => "default".to_owned(),
                _ => format!("default-{}", index + 1),
            });
            let is_name = (1..=63).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_name || names.contains(&name) || (has_default && name == "default") {
                let mend = "give each route of a service another name, of 1 to 63 visible characters";
                self.fault(span.clone(), &key, format!("the route's name {name:?} is taken or no name"), mend);
                continue;
            }
            if find(route, "hosts").or_else(|| find(route, "host_regex")).is_none() {
                self.fault(span, &key, "the route has no hosts", "add `hosts` (`[\"*\"]` for every host)");
                continue;
            }
            for word in ROUTE_KEYS.iter().filter(|word| **word != "name") {
                let label = if *word == "hosts" { "host" } else { *word };
                self.write(written, route, &key, word, &format!("pointsman.route.{name}.{label}"));
            }
            names.push(name);
        }
    }

    fn endpoints(&mut self, table: &DeTable<'_>, at: &str, port: &str) -> Vec<StaticEndpoint> {
        let mut out = Vec::new();
        let mut known: HashSet<SocketAddr> = HashSet::new();
        for (key, value) in self.items(table, at, "endpoints") {
            let Some((address, labels)) = self.endpoint(&key, value, port) else { continue };
            if !known.insert(address) {
                self.fault(
                    value.span(),
                    &key,
                    format!("the address {address} is there twice"),
                    "remove one of the two",
                );
                continue;
            }
            out.push(StaticEndpoint { address, labels });
        }
        out
    }

    /// An endpoint: `"10.0.0.1:8080"`, or a table with more to say.
    fn endpoint(&mut self, key: &str, value: &Value<'_>, port: &str) -> Option<(SocketAddr, Vec<Label>)> {
        let mut written = Written::default();
        let (text, span) = match value.get_ref() {
            DeValue::String(text) => (text.clone().into_owned(), value.span()),
            DeValue::Table(table) => {
                self.refuse_unknown(table, key, ENDPOINT_KEYS);
                for (name, label) in ENDPOINT_LABELS {
                    self.write(&mut written, table, key, name, label);
                }
                let problems = labels::read_declared(&written.labels, port, &[]).problems;
                self.judge(&problems, &written);
                let text = self.required(table, key, "address", value.span(), "add `address = \"10.0.0.1:8080\"`")?;
                (text, find(table, "address").map_or(value.span(), Spanned::span))
            }
            other => {
                self.wrong_type(value.span(), key, other, "an address or a table");
                return None;
            }
        };
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Some((address, written.labels)),
            _ => {
                let mend = "write an IP address and a port: \"10.0.0.1:8080\" or \"[fd00::1]:8080\"";
                self.fault(span, key, format!("{:?} is no address with a port", record::clip(&text)), mend);
                None
            }
        }
    }

    fn record(&mut self, at: &str, table: &DeTable<'_>, span: Range<usize>) -> Option<StaticRecord> {
        self.refuse_unknown(table, at, RECORD_KEYS);
        let name = self.required(table, at, "name", span.clone(), "name the record's owner");
        let kind = self.required(table, at, "type", span.clone(), "add `type = \"A\"`");
        let value = self.required(table, at, "value", span.clone(), "add what the record says");
        let ttl = self.ttl(table, at);
        let (name, kind, value) = (name?, kind?, value?);
        let source = self.source;
        let mut check = |key: &str, error: InvalidRecord| {
            let span = find(table, key).map_or(span.clone(), Spanned::span);
            self.fault(span, &join(at, key), error.to_string(), error.mend());
        };
        let owner = record::name(&absolute(&name), None);
        let parsed = Type::parse(&kind);
        // Where a name lies is told before what is said of it.
        let owned = parsed.unwrap_or(Type::A);
        let owner = owner.and_then(|name| record::check_owner(owned, &name, &source.zones).map(|()| name));
        let owner = owner.map_err(|error| check("name", error)).ok()?;
        let kind = parsed.ok_or_else(|| check("type", InvalidRecord::Type(record::clip(&kind)))).ok()?;
        let data = record_data(kind, &value).map_err(|error| check("value", error)).ok()?;
        Some(StaticRecord { name: owner.into(), data, ttl: ttl? })
    }

    /// A record's time to live; the outer `None` is a fault that has been told.
    fn ttl(&mut self, table: &DeTable<'_>, at: &str) -> Option<Option<u32>> {
        let Some(value) = find(table, "ttl") else { return Some(None) };
        let text = plain(value.get_ref()).unwrap_or_default();
        match record::ttl(&text) {
            Ok(ttl) => Some(Some(ttl)),
            Err(error) => {
                self.fault(value.span(), &join(at, "ttl"), error.to_string(), error.mend());
                None
            }
        }
    }
}

/// A name as written, made absolute: names in the file are, with or without the final dot.
fn absolute(text: &str) -> String {
    format!("{}.", text.strip_suffix('.').unwrap_or(text))
}

fn record_data(kind: Type, value: &str) -> Result<RecordData, InvalidRecord> {
    if kind == Type::Txt {
        return record::data(kind, &pieces(value), None);
    }
    let mut fields: Vec<String> = value.split_ascii_whitespace().map(str::to_owned).collect();
    if let (Type::Cname | Type::Srv | Type::Ptr | Type::Mx | Type::Ns, Some(target)) = (kind, fields.last_mut()) {
        *target = absolute(target);
    }
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    record::data(kind, &fields, None)
}

/// A text in strings of at most 255 bytes, each whole characters.
fn pieces(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while rest.len() > 255 {
        let end = (0..=255).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(255);
        let (piece, after) = rest.split_at(end);
        out.push(piece);
        rest = after;
    }
    out.push(rest);
    out
}
