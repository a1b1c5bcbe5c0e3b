//! Active checks: what is asked of an endpoint, and what came of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::endpoint::ProxyProtocol;
use super::endpoint_tls::EndpointTls;
use super::id::TaskKey;
use super::service::Protocol;
use super::time::Timestamp;

/// A check of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckSpec {
    /// What is asked.
    pub kind: CheckKind,
    /// The path, for HTTP.
    pub path: Arc<str>,
    /// How often; `None`: as configured.
    pub interval: Option<Duration>,
    /// How long an answer may take; `None`: as configured.
    pub timeout: Option<Duration>,
    /// Failures in a row that take an endpoint out; `None`: as configured.
    pub fall: Option<u32>,
    /// Where it is asked.
    pub at: CheckAt,
}

/// Where a check is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum CheckAt {
    /// At the endpoint itself.
    #[default]
    Endpoint,
    /// At another port of its address, which speaks as it does.
    Port(u16),
    /// At another port of its task.
    Other(Arc<CheckPlace>),
}

/// Another port that answers for an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckPlace {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// How TLS is spoken with it, where it speaks TLS.
    pub tls: Option<Arc<EndpointTls>>,
    /// In which version of the PROXY protocol it is told of its clients.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// What a check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// A connection.
    Tcp,
    /// An answer of 200 to 399 to a GET. Redirects are not followed.
    Http,
    /// `SERVING` from `grpc.health.v1.Health/Check`.
    Grpc,
}

impl CheckKind {
    /// The name used in labels, settings, the API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

/// What the checks of an endpoint have come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it may serve.
    pub state: CheckState,
    /// Since when.
    pub since: Timestamp,
    /// Why the last check failed, if it did.
    pub error: Option<Arc<str>>,
}

/// Whether an endpoint may serve, as its checks have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// No check has succeeded yet.
    Waiting,
    /// The last ones succeeded.
    Good,
    /// The last ones failed.
    Bad,
}

impl CheckState {
    /// Every state, for metrics.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Good, Self::Bad];

    /// The name used in the API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

/// The verdicts on one task, by the port's part in its services' ids.
pub type Verdicts = BTreeMap<Arc<str>, Verdict>;

/// A verdict on its way to the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// The task.
    pub task: TaskKey,
    /// The port.
    pub port: Arc<str>,
    /// The verdict.
    pub verdict: Verdict,
}
