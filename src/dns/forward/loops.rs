//! Finds servers that send our queries back to us.
//!
//! Each server is asked for a name that only this process knows, with the server's address in it. If such a query
//! arrives here, that server leads back to us, by whatever way, and is not asked until a later attempt gets through. When
//! they are asked is for [`super::watch`] to say.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::exchange::secret;

/// What the names begin with, in this process.
static TOKEN: LazyLock<String> = LazyLock::new(|| format!("{:016x}", secret()));

/// Servers that lead back to us, with the last time that a probe came here; all workers' sockets hear of them.
static LOOPING: LazyLock<ArcSwap<HashMap<SocketAddr, Instant>>> = LazyLock::new(ArcSwap::default);

/// The label of the probe for a server.
pub(super) fn label(server: SocketAddr) -> String {
    let octets = match server.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{}-{hex}-{}", *TOKEN, server.port())
}

/// The server that this name was a probe for, if it is one of ours.
pub(super) fn probed(name: &str) -> Option<SocketAddr> {
    let rest = name.strip_prefix(TOKEN.as_str())?.split('.').next()?;
    let (hex, port) = rest.strip_prefix('-')?.split_once('-')?;
    let octets: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect::<Option<_>>()?;
    let address: IpAddr = match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok()?.into(),
        16 => <[u8; 16]>::try_from(octets).ok()?.into(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port.parse().ok()?))
}

/// Whether a server leads back to us.
pub(super) fn is_looping(server: SocketAddr) -> bool {
    LOOPING.load().contains_key(&server)
}

/// A probe for the server has come here. `true`: that is news.
pub(super) fn found(server: SocketAddr) -> bool {
    let now = Instant::now();
    let former = LOOPING.rcu(|known| {
        let mut known = HashMap::clone(known);
        known.insert(server, now);
        Arc::new(known)
    });
    !former.contains_key(&server)
}

/// A probe that was sent at `since` has ended: if neither it nor another one came here, the server does not lead back to us
/// any more. `true`: it does.
pub(super) fn settle(server: SocketAddr, since: Instant) -> bool {
    let is_old = |known: &HashMap<SocketAddr, Instant>| known.get(&server).is_some_and(|at| *at < since);
    if is_old(&LOOPING.load()) {
        LOOPING.rcu(|known| {
            let mut left = HashMap::clone(known);
            if is_old(known) {
                left.remove(&server);
            }
            Arc::new(left)
        });
    }
    is_looping(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_tells_its_server() {
        for server in ["10.0.0.53:53", "[fd00::1]:5353"] {
            let server: SocketAddr = server.parse().unwrap();
            let label = label(server);
            assert!(label.len() <= 63);
            assert_eq!(probed(&format!("{label}.test")), Some(server));
            assert_eq!(probed(&format!("x{label}.test")), None);
        }
        assert_eq!(probed("0123456789abcdef-0a000035-53.test"), None);
        assert_eq!(probed(&format!("{}-zz-53", *TOKEN)), None);
    }

    #[test]
    fn a_probe_that_does_not_come_back_clears_its_server() {
        // Nobody else's address: what is known is shared by all tests of the process.
        let server: SocketAddr = "192.0.2.53:53".parse().unwrap();
        let before = Instant::now();
        assert!(!settle(server, before) && !is_looping(server));
        assert!(found(server));
        assert!(!found(server), "it is known");
        // The probe that found it, and one that another worker sent before.
        assert!(settle(server, before) && is_looping(server));
        let later = Instant::now() + std::time::Duration::from_secs(1);
        assert!(!settle(server, later) && !is_looping(server));
        assert!(found(server), "news once more");
        settle(server, later);
    }
}
