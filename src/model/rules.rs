//! What holds for every request to a service, whichever way it comes in: by host, on a port of its own, by app.

use std::collections::BTreeMap;
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
    /// The app that says so, where it joined a service that is not named after it. A service's own rules have none.
    #[serde(skip)]
    pub guest: Option<Arc<str>>,
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

    /// What holds for requests, one thing each in the order in which they are asked, for people; no users and no passwords.
    pub fn describe(&self) -> Vec<String> {
        let networks = self.networks.as_ref().map(|networks| match &**networks {
            [] => "lets in no client".to_owned(),
            networks => {
                let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
                format!("lets in clients of {}", networks.join(", "))
            }
        });
        let https = self.https_redirect.then(|| "sends clear text to HTTPS".to_owned());
        let filters = self.filters.iter().map(|name| format!("filter {name}"));
        let auth = self.auth.as_ref().map(|auth| match auth.users.is_empty() {
            true => "asks for a user and a password, and knows none".to_owned(),
            false => "asks for a user and a password".to_owned(),
        });
        let root = self.root_redirect.as_ref().map(|target| format!("sends / to {target}"));
        let strip = self.strip_path.as_ref().map(|prefix| format!("takes {prefix} off the path"));
        let location = self.location.as_ref().map(|location| format!("Location of answers becomes {location}"));
        let hsts = self.hsts.then(|| "answers over TLS ask for TLS from then on".to_owned());
        let before = networks.into_iter().chain(https);
        before.chain(filters).chain(auth).chain(root).chain(strip).chain(location).chain(hsts).collect()
    }

    /// What holds for a service whose endpoints say different things. Of one app's, in the middle of a deploy: a restriction
    /// goes before none, of several restrictions each one's users and networks may come in, and else the first endpoint
    /// decides. Of several apps' nobody gains by joining: the app that the service is named after has the word alone; where
    /// there is no such, the restrictions of all must hold.
    pub fn merged<'a>(all: impl IntoIterator<Item = &'a Option<Arc<Self>>>) -> Option<Arc<Self>> {
        let mut distinct: Vec<&Option<Arc<Self>>> = Vec::new();
        for said in all {
            if !distinct.contains(&said) {
                distinct.push(said);
            }
        }
        let guest = |rules: &Option<Arc<Self>>| rules.as_ref().and_then(|rules| rules.guest.clone());
        let mut by_app: BTreeMap<Option<Arc<str>>, Vec<&Option<Arc<Self>>>> = BTreeMap::new();
        for rules in distinct {
            by_app.entry(guest(rules)).or_default().push(rules);
        }
        if let Some(own) = by_app.remove(&None) {
            return Self::united(&own);
        }
        let mut guests = by_app.into_values().map(|rules| Self::united(&rules));
        let mut all = guests.next()?.as_deref().cloned().unwrap_or_default();
        for other in guests.flatten() {
            all.narrow(&other);
        }
        all.guest = None;
        all.shared()
    }

    /// What the endpoints of one app come to.
    fn united(said: &[&Option<Arc<Self>>]) -> Option<Arc<Self>> {
        let (first, others) = said.split_first()?;
        if others.is_empty() {
            return (*first).clone();
        }
        let mut united = first.as_deref().cloned().unwrap_or_default();
        others.iter().filter_map(|other| other.as_deref()).for_each(|other| united.add(other));
        united.shared()
    }

    /// The rules of a service to which these are added.
    pub fn of_service(&self) -> Self {
        Self { guest: None, ..self.clone() }
    }

    /// Makes the rules of another app hold too.
    fn narrow(&mut self, other: &Self) {
        if let (Some(auth), Some(others)) = (&mut self.auth, &other.auth) {
            auth.users = auth.users.iter().filter(|user| others.users.contains(user)).cloned().collect();
        }
        if let (Some(networks), Some(others)) = (&mut self.networks, &other.networks) {
            let both = |a: &IpNet, b: &IpNet| match (a.contains(b), b.contains(a)) {
                (true, _) => Some(*b),
                (_, true) => Some(*a),
                _ => None,
            };
            let mut narrowed: Vec<IpNet> =
                networks.iter().flat_map(|own| others.iter().filter_map(move |other| both(own, other))).collect();
            narrowed.sort_unstable();
            narrowed.dedup();
            *networks = narrowed.into();
        }
        let (auth, networks) = (self.auth.clone(), self.networks.clone());
        self.add(other);
        // What only one of them restricts is restricted; of what both do, no more comes in than with each.
        self.auth = auth.or_else(|| self.auth.take());
        self.networks = networks.or_else(|| self.networks.take());
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

    fn guest(app: &str, networks: &[&str], users: &[&str]) -> Option<Arc<Rules>> {
        let rules = rules(networks, users).as_deref().cloned().unwrap_or_default();
        Rules { guest: Some(app.into()), ..rules }.shared()
    }

    #[test]
    fn who_joins_gains_nothing() {
        let own = rules(&["10.0.0.0/8"], &["ann"]);
        let guest_of = |users: &[&str]| guest("f/b", &["0.0.0.0/0"], users);
        // The app that the service is named after has the word, whichever came first, and be it that all may come in.
        assert_eq!(Rules::merged([&own, &guest_of(&["bob"])]), own);
        assert_eq!(Rules::merged([&guest_of(&[]), &own]), own);
        assert_eq!(Rules::merged([&guest_of(&["bob"]), &None]), None);
        assert_eq!(
            Rules::merged([&guest_of(&["bob"]), &own, &rules(&[], &["eve"])])
                .unwrap()
                .auth
                .as_ref()
                .unwrap()
                .users
                .len(),
            2
        );
        // Where there is none, what all say must hold.
        let (blue, green) = (
            guest("f/blue", &["10.0.0.0/8"], &["ann", "bob"]),
            guest("f/green", &["10.1.0.0/16", "192.0.2.0/24"], &["bob"]),
        );
        let both = rules(&["10.1.0.0/16"], &["bob"]);
        assert_eq!(Rules::merged([&blue, &green]), both);
        assert_eq!(Rules::merged([&green, &blue]), both);
        assert_eq!(Rules::merged([&blue, &guest("f/x", &[], &[])]), rules(&["10.0.0.0/8"], &["ann", "bob"]));
        let nobody = Rules::merged([&blue, &guest("f/x", &["192.0.2.0/24"], &["eve"])]).unwrap();
        assert_eq!((nobody.networks.as_deref(), nobody.auth.as_ref().unwrap().users.len()), (Some(&[][..]), 0));
        // One app's own deploy is as ever, and alone it is the service.
        let (former, next) = (guest("f/blue", &[], &["ann"]), guest("f/blue", &[], &["bob"]));
        assert_eq!(Rules::merged([&former, &next]), rules(&[], &["ann", "bob"]));
        assert_eq!(Rules::merged([&former]), rules(&[], &["ann"]));
        assert_eq!(Rules::merged([&guest("f/x", &[], &[])]), None);
    }
}
