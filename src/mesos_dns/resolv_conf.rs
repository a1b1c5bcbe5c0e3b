//! The system's resolvers, which Mesos-DNS asks where its list of resolvers is empty. Pure: the caller reads the file.

use std::net::IpAddr;

/// Where they stand.
pub(super) const PATH: &str = "/etc/resolv.conf";

/// The servers that the file names, in its order and each once, without this machine's own addresses: Mesos-DNS is often its
/// own machine's resolver, and would ask itself.
pub(super) fn servers(text: &str, own: &[IpAddr]) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok()).map(|address| address.to_canonical());
        let is_other = |address: &IpAddr| {
            !address.is_loopback() && !address.is_unspecified() && !own.contains(address) && !servers.contains(address)
        };
        if let Some(address) = address.filter(is_other) {
            servers.push(address);
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_other_than_this_machine() {
        let own = ["10.0.0.9".parse().unwrap(), "fd00::9".parse().unwrap()];
        let text = "# made by hand\nsearch example.com\nnameserver 127.0.0.53\n nameserver\t10.0.0.1 # first\nnameserver 10.0.0.9\n\
            nameserver ::1\nnameserver fd00::1\nnameserver fd00::9\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver\n\
            nameserver dns.example\n;nameserver 10.0.0.2\nnameservers 10.0.0.3\noptions ndots:1\nnameserver ::ffff:10.0.0.4\n";
        let found: Vec<String> = servers(text, &own).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.1", "fd00::1", "10.0.0.4"]);
        assert_eq!(servers("", &own), [] as [IpAddr; 0]);
    }
}
