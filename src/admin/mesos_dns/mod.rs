//! The HTTP API of Mesos-DNS on a port of its own: the same paths, the same JSON, the same answers for unknown names.
//!
//! Pure: a table and a path give an answer. What differs on purpose: secrets are hidden in `/v1/config`, and before the
//! source has spoken the answer is 503 (Mesos-DNS does not listen then).

mod config;
mod enumerate;
mod json;
mod transfer;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Serialize;

use super::query::decode;
use super::reply::Reply;
use crate::cluster::event::RecordData;
use crate::config::checked::MesosConfig;
use crate::dns::transport::bind::own_addresses;
use crate::table::Table;
use crate::table::names::Found;

/// Answers one request.
pub(crate) fn answer(table: &Table, method: &Method, path: &str) -> Reply {
    let Some(mesos) = table.config.mesos.first() else {
        return text(StatusCode::NOT_FOUND, "404: Page Not Found");
    };
    let api = Api { table, mesos };
    let Some(call) = Call::parse(path).filter(|call| api.has(call)) else {
        return text(StatusCode::NOT_FOUND, "404: Page Not Found");
    };
    if method != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    }
    if table.names.cluster(&mesos.zone).is_none() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the masters have not been read yet");
    }
    match call {
        Call::Version => json(&Version {
            service: "Mesos-DNS",
            url: "https://github.com/mesosphere/mesos-dns",
            version: concat!("pointsman-", env!("CARGO_PKG_VERSION")),
        }),
        Call::Config => json(&config::document(&api)),
        Call::Host(name) => json(&api.hosts(&name)),
        Call::Ports => text(StatusCode::NOT_IMPLEMENTED, "To be implemented..."),
        Call::Service(name) => json(&api.services(&name)),
        Call::Enumerate => json(&enumerate::document(&api)),
        Call::Transfer => json(&transfer::document(&api)),
    }
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Version,
    Config,
    Host(String),
    Ports,
    Service(String),
    Enumerate,
    Transfer,
}

impl Call {
    fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix("/v1/")?.split('/').collect();
        Some(match parts[..] {
            ["version"] => Self::Version,
            ["config"] => Self::Config,
            ["enumerate"] => Self::Enumerate,
            ["axfr"] => Self::Transfer,
            ["hosts", name] if !name.is_empty() => Self::Host(decode(name).ok()?),
            ["hosts", name, "ports"] if !name.is_empty() => Self::Ports,
            ["services", name] if !name.is_empty() => Self::Service(decode(name).ok()?),
            _ => return None,
        })
    }
}

/// What answers are made from.
struct Api<'a> {
    table: &'a Table,
    mesos: &'a MesosConfig,
}

#[derive(Serialize)]
struct Version {
    #[serde(rename = "Service")]
    service: &'static str,
    #[serde(rename = "URL")]
    url: &'static str,
    #[serde(rename = "Version")]
    version: &'static str,
}

#[derive(Default, Serialize)]
struct Host {
    host: String,
    ip: String,
}

#[derive(Default, Serialize)]
struct Service {
    service: String,
    host: String,
    ip: String,
    port: String,
}

impl Api<'_> {
    fn has(&self, call: &Call) -> bool {
        !matches!(call, Call::Enumerate | Call::Transfer) || self.table.config.admin.mesos_dns_enumeration
    }

    fn hosts(&self, name: &str) -> Vec<Host> {
        let name = clean(name);
        let addresses = self.records(&name).into_iter().filter_map(|data| address(&data));
        let mut hosts: Vec<Host> = addresses.map(|ip| Host { host: format!("{name}."), ip }).collect();
        if hosts.is_empty() {
            hosts.push(Host::default());
        }
        hosts
    }

    fn services(&self, asked: &str) -> Vec<Service> {
        let mut services = Vec::new();
        for data in self.records(&clean(asked)) {
            let RecordData::Srv { port, target, .. } = data else { continue };
            let addresses = self.records(&target);
            let first = |is_wanted: fn(&RecordData) -> bool| addresses.iter().find(|data| is_wanted(data));
            let both = [first(|d| matches!(d, RecordData::A(_))), first(|d| matches!(d, RecordData::Aaaa(_)))];
            services.extend(both.into_iter().flatten().filter_map(address).map(|ip| Service {
                service: asked.to_owned(),
                host: format!("{target}."),
                ip,
                port: port.to_string(),
            }));
        }
        if services.is_empty() {
            services.push(Service::default());
        }
        services
    }

    /// The records of an absolute name without its final dot; in random order, as Go's maps have it.
    fn records(&self, name: &str) -> Vec<RecordData> {
        if name == self.nameserver() {
            return self.nameserver_addresses();
        }
        let mut records: Vec<RecordData> = match self.table.names.find(name) {
            Found::Node(zone, node) if zone.name == self.mesos.zone => {
                node.records.into_vec().into_iter().map(|record| record.data).collect()
            }
            _ => Vec::new(),
        };
        fastrand::shuffle(&mut records);
        records
    }

    /// The name server's absolute name, without the final dot.
    fn nameserver(&self) -> String {
        absolute(&self.table.config.dns.nameserver, &self.mesos.zone)
    }

    fn nameserver_addresses(&self) -> Vec<RecordData> {
        let dns = &self.table.config.dns;
        let own = if dns.nameserver_addresses.is_empty() {
            own_addresses(&dns.listen)
        } else {
            dns.nameserver_addresses.clone()
        };
        own.into_iter().map(RecordData::from).collect()
    }
}

/// A setting's name, absolute, without the final dot.
fn absolute(name: &str, zone: &str) -> String {
    name.strip_suffix('.').map_or_else(|| format!("{name}.{zone}"), str::to_owned)
}

/// A name as Mesos-DNS looks for it: lower case, every `.*` taken out; here without the final dot.
fn clean(name: &str) -> String {
    let name = name.replace(".*", "").to_lowercase();
    name.strip_suffix('.').map_or(name.clone(), str::to_owned)
}

fn address(data: &RecordData) -> Option<String> {
    match data {
        RecordData::A(ip) => Some(ip.to_string()),
        RecordData::Aaaa(ip) => Some(ip.to_string()),
        _ => None,
    }
}

/// What Mesos-DNS keeps as a record's value.
fn value(data: &RecordData) -> Option<(&'static str, String)> {
    match data {
        RecordData::A(ip) => Some(("A", ip.to_string())),
        RecordData::Aaaa(ip) => Some(("AAAA", ip.to_string())),
        RecordData::Srv { port, target, .. } => Some(("SRV", format!("{target}.:{port}"))),
        _ => None,
    }
}

fn json(document: &impl Serialize) -> Reply {
    Reply { status: StatusCode::OK, content_type: "application/json", body: json::indented(document).into() }
}

fn text(status: StatusCode, body: &'static str) -> Reply {
    Reply { status, content_type: "text/plain; charset=utf-8", body: Bytes::from_static(body.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |path, expected| assert_eq!(Call::parse(path), expected, "{path}");
        check("/v1/version", Some(Call::Version));
        check("/v1/hosts/a.b%20c", Some(Call::Host("a.b c".into())));
        check("/v1/hosts/a/ports", Some(Call::Ports));
        check("/v1/services/_a._tcp.b.mesos.", Some(Call::Service("_a._tcp.b.mesos.".into())));
        for path in ["/", "/v1", "/v1/", "/v2/version", "/v1/hosts", "/v1/hosts/", "/v1/hosts/a/b", "/v1/services/a/b"]
        {
            check(path, None);
        }
    }

    #[test]
    fn names_are_cleaned_as_mesos_dns_does() {
        assert_eq!(clean("Web.*.Marathon.mesos."), "web.marathon.mesos");
        assert_eq!(clean(".*"), "");
        assert_eq!(absolute("ns1", "mesos"), "ns1.mesos");
        assert_eq!(absolute("ns1.example.com.", "mesos"), "ns1.example.com");
    }
}
