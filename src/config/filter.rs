//! `[[proxy.filters]]`: what a service or a route can ask for by name.

use std::path::PathBuf;
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
    /// The largest head of a request, as HTTP/1.1 would write it; 0: as for all.
    pub max_head: usize,
    /// Answers carry fields that make browsers careful.
    pub security_headers: bool,
    /// Whether requests are written down.
    pub access_log: LogRule,
    /// Somebody who is asked whether a request may pass.
    pub forward_auth: ForwardAuthConfig,
    /// Tokens that requests must have.
    pub jwt: JwtConfig,
    /// Pages for errors.
    pub errors: ErrorsConfig,
    /// Cross-origin requests of browsers (CORS).
    pub cors: CorsConfig,
    /// How answers are compressed.
    pub compress: CompressConfig,
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

/// Somebody who is asked whether a request may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardAuthConfig {
    /// Where; `None`: nobody is asked.
    pub url: Option<Arc<str>>,
    /// A file of authorities; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Fields of requests that are told, beside passwords and cookies; empty: all.
    pub request_headers: Vec<Arc<str>>,
    /// Fields of the answer that endpoints get.
    pub copy_headers: Vec<Arc<str>>,
    /// For the whole answer.
    pub timeout: Duration,
}

/// Tokens that requests must have (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// A file or a URL with the keys that sign them; `None`: no token is asked for.
    pub keys: Option<Arc<str>>,
    /// A file of authorities for the URL; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// How often the keys are read again.
    pub refresh: Duration,
    /// Who must have issued them.
    pub issuer: Option<Arc<str>>,
    /// For whom they must be, one of these.
    pub audience: Vec<Arc<str>>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// A cookie that they may be in, where there is no `Authorization: Bearer`.
    pub cookie: Option<Arc<str>>,
    /// Claims and the fields that tell them to endpoints, `claim=Field`.
    pub claims: Vec<Arc<str>>,
}

impl Default for ForwardAuthConfig {
    fn default() -> Self {
        Self {
            url: None,
            ca: None,
            request_headers: Vec::new(),
            copy_headers: Vec::new(),
            timeout: Duration::from_secs(5),
        }
    }
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            keys: None,
            ca: None,
            refresh: Duration::from_secs(300),
            issuer: None,
            audience: Vec::new(),
            leeway: Duration::from_secs(30),
            cookie: None,
            claims: Vec::new(),
        }
    }
}

/// Pages for errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorsConfig {
    /// A folder of pages; `None`: those of all services.
    pub pages: Option<PathBuf>,
    /// A service of the table that gives the page, as people call it; `None`: nobody is asked.
    pub service: Option<Arc<str>>,
    /// What it is asked for; `{status}` stands for the status.
    pub path: Arc<str>,
    /// For its whole answer.
    pub timeout: Duration,
    /// Statuses of endpoints' answers that are replaced, too: `404`, `5xx`.
    pub replace: Vec<Arc<str>>,
}

impl Default for ErrorsConfig {
    fn default() -> Self {
        Self {
            pages: None,
            service: None,
            path: "/{status}.html".into(),
            timeout: Duration::from_secs(1),
            replace: Vec::new(),
        }
    }
}

impl ErrorsConfig {
    /// Whether it says anything of errors.
    pub fn is_used(&self) -> bool {
        self.pages.is_some() || self.service.is_some() || !self.replace.is_empty()
    }

    /// Whether an endpoint's answer of this status is replaced.
    pub fn replaces(&self, status: u16) -> bool {
        let class = [b'0' + u8::try_from(status / 100).unwrap_or_default(), b'x', b'x'];
        self.replace.iter().any(|said| said.as_bytes() == class || said.parse() == Ok(status))
    }
}

/// Which answers are compressed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressConfig {
    /// By what, the best first; empty: nothing is compressed.
    pub codings: Vec<Coding>,
    /// Shorter answers are sent as they are.
    pub min_size: usize,
    /// Media types, with `*` at an end.
    pub types: Vec<Arc<str>>,
}

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// Every coding.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        self.names()[0]
    }

    /// All its names.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Zstd => &["zstd"],
            Self::Brotli => &["br"],
            Self::Gzip => &["gzip", "x-gzip"],
        }
    }
}

/// What is text, more or less.
const COMPRESSED_TYPES: [&str; 9] = [
    "text/*",
    "*+json",
    "*+xml",
    "application/json",
    "application/x-ndjson",
    "application/javascript",
    "application/xml",
    "application/wasm",
    "image/bmp",
];

impl Default for CompressConfig {
    fn default() -> Self {
        Self {
            codings: Vec::new(),
            min_size: 1024,
            types: COMPRESSED_TYPES.iter().map(|kind| (*kind).into()).collect(),
        }
    }
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
            max_head: 0,
            security_headers: false,
            access_log: LogRule::Sampled,
            forward_auth: ForwardAuthConfig::default(),
            jwt: JwtConfig::default(),
            errors: ErrorsConfig::default(),
            cors: CorsConfig::default(),
            compress: CompressConfig::default(),
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
