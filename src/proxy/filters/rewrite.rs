//! The target that a request is passed on with, where its route makes another of it.

use http::uri::PathAndQuery;

use crate::config::checked::PathPolicy;
use crate::model::refinement::PathMeaning;
use crate::model::template::{Parts, Template};
use crate::proxy::path::normalise_path;
use crate::proxy::reason::Reason;
use crate::table::routes::Route;

/// The target that goes to the endpoint; `None`: as it came.
///
/// # Errors
/// What the client's path makes of the route's template is no path.
pub fn target(route: &Route, target: &PathAndQuery, paths: PathPolicy) -> Result<Option<PathAndQuery>, Reason> {
    let Some(template) = route.actions.as_ref().and_then(|actions| actions.path.as_ref()) else { return Ok(None) };
    let filled = fill(template, route, "http", "", target);
    let (path, own_query) = match filled.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*filled, None),
    };
    // Parts put together may make dot segments and double slashes that none of them had. A path that would climb out of
    // what the template says is none.
    let climbs = |segment: &str| matches!(segment, "." | "..") || segment.to_ascii_lowercase().contains("%2e");
    if path.split('/').any(climbs) {
        return Err(Reason::BadPath);
    }
    // What the route's own text encodes is its maker's choice.
    let paths = PathPolicy { refuse_encoded_slashes: false, ..paths };
    let mut whole = normalise_path(path, paths).map_err(|_| Reason::BadPath)?.into_owned();
    if let Some(query) = own_query.or(target.query()) {
        whole.push('?');
        whole.push_str(query);
    }
    PathAndQuery::try_from(whole).map(Some).map_err(|_| Reason::BadPath)
}

/// Fills a template of the route with a request's parts.
pub(super) fn fill(template: &Template, route: &Route, scheme: &str, host: &str, target: &PathAndQuery) -> String {
    let path = target.path();
    let groups = match route.refined.as_deref().map(|refined| &refined.path) {
        Some(PathMeaning::Pattern(pattern)) if template.groups() > 0 => pattern.groups(path),
        _ => Vec::new(),
    };
    template.fill(&Parts { scheme, host, path, query: target.query(), prefix: &route.path, groups: &groups })
}
