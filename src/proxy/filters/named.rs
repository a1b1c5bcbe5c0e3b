//! Filters of the configuration that a service and its route name: who may ask, how often, for how much, and what their
//! answers carry beside.

use http::header::{CONTENT_LENGTH, HeaderName, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use super::compress;
use super::cors;
use super::rate;
use crate::config::access::LogRule;
use crate::config::filter::{Coding, FilterConfig, RateBy};
use crate::proxy::reason::Reason;
use crate::proxy::rules::{Asked, Refusal};

/// What filters come to for one request.
#[derive(Clone, Debug, Default)]
pub struct Filtered {
    /// The largest body; `None`: any.
    pub max_body: Option<u64>,
    /// Answers carry what makes browsers careful.
    pub security_headers: bool,
    /// Whether the request is written down.
    pub log: LogRule,
    /// Filters that ask somebody else, or for a token: their positions in the configuration.
    pub asking: SmallVec<[usize; 2]>,
    /// The filter whose pages errors have, or that has endpoints' errors replaced.
    pub errors: Option<usize>,
    /// The filter that has the answer compressed, and by what.
    pub compress: Option<(usize, Option<Coding>)>,
    /// What is said to a page of another origin.
    pub cors: Option<cors::Answer>,
}

/// Puts filters together; every restriction counts.
///
/// # Errors
/// The answer in place of passing the request on.
pub fn apply<'a>(
    known: &[FilterConfig],
    names: impl Iterator<Item = &'a std::sync::Arc<str>> + Clone,
    asked: &Asked<'_>,
    headers: &HeaderMap,
) -> Result<Filtered, Refusal> {
    let place = |name: &std::sync::Arc<str>| known.iter().position(|filter| filter.name == *name);
    let has_pages = |position: &usize| known[*position].errors.is_used();
    let mut out = Filtered { errors: names.clone().filter_map(place).find(has_pages), ..Filtered::default() };
    for name in names {
        let pages = out.errors;
        let refused = |refusal: Refusal| refusal.by(Some(name), pages);
        // A name that anybody may write is no name of a metric.
        let unknown = || Refusal::from(Reason::UnknownFilter).by(None, pages);
        let position = place(name).ok_or_else(unknown)?;
        let filter = &known[position];
        admit(filter, asked, headers).map_err(refused)?;
        let most = (filter.max_body > 0).then_some(filter.max_body as u64);
        out.max_body = most.into_iter().chain(out.max_body).min();
        out.security_headers |= filter.security_headers;
        out.log = log_rule(out.log, filter.access_log);
        if filter.forward_auth.url.is_some() || filter.jwt.keys.is_some() {
            out.asking.push(position);
        }
        if out.compress.is_none() && !filter.compress.codings.is_empty() {
            out.compress = Some((position, compress::negotiate(&filter.compress.codings, headers)));
        }
        if out.cors.is_none() && !filter.cors.origins.is_empty() {
            out.cors = Some(cors::answer(&filter.cors, asked.method, headers));
        }
    }
    Ok(out)
}

/// Who asks for a line gets it, whatever another filter says.
fn log_rule(one: LogRule, other: LogRule) -> LogRule {
    match (one, other) {
        (LogRule::Always, _) | (_, LogRule::Always) => LogRule::Always,
        (LogRule::Never, _) | (_, LogRule::Never) => LogRule::Never,
        (LogRule::Sampled, LogRule::Sampled) => LogRule::Sampled,
    }
}

/// Addresses first: who may not come in costs nobody a count.
fn admit(filter: &FilterConfig, asked: &Asked<'_>, headers: &HeaderMap) -> Result<(), Refusal> {
    let is_in = |networks: &[ipnet::IpNet]| networks.iter().any(|network| network.contains(&asked.client));
    if is_in(&filter.deny) || !(filter.allow.is_empty() || is_in(&filter.allow)) {
        return Err(Reason::AddressRefused.into());
    }
    if filter.max_head > 0 && head_size(asked, headers) > filter.max_head {
        return Err(Reason::HeadTooLarge.into());
    }
    if filter.max_body > 0 && length(headers).is_some_and(|length| length > filter.max_body as u64) {
        return Err(Reason::BodyTooLarge.into());
    }
    if filter.rate > 0 {
        let client = (filter.rate_by == RateBy::Address).then_some(asked.client);
        if let Err(wait) = rate::take(filter, client) {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            return Err(Refusal::with(Reason::RateLimited, RETRY_AFTER, seconds.max(1).into()));
        }
    }
    Ok(())
}

/// The octets of a head as HTTP/1.1 writes it: the line with two spaces, the version and its end, `name: value` and its
/// end for each field, and the empty line.
fn head_size(asked: &Asked<'_>, headers: &HeaderMap) -> usize {
    let line = asked.method.as_str().len() + asked.admitted.target.as_str().len() + " HTTP/1.1\r\n ".len();
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    line + fields.sum::<usize>() + "\r\n".len()
}

/// The length as the head says it; the gate has refused what is not one number.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Adds what makes browsers careful, where the service says nothing of it.
pub fn secure(headers: &mut HeaderMap) {
    const FIELDS: [(HeaderName, HeaderValue); 3] = [
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN")),
        (REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")),
    ];
    for (name, value) in FIELDS {
        headers.entry(name).or_insert(value);
    }
}
