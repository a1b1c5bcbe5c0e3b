//! Addresses as names of the reverse tree: `in-addr.arpa` (RFC 1035 §3.5) and `ip6.arpa` (RFC 3596 §2.5).

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The name that an address has in the reverse tree, without the final dot.
pub fn name_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => name(&address.octets(), 4, "in-addr.arpa"),
        IpAddr::V6(address) => name(&nibbles(address), 32, "ip6.arpa"),
    }
}

/// The address whose name in the reverse tree this is; lower case, without the final dot.
pub fn address_of(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0u8; 4];
        read(labels, &mut octets, octet)?;
        return Some(Ipv4Addr::from(octets).into());
    }
    let mut nibbles = [0u8; 32];
    read(name.strip_suffix(".ip6.arpa")?, &mut nibbles, nibble)?;
    Some(joined(&nibbles).into())
}

/// The network whose addresses' names lie below this one; lower case, without the final dot.
pub fn network_of(name: &str) -> Option<IpNet> {
    let labels = |tree: &str| name.strip_suffix(tree).map(|labels| labels.strip_suffix('.').unwrap_or(labels));
    if let Some(labels) = labels("in-addr.arpa") {
        let mut octets = [0u8; 4];
        let bits = read_first(labels, &mut octets, octet)? * 8;
        return Some(ipnet::Ipv4Net::new(octets.into(), bits).ok()?.into());
    }
    let mut digits = [0u8; 32];
    let bits = read_first(labels("ip6.arpa")?, &mut digits, nibble)? * 4;
    Some(ipnet::Ipv6Net::new(joined(&digits), bits).ok()?.into())
}

/// The zones that a network is in the reverse tree: one where its prefix ends with a label, else as many as it takes
/// to the next label (RFC 6303 §4.1 lists `172.16.0.0/12` so). At most 128.
pub fn zones_of(network: IpNet) -> Vec<String> {
    let bits = if matches!(network, IpNet::V4(_)) { 8 } else { 4 };
    let whole = network.prefix_len().div_ceil(bits) * bits;
    let parts = network.subnets(whole).into_iter().flatten();
    parts.map(|part| zone(part.addr(), usize::from(whole / bits))).collect()
}

fn zone(address: IpAddr, labels: usize) -> String {
    match address {
        IpAddr::V4(address) => name(&address.octets(), labels, "in-addr.arpa"),
        IpAddr::V6(address) => name(&nibbles(address), labels, "ip6.arpa"),
    }
}

/// The first `count` digits in reverse order. A digit is an octet in decimal, or a nibble in hexadecimal.
fn name(digits: &[u8], count: usize, tree: &str) -> String {
    let mut name = String::with_capacity(4 * count + tree.len());
    for digit in digits[..count].iter().rev() {
        // Writing to a string cannot fail.
        let _ = if digits.len() == 4 { write!(name, "{digit}.") } else { write!(name, "{digit:x}.") };
    }
    name.push_str(tree);
    name
}

fn nibbles(address: Ipv6Addr) -> [u8; 32] {
    let mut nibbles = [0; 32];
    for (pair, octet) in nibbles.chunks_exact_mut(2).zip(address.octets()) {
        pair.copy_from_slice(&[octet >> 4, octet & 15]);
    }
    nibbles
}

fn joined(nibbles: &[u8; 32]) -> Ipv6Addr {
    let mut octets = [0u8; 16];
    for (octet, pair) in octets.iter_mut().zip(nibbles.chunks_exact(2)) {
        *octet = pair[0] << 4 | pair[1];
    }
    octets.into()
}

/// Reads exactly as many labels as there are places, the last one first.
fn read(labels: &str, places: &mut [u8], digit: fn(&str) -> Option<u8>) -> Option<()> {
    let read = read_first(labels, places, digit)?;
    (usize::from(read) == places.len()).then_some(())
}

/// Reads at most as many labels as there are places, the last one first, and tells how many there were.
fn read_first(labels: &str, places: &mut [u8], digit: fn(&str) -> Option<u8>) -> Option<u8> {
    let mut read = 0;
    for label in labels.rsplit('.').filter(|_| !labels.is_empty()) {
        *places.get_mut(usize::from(read))? = digit(label)?;
        read += 1;
    }
    Some(read)
}

/// An octet as its label is written: without a sign or leading zeros.
fn octet(label: &str) -> Option<u8> {
    let number: u8 = label.parse().ok()?;
    let is_plain = label.bytes().all(|byte| byte.is_ascii_digit()) && (label.len() == 1 || !label.starts_with('0'));
    is_plain.then_some(number)
}

fn nibble(label: &str) -> Option<u8> {
    let [digit] = label.as_bytes() else { return None };
    u8::try_from(char::from(*digit).to_digit(16)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, name: &str) {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(name_of(address), name);
        assert_eq!(address_of(name), Some(address.to_canonical()), "{name}");
    }

    #[test]
    fn names() {
        check("10.2.0.130", "130.0.2.10.in-addr.arpa");
        check("::ffff:10.2.0.130", "130.0.2.10.in-addr.arpa");
        // The example of RFC 3596 §2.5.
        check("4321:0:1:2:3:4:567:89ab", "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa");
    }

    #[test]
    fn what_is_no_address() {
        for name in ["in-addr.arpa", "1.2.3.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "01.2.3.4.in-addr.arpa"] {
            assert_eq!(address_of(name), None, "{name}");
        }
        for name in ["+1.2.3.4.in-addr.arpa", "256.2.3.4.in-addr.arpa", "1.2.3.4", "1.ip6.arpa"] {
            assert_eq!(address_of(name), None, "{name}");
        }
    }

    #[test]
    fn names_above_addresses() {
        let network = |name: &str| network_of(name).map(|network| network.to_string());
        assert_eq!(network("in-addr.arpa").unwrap(), "0.0.0.0/0");
        assert_eq!(network("2.10.in-addr.arpa").unwrap(), "10.2.0.0/16");
        assert_eq!(network("1.0.d.f.ip6.arpa").unwrap(), "fd01::/16");
        assert_eq!(network("x.10.in-addr.arpa"), None);
        assert_eq!(network("10.in-addr.arpa.test"), None);
        assert_eq!(network("1.1.1.1.1.in-addr.arpa"), None);
    }

    #[test]
    fn zones() {
        let zones = |network: &str| zones_of(network.parse().unwrap());
        assert_eq!(zones("10.0.0.0/8"), ["10.in-addr.arpa"]);
        assert_eq!(zones("10.1.2.3/32"), ["3.2.1.10.in-addr.arpa"]);
        assert_eq!(zones("0.0.0.0/0"), ["in-addr.arpa"]);
        assert_eq!(zones("fd01::/16"), ["1.0.d.f.ip6.arpa"]);
        assert_eq!(zones("fc00::/7"), ["c.f.ip6.arpa", "d.f.ip6.arpa"]);
        let private = zones("172.16.0.0/12");
        assert_eq!((private.len(), &*private[0], &*private[15]), (16, "16.172.in-addr.arpa", "31.172.in-addr.arpa"));
    }
}
