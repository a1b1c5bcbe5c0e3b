//! Who leads, told from what masters write: their nodes in ZooKeeper, the `Location` of a redirect.
//!
//! Pure. Watching ZooKeeper is [`zookeeper`](super::zookeeper)'s, trying a list of masters
//! [`session`](super::session)'s.

use std::fmt;
use std::net::SocketAddr;

use prost::Message;
use thiserror::Error;

use super::address::{ip_address, join_host_port, pid_address, split_host_port};
use super::wire;
use crate::model::network::MastersFacts;

/// The path of the operator API on a master that was not redirected to.
pub const API_PATH: &str = "/api/v1";

/// The path of the state on a master, which a redirect may put another before.
pub const STATE_PATH: &str = "/master/state";

/// The longest path a redirect may name.
const MAX_PATH_BYTES: usize = 512;

/// A master to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name or address, lower case, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path to ask.
    pub path: String,
    /// The name its certificate should have, where it is not `host`.
    pub server_name: Option<String>,
}

impl Target {
    /// The master at `host:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = split_host_port(text)?;
        Some(Self { host: host.to_ascii_lowercase(), port, path: API_PATH.into(), server_name: None })
    }

    /// The master that a libprocess pid (`master@host:port`) tells of.
    pub fn of_pid(pid: &str) -> Option<Self> {
        Self::parse(pid.rsplit_once('@')?.1)
    }

    /// The same master, asked for its state.
    pub fn for_state(mut self) -> Self {
        if self.path == API_PATH {
            self.path = STATE_PATH.into();
        }
        self
    }

    /// Whether its path is that of the state.
    pub fn asks_for_state(&self) -> bool {
        self.path.ends_with(STATE_PATH)
    }

    /// Whether it is the same server, whatever the path.
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&join_host_port(&self.host, self.port))
    }
}

/// A redirect that is not followed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LocationError {
    /// The scheme is not the one in use.
    #[error("it redirects to {scheme}, but this source is configured {configured}")]
    Scheme {
        /// What the redirect says.
        scheme: String,
        /// What the configuration says.
        configured: &'static str,
    },
    /// It cannot be understood.
    #[error("it redirects to a place that cannot be understood: {0:?}")]
    Malformed(String),
}

/// Where a redirect leads. Mesos writes `//host:port/master/api/v1`: scheme-relative, with another path.
///
/// # Errors
/// It leads to another scheme or cannot be understood.
pub fn redirect(location: &str, from: &Target, uses_tls: bool) -> Result<Target, LocationError> {
    let malformed = || LocationError::Malformed(location.chars().take(200).collect());
    let relative = match location.split_once("//") {
        Some(("", rest)) => rest,
        Some((scheme, rest)) => {
            check_scheme(scheme, uses_tls, malformed)?;
            rest
        }
        None => return Ok(Target { path: checked_path(location).ok_or_else(malformed)?, ..from.clone() }),
    };
    let (authority, path) = relative.split_at(relative.find('/').unwrap_or(relative.len()));
    let default_port = if uses_tls { 443 } else { 80 };
    let target = match Target::parse(authority) {
        Some(target) => target,
        None => Target::parse(&format!("{authority}:{default_port}")).ok_or_else(malformed)?,
    };
    let path = if path.is_empty() || path == "/" { API_PATH } else { path };
    Ok(Target { path: checked_path(path).ok_or_else(malformed)?, ..target })
}

fn check_scheme(scheme: &str, uses_tls: bool, malformed: impl Fn() -> LocationError) -> Result<(), LocationError> {
    match (scheme.to_ascii_lowercase().as_str(), uses_tls) {
        ("http:", false) | ("https:", true) => Ok(()),
        ("http:", true) => Err(LocationError::Scheme { scheme: "http".into(), configured: "with tls" }),
        ("https:", false) => Err(LocationError::Scheme { scheme: "https".into(), configured: "without tls" }),
        _ => Err(malformed()),
    }
}

fn checked_path(path: &str) -> Option<String> {
    let is_valid = path.starts_with('/') && path.len() <= MAX_PATH_BYTES && path.bytes().all(|b| b.is_ascii_graphic());
    is_valid.then(|| path.to_owned())
}

/// A master's node in ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MasterNode {
    /// The number that ZooKeeper gave it: the lowest leads. The counter is shared with other children.
    pub sequence: i64,
    /// The node's name.
    pub name: String,
}

/// What the masters of a cluster are, as far as their nodes tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detected {
    /// The leader to connect to.
    pub leader: Option<Target>,
    /// Every master that has a node, the leader first.
    pub masters: Vec<Target>,
    /// The same as addresses, for the table.
    pub facts: MastersFacts,
}

/// The masters among a path's children, the leader first. `json.info_<number>` and, of masters before 0.24,
/// `info_<number>`; anything else (`log_replicas`) is not a master.
pub fn master_nodes(children: &[String]) -> Vec<MasterNode> {
    let node = |name: &String| {
        let sequence = name.strip_prefix(JSON_PREFIX).or_else(|| name.strip_prefix(BINARY_PREFIX))?;
        Some(MasterNode { sequence: sequence.parse().ok()?, name: name.clone() })
    };
    let mut nodes: Vec<_> = children.iter().filter_map(node).collect();
    nodes.sort();
    nodes
}

const JSON_PREFIX: &str = "json.info_";
const BINARY_PREFIX: &str = "info_";

/// A node's value is not what a master writes.
#[derive(Debug, Error)]
pub enum NodeError {
    /// Not JSON of a MasterInfo.
    #[error("the node {name} does not hold a MasterInfo in JSON: {source}")]
    Json {
        /// The node.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Not a protobuf MasterInfo.
    #[error("the node {name} does not hold a MasterInfo in protobuf: {source}")]
    Protobuf {
        /// The node.
        name: String,
        /// Why.
        source: prost::DecodeError,
    },
    /// It says no address.
    #[error("the node {name} says no address")]
    NoAddress {
        /// The node.
        name: String,
    },
}

/// The master that a node's value tells of.
///
/// # Errors
/// The value is not a MasterInfo with an address.
pub fn master_of_node(name: &str, value: &[u8]) -> Result<(Target, Option<SocketAddr>), NodeError> {
    let info: wire::MasterInfo = if name.starts_with(JSON_PREFIX) {
        serde_json::from_slice(value).map_err(|source| NodeError::Json { name: name.into(), source })?
    } else {
        wire::MasterInfo::decode(value).map_err(|source| NodeError::Protobuf { name: name.into(), source })?
    };
    master(&info).ok_or(NodeError::NoAddress { name: name.into() })
}

/// Where a master is: `address` before `pid` before `hostname`. The certificate's name is the host name.
fn master(info: &wire::MasterInfo) -> Option<(Target, Option<SocketAddr>)> {
    let name = info.address.as_ref().and_then(|address| address.hostname.as_deref()).or(info.hostname.as_deref());
    let name = name.filter(|name| !name.is_empty());
    let address = listed_address(info).or_else(|| info.pid.as_deref().and_then(pid_address));
    let (host, port) = match address {
        Some(address) => (address.ip().to_string(), address.port()),
        None => (name?.to_owned(), u16::try_from(info.port?).ok()?),
    };
    let mut target = Target::parse(&join_host_port(&host, port))?;
    target.server_name = name.map(str::to_owned).filter(|name| ip_address(name).is_none());
    Some((target, address))
}

fn listed_address(info: &wire::MasterInfo) -> Option<SocketAddr> {
    let address = info.address.as_ref()?;
    Some(SocketAddr::new(ip_address(address.ip.as_deref()?)?, u16::try_from(address.port?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap()
    }

    #[test]
    fn redirects_of_every_form() {
        let from = target("10.0.0.1:5050");
        for (location, expected) in [
            ("//127.0.0.1:5050/master/api/v1", Some(("127.0.0.1:5050", "/master/api/v1"))),
            ("//127.0.0.1:5050", Some(("127.0.0.1:5050", "/api/v1"))),
            ("//M2.Example:5050/", Some(("m2.example:5050", "/api/v1"))),
            ("http://[fd00::1]:5050/master/api/v1", Some(("[fd00::1]:5050", "/master/api/v1"))),
            ("//m2.example/x", Some(("m2.example:80", "/x"))),
            ("/mesos/master/api/v1", Some(("10.0.0.1:5050", "/mesos/master/api/v1"))),
            ("https://m2.example:5050/", None),
            ("ftp://m2.example:5050/", None),
            ("//user@evil:80/", None),
            ("//:5050/", None),
            ("master/api/v1", None),
            ("//a:1/\r\nx: y", None),
            ("", None),
        ] {
            let to = redirect(location, &from, false).ok();
            let to = to.as_ref().map(|to| (to.to_string(), to.path.as_str()));
            assert_eq!(to, expected.map(|(host, path)| (host.to_owned(), path)), "{location:?}");
        }
        let refused = redirect("http://m2:5050/", &from, true).unwrap_err();
        assert_eq!(refused.to_string(), "it redirects to http, but this source is configured with tls");
    }

    #[test]
    fn the_lowest_number_leads_and_other_children_do_not_count() {
        let children =
            ["json.info_0000000003", "log_replicas", "json.info_0000000012", "info_0000000002", "json.info_x"];
        let nodes = master_nodes(&children.map(str::to_owned));
        let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["info_0000000002", "json.info_0000000003", "json.info_0000000012"]);
    }

    #[test]
    fn nodes_in_json_and_in_protobuf() {
        let json = br#"{"address":{"hostname":"m1.example","ip":"10.0.0.1","port":5050},"hostname":"m1.example",
            "id":"d46f","ip":16777343,"pid":"master@10.0.0.1:5050","port":5050}"#;
        let (master, address) = master_of_node("json.info_0000000001", json).unwrap();
        assert_eq!((master.to_string().as_str(), master.server_name.as_deref()), ("10.0.0.1:5050", Some("m1.example")));
        assert_eq!(address, Some("10.0.0.1:5050".parse().unwrap()));

        let info: wire::MasterInfo = serde_json::from_slice(json).unwrap();
        assert_eq!(master_of_node("info_0000000001", &info.encode_to_vec()).unwrap(), (master, address));

        let old = wire::MasterInfo { pid: Some("master@10.0.0.2:5051".into()), ..Default::default() };
        let (master, _) = master_of_node("info_0000000001", &old.encode_to_vec()).unwrap();
        assert_eq!(master.to_string(), "10.0.0.2:5051");
        assert!(matches!(master_of_node("json.info_1", b"{}"), Err(NodeError::NoAddress { .. })));
        assert!(matches!(master_of_node("json.info_1", b"<"), Err(NodeError::Json { .. })));
        assert!(matches!(master_of_node("info_1", b"\xff"), Err(NodeError::Protobuf { .. })));
    }
}
