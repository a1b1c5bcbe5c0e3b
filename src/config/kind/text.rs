//! Strings: names, zones, patterns, paths of files, secrets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Fault, Item, Kind, clip};
use crate::config::checked::Secret;
use crate::labels::host::HostPattern;

/// A string that must pass a test.
pub(crate) struct Text {
    /// What it is, with its article.
    pub(crate) noun: &'static str,
    /// A valid one, in TOML.
    pub(crate) example: &'static str,
    /// What is wrong with a text, or its normal form.
    pub(crate) parse: fn(&str) -> Result<String, String>,
}

impl Kind for Text {
    type Value = Arc<str>;

    fn noun(&self) -> String {
        self.noun.into()
    }

    fn example(&self) -> String {
        self.example.into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<Arc<str>, Vec<Fault>> {
        let text = self.string(item)?;
        match (self.parse)(text) {
            Ok(text) => Ok(text.into()),
            Err(reason) => {
                let message = format!("{:?} is not {}: {reason}", clip(text), self.noun);
                Err(Fault::one(item.span(), message, format!("write it like {}", self.example)))
            }
        }
    }

    fn show(&self, value: &Arc<str>) -> Json {
        (**value).into()
    }
}

/// A name of a source or a listener: it becomes part of metrics, environment variables and identities.
pub(crate) const NAME: Text = Text { noun: "a name", example: "\"main\"", parse: name };

/// A DNS zone.
pub(crate) const ZONE: Text = Text { noun: "a DNS zone", example: "\"mesos\"", parse: domain };

/// A DNS name below each zone; an absolute one has a final dot.
pub(crate) const LABELS: Text = Text { noun: "a DNS name", example: "\"ns1\"", parse: labels };

/// A host without port.
pub(crate) const HOST: Text = Text { noun: "a host", example: "\"pointsman.example.com\"", parse: host };

/// A host that a public authority certifies.
pub(crate) const CERTIFIED: Text = Text { noun: "a host", example: "\"shop.example.com\"", parse: certified };

/// Whom an authority may write to.
pub(crate) const CONTACT: Text = Text { noun: "a contact", example: "\"mailto:ops@example.com\"", parse: contact };

/// A text with `*` at an end.
pub(crate) const PATTERN: Text = Text { noun: "a pattern", example: "\"team-a-*\"", parse: pattern };

/// The beginning of a URL's path.
pub(crate) const PATH_PREFIX: Text = Text { noun: "a path prefix", example: "\"/api\"", parse: path_prefix };

/// A path that is asked for.
pub(crate) const CHECK_PATH: Text = Text { noun: "a path", example: "\"/healthz\"", parse: check_path };

/// Any text of one line.
pub(crate) const LINE: Text = Text { noun: "a string", example: "\"value\"", parse: line };

/// Something that is said of a program to those who watch it.
pub(crate) const ATTRIBUTE: Text =
    Text { noun: "an attribute", example: "\"service.instance.id=edge-1\"", parse: attribute };

/// A level or a filter for the log.
pub(crate) const FILTER: Text =
    Text { noun: "a log level or filter", example: "\"info\" or \"info,hyper=warn\"", parse: filter };

/// What one of several servers is called.
pub(crate) const IDENTITY: Text = Text { noun: "a name of a server", example: "\"dns1\"", parse: identity };

/// A name in `Via`.
pub(crate) const ORIGIN: Text = Text { noun: "an origin", example: "\"https://app.example.com\"", parse: origin };

/// A token (RFC 9110 section 5.6.2).
pub(crate) const PSEUDONYM: Text = Text { noun: "a token of RFC 9110", example: "\"pointsman\"", parse: token };

/// A status of an error, or its class.
pub(crate) const ERROR_STATUS: Text = Text { noun: "a status of an error", example: "\"5xx\"", parse: error_status };

/// A path that a page for an error is asked for by.
pub(crate) const PAGE_PATH: Text = Text { noun: "a path of a page", example: "\"/{status}.html\"", parse: page_path };

/// A claim of a token and the header field that tells it.
pub(crate) const CLAIM: Text = Text { noun: "a claim with a field", example: "\"sub=X-User\"", parse: claim };

/// A host or a wildcard.
pub(crate) struct Host;

impl Kind for Host {
    type Value = HostPattern;

    fn noun(&self) -> String {
        "a host or wildcard".into()
    }

    fn example(&self) -> String {
        "\"*.example.com\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<HostPattern, Vec<Fault>> {
        let text = self.string(item)?;
        HostPattern::parse(text).map_err(|reason| {
            let message = format!("{:?} is no host: {reason}", clip(text));
            Fault::one(item.span(), message, format!("write it like {}", self.example()))
        })
    }

    fn show(&self, value: &HostPattern) -> Json {
        value.to_string().into()
    }
}

/// A file or a folder; a relative one starts at the configuration file's folder.
pub(crate) struct PathOf {
    /// What it is, with its article.
    pub(crate) noun: &'static str,
    /// The longest that the system takes, in octets.
    pub(crate) most: usize,
}

/// A file.
pub(crate) const FILE: PathOf = PathOf { noun: "a file's path", most: 4095 };

/// A folder.
pub(crate) const FOLDER: PathOf = PathOf { noun: "a folder's path", most: 4095 };

/// A Unix socket: `sun_path` has 108 octets, the last of them zero.
pub(crate) const SOCKET: PathOf = PathOf { noun: "a socket's path", most: 107 };

impl Kind for PathOf {
    type Value = PathBuf;

    fn noun(&self) -> String {
        self.noun.into()
    }

    fn example(&self) -> String {
        "\"/etc/pointsman/file\"".into()
    }

    fn read(&self, item: &Item<'_>, base: &Path) -> Result<PathBuf, Vec<Fault>> {
        let text = self.string(item)?;
        if text.is_empty() || text.contains('\0') {
            let message = format!("{:?} is no path", clip(text));
            return Err(Fault::one(item.span(), message, format!("write it like {}", self.example())));
        }
        let path = base.join(text);
        if path.as_os_str().len() > self.most {
            let message = format!("the path is longer than {} octets", self.most);
            return Err(Fault::one(item.span(), message, "choose a shorter one"));
        }
        Ok(path)
    }

    fn show(&self, value: &PathBuf) -> Json {
        value.to_string_lossy().into()
    }
}

/// A value that is never shown, not even in a message about it.
pub(crate) struct Hidden;

impl Kind for Hidden {
    type Value = Secret;

    fn noun(&self) -> String {
        "a secret".into()
    }

    fn example(&self) -> String {
        "\"…\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<Secret, Vec<Fault>> {
        let text = self.string(item)?;
        match line(text) {
            Ok(text) if text.contains(char::REPLACEMENT_CHARACTER) => {
                Err(Fault::one(item.span(), "the secret is not UTF-8", "write it in UTF-8"))
            }
            Ok(text) => Ok(Secret(text)),
            Err(reason) => {
                Err(Fault::one(item.span(), format!("the secret cannot be used: {reason}"), "write it in one line"))
            }
        }
    }

    fn show(&self, _value: &Secret) -> Json {
        "[hidden]".into()
    }
}

fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 63 || text.starts_with('-') || text.ends_with('-') || !text.chars().all(fits) {
        return Err("1 to 63 lower-case letters, digits and inner hyphens are allowed".into());
    }
    Ok(text.into())
}

fn domain(text: &str) -> Result<String, String> {
    match HostPattern::parse(text) {
        Ok(HostPattern::Exact(name)) => Ok(name.to_string()),
        Ok(_) => Err("a wildcard cannot be here".into()),
        Err(reason) => Err(reason.to_string()),
    }
}

fn labels(text: &str) -> Result<String, String> {
    let name = domain(text)?;
    Ok(if text.ends_with('.') { format!("{name}.") } else { name })
}

fn host(text: &str) -> Result<String, String> {
    match text.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => domain(text),
    }
}

fn certified(text: &str) -> Result<String, String> {
    if text.starts_with('*') {
        return Err("wildcards need the challenge dns-01, which is not supported; list the hosts".into());
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Err("addresses get no certificate here; write names".into());
    }
    domain(text)
}

fn contact(text: &str) -> Result<String, String> {
    match text.strip_prefix("mailto:") {
        Some(address) if address.contains('@') && address.is_ascii() && !address.contains([' ', ',', '?']) => {
            line(text)
        }
        _ => Err("it is `mailto:` and one mail address".into()),
    }
}

fn origin(text: &str) -> Result<String, String> {
    let fault = || "it is a scheme, a host and perhaps a port, or `*`".to_owned();
    if text == "*" {
        return Ok(text.into());
    }
    let (scheme, authority) = text.split_once("://").ok_or_else(fault)?;
    let good = !scheme.is_empty() && !authority.is_empty() && !authority.contains(['/', '?', '#', '@', '*']);
    if good { line(&text.to_ascii_lowercase()) } else { Err(fault()) }
}

fn pattern(text: &str) -> Result<String, String> {
    let inner = text.strip_prefix('*').unwrap_or(text);
    let inner = inner.strip_suffix('*').unwrap_or(inner);
    if inner.contains('*') {
        return Err("`*` can only stand at its beginning and its end".into());
    }
    line(text)
}

fn check_path(text: &str) -> Result<String, String> {
    crate::labels::path::target(text).map(|path| path.to_string()).map_err(|error| error.to_string())
}

fn path_prefix(text: &str) -> Result<String, String> {
    if !text.starts_with('/') || text.contains(['?', '#']) || text.chars().any(char::is_whitespace) {
        return Err("it begins with `/` and has neither `?`, `#` nor white space".into());
    }
    line(text)
}

fn attribute(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => line(text),
        _ => Err("it is a name, `=`, and a value".into()),
    }
}

fn line(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.len() > 4096 {
        return Err("it is longer than 4096 octets".into());
    }
    if text.chars().any(char::is_control) {
        return Err("it has a line end or another control character".into());
    }
    Ok(text.into())
}

fn token(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err("1 to 64 letters, digits or any of !#$%&'*+-.^_`|~ are allowed".into());
    }
    Ok(text.into())
}

fn error_status(text: &str) -> Result<String, String> {
    let is_one = text.len() == 3 && text.parse::<u16>().is_ok_and(|code| (400..600).contains(&code));
    match is_one || matches!(text, "4xx" | "5xx") {
        true => Ok(text.into()),
        false => Err("400 to 599, `4xx` or `5xx` is one".into()),
    }
}

/// The braces stand for a number: what is left has to be a path, and may have a query.
fn page_path(text: &str) -> Result<String, String> {
    let filled = text.replace("{status}", "503");
    if filled.contains(['{', '}']) {
        return Err("`{status}` is the only place that there is".into());
    }
    let is_visible = filled.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !filled.starts_with('/') || filled.starts_with("//") || !is_visible || filled.len() > 1024 {
        return Err("it begins with one `/`, and has visible ASCII characters without `#`, at most 1024".into());
    }
    Ok(text.into())
}

fn claim(text: &str) -> Result<String, String> {
    let (claim, field) = text.split_once('=').ok_or("it is a claim, `=`, and the name of a header field")?;
    line(claim)?;
    let field = token(field)?;
    if crate::labels::is_protected_field(&field) {
        return Err(format!("the field {field:?} has a meaning of its own, or is written by this proxy"));
    }
    Ok(format!("{claim}={field}"))
}

fn identity(text: &str) -> Result<String, String> {
    let is_visible = text.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic());
    if text.is_empty() || text.len() > 128 || !is_visible {
        return Err("1 to 128 visible ASCII characters are allowed".into());
    }
    Ok(text.into())
}

fn filter(text: &str) -> Result<String, String> {
    line(text)?;
    // A bare word that is no level counts as a module's name for the filter: `inof` would log next to nothing.
    let bare = text.split(',').filter(|part| !part.contains(['=', '[', ']', '{', '}'])).map(str::trim);
    for word in bare {
        if !LEVELS.contains(&word.to_ascii_lowercase().as_str()) {
            return Err(format!("{:?} is none of {}", clip(word), LEVELS.join(", ")));
        }
    }
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.into()),
        Err(reason) => Err(reason.to_string()),
    }
}

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    fn accepts(kind: &Text, text: &str, expected: &str) {
        assert_eq!(read(kind, &format!("{text:?}")).as_deref(), Ok(expected));
    }

    fn refuses(kind: &Text, text: &str) {
        assert!(read(kind, &format!("{text:?}")).is_err(), "{text}");
    }

    #[test]
    fn texts() {
        accepts(&NAME, "main-1", "main-1");
        accepts(&ZONE, "Mesos.Example.", "mesos.example");
        accepts(&LABELS, "NS1", "ns1");
        accepts(&LABELS, "ns1.example.com.", "ns1.example.com.");
        accepts(&HOST, "[::1]", "::1");
        accepts(&HOST, "Admin.example.com", "admin.example.com");
        accepts(&PATTERN, "*team*", "*team*");
        accepts(&PATH_PREFIX, "/api", "/api");
        accepts(&FILTER, "info,hyper=warn", "info,hyper=warn");
        for name in ["", "Main", "a_b", "-a", "a-", "a b"] {
            refuses(&NAME, name);
        }
        refuses(&ZONE, ".");
        refuses(&ZONE, "*.mesos");
        refuses(&PATTERN, "a*b");
        refuses(&PATH_PREFIX, "api");
        refuses(&FILTER, "inof");
        refuses(&FILTER, "info,hyper=loud");
        refuses(&PSEUDONYM, "two words");
        accepts(&ATTRIBUTE, "host.name=a=b", "host.name=a=b");
        refuses(&ATTRIBUTE, "host.name=");
    }

    #[test]
    fn paths_start_at_the_file() {
        assert_eq!(read(&FILE, "\"services.toml\""), Ok("/base/services.toml".into()));
        assert_eq!(read(&FILE, "\"/abs\""), Ok("/abs".into()));
        assert!(read(&FILE, "\"\"").is_err());
        assert!(read(&SOCKET, &format!("\"/{}\"", "a".repeat(107))).is_err());
    }

    #[test]
    fn secrets_stay_hidden() {
        assert_eq!(Hidden.show(&read(&Hidden, "\"s3cret\"").unwrap()), "[hidden]");
        assert!(!read(&Hidden, "\"s3cret\\nx\"").unwrap_err().contains("s3cret"));
    }
}
