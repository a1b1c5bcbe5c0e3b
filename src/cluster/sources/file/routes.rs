//! Route files for many hosts: `host address:port` a line, `*` for every other host.
//!
//! Each host becomes a service of its name; lines with one host are endpoints of one service. `#` begins a comment.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::contents::{DEFAULT_NAMESPACE, StaticEndpoint, StaticService};
use super::error::{FileErrors, Place};
use crate::labels::host::HostPattern;
use crate::model::id::{ClusterName, ServiceId};
use crate::model::service::Protocol;
use crate::model::task::Label;

/// The longest line, in bytes.
const MAX_LINE: usize = 1024;

/// The most lines of one file.
const MAX_LINES: usize = 1_000_000;

/// Reads a route file.
///
/// # Errors
/// Only reading itself fails; what is wrong with lines is added to `errors`.
pub(super) fn read(
    mut input: impl BufRead,
    path: &Arc<Path>,
    cluster: &ClusterName,
    protocol: Protocol,
    errors: &mut FileErrors,
) -> io::Result<Vec<StaticService>> {
    let mut services: Vec<StaticService> = Vec::new();
    let mut by_host: HashMap<HostPattern, usize> = HashMap::new();
    let mut known: HashSet<(usize, SocketAddr)> = HashSet::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        let mut fault = |message: String, mend: &str| {
            errors.add(Place { path: path.clone(), line: number, column: 1 }, "", message, mend);
        };
        if line.len() > MAX_LINE || number > MAX_LINES {
            fault(
                format!("the line is longer than {MAX_LINE} bytes, or there are over {MAX_LINES} lines"),
                "split the file",
            );
            break;
        }
        match read_line(&String::from_utf8_lossy(&line)) {
            Ok(None) => {}
            Ok(Some((host, address))) => {
                let at = *by_host.entry(host).or_insert_with_key(|host| {
                    services.push(service(host, cluster, protocol));
                    services.len() - 1
                });
                if !known.insert((at, address)) {
                    fault(format!("the address {address} is there twice for one host"), "remove one of the lines");
                    continue;
                }
                services[at].endpoints.push(StaticEndpoint { address, labels: Vec::new() });
            }
            Err(message) => fault(message, "write a host and an address: `www.example.com 10.0.0.1:8080`"),
        }
    }
    Ok(services)
}

fn read_line(line: &str) -> Result<Option<(HostPattern, SocketAddr)>, String> {
    let line = line.split('#').next().unwrap_or_default();
    let mut fields = line.split_ascii_whitespace();
    match (fields.next(), fields.next(), fields.next()) {
        (None, _, _) => Ok(None),
        (Some(host), Some(address), None) => {
            let host = HostPattern::parse(host).map_err(|error| format!("{host:?} is no host: {error}"))?;
            let read: SocketAddr = address.parse().map_err(|_| format!("{address:?} is no IP address with a port"))?;
            if read.port() == 0 { Err("the port is 0".to_owned()) } else { Ok(Some((host, read))) }
        }
        _ => Err("the line has not two fields".to_owned()),
    }
}

fn service(host: &HostPattern, cluster: &ClusterName, protocol: Protocol) -> StaticService {
    let host = host.to_string();
    let mut labels = vec![label("pointsman.host", host.as_str())];
    if protocol != Protocol::default() {
        labels.push(label("pointsman.protocol", protocol.as_str()));
    }
    let id = ServiceId::new(cluster.clone(), DEFAULT_NAMESPACE, host, "0");
    StaticService { id, protocol, labels: labels.into(), endpoints: Vec::new() }
}

/// A label.
pub(super) fn label(key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Label {
    Label { key: key.into(), value: value.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Vec<StaticService>, FileErrors) {
        let mut errors = FileErrors::default();
        let path: Arc<Path> = Path::new("routes").into();
        let services = read(text.as_bytes(), &path, &"c".into(), Protocol::H2c, &mut errors).unwrap();
        (services, errors)
    }

    #[test]
    fn lines_with_one_host_are_one_service() {
        let (services, errors) = parse("# all\nA.test 10.0.0.1:80\na.test [::1]:80 # v6\n\n* 10.0.0.2:80\n");
        assert!(errors.is_empty(), "{errors}");
        let shown: Vec<_> = services.iter().map(|s| (s.id.to_string(), s.endpoints.len())).collect();
        assert_eq!(shown, [("c/static/a.test/0".to_owned(), 2), ("c/static/*/0".to_owned(), 1)]);
        assert_eq!(&*services[0].labels, [label("pointsman.host", "a.test"), label("pointsman.protocol", "h2c")]);
    }

    #[test]
    fn every_fault_is_told() {
        let (_, errors) =
            parse("a.test\na_b! 1.1.1.1:1\na.test 1.1.1.1\na.test b:1\na 1.1.1.1:0\nb 1.1.1.1:1\nb 1.1.1.1:1");
        let lines: Vec<usize> = errors.iter().map(|error| error.place.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 7]);
    }
}
