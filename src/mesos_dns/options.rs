//! The options of a Mesos-DNS configuration file: one table of them, read as Mesos-DNS reads them (keys without regard
//! to case, a null leaves the default, the last of two counts), with every fault at once.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::json::Value;
use crate::config::checked::IpSource;

/// What a file says, the defaults of Mesos-DNS where it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// ZooKeeper's URL; empty: `masters` count.
    pub zk: String,
    /// `host:port` of each master.
    pub masters: Vec<String>,
    /// How long to wait for ZooKeeper, seconds.
    pub zk_detection_timeout: i64,
    /// Seconds between two reads of the state.
    pub refresh_seconds: i64,
    /// The longest time for one read, seconds.
    pub state_timeout_seconds: i64,
    /// Time to live, seconds.
    pub ttl: i64,
    /// The zone.
    pub domain: String,
    /// The address of DNS.
    pub listener: String,
    /// Its port.
    pub port: i64,
    /// Whether there is DNS.
    pub dns_on: bool,
    /// Whether there is the HTTP API.
    pub http_on: bool,
    /// Its port.
    pub http_port: i64,
    /// Its address.
    pub http_listener: String,
    /// Whether names outside the zone are forwarded.
    pub external_on: bool,
    /// Where to.
    pub resolvers: Vec<String>,
    /// Where to, by zone.
    pub zone_resolvers: Vec<(String, Vec<String>)>,
    /// For a forwarded query, seconds.
    pub timeout: i64,
    /// RA in answers.
    pub recurse_on: bool,
    /// MNAME.
    pub soa_mname: String,
    /// RNAME.
    pub soa_rname: String,
    /// Seconds.
    pub soa_refresh: i64,
    /// Seconds.
    pub soa_retry: i64,
    /// Seconds.
    pub soa_expire: i64,
    /// Never used.
    pub soa_minttl: i64,
    /// The first serial; overwritten at each read.
    pub soa_serial: i64,
    /// Weight of SRV records.
    pub srv_weight: i64,
    /// Whether truncated answers say so.
    pub set_truncate_bit: bool,
    /// Short labels.
    pub enforce_rfc952: bool,
    /// Sources of tasks' addresses.
    pub ip_sources: Vec<String>,
    /// `/v1/enumerate` and `/v1/axfr`.
    pub enumeration_on: bool,
    /// TLS towards the masters.
    pub mesos_https_on: bool,
    /// PEM file of authorities.
    pub ca_cert_file: String,
    /// PEM file of a client certificate.
    pub cert_file: String,
    /// PEM file of its key.
    pub key_file: String,
    /// "", "basic" or "iam".
    pub mesos_authentication: String,
    /// Of basic authentication.
    pub principal: String,
    /// Of basic authentication.
    pub secret: String,
    /// A service account's file.
    pub iam_config_file: String,
    /// The file's own path; overwritten.
    pub file: String,
    /// Options that the file gives, by their names in it, with their places.
    pub given: Vec<(&'static str, Range<usize>)>,
    /// Keys that Mesos-DNS does not know and ignores.
    pub unknown: Vec<(String, Range<usize>)>,
}

/// What is wrong with an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The option.
    pub option: String,
    /// Where it stands; `None`: it is absent.
    pub span: Option<Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub mend: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            zk: String::new(),
            masters: Vec::new(),
            zk_detection_timeout: 30,
            refresh_seconds: 60,
            state_timeout_seconds: 300,
            ttl: 60,
            domain: "mesos".into(),
            listener: "0.0.0.0".into(),
            port: 53,
            dns_on: true,
            http_on: true,
            http_port: 8123,
            http_listener: "0.0.0.0".into(),
            external_on: true,
            resolvers: vec!["8.8.8.8".into()],
            zone_resolvers: Vec::new(),
            timeout: 5,
            recurse_on: true,
            soa_mname: "ns1.mesos".into(),
            soa_rname: "root.ns1.mesos".into(),
            soa_refresh: 60,
            soa_retry: 600,
            soa_expire: 86_400,
            soa_minttl: 60,
            soa_serial: 0,
            srv_weight: 1,
            set_truncate_bit: true,
            enforce_rfc952: false,
            ip_sources: ["netinfo", "mesos", "host"].map(str::to_owned).into(),
            enumeration_on: true,
            mesos_https_on: false,
            ca_cert_file: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
            mesos_authentication: String::new(),
            principal: String::new(),
            secret: String::new(),
            iam_config_file: String::new(),
            file: String::new(),
            given: Vec::new(),
            unknown: Vec::new(),
        }
    }
}

/// How an option's value is read.
enum Kind {
    Text(fn(&mut Options) -> &mut String),
    Flag(fn(&mut Options) -> &mut bool),
    /// Within the bounds of the type that Mesos-DNS has for it.
    Number(fn(&mut Options) -> &mut i64, i64, i64),
    Texts(fn(&mut Options) -> &mut Vec<String>),
    Zones,
    Credentials,
    /// Accepted and ignored by Mesos-DNS itself.
    Ignored,
}

const INT: (i64, i64) = (i64::MIN, i64::MAX);
const UINT32: (i64, i64) = (0, 0xffff_ffff);

/// Every option, as its documentation writes it.
const TABLE: &[(&str, Kind)] = &[
    ("zk", Kind::Text(|o| &mut o.zk)),
    ("masters", Kind::Texts(|o| &mut o.masters)),
    ("zkDetectionTimeout", Kind::Number(|o| &mut o.zk_detection_timeout, INT.0, INT.1)),
    ("refreshSeconds", Kind::Number(|o| &mut o.refresh_seconds, INT.0, INT.1)),
    ("stateTimeoutSeconds", Kind::Number(|o| &mut o.state_timeout_seconds, INT.0, INT.1)),
    ("ttl", Kind::Number(|o| &mut o.ttl, -0x8000_0000, 0x7fff_ffff)),
    ("domain", Kind::Text(|o| &mut o.domain)),
    ("listener", Kind::Text(|o| &mut o.listener)),
    ("port", Kind::Number(|o| &mut o.port, INT.0, INT.1)),
    ("dnsOn", Kind::Flag(|o| &mut o.dns_on)),
    ("httpOn", Kind::Flag(|o| &mut o.http_on)),
    ("httpPort", Kind::Number(|o| &mut o.http_port, INT.0, INT.1)),
    ("HTTPListener", Kind::Text(|o| &mut o.http_listener)),
    ("externalOn", Kind::Flag(|o| &mut o.external_on)),
    ("resolvers", Kind::Texts(|o| &mut o.resolvers)),
    ("zoneResolvers", Kind::Zones),
    ("timeout", Kind::Number(|o| &mut o.timeout, INT.0, INT.1)),
    ("recurseOn", Kind::Flag(|o| &mut o.recurse_on)),
    ("SOAMname", Kind::Text(|o| &mut o.soa_mname)),
    ("SOARname", Kind::Text(|o| &mut o.soa_rname)),
    ("SOARefresh", Kind::Number(|o| &mut o.soa_refresh, UINT32.0, UINT32.1)),
    ("SOARetry", Kind::Number(|o| &mut o.soa_retry, UINT32.0, UINT32.1)),
    ("SOAExpire", Kind::Number(|o| &mut o.soa_expire, UINT32.0, UINT32.1)),
    ("SOAMinttl", Kind::Number(|o| &mut o.soa_minttl, UINT32.0, UINT32.1)),
    ("SOASerial", Kind::Number(|o| &mut o.soa_serial, UINT32.0, UINT32.1)),
    ("SRVRecordDefaultWeight", Kind::Number(|o| &mut o.srv_weight, 0, 0xffff)),
    ("SetTruncateBit", Kind::Flag(|o| &mut o.set_truncate_bit)),
    ("EnforceRFC952", Kind::Flag(|o| &mut o.enforce_rfc952)),
    ("IPSources", Kind::Texts(|o| &mut o.ip_sources)),
    ("EnumerationOn", Kind::Flag(|o| &mut o.enumeration_on)),
    ("MesosHTTPSOn", Kind::Flag(|o| &mut o.mesos_https_on)),
    ("CACertFile", Kind::Text(|o| &mut o.ca_cert_file)),
    ("CertFile", Kind::Text(|o| &mut o.cert_file)),
    ("KeyFile", Kind::Text(|o| &mut o.key_file)),
    ("MesosAuthentication", Kind::Text(|o| &mut o.mesos_authentication)),
    ("MesosCredentials", Kind::Credentials),
    ("IAMConfigFile", Kind::Text(|o| &mut o.iam_config_file)),
    ("File", Kind::Text(|o| &mut o.file)),
    ("email", Kind::Ignored),
    ("ns", Kind::Ignored),
];

impl Options {
    /// Reads a document.
    ///
    /// # Errors
    /// Everything that is wrong; what is no JSON, with its place alone.
    pub fn read(text: &str) -> Result<Self, Vec<Fault>> {
        let mut options = Self::default();
        let mut faults = Vec::new();
        let entries = Value::document(text).entries().map_err(|error| vec![no_json(text, &error)])?;
        for entry in entries {
            let known = TABLE.iter().find(|(name, _)| name.eq_ignore_ascii_case(&entry.key));
            let Some((name, kind)) = known else {
                options.unknown.push((entry.key.chars().take(64).collect(), entry.value.span));
                continue;
            };
            options.given.retain(|(given, _)| given != name);
            options.given.push((name, entry.value.span.clone()));
            // A null leaves what is there.
            if entry.value.text != "null" {
                options.set(name, kind, &entry.value, &mut faults);
            }
        }
        if faults.is_empty() {
            options.check(&mut faults);
        }
        if faults.is_empty() { Ok(options) } else { Err(faults) }
    }

    /// Where the option stands, if it does.
    pub fn place(&self, option: &str) -> Option<Range<usize>> {
        self.given.iter().find(|(name, _)| *name == option).map(|(_, span)| span.clone())
    }

    /// Whether the file gives the option.
    pub fn has(&self, option: &str) -> bool {
        self.place(option).is_some()
    }

    fn set(&mut self, name: &str, kind: &Kind, value: &Value<'_>, faults: &mut Vec<Fault>) {
        let mut wrong = |expected: String, example: &str| {
            faults.push(Fault {
                option: name.to_owned(),
                span: Some(value.span.clone()),
                message: format!("found {}, expected {expected}", value.noun()),
                mend: format!("write it like {example}"),
            });
        };
        match kind {
            Kind::Ignored => {}
            Kind::Text(field) => match value.read() {
                Some(text) => *field(self) = text,
                None => wrong("a string".into(), "\"text\""),
            },
            Kind::Flag(field) => match value.read() {
                Some(flag) => *field(self) = flag,
                None => wrong("true or false".into(), "true"),
            },
            Kind::Number(field, least, most) => match value.read::<i64>().filter(|n| (least..=most).contains(&n)) {
                Some(number) => *field(self) = number,
                None if *least == i64::MIN => wrong("a whole number".into(), "60"),
                None => wrong(format!("a whole number from {least} to {most}"), "60"),
            },
            Kind::Texts(field) => match value.read() {
                Some(texts) => *field(self) = texts,
                None => wrong("a list of strings".into(), "[\"one\", \"two\"]"),
            },
            Kind::Zones => match zones(value) {
                Some(zones) => self.zone_resolvers = zones,
                None => wrong("zones with their resolvers".into(), "{\"example.com\": [\"10.0.0.1\"]}"),
            },
            Kind::Credentials => match credentials(value) {
                Some((principal, secret)) => (self.principal, self.secret) = (principal, secret),
                None => wrong("credentials".into(), "{\"Principal\": \"…\", \"Secret\": \"…\"}"),
            },
        }
    }

    /// What Mesos-DNS refuses to start with, and what would end it later.
    fn check(&self, faults: &mut Vec<Fault>) {
        let mut fault = |option: &str, message: String, mend: &str| {
            faults.push(Fault { option: option.into(), span: self.place(option), message, mend: mend.into() });
        };
        if !self.dns_on && !self.http_on {
            fault("dnsOn", "neither DNS nor HTTP is on: nothing would be served".into(), "turn one of the two on");
        }
        if self.zk.is_empty() && self.masters.is_empty() {
            fault("masters", "there is neither `zk` nor `masters`".into(), "say where the masters are");
        }
        if !self.zk.is_empty() && !self.zk.starts_with("zk://") {
            fault("zk", "it is no ZooKeeper URL".into(), "write it like \"zk://zk1:2181,zk2:2181/mesos\"");
        }
        if let Some(twice) = repeated(&self.masters) {
            fault("masters", format!("{twice:?} stands in the list twice"), "remove one of the two");
        }
        for (option, port) in [("port", self.port), ("httpPort", self.http_port)] {
            if !(1..=65_535).contains(&port) {
                fault(option, format!("{port} is no port"), "write a number from 1 to 65535");
            }
        }
        for (option, address) in [("listener", &self.listener), ("HTTPListener", &self.http_listener)] {
            if address.parse::<IpAddr>().is_err() {
                fault(option, format!("{address:?} is no IP address"), "write one, or \"0.0.0.0\" for all");
            }
        }
        for (option, seconds) in
            [("refreshSeconds", self.refresh_seconds), ("stateTimeoutSeconds", self.state_timeout_seconds)]
        {
            if seconds <= 0 {
                fault(option, format!("{seconds} seconds are no time"), "write 1 or more");
            }
        }
        if self.ttl < 0 {
            fault("ttl", format!("{} is no time to live", self.ttl), "write 0 or more");
        }
        if self.ip_sources.is_empty() {
            fault("IPSources", "the list is empty".into(), "name at least one source");
        }
        if let Some(twice) = repeated(&self.ip_sources) {
            fault("IPSources", format!("{twice:?} stands in the list twice"), "remove one of the two");
        }
        for source in self.ip_sources.iter().filter(|source| IpSource::from_name(source).is_none()) {
            fault("IPSources", format!("{source:?} is no source"), "known are netinfo, mesos, docker and host");
        }
        if no_domain(&self.domain) {
            fault("domain", format!("{:?} is no domain", self.domain), "write it like \"mesos\"");
        }
        if self.external_on {
            self.check_resolvers(&mut fault);
        }
        for (given, file, missing, other) in [
            ("CertFile", &self.cert_file, "KeyFile", &self.key_file),
            ("KeyFile", &self.key_file, "CertFile", &self.cert_file),
        ] {
            if !file.is_empty() && other.is_empty() {
                fault(given, format!("there is no `{missing}` with it"), "give both, or neither");
            }
        }
        self.check_credentials(fault);
    }

    /// The servers that other names are forwarded to.
    fn check_resolvers(&self, mut fault: impl FnMut(&str, String, &str)) {
        if let Some(bad) = self.resolvers.iter().find(|text| resolver(text).is_none()) {
            fault("resolvers", format!("{bad:?} is no resolver"), "write an IP address, with a port if not 53");
        }
        for (zone, resolvers) in &self.zone_resolvers {
            let clash = |other: &str| zone == other || format!(".{zone}").ends_with(&format!(".{other}"));
            let others = self.zone_resolvers.iter().map(|(other, _)| other.as_str()).filter(|other| other != zone);
            let within = |other: &str| clash(other) || format!(".{other}").ends_with(&format!(".{zone}"));
            if no_domain(zone) {
                fault("zoneResolvers", format!("{zone:?} is no domain"), "write it like \"example.com\"");
            } else if within(&self.domain.to_ascii_lowercase()) {
                let message = format!("{zone:?} and the domain {:?} lie within one another", self.domain);
                fault("zoneResolvers", message, "the domain's own names are never forwarded");
            } else if let Some(other) = others.clone().find(|other| clash(other)) {
                let message = format!("{zone:?} lies within {other:?}, which masks it");
                fault("zoneResolvers", message, "remove one of the two");
            }
            if resolvers.is_empty() {
                fault("zoneResolvers", format!("{zone:?} has no resolver"), "name at least one");
            }
            if let Some(bad) = resolvers.iter().find(|text| resolver(text).is_none()) {
                fault("zoneResolvers", format!("{bad:?} is no resolver"), "write an IP address, with a port if not 53");
            }
        }
    }

    /// How the masters are to know us.
    fn check_credentials(&self, mut fault: impl FnMut(&str, String, &str)) {
        match self.mesos_authentication.as_str() {
            "" => {}
            "basic" if self.principal.is_empty() || self.secret.is_empty() => {
                let message = "basic authentication needs a principal and a secret".into();
                fault("MesosCredentials", message, "write {\"Principal\": \"…\", \"Secret\": \"…\"}");
            }
            "iam" if self.iam_config_file.is_empty() => {
                fault("IAMConfigFile", "authentication by \"iam\" needs the account's file".into(), "name it");
            }
            "basic" | "iam" => {}
            other => {
                fault("MesosAuthentication", format!("{other:?} is no way"), "write \"basic\", \"iam\" or \"\"");
            }
        }
    }
}

/// What is not made of labels of letters, digits and hyphens.
fn no_domain(domain: &str) -> bool {
    domain.split('.').any(|l| l.is_empty() || !l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

/// The address of a resolver: `ip` or `ip:port`.
pub(super) fn resolver(text: &str) -> Option<SocketAddr> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let bare = inner.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53));
    bare.or_else(|| text.parse().ok()).filter(|address: &SocketAddr| address.port() > 0)
}

fn repeated(texts: &[String]) -> Option<&String> {
    texts.iter().enumerate().find(|(at, text)| texts[..*at].contains(text)).map(|(_, text)| text)
}

fn zones(value: &Value<'_>) -> Option<Vec<(String, Vec<String>)>> {
    let entries = value.entries().ok()?;
    let zone = |entry: super::json::Entry<'_>| {
        Some((entry.key, entry.value.read::<Option<Vec<String>>>()?.unwrap_or_default()))
    };
    entries.into_iter().map(zone).collect()
}

fn credentials(value: &Value<'_>) -> Option<(String, String)> {
    let (mut principal, mut secret) = (String::new(), String::new());
    for entry in value.entries().ok()? {
        let text = entry.value.read::<Option<String>>();
        match entry.key.to_ascii_lowercase().as_str() {
            "principal" => principal = text?.unwrap_or_default(),
            "secret" => secret = text?.unwrap_or_default(),
            _ => {}
        }
    }
    Some((principal, secret))
}

fn no_json(text: &str, error: &serde_json::Error) -> Fault {
    let line_start = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
    let at = (line_start + error.column().saturating_sub(1)).min(text.len());
    // The message ends in a place, which stands before it already.
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    Fault {
        option: String::new(),
        span: Some(at..at),
        message: format!("this is no Mesos-DNS configuration: {message}"),
        mend: "mend the JSON here".into(),
    }
}
