//! `[[proxy.filters]]`.

use std::time::Duration;

use crate::config::access::LogRule;
use crate::config::filter::{FilterConfig, RateBy};
use crate::config::kind::duration::Span;
use crate::config::kind::network::Network;
use crate::config::kind::number::Whole;
use crate::config::kind::size::Size;
use crate::config::kind::text::{NAME, ORIGIN, PSEUDONYM};
use crate::config::kind::{Choice, Flag, Many};
use crate::config::section::{Example, Section};
use crate::config::setting::{Setting, setting};

pub(super) const EXAMPLES: &[Example] = &[Example {
    about: "For an API: `pointsman.filters = public-api` on its tasks, or `filters` of one route.",
    active: false,
    values: &[("name", "\"public-api\""), ("rate", "100"), ("rate_burst", "200"), ("max_body", "\"1MiB\"")],
}];

pub(super) fn section() -> Section<FilterConfig> {
    Section::new(
        "filters",
        "What services and routes ask for by name (label `filters`). Several are put together: every restriction \
            counts. A name that is not here lets nobody in.",
    )
    .settings(who())
    .settings(how_often())
    .settings(what())
    .section(cors())
}

fn who() -> [Setting<FilterConfig>; 3] {
    [
        setting!(FilterConfig, "name", NAME, name)
            .required()
            .example("\"public-api\"")
            .means("What labels call it.")
            .costs("None."),
        setting!(FilterConfig, "allow", Many::new(Network, "networks", 1024), allow)
            .example("[\"10.0.0.0/8\"]")
            .by_default("all")
            .means("Networks whose clients may come in, by the one client address (`proxy.trusted_proxies`); others get 403.")
            .costs("Time for each network."),
        setting!(FilterConfig, "deny", Many::new(Network, "networks", 1024), deny)
            .example("[\"192.0.2.0/24\"]")
            .means("Networks whose clients may not, whatever `allow` says.")
            .costs("Time for each network."),
    ]
}

fn how_often() -> [Setting<FilterConfig>; 4] {
    let hour = Duration::from_secs(3600);
    [
        setting!(FilterConfig, "rate", Whole::between(0, 1_000_000), rate)
            .unit("requests a `rate_period`")
            .means("More than this get 429 with `Retry-After`, all workers together; 0: as many as come.")
            .costs("A shared count; 65,536 clients at a time are told apart, beyond that the quietest are forgotten."),
        setting!(FilterConfig, "rate_period", Span::between(Duration::from_millis(100), hour), rate_period)
            .means("The time that `rate` is of; requests become possible evenly within it.")
            .costs("None."),
        setting!(FilterConfig, "rate_burst", Whole::between(0, 1_000_000), rate_burst)
            .unit("requests")
            .means("Requests that may come at once after a rest; 0: as many as `rate`.")
            .costs("The service gets so many at once from each client."),
        setting!(FilterConfig, "rate_by", Choice(&[("address", RateBy::Address), ("all", RateBy::All)]), rate_by)
            .means("What is counted: each client's address (of IPv6 its /64), or all clients together.")
            .costs("With `all` one client can use up everybody's share."),
    ]
}

fn what() -> [Setting<FilterConfig>; 3] {
    let rules = Choice(&[("sampled", LogRule::Sampled), ("always", LogRule::Always), ("never", LogRule::Never)]);
    [
        setting!(FilterConfig, "max_body", Size::between(0, 1 << 40), max_body)
            .means("Requests with a larger body get 413, also where the length shows only on the way; 0: any.")
            .costs("None."),
        setting!(FilterConfig, "security_headers", Flag, security_headers)
            .means(
                "Answers without them get `X-Content-Type-Options: nosniff`, `X-Frame-Options: SAMEORIGIN` and \
                `Referrer-Policy: strict-origin-when-cross-origin`.",
            )
            .costs("Pages of other sites cannot show these in frames."),
        setting!(FilterConfig, "access_log", rules, access_log)
            .means("Whether requests get a line in `proxy.access_log`: as its `sample` says, always, or never.")
            .costs("As the log says."),
    ]
}

fn cors() -> Section<FilterConfig> {
    let day = Duration::from_secs(86_400);
    Section::new("cors", "Which pages of other origins may ask (Fetch Standard, CORS).").settings([
        setting!(FilterConfig, "origins", Many::new(ORIGIN, "origins", 256), cors.origins)
            .example("[\"https://app.example.com\"]")
            .by_default("none: nothing is done")
            .means("Origins whose pages may read answers, \"*\": all. Preflight requests are answered here, before any password.")
            .costs("Pages of these origins act in the name of their visitors."),
        setting!(FilterConfig, "methods", Many::new(PSEUDONYM, "methods", 32), cors.methods)
            .example("[\"PUT\", \"DELETE\"]")
            .means("Methods allowed beside GET, HEAD and POST.")
            .costs("None."),
        setting!(FilterConfig, "headers", Many::new(PSEUDONYM, "header fields", 64), cors.headers)
            .example("[\"Content-Type\", \"Authorization\"]")
            .means("Request header fields allowed, \"*\": whatever is asked for.")
            .costs("None."),
        setting!(FilterConfig, "expose", Many::new(PSEUDONYM, "header fields", 64), cors.expose)
            .example("[\"ETag\"]")
            .means("Answer header fields that pages may read.")
            .costs("None."),
        setting!(FilterConfig, "credentials", Flag, cors.credentials)
            .means("Whether requests may carry cookies and passwords; not with the origin \"*\".")
            .costs("Pages of these origins can do what their visitors can."),
        setting!(FilterConfig, "max_age", Span::between(Duration::ZERO, day), cors.max_age)
            .means("How long browsers remember the answer to a preflight request.")
            .costs("A changed list takes so long to reach browsers."),
    ])
}
