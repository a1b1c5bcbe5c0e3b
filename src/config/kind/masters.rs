//! Where a cluster's masters are: a ZooKeeper URL or a list of addresses.

use std::path::Path;

use serde_json::Value as Json;
use toml::de::DeValue;

use super::{Fault, Item, Kind, clip, type_noun};
use crate::config::checked::{Masters, Secret};

/// Masters as the file has them.
#[derive(Clone, PartialEq)]
pub(crate) struct MastersValue {
    /// Where they are.
    pub(crate) masters: Masters,
    /// The scheme that the list's entries name.
    pub(crate) scheme: Option<Scheme>,
}

/// How a master is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Clear text.
    Http,
    /// TLS.
    Https,
}

/// `zk://…` or a list of `host:port`.
pub(crate) struct MastersKind;

impl Kind for MastersKind {
    type Value = MastersValue;

    fn noun(&self) -> String {
        "a zk:// URL or a list of masters".into()
    }

    fn example(&self) -> String {
        "\"zk://zk1:2181,zk2:2181/mesos\" or [\"master1:5050\", \"https://master2:5050\"]".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<MastersValue, Vec<Fault>> {
        let fault = |(message, mend): Refusal| Fault::one(item.span(), message, mend);
        match item.get_ref() {
            DeValue::String(text) => match text.strip_prefix("zk://") {
                Some(rest) => zookeeper(rest).map_err(fault),
                None => list([(text.as_ref(), item.span())].into_iter()),
            },
            DeValue::Array(items) if items.is_empty() || items.len() > MOST_SERVERS => {
                let message = format!("{} masters are here, 1 to {MOST_SERVERS} are allowed", items.len());
                Err(fault((message, format!("write it like {}", self.example()))))
            }
            DeValue::Array(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    let Some(text) = item.get_ref().as_str() else {
                        let message = format!("found {}, expected a master's address", type_noun(item.get_ref()));
                        return Err(Fault::one(item.span(), message, "write it like \"master1:5050\""));
                    };
                    texts.push((text, item.span()));
                }
                list(texts.into_iter())
            }
            _ => Err(self.wrong_type(item)),
        }
    }

    fn show(&self, value: &MastersValue) -> Json {
        match &value.masters {
            Masters::ZooKeeper { servers, path, .. } => format!("zk://{}{path}", servers.join(",")).into(),
            Masters::List(masters) => masters.iter().map(|master| Json::from(master.as_str())).collect(),
        }
    }
}

/// What is wrong, and the mend.
type Refusal = (String, String);

fn list<'a>(texts: impl Iterator<Item = (&'a str, std::ops::Range<usize>)>) -> Result<MastersValue, Vec<Fault>> {
    let (mut masters, mut scheme, mut faults) = (Vec::new(), None, Vec::new());
    for (position, (text, span)) in texts.enumerate() {
        let mut refuse = |message: String, mend: &str| faults.extend(Fault::one(span.clone(), message, mend));
        let (own, rest) = split_scheme(text);
        match server(rest, "5050") {
            Ok(master) if masters.contains(&master) => {
                refuse(format!("{master} stands in the list twice"), "remove one of the two");
            }
            Ok(_) if position > 0 && own != scheme => {
                refuse("the masters are spoken to in several ways".into(), "give all of them https://, or none");
            }
            Ok(master) => {
                scheme = own;
                masters.push(master);
            }
            // Credentials that someone wrote into the address are not repeated.
            Err(_) if text.contains('@') => {
                let mend = "give credentials as `principal` and `secret_file`; addresses are like \"master1:5050\"";
                refuse("a master's address has an `@`".into(), mend);
            }
            Err(reason) => {
                let message = format!("{:?} is no master's address: {reason}", clip(text));
                refuse(message, "write it like \"master1:5050\"");
            }
        }
    }
    if faults.is_empty() { Ok(MastersValue { masters: Masters::List(masters), scheme }) } else { Err(faults) }
}

fn split_scheme(text: &str) -> (Option<Scheme>, &str) {
    let (scheme, rest) = if let Some(rest) = text.strip_prefix("https://") {
        (Some(Scheme::Https), rest)
    } else if let Some(rest) = text.strip_prefix("http://") {
        (Some(Scheme::Http), rest)
    } else {
        return (None, text);
    };
    (scheme, rest.strip_suffix('/').unwrap_or(rest))
}

/// Reads what follows `zk://`: `user:password@host:port,host:port/path`. Messages never repeat the credentials.
fn zookeeper(text: &str) -> Result<MastersValue, Refusal> {
    let mend = || "write it like \"zk://zk1:2181,zk2:2181/mesos\"".to_owned();
    // A password may have a slash and an at sign: the servers begin behind the last at sign.
    let (auth, rest) = match text.rsplit_once('@') {
        Some((auth, rest)) => (Some(auth), rest),
        None => (None, text),
    };
    if auth
        .is_some_and(|auth| auth.split_once(':').is_none_or(|(user, password)| user.is_empty() || password.is_empty()))
    {
        return Err((
            "the credentials are not user:password".into(),
            "write it like \"zk://user:password@zk1:2181/mesos\"".into(),
        ));
    }
    let (hosts, path) = rest.split_once('/').map_or((rest, ""), |(hosts, path)| (hosts, path.trim_end_matches('/')));
    if path.is_empty() {
        return Err(("the path of the masters' nodes in ZooKeeper is missing".into(), mend()));
    }
    if path.split('/').any(|node| node.is_empty() || node == "." || node == "..") || path.chars().any(char::is_control)
    {
        return Err((format!("/{} is no path in ZooKeeper", clip(path)), mend()));
    }
    let servers: Result<Vec<String>, String> = hosts.split(',').map(|host| server(host.trim(), "2181")).collect();
    let servers = servers.map_err(|reason| (format!("a ZooKeeper server's address is wrong: {reason}"), mend()))?;
    if servers.len() > MOST_SERVERS {
        return Err((format!("{} servers are here, {MOST_SERVERS} are allowed", servers.len()), "name fewer".into()));
    }
    let auth = auth.map(|auth| Secret(auth.into()));
    Ok(MastersValue { masters: Masters::ZooKeeper { servers, path: format!("/{path}"), auth }, scheme: None })
}

/// `host:port`, the port added where it is missing.
fn server(text: &str, default_port: &str) -> Result<String, String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, if rest.is_empty() { Some(default_port) } else { rest.strip_prefix(':') }),
        None => text.rsplit_once(':').map_or((text, Some(default_port)), |(host, port)| (host, Some(port))),
    };
    let port = port.and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
    let port = port.ok_or("the port is no number from 1 to 65535")?;
    if let Ok(address) = host.parse::<std::net::IpAddr>() {
        return Ok(std::net::SocketAddr::new(address, port).to_string());
    }
    match crate::labels::host::HostPattern::parse(host) {
        Ok(crate::labels::host::HostPattern::Exact(host)) => Ok(format!("{host}:{port}")),
        Ok(_) => Err("a wildcard cannot be here".into()),
        Err(reason) => Err(reason.to_string()),
    }
}

/// Servers of one cluster at most.
const MOST_SERVERS: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    fn list_of(toml: &str) -> (Vec<String>, Option<Scheme>) {
        let value = read(&MastersKind, toml).unwrap_or_else(|error| panic!("{error}"));
        let Masters::List(masters) = value.masters else { panic!("no list") };
        (masters, value.scheme)
    }

    fn refusal(toml: &str) -> String {
        read(&MastersKind, toml).map(|_| ()).unwrap_err()
    }

    #[test]
    fn lists() {
        assert_eq!(list_of(r#"["h1:5051", "H2"]"#), (vec!["h1:5051".into(), "h2:5050".into()], None));
        assert_eq!(list_of(r#"["https://h1:5050/"]"#), (vec!["h1:5050".into()], Some(Scheme::Https)));
        assert_eq!(list_of(r#""http://10.0.0.1""#), (vec!["10.0.0.1:5050".into()], Some(Scheme::Http)));
        assert_eq!(list_of(r#"["[::1]:5050", "[::2]"]"#).0, ["[::1]:5050", "[::2]:5050"]);
        assert!(refusal(r#"["http://h1", "https://h2"]"#).starts_with("the masters are spoken to in several ways"));
        assert!(refusal(r#"["h1", "h1:5050"]"#).starts_with("h1:5050 stands in the list twice"));
        assert!(refusal(r#"["h1:0", "h2:x"]"#).lines().count() == 2);
        assert!(!refusal(r#"["http://user:hunter2@h1"]"#).contains("hunter2"));
        assert!(refusal("[]").starts_with("0 masters are here"));
        assert!(refusal("[1]").starts_with("found a whole number"));
        assert!(refusal("1").starts_with("found a whole number"));
    }

    #[test]
    fn zookeeper_urls() {
        let value = read(&MastersKind, r#""zk://u:p@ss/w@h1:2181,h2/mesos/a/""#).map_err(|e| panic!("{e}")).unwrap();
        let expected = Masters::ZooKeeper {
            servers: vec!["h1:2181".into(), "h2:2181".into()],
            path: "/mesos/a".into(),
            auth: Some(Secret("u:p@ss/w".into())),
        };
        assert_eq!(value.masters, expected);
        assert_eq!(MastersKind.show(&value), "zk://h1:2181,h2:2181/mesos/a");
        assert!(refusal(r#""zk://h1:2181""#).starts_with("the path of the masters' nodes in ZooKeeper is missing"));
        assert!(refusal(r#""zk://h1:2181/""#).starts_with("the path of the masters' nodes in ZooKeeper is missing"));
        assert!(refusal(r#""zk:///mesos""#).starts_with("a ZooKeeper server's address is wrong: it is empty"));
        assert!(!refusal(r#""zk://user:hunter2@h1:x/mesos""#).contains("hunter2"));
        assert!(!refusal(r#""zk://hunter2@h1/mesos""#).contains("hunter2"));
    }
}
