//! Routes: host and path → service. Exact hosts before wildcards, longer wildcards before shorter ones, the longest
//! path prefix on segment bounds.
//!
//! A route exists independently of endpoints: a request for a service without any gets 503, never a shorter route.

use std::sync::Arc;

use crate::labels::host::HostPattern;
use crate::model::id::ServiceId;
use crate::model::persistent::PersistentMap;
use crate::model::service::Target;
use crate::model::time::Timestamp;

/// One claim that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The service that holds the claim.
    pub owner: ServiceId,
    /// The route's name within the service.
    pub name: Arc<str>,
    /// The host.
    pub host: HostPattern,
    /// The path prefix (`/` for all).
    pub path: Arc<str>,
    /// Where requests go: one entry in the plain case.
    pub targets: Box<[Target]>,
    /// The claim's standing among others on the same host and path.
    pub priority: i32,
    /// Since when the owner has held the claim.
    pub since: Timestamp,
}

/// All routes.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    pub(crate) exact: PersistentMap<Arc<str>, Arc<HostRoutes>>,
    pub(crate) wildcard: PersistentMap<Arc<str>, Arc<HostRoutes>>,
    pub(crate) any: Arc<HostRoutes>,
}

/// The routes of one host pattern, longest path first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRoutes {
    routes: Vec<Arc<Route>>,
}

/// Hears how a route was found. The hot path passes [`Silent`]; `explain` writes it down.
pub trait Trace {
    /// A host pattern was looked up.
    fn host(&mut self, _pattern: &dyn std::fmt::Display, _found: bool) {}
    /// A route of a host that was found was tried.
    fn path(&mut self, _route: &Route, _matches: bool) {}
}

/// Hears nothing.
#[derive(Debug)]
pub struct Silent;

impl Trace for Silent {}

impl Routes {
    /// The route for a request. `host`: lower case, without port and final dot. `path`: begins with `/`, no query.
    ///
    /// A host that is known decides alone: if none of its paths match, wildcards are not tried. That is how HAProxy
    /// maps, nginx and the Gateway API do it: the most specific host wins before paths are compared.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.find_traced(host, path, &mut Silent)
    }

    /// [`Routes::find`], telling `trace` each step.
    pub fn find_traced(&self, host: &str, path: &str, trace: &mut impl Trace) -> Option<&Arc<Route>> {
        let exact = self.exact.get(host);
        trace.host(&host, exact.is_some());
        if let Some(routes) = exact {
            return routes.find(path, trace);
        }
        let mut rest = host;
        while let Some(dot) = rest.find('.') {
            rest = &rest[dot + 1..];
            let found = self.wildcard.get(rest);
            trace.host(&format_args!("*.{rest}"), found.is_some());
            if let Some(routes) = found {
                return routes.find(path, trace);
            }
        }
        trace.host(&"*", !self.any.routes.is_empty());
        self.any.find(path, trace)
    }

    /// Every route, sorted by host and path.
    pub fn sorted(&self) -> Vec<&Arc<Route>> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by(|a, b| (&a.host, &a.path).cmp(&(&b.host, &b.path)));
        all
    }

    /// Every route, in arbitrary order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        let hosts = self.exact.values().chain(self.wildcard.values()).chain(std::iter::once(&self.any));
        hosts.flat_map(|host| host.routes.iter())
    }

    /// The routes of one host pattern.
    pub fn of(&self, host: &HostPattern) -> Option<&Arc<HostRoutes>> {
        match host {
            HostPattern::Exact(name) => self.exact.get(name),
            HostPattern::Wildcard(base) => self.wildcard.get(base),
            HostPattern::Any => Some(&self.any),
        }
    }

    /// The route in force for exactly this host pattern and path prefix.
    pub fn get(&self, host: &HostPattern, path: &str) -> Option<&Arc<Route>> {
        self.of(host)?.routes.iter().find(|route| *route.path == *path)
    }

    /// Puts `route` in force for its host and path; returns the one that was.
    pub fn insert(&mut self, route: Arc<Route>) -> Option<Arc<Route>> {
        let host = route.host.clone();
        let mut routes = self.of(&host).map(|r| (**r).clone()).unwrap_or_default();
        let former = routes.insert(route);
        self.set(&host, routes);
        former
    }

    /// Takes the route of this host and path out of force.
    pub fn remove(&mut self, host: &HostPattern, path: &str) -> Option<Arc<Route>> {
        let mut routes = (**self.of(host)?).clone();
        let at = routes.routes.iter().position(|route| *route.path == *path)?;
        let removed = routes.routes.remove(at);
        self.set(host, routes);
        Some(removed)
    }

    fn set(&mut self, host: &HostPattern, routes: HostRoutes) {
        let empty = routes.routes.is_empty();
        let routes = Arc::new(routes);
        match host {
            HostPattern::Exact(name) if empty => drop(self.exact.remove(name)),
            HostPattern::Exact(name) => drop(self.exact.insert(name.clone(), routes)),
            HostPattern::Wildcard(base) if empty => drop(self.wildcard.remove(base)),
            HostPattern::Wildcard(base) => drop(self.wildcard.insert(base.clone(), routes)),
            HostPattern::Any => self.any = routes,
        }
    }
}

impl HostRoutes {
    fn find(&self, path: &str, trace: &mut impl Trace) -> Option<&Arc<Route>> {
        self.routes.iter().find(|route| {
            let matches = path_matches(&route.path, path);
            trace.path(route, matches);
            matches
        })
    }

    fn insert(&mut self, route: Arc<Route>) -> Option<Arc<Route>> {
        let order = |known: &Arc<Route>| (std::cmp::Reverse(known.path.len()), known.path.clone());
        match self.routes.binary_search_by_key(&order(&route), order) {
            Ok(at) => Some(std::mem::replace(&mut self.routes[at], route)),
            Err(at) => {
                self.routes.reserve_exact(1);
                self.routes.insert(at, route);
                None
            }
        }
    }
}

impl std::fmt::Display for HostRoutes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, route) in self.routes.iter().enumerate() {
            write!(f, "{}{} → {}", if at == 0 { "" } else { "; " }, route.path, route.owner)?;
        }
        Ok(())
    }
}

/// Whether `prefix` matches `path` on segment bounds: `/foo` matches `/foo` and `/foo/bar`, not `/foobar`.
pub fn path_matches(prefix: &str, path: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(claims: &[(&str, &str)]) -> Routes {
        let mut routes = Routes::default();
        for (host, path) in claims {
            let owner = ServiceId::new("c".into(), "n", format!("{host}{path}"), "0");
            routes.insert(Arc::new(Route {
                targets: Box::new([Target { service: owner.clone(), version: None, weight: 1 }]),
                owner,
                name: "default".into(),
                host: HostPattern::parse(host).unwrap(),
                path: (*path).into(),
                priority: 0,
                since: Timestamp(0),
            }));
        }
        routes
    }

    fn check(claims: &[(&str, &str)], host: &str, path: &str, expected: Option<&str>) {
        let routes = routes(claims);
        assert_eq!(routes.find(host, path).map(|r| r.owner.name().to_owned()).as_deref(), expected, "{host} {path}");
    }

    #[test]
    fn the_longest_path_on_segment_bounds() {
        let claims = [("a.b", "/"), ("a.b", "/foo"), ("a.b", "/foo/bar")];
        check(&claims, "a.b", "/", Some("a.b/"));
        check(&claims, "a.b", "/foobar", Some("a.b/"));
        check(&claims, "a.b", "/foo", Some("a.b/foo"));
        check(&claims, "a.b", "/foo/x", Some("a.b/foo"));
        check(&claims, "a.b", "/foo/bar/x", Some("a.b/foo/bar"));
        check(&[("a.b", "/foo")], "a.b", "/", None);
    }

    #[test]
    fn exact_hosts_before_wildcards_and_long_wildcards_before_short_ones() {
        let claims = [("x.a.b", "/only"), ("*.a.b", "/"), ("*.b", "/"), ("*", "/")];
        check(&claims, "x.a.b", "/only", Some("x.a.b/only"));
        check(&claims, "x.a.b", "/other", None);
        check(&claims, "y.a.b", "/", Some("*.a.b/"));
        check(&claims, "y.b", "/", Some("*.b/"));
        check(&claims, "b", "/", Some("*/"));
    }

    #[test]
    fn what_is_removed_is_gone() {
        let mut routes = routes(&[("a.b", "/"), ("a.b", "/x")]);
        let host = HostPattern::parse("a.b").unwrap();
        assert!(routes.remove(&host, "/x").is_some());
        assert!(routes.remove(&host, "/x").is_none());
        assert!(routes.find("a.b", "/x").is_some());
        assert!(routes.remove(&host, "/").is_some());
        assert!(routes.find("a.b", "/").is_none());
        assert!(routes.exact.is_empty());
    }
}
