//! What labels come to: one typed specification of a task's services and routes.

use std::sync::Arc;
use std::time::Duration;

use super::host::HostPattern;
use crate::model::actions::Actions;
use crate::model::balance::Algorithm;
use crate::model::bounds::Bounds;
use crate::model::check::CheckKind;
use crate::model::deployment::Deployment;
use crate::model::endpoint::{ProxyProtocol, Weight};
use crate::model::endpoint_tls::EndpointTls;
use crate::model::id::Version;
use crate::model::problem::Problem;
use crate::model::refinement::{PathMeaning, Refinement};
use crate::model::rules::Rules;
use crate::model::service::Protocol;

/// What a task's labels say. The default is what a task without labels of ours has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskSpec {
    /// The service's name (`pointsman.service`), where it is not the task's own.
    pub service: Option<Arc<str>>,
    /// The app that the task's deployment group stands for (`HAPROXY_DEPLOYMENT_GROUP`), as an id: `/team/shop`.
    pub group: Option<Arc<str>>,
    /// A shared service's namespace (`pointsman.namespace`): tasks of several frameworks join by it.
    pub namespace: Option<Arc<str>>,
    /// The version (`pointsman.version`, else `version`).
    pub version: Option<Version>,
    /// The deploy that the app is part of (`HAPROXY_DEPLOYMENT_…`).
    pub deployment: Option<Arc<Deployment>>,
    /// Whether a Prometheus should scrape the task, and where.
    pub scrape: Option<ScrapeSpec>,
    /// What is said of single ports.
    pub ports: Vec<PortSpec>,
}

/// What labels say of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// Which port.
    pub port: PortSelector,
    /// `false`: the port makes no service (and no route).
    pub enabled: bool,
    /// What it speaks, where said.
    pub protocol: Option<Protocol>,
    /// How TLS is spoken with it, where it speaks TLS.
    pub tls: Option<Arc<EndpointTls>>,
    /// In which version of the PROXY protocol it is told of clients.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Its share of traffic.
    pub weight: Option<Weight>,
    /// Its version's share of the service's traffic.
    pub version_weight: Option<Weight>,
    /// Priority of its SRV records.
    pub srv_priority: Option<u16>,
    /// Weight of its SRV records.
    pub srv_weight: Option<u16>,
    /// Path of an HTTP health check.
    pub health_path: Option<Arc<str>>,
    /// What kind of check, `Some(None)` for none, where said.
    pub health_check: Option<Option<CheckKind>>,
    /// How often it is checked.
    pub health_interval: Option<Duration>,
    /// The index of the port whose check counts for this one, where this one has none.
    pub health_port: Option<u16>,
    /// How long requests in flight may go on when the task goes away.
    pub drain_time: Option<Duration>,
    /// A cookie keeps a client on one endpoint.
    pub sticky: bool,
    /// How the service's requests are to be spread.
    pub balance: Option<Arc<Algorithm>>,
    /// How many requests it takes, and how long one may wait.
    pub bounds: Option<Arc<Bounds>>,
    /// A port of the proxy for this port alone.
    pub listen: Option<u16>,
    /// Nobody names such a port, and one is to be assigned: of an app whose tasks have addresses of their own.
    pub is_assigned: bool,
    /// What holds for every request to it, whichever way it comes in.
    pub rules: Option<Arc<Rules>>,
    /// Where the port's requests come from.
    pub routes: Vec<RouteSpec>,
}

/// Chooses a port of a task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortSelector {
    /// By position among the task's ports, from 0.
    Index(usize),
    /// By name.
    Name(Arc<str>),
}

/// A claim on hosts and a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteSpec {
    /// The route's name within its port (`default` where none is given).
    pub name: Arc<str>,
    /// The hosts, at least one.
    pub hosts: Vec<HostPattern>,
    /// The path prefix: begins with `/`, matches on segment bounds, `/` for all; no trailing slash otherwise. Or what
    /// [`RouteSpec::refined`] says that it means.
    pub path: Arc<str>,
    /// What is asked beside host and path prefix.
    pub refined: Option<Arc<Refinement>>,
    /// Its standing among others that ask for the same, or as much.
    pub priority: i32,
    /// What is done with its requests and their answers.
    pub actions: Option<Arc<Actions>>,
}

impl RouteSpec {
    /// A path prefix that every path of the route surely has.
    pub fn least_path(&self) -> &str {
        match self.refined.as_deref() {
            Some(Refinement { path: PathMeaning::Pattern(_), .. }) => "/",
            // In capitals it is another path to whoever allows paths.
            Some(Refinement { path: PathMeaning::AnyCase, .. }) => "/",
            _ => &self.path,
        }
    }
}

/// Where a Prometheus finds the task's metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScrapeSpec {
    /// Which port.
    pub port: PortSelector,
    /// The path.
    pub path: Arc<str>,
}

/// A specification and what could not be understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What was understood.
    pub spec: TaskSpec,
    /// What was not; subjects are filled in by the caller.
    pub problems: Vec<Problem>,
}
