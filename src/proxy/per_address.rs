//! How many connections one client may hold.
//!
//! Pure, one thread's view. Clients are counted by network: what one customer is given, /24 of IPv4 and /48 of IPv6,
//! since who floods changes addresses within it. The kernel spreads a client's connections over the workers' sockets,
//! so each worker counts its own.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use hashbrown::HashMap;

/// The connections of one worker, by network.
#[derive(Clone, Debug, Default)]
pub struct PerAddress(Rc<RefCell<HashMap<u64, usize>>>);

/// One connection, counted until this is dropped.
#[derive(Debug)]
pub struct Place {
    counts: PerAddress,
    network: u64,
}

impl PerAddress {
    /// A place for a connection from `peer`, unless its network has `limit` already.
    pub fn take(&self, peer: IpAddr, limit: usize) -> Option<Place> {
        let network = network(peer);
        let mut counts = self.0.borrow_mut();
        let count = counts.entry(network).or_insert(0);
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place { counts: self.clone(), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.0.borrow_mut();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

fn network(peer: IpAddr) -> u64 {
    match peer.to_canonical() {
        IpAddr::V4(address) => u64::from(u32::from(address) >> 8),
        // The upper bit keeps the families apart: 48 bits are left.
        IpAddr::V6(address) => u64::try_from(u128::from(address) >> 80).unwrap_or(u64::MAX) | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_limit_and_others_theirs() {
        let counts = PerAddress::default();
        let take = |peer: &str| counts.take(peer.parse().unwrap(), 2);
        let (one, two) = (take("192.0.2.1").unwrap(), take("::ffff:192.0.2.200").unwrap());
        assert!(take("192.0.2.3").is_none());
        let other = take("192.0.3.1").unwrap();
        let (six, seven) = (take("2001:db8:1::1").unwrap(), take("2001:db8:1:2::1").unwrap());
        assert!(take("2001:db8:1:ffff::1").is_none() && take("2001:db8:2::1").is_some());
        drop(one);
        let again = take("192.0.2.3").unwrap();
        drop((two, other, six, seven, again));
        assert!(counts.0.borrow().is_empty());
    }
}
