//! Services: what requests are for.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::balance::Algorithm;
use super::bounds::Bounds;
use super::endpoint::{Endpoint, EndpointId};
use super::id::{ServiceId, Version};
use super::ring::Ring;
use super::rules::Rules;
use super::sorted::{SortKey, SortedList};
use super::time::Timestamp;

/// One service with its endpoints, as one table sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its identity.
    pub id: ServiceId,
    /// The framework's name, for people; empty where there is none.
    pub framework: Arc<str>,
    /// What its first endpoint speaks (each endpoint has its own), or its last one spoke.
    pub protocol: Protocol,
    /// Every endpoint, whatever its state, by id.
    pub endpoints: SortedList<Arc<Endpoint>>,
    /// The endpoints that may be chosen now. With [`Service::panic`] not all of these are ready, or none is.
    pub available: SortedList<Arc<Endpoint>>,
    /// Its endpoints that keep their clients, by what a cookie calls them.
    pub sticky: SortedList<Arc<Sticky>>,
    /// No endpoint is ready, or too few, and those that are merely unhealthy or cut off are served again.
    pub panic: bool,
    /// Where keys find their endpoint among the available ones, if requests are spread by hashing.
    pub ring: Option<Arc<Ring>>,
    /// Its versions that may be chosen now, with their shares; `None`: it does not matter which version an endpoint runs.
    pub shares: Option<Arc<[Share]>>,
    /// How many of its endpoints say something of shares: while none does, no change of one brings any about.
    pub said_shares: u32,
    /// What holds for every request to it: see [`Rules::merged`].
    pub rules: Option<Arc<Rules>>,
    /// Its endpoints do not all ask for the same, so that each change makes the rules anew.
    pub mixed_rules: bool,
    /// Since when it has had no task; it is forgotten at the end of its retention.
    pub empty_since: Option<Timestamp>,
}

impl Service {
    /// The endpoint with this id.
    pub fn endpoint(&self, id: &EndpointId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(id)
    }

    /// Whether `wanted` is what people call it: its whole id, or a short form, `name`, `name:port`, and
    /// `framework/name[/port]` with the framework's name or the namespace. Names may hold slashes themselves.
    pub fn is_named(&self, wanted: &str) -> bool {
        let id = &self.id;
        if wanted == id.name()
            || wanted.strip_prefix(id.name()).and_then(|rest| rest.strip_prefix(':')) == Some(id.port())
        {
            return true;
        }
        let below = |first: &str| {
            let rest = wanted.strip_prefix(first).and_then(|rest| rest.strip_prefix('/'));
            let rest = rest.and_then(|rest| rest.strip_prefix(id.name()));
            rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('/') == Some(id.port()))
        };
        (!self.framework.is_empty() && below(&self.framework)) || below(id.namespace()) || wanted == id.to_string()
    }

    /// How many requests at a time it takes, and for how long: as its first endpoint says.
    pub fn bounds(&self) -> Option<&Bounds> {
        self.endpoints.at(0)?.bounds.as_deref()
    }

    /// How its requests are spread: as its first endpoint says, else by `default`.
    pub fn algorithm<'a>(&'a self, default: &'a Algorithm) -> &'a Algorithm {
        self.endpoints.at(0).and_then(|endpoint| endpoint.balance.as_deref()).unwrap_or(default)
    }
}

/// A version's part of its service's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The version.
    pub version: Version,
    /// Relative to the others.
    pub weight: u32,
}

/// An endpoint that keeps its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// [`EndpointId::fingerprint`] of the endpoint.
    pub fingerprint: u64,
    /// The endpoint.
    pub endpoint: EndpointId,
}

impl From<&EndpointId> for Sticky {
    fn from(id: &EndpointId) -> Self {
        Self { fingerprint: id.fingerprint(), endpoint: id.clone() }
    }
}

impl SortKey for Sticky {
    type Key = u64;

    fn compare(&self, key: &u64) -> Ordering {
        self.fingerprint.cmp(key)
    }

    fn order(&self, other: &Self) -> Ordering {
        self.fingerprint.cmp(&other.fingerprint)
    }
}

/// What an endpoint speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/2 in clear text with prior knowledge (gRPC).
    H2c,
    /// A stream of bytes.
    Tcp,
    /// Datagrams.
    Udp,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 over TLS.
    H2,
    /// TLS that ends at the endpoint, whatever is within.
    Tls,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 7] = [Self::Http, Self::Https, Self::H2c, Self::H2, Self::Tcp, Self::Tls, Self::Udp];

    /// The name used in labels, the API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Https => "https",
            Self::H2 => "h2",
            Self::Tls => "tls",
        }
    }

    /// Whether HTTP requests can be sent to it.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::H2c | Self::Https | Self::H2)
    }

    /// Whether that is HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::H2c | Self::H2)
    }

    /// Whether connections are carried to it as they are.
    pub fn is_carried(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// Whether it is spoken over TLS that begins here.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Https | Self::H2)
    }
}

/// One of the places a route leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The service.
    pub service: ServiceId,
    /// One version of it, or all.
    pub version: Option<Version>,
    /// Its share, relative to the route's other targets.
    pub weight: u32,
}
