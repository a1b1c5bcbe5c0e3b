//! Values of labels: one parser a kind of value, each fault with its mend.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls_pki_types::ServerName;

use super::acts::{Act, Acted};
use super::host::{HostPattern, InvalidHost};
use super::{asked, path};
use crate::model::balance::{ALGORITHMS, Algorithm};
use crate::model::check::CheckKind;
use crate::model::endpoint::{ProxyProtocol, Weight};
use crate::model::password::{InvalidHash, PasswordHash};
use crate::model::pattern::Pattern;
use crate::model::refinement::{Condition, Part};
use crate::model::rules::BasicAuth;
use crate::model::service::Protocol;
use crate::model::time::Timestamp;

/// What a port may speak.
const PROTOCOLS: &str = "`http`, `https`, `h2c`, `h2`, `tcp`, `tls` or `udp`";

/// A kind of value that labels have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Version,
    Flag,
    List,
    Port,
    Hosts,
    Prefix,
    RoutePrefix,
    Target,
    Protocol,
    ServerName,
    ProxyProtocol,
    Weight,
    Time,
    Moment,
    Balance,
    Number,
    Index,
    Priority,
    Address,
    Certificate,
    Networks,
    Auth,
    Check,
    HostPattern,
    ExactPath,
    PathPattern,
    Methods,
    Conditions(Part),
    Act(Act),
}

/// A value that has been understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(Arc<str>),
    Flag(bool),
    List(Vec<String>),
    Hosts(Vec<HostPattern>),
    Protocol(Protocol),
    ProxyProtocol(ProxyProtocol),
    Weight(Weight),
    Time(Duration),
    Moment(Timestamp),
    Balance(Algorithm),
    Number(u16),
    /// A port of the proxy that nobody has named yet.
    Assigned,
    Priority(i32),
    /// `None`: every address.
    Address(Option<IpAddr>),
    Networks(Box<[IpNet]>),
    Auth(BasicAuth),
    Check(Option<CheckKind>),
    Pattern(Pattern),
    Methods(Box<[Arc<str>]>),
    Conditions(Box<[Condition]>),
    Act(Acted),
    /// A path prefix, whatever the capitals.
    AnyCase(Arc<str>),
    /// What was meant to narrow and cannot be understood: there is no route, or the port stays closed.
    Nothing,
}

/// What is wrong with a value, and the mend. Neither quotes the whole value: that is up to the caller, who knows
/// whether it is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub wrong: String,
    pub mend: String,
}

impl Fault {
    pub(crate) fn new(wrong: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), mend: mend.into() }
    }
}

/// The longest name of a service, a namespace or a version.
const MAX_NAME: usize = 253;

/// Networks of one label at most.
const MAX_NETWORKS: usize = 256;

/// The longest time a label can ask for.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

impl Kind {
    /// How the value is described to people.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Name | Self::Certificate => "a name",
            Self::Version => "a text",
            Self::Flag => "`true` or `false`",
            Self::List => "names, separated by commas",
            Self::Port => "a port's name or index",
            Self::Hosts => "hosts, separated by commas; `*.example.com` for all below it, `*` for all",
            Self::Prefix | Self::RoutePrefix => "a path prefix",
            Self::Target => "a path",
            Self::Protocol => PROTOCOLS,
            Self::ServerName => "a host name or an address",
            Self::ProxyProtocol => "`v1` or `v2`",
            Self::Weight => "0 to 65535",
            Self::Balance => ALGORITHMS,
            Self::Check => "`none`, `tcp`, `http` or `grpc`",
            Self::Time => "a time: `500ms`, `30s`, `5m`, `1h`",
            Self::Moment => "a date and a time of day",
            Self::Number => "1 to 65535",
            Self::Index => "a port's index, from 0",
            Self::Priority => "a whole number",
            Self::Address => "an IP address, or `*`",
            Self::Networks => "networks and addresses, separated by commas or spaces",
            Self::Auth => "`realm:user:hash`",
            Self::HostPattern | Self::PathPattern => "a regular expression",
            Self::ExactPath => "a path",
            Self::Methods => "methods, separated by commas",
            Self::Conditions(_) => "`name`, `name=value` or `name=~expression`, separated by `;`",
            Self::Act(act) => act.describe(),
        }
    }

    /// Reads a value. Of a list, what is good counts and what is not becomes a fault.
    pub(crate) fn read(self, text: &str, faults: &mut Vec<Fault>) -> Option<Value> {
        let text = text.trim();
        match self {
            Self::Hosts => return hosts(text, faults).map(Value::Hosts),
            // What was meant to keep people out and cannot be understood keeps everybody out.
            Self::Networks => return Some(Value::Networks(networks(text, faults))),
            Self::Auth => return Some(Value::Auth(auth(text, faults))),
            // What was meant to keep a port from others and cannot be understood keeps it closed.
            Self::Address => return Some(or_closed(address(text).map(Value::Address), faults)),
            Self::Certificate => return Some(or_closed(name(text).map(Value::Text), faults)),
            _ => {}
        }
        // … and what was meant to narrow a route and cannot be understood makes none.
        if let Some(asked) = self.asked(text) {
            return Some(asked.unwrap_or_else(|fault| {
                faults.push(fault);
                Value::Nothing
            }));
        }
        let read = match self {
            Self::Name => name(text).map(Value::Text),
            Self::Version => version(text).map(Value::Text),
            Self::Flag => flag(text).map(Value::Flag),
            Self::List => list(text).map(Value::List),
            Self::Port => port(text).map(Value::Text),
            Self::Prefix => path::prefix(text).map(Value::Text).map_err(|error| path_fault(&error)),
            Self::Target => path::target(text).map(Value::Text).map_err(|error| path_fault(&error)),
            Self::Protocol => protocol(text).map(Value::Protocol),
            Self::ServerName => server_name(text).map(Value::Text),
            Self::ProxyProtocol => proxy_protocol(text).map(Value::ProxyProtocol),
            Self::Weight => weight(text).map(Value::Weight),
            Self::Time => time(text).map(Value::Time),
            Self::Moment => Timestamp::parse(text)
                .map(Value::Moment)
                .ok_or_else(|| Fault::new("it is no date with a time of day", "write it as `2026-02-01T14:13:42`")),
            Self::Balance => balance(text).map(Value::Balance),
            Self::Check => check(text).map(Value::Check),
            Self::Number => number(text).map(Value::Number),
            Self::Index => text.parse().map(Value::Number).map_err(|_| Fault::new("it is no index", "write 0, 1, …")),
            Self::Priority => text
                .parse()
                .map(Value::Priority)
                .map_err(|_| Fault::new("it is no whole number", "write a number such as `10` or `-1`")),
            Self::Hosts
            | Self::Networks
            | Self::Auth
            | Self::Address
            | Self::Certificate
            | Self::HostPattern
            | Self::RoutePrefix
            | Self::ExactPath
            | Self::PathPattern
            | Self::Methods
            | Self::Conditions(_)
            | Self::Act(_) => unreachable!("read above"),
        };
        read.map_err(|fault| faults.push(fault)).ok()
    }

    /// Reads what a route asks beside its hosts; `None`: the value is of another kind.
    fn asked(self, text: &str) -> Option<Result<Value, Fault>> {
        Some(match self {
            Self::HostPattern => {
                HostPattern::expression(text).map(|host| Value::Hosts(vec![host])).map_err(|e| host_fault(text, &e))
            }
            Self::RoutePrefix => path::prefix(text).map(Value::Text).map_err(|error| path_fault(&error)),
            Self::ExactPath => asked::exact_path(text).map(Value::Text),
            Self::PathPattern => asked::pattern(text).map(Value::Pattern),
            Self::Methods => asked::methods(text).map(Value::Methods),
            Self::Conditions(part) => asked::conditions(part, text).map(Value::Conditions),
            Self::Act(act) => act.read(text).map(Value::Act),
            _ => return None,
        })
    }
}

/// A value that narrows who reaches a port of the proxy, or that nobody does.
fn or_closed(read: Result<Value, Fault>, faults: &mut Vec<Fault>) -> Value {
    read.unwrap_or_else(|fault| {
        faults.push(Fault::new(format!("{}, so the port of the proxy is not opened", fault.wrong), fault.mend));
        Value::Nothing
    })
}

pub(super) fn path_fault(error: &path::InvalidPath) -> Fault {
    Fault::new(error.to_string(), error.mend())
}

fn name(text: &str) -> Result<Arc<str>, Fault> {
    if text.is_empty() || text.len() > MAX_NAME {
        return Err(Fault::new("it is empty or longer than 253 characters", "write a name of 1 to 253 characters"));
    }
    match text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '/' | '"' | '\\' | '*')) {
        None => Ok(text.into()),
        Some(bad) => Err(Fault::new(
            format!("the character {bad:?} cannot be in a name"),
            "use letters, digits, `-`, `_` and `.`",
        )),
    }
}

fn version(text: &str) -> Result<Arc<str>, Fault> {
    if text.is_empty() || text.len() > MAX_NAME || text.chars().any(char::is_control) {
        return Err(Fault::new(
            "it is empty, longer than 253 bytes or has control characters",
            "write a short text such as `1.4.2`",
        ));
    }
    Ok(text.into())
}

fn port(text: &str) -> Result<Arc<str>, Fault> {
    if text.is_empty() || text.len() > MAX_NAME {
        return Err(Fault::new("it names no port", "write the port's name or its index, from 0"));
    }
    Ok(text.into())
}

fn flag(text: &str) -> Result<bool, Fault> {
    const TRUE: [&str; 4] = ["true", "yes", "on", "1"];
    const FALSE: [&str; 4] = ["false", "no", "off", "0"];
    let is_one_of = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    match (is_one_of(&TRUE), is_one_of(&FALSE)) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(Fault::new("it is neither true nor false", "write `true` or `false`")),
    }
}

pub(super) fn list(text: &str) -> Result<Vec<String>, Fault> {
    let words: Vec<String> = text.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect();
    if words.is_empty() { Err(Fault::new("it lists nothing", "write at least one name")) } else { Ok(words) }
}

fn hosts(text: &str, faults: &mut Vec<Fault>) -> Option<Vec<HostPattern>> {
    let mut out: Vec<HostPattern> = Vec::new();
    let words = text.split([',', ' ', '\t', '\n', '\r']).filter(|word| !word.is_empty());
    let mut any = false;
    // Looking for repetitions is quadratic: no more are read than can count.
    for word in words.take(super::MAX_HOSTS + 1) {
        any = true;
        match HostPattern::parse(word) {
            Ok(host) if out.contains(&host) => {}
            Ok(host) => out.push(host),
            Err(error) => faults.push(host_fault(word, &error)),
        }
    }
    if !any {
        faults.push(Fault::new("it lists no host", "write at least one host, or leave the label out"));
    }
    (!out.is_empty()).then_some(out)
}

fn host_fault(word: &str, error: &InvalidHost) -> Fault {
    let mend = match error {
        InvalidHost::Character('/') => "write only the host here, and the path in the label for paths",
        InvalidHost::Character(':') => "write the host without scheme and port",
        InvalidHost::Character('*') => "a wildcard is `*.` and a name: `*.example.com`",
        InvalidHost::Character(c) if !c.is_ascii() => "write the name in its ASCII form (`xn--…`)",
        InvalidHost::Pattern(error) => error.mend(),
        InvalidHost::Capital(_) => "write the expression in lower case",
        _ => "write a host name such as `www.example.com`",
    };
    Fault::new(format!("of the host {:?}: {error}", shorten(word, 80)), mend)
}

fn protocol(text: &str) -> Result<Protocol, Fault> {
    let found = Protocol::ALL.into_iter().find(|protocol| protocol.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        let mend = match text.to_ascii_lowercase().as_str() {
            "grpc" | "http2" => "write `h2c`, or `h2` over TLS".to_owned(),
            "grpcs" => "write `h2`".to_owned(),
            _ => format!("write {PROTOCOLS}"),
        };
        Fault::new("it is no protocol that is understood", mend)
    })
}

fn proxy_protocol(text: &str) -> Result<ProxyProtocol, Fault> {
    let found = ProxyProtocol::ALL.into_iter().find(|version| version.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| Fault::new("it is no version of the PROXY protocol", "write `v1` or `v2`"))
}

/// A name that a certificate can be for.
fn server_name(text: &str) -> Result<Arc<str>, Fault> {
    match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_ascii_lowercase().into()),
        Err(_) => Err(Fault::new("it is no host name and no address", "write it like `shop.internal.example.com`")),
    }
}

fn check(text: &str) -> Result<Option<CheckKind>, Fault> {
    let kinds = [CheckKind::Tcp, CheckKind::Http, CheckKind::Grpc];
    match kinds.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text)) {
        None if !text.eq_ignore_ascii_case("none") => {
            Err(Fault::new("it is no kind of check", "write `none`, `tcp`, `http` or `grpc`"))
        }
        kind => Ok(kind),
    }
}

fn balance(text: &str) -> Result<Algorithm, Fault> {
    Algorithm::parse(text).map_err(|fault| Fault::new(fault.to_string(), format!("write {ALGORITHMS}")))
}

fn weight(text: &str) -> Result<Weight, Fault> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(weight) if digits => Ok(Weight(weight)),
        _ => Err(Fault::new("it is no number from 0 to 65535", "write a whole number such as `100`")),
    }
}

fn number(text: &str) -> Result<u16, Fault> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port @ 1..) if digits => Ok(port),
        _ => Err(Fault::new("it is no port number", "write a whole number from 1 to 65535")),
    }
}

fn address(text: &str) -> Result<Option<IpAddr>, Fault> {
    if text == "*" {
        return Ok(None);
    }
    match text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => Ok(None),
        Ok(address) => Ok(Some(address)),
        Err(_) => Err(Fault::new("it is no IP address", "write an address such as `10.0.0.1`, or `*` for all")),
    }
}

fn networks(text: &str, faults: &mut Vec<Fault>) -> Box<[IpNet]> {
    let mut out: Vec<IpNet> = Vec::new();
    let words = text.split([',', ' ', '\t', '\n', '\r']).filter(|word| !word.is_empty());
    for word in words.take(MAX_NETWORKS) {
        let network = word.parse().ok().or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from));
        match network {
            Some(network) if out.contains(&network) => {}
            Some(network) => out.push(network),
            None => faults.push(Fault::new(
                format!("{:?} is no network, and lets nobody in", shorten(word, 64)),
                "write networks such as `10.0.0.0/8`, or addresses",
            )),
        }
    }
    if out.is_empty() && faults.is_empty() {
        faults.push(Fault::new("it lists no network, and so lets nobody in", "list networks, or leave the label out"));
    }
    out.into()
}

fn auth(text: &str, faults: &mut Vec<Fault>) -> BasicAuth {
    match parse_auth(text) {
        Ok(auth) => auth,
        Err(mend) => {
            faults.push(Fault::new("it names nobody who may come in", mend));
            BasicAuth { realm: "restricted".into(), users: Box::new([]) }
        }
    }
}

/// The mend where it cannot be understood: the value itself is shown to nobody.
fn parse_auth(text: &str) -> Result<BasicAuth, &'static str> {
    let form = "write exactly `realm:user:hash`; meanwhile nobody is let in";
    let mut parts = text.split(':');
    let (Some(realm), Some(user), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(form);
    };
    let is_plain = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    if !is_plain(realm) || !is_plain(user) || realm.len() + user.len() > MAX_NAME {
        return Err(form);
    }
    let hash = PasswordHash::parse(hash).map_err(InvalidHash::mend)?;
    Ok(BasicAuth { realm: realm.into(), users: Box::new([(user.into(), hash)]) })
}

/// Reads a time: numbers with units, the larger first (`1m30s`).
pub(super) fn time(text: &str) -> Result<Duration, Fault> {
    let fault = || Fault::new("it is no time", "write a number and its unit: `500ms`, `30s`, `5m`, `1h`");
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return Err(fault());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| fault())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let millis = match &rest[..letters] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(fault()),
        };
        rest = &rest[letters..];
        total = total.saturating_add(Duration::from_millis(number.saturating_mul(millis)));
    }
    if total > MAX_TIME { Err(Fault::new("it is more than 24h", "write a time of at most `24h`")) } else { Ok(total) }
}

/// The beginning of a text, cut on a character's bound.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "cases read better")]
    fn check(kind: Kind, text: &str, expected: Option<Value>) {
        let mut faults = Vec::new();
        let value = kind.read(text, &mut faults);
        assert_eq!(value, expected, "{kind:?} {text:?} {faults:?}");
        assert_eq!(expected.is_none(), !faults.is_empty(), "{kind:?} {text:?}");
    }

    #[test]
    fn flags_and_numbers() {
        check(Kind::Flag, "TRUE", Some(Value::Flag(true)));
        check(Kind::Flag, " no ", Some(Value::Flag(false)));
        check(Kind::Flag, "maybe", None);
        check(Kind::Weight, "65535", Some(Value::Weight(Weight(65535))));
        check(Kind::Weight, "65536", None);
        check(Kind::Weight, "+1", None);
        check(Kind::Weight, "-1", None);
    }

    #[test]
    fn times() {
        check(Kind::Time, "1m30s", Some(Value::Time(Duration::from_secs(90))));
        check(Kind::Time, "500ms", Some(Value::Time(Duration::from_millis(500))));
        check(Kind::Time, "30", None);
        check(Kind::Time, "s", None);
        check(Kind::Time, "25h", None);
        check(Kind::Time, "99999999999999999999h", None);
        check(Kind::Time, "18446744073709551615h", None);
        check(Kind::Time, "1é", None);
        check(Kind::Time, "", None);
    }

    #[test]
    fn names_and_protocols() {
        check(Kind::Name, "web.prod-1", Some(Value::Text("web.prod-1".into())));
        check(Kind::Name, "a/b", None);
        check(Kind::Name, "a b", None);
        check(Kind::Protocol, "H2C", Some(Value::Protocol(Protocol::H2c)));
        check(Kind::Protocol, "grpc", None);
        check(Kind::List, "a, b,", Some(Value::List(vec!["a".into(), "b".into()])));
        check(Kind::List, " , ", None);
    }

    #[test]
    fn ports_and_addresses() {
        check(Kind::Number, "10000", Some(Value::Number(10000)));
        check(Kind::Number, "0", None);
        check(Kind::Number, "65536", None);
        check(Kind::Number, "abc", None);
        check(Kind::Address, "*", Some(Value::Address(None)));
        check(Kind::Address, "0.0.0.0", Some(Value::Address(None)));
        check(Kind::Address, "[::1]", Some(Value::Address(Some("::1".parse().unwrap()))));
    }

    fn check_closed(kind: Kind, text: &str, expected: &Value) {
        let mut faults = Vec::new();
        assert_eq!(kind.read(text, &mut faults).as_ref(), Some(expected), "{text:?}");
        assert!(!faults.is_empty(), "{text:?}");
    }

    #[test]
    fn what_cannot_be_understood_lets_nobody_in() {
        let nobody = Value::Auth(BasicAuth { realm: "restricted".into(), users: Box::new([]) });
        for text in ["", "a", "a:b", "a:b:testpasswd", "a:b:c:d", "::", "a:b:$5$rounds=900000000$s$x"] {
            check_closed(Kind::Auth, text, &nobody);
        }
        check_closed(Kind::Networks, "", &Value::Networks(Box::new([])));
        check_closed(Kind::Networks, "10.0.0.0/33", &Value::Networks(Box::new([])));
        let one = Value::Networks(Box::new(["10.0.0.0/8".parse().unwrap()]));
        check_closed(Kind::Networks, "10.0.0.0/8, x", &one);
        for text in ["eth0", "127.0.0.256", "10.0.0.1,10.0.0.2", "10.0.0.1 10.0.0.2", ""] {
            check_closed(Kind::Address, text, &Value::Nothing);
        }
        for text in ["", "a/b", "../shop", "sh op", "*"] {
            check_closed(Kind::Certificate, text, &Value::Nothing);
        }
        let two = ["127.0.0.1/8".parse().unwrap(), "192.0.2.7/32".parse().unwrap()];
        check(Kind::Networks, "127.0.0.1/8  192.0.2.7", Some(Value::Networks(Box::new(two))));
    }

    #[test]
    fn good_hosts_of_a_list_count() {
        let mut faults = Vec::new();
        let value = Kind::Hosts.read("A.example.com, *.b.test,a.example.com, http://c", &mut faults);
        let hosts = ["a.example.com", "*.b.test"].map(|host| HostPattern::parse(host).unwrap());
        assert_eq!(value, Some(Value::Hosts(hosts.to_vec())));
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].mend, "write the host without scheme and port");
    }
}
