//! `[[proxy.filters]]`: what a service or a route can ask for by name.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::access::LogRule;

/// A named filter. What is left at its default does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterConfig {
    /// What labels call it.
    pub name: Arc<str>,
    /// Clients that may come in; empty: all.
    pub allow: Vec<IpNet>,
    /// Clients that may not, whatever else is said.
    pub deny: Vec<IpNet>,
    /// Requests in [`FilterConfig::rate_period`]; 0: as many as come.
    pub rate: u32,
    /// The time that [`FilterConfig::rate`] is of.
    pub rate_period: Duration,
    /// Requests that may come at once; 0: as many as in a period.
    pub rate_burst: u32,
    /// What is counted together.
    pub rate_by: RateBy,
    /// The largest body of a request; 0: any.
    pub max_body: usize,
    /// Answers carry fields that make browsers careful.
    pub security_headers: bool,
    /// Whether requests are written down.
    pub access_log: LogRule,
    /// Cross-origin requests of browsers (CORS).
    pub cors: CorsConfig,
}

/// What a rate is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateBy {
    /// One client's address, of IPv6 its /64.
    #[default]
    Address,
    /// All clients together.
    All,
}

/// Which pages of other origins may ask, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsConfig {
    /// Origins, `*` for all; empty: nothing is done about CORS.
    pub origins: Vec<Arc<str>>,
    /// Methods beside GET, HEAD and POST.
    pub methods: Vec<Arc<str>>,
    /// Request header fields, `*` for all.
    pub headers: Vec<Arc<str>>,
    /// Answer header fields that pages may read.
    pub expose: Vec<Arc<str>>,
    /// With cookies and passwords.
    pub credentials: bool,
    /// How long browsers remember it.
    pub max_age: Duration,
}

impl Default for FilterConfig {
    fn default() -> Self {
        Self {
            name: "".into(),
            allow: Vec::new(),
            deny: Vec::new(),
            rate: 0,
            rate_period: Duration::from_secs(1),
            rate_burst: 0,
            rate_by: RateBy::default(),
            max_body: 0,
            security_headers: false,
            access_log: LogRule::Sampled,
            cors: CorsConfig::default(),
        }
    }
}

impl Default for CorsConfig {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            methods: Vec::new(),
            headers: Vec::new(),
            expose: Vec::new(),
            credentials: false,
            max_age: Duration::from_secs(600),
        }
    }
}
