//! The one function that says which address a request comes from.
//!
//! Pure. Access rules, limits, hashing and logs all use it, so that they never disagree.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

use super::forwarded::X_FORWARDED_FOR;

/// Entries of `X-Forwarded-For` that are looked at, from the right.
const MAX_HOPS: usize = 32;

/// Whether forwarding headers from `peer` are believed.
pub fn is_trusted(peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|network| network.contains(&peer))
}

/// The client's address: `peer`, or where `peer` is a trusted proxy, the last address in `X-Forwarded-For` that is
/// not one. An entry that is no address ends the search: what stands left of it was written by nobody trusted.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return client;
    }
    let values = headers.get_all(X_FORWARDED_FOR);
    let entries = values.iter().rev().filter_map(|value| value.to_str().ok()).flat_map(|value| value.rsplit(','));
    for entry in entries.take(MAX_HOPS) {
        match parse(entry.trim()) {
            Some(address) => client = address,
            None => break,
        }
        if !is_trusted(client, trusted) {
            break;
        }
    }
    client
}

/// An address, perhaps with a port (`1.2.3.4:5`, `[::1]:5`), as some proxies write it.
fn parse(entry: &str) -> Option<IpAddr> {
    let address = entry.parse().ok().or_else(|| entry.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()));
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, lines: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let found = client_address(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
    }

    #[test]
    fn a_client_outside_is_itself_whatever_it_says() {
        check("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check("192.0.2.1", &[], "192.0.2.1");
    }

    #[test]
    fn a_trusted_proxy_is_believed_up_to_the_first_stranger() {
        check("10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["6.6.6.6, 198.51.100.7, 10.0.0.2"], "198.51.100.7");
        check("10.0.0.1", &["6.6.6.6", "198.51.100.7", "10.0.0.2"], "198.51.100.7");
        check("::ffff:10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7");
        check("fd00::1", &["[2001:db8::7]:80"], "2001:db8::7");
        check("fd00::1", &["[2001:db8::7]"], "2001:db8::7");
    }

    #[test]
    fn garbage_ends_the_search() {
        check("10.0.0.1", &["198.51.100.7, unknown"], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.7, unknown, 10.0.0.9"], "10.0.0.9");
        check("10.0.0.1", &[""], "10.0.0.1");
    }
}
