//! What a request lacks for which there is no route, by the route that comes nearest.
//!
//! Pure. It looks at the routes of the request's host alone, as the search for its route did: names that differ little from
//! the host are looked for by `explain`, which may take its time.

use std::cmp::Reverse;

use super::routes::{Route, Routes};
use crate::model::refinement::Head;

/// Octets of what is said.
const LONGEST: usize = 256;

/// In one line, for people; `None`: there is a route.
pub fn of(routes: &Routes, head: &Head<'_>) -> Option<Box<str>> {
    let lacks = |route: &Route| route.refined.as_ref().map(|refined| refined.lacks(head)).unwrap_or_default();
    let of_path = routes.for_host(head.host).filter(|route| route.has_path(head.path));
    // Of equals the first, which would have been chosen.
    let nearest = of_path.map(|route| (lacks(route), route)).min_by_key(|(lacks, _)| lacks.len());
    let said = match nearest {
        Some((lacks, _)) if lacks.is_empty() => return None,
        Some((lacks, route)) => format!("{}{} asks for {}", route.host, route.path, lacks.join(", ")),
        None => {
            let common = |route: &Route| route.path.bytes().zip(head.path.bytes()).take_while(|(a, b)| a == b).count();
            let nearest = routes.for_host(head.host).min_by_key(|route| (Reverse(common(route)), route.path.len()));
            match nearest {
                Some(route) => format!("no route of {} has the path, the nearest has {}", route.host, route.path),
                None => "no route has the host".to_owned(),
            }
        }
    };
    Some(said[..said.floor_char_boundary(LONGEST)].into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use smallvec::SmallVec;

    use http::HeaderMap;

    use super::*;
    use crate::labels::host::HostPattern;
    use crate::model::id::ServiceId;
    use crate::model::refinement::{Condition, Part, PathMeaning, Refinement, Test};
    use crate::model::time::Timestamp;

    fn route(host: &str, path: &str, refined: Refinement) -> Arc<Route> {
        Arc::new(Route {
            owner: ServiceId::new("c".into(), "n", "s", "0"),
            name: "r".into(),
            host: HostPattern::parse(host).unwrap(),
            path: path.into(),
            refined: refined.shared(),
            targets: SmallVec::new(),
            priority: 0,
            since: Timestamp(0),
            actions: None,
        })
    }

    fn asking(methods: &[&str], parts: &[(Part, &str)]) -> Refinement {
        let secret = |(part, name): &(Part, &str)| Condition {
            part: *part,
            name: (*name).into(),
            test: Test::Equals("secret".into()),
        };
        Refinement {
            methods: methods.iter().map(|method| (*method).into()).collect(),
            conditions: parts.iter().map(secret).collect(),
            ..Refinement::default()
        }
    }

    fn routes() -> Routes {
        let mut routes = Routes::default();
        for route in [
            route("a", "/api/v1", Refinement::default()),
            route("a", "/api/v2", asking(&["GET", "PUT"], &[])),
            route("a", "/canary", asking(&["GET"], &[(Part::Header, "x-a"), (Part::Cookie, "b")])),
            route("a", "/canary", asking(&[], &[(Part::Query, "c")])),
            route("*.b", "/x", Refinement { path: PathMeaning::Exact, ..Refinement::default() }),
        ] {
            routes.insert(route);
        }
        routes
    }

    fn check(host: &str, path: &str, method: &str, expected: Option<&str>) {
        let fields = HeaderMap::new();
        let (routes, head) = (routes(), Head { host, path, query: None, method, fields: &fields });
        let found = of(&routes, &head);
        assert_eq!(found.as_deref(), expected, "{method} {host}{path}");
        assert_eq!(found.is_none(), routes.find(&head).is_some(), "{method} {host}{path}");
    }

    #[test]
    fn the_nearest_route_says_what_is_missing() {
        check("a", "/api/v1/x", "GET", None);
        check("a", "/api/v2", "GET", None);
        check("a", "/api/v2", "POST", Some("a/api/v2 asks for method GET or PUT"));
        // The one that asks for least, and never what it asks a value to be.
        check("a", "/canary", "POST", Some("a/canary asks for query c"));
        // Of two that are as near the one that is tried first: it asks for more.
        check("a", "/api/v3", "GET", Some("no route of a has the path, the nearest has /api/v2"));
        check("a", "/api/v11", "GET", Some("no route of a has the path, the nearest has /api/v1"));
        check("a", "/can", "GET", Some("no route of a has the path, the nearest has /canary"));
        check("y.b", "/x/y", "GET", Some("no route of *.b has the path, the nearest has /x"));
        check("c", "/", "GET", Some("no route has the host"));
    }

    #[test]
    fn what_is_said_is_bounded() {
        let mut routes = Routes::default();
        routes.insert(route("a", &format!("/{}", "ü".repeat(1000)), Refinement::default()));
        let fields = HeaderMap::new();
        let said = of(&routes, &Head { host: "a", path: "/", query: None, method: "GET", fields: &fields }).unwrap();
        assert!(said.len() <= LONGEST && said.len() > LONGEST - 4, "{said}");
    }
}
