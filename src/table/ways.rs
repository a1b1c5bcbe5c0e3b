//! Ways in other than by host: ports of the proxy that services hold, and apps that requests name.

use std::sync::Arc;

use crate::labels::host::HostPattern;
use crate::model::id::ServiceId;
use crate::model::persistent::PersistentMap;
use crate::model::time::Timestamp;
use crate::table::routes::Route;

/// A way in that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The service that holds it.
    pub owner: ServiceId,
    /// The claim's standing: that of a port which is assigned is lower than that of one which is named.
    pub priority: i32,
    /// Since when the owner has claimed it.
    pub since: Timestamp,
}

/// Of so many routes of a host a certificate is looked for: a handshake costs no more with further ones.
const ROUTES_LOOKED_AT: usize = 64;

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// By port.
    pub ports: PersistentMap<u16, Arc<Way>>,
    /// By app.
    pub apps: PersistentMap<Arc<str>, Arc<Way>>,
    /// By the name that a client of TLS asks for.
    pub names: PersistentMap<HostPattern, Arc<Way>>,
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
    /// Who gets TLS connections for a name as they are. The most specific host decides, whoever claims it: a route for just
    /// this name goes before a wildcard, and the connection ends here.
    pub fn way_of_name(&self, name: &str) -> Option<&Arc<Way>> {
        let names = &self.ways.names;
        if names.is_empty() {
            return None;
        }
        let wildcards = name.match_indices('.').map(|(dot, _)| HostPattern::Wildcard(name[dot + 1..].into()));
        for host in std::iter::once(HostPattern::Exact(name.into())).chain(wildcards) {
            if let Some(way) = names.get(&host) {
                return Some(way);
            }
            if self.routes.of(&host).is_some() {
                return None;
            }
        }
        names.get(&HostPattern::Any).filter(|_| !self.routes.has_expression_for(name))
    }

    /// The certificates that services name whose routes are for a host, by its name or the closest wildcard. The route that
    /// is tried last comes first: where paths of a host are several services', it is had by most requests.
    pub fn certificates_of(&self, host: &str) -> impl Iterator<Item = &Arc<str>> {
        let routes = self.routes.of_name(host).into_iter().flat_map(|routes| routes.iter().rev());
        let named = |route: &Arc<Route>| self.service(&route.owner)?.rules.as_deref()?.certificate.as_ref();
        routes.take(ROUTES_LOOKED_AT).filter_map(named)
    }

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
