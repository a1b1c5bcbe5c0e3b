//! The configuration as one worker uses it: who is asked for which names, and for whom.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::Notify;

use super::exchange::Server;
use super::health::{self, Health};
use super::message::{TtlBounds, is_within};
use super::metrics::ForwardMetrics;
use super::room::Load;
use crate::cluster::sources::mesos::tls::client_config;
use crate::config::checked::{ClientTls, ForwardConfig, UpstreamServer, UpstreamTransport};

/// What is configured, with the servers' state.
pub(super) struct Settings {
    pub(super) config: ForwardConfig,
    /// The longest zone first; the root last, if others are asked for everything.
    groups: Vec<Rc<Group>>,
}

/// Servers that know the same names.
pub(super) struct Group {
    /// The zone in wire form, lower case.
    pub(super) zone: Vec<u8>,
    pub(super) servers: Vec<Rc<Server>>,
    health: RefCell<Vec<Health>>,
    /// For each server: it does not answer, or answers again, so that it may lead back to us.
    pub(super) doubts: Vec<Notify>,
    /// What is under way for these servers.
    pub(super) load: Load,
}

impl Settings {
    pub(super) fn new(config: &ForwardConfig, metrics: &ForwardMetrics) -> Self {
        let zones = config.zones.iter().map(|zone| (&*zone.zone, &zone.upstreams));
        let mut groups: Vec<_> = zones
            .chain([("", &config.upstreams)])
            .filter(|(_, servers)| !servers.is_empty())
            .map(|(zone, servers)| Rc::new(Group::new(zone, servers, config, metrics)))
            .collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.zone.len()));
        Self { config: config.clone(), groups }
    }

    /// Who is asked for this name, in wire form and lower case.
    pub(super) fn group(&self, name: &[u8]) -> Option<Rc<Group>> {
        self.groups.iter().find(|group| is_within(name, &group.zone)).cloned()
    }

    pub(super) fn groups(&self) -> &[Rc<Group>] {
        &self.groups
    }

    /// Whether others are asked for this client.
    pub(super) fn allows(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.config.allow.iter().any(|network| network.contains(&client))
    }

    pub(super) fn bounds(&self) -> TtlBounds {
        TtlBounds {
            min: self.config.min_ttl_seconds,
            max: self.config.max_ttl_seconds,
            max_negative: self.config.max_negative_ttl_seconds,
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.config.timeout
    }
}

impl Group {
    fn new(zone: &str, servers: &[UpstreamServer], config: &ForwardConfig, metrics: &ForwardMetrics) -> Self {
        let server = |server: &UpstreamServer| {
            let tls = match &server.transport {
                UpstreamTransport::Tls(_) => tls(config),
                _ => None,
            };
            Rc::new(Server::new(server.clone(), tls, metrics))
        };
        Self {
            zone: wire_name(zone),
            servers: servers.iter().map(server).collect(),
            health: RefCell::new(vec![Health::default(); servers.len()]),
            doubts: servers.iter().map(|_| Notify::new()).collect(),
            load: Load::default(),
        }
    }

    /// The order in which the servers are asked.
    pub(super) fn order(&self, now: Duration, random: &mut fastrand::Rng) -> SmallVec<[usize; 8]> {
        health::order(&self.health.borrow(), now, random)
    }

    /// How long a server may take before another one is asked as well.
    pub(super) fn wait(&self, at: usize) -> Duration {
        self.health.borrow()[at].wait()
    }

    /// A server answered after `took`.
    pub(super) fn answered(&self, at: usize, took: Duration) {
        let health = &mut self.health.borrow_mut()[at];
        if health.is_down() {
            self.doubts[at].notify_one();
        }
        health.answered(took);
    }

    /// A server says that it cannot or will not answer.
    pub(super) fn refused(&self, at: usize) {
        let health = &mut self.health.borrow_mut()[at];
        if health.is_down() {
            self.doubts[at].notify_one();
        }
        health.refused();
    }

    /// A server did not answer, or could not be reached.
    pub(super) fn failed(&self, at: usize, now: Duration) {
        let health = &mut self.health.borrow_mut()[at];
        health.failed(now);
        if health.is_down() {
            self.doubts[at].notify_one();
        }
    }
}

fn tls(config: &ForwardConfig) -> Option<std::sync::Arc<rustls::ClientConfig>> {
    client_config(&ClientTls { ca: config.ca.clone(), ..ClientTls::default() })
        .inspect_err(|error| tracing::error!(%error, "DNS servers cannot be asked over TLS"))
        .ok()
}

/// A name in wire form; a valid one, as the configuration's are.
pub(super) fn wire_name(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len().min(63)).unwrap_or(63));
        octets.extend_from_slice(&label.as_bytes()[..label.len().min(63)]);
    }
    octets.push(0);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::checked::ForwardZone;

    fn server(address: &str) -> UpstreamServer {
        UpstreamServer { address: address.parse().unwrap(), transport: UpstreamTransport::Udp }
    }

    #[test]
    fn the_longest_zone_counts_and_strangers_are_not_served() {
        let zone = |zone: &str, address: &str| ForwardZone { zone: zone.into(), upstreams: vec![server(address)] };
        let config = ForwardConfig {
            upstreams: vec![server("10.0.0.1:53")],
            zones: vec![zone("example", "10.0.0.2:53"), zone("corp.example", "10.0.0.3:53")],
            ..ForwardConfig::default()
        };
        let settings = Settings::new(&config, &ForwardMetrics::default());
        let asked = |name: &str| settings.group(&wire_name(name)).map(|group| group.servers[0].label.clone());
        assert_eq!(asked("www.corp.example").as_deref(), Some("10.0.0.3:53"));
        assert_eq!(asked("www.example").as_deref(), Some("10.0.0.2:53"));
        assert_eq!(asked("notexample").as_deref(), Some("10.0.0.1:53"));
        assert_eq!(asked("").as_deref(), Some("10.0.0.1:53"));
        for (client, expected) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("8.8.8.8", false),
            ("::1", true),
            ("fd00::1", true),
            ("2001:db8::1", false),
            ("::ffff:10.0.0.1", true),
            ("::ffff:8.8.8.8", false),
        ] {
            assert_eq!(settings.allows(client.parse().unwrap()), expected, "{client}");
        }
        let only_zones = ForwardConfig { upstreams: Vec::new(), ..config };
        assert!(Settings::new(&only_zones, &ForwardMetrics::default()).group(&wire_name("other")).is_none());
    }
}
