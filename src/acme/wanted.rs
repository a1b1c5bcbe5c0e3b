//! Which certificates are wanted: those of the configuration, and one for each host of a route that may have one. Pure.
//!
//! Tasks come and go as tenants like; what an authority allows in a week does not. So hosts of routes are bounded in number,
//! and one that went away makes room only when its certificate has ended, or a week after its last order failed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::folder::{Held, Record};
use super::schedule::Seconds;
use crate::config::acme::AcmeConfig;

/// How long a host counts whose route is gone and that never got a certificate.
const FAILED_COUNTS: Seconds = 7 * 86_400;

/// A certificate that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What its files are called: its first host.
    pub name: Arc<str>,
    /// Its hosts.
    pub hosts: Vec<Arc<str>>,
    /// A route's host, not one of the configuration.
    pub of_route: bool,
}

/// What comes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// What is wanted.
    pub wanted: Vec<Wanted>,
    /// Hosts of routes for which there is no room.
    pub left_out: Vec<Arc<str>>,
    /// Pairs of former hosts of routes that count no more.
    pub over: Vec<Arc<str>>,
}

/// Hosts of routes that may have a certificate of this authority, sorted.
pub fn route_hosts<'a>(config: &AcmeConfig, hosts: impl Iterator<Item = &'a Arc<str>>) -> Vec<Arc<str>> {
    let is_own = |host: &Arc<str>| config.certificates.iter().flatten().any(|own| own == host);
    let is_wanted = |host: &&Arc<str>| {
        // A public authority certifies neither addresses nor names of a private network.
        let is_public = host.contains('.') && !host.contains('_') && host.parse::<IpAddr>().is_err();
        is_public && config.route_hosts.iter().any(|pattern| pattern.matches(host)) && !is_own(host)
    };
    let mut hosts: Vec<_> = match config.route_hosts.is_empty() {
        true => Vec::new(),
        false => hosts.filter(is_wanted).cloned().collect(),
    };
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// Chooses, by what the configuration wants, the hosts of routes, and what is known of former orders.
pub fn choose(
    config: &AcmeConfig,
    route_hosts: &[Arc<str>],
    records: &BTreeMap<Arc<str>, Record>,
    held: impl Fn(&str) -> Option<Held>,
    now: Seconds,
) -> Choice {
    let configured = config.certificates.iter().filter_map(|hosts| {
        let name = hosts.first()?.clone();
        Some(Wanted { name, hosts: hosts.clone(), of_route: false })
    });
    let mut choice = Choice { wanted: configured.collect(), ..Choice::default() };
    let names: BTreeSet<_> = choice.wanted.iter().map(|wanted| wanted.name.clone()).collect();
    let mut counted = BTreeSet::new();
    for (name, record) in records.iter().filter(|(name, record)| record.of_route && !names.contains(*name)) {
        let is_there = route_hosts.binary_search(name).is_ok();
        let until = held(name).map_or_else(|| record.tried.saturating_add(FAILED_COUNTS), |held| held.ends);
        match is_there || now < until {
            true => drop(counted.insert(name.clone())),
            false => choice.over.push(name.clone()),
        }
    }
    for host in route_hosts.iter().filter(|host| !names.contains(*host)) {
        let is_known = counted.contains(host);
        if !is_known && counted.len() >= config.max_route_hosts {
            choice.left_out.push(host.clone());
            continue;
        }
        counted.insert(host.clone());
        choice.wanted.push(Wanted { name: host.clone(), hosts: vec![host.clone()], of_route: true });
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::host::HostPattern;

    fn hosts(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    fn config(patterns: &[&str], most: usize) -> AcmeConfig {
        AcmeConfig {
            certificates: vec![hosts(&["www.shop.test", "shop.test"])],
            route_hosts: patterns.iter().map(|pattern| HostPattern::parse(pattern).unwrap()).collect(),
            max_route_hosts: most,
            ..AcmeConfig::default()
        }
    }

    fn names(choice: &Choice) -> Vec<&str> {
        choice.wanted.iter().map(|wanted| &*wanted.name).collect()
    }

    #[test]
    fn only_hosts_that_are_allowed_and_public_are_wanted() {
        let routes =
            hosts(&["b.apps.test", "a.apps.test", "a.other.test", "10.0.0.1", "web", "x_y.apps.test", "shop.test"]);
        let of = |patterns: &[&str]| route_hosts(&config(patterns, 9), routes.iter());
        assert_eq!(of(&[]), hosts(&[]));
        assert_eq!(of(&["*.apps.test"]), hosts(&["a.apps.test", "b.apps.test"]));
        assert_eq!(of(&["*"]), hosts(&["a.apps.test", "a.other.test", "b.apps.test"]));
    }

    #[test]
    fn coming_and_going_makes_no_room() {
        let config = config(&["*"], 2);
        let mut records = BTreeMap::new();
        let choice = choose(&config, &hosts(&["a.test", "b.test", "c.test"]), &records, |_| None, 0);
        assert_eq!(names(&choice), ["www.shop.test", "a.test", "b.test"]);
        assert_eq!(choice.left_out, hosts(&["c.test"]));
        // Ordered for two hosts whose routes are gone now: one has got a certificate, one failed.
        for name in ["a.test", "b.test"] {
            records.insert(name.into(), Record { of_route: true, tried: 1000, ..Record::default() });
        }
        let ends = 90 * 86_400;
        let held = |name: &str| (name == "a.test").then_some(Held { begins: 0, ends, covers: true });
        let at = |now| choose(&config, &hosts(&["c.test", "d.test"]), &records, held, now);
        assert_eq!((names(&at(2000)), at(2000).left_out), (vec!["www.shop.test"], hosts(&["c.test", "d.test"])));
        let later = at(1000 + FAILED_COUNTS);
        assert_eq!((names(&later), &later.over), (vec!["www.shop.test", "c.test"], &hosts(&["b.test"])));
        assert_eq!(names(&at(ends)), ["www.shop.test", "c.test", "d.test"]);
        // One that comes back has its place.
        let back = choose(&config, &hosts(&["a.test", "c.test"]), &records, held, 2000);
        assert_eq!((names(&back), &back.left_out), (vec!["www.shop.test", "a.test"], &hosts(&["c.test"])));
    }
}
