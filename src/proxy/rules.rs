//! What a service's rules say to a request: who may come in, where it is sent instead, what becomes of its path.
//!
//! Pure, but for passwords (see [`super::auth`]). The rules are the service's, not the route's: they hold whichever way a
//! request comes in.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, LOCATION};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::forwarded::X_FORWARDED_PROTO;
use super::gate::Admitted;
use super::reason::Reason;
use crate::model::rules::Rules;
use crate::table::routes::path_matches;

/// How long browsers keep to HTTPS: half a year, as marathon-lb has it.
pub const HSTS: HeaderValue = HeaderValue::from_static("max-age=15768000");

/// An answer in place of a forwarded request: why, and a header that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What the answer says beside.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// Another status than the reason's own.
    pub status: Option<StatusCode>,
    /// Other words than the reason's own.
    pub content: Option<Box<Content>>,
    /// The filter that refuses.
    pub by: Option<Box<ByFilter>>,
    /// Further fields, of somebody else's answer.
    pub fields: Option<Box<HeaderMap>>,
    /// What the request lacked for a route, if that was looked for.
    pub miss: Option<Box<str>>,
}

/// What an answer of the proxy's own says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// `Content-Type`.
    pub content_type: Arc<str>,
    /// The body.
    pub body: Bytes,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, header: None, status: None, content: None, by: None, fields: None, miss: None }
    }
}

/// Which filter refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByFilter {
    /// Its name, where it is configured.
    pub name: Option<Arc<str>>,
    /// The filter whose pages errors have, by its position.
    pub pages: Option<usize>,
}

impl Refusal {
    /// The same, by a filter.
    pub fn by(self, name: Option<&Arc<str>>, pages: Option<usize>) -> Self {
        Self { by: Some(Box::new(ByFilter { name: name.cloned(), pages })), ..self }
    }

    /// A reason whose answer has a header field of its own.
    pub fn with(reason: Reason, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..reason.into() }
    }
}

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// The client, or the trusted proxy before us, spoke TLS.
    pub secure: bool,
    /// The request came in by its host, not on a port of the service's own or by app.
    pub by_host: bool,
    /// Its method.
    pub method: &'a Method,
    /// Its host and target.
    pub admitted: &'a Admitted,
    /// The port that redirects to HTTPS name.
    pub https_port: u16,
}

/// Whether a request may go on. Addresses first; then HTTPS, so that nobody is asked for a password in clear text.
///
/// # Errors
/// The answer in its place.
pub fn check(rules: &Rules, asked: &Asked<'_>) -> Result<(), Refusal> {
    if !is_allowed(rules, asked.client) {
        return Err(Reason::AddressRefused.into());
    }
    if rules.https_redirect && asked.by_host && !asked.secure {
        return Err(to_https(asked));
    }
    Ok(())
}

/// Whether clients at this address may come in.
pub fn is_allowed(rules: &Rules, client: IpAddr) -> bool {
    rules.networks.as_ref().is_none_or(|networks| networks.iter().any(|network| network.contains(&client)))
}

/// Where requests for `/` itself are sent, if that is another place. After the password: the path may be a secret.
pub fn root_redirect(rules: &Rules, admitted: &Admitted) -> Option<Refusal> {
    let target = rules.root_redirect.as_ref().filter(|_| admitted.path() == "/")?;
    let location = HeaderValue::from_str(target).ok()?;
    Some(Refusal::with(Reason::Redirected, LOCATION, location))
}

fn to_https(asked: &Asked<'_>) -> Refusal {
    let host = asked.admitted.host();
    let port = if asked.https_port == 443 { String::new() } else { format!(":{}", asked.https_port) };
    let target = match asked.admitted.target.as_str() {
        "*" => "/",
        target => target,
    };
    let location = HeaderValue::from_str(&format!("https://{host}{port}{target}"));
    Refusal { header: location.ok().map(|location| (LOCATION, location)), ..to_https_by(asked.method).into() }
}

/// The redirect to HTTPS that a request with this method gets. RFC 9110 section 15.4.2: 301 may turn a POST into a GET;
/// section 15.4.9: 308 does not.
pub fn to_https_by(method: &Method) -> Reason {
    match *method {
        Method::GET | Method::HEAD => Reason::HttpsRequired,
        _ => Reason::HttpsRequiredSame,
    }
}

/// Whether a proxy that is trusted says that its client spoke TLS.
pub fn says_https(headers: &HeaderMap) -> bool {
    let last = headers.get_all(X_FORWARDED_PROTO).iter().next_back().and_then(|value| value.to_str().ok());
    last.and_then(|text| text.rsplit(',').next()).is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

/// The target without the prefix that the rules take off; `None`: as it is.
pub fn stripped(rules: &Rules, target: &PathAndQuery) -> Option<PathAndQuery> {
    let prefix = rules.strip_path.as_deref()?;
    let path = target.path();
    if !path_matches(prefix, path) {
        return None;
    }
    // One slash stands between the two. More of them are there only where `proxy.paths` keeps them, and are the task's.
    let rest = &path[prefix.len()..];
    let rest = rest.strip_prefix('/').filter(|_| !prefix.ends_with('/')).unwrap_or(rest);
    let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("/{rest}{query}").parse().ok()
}

/// `Location` of an answer, where the rules rewrite it: one that points to the service itself, by path alone or by the
/// host that was asked for.
pub fn rewritten_location(rules: &Rules, headers: &HeaderMap, host: &str) -> Option<HeaderValue> {
    let root = rules.location.as_ref()?;
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let rest = location.strip_prefix("https://").or_else(|| location.strip_prefix("http://"));
    let own = match rest {
        Some(rest) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let (name, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
            let name = if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { authority };
            let named = [Some(host), rules.host.as_deref()];
            rest.contains('/') && named.into_iter().flatten().any(|own| name.eq_ignore_ascii_case(own))
        }
        None => location.starts_with('/') && !location.starts_with("//"),
    };
    if own { HeaderValue::from_str(root).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(host: &str, target: &str) -> Admitted {
        Admitted { authority: host.parse().unwrap(), target: target.parse().unwrap() }
    }

    fn check_redirect(method: &Method, host: &str, target: &str, https_port: u16, expected: (Reason, &str)) {
        let admitted = admitted(host, target);
        let rules = Rules { https_redirect: true, ..Rules::default() };
        let client = [192, 0, 2, 1].into();
        let asked = Asked { client, secure: false, by_host: true, method, admitted: &admitted, https_port };
        let refusal = check(&rules, &asked).unwrap_err();
        let location = refusal.header.map(|(_, value)| value.to_str().unwrap().to_owned());
        assert_eq!((refusal.reason, location.as_deref()), (expected.0, Some(expected.1)));
        assert!(check(&rules, &Asked { secure: true, ..asked }).is_ok());
        assert!(check(&rules, &Asked { by_host: false, ..asked }).is_ok());
    }

    #[test]
    fn clear_text_is_sent_to_https() {
        let (get, post) = (Method::GET, Method::POST);
        check_redirect(&get, "a.test:80", "/x?y", 443, (Reason::HttpsRequired, "https://a.test/x?y"));
        check_redirect(&post, "a.test", "/", 10_443, (Reason::HttpsRequiredSame, "https://a.test:10443/"));
        check_redirect(&get, "[::1]:80", "/", 443, (Reason::HttpsRequired, "https://[::1]/"));
    }

    #[test]
    fn addresses_are_looked_at_first() {
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap());
        let rules = Rules { networks: Some(networks.into()), https_redirect: true, ..Rules::default() };
        let admitted = admitted("a.test", "/");
        let (secure, by_host, method) = (false, true, &Method::GET);
        let from = |client: &str| {
            let client = client.parse().unwrap();
            let asked = Asked { client, secure, by_host, method, admitted: &admitted, https_port: 443 };
            check(&rules, &asked).unwrap_err().reason
        };
        assert_eq!(from("192.0.2.1"), Reason::AddressRefused);
        assert_eq!(from("10.1.2.3"), Reason::HttpsRequired);
        assert_eq!(from("2001:db8::1"), Reason::HttpsRequired);
        let nobody = Rules { networks: Some(Box::new([])), ..Rules::default() };
        assert!(!is_allowed(&nobody, [10, 0, 0, 1].into()) && is_allowed(&Rules::default(), [10, 0, 0, 1].into()));
    }

    #[test]
    fn prefixes_are_taken_off_on_segment_bounds() {
        let rules = Rules { strip_path: Some("/shop".into()), ..Rules::default() };
        let strip = |target: &str| stripped(&rules, &target.parse().unwrap()).map(|target| target.to_string());
        assert_eq!(strip("/shop").as_deref(), Some("/"));
        assert_eq!(strip("/shop/").as_deref(), Some("/"));
        assert_eq!(strip("/shop/a/b?c=d").as_deref(), Some("/a/b?c=d"));
        assert_eq!(strip("/shop?c").as_deref(), Some("/?c"));
        assert_eq!(strip("/shops"), None);
        assert_eq!(strip("/"), None);
        // Where `//` is kept it names something else than `/` to the task.
        assert_eq!(strip("/shop//a").as_deref(), Some("//a"));
        let of_root = Rules { strip_path: Some("/".into()), ..Rules::default() };
        let strip = |target: &str| stripped(&of_root, &target.parse().unwrap()).map(|target| target.to_string());
        assert_eq!((strip("/a").as_deref(), strip("//a").as_deref()), (Some("/a"), Some("//a")));
    }

    #[test]
    fn own_locations_are_rewritten() {
        let rules = Rules { location: Some("/shop".into()), host: Some("a.test".into()), ..Rules::default() };
        let rewrite = |location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, location.parse().unwrap());
            rewritten_location(&rules, &headers, "b.test").is_some()
        };
        assert!(rewrite("/login") && rewrite("http://a.test/x") && rewrite("https://B.test:8443/x"));
        assert!(!rewrite("http://other.test/x") && !rewrite("//other.test/x") && !rewrite("login"));
        assert!(!rewrite("http://a.test.evil/x") && !rewrite("http://a.test@evil/x"));
    }

    #[test]
    fn the_nearest_proxys_word_counts() {
        let said = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(X_FORWARDED_PROTO, value.parse().unwrap());
            }
            says_https(&headers)
        };
        assert!(said(&["https"]) && said(&["http, HTTPS"]) && said(&["http", "https"]));
        assert!(!said(&[]) && !said(&["http"]) && !said(&["https, http"]));
    }
}
