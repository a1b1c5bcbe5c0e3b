//! Ways in other than by host: ports of the proxy that services hold, and apps that requests name.

use std::sync::Arc;

use crate::model::id::ServiceId;
use crate::model::persistent::PersistentMap;
use crate::model::time::Timestamp;

/// A way in that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The service that holds it.
    pub owner: ServiceId,
    /// Since when the owner has claimed it.
    pub since: Timestamp,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// By port.
    pub ports: PersistentMap<u16, Arc<Way>>,
    /// By app.
    pub apps: PersistentMap<Arc<str>, Arc<Way>>,
    /// Rises whenever a port, or what its listener must know of its owner, changes: whoever opens the listeners need
    /// not compare the ports of every table.
    pub version: u64,
}

/// A port as its listener must be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPort {
    /// The port.
    pub port: u16,
    /// The one address, where there is but one.
    pub bind: Option<std::net::IpAddr>,
    /// The certificate's name, for TLS.
    pub certificate: Option<Arc<str>>,
}

impl super::Table {
    /// The ports that listeners are to be open for, sorted.
    pub fn wanted_ports(&self) -> Vec<WantedPort> {
        let mut wanted: Vec<WantedPort> = self
            .ways
            .ports
            .iter()
            .map(|(port, way)| {
                let rules = self.service(&way.owner).and_then(|service| service.rules.as_deref());
                WantedPort {
                    port: *port,
                    bind: rules.and_then(|rules| rules.bind),
                    certificate: rules.and_then(|rules| rules.certificate.clone()),
                }
            })
            .collect();
        wanted.sort_by_key(|wanted| wanted.port);
        wanted
    }
}
