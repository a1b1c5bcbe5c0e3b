//! Finds servers that send our queries back to us.
//!
//! Each server is asked for a name that only this process knows, with the server's address in it. If such a query
//! arrives here, that server leads back to us, by whatever way, and is not asked until a later attempt gets through.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;

use super::exchange::secret;

/// What the names begin with, in this process.
static TOKEN: LazyLock<String> = LazyLock::new(|| format!("{:016x}", secret()));

/// Servers that lead back to us; all workers' sockets hear of them.
static LOOPING: LazyLock<ArcSwap<HashSet<SocketAddr>>> = LazyLock::new(ArcSwap::default);

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
    LOOPING.load().contains(&server)
}

/// Notes what a server does.
pub(super) fn set(server: SocketAddr, loops: bool) {
    if is_looping(server) != loops {
        LOOPING.rcu(|known| {
            let mut known = HashSet::clone(known);
            if loops {
                known.insert(server);
            } else {
                known.remove(&server);
            }
            Arc::new(known)
        });
    }
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
}
