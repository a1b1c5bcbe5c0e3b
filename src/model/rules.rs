//! What holds for every request to a service, whichever way it comes in: by host, on a port of its own, by app.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::password::PasswordHash;

/// The rules of one service's port. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rules {
    /// Requests by host in clear text are sent to HTTPS.
    pub https_redirect: bool,
    /// Answers over TLS say that the host is to be used over TLS alone (RFC 6797).
    pub hsts: bool,
    /// Who may come in, by name and password. Without a user nobody may.
    pub auth: Option<BasicAuth>,
    /// Networks whose clients may come in; empty: nobody may.
    pub networks: Option<Box<[IpNet]>>,
    /// A path prefix that is taken off before the request is passed on.
    pub strip_path: Option<Arc<str>>,
    /// The host that is written into requests whose path was stripped and that came in on a port of the service's own.
    pub host: Option<Arc<str>>,
    /// What `Location` of an answer becomes where it points to the service itself.
    pub location: Option<Arc<str>>,
    /// Where requests for `/` itself are sent.
    pub root_redirect: Option<Arc<str>>,
    /// The address of the service's own port, where it is not every one allowed.
    pub bind: Option<IpAddr>,
    /// The certificate of the service's own port: a name in the configured folder.
    pub certificate: Option<Arc<str>>,
    /// Filters of the configuration, by name. Stored apart: states of older versions have none.
    #[serde(skip)]
    pub filters: Box<[Arc<str>]>,
}

/// HTTP basic authentication (RFC 7617).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BasicAuth {
    /// What people are asked for, in their browser's words.
    pub realm: Arc<str>,
    /// Users and the hashes of their passwords.
    pub users: Box<[(Arc<str>, PasswordHash)]>,
}

impl Rules {
    /// The rules without any, where that is what they come to.
    pub fn shared(self) -> Option<Arc<Self>> {
        (self != Self::default()).then(|| Arc::new(self))
    }

    /// What holds while a service's endpoints say different things, in the middle of a deploy: a restriction goes before
    /// none, of several restrictions each one's users and networks may come in, and else the first endpoint decides.
    pub fn merged<'a>(all: impl IntoIterator<Item = &'a Option<Arc<Self>>>) -> Option<Arc<Self>> {
        let mut said = all.into_iter();
        let first = said.next()?;
        let mut merged: Option<Self> = None;
        for other in said.filter(|other| *other != first) {
            let merged = merged.get_or_insert_with(|| first.as_deref().cloned().unwrap_or_default());
            if let Some(other) = other {
                merged.add(other);
            }
        }
        merged.map_or_else(|| first.clone(), Self::shared)
    }

    fn add(&mut self, other: &Self) {
        self.https_redirect |= other.https_redirect;
        self.hsts |= other.hsts;
        match (&mut self.auth, &other.auth) {
            (Some(auth), Some(other)) => {
                let new = other.users.iter().filter(|user| !auth.users.contains(user)).cloned();
                auth.users = auth.users.iter().cloned().chain(new.collect::<Vec<_>>()).collect();
            }
            (None, Some(other)) => self.auth = Some(other.clone()),
            (_, None) => {}
        }
        match (&mut self.networks, &other.networks) {
            (Some(networks), Some(other)) => {
                let new = other.iter().filter(|network| !networks.contains(network)).copied();
                *networks = networks.iter().copied().chain(new.collect::<Vec<_>>()).collect();
            }
            (None, Some(other)) => self.networks = Some(other.clone()),
            (_, None) => {}
        }
        let fill = |own: &mut Option<Arc<str>>, other: &Option<Arc<str>>| {
            if own.is_none() {
                own.clone_from(other);
            }
        };
        fill(&mut self.strip_path, &other.strip_path);
        fill(&mut self.host, &other.host);
        fill(&mut self.location, &other.location);
        fill(&mut self.root_redirect, &other.root_redirect);
        fill(&mut self.certificate, &other.certificate);
        self.bind = self.bind.or(other.bind);
        let new = other.filters.iter().filter(|name| !self.filters.contains(name)).cloned();
        self.filters = self.filters.iter().cloned().chain(new.collect::<Vec<_>>()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(networks: &[&str], users: &[&str]) -> Option<Arc<Rules>> {
        let hash = PasswordHash::parse("$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.").unwrap();
        Rules {
            networks: (!networks.is_empty()).then(|| networks.iter().map(|n| n.parse().unwrap()).collect()),
            auth: (!users.is_empty()).then(|| BasicAuth {
                realm: "r".into(),
                users: users.iter().map(|user| ((*user).into(), hash.clone())).collect(),
            }),
            ..Rules::default()
        }
        .shared()
    }

    #[test]
    fn a_restriction_goes_before_none() {
        let (open, closed) = (rules(&[], &[]), rules(&["10.0.0.0/8"], &["ann"]));
        assert_eq!(open, None);
        assert_eq!(Rules::merged([&open, &closed]), closed);
        assert_eq!(Rules::merged([&closed, &open]), closed);
        assert_eq!(Rules::merged([&closed, &closed]), closed);
        assert_eq!(Rules::merged([]), None);
        let other = rules(&["10.0.0.0/8", "192.0.2.0/24"], &["bob"]);
        let both = rules(&["10.0.0.0/8", "192.0.2.0/24"], &["ann", "bob"]);
        assert_eq!(Rules::merged([&closed, &open, &other]), both);
    }
}
