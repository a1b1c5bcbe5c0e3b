//! Who may call what.
//!
//! Reading needs no credentials: the listener is on loopback unless the configuration says otherwise. What changes
//! something needs the Unix socket, which only our own user can open, or the bearer token. The `Host` must be ours:
//! a web page that makes a browser resolve its own name to our address (DNS rebinding) is turned away.

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};

use http::header::{AUTHORIZATION, HOST};
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Uri};

use super::reply::ApiError;
use crate::config::checked::{AdminConfig, Secret};

/// Where a call comes from.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// Over the Unix socket, with the caller's user id where the system tells it.
    Socket { user: Option<u32> },
    /// Over TCP.
    Tcp { client: SocketAddr, local: SocketAddr },
}

/// Who ordered a change, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Actor(pub String);

/// Whether the call is meant for us.
///
/// # Errors
/// 400 without one `Host`, 421 with a foreign one.
pub(crate) fn check_host(peer: &Peer, uri: &Uri, headers: &HeaderMap, config: &AdminConfig) -> Result<(), ApiError> {
    let Peer::Tcp { local, .. } = peer else { return Ok(()) };
    let mut given = headers.get_all(HOST).iter();
    let (Some(host), None) = (given.next(), given.next()) else {
        // RFC 9112 section 3.2: a request without exactly one Host is answered with 400.
        return Err(ApiError::bad_request("the request needs exactly one Host", "send the header Host"));
    };
    let host = host.to_str().ok().filter(|text| !text.contains('@')).and_then(|text| text.parse::<Authority>().ok());
    let host = host.ok_or_else(|| ApiError::bad_request("the Host cannot be understood", "send HOST or HOST:PORT"))?;
    // RFC 9112 section 3.2.2: the authority of an absolute target counts instead of Host. Both must be ours.
    for authority in std::iter::once(&host).chain(uri.authority()) {
        if !is_ours(authority.host(), local.ip(), config) {
            return Err(misdirected(authority.host()));
        }
    }
    Ok(())
}

/// Whether the call may change something.
///
/// # Errors
/// 401 without the right token, 403 where no token is configured.
pub(crate) fn check_change(peer: &Peer, headers: &HeaderMap, token: Option<&Secret>) -> Result<Actor, ApiError> {
    let client = match peer {
        Peer::Socket { user: Some(user) } => return Ok(Actor(format!("user {user} on the socket"))),
        Peer::Socket { user: None } => return Ok(Actor("the socket".into())),
        Peer::Tcp { client, .. } => client,
    };
    let Some(expected) = token else {
        let message = "changes over TCP need a token, and none is configured";
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            message,
            "use the Unix socket, or set admin.token",
        ));
    };
    let given = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    match given {
        Some(given) if equal(given, expected.0.as_bytes()) => Ok(Actor(format!("the token from {client}"))),
        given => {
            let message = if given.is_some() { "the token is wrong" } else { "this call needs a token" };
            let mend = "send Authorization: Bearer TOKEN, or use the Unix socket";
            Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message, mend))
        }
    }
}

fn is_ours(host: &str, local: IpAddr, config: &AdminConfig) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.to_canonical() == local.to_canonical() || is_listed(bare, config);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    name.eq_ignore_ascii_case("localhost") || is_listed(name, config)
}

fn is_listed(host: &str, config: &AdminConfig) -> bool {
    config.hosts.iter().any(|listed| listed.trim_end_matches('.').eq_ignore_ascii_case(host))
}

fn misdirected(host: &str) -> ApiError {
    let shown: String = host.chars().take(100).collect();
    let message = format!("this is not {shown:?}");
    let mend = "call the listener's address or localhost, or add the name to admin.hosts";
    ApiError::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", message, mend)
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Compares in a time that depends on the length of `given` alone: the time tells nothing about the secret.
fn equal(given: &[u8], expected: &[u8]) -> bool {
    let mut difference = u8::from(given.len() != expected.len() || expected.is_empty());
    for (at, byte) in given.iter().enumerate() {
        let other = if expected.is_empty() { 0 } else { expected[at % expected.len()] };
        difference = black_box(difference | (byte ^ other));
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(local: &str) -> Peer {
        Peer::Tcp { client: "127.0.0.1:5".parse().unwrap(), local: local.parse().unwrap() }
    }

    fn status(host: Option<&str>, local: &str) -> u16 {
        let config = AdminConfig { hosts: vec!["ops.example.com".into()], ..AdminConfig::default() };
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(HOST, host.parse().unwrap());
        }
        match check_host(&tcp(local), &Uri::from_static("/"), &headers, &config) {
            Ok(()) => 200,
            Err(error) => error.status.as_u16(),
        }
    }

    #[test]
    fn hosts() {
        assert_eq!(status(Some("127.0.0.1:18080"), "127.0.0.1:18080"), 200);
        assert_eq!(status(Some("[::1]:18080"), "[::1]:18080"), 200);
        assert_eq!(status(Some("127.0.0.1"), "[::ffff:127.0.0.1]:1"), 200);
        assert_eq!(status(Some("LOCALHOST:1"), "127.0.0.1:1"), 200);
        assert_eq!(status(Some("ops.example.com."), "10.0.0.1:1"), 200);
        assert_eq!(status(Some("evil.example"), "127.0.0.1:1"), 421);
        assert_eq!(status(Some("10.0.0.9"), "127.0.0.1:1"), 421);
        assert_eq!(status(Some("localhost.evil.example"), "127.0.0.1:1"), 421);
        assert_eq!(status(Some("user@localhost"), "127.0.0.1:1"), 400);
        assert_eq!(status(Some("a b"), "127.0.0.1:1"), 400);
        assert_eq!(status(None, "127.0.0.1:1"), 400);
    }

    #[test]
    fn an_absolute_target_counts_too() {
        let headers = HeaderMap::from_iter([(HOST, "localhost".parse().unwrap())]);
        let uri = Uri::from_static("http://evil.example/v1/table");
        let error = check_host(&tcp("127.0.0.1:1"), &uri, &headers, &AdminConfig::default()).unwrap_err();
        assert_eq!(error.status, StatusCode::MISDIRECTED_REQUEST);
    }

    fn change(authorization: Option<&str>, token: Option<&str>) -> u16 {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        let token = token.map(|token| Secret(token.into()));
        check_change(&tcp("127.0.0.1:1"), &headers, token.as_ref()).map_or_else(|error| error.status.as_u16(), |_| 200)
    }

    #[test]
    fn changes() {
        assert_eq!(change(Some("Bearer right"), Some("right")), 200);
        assert_eq!(change(Some("bearer right"), Some("right")), 200);
        assert_eq!(change(Some("Bearer wrong"), Some("right")), 401);
        assert_eq!(change(Some("Bearer rightright"), Some("right")), 401);
        assert_eq!(change(Some("Bearer "), Some("right")), 401);
        assert_eq!(change(Some("Basic right"), Some("right")), 401);
        assert_eq!(change(None, Some("right")), 401);
        assert_eq!(change(Some("Bearer "), Some("")), 401);
        assert_eq!(change(Some("Bearer x"), None), 403);
        let socket = check_change(&Peer::Socket { user: Some(7) }, &HeaderMap::new(), None);
        assert_eq!(socket.unwrap(), Actor("user 7 on the socket".into()));
    }
}
