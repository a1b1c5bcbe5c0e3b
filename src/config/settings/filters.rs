//! `[[proxy.filters]]`.

use std::time::Duration;

use crate::config::access::LogRule;
use crate::config::filter::{Coding, FilterConfig, RateBy};
use crate::config::kind::duration::Span;
use crate::config::kind::network::Network;
use crate::config::kind::number::Whole;
use crate::config::kind::size::Size;
use crate::config::kind::text::{CLAIM, ERROR_STATUS, FILE, FOLDER, LINE, NAME, ORIGIN, PAGE_PATH, PATTERN, PSEUDONYM};
use crate::config::kind::url::{HttpUrl, KeySource};
use crate::config::kind::{Choice, Flag, Many, Optional};
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
    .section(forward_auth())
    .section(jwt())
    .section(errors())
    .section(cors())
    .section(compress())
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

fn what() -> [Setting<FilterConfig>; 4] {
    let rules = Choice(&[("sampled", LogRule::Sampled), ("always", LogRule::Always), ("never", LogRule::Never)]);
    [
        setting!(FilterConfig, "max_body", Size::between(0, 1 << 40), max_body)
            .means("Requests with a larger body get 413, also where the length shows only on the way; 0: any.")
            .costs("None."),
        setting!(FilterConfig, "max_head", Size::between(0, 1 << 20), max_head)
            .means(
                "Requests with a larger head, its line and all fields as HTTP/1.1 writes them, get 431; 0: as \
                `proxy.limits.head_size` has it for all.",
            )
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

fn forward_auth() -> Section<FilterConfig> {
    let minute = Duration::from_secs(60);
    Section::new(
        "forward_auth",
        "Somebody else who says whether a request may pass: its head is sent there, an answer of 2xx lets it pass, any other \
        goes to the client. The way of Traefik's ForwardAuth and of nginx's auth_request.",
    )
    .settings([
        setting!(FilterConfig, "url", Optional(HttpUrl), forward_auth.url)
            .example("\"http://auth.example.com:4180/verify\"")
            .by_default("nobody is asked")
            .means(
                "Whom to ask, by GET with the request's own fields, the forwarding fields, `X-Forwarded-Method` and \
                `X-Forwarded-Uri`. If there is no answer, requests get 503.",
            )
            .costs("Each request waits for the answer; what is down there is down here."),
        setting!(FilterConfig, "ca", Optional(FILE), forward_auth.ca)
            .example("\"/etc/pointsman/ca.pem\"")
            .by_default("the system's")
            .means("A PEM file with the authorities that answer for an `https` URL.")
            .costs("None."),
        setting!(FilterConfig, "request_headers", Many::new(PSEUDONYM, "header fields", 64), forward_auth.request_headers)
            .example("[\"Accept-Language\"]")
            .by_default("all")
            .means("The only fields of requests that are told, beside `Authorization`, `Cookie` and the forwarding fields.")
            .costs("None."),
        setting!(FilterConfig, "copy_headers", Many::new(PSEUDONYM, "header fields", 64), forward_auth.copy_headers)
            .example("[\"X-Auth-User\"]")
            .means("Fields of the answer that endpoints get, in place of what the client wrote there.")
            .costs("None."),
        setting!(FilterConfig, "timeout", Span::between(Duration::from_millis(1), minute), forward_auth.timeout)
            .means("For the whole answer; then 503.")
            .costs("Requests wait for so long where nobody answers."),
    ])
}

fn jwt() -> Section<FilterConfig> {
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
    Section::new(
        "jwt",
        "Tokens that requests must have (JWT, RFC 7519), in `Authorization: Bearer`: RS256 to PS512, ES256, ES384, EdDSA. One \
        that has no `exp`, has expired, or is signed by no key of the set gets 401.",
    )
    .settings([
        setting!(FilterConfig, "keys", Optional(KeySource), jwt.keys)
            .example("\"https://id.example.com/jwks.json\"")
            .by_default("no token is asked for")
            .means(
                "The set of public keys (JWKS, RFC 7517), by URL or as a file. Those that were read once count until \
                others can be read; before, requests get 503. Two filters with one set have one `refresh` and `ca`.",
            )
            .costs("Whoever can change it lets anybody in: no `http` URL beyond networks of your own."),
        setting!(FilterConfig, "ca", Optional(FILE), jwt.ca)
            .example("\"/etc/pointsman/ca.pem\"")
            .by_default("the system's")
            .means("A PEM file with the authorities that answer for an `https` URL.")
            .costs("None."),
        setting!(FilterConfig, "refresh", Span::between(Duration::from_secs(1), day), jwt.refresh)
            .means("How often the keys are read again; sooner (each ten seconds at most) where a token names another key.")
            .costs("A key that was taken back counts for so long."),
        setting!(FilterConfig, "issuer", Optional(LINE), jwt.issuer)
            .example("\"https://id.example.com\"")
            .by_default("any")
            .means("Who must have issued them (`iss`).")
            .costs("None."),
        setting!(FilterConfig, "audience", Many::new(LINE, "names", 64), jwt.audience)
            .example("[\"shop\"]")
            .by_default("any")
            .means("For whom they must be (`aud`), one of these.")
            .costs("Without it, a token for another service lets a client in here."),
        setting!(FilterConfig, "leeway", Span::between(Duration::ZERO, hour), jwt.leeway)
            .means("How far the issuer's clock may differ from ours.")
            .costs("Tokens count for so long beyond their time."),
        setting!(FilterConfig, "cookie", Optional(PSEUDONYM), jwt.cookie)
            .example("\"token\"")
            .by_default("none")
            .means("A cookie that they may be in, where there is no `Authorization: Bearer`.")
            .costs("Browsers send cookies with requests of other sites' pages too: such a cookie should be `SameSite`."),
        setting!(FilterConfig, "claims", Many::new(CLAIM, "claims", 64), jwt.claims)
            .example("[\"sub=X-User\", \"realm.roles=X-Roles\"]")
            .means("Claims that endpoints get as fields, `claim=Field`, in place of what the client wrote there.")
            .costs("None."),
    ])
}

fn errors() -> Section<FilterConfig> {
    let ten = Duration::from_secs(10);
    Section::new("errors", "Pages for errors of the service or route, in place of `proxy.error_pages`.").settings([
        setting!(FilterConfig, "pages", Optional(FOLDER), errors.pages)
            .example("\"/etc/pointsman/pages-shop\"")
            .by_default("those of `proxy.error_pages`")
            .means("A folder of pages, as `proxy.error_pages` has them.")
            .costs("As there."),
        setting!(FilterConfig, "service", Optional(LINE), errors.service)
            .example("\"error-pages\"")
            .by_default("nobody is asked")
            .means(
                "A service that gives the page, as `pointsman services` calls it: one name that is no other's, or its whole id. \
                Up to 64 KiB of an answer of 2xx; the status stays the error's. Where it gives none in time, the page of the \
                folder, else the answer itself, is sent. Such a page is never asked for on account of another one.",
            )
            .costs(
                "A request to it for each such error, at most 32 at a time a worker, past its own rules. Whoever can start \
                tasks of that name writes what clients see: name it by its whole id where that matters.",
            ),
        setting!(FilterConfig, "path", PAGE_PATH, errors.path)
            .means("What the service is asked for, by GET; `{status}` stands for the status.")
            .costs("None."),
        setting!(FilterConfig, "timeout", Span::between(Duration::from_millis(1), ten), errors.timeout)
            .means("For its whole answer.")
            .costs("Clients wait for so long for the error where the service hangs."),
        setting!(FilterConfig, "replace", Many::new(ERROR_STATUS, "statuses", 64), errors.replace)
            .example("[\"5xx\", \"404\"]")
            .by_default("none")
            .means("Answers of endpoints that get a page, too, where there is one; their status stays.")
            .costs("What the endpoint said is lost, and its connection is closed where the answer was long."),
    ])
}

fn compress() -> Section<FilterConfig> {
    let codings = Choice(&[("zstd", Coding::Zstd), ("br", Coding::Brotli), ("gzip", Coding::Gzip)]);
    Section::new("compress", "Answers that are compressed on their way.").settings([
        setting!(FilterConfig, "codings", Many::new(codings, "codings", 3), compress.codings)
            .example("[\"zstd\", \"br\", \"gzip\"]")
            .by_default("none: nothing is compressed")
            .means(
                "By what: the one that the client likes best, of equals the first here. Answers that have a coding already, \
                are a part, or say `no-transform` are left alone.",
            )
            .costs(
                "About 5 to 20 ms of a worker a megabyte, and up to 2 MiB for each of at most 128 answers a worker. Where a \
                page has a secret and beside it what a stranger can put there, its length gives the secret away (BREACH).",
            ),
        setting!(FilterConfig, "min_size", Size::between(0, 1 << 30), compress.min_size)
            .means("Shorter answers are sent as they are; those whose length is not known are compressed.")
            .costs("None."),
        setting!(FilterConfig, "types", Many::new(PATTERN, "media types", 64), compress.types)
            .means("Media types whose answers are compressed, with `*` at an end.")
            .costs("What is compressed by its nature costs time and saves nothing."),
    ])
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
