//! The configuration as the program runs on it: every value is valid, every combination possible.
//!
//! What a setting means for users is written once, beside its key in the settings table; here stand the types.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ipnet::IpNet;

use super::access::{AccessLogConfig, TraceConfig};
use super::acme::AcmeConfig;
use super::filter::FilterConfig;
use crate::labels::host::HostPattern;
use crate::model::balance::Algorithm;
use crate::model::check::CheckKind;
use crate::model::id::{ClusterName, SourceName};
use crate::model::task::PortRange;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Config {
    /// Threads, stopping.
    pub server: ServerConfig,
    /// Logging.
    pub log: LogConfig,
    /// The state kept on disk.
    pub state: StateConfig,
    /// Mesos clusters.
    pub mesos: Vec<MesosConfig>,
    /// Marathons.
    pub marathon: Vec<MarathonConfig>,
    /// Files with services, routes and records.
    pub files: Vec<FileConfig>,
    /// The DNS server.
    pub dns: DnsConfig,
    /// The proxy.
    pub proxy: ProxyConfig,
    /// Who is served, and when.
    pub routing: RoutingConfig,
    /// Active checks.
    pub health: HealthConfig,
    /// Which addresses requests may be sent to.
    pub upstreams: UpstreamsConfig,
    /// Who may claim what; the first policy that matches decides. Empty: everybody may claim everything.
    pub policies: Vec<PolicyConfig>,
    /// The admin API.
    pub admin: AdminConfig,
    /// Addresses of this machine, canonical: by these a listener on the unspecified address is reached. No setting: whoever
    /// puts a configuration in force fills it in. Empty: not known.
    pub machine: Arc<[IpAddr]>,
}

impl Config {
    /// Where the program itself listens, but for ports that services hold.
    pub fn own_sockets(&self) -> impl Iterator<Item = &SocketAddr> {
        let (dns, admin) = (&self.dns, &self.admin);
        let names = [&dns.listen, &dns.tls.listen, &dns.tls.https_listen].into_iter().flatten();
        let proxy = self.proxy.listeners.iter().map(|listener| &listener.address);
        names.chain(proxy).chain(&admin.listen).chain(&admin.metrics_listen).chain(&admin.mesos_dns_listen)
    }
}

/// Threads, stopping.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Worker threads, each with its own sockets.
    pub workers: usize,
    /// How long requests in flight may go on after SIGTERM.
    pub drain_time: Duration,
    /// How long a service outlives its last task.
    pub service_retention: Duration,
    /// Versions of the table that are kept for the API.
    pub history: usize,
    /// Where a process that takes over asks for the sockets.
    pub hand_over: Option<PathBuf>,
}

/// Logging.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// A level or a filter in `tracing` syntax.
    pub level: String,
    /// Text or JSON.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// The state kept on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct StateConfig {
    /// Where; `None`: nothing is kept.
    pub path: Option<PathBuf>,
    /// The shortest time between two writes.
    pub interval: Duration,
}

/// One Mesos cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct MesosConfig {
    /// The source's name.
    pub name: SourceName,
    /// The cluster it tells of.
    pub cluster: ClusterName,
    /// The DNS zone of its names, lower case, without the final dot (`mesos`).
    pub zone: Arc<str>,
    /// Where the masters are.
    pub masters: Masters,
    /// How it learns of changes.
    pub mode: MesosMode,
    /// The time between two reads of the state, about; in [`MesosMode::State`] only.
    pub poll_interval: Duration,
    /// The longest time that one read of the state may take; in [`MesosMode::State`] only.
    pub poll_timeout: Duration,
    /// What to ask for.
    pub encoding: MesosEncoding,
    /// Credentials sent to configured masters.
    pub credentials: Option<MesosCredentials>,
    /// TLS towards the masters; `None`: clear text.
    pub tls: Option<ClientTls>,
    /// Silent heartbeat intervals after which a stream counts as dead.
    pub missed_heartbeats: u32,
    /// The longest pause between two attempts.
    pub max_backoff: Duration,
    /// How often GET_AGENTS is read to notice agents that vanish in silence; zero: never.
    pub agents_interval: Duration,
    /// When removals that are only implied are held back.
    pub guard: GuardConfig,
}

/// Where the masters are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Masters {
    /// ZooKeeper servers (`host:port`) and the path of the masters' nodes (`/mesos`).
    ZooKeeper {
        /// `host:port` of each server.
        servers: Vec<String>,
        /// The path.
        path: String,
        /// `user:password` for digest authentication.
        auth: Option<Secret>,
    },
    /// `host:port` of each master.
    List(Vec<String>),
}

/// How a source learns of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MesosMode {
    /// The v1 operator API's stream of events.
    Subscribe,
    /// `GET /master/state`, at an interval.
    State,
}

/// How Mesos should encode its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MesosEncoding {
    /// `application/x-protobuf`: half the bytes.
    Protobuf,
    /// `application/json`.
    Json,
}

/// Credentials for a Mesos master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MesosCredentials {
    /// HTTP basic authentication.
    Basic {
        /// The principal.
        principal: String,
        /// The secret.
        secret: Secret,
    },
    /// `Authorization: token=…` (DC/OS).
    Token(Secret),
    /// The file of a DC/OS service account, which such a token is had with.
    ServiceAccount(PathBuf),
}

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hidden]")
    }
}

/// TLS towards a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM file with the authorities to trust; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// PEM file with a client certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// PEM file with its key.
    pub key: Option<PathBuf>,
    /// The name to verify, where it differs from the host connected to.
    pub server_name: Option<String>,
}

/// When removals that are only implied by absence are held back.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardConfig {
    /// Held when more than this share of the source's tasks would go, 0 to 1.
    pub max_share: f64,
    /// … and more than this many.
    pub max_count: usize,
    /// A second complete read this much later that agrees ends the hold.
    pub confirm_after: Duration,
    /// The hold ends by itself after this time (never for a source that shows agents without tasks).
    pub give_up_after: Duration,
    /// How long tasks of agents that a new leader recovered and that do not come back are kept.
    pub recovered_keep: Duration,
}

/// One Marathon.
#[derive(Clone, Debug, PartialEq)]
pub struct MarathonConfig {
    /// The source's name.
    pub name: SourceName,
    /// The cluster whose tasks it tells of; that of a Mesos source: it adds to what that one tells.
    pub cluster: ClusterName,
    /// URLs of its instances.
    pub urls: Vec<Arc<str>>,
    /// Credentials.
    pub credentials: Option<MarathonCredentials>,
    /// TLS, for those URLs that are https.
    pub tls: ClientTls,
    /// Whether its health and readiness checks count.
    pub use_health: bool,
    /// Whether its health checks are made by this program, too.
    pub active_checks: bool,
    /// How often everything is read even if nothing happened.
    pub resync: Duration,
    /// The longest pause between two attempts.
    pub max_backoff: Duration,
    /// After how long without a byte the stream of events is dead. No setting: how often heartbeats come is Marathon's to
    /// say.
    pub silence: Duration,
}

/// Credentials for Marathon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarathonCredentials {
    /// HTTP basic authentication.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// `Authorization: token=…` (DC/OS).
    Token(Secret),
    /// The file of a DC/OS service account.
    ServiceAccount(PathBuf),
}

impl MarathonConfig {
    /// A Marathon at these URLs, everything else at its default.
    pub fn with_urls(name: &str, urls: &[&str]) -> Self {
        Self {
            name: name.into(),
            cluster: name.into(),
            urls: urls.iter().map(|url| (*url).into()).collect(),
            credentials: None,
            tls: ClientTls::default(),
            use_health: true,
            active_checks: false,
            resync: Duration::from_secs(300),
            max_backoff: Duration::from_secs(30),
            // Heartbeats come every 10 s: three are missed.
            silence: Duration::from_secs(31),
        }
    }
}

/// A file with services, routes and records.
#[derive(Clone, Debug, PartialEq)]
pub struct FileConfig {
    /// The source's name; also its cluster.
    pub name: SourceName,
    /// The file.
    pub path: PathBuf,
    /// DNS zones that its records may be in, lower case, without the final dot.
    pub zones: Vec<Arc<str>>,
}

/// The DNS server.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsConfig {
    /// UDP and TCP addresses; empty: no DNS.
    pub listen: Vec<SocketAddr>,
    /// Time to live of the cluster's records, seconds.
    pub ttl_seconds: u32,
    /// Time to live of negative answers (SOA minimum), seconds.
    pub negative_ttl_seconds: u32,
    /// The largest answer over UDP, octets.
    pub max_udp_size: u16,
    /// SOA and NS: the first label(s) of the name server's name below each zone (`ns1`), or its absolute name with a
    /// final dot.
    pub nameserver: Arc<str>,
    /// Addresses of this server, for the name server's A and AAAA; empty: those it listens on.
    pub nameserver_addresses: Vec<IpAddr>,
    /// SOA RNAME's first labels below the zone (`root.ns1`), or the absolute name with a final dot.
    pub contact: Arc<str>,
    /// SOA refresh, seconds.
    pub soa_refresh_seconds: u32,
    /// SOA retry, seconds.
    pub soa_retry_seconds: u32,
    /// SOA expire, seconds.
    pub soa_expire_seconds: u32,
    /// Which address a task's name has.
    pub ip_sources: Vec<IpSource>,
    /// Weight of SRV records.
    pub srv_weight: u16,
    /// Connections over TCP at a time, per worker.
    pub max_tcp_connections: usize,
    /// An idle TCP connection is closed after this.
    pub tcp_idle: Duration,
    /// Whether unhealthy tasks are named.
    pub name_unhealthy: NameUnhealthy,
    /// Whether a name exists while none of its tasks runs.
    pub hold_names: bool,
    /// How labels are made from the names of tasks and frameworks.
    pub label_rule: LabelRule,
    /// Names that Mesos-DNS does not have.
    pub extra_names: Vec<ExtraName>,
    /// Networks whose addresses lead back to names.
    pub reverse: Vec<IpNet>,
    /// Clients whose place is known.
    pub locality: LocalityConfig,
    /// The zones of DC/OS.
    pub dcos: DcosConfig,
    /// Names that are nobody's here.
    pub forward: ForwardConfig,
    /// What becomes of DNS cookies.
    pub cookies: CookiePolicy,
    /// Keys of cookies: the first makes them, all are taken; none: one is drawn at the start.
    pub cookie_secret: Vec<CookieKey>,
    /// What this server is called, for those who ask which of several has answered.
    pub identity: Option<Arc<str>>,
    /// Whether `version.bind` is answered.
    pub tell_version: bool,
    /// Clients that are answered.
    pub allow: Vec<IpNet>,
    /// How many equal answers one network gets.
    pub rate_limit: RateLimitConfig,
    /// Encrypted transports.
    pub tls: DnsTlsConfig,
    /// Secondary servers.
    pub transfer: TransferConfig,
    /// What is written down of answers.
    pub log: DnsLogConfig,
}

/// What is written down of answers.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsLogConfig {
    /// A file for lines.
    pub path: Option<PathBuf>,
    /// How lines look.
    pub format: LogFormat,
    /// Each so many answers of a worker are written down.
    pub sample: u32,
    /// A Unix socket, or a file, for dnstap.
    pub dnstap: Option<PathBuf>,
}

impl DnsLogConfig {
    /// Whether anything is written down.
    pub fn is_on(&self) -> bool {
        self.path.is_some() || self.dnstap.is_some()
    }
}

impl Default for DnsLogConfig {
    fn default() -> Self {
        Self { path: None, format: LogFormat::Text, sample: 1, dnstap: None }
    }
}

/// Secondary servers, which get whole zones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransferConfig {
    /// Clients that zones are sent to.
    pub allow: Vec<IpNet>,
    /// Who is told of changes.
    pub notify: Vec<SocketAddr>,
    /// Keys: with any, transfers must be signed with one of them, and the first signs what is told.
    pub keys: Vec<TsigKey>,
}

/// A key of TSIG (RFC 8945).
#[derive(Clone, PartialEq, Eq)]
pub struct TsigKey {
    /// Lower case, without the final dot.
    pub name: Arc<str>,
    /// How it signs.
    pub algorithm: TsigAlgorithm,
    /// The secret.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TsigKey").field("name", &"[hidden]").finish_non_exhaustive()
    }
}

/// How a key of TSIG signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsigAlgorithm {
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-384.
    HmacSha384,
    /// HMAC with SHA-512.
    HmacSha512,
}

impl TsigAlgorithm {
    /// Its name in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512].into_iter().find(|known| known.as_str() == name)
    }
}

/// DNS within TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsTlsConfig {
    /// Addresses for DNS over TLS (RFC 7858).
    pub listen: Vec<SocketAddr>,
    /// Addresses for DNS over HTTPS (RFC 8484).
    pub https_listen: Vec<SocketAddr>,
    /// Where queries come to over HTTPS.
    pub https_path: Arc<str>,
    /// A folder of certificates; needed by both.
    pub certificates: Option<PathBuf>,
}

impl Default for DnsTlsConfig {
    fn default() -> Self {
        Self { listen: Vec::new(), https_listen: Vec::new(), https_path: "/dns-query".into(), certificates: None }
    }
}

impl DnsConfig {
    /// Whether this client is answered.
    pub fn allows(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.allow.iter().any(|network| network.contains(&client))
    }

    /// Whether all clients are, of either family.
    pub fn allows_all(&self) -> bool {
        let is_all = |network: &IpNet, is_v4| network.prefix_len() == 0 && network.addr().is_ipv4() == is_v4;
        [true, false].into_iter().all(|is_v4| self.allow.iter().any(|network| is_all(network, is_v4)))
    }
}

/// How many equal answers over UDP one network gets.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimitConfig {
    /// Answers a second, all workers together; 0: as many as are asked for.
    pub responses_per_second: u32,
    /// Each so many of those that are held back are cut to nothing and sent with TC, so that real clients come by TCP; 0:
    /// none.
    pub slip: u8,
    /// Bits of an IPv4 address that make its network.
    pub ipv4_prefix: u8,
    /// Bits of an IPv6 address that make its network.
    pub ipv6_prefix: u8,
    /// Networks that are not limited.
    pub exempt: Vec<IpNet>,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self { responses_per_second: 0, slip: 2, ipv4_prefix: 24, ipv6_prefix: 56, exempt: Vec::new() }
    }
}

/// What becomes of DNS cookies (RFC 7873).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CookiePolicy {
    /// They are ignored.
    Off,
    /// Who sends one gets one.
    #[default]
    Answer,
    /// Who sends one and has none of ours yet is answered only then.
    Require,
}

/// A key that cookies are made with.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieKey(pub [u8; 16]);

impl std::fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Clients whose place is known: what is near them comes first in their answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalityConfig {
    /// The places.
    pub places: Vec<Place>,
    /// Resolvers that are believed what they say of their own clients' networks (RFC 7871).
    pub trusted_resolvers: Vec<IpNet>,
}

/// A place and the clients in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// The clients' networks.
    pub networks: Vec<IpNet>,
    /// The region, as agents' fault domains call it.
    pub region: Option<Arc<str>>,
    /// The zone.
    pub zone: Option<Arc<str>>,
}

impl LocalityConfig {
    /// Where an address is: the longest network that it lies in counts.
    pub fn place_of(&self, address: IpAddr) -> Option<&Place> {
        self.place_of_network(address, u8::MAX).0
    }

    /// Where a network is, given by its first address and the bits of it that count, and how many of these bits an answer
    /// for it holds for (the scope of RFC 7871 §7.2.1).
    ///
    /// A place counts only if the whole network lies in it. The scope is deep enough that within it no other place
    /// begins (§7.2.1: an answer must not cover networks that get another one), also where the network lies in none; it is
    /// deeper than the network itself where a place begins within that.
    pub fn place_of_network(&self, address: IpAddr, bits: u8) -> (Option<&Place>, u8) {
        // Nearly always.
        if self.places.is_empty() {
            return (None, 0);
        }
        let (address, bits, mapped) = canonical(address, bits);
        let networks = self.places.iter().flat_map(|place| place.networks.iter().map(move |network| (place, network)));
        let contains = |network: &IpNet| network.prefix_len() <= bits && network.contains(&address);
        let ours = networks.clone().filter(|(_, network)| contains(network));
        let ours = ours.max_by_key(|(_, network)| network.prefix_len());
        let others = networks.filter(|(place, network)| {
            let is_ours = ours.is_some_and(|(known, _)| std::ptr::eq(known, *place));
            !is_ours && !contains(network)
        });
        let apart = others.filter_map(|(_, network)| bits_apart(address, network)).max();
        let own = ours.map(|(_, network)| network.prefix_len());
        let scope = own.max(apart).map_or(0, |scope| scope + mapped);
        (ours.map(|(place, _)| place), scope)
    }

    /// Whether a resolver is believed.
    pub fn trusts(&self, resolver: IpAddr) -> bool {
        let resolver = resolver.to_canonical();
        self.trusted_resolvers.iter().any(|network| network.contains(&resolver))
    }
}

/// A network as it is without the mapping of IPv4 into IPv6, and how many bits that takes away.
fn canonical(address: IpAddr, bits: u8) -> (IpAddr, u8, u8) {
    const MAPPED: u8 = 96;
    let canonical = address.to_canonical();
    match bits.checked_sub(MAPPED) {
        Some(bits) if canonical != address => (canonical, bits, MAPPED),
        _ => (address, bits, 0),
    }
}

/// The least bits of an address that tell it from a network, or the network's own where the address lies in it; `None`: they
/// are of two families.
fn bits_apart(address: IpAddr, network: &IpNet) -> Option<u8> {
    let equal = match (address, network) {
        (IpAddr::V4(address), IpNet::V4(network)) => (address.to_bits() ^ network.network().to_bits()).leading_zeros(),
        (IpAddr::V6(address), IpNet::V6(network)) => (address.to_bits() ^ network.network().to_bits()).leading_zeros(),
        _ => return None,
    };
    let apart = u8::try_from(equal + 1).unwrap_or(u8::MAX);
    Some(apart.min(network.prefix_len()))
}

/// The zones of DC/OS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DcosConfig {
    /// The Mesos source whose cluster they show; `None`: there are no such zones.
    pub source: Option<Arc<str>>,
    /// The cluster's key, for `KEY.dcos.directory`.
    pub cluster_key: Option<Arc<str>>,
    /// What `thisnode` is.
    pub node_addresses: Vec<IpAddr>,
    /// What `public.thisnode` is.
    pub public_addresses: Vec<IpAddr>,
}

/// Names that are nobody's here: who is asked for them.
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardConfig {
    /// Who is asked for names that no zone below has; none: they are refused.
    pub upstreams: Vec<UpstreamServer>,
    /// Who is asked for the names of some zones; the longest that a name lies in counts.
    pub zones: Vec<ForwardZone>,
    /// Clients that others are asked for.
    pub allow: Vec<IpNet>,
    /// The longest time for an answer, all servers together.
    pub timeout: Duration,
    /// Queries that wait for an answer at a time, per worker.
    pub max_in_flight: usize,
    /// Octets that kept answers take, all workers together.
    pub cache_bytes: usize,
    /// Answers are kept at least so long, seconds.
    pub min_ttl_seconds: u32,
    /// … and at most so long, seconds.
    pub max_ttl_seconds: u32,
    /// … and for absence at most so long, seconds.
    pub max_negative_ttl_seconds: u32,
    /// How long an answer may be served after its time when no better is to be had.
    pub max_stale: Duration,
    /// Whether names that are asked for often are fetched again before their time.
    pub prefetch: bool,
    /// Whether names are spelt at random in queries over UDP, which guesses of an answer have to match.
    pub random_case: bool,
    /// Whether answers about our own names say that others are asked too (RA).
    pub says_available: bool,
    /// PEM file with the authorities to trust for `tls://`; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The search path of clients, in its order; lower case, without final dots.
    pub search: Vec<Arc<str>>,
}

impl ForwardConfig {
    /// Servers that are asked for the names of one zone, or for all others, at most.
    pub const MAX_UPSTREAMS: usize = 16;
}

/// A zone that other servers know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForwardZone {
    /// Lower case, without the final dot.
    pub zone: Arc<str>,
    /// Who is asked.
    pub upstreams: Vec<UpstreamServer>,
}

/// An upstream DNS server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamServer {
    /// Where it is.
    pub address: SocketAddr,
    /// How it is asked.
    pub transport: UpstreamTransport,
}

/// How an upstream DNS server is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamTransport {
    /// UDP, and TCP for what does not fit.
    Udp,
    /// TCP.
    Tcp,
    /// TLS (RFC 7858), with the name that its certificate must have.
    Tls(Arc<str>),
}

impl std::fmt::Display for UpstreamServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.transport {
            UpstreamTransport::Udp => write!(f, "{}", self.address),
            UpstreamTransport::Tcp => write!(f, "tcp://{}", self.address),
            UpstreamTransport::Tls(name) => write!(f, "tls://{}#{name}", self.address),
        }
    }
}

impl IpSource {
    /// The source that Mesos-DNS calls so, as our own setting does, which has one more.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "netinfo" => Self::Netinfo,
            "mesos" => Self::Mesos,
            "docker" => Self::Docker,
            "host" => Self::Host,
            _ => return None,
        })
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Netinfo => "netinfo",
            Self::Mesos => "mesos",
            Self::Docker => "docker",
            Self::Host => "host",
        }
    }
}

/// When unhealthy tasks are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameUnhealthy {
    /// While no task of the name is better.
    #[default]
    Fallback,
    /// Always, as Mesos-DNS does: exactly the running tasks whose agent is known are named.
    Always,
}

/// How labels are made from names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelRule {
    /// Up to 63 letters, digits and hyphens.
    #[default]
    Rfc1123,
    /// Up to 24, a letter first.
    Rfc952,
}

/// Where a task's address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpSource {
    /// Where it is reached: its agent's address where ports of the agent lead to it, else its containers' addresses.
    Auto,
    /// Its containers' addresses.
    Netinfo,
    /// The address that the Mesos containerizer put into a label of the task's status.
    Mesos,
    /// The address that the Docker containerizer put into a label of the task's status.
    Docker,
    /// Its agent's address.
    Host,
}

/// Names that Mesos-DNS does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraName {
    /// Single tasks by their id.
    Ids,
    /// Agents by id and by host name.
    Agents,
    /// Ports of a task as RFC 2782 writes them: `_PORT._PROTO.T.FW`.
    Services,
    /// TXT records with a task's or an agent's facts.
    Text,
    /// SVCB and HTTPS records (RFC 9460).
    Bindings,
    /// Tasks by network: `T.FW.NETWORK.network`.
    Networks,
}

impl ExtraName {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Ids, Self::Agents, Self::Services, Self::Text, Self::Bindings, Self::Networks];
}

/// The proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyConfig {
    /// Listeners; empty: no proxy.
    pub listeners: Vec<ListenerConfig>,
    /// Timeouts and limits.
    pub limits: ProxyLimits,
    /// Clients whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The name in `Via`.
    pub via: Arc<str>,
    /// Answers of its own carry `Proxy-Status`.
    pub proxy_status: bool,
    /// A folder of pages in place of the proxy's own short texts.
    pub error_pages: Option<PathBuf>,
    /// The header field of a request's id.
    pub request_id: Option<Arc<str>>,
    /// What is written down of requests.
    pub access_log: AccessLogConfig,
    /// How requests are followed through several services.
    pub trace: TraceConfig,
    /// … and those of endpoints say where they come from.
    pub proxy_status_relayed: bool,
    /// How requests are spread over endpoints.
    pub balance: BalanceConfig,
    /// The one form of paths.
    pub paths: PathPolicy,
    /// What becomes of requests' fields with `_` in their names.
    pub underscores: Underscores,
    /// Who is told what a request without a route lacks.
    pub misses: Misses,
    /// Where this proxy is.
    pub zone: ZoneConfig,
    /// Second copies of slow requests.
    pub hedging: HedgingConfig,
    /// Limits that are found out.
    pub adaptive: AdaptiveConfig,
    /// Attempts per request in all, the first one included.
    pub max_attempts: u32,
    /// Repeats allowed as a share of requests.
    pub retry_ratio: f64,
    /// Statuses by which an endpoint says that it has no time: another one is asked where that is safe.
    pub retry_statuses: Vec<u16>,
    /// Request bodies up to this size are kept for a second attempt.
    pub retry_body_bytes: usize,
    /// Hops (`Via` entries of ours) after which a request counts as looping.
    pub max_hops: u32,
    /// The port that redirects to HTTPS name.
    pub https_port: u16,
    /// Ports that apps may claim.
    pub service_ports: ServicePorts,
    /// Sessions of TLS.
    pub tls: ListenerTlsConfig,
    /// What services and routes can ask for by name.
    pub filters: Vec<FilterConfig>,
    /// Authorities that certificates are got from.
    pub acme: Vec<AcmeConfig>,
}

/// What becomes of a path before a route is looked up by it; what was matched is what is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathPolicy {
    /// `//` is `/`.
    pub merge_slashes: bool,
    /// `%2F` and `%5C` are refused; else they stay as they are, and are no separators.
    pub refuse_encoded_slashes: bool,
}

impl Default for PathPolicy {
    fn default() -> Self {
        Self { merge_slashes: true, refuse_encoded_slashes: false }
    }
}

/// What becomes of a request's fields with `_` in their names: many backends (CGI, WSGI, PHP) read it as `-`, and then take
/// such a field for another one (GHSA-5m6w-wvh7-57vm).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    /// Those go that would be taken for what this proxy, a filter or a route writes, or for what frames and routes.
    #[default]
    Aliases,
    /// All of them go.
    Drop,
    /// A request that has one is refused.
    Refuse,
}

/// Who is told what a request without a route lacks that the nearest route asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Misses {
    /// Nobody, and nothing is looked for.
    #[default]
    None,
    /// Who reads the access log.
    Log,
    /// The client, too.
    Header,
}

/// TLS of all listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTlsConfig {
    /// How long a key of session tickets is used; zero: no session is resumed.
    pub ticket_rotation: Duration,
    /// A file with the keys, where instances share them.
    pub ticket_keys: Option<PathBuf>,
}

impl Default for ListenerTlsConfig {
    fn default() -> Self {
        Self { ticket_rotation: Duration::from_secs(12 * 3600), ticket_keys: None }
    }
}

/// Ports of the proxy that apps may claim for themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePorts {
    /// Where they are opened; empty: none are.
    pub addresses: Vec<IpAddr>,
    /// Which may be claimed.
    pub allowed: Vec<PortRange>,
    /// Which are assigned to apps that have an address for each task and no service port; `None`: none are.
    pub assigned: Option<PortRange>,
    /// A folder of certificates: for those that are to speak TLS, and for their services' hosts at listeners.
    pub certificates: Option<PathBuf>,
    /// Whose connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Vec<IpNet>,
}

/// How requests are spread over the endpoints of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct BalanceConfig {
    /// The algorithm of services whose labels name none.
    pub algorithm: Algorithm,
    /// How long an endpoint that became ready has a growing share; zero: it has its whole share at once.
    pub slow_start: Duration,
    /// With hashing: an endpoint takes at most so many percent of an even part of the requests under way; 0: any.
    pub hash_balance: u32,
    /// Requests under way at an endpoint, all workers together; 0: any number.
    pub max_requests: u32,
    /// Requests of a service that wait at a worker while all its endpoints are full.
    pub max_queue: u32,
    /// How long one waits at most.
    pub queue_time: Duration,
    /// When endpoints that fail are spared.
    pub ejection: EjectionConfig,
    /// When those that do worse than the others are.
    pub outliers: OutlierConfig,
}

/// When endpoints that fail are spared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EjectionConfig {
    /// After so many failures in a row; 0: never, and whatever else is said here has no effect.
    pub in_a_row: u32,
    /// … or when a smaller share of the last ten seconds' answers was good.
    pub success_ratio: f64,
    /// For so long at first …
    pub shortest: Duration,
    /// … and at most.
    pub longest: Duration,
    /// So large a share of a service's endpoints at most.
    pub max_share: f64,
    /// When a smaller share is left, all count again.
    pub panic_threshold: f64,
}

/// When endpoints that do worse than the others of their service are spared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierConfig {
    /// So many tenths of the standard deviation below the mean of the success rates; 0: never for that.
    pub deviation_tenths: u32,
    /// … and by so large a part of the answers at least.
    pub margin: f64,
    /// Answers of an endpoint in ten seconds below which its success rate says nothing.
    pub rate_answers: u32,
    /// So large a part of its answers that is bad, whatever the others do; 0: never for that.
    pub failure_share: f64,
    /// Answers of an endpoint in ten seconds below which that says nothing.
    pub share_answers: u32,
    /// Endpoints with so many answers below which none is compared.
    pub min_endpoints: u32,
    /// For so long the first time, twice and three times as long … when it happens again …
    pub time: Duration,
    /// … and at most.
    pub longest: Duration,
}

/// Envoy's figures, but for the margin: without one, a service that does not fail would spare an endpoint for a single
/// failure.
impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            deviation_tenths: 19,
            margin: 0.05,
            rate_answers: 100,
            failure_share: 0.0,
            share_answers: 50,
            min_endpoints: 5,
            time: Duration::from_secs(30),
            longest: Duration::from_secs(300),
        }
    }
}

/// Where the proxy is, and when requests stay there.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneConfig {
    /// The zone, as agents' fault domains call it; none: zones are not looked at.
    pub name: Option<Arc<str>>,
    /// The region, where zones of several have one name.
    pub region: Option<Arc<str>>,
    /// The part of all requests that arrives at proxies of this zone; 0: an even one.
    pub share: f64,
    /// With fewer endpoints zones are not looked at.
    pub min_endpoints: u32,
    /// With so many endpoints in the zone all requests stay there; 0: never for that.
    pub stay_from: u32,
}

impl Default for ZoneConfig {
    fn default() -> Self {
        // As Envoy has it.
        Self { name: None, region: None, share: 0.0, min_endpoints: 6, stay_from: 0 }
    }
}

/// Second copies of slow requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgingConfig {
    /// Copies as a share of a service's requests; 0: none.
    pub ratio: f64,
    /// One is sent when this share of the service's answers would have begun.
    pub quantile: f64,
    /// … and not before this time.
    pub shortest: Duration,
}

impl Default for HedgingConfig {
    fn default() -> Self {
        Self { ratio: 0.0, quantile: 0.95, shortest: Duration::from_millis(5) }
    }
}

/// Limits of requests under way that are found out by how long answers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveConfig {
    /// Whether there are any.
    pub enabled: bool,
    /// Requests of a service that may always be under way at a worker.
    pub least: u32,
    /// … and at most.
    pub most: u32,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self { enabled: false, least: 20, most: 200 }
    }
}

/// One address the proxy listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Its name in logs and metrics.
    pub name: Arc<str>,
    /// The address.
    pub address: SocketAddr,
    /// A folder of certificates (`NAME.crt`/`.pem` with `NAME.key`); without it and `pairs`: clear text.
    pub certificates: Option<PathBuf>,
    /// Certificates by their files; they go before those of the folder, the first one first.
    pub pairs: Vec<PairFiles>,
    /// PEM file with the authorities that sign certificates of clients; `None`: clients are asked for none.
    pub client_ca: Option<PathBuf>,
    /// Files with lists of what these have revoked; none: nothing is looked up.
    pub client_crl: Vec<PathBuf>,
    /// Whether clients must show one.
    pub client_certificate: ClientDemand,
    /// What requests are routed by.
    pub route_by: RouteBy,
    /// Whose connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Vec<IpNet>,
    /// TLS connections for names that ports claim are carried there as they are.
    pub passthrough: bool,
}

impl ListenerConfig {
    /// Clear text, routed by host.
    pub fn plain(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.into(),
            address,
            certificates: None,
            pairs: Vec::new(),
            client_ca: None,
            client_crl: Vec::new(),
            client_certificate: ClientDemand::default(),
            route_by: RouteBy::default(),
            proxy_protocol: Vec::new(),
            passthrough: false,
        }
    }

    /// Whether it speaks TLS.
    pub fn speaks_tls(&self) -> bool {
        self.certificates.is_some() || !self.pairs.is_empty()
    }
}

/// A certificate and its key, by their files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PairFiles {
    /// PEM file with the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file with the key; it may be the same one.
    pub key: PathBuf,
}

/// Whether clients of a listener must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientDemand {
    /// Who shows none is no client.
    #[default]
    Required,
    /// Who shows none comes without a name.
    Optional,
}

/// What a listener's requests are routed by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteBy {
    /// Their host and path.
    #[default]
    Host,
    /// The app that they name (`X-Marathon-App-Id`).
    App,
}

/// Timeouts and limits of the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyLimits {
    /// From the first byte of a request's head to its last.
    pub header: Duration,
    /// For a connection to an endpoint.
    pub connect: Duration,
    /// For the first byte of an answer, per attempt, where another attempt is possible.
    pub per_try: Duration,
    /// For the first byte of the answer, all attempts together.
    pub response: Duration,
    /// Without a byte in either direction of a body or an upgraded connection.
    pub idle: Duration,
    /// Without a byte in either direction of a plain TCP connection.
    pub tcp_idle: Duration,
    /// A client's connection without a request.
    pub keep_alive: Duration,
    /// An upstream connection without a request.
    pub upstream_idle: Duration,
    /// Size of a request's head.
    pub head_bytes: usize,
    /// Fields of a request's head.
    pub head_fields: usize,
    /// Client connections per worker.
    pub connections: usize,
    /// … of one network (/24, or /48 of IPv6) that is not a trusted proxy's.
    pub connections_per_network: usize,
    /// Octets of bodies that may wait in one worker's memory.
    pub buffer_bytes: usize,
    /// Requests under way on one HTTP/2 connection.
    pub streams: u32,
    /// Connections in use, per endpoint and worker.
    pub connections_per_endpoint: u32,
    /// Connections kept open and unused, per endpoint and worker.
    pub idle_per_endpoint: usize,
}

/// Who is served, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingConfig {
    /// Tasks with a health check and no verdict so far are ready.
    pub serve_unverified: bool,
    /// Tasks of a lost agent are kept this long.
    pub unreachable_keep: Duration,
    /// All endpoints are served again when none is ready, or too few.
    pub panic: bool,
    /// Too few are less than this part; 0: none is ever too few but none at all.
    pub panic_threshold: f64,
    /// Groups whose `HAPROXY_GROUP` (or `pointsman.group`) labels are served; `*`: all, also tasks without one; none:
    /// every group that a label names.
    pub groups: Vec<String>,
    /// Requests in flight on a draining endpoint may go on this long.
    pub drain_time: Duration,
    /// A task's port must lie in its `ports` resource when its agent's address is used.
    pub require_port_resource: bool,
    /// Ports that `HAPROXY_GROUP` selects are off unless `HAPROXY_{n}_ENABLED` is true.
    pub strict_mode: bool,
}

/// Active checks of endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthConfig {
    /// Of ports whose labels say nothing; `None`: they are not checked.
    pub check: Option<CheckKind>,
    /// The path that is asked for, for HTTP.
    pub path: Arc<str>,
    /// How often.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// Successes in a row that bring an endpoint back.
    pub rise: u32,
    /// Failures in a row that take it out.
    pub fall: u32,
    /// Checks at a time.
    pub concurrency: usize,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            check: None,
            path: "/".into(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            concurrency: 64,
        }
    }
}

/// Which addresses requests may be sent to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamsConfig {
    /// Networks whose addresses are accepted beside the agents' own.
    pub allowed_networks: Vec<IpNet>,
    /// How TLS is spoken with endpoints, by name.
    pub tls: Vec<EndpointTlsConfig>,
}

/// How TLS is spoken with endpoints that name this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointTlsConfig {
    /// What labels call it; `default` counts where they name none.
    pub name: Arc<str>,
    /// PEM file with the authorities to trust; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// Files with lists of what these have revoked; none: nothing is looked up.
    pub crl: Vec<PathBuf>,
    /// PEM file with the certificate to show, and its chain.
    pub certificate: Option<PathBuf>,
    /// PEM file with its key.
    pub key: Option<PathBuf>,
    /// The name that certificates must be for; `None`: the endpoint's address.
    pub server_name: Option<Arc<str>>,
}

impl Default for EndpointTlsConfig {
    fn default() -> Self {
        Self { name: "".into(), ca: None, crl: Vec::new(), certificate: None, key: None, server_name: None }
    }
}

impl EndpointTlsConfig {
    /// The files that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let single = [&self.ca, &self.certificate, &self.key].into_iter().flatten();
        single.chain(&self.crl).map(PathBuf::as_path)
    }
}

/// Who may claim what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyConfig {
    /// Framework names it speaks of; empty: all. `*` at an end matches any text.
    pub frameworks: Vec<String>,
    /// Principals; empty: all.
    pub principals: Vec<String>,
    /// Roles; empty: all.
    pub roles: Vec<String>,
    /// Service names; empty: all.
    pub apps: Vec<String>,
    /// Hosts they may claim; empty: none.
    pub hosts: Vec<HostPattern>,
    /// Path prefixes they may claim; empty: all.
    pub paths: Vec<String>,
    /// Ports they may claim; empty: all.
    pub ports: Vec<u16>,
    /// DNS names (patterns) they may make; empty: all.
    pub names: Vec<String>,
}

/// The admin API.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminConfig {
    /// TCP address; `None`: only the socket.
    pub listen: Option<SocketAddr>,
    /// Unix socket, mode 0600; `None`: none.
    pub socket: Option<PathBuf>,
    /// Token that allows changes over TCP.
    pub token: Option<Secret>,
    /// Certificate and key for TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// `Host` values accepted beside the listener's own addresses and `localhost`.
    pub hosts: Vec<String>,
    /// A listener for `/metrics`, `/healthz` and `/readyz` alone.
    pub metrics_listen: Option<SocketAddr>,
    /// A listener for Mesos-DNS's HTTP API.
    pub mesos_dns_listen: Option<SocketAddr>,
    /// Whether it lists all names that Mesos-DNS has (`/v1/enumerate`, `/v1/axfr`).
    pub mesos_dns_enumeration: bool,
}

/// Asked once: a quota that changes while the program runs must not look like a changed setting.
static CORES: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: None,
            socket: None,
            token: None,
            tls: None,
            hosts: Vec::new(),
            metrics_listen: None,
            mesos_dns_listen: None,
            mesos_dns_enumeration: true,
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            workers: *CORES,
            drain_time: Duration::from_secs(30),
            service_retention: Duration::from_secs(3600),
            history: 64,
            hand_over: None,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

impl Default for StateConfig {
    fn default() -> Self {
        Self { path: None, interval: Duration::from_secs(10) }
    }
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            max_share: 0.2,
            max_count: 10,
            confirm_after: Duration::from_secs(60),
            give_up_after: Duration::from_secs(600),
            recovered_keep: Duration::from_secs(900),
        }
    }
}

impl MesosConfig {
    /// Whether `other` is served by the same stream: what only the derivation reads (the zone, the guard) may differ.
    pub fn has_same_stream(&self, other: &Self) -> bool {
        let stream = |config: &Self| Self { zone: "".into(), guard: GuardConfig::default(), ..config.clone() };
        stream(self) == stream(other)
    }

    /// A cluster whose masters are known by address, everything else at its default.
    pub fn with_masters(name: &str, zone: &str, masters: &[&str]) -> Self {
        Self {
            name: name.into(),
            cluster: name.into(),
            zone: zone.into(),
            masters: Masters::List(masters.iter().map(|m| (*m).to_owned()).collect()),
            mode: MesosMode::Subscribe,
            poll_interval: Duration::from_secs(30),
            poll_timeout: Duration::from_secs(300),
            encoding: MesosEncoding::Protobuf,
            credentials: None,
            tls: None,
            missed_heartbeats: 5,
            max_backoff: Duration::from_secs(30),
            agents_interval: Duration::from_secs(60),
            guard: GuardConfig::default(),
        }
    }
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            ttl_seconds: 5,
            negative_ttl_seconds: 1,
            max_udp_size: 1232,
            nameserver: "ns1".into(),
            nameserver_addresses: Vec::new(),
            contact: "root.ns1".into(),
            soa_refresh_seconds: 60,
            soa_retry_seconds: 600,
            soa_expire_seconds: 86_400,
            ip_sources: vec![IpSource::Auto, IpSource::Host],
            srv_weight: 1,
            max_tcp_connections: 1024,
            tcp_idle: Duration::from_secs(10),
            name_unhealthy: NameUnhealthy::Fallback,
            hold_names: true,
            label_rule: LabelRule::Rfc1123,
            extra_names: ExtraName::ALL.to_vec(),
            reverse: Vec::new(),
            locality: LocalityConfig::default(),
            dcos: DcosConfig::default(),
            forward: ForwardConfig::default(),
            cookies: CookiePolicy::Answer,
            cookie_secret: Vec::new(),
            identity: None,
            tell_version: false,
            allow: EVERYBODY.iter().filter_map(|network| network.parse().ok()).collect(),
            rate_limit: RateLimitConfig::default(),
            tls: DnsTlsConfig::default(),
            transfer: TransferConfig::default(),
            log: DnsLogConfig::default(),
        }
    }
}

/// Networks that the Internet does not route: an open resolver is a weapon in others' hands.
const PRIVATE_NETWORKS: [&str; 6] =
    ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"];

/// All clients, of both families.
const EVERYBODY: [&str; 2] = ["0.0.0.0/0", "::/0"];

impl Default for ForwardConfig {
    fn default() -> Self {
        Self {
            upstreams: Vec::new(),
            zones: Vec::new(),
            allow: PRIVATE_NETWORKS.iter().filter_map(|network| network.parse().ok()).collect(),
            timeout: Duration::from_secs(5),
            max_in_flight: 1024,
            cache_bytes: 32 << 20,
            min_ttl_seconds: 0,
            max_ttl_seconds: 86_400,
            max_negative_ttl_seconds: 60,
            max_stale: Duration::from_secs(86_400),
            prefetch: true,
            random_case: true,
            says_available: true,
            ca: None,
            search: Vec::new(),
        }
    }
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            limits: ProxyLimits::default(),
            trusted_proxies: Vec::new(),
            via: "pointsman".into(),
            proxy_status: false,
            error_pages: None,
            request_id: None,
            access_log: AccessLogConfig::default(),
            trace: TraceConfig::default(),
            proxy_status_relayed: false,
            balance: BalanceConfig::default(),
            paths: PathPolicy::default(),
            underscores: Underscores::default(),
            misses: Misses::default(),
            zone: ZoneConfig::default(),
            hedging: HedgingConfig::default(),
            adaptive: AdaptiveConfig::default(),
            max_attempts: 3,
            retry_ratio: 0.2,
            retry_statuses: vec![503],
            retry_body_bytes: 65_536,
            max_hops: 5,
            https_port: 443,
            service_ports: ServicePorts::default(),
            tls: ListenerTlsConfig::default(),
            filters: Vec::new(),
            acme: Vec::new(),
        }
    }
}

impl Default for BalanceConfig {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::PeakEwma,
            slow_start: Duration::from_secs(10),
            hash_balance: 150,
            max_requests: 0,
            max_queue: 1000,
            queue_time: Duration::from_secs(5),
            ejection: EjectionConfig::default(),
            outliers: OutlierConfig::default(),
        }
    }
}

/// linkerd's figures for the failures and the times, Envoy's for the panic threshold.
impl Default for EjectionConfig {
    fn default() -> Self {
        Self {
            in_a_row: 7,
            success_ratio: 0.8,
            shortest: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            max_share: 0.5,
            panic_threshold: 0.5,
        }
    }
}

impl Default for ServicePorts {
    fn default() -> Self {
        // Where Marathon assigns service ports.
        Self {
            addresses: Vec::new(),
            allowed: vec![PortRange { begin: 10_000, end: 20_000 }],
            assigned: None,
            certificates: None,
            proxy_protocol: Vec::new(),
        }
    }
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            connect: Duration::from_secs(1),
            per_try: Duration::from_secs(5),
            response: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            tcp_idle: Duration::from_secs(3600),
            keep_alive: Duration::from_secs(60),
            upstream_idle: Duration::from_secs(30),
            head_bytes: 65_536,
            head_fields: 100,
            connections: 50_000,
            connections_per_network: 10_000,
            buffer_bytes: 256 << 20,
            streams: 100,
            connections_per_endpoint: 10_000,
            idle_per_endpoint: 1024,
        }
    }
}

impl Default for RoutingConfig {
    fn default() -> Self {
        Self {
            serve_unverified: false,
            unreachable_keep: Duration::from_secs(300),
            panic: true,
            panic_threshold: 0.0,
            groups: Vec::new(),
            drain_time: Duration::from_secs(60),
            require_port_resource: true,
            strict_mode: false,
        }
    }
}
