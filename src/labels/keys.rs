//! The one table of labels: parser, documentation and problem texts come from it.

use super::acts::Act;
use super::value::Kind;
use crate::model::refinement::Part;

/// What a label sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Field {
    Service,
    DeployGroup,
    DeployStarted,
    DeployTarget,
    DeployNew,
    Namespace,
    Version,
    Scrape,
    ScrapePort,
    ScrapePath,
    Group,
    Enabled,
    Protocol,
    Weight,
    SrvPriority,
    SrvWeight,
    HealthPath,
    HealthCheck,
    HealthInterval,
    DrainTime,
    Sticky,
    Balance,
    Listen,
    ListenAddress,
    Certificate,
    HttpsRedirect,
    Hsts,
    Auth,
    Networks,
    StripPath,
    RewriteLocation,
    RootRedirect,
    Priority,
    HealthPort,
    Hosts,
    HostPattern,
    Path,
    ExactPath,
    PathPattern,
    Methods,
    Header,
    Query,
    Cookie,
    Redirect,
    RedirectStatus,
    Answer,
    AnswerBody,
    AnswerType,
    Rewrite,
    RewriteHost,
    RequestHeaders,
    AnswerHeaders,
    Split,
    VersionWeight,
    Filters,
    Tls,
    TlsServerName,
    ProxyProtocol,
    MaxRequests,
    MaxQueue,
    QueueTime,
    Timeout,
}

/// What a key is about, and with that what it means without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The task; it cannot be said of a port.
    Task,
    /// A port; without one, every port that does not say it itself.
    EveryPort,
    /// A port; without one, the task's first.
    FirstPort,
    /// A route of a port; without a route's name the port's `default` one, without a port the task's first.
    Route,
    /// A route of a port; without a route's name every route of the port that does not say it itself.
    EveryRoute,
}

/// A native key.
#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    /// Another spelling that means the same; empty if there is none.
    pub also: &'static str,
    pub field: Field,
    pub about: About,
    pub kind: Kind,
    pub default: &'static str,
    pub example: &'static str,
    pub meaning: &'static str,
}

/// What native keys begin with.
pub(super) const PREFIX: &str = "pointsman.";

/// Every native key.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key { name: "host", also: "hosts", field: Field::Hosts, about: About::Route, kind: Kind::Hosts,
        default: "no route", example: "shop.example.com, *.shop.example.com",
        meaning: "Hosts whose requests go to the port." },
    Key { name: "path", also: "", field: Field::Path, about: About::Route, kind: Kind::RoutePrefix,
        default: "/", example: "/api",
        meaning: "Only requests whose path begins with this, on segment bounds: `/api` stands for `/api` and `/api/x`, not for `/apis`. The longest one wins." },
    Key { name: "host_regex", also: "", field: Field::HostPattern, about: About::Route, kind: Kind::HostPattern,
        default: "none", example: "shop-[0-9]+\\.example\\.com",
        meaning: "Hosts that a regular expression stands for as a whole, in lower case; only where no exact host and no wildcard stands for them, longer expressions first." },
    Key { name: "path_exact", also: "", field: Field::ExactPath, about: About::Route, kind: Kind::ExactPath,
        default: "none", example: "/login",
        meaning: "In place of `path`: the path itself and nothing below it. Goes before every other path." },
    Key { name: "path_regex", also: "", field: Field::PathPattern, about: About::Route, kind: Kind::PathPattern,
        default: "none", example: "/v[0-9]+/users(/.*)?",
        meaning: "In place of `path`: paths that a regular expression stands for as a whole. Goes before every prefix, longer expressions first." },
    Key { name: "method", also: "methods", field: Field::Methods, about: About::Route, kind: Kind::Methods,
        default: "all", example: "GET, HEAD",
        meaning: "Only requests with one of these methods." },
    Key { name: "header", also: "headers", field: Field::Header, about: About::Route, kind: Kind::Conditions(Part::Header),
        default: "none", example: "X-Version=2; User-Agent=~.*Mobile.*",
        meaning: "Only requests that have all of these header fields; of several values of one field one suffices." },
    Key { name: "query", also: "", field: Field::Query, about: About::Route, kind: Kind::Conditions(Part::Query),
        default: "none", example: "debug; page=1",
        meaning: "Only requests whose query has all of these parameters, compared decoded." },
    Key { name: "cookie", also: "cookies", field: Field::Cookie, about: About::Route, kind: Kind::Conditions(Part::Cookie),
        default: "none", example: "canary=yes",
        meaning: "Only requests that bring all of these cookies." },
    Key { name: "split", also: "", field: Field::Split, about: About::Route, kind: Kind::Act(Act::Split),
        default: "by `version_weight`", example: "blue=90, green=10",
        meaning: "The shares of the service's versions in the route's requests. One version alone pins the route to it; where several are named, one without an endpoint that may be chosen gives its share to the others." },
    Key { name: "redirect", also: "", field: Field::Redirect, about: About::Route, kind: Kind::Act(Act::Location),
        default: "none", example: "https://new.example.com{path}{query}",
        meaning: "Where requests are sent in place of the service: a URL, or a path on the same host. `{scheme}`, `{host}`, `{path}` and `{query}` (with its `?`) are the request's own, `{rest}` is what follows the route's `path`, `{1}` to `{9}` are groups of its `path_regex`. A request that is there already is passed on." },
    Key { name: "redirect_status", also: "", field: Field::RedirectStatus, about: About::Route, kind: Kind::Act(Act::RedirectStatus),
        default: "302", example: "308",
        meaning: "301 and 308 are for good, 302 and 307 for now; with 307 and 308 the method stays; 303 asks for a GET." },
    Key { name: "answer", also: "", field: Field::Answer, about: About::Route, kind: Kind::Act(Act::Status),
        default: "none", example: "503",
        meaning: "What requests are answered with in place of the service: always this status." },
    Key { name: "answer_body", also: "", field: Field::AnswerBody, about: About::Route, kind: Kind::Act(Act::Body),
        default: "the status in words", example: "Back at noon.",
        meaning: "The body of that answer." },
    Key { name: "answer_type", also: "", field: Field::AnswerType, about: About::Route, kind: Kind::Act(Act::MediaType),
        default: "text/plain; charset=utf-8", example: "application/json",
        meaning: "Its `Content-Type`." },
    Key { name: "rewrite", also: "", field: Field::Rewrite, about: About::Route, kind: Kind::Act(Act::Rewrite),
        default: "none", example: "/{rest}",
        meaning: "The path that requests are passed on with, places as in `redirect`: `/{rest}` takes the route's `path` off, `/api{path}` puts one before, `/users/{1}` is made of groups. The query stays unless this has a `?`." },
    Key { name: "rewrite_host", also: "", field: Field::RewriteHost, about: About::Route, kind: Kind::Act(Act::Host),
        default: "as the client sent it", example: "internal.example.com",
        meaning: "The `Host` that requests are passed on with; `X-Forwarded-Host` says what the client sent." },
    Key { name: "request_headers", also: "", field: Field::RequestHeaders, about: About::Route, kind: Kind::Act(Act::Fields),
        default: "none", example: "X-Team=a; +X-Tag=b; -X-Debug",
        meaning: "Changes of the header fields that requests are passed on with: `Name=value` sets, `+Name=value` adds, `-Name` removes. Fields of one hop, lengths, `Host`, `Via` and what says who the client is cannot be changed." },
    Key { name: "response_headers", also: "", field: Field::AnswerHeaders, about: About::Route, kind: Kind::Act(Act::Fields),
        default: "none", example: "X-Frame-Options=DENY; -Server",
        meaning: "The same for answers, whoever gives them." },
    Key { name: "protocol", also: "", field: Field::Protocol, about: About::FirstPort, kind: Kind::Protocol,
        default: "http", example: "h2c",
        meaning: "What the port speaks. `h2c` is HTTP/2 in clear text, as gRPC servers speak it; `https` is HTTP/1.1 over TLS, `h2` HTTP/2 over TLS. `tls` is whatever the port speaks over TLS of its own: connections for its hosts are carried to it untouched, where a listener has `passthrough`." },
    Key { name: "tls", also: "", field: Field::Tls, about: About::FirstPort, kind: Kind::Name,
        default: "the entry `default`, else the system's authorities", example: "internal",
        meaning: "The entry of `upstreams.tls` by which the port's certificate is verified, where it speaks `https` or `h2`. `insecure` verifies nothing, and is a problem of the task." },
    Key { name: "tls_server_name", also: "", field: Field::TlsServerName, about: About::FirstPort, kind: Kind::ServerName,
        default: "the entry's `server_name`, else the endpoint's address", example: "shop.internal.example.com",
        meaning: "The name that the port's certificate must be for; it is sent to the port too (SNI)." },
    Key { name: "proxy_protocol", also: "", field: Field::ProxyProtocol, about: About::FirstPort, kind: Kind::ProxyProtocol,
        default: "none", example: "v2",
        meaning: "The version of the PROXY protocol by which the port is told, at the beginning of each connection, where the client is. Connections are then not shared by clients." },
    Key { name: "health.path", also: "", field: Field::HealthPath, about: About::FirstPort, kind: Kind::Target,
        default: "`health.path`", example: "/healthz",
        meaning: "Path of an HTTP health check of the port: 200 to 399 is healthy." },
    Key { name: "health.check", also: "", field: Field::HealthCheck, about: About::FirstPort, kind: Kind::Check,
        default: "http with a `health.path`, else `health.check`", example: "grpc",
        meaning: "How the port is checked. The task gets requests from the first success on, and none while a port's checks fail." },
    Key { name: "health.interval", also: "", field: Field::HealthInterval, about: About::FirstPort, kind: Kind::Time,
        default: "`health.interval`", example: "10s",
        meaning: "How often it is checked." },
    Key { name: "sticky", also: "", field: Field::Sticky, about: About::FirstPort, kind: Kind::Flag,
        default: "false", example: "true",
        meaning: "Keeps a client on one task by a cookie, for as long as that task serves. Weight 0 then means: its clients stay, no new ones come." },
    Key { name: "balance", also: "", field: Field::Balance, about: About::FirstPort, kind: Kind::Balance,
        default: "`proxy.balance.algorithm`", example: "hash:cookie:session",
        meaning: "How requests are spread over the service's tasks; the first task's label counts for all." },
    Key { name: "max_requests", also: "", field: Field::MaxRequests, about: About::EveryPort, kind: Kind::Weight,
        default: "`proxy.balance.max_requests`", example: "50",
        meaning: "Requests that the task takes at a time; where all tasks of the service have so many, further ones wait. 0: any number." },
    Key { name: "max_queue", also: "", field: Field::MaxQueue, about: About::EveryPort, kind: Kind::Weight,
        default: "`proxy.balance.max_queue`", example: "200",
        meaning: "Requests of the service that wait so at each worker of the proxy; more get 503 at once. The first task's label counts for all." },
    Key { name: "queue_time", also: "", field: Field::QueueTime, about: About::EveryPort, kind: Kind::Time,
        default: "`proxy.balance.queue_time`", example: "2s",
        meaning: "How long one waits at most, within `timeout`; then 503. The first task's label counts for all." },
    Key { name: "timeout", also: "", field: Field::Timeout, about: About::EveryRoute, kind: Kind::Time,
        default: "`proxy.limits.response`", example: "10s",
        meaning: "The time for the beginning of an answer, all attempts together; then 504. Said of a route it goes before the port's; the first task's label counts for the service. A gRPC call's own `grpc-timeout` shortens it." },
    Key { name: "weight", also: "", field: Field::Weight, about: About::EveryPort, kind: Kind::Weight,
        default: "100", example: "50",
        meaning: "The task's share of the service's traffic, relative to its other tasks; 0 is none." },
    Key { name: "version_weight", also: "", field: Field::VersionWeight, about: About::EveryPort, kind: Kind::Weight,
        default: "100, where any task of the service has the label", example: "10",
        meaning: "The share of the task's version in the service's requests, relative to the other versions, however many tasks each has; `weight` then counts inside the version." },
    Key { name: "srv_priority", also: "", field: Field::SrvPriority, about: About::EveryPort, kind: Kind::Weight,
        default: "0", example: "10",
        meaning: "The priority of the port's SRV records: clients try the lower ones first." },
    Key { name: "srv_weight", also: "", field: Field::SrvWeight, about: About::EveryPort, kind: Kind::Weight,
        default: "`dns.srv_weight`", example: "5",
        meaning: "The weight of the port's SRV records: its share among those of one priority." },
    Key { name: "drain_time", also: "", field: Field::DrainTime, about: About::EveryPort, kind: Kind::Time,
        default: "`routing.drain_time`", example: "2m",
        meaning: "How long what is under way (requests, streams, WebSockets) may go on when the task goes away, `routing.drain_time` at most; then it is cut." },
    Key { name: "enabled", also: "", field: Field::Enabled, about: About::EveryPort, kind: Kind::Flag,
        default: "true", example: "false",
        meaning: "Whether the port makes a service and routes." },
    Key { name: "group", also: "groups", field: Field::Group, about: About::EveryPort, kind: Kind::List,
        default: "every group", example: "external",
        meaning: "Served only where the setting `routing.groups` lists one of these or `*`, or is not there." },
    Key { name: "listen", also: "", field: Field::Listen, about: About::FirstPort, kind: Kind::Number,
        default: "none", example: "10000",
        meaning: "A port of the proxy for this port alone, by HTTP or TCP as the port speaks; see `proxy.service_ports`." },
    Key { name: "listen_address", also: "", field: Field::ListenAddress, about: About::FirstPort, kind: Kind::Address,
        default: "`proxy.service_ports.addresses`", example: "127.0.0.1",
        meaning: "The one address of that port; it must be one of `proxy.service_ports.addresses`, or within one of them. One that cannot be read opens no port." },
    Key { name: "certificate", also: "", field: Field::Certificate, about: About::FirstPort, kind: Kind::Certificate,
        default: "clear text", example: "shop",
        meaning: "The certificate of this name in the folder `proxy.service_ports.certificates`: TLS on the port of `listen`, which is not opened without it; at listeners with TLS it is shown for the hosts that the port has." },
    Key { name: "filters", also: "filter", field: Field::Filters, about: About::EveryRoute, kind: Kind::List,
        default: "none", example: "public-api, browsers",
        meaning: "Filters of the configuration (`proxy.filters`): said of a port they hold on every way in, said of a route beside the port's. A name that is not there lets nobody in." },
    Key { name: "https_redirect", also: "", field: Field::HttpsRedirect, about: About::FirstPort, kind: Kind::Flag,
        default: "false", example: "true",
        meaning: "Sends requests by host in clear text to HTTPS (301; 308 where the method must stay)." },
    Key { name: "hsts", also: "", field: Field::Hsts, about: About::FirstPort, kind: Kind::Flag,
        default: "false", example: "true",
        meaning: "Adds `Strict-Transport-Security: max-age=15768000` to answers over TLS." },
    Key { name: "auth", also: "", field: Field::Auth, about: About::FirstPort, kind: Kind::Auth,
        default: "none", example: "Staff:ann:$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.",
        meaning: "Basic authentication on every way in: realm, user and the password's hash (SHA-crypt or bcrypt). One that cannot be read lets nobody in." },
    Key { name: "allow", also: "", field: Field::Networks, about: About::FirstPort, kind: Kind::Networks,
        default: "all", example: "10.0.0.0/8, 192.0.2.7",
        meaning: "Networks whose clients may come in, on every way; others get 403, or a closed connection. One that cannot be read lets nobody in." },
    Key { name: "strip_path", also: "", field: Field::StripPath, about: About::FirstPort, kind: Kind::Prefix,
        default: "none", example: "/shop",
        meaning: "Takes this prefix off the path before a request is passed on." },
    Key { name: "rewrite_location", also: "", field: Field::RewriteLocation, about: About::FirstPort, kind: Kind::Target,
        default: "none", example: "/shop",
        meaning: "What `Location` of an answer becomes where it points to the service itself." },
    Key { name: "root_redirect", also: "", field: Field::RootRedirect, about: About::FirstPort, kind: Kind::Target,
        default: "none", example: "/shop/start",
        meaning: "Where requests for `/` itself are sent (301)." },
    Key { name: "priority", also: "", field: Field::Priority, about: About::EveryRoute, kind: Kind::Priority,
        default: "0", example: "10",
        meaning: "Of several services that claim the same host, path and conditions, the one with the highest priority has them; of equals, the one that has claimed them longest. It also decides between routes that ask for different things, but for as many." },
    Key { name: "service", also: "", field: Field::Service, about: About::Task, kind: Kind::Name,
        default: "the task's own name", example: "shop",
        meaning: "Name of the service that the task belongs to." },
    Key { name: "namespace", also: "", field: Field::Namespace, about: About::Task, kind: Kind::Name,
        default: "the task's framework", example: "team-a",
        meaning: "Namespace of the service: tasks of several frameworks that name the same one share their services." },
    Key { name: "version", also: "", field: Field::Version, about: About::Task, kind: Kind::Version,
        default: "label `version`, else what the source knows", example: "1.4.2",
        meaning: "Version of the service that the task runs." },
    Key { name: "scrape", also: "", field: Field::Scrape, about: About::Task, kind: Kind::Flag,
        default: "true where another `scrape` key is given, else false", example: "true",
        meaning: "Whether Prometheus is told to scrape the task." },
    Key { name: "scrape.port", also: "", field: Field::ScrapePort, about: About::Task, kind: Kind::Port,
        default: "the first port", example: "metrics",
        meaning: "Which port it scrapes." },
    Key { name: "scrape.path", also: "", field: Field::ScrapePath, about: About::Task, kind: Kind::Target,
        default: "/metrics", example: "/actuator/prometheus",
        meaning: "Which path it scrapes." },
];

/// What becomes of a label of marathon-lb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haproxy {
    /// It means the same as a native key.
    Means(Field),
    /// marathon-lb's tools write it, and it changes nothing here.
    Ignored,
    /// Text for HAProxy's configuration file: refused for good.
    Raw,
}

/// A label of marathon-lb.
#[derive(Debug)]
pub(super) struct HaproxyKey {
    /// What follows `HAPROXY_` and, if it is about a port, `{n}_`.
    pub name: &'static str,
    pub per_port: bool,
    pub verdict: Haproxy,
    pub meaning: &'static str,
}

const fn understood(name: &'static str, field: Field, meaning: &'static str) -> HaproxyKey {
    HaproxyKey { name, per_port: true, verdict: Haproxy::Means(field), meaning }
}

const fn of_the_app(name: &'static str, field: Field, meaning: &'static str) -> HaproxyKey {
    HaproxyKey { name, per_port: false, verdict: Haproxy::Means(field), meaning }
}

const fn ignored(name: &'static str, meaning: &'static str) -> HaproxyKey {
    HaproxyKey { name, per_port: false, verdict: Haproxy::Ignored, meaning }
}

const fn raw(name: &'static str) -> HaproxyKey {
    HaproxyKey { name, per_port: true, verdict: Haproxy::Raw, meaning: "" }
}

/// Every label of marathon-lb, but for the families in [`RAW_FAMILIES`].
pub(super) const HAPROXY_KEYS: &[HaproxyKey] = &[
    of_the_app(
        "GROUP",
        Field::Group,
        "Selects the task: without it (or `pointsman.group`, or `pointsman.enabled=true`) no `HAPROXY_*` label is served, unless `routing.groups` lists `*`.",
    ),
    understood("GROUP", Field::Group, "The same for one port."),
    understood("ENABLED", Field::Enabled, "Whether the port is served; true only for `true`, `t`, `yes`, `y`."),
    understood("VHOST", Field::Hosts, "Hosts, separated by commas."),
    understood(
        "PATH",
        Field::Path,
        "Path prefixes, separated by spaces; matched on segment bounds, the longest first. With `-i` before them capitals do not matter, with `-m str` they are paths by themselves, with `-m reg` regular expressions; other flags are refused. Without VHOST: of every host that nobody claims.",
    ),
    understood("MODE", Field::Protocol, "`http` or `tcp`, in capitals or not."),
    understood("STICKY", Field::Sticky, "Keeps a client on one task by a cookie, for as long as that task serves."),
    understood(
        "BALANCE",
        Field::Balance,
        "`roundrobin`, `static-rr`, `leastconn`, `source`, `random` or `hdr(NAME)`; others are reported.",
    ),
    understood(
        "PORT",
        Field::Listen,
        "A port of the proxy for this port alone; else Marathon's service port, else one of `proxy.service_ports.assigned`.",
    ),
    understood(
        "BIND_ADDR",
        Field::ListenAddress,
        "The address of that port: `*`, or one within `proxy.service_ports.addresses`. One that cannot be read opens no port.",
    ),
    understood(
        "SSL_CERT",
        Field::Certificate,
        "The name of a certificate in `proxy.service_ports.certificates`, of a path the file's name: TLS on that port, which is not opened without it; at listeners with TLS (`:443`) it is shown for the VHOSTs.",
    ),
    understood(
        "REDIRECT_TO_HTTPS",
        Field::HttpsRedirect,
        "Sends requests by host in clear text to HTTPS (301; 308 where the method must stay).",
    ),
    understood(
        "USE_HSTS",
        Field::Hsts,
        "`Strict-Transport-Security: max-age=15768000` in answers over TLS; in clear text it is void (RFC 6797).",
    ),
    understood(
        "AUTH",
        Field::Auth,
        "`realm:user:hash`, basic authentication on every way in. One that cannot be read lets nobody in.",
    ),
    understood(
        "BACKEND_NETWORK_ALLOWED_ACL",
        Field::Networks,
        "Networks whose clients may come in; others get 403, or a closed connection over TCP.",
    ),
    understood(
        "HTTP_BACKEND_PROXYPASS_PATH",
        Field::StripPath,
        "Takes this prefix off the path; `Host` becomes the first VHOST.",
    ),
    understood(
        "HTTP_BACKEND_REVPROXY_PATH",
        Field::RewriteLocation,
        "What `Location` of an answer becomes where it points to the service itself.",
    ),
    understood("HTTP_BACKEND_REDIR", Field::RootRedirect, "Where requests for `/` itself are sent (301)."),
    understood(
        "BACKEND_WEIGHT",
        Field::Priority,
        "Of several apps with one host and path the one with the largest has it. It never puts a shorter path before a \
         longer one, and is no share of traffic.",
    ),
    understood(
        "BACKEND_HEALTHCHECK_PORT_INDEX",
        Field::HealthPort,
        "The port whose health check counts for this one, where this one has none: it is asked there, and takes the task out \
         if it fails. A check over HTTP makes this port HTTP's.",
    ),
    of_the_app(
        "DEPLOYMENT_GROUP",
        Field::Service,
        "Apps of one group (blue and green) are one service, called as an app with this id would be (`/team/shop`: `shop.team`; the slash in front may be missing); requests that name this app go there too. The other labels of deploys count beside it alone.",
    ),
    ignored("DEPLOYMENT_ALT_PORT", "Nothing: both colours may have one port."),
    of_the_app(
        "DEPLOYMENT_COLOUR",
        Field::Version,
        "The version of the service that the app is, before a label `version`.",
    ),
    of_the_app(
        "DEPLOYMENT_STARTED_AT",
        Field::DeployStarted,
        "When the deploy began that made the app: the latest is the new colour, and whoever has none is old. Scaling an app \
         does not make it newer.",
    ),
    of_the_app(
        "DEPLOYMENT_TARGET_INSTANCES",
        Field::DeployTarget,
        "How many tasks are to serve, both colours together. As many tasks' worth of requests as new ones are ready goes from \
         the old colour to the new one, as long as so many serve; with all of them ready the old colour gets nothing new. \
         The new colour's label counts; `pointsman.version_weight` and orders go before it.",
    ),
    of_the_app(
        "DEPLOYMENT_NEW_INSTANCES",
        Field::DeployNew,
        "How many of these are to be the new colour's in the end: its share is never more. 0: all.",
    ),
    ignored("APP_ID", "Nothing."),
    raw("BIND_OPTIONS"),
    raw("FRONTEND_HEAD"),
    raw("USERLIST_HEAD"),
    raw("BACKEND_HEAD"),
    raw("FRONTEND_BACKEND_GLUE"),
    raw("BACKEND_REDIRECT_HTTP_TO_HTTPS"),
    raw("BACKEND_REDIRECT_HTTP_TO_HTTPS_WITH_PATH"),
    raw("BACKEND_HSTS_OPTIONS"),
    raw("BACKEND_HTTP_OPTIONS"),
    raw("BACKEND_STICKY_OPTIONS"),
    raw("BACKEND_SERVER_OPTIONS"),
    raw("BACKEND_HTTP_HEALTHCHECK_OPTIONS"),
    raw("BACKEND_TCP_HEALTHCHECK_OPTIONS"),
    raw("BACKEND_SERVER_HTTP_HEALTHCHECK_OPTIONS"),
    raw("BACKEND_SERVER_TCP_HEALTHCHECK_OPTIONS"),
    raw("HTTP_BACKEND_PROXYPASS_GLUE"),
    raw("HTTP_BACKEND_REVPROXY_GLUE"),
    raw("HTTP_BACKEND_NETWORK_ALLOWED_ACL"),
    raw("TCP_BACKEND_NETWORK_ALLOWED_ACL"),
];

/// Beginnings of the many template labels for front-ends; all are text for HAProxy's file.
pub(super) const RAW_FAMILIES: &[&str] =
    &["HTTP_FRONTEND_", "HTTPS_FRONTEND_", "MAP_HTTP_FRONTEND_", "MAP_HTTPS_FRONTEND_"];

/// The native key with this name, in lower case.
pub(super) fn native(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name || (!key.also.is_empty() && key.also == name))
}

/// The label of marathon-lb with this name.
pub(super) fn haproxy(name: &str, per_port: bool) -> Option<Haproxy> {
    let listed = HAPROXY_KEYS.iter().find(|key| key.name == name && key.per_port == per_port);
    let family = || per_port && RAW_FAMILIES.iter().any(|family| name.starts_with(family));
    listed.map(|key| key.verdict).or_else(|| family().then_some(Haproxy::Raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_examples_valid() {
        for (at, key) in KEYS.iter().enumerate() {
            let mut faults = Vec::new();
            assert!(key.kind.read(key.example, &mut faults).is_some(), "{}: {faults:?}", key.name);
            assert!(faults.is_empty(), "{}: {faults:?}", key.name);
            for other in &KEYS[at + 1..] {
                assert!(key.name != other.name && key.field != other.field, "{} {}", key.name, other.name);
                assert!(key.also.is_empty() || (key.also != other.also && key.also != other.name), "{}", key.also);
            }
        }
        for (at, key) in HAPROXY_KEYS.iter().enumerate() {
            let twin = |other: &&HaproxyKey| other.name == key.name && other.per_port == key.per_port;
            assert!(!HAPROXY_KEYS[at + 1..].iter().any(|other| twin(&other)), "{}", key.name);
        }
    }
}
