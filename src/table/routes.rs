//! Routes: what a request's head asks for → service.
//!
//! The order is one for all, and does not depend on who came with what first. Of hosts: exact ones, wildcards, longer ones
//! before shorter ones, expressions, longer ones before shorter ones, `*`; the first that the table knows decides alone.
//! Of its routes the first that asks for nothing that the request has not, in the Gateway API's order ("HTTPRouteRule",
//! `matches`): exact paths, expressions, prefixes on segment bounds, longer ones before shorter ones; then those that
//! ask for a method; for more header fields and cookies; for more parameters of the query. What is left decides the
//! explicit priority, then since when the claim has been made, then how it is written.
//!
//! A route exists independently of endpoints: a request for a service without any gets 503, never a shorter route.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::cluster::ledger::Place;
use crate::labels::host::HostPattern;
use crate::model::actions::Actions;
use crate::model::id::ServiceId;
use crate::model::pattern::Pattern;
use crate::model::persistent::PersistentMap;
use crate::model::refinement::{Head, PathMeaning, Refinement};
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
    /// The path prefix (`/` for all), or what [`Route::refined`] says that it means.
    pub path: Arc<str>,
    /// What is asked beside host and path.
    pub refined: Option<Arc<Refinement>>,
    /// Where requests go: one entry in the plain case.
    pub targets: SmallVec<[Target; 1]>,
    /// The claim's standing among others on the same host and path.
    pub priority: i32,
    /// Since when the owner has held the claim.
    pub since: Timestamp,
    /// What is done with its requests and their answers.
    pub actions: Option<Arc<Actions>>,
}

/// All routes.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    pub(crate) exact: PersistentMap<Arc<str>, HostRoutes>,
    pub(crate) wildcard: PersistentMap<Arc<str>, HostRoutes>,
    /// By expression, in the order in which they are tried.
    pub(crate) patterns: Arc<Vec<(Pattern, HostRoutes)>>,
    pub(crate) any: HostRoutes,
}

/// The routes of one host pattern, in the order in which they are tried.
///
/// It costs little to copy: a change of the map that it lies in copies its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRoutes {
    /// One, as nearly every host has.
    One(Arc<Route>),
    /// None, or several.
    Several(Arc<[Arc<Route>]>),
}

impl Default for HostRoutes {
    fn default() -> Self {
        Self::Several(Arc::new([]))
    }
}

impl From<Vec<Arc<Route>>> for HostRoutes {
    fn from(mut routes: Vec<Arc<Route>>) -> Self {
        match routes.len() {
            1 => Self::One(routes.swap_remove(0)),
            _ => Self::Several(routes.into()),
        }
    }
}

/// Hears of a host, which routes it had (`None`: none) and which it has.
pub type VisitHosts<'v> = &'v mut dyn FnMut(&dyn ToString, Option<&HostRoutes>, Option<&HostRoutes>);

/// Hears how a route was found. The hot path passes [`Silent`]; `explain` writes it down.
pub trait Trace {
    /// A host pattern was looked up.
    fn host(&mut self, _pattern: &dyn std::fmt::Display, _found: bool) {}
    /// A route of a host that was found was tried.
    fn route(&mut self, _route: &Route, _matches: bool) {}
}

/// Hears nothing.
#[derive(Debug)]
pub struct Silent;

impl Trace for Silent {}

impl Routes {
    /// The route for a request.
    ///
    /// A host that is known decides alone: if none of its paths match, wildcards are not tried. That is how HAProxy
    /// maps, nginx and the Gateway API do it: the most specific host wins before paths are compared.
    pub fn find(&self, head: &Head<'_>) -> Option<&Arc<Route>> {
        self.find_traced(head, &mut Silent)
    }

    /// The same for whoever knows host and path alone; `None` also where more has to be known.
    pub fn find_by_path(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        let tried = self.host(host, &mut Silent)?.iter();
        let mut tried = tried.take_while(|route| route.refined.is_none());
        tried.find(|route| path_matches(&route.path, path))
    }

    /// [`Routes::find`], telling `trace` each step.
    pub fn find_traced(&self, head: &Head<'_>, trace: &mut impl Trace) -> Option<&Arc<Route>> {
        self.host(head.host, trace)?.find(head, trace)
    }

    /// The routes among which a request for this host finds its own, in the order in which they are tried.
    pub fn for_host(&self, host: &str) -> impl Iterator<Item = &Arc<Route>> {
        self.host(host, &mut Silent).into_iter().flat_map(HostRoutes::iter)
    }

    /// The routes of the most specific pattern that stands for a host.
    fn host(&self, host: &str, trace: &mut impl Trace) -> Option<&HostRoutes> {
        let exact = self.exact.get(host);
        trace.host(&host, exact.is_some());
        if let Some(routes) = exact {
            return Some(routes);
        }
        let mut rest = host;
        while let Some(dot) = memchr::memchr(b'.', rest.as_bytes()) {
            rest = &rest[dot + 1..];
            let found = if self.wildcard.is_empty() { None } else { self.wildcard.get(rest) };
            trace.host(&format_args!("*.{rest}"), found.is_some());
            if let Some(routes) = found {
                return Some(routes);
            }
        }
        for (pattern, routes) in self.patterns.iter() {
            let matches = pattern.matches(host.as_bytes());
            trace.host(&format_args!("~{pattern}"), matches);
            if matches {
                return Some(routes);
            }
        }
        trace.host(&"*", !self.any.is_empty());
        Some(&self.any)
    }

    /// Calls `visit` for each host whose routes differ, written as claims have it, with those in `self` and in `later`. Costs
    /// as much as the difference, and the number of expressions where one of them differs.
    pub fn diff(&self, later: &Self, visit: VisitHosts<'_>) {
        self.exact.diff(&later.exact, &mut |host, a, b| visit(host, a, b));
        self.wildcard.diff(&later.wildcard, &mut |base, a, b| visit(&format!("*.{base}"), a, b));
        if !Arc::ptr_eq(&self.patterns, &later.patterns) {
            for (pattern, routes) in self.patterns.iter() {
                let after = later.of_expression(pattern);
                if after != Some(routes) {
                    visit(&format!("~{pattern}"), Some(routes), after);
                }
            }
            for (pattern, routes) in later.patterns.iter().filter(|(known, _)| self.of_expression(known).is_none()) {
                visit(&format!("~{pattern}"), None, Some(routes));
            }
        }
        if self.any != later.any {
            let some = |routes: &HostRoutes| !routes.is_empty();
            visit(&"*", Some(&self.any).filter(|any| some(any)), Some(&later.any).filter(|any| some(any)));
        }
    }

    fn of_expression(&self, pattern: &Pattern) -> Option<&HostRoutes> {
        let at = self.patterns.binary_search_by(|(known, _)| pattern_order(known, pattern)).ok()?;
        Some(&self.patterns[at].1)
    }

    /// Every route, sorted by host and path.
    pub fn sorted(&self) -> Vec<&Arc<Route>> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by(|a, b| (&a.host, &a.path, &a.refined).cmp(&(&b.host, &b.path, &b.refined)));
        all
    }

    /// Every route, in arbitrary order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        let patterns = self.patterns.iter().map(|(_, routes)| routes);
        let hosts = self.exact.values().chain(self.wildcard.values()).chain(patterns).chain(std::iter::once(&self.any));
        hosts.flat_map(HostRoutes::iter)
    }

    /// The routes of one host pattern.
    pub fn of(&self, host: &HostPattern) -> Option<&HostRoutes> {
        match host {
            HostPattern::Exact(name) => self.exact.get(name),
            HostPattern::Wildcard(base) => self.wildcard.get(base),
            HostPattern::Any => Some(&self.any),
            HostPattern::Pattern(pattern) => self.of_expression(pattern),
        }
    }

    /// The routes for a host by its name, or by the closest wildcard; expressions and `*` aside.
    pub fn of_name(&self, host: &str) -> Option<&HostRoutes> {
        let wildcard = || host.match_indices('.').find_map(|(dot, _)| self.wildcard.get(&host[dot + 1..]));
        self.exact.get(host).or_else(wildcard)
    }

    /// Whether an expression stands for a host.
    pub fn has_expression_for(&self, host: &str) -> bool {
        self.patterns.iter().any(|(pattern, _)| pattern.matches(host.as_bytes()))
    }

    /// The route in force for exactly this.
    pub fn get(&self, host: &HostPattern, path: &str, refined: Option<&Arc<Refinement>>) -> Option<&Arc<Route>> {
        self.of(host)?.iter().find(|route| route.is_for(path, refined))
    }

    /// Puts `route` in force for what it asks; returns the one that was.
    pub fn insert(&mut self, route: Arc<Route>) -> Option<Arc<Route>> {
        let host = route.host.clone();
        let mut routes = self.of(&host).cloned().unwrap_or_default();
        let former = routes.insert(route);
        self.set(&host, routes);
        former
    }

    /// Takes the route that is in force for exactly this out of force.
    pub fn remove(&mut self, host: &HostPattern, path: &str, refined: Option<&Arc<Refinement>>) -> Option<Arc<Route>> {
        let mut routes = self.of(host)?.to_vec();
        let at = routes.iter().position(|route| route.is_for(path, refined))?;
        let removed = routes.remove(at);
        self.set(host, routes.into());
        Some(removed)
    }

    fn set(&mut self, host: &HostPattern, routes: HostRoutes) {
        let empty = routes.is_empty();
        match host {
            HostPattern::Exact(name) if empty => drop(self.exact.remove(name)),
            HostPattern::Exact(name) => drop(self.exact.insert(name.clone(), routes)),
            HostPattern::Wildcard(base) if empty => drop(self.wildcard.remove(base)),
            HostPattern::Wildcard(base) => drop(self.wildcard.insert(base.clone(), routes)),
            HostPattern::Any => self.any = routes,
            HostPattern::Pattern(pattern) => {
                let patterns = Arc::make_mut(&mut self.patterns);
                match patterns.binary_search_by(|(known, _)| pattern_order(known, pattern)) {
                    Ok(at) if empty => drop(patterns.remove(at)),
                    Ok(at) => patterns[at].1 = routes,
                    Err(_) if empty => {}
                    Err(at) => patterns.insert(at, (pattern.clone(), routes)),
                }
            }
        }
    }
}

/// Longer expressions first: they mostly say more.
fn pattern_order(a: &Pattern, b: &Pattern) -> Ordering {
    b.as_str().len().cmp(&a.as_str().len()).then_with(|| a.cmp(b))
}

impl Route {
    /// Whether a request for its host is one of its own.
    pub fn matches(&self, head: &Head<'_>) -> bool {
        self.has_path(head.path) && self.refined.as_ref().is_none_or(|refined| refined.accepts(head))
    }

    /// Whether a path is one of its own, whatever else it asks for.
    pub fn has_path(&self, path: &str) -> bool {
        let Some(refined) = &self.refined else { return path_matches(&self.path, path) };
        match &refined.path {
            PathMeaning::Prefix => path_matches(&self.path, path),
            PathMeaning::AnyCase => path_matches_any_case(&self.path, path),
            PathMeaning::Exact => *self.path == *path,
            PathMeaning::Pattern(pattern) => pattern.matches(path.as_bytes()),
        }
    }

    /// What its owner claims.
    pub fn place(&self) -> Place {
        Place::of_route(self.host.clone(), self.path.clone(), self.refined.clone())
    }

    fn is_for(&self, path: &str, refined: Option<&Arc<Refinement>>) -> bool {
        *self.path == *path && self.refined.as_ref() == refined
    }

    /// Which of two routes of one host is tried first.
    fn order(&self, other: &Self) -> Ordering {
        let nothing = || (Reverse(false), Reverse(0), Reverse(0));
        let rank = |route: &Self| {
            let refined = route.refined.as_deref();
            let kind = match refined.map(|refined| &refined.path) {
                Some(PathMeaning::Exact) => 0,
                Some(PathMeaning::Pattern(_)) => 1,
                Some(PathMeaning::Prefix | PathMeaning::AnyCase) | None => 2,
            };
            let demand = refined.map_or_else(nothing, Refinement::demand);
            (kind, Reverse(route.path.len()), demand, Reverse(route.priority), route.since)
        };
        rank(self).cmp(&rank(other)).then_with(|| (&self.path, &self.refined).cmp(&(&other.path, &other.refined)))
    }
}

impl HostRoutes {
    /// All of them, in the order in which they are tried.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Route>> {
        self.as_slice().iter()
    }

    fn as_slice(&self) -> &[Arc<Route>] {
        match self {
            Self::One(route) => std::slice::from_ref(route),
            Self::Several(routes) => routes,
        }
    }

    fn to_vec(&self) -> Vec<Arc<Route>> {
        self.as_slice().to_vec()
    }

    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn find(&self, head: &Head<'_>, trace: &mut impl Trace) -> Option<&Arc<Route>> {
        self.iter().find(|route| {
            let matches = route.matches(head);
            trace.route(route, matches);
            matches
        })
    }

    fn insert(&mut self, route: Arc<Route>) -> Option<Arc<Route>> {
        let mut routes = self.to_vec();
        let known = routes.iter().position(|known| known.is_for(&route.path, route.refined.as_ref()));
        let former = known.map(|at| routes.remove(at));
        let at = routes.partition_point(|known| known.order(&route).is_lt());
        routes.insert(at, route);
        *self = routes.into();
        former
    }
}

impl std::fmt::Display for HostRoutes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, route) in self.iter().enumerate() {
            let refined = route.refined.as_ref().map(ToString::to_string).unwrap_or_default();
            write!(f, "{}{}{refined} → {}", if at == 0 { "" } else { "; " }, route.path, route.owner)?;
        }
        Ok(())
    }
}

/// Whether `prefix` matches `path` on segment bounds: `/foo` matches `/foo` and `/foo/bar`, not `/foobar`.
pub fn path_matches(prefix: &str, path: &str) -> bool {
    // A prefix begins with a slash. Nearly every one is that alone, and need not be fetched.
    if prefix.len() == 1 {
        return path.starts_with('/');
    }
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// The same whatever the capitals of ASCII letters: `/foo` matches `/Foo/bar`.
pub fn path_matches_any_case(prefix: &str, path: &str) -> bool {
    let Some((start, rest)) = path.split_at_checked(prefix.len()) else { return false };
    start.eq_ignore_ascii_case(prefix) && (prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::refinement::{Condition, Part, Test};
    use http::HeaderMap;
    use proptest::prelude::*;
    use smallvec::smallvec;

    fn routes(claims: &[(&str, &str)]) -> Routes {
        let mut routes = Routes::default();
        for (host, path) in claims {
            routes.insert(route(host, path, None, 0, 0));
        }
        routes
    }

    fn route(host: &str, path: &str, refined: Option<Refinement>, priority: i32, since: u64) -> Arc<Route> {
        let owner = ServiceId::new("c".into(), "n", format!("{host}{path}{}", describe(refined.as_ref())), "0");
        Arc::new(Route {
            targets: smallvec![Target { service: owner.clone(), version: None, weight: 1 }],
            owner,
            name: "default".into(),
            host: host.strip_prefix('~').map_or_else(|| HostPattern::parse(host), HostPattern::expression).unwrap(),
            path: path.into(),
            refined: refined.and_then(Refinement::shared),
            priority,
            since: Timestamp(since),
            actions: None,
        })
    }

    fn describe(refined: Option<&Refinement>) -> String {
        refined.map(|refined| refined.describe().join(",")).unwrap_or_default()
    }

    fn ask<'a>(routes: &'a Routes, host: &str, path: &str, fields: &HeaderMap) -> Option<&'a Arc<Route>> {
        routes.find(&Head { host, path, query: None, method: "GET", fields })
    }

    fn check(claims: &[(&str, &str)], host: &str, path: &str, expected: Option<&str>) {
        let routes = routes(claims);
        let found = ask(&routes, host, path, &HeaderMap::new());
        assert_eq!(found.map(|r| r.owner.name().to_owned()).as_deref(), expected, "{host} {path}");
    }

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn header(name: &str, value: &str) -> Condition {
        Condition { part: Part::Header, name: name.into(), test: Test::Equals(value.into()) }
    }

    #[test]
    fn capitals_do_not_matter_where_a_route_says_so_and_its_rank_stays() {
        let any_case = Refinement { path: PathMeaning::AnyCase, ..Refinement::default() };
        let mut routes = Routes::default();
        routes.insert(route("a.test", "/shop", Some(any_case), 0, 0));
        routes.insert(route("a.test", "/shop/cart", None, 0, 0));
        routes.insert(route("a.test", "/", None, 0, 0));
        for (path, expected) in [
            ("/shop", "/shop"),
            ("/SHOP/x", "/shop"),
            ("/shop/cart", "/shop/cart"),
            ("/Shop/cart", "/shop"),
            ("/shopping", "/"),
            ("/sh", "/"),
        ] {
            let found = ask(&routes, "a.test", path, &HeaderMap::new());
            assert_eq!(found.map(|route| &*route.path), Some(expected), "{path}");
        }
    }

    fn asking(conditions: &[Condition], methods: &[&str]) -> Option<Refinement> {
        let methods = methods.iter().map(|method| (*method).into()).collect();
        Some(Refinement { conditions: conditions.into(), methods, ..Refinement::default() })
    }

    fn exact() -> Option<Refinement> {
        Some(Refinement { path: PathMeaning::Exact, ..Refinement::default() })
    }

    fn expression(text: &str) -> Option<Refinement> {
        Some(Refinement { path: PathMeaning::Pattern(Pattern::parse(text).unwrap()), ..Refinement::default() })
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
    fn expressions_of_hosts_only_where_nothing_better_is_known() {
        let claims = [("~v[0-9]+\\.a\\.b", "/"), ("~.*\\.c", "/"), ("~v.*\\.c", "/"), ("v1.a.b", "/x"), ("*", "/")];
        check(&claims, "v1.a.b", "/", None);
        check(&claims, "v2.a.b", "/", Some("~v[0-9]+\\.a\\.b/"));
        check(&claims, "v1.c", "/", Some("~v.*\\.c/"));
        check(&claims, "w.c", "/", Some("~.*\\.c/"));
        check(&claims, "v2.a.bb", "/", Some("*/"));
    }

    #[test]
    fn exact_paths_then_expressions_then_prefixes() {
        let mut routes = routes(&[("a", "/"), ("a", "/api/v1")]);
        routes.insert(route("a", "/api/v1", exact(), 0, 9));
        routes.insert(route("a", "/api/v[0-9].*", expression("/api/v[0-9].*"), 0, 9));
        let of = |path: &str| ask(&routes, "a", path, &HeaderMap::new()).unwrap().owner.name().to_owned();
        assert_eq!(of("/api/v1"), "a/api/v1exact path");
        assert_eq!(of("/api/v1/x"), "a/api/v[0-9].*path by expression");
        assert_eq!(of("/api"), "a/");
    }

    #[test]
    fn who_asks_for_more_goes_first_then_priority_then_the_longer_claim() {
        let mut routes = Routes::default();
        let two = [header("x-a", "1"), header("x-b", "1")];
        routes.insert(route("a", "/", None, 100, 0));
        routes.insert(route("a", "/", asking(&two[..1], &[]), 0, 5));
        routes.insert(route("a", "/", asking(&two[1..], &[]), 7, 9));
        routes.insert(route("a", "/", asking(&two, &[]), 0, 9));
        let of =
            |lines: &[(&'static str, &str)]| ask(&routes, "a", "/", &fields(lines)).unwrap().owner.name().to_owned();
        assert_eq!(of(&[]), "a/");
        assert_eq!(of(&[("x-a", "1")]), "a/header x-a=1");
        assert_eq!(of(&[("x-a", "1"), ("x-b", "1")]), "a/header x-a=1,header x-b=1");
        routes.remove(&HostPattern::parse("a").unwrap(), "/", asking(&two, &[]).and_then(Refinement::shared).as_ref());
        let of = |routes: &Routes| {
            let both = fields(&[("x-a", "1"), ("x-b", "1")]);
            ask(routes, "a", "/", &both).unwrap().owner.name().to_owned()
        };
        assert_eq!(of(&routes), "a/header x-b=1", "by priority");
        routes.insert(route("a", "/", asking(&two[1..], &[]), 0, 9));
        assert_eq!(of(&routes), "a/header x-a=1", "by the longer claim");
        routes.insert(route("a", "/", asking(&two[1..], &["GET"]), 0, 9));
        assert_eq!(of(&routes), "a/method GET,header x-b=1", "by its method");
    }

    #[test]
    fn what_is_removed_is_gone() {
        let mut routes = routes(&[("a.b", "/"), ("a.b", "/x"), ("~a.*", "/")]);
        routes.insert(route("a.b", "/x", exact(), 0, 0));
        let host = HostPattern::parse("a.b").unwrap();
        assert!(routes.remove(&host, "/x", None).is_some());
        assert!(routes.remove(&host, "/x", None).is_none());
        assert!(ask(&routes, "a.b", "/x", &HeaderMap::new()).is_some_and(|route| route.refined.is_some()));
        assert!(routes.remove(&host, "/x", exact().and_then(Refinement::shared).as_ref()).is_some());
        assert!(routes.remove(&host, "/", None).is_some());
        assert!(routes.exact.is_empty());
        assert!(ask(&routes, "a.b", "/x", &HeaderMap::new()).is_some(), "the expression is left");
        assert!(routes.remove(&HostPattern::expression("a.*").unwrap(), "/", None).is_some());
        assert!(ask(&routes, "a.b", "/", &HeaderMap::new()).is_none() && routes.patterns.is_empty());
    }

    /// A route of a small world, in which many are alike.
    fn any_route() -> impl Strategy<Value = Arc<Route>> {
        let host = prop::sample::select(vec!["a.b", "*.b", "*", "~[ab]\\.b", "~.*b"]);
        let path = prop::sample::select(vec!["/", "/x", "/x/y"]);
        let refined = (0..3_usize, any::<bool>(), 0..3_usize).prop_map(|(meaning, method, headers)| {
            let path = match meaning {
                0 => PathMeaning::Prefix,
                1 => PathMeaning::Exact,
                _ => PathMeaning::Pattern(Pattern::parse("/x.*").unwrap()),
            };
            let conditions = [header("x-a", "1"), header("x-b", "1")][..headers].into();
            let methods = if method { Box::from([Arc::from("GET")]) } else { Box::default() };
            Refinement { path, methods, conditions }
        });
        (host, path, refined, -1..2_i32, 0..3_u64)
            .prop_map(|(host, path, refined, priority, since)| route(host, path, Some(refined), priority, since))
    }

    proptest! {
        /// The order of claims does not decide, what is found is one that matches, and no other that matches goes before.
        #[test]
        fn the_order_is_one(claims in prop::collection::vec(any_route(), 1..12), turn in 0..12_usize, host in "[abc]\\.b",
            path in prop::sample::select(vec!["/", "/x", "/xy", "/x/y/z"]), headers in 0..3_usize) {
            let mut alike: std::collections::HashMap<Place, Arc<Route>> = claims.into_iter().map(|r| (r.place(), r)).collect();
            let mut claims: Vec<_> = alike.drain().map(|(_, route)| route).collect();
            let build = |claims: &[Arc<Route>]| {
                let mut routes = Routes::default();
                claims.iter().for_each(|claim| drop(routes.insert(claim.clone())));
                routes
            };
            let one = build(&claims);
            let turn = turn % claims.len();
            claims.rotate_left(turn);
            let other = build(&claims);
            let fields = fields(&[("x-a", "1"), ("x-b", "1")][..headers]);
            let head = Head { host: &host, path, query: None, method: "GET", fields: &fields };
            let found = one.find(&head);
            prop_assert_eq!(found, other.find(&head));
            let deciding = one.host(&host, &mut Silent).unwrap();
            let rivals = deciding.iter().filter(|route| route.matches(&head));
            prop_assert_eq!(found, rivals.min_by(|a, b| a.order(b)));
            prop_assert!(found.is_none_or(|route| route.host.matches(&host)));
            // Taking all back leaves nothing.
            let mut emptied = one.clone();
            for claim in &claims {
                prop_assert!(emptied.remove(&claim.host, &claim.path, claim.refined.as_ref()).is_some());
            }
            prop_assert_eq!(emptied.iter().count(), 0);
        }
    }
}
