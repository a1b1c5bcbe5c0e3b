//! Answers in place of a forwarded request: redirects and fixed answers of routes.

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};

use super::rewrite;
use crate::model::actions::Instead;
use crate::model::template::Template;
use crate::proxy::reason::Reason;
use crate::proxy::rules::{Asked, Content, Refusal};
use crate::table::routes::Route;

/// The answer that a route gives by itself, if it does: none where a request is already where it would be sent.
pub fn answer(route: &Route, asked: &Asked<'_>) -> Option<Refusal> {
    let instead = route.actions.as_ref()?.instead.as_ref()?;
    let refusal: Refusal = match instead {
        Instead::Redirect { location, .. } => {
            let location = location_of(location, route, asked)?;
            let header = Some((LOCATION, HeaderValue::from_str(&location).ok()?));
            Refusal { header, ..Reason::RouteRedirect.into() }
        }
        Instead::Answer { status, content_type, body } => {
            let body =
                if matches!(status, 204 | 205 | 304) { Bytes::new() } else { Bytes::copy_from_slice(body.as_bytes()) };
            let content = Content { content_type: content_type.clone(), body };
            Refusal { content: Some(Box::new(content)), ..Reason::FixedAnswer.into() }
        }
    };
    Some(Refusal { status: StatusCode::from_u16(instead.status()).ok(), ..refusal })
}

fn location_of(template: &Template, route: &Route, asked: &Asked<'_>) -> Option<String> {
    let host = asked.admitted.host();
    let scheme = if asked.secure { "https" } else { "http" };
    let target = &asked.admitted.target;
    let mut location = rewrite::fill(template, route, scheme, &host, target);
    // What a group stands for may begin with a slash: `//` would be another host (RFC 3986 section 4.2).
    if location.starts_with('/') {
        location = format!("/{}", location.trim_start_matches('/'));
    }
    let here = target.as_str();
    let port = if asked.secure { ":443" } else { ":80" };
    let is_here =
        location.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).map_or(location == here, |rest| {
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let path = if path.is_empty() { "/" } else { path };
            let said = asked.admitted.authority();
            let same = authority.eq_ignore_ascii_case(said)
                || authority.strip_suffix(port).unwrap_or(authority) == said.strip_suffix(port).unwrap_or(said);
            same && path == here
        });
    (!is_here).then_some(location)
}
