//! Addresses as Mesos writes them: libprocess pids, `host:port`, `Location` of a redirect.

use std::net::{IpAddr, SocketAddr};

/// The address and port of a libprocess pid: `slave(1)@127.0.0.3:5051`, `master@[::1]:5050`.
pub fn pid_address(pid: &str) -> Option<SocketAddr> {
    let (host, port) = pid_place(pid)?;
    Some(SocketAddr::new(host.parse().ok()?, port))
}

/// The host, which may be a name, and port of a libprocess pid.
pub fn pid_place(pid: &str) -> Option<(&str, u16)> {
    split_host_port(pid.rsplit_once('@')?.1)
}

/// Splits `host:port`, also `[v6]:port`; the host comes back without brackets.
pub fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let is_valid =
        !host.is_empty() && host.len() <= 255 && !host.contains(|c: char| c.is_whitespace() || "/@?#\\".contains(c));
    is_valid.then_some((host, port))
}

/// An IP address, an IPv4 address mapped into IPv6 as what it is.
pub fn ip_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// `host:port` with brackets where the host is an IPv6 address.
pub fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids() {
        for (pid, expected) in [
            ("slave(1)@127.0.0.3:5051", Some("127.0.0.3:5051")),
            ("master@[::1]:5050", Some("[::1]:5050")),
            ("slave(1)@agent.example:5051", None),
            ("127.0.0.1:5050", None),
            ("slave(1)@127.0.0.3:70000", None),
            ("slave(1)@::1:5050", None),
            ("", None),
        ] {
            assert_eq!(pid_address(pid), expected.map(|text| text.parse().unwrap()), "{pid}");
        }
    }

    #[test]
    fn hosts_of_pids_may_be_names() {
        assert_eq!(pid_place("scheduler-1@host.example:41314"), Some(("host.example", 41314)));
        assert_eq!(pid_place("scheduler-1@[::1]:1"), Some(("::1", 1)));
        assert_eq!(pid_place("host.example:41314"), None);
    }

    #[test]
    fn hosts_and_ports() {
        for (text, expected) in [
            ("m1.example:5050", Some(("m1.example", 5050))),
            ("[::1]:5050", Some(("::1", 5050))),
            ("::1:5050", None),
            (":5050", None),
            ("user@host:5050", None),
            ("a b:1", None),
            ("m1.example", None),
        ] {
            assert_eq!(split_host_port(text), expected, "{text}");
        }
        assert_eq!(join_host_port("::1", 5050), "[::1]:5050");
    }

    #[test]
    fn mapped_addresses_are_what_they_map() {
        assert_eq!(ip_address("::ffff:10.0.0.1"), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(ip_address("fd00::1"), Some("fd00::1".parse().unwrap()));
        assert_eq!(ip_address("agent-1"), None);
    }
}
