//! `[proxy]`, `[proxy.limits]` and `[[proxy.listeners]]`.

use std::time::Duration;

use super::{access, acme, filters};

use crate::config::checked::{ClientDemand, Misses, RouteBy, Underscores};
use crate::config::kind::algorithm::AlgorithmKind;
use crate::config::kind::duration::Span;
use crate::config::kind::network::{Address, Network, Socket};
use crate::config::kind::number::{Share, Whole};
use crate::config::kind::ports::Ports;
use crate::config::kind::size::Size;
use crate::config::kind::text::{FILE, FOLDER, LINE, NAME, PSEUDONYM};
use crate::config::kind::{Choice, Flag, Many, Optional};
use crate::config::raw::{Raw, RawFilePair, RawListener};
use crate::config::section::{Example, ListRules, Section};
use crate::config::setting::{Reload, Setting, setting};

pub(super) fn section() -> Section<Raw> {
    Section::new("proxy", "The HTTP proxy. Changed limits hold for requests and connections that begin afterwards.")
        .settings(proxy())
        .settings(attempts())
        .settings(requests())
        .section(balance())
        .section(paths())
        .section(zone())
        .section(hedging())
        .section(adaptive())
        .section(Section::new("limits", "Timeouts and limits of the proxy.").settings(timeouts()).settings(bounds()))
        .section(service_ports())
        .section(access::log())
        .section(access::trace())
        .section(tls())
        .list(
            &ListRules { most: 1000, reload: Reload::Live, examples: filters::EXAMPLES },
            filters::section(),
            |raw: &Raw| &raw.config.proxy.filters,
            |raw: &mut Raw| &mut raw.config.proxy.filters,
        )
        .list(
            &ListRules { most: 16, reload: Reload::Live, examples: acme::EXAMPLES },
            acme::section(),
            |raw: &Raw| &raw.config.proxy.acme,
            |raw: &mut Raw| &mut raw.config.proxy.acme,
        )
        .list(
            &ListRules { most: 64, reload: Reload::Listener, examples: LISTENER_EXAMPLES },
            listener(),
            |raw: &Raw| &raw.listeners,
            |raw: &mut Raw| &mut raw.listeners,
        )
}

const LISTENER_EXAMPLES: &[Example] = &[
    Example { about: "Clear text.", active: true, values: &[("name", "\"http\""), ("address", "\"127.0.0.1:10080\"")] },
    Example {
        about: "TLS, the certificate chosen by the name that the client asks for.",
        active: false,
        values: &[
            ("name", "\"https\""),
            ("address", "\"127.0.0.1:10443\""),
            ("certificates", "\"/etc/pointsman/certificates\""),
        ],
    },
    Example {
        about: "For callers inside, by app.",
        active: false,
        values: &[("name", "\"apps\""), ("address", "\"127.0.0.1:9091\""), ("route_by", "\"app-id\"")],
    },
];

fn balance() -> Section<Raw> {
    let day = Duration::from_secs(86_400);
    Section::new("balance", "How requests are spread over the endpoints of a service; labels may say otherwise.")
        .settings([
            setting!(Raw, "algorithm", AlgorithmKind, config.proxy.balance.algorithm)
                .means(
                    "For services whose labels name none. `peak_ewma` takes of two random endpoints the one with the \
                    smaller product of recent latency and queue; `hash` sends equal keys to the same endpoint.",
                )
                .costs("`hash` keeps a table of 128 KiB for each service."),
            setting!(Raw, "slow_start", Span::between(Duration::ZERO, day), config.proxy.balance.slow_start)
                .means(
                    "An endpoint's share grows from a tenth to the whole for so long after its task became ready, \
                    unless most of the service's endpoints are new; \"0s\": never.",
                )
                .costs("The other endpoints carry more meanwhile."),
            setting!(Raw, "hash_balance", Whole::between(0, 10_000), config.proxy.balance.hash_balance)
                .unit("percent")
                .means(
                    "With hashing, an endpoint that has more than this part of an even share of the requests under \
                    way passes further ones on to the next one; 0: never.",
                )
                .costs("A smaller number spreads better and keeps fewer clients on their endpoint."),
            setting!(Raw, "max_requests", Whole::between(0, 1_000_000), config.proxy.balance.max_requests)
                .unit("requests an endpoint")
                .means(
                    "Requests under way at one endpoint, all workers together; where all endpoints of a service have so \
                    many, further ones wait. 0: no limit. While an endpoint starts slowly the limit grows with its share.",
                )
                .costs("Too few let requests wait that the endpoints could serve; each worker may pass it by one."),
            setting!(Raw, "max_queue", Whole::between(0, 1_000_000), config.proxy.balance.max_queue)
                .unit("requests a service and worker")
                .means("Requests that wait so; more get 503 at once.")
                .costs("Each holds its client's connection meanwhile."),
            setting!(Raw, "queue_time", Span::between(Duration::from_millis(1), day), config.proxy.balance.queue_time)
                .means("How long one waits, within the time that its answer has; then 503.")
                .costs("Waiting longer than clients do is work for nobody."),
        ])
        .section(ejection())
        .section(outliers())
}

fn zone() -> Section<Raw> {
    Section::new(
        "zone",
        "Requests stay in the zone of this proxy as far as the endpoints there can carry them; the rest goes where there is \
            room. Where endpoints are, the fault domains of their agents say. For services that are not spread by turns or \
            keys.",
    )
    .settings([
        setting!(Raw, "name", Optional(LINE), config.proxy.zone.name)
            .example("\"eu-west-1a\"")
            .by_default("zones are not looked at")
            .means("The zone that this proxy is in, as agents' fault domains call it.")
            .costs("A look at all endpoints of a service in use with each change of it, and every second."),
        setting!(Raw, "region", Optional(LINE), config.proxy.zone.region)
            .example("\"eu-west-1\"")
            .by_default("any")
            .means("Its region, where zones of several regions have one name.")
            .costs("None."),
        setting!(Raw, "share", Share, config.proxy.zone.share)
            .unit("part of all requests")
            .means(
                "What arrives at the proxies of this zone, of all requests to all proxies; 0: an even part, which is right \
                where each zone has as many proxies.",
            )
            .costs("A number that is too small overloads the endpoints of the zone; one too large sends more requests away."),
        setting!(Raw, "min_endpoints", Whole::between(1, 1_000_000), config.proxy.zone.min_endpoints)
            .unit("endpoints")
            .means("For a service with fewer, zones are not looked at: few endpoints cannot be spread evenly.")
            .costs("A larger number sends more requests to other zones."),
        setting!(Raw, "stay_from", Whole::between(0, 1_000_000), config.proxy.zone.stay_from)
            .unit("endpoints")
            .means("With so many endpoints of a service in the zone all requests stay, whatever they can carry; 0: never.")
            .costs("The endpoints here may get more than their even part."),
    ])
}

fn misses() -> Choice<Misses> {
    Choice(&[("none", Misses::None), ("log", Misses::Log), ("header", Misses::Header)])
}

fn underscores() -> Choice<Underscores> {
    Choice(&[("aliases", Underscores::Aliases), ("drop", Underscores::Drop), ("refuse", Underscores::Refuse)])
}

fn paths() -> Section<Raw> {
    Section::new(
        "paths",
        "The one form that a path has before a route is looked up by it. What was matched is what is forwarded, whatever is \
            set here: encoded letters are decoded, dot segments removed, and a path that would have some once `%2F` or `%5C` \
            were decoded is refused (RFC 3986 sections 5.2.4 and 6.2.2).",
    )
    .settings([
        setting!(Raw, "merge_slashes", Flag, config.proxy.paths.merge_slashes)
            .means("Whether `//` is `/`. Stores of objects tell `a//b` from `a/b` and want `false`.")
            .costs(
                "With `false` `//admin` is not below `/admin`: a task that takes them for the same must not rely on what \
                the route of `/admin` asks for.",
            ),
        setting!(Raw, "refuse_encoded_slashes", Flag, config.proxy.paths.refuse_encoded_slashes)
            .means(
                "Whether paths with `%2F` or `%5C` are refused (400 `bad-path`); else they are passed on as they are, and \
                are no separators for routes.",
            )
            .costs(
                "`true` shuts out clients that put whole names into one segment (package registries, forges). With `false` \
                a task that decodes before it splits sees other segments than the routes did.",
            ),
    ])
}

fn hedging() -> Section<Raw> {
    Section::new(
        "hedging",
        "A second copy of a request that takes longer than most, to another endpoint; the first good answer counts. Only \
            requests without a body that may be repeated.",
    )
    .settings([
        setting!(Raw, "ratio", Share, config.proxy.hedging.ratio)
            .unit("part of the requests")
            .means("Copies of a service's requests at most; 0: none.")
            .costs("So much more load for the service; 0.02 to 0.05 are usual."),
        setting!(Raw, "quantile", Share, config.proxy.hedging.quantile)
            .unit("part of the answers")
            .means("A copy is sent when this part of the service's latest answers would have begun …")
            .costs("A smaller one sends more copies of requests that are not slow."),
        setting!(
            Raw,
            "shortest",
            Span::between(Duration::ZERO, Duration::from_secs(3600)),
            config.proxy.hedging.shortest
        )
        .means("… and not before this time.")
        .costs("A timer for each request of a service that answers later than this."),
    ])
}

fn adaptive() -> Section<Raw> {
    Section::new(
        "adaptive_concurrency",
        "Finds out how many requests of a service may wait for answers, by how much longer these take than they used \
            to; more get 503 at once, so that those that are under way end in time.",
    )
    .settings([
        setting!(Raw, "enabled", Flag, config.proxy.adaptive.enabled)
            .means("Whether such limits hold.")
            .costs("Requests are refused that would have been answered late."),
        setting!(Raw, "least", Whole::between(1, 1_000_000), config.proxy.adaptive.least)
            .unit("requests a service and worker")
            .means("So many may always be under way.")
            .costs("A larger one protects less."),
        setting!(Raw, "most", Whole::between(1, 1_000_000), config.proxy.adaptive.most)
            .unit("requests a service and worker")
            .means("The limit grows no further than this.")
            .costs("A smaller one refuses what the service could do."),
    ])
}

fn ejection() -> Section<Raw> {
    let hour = Duration::from_secs(3600);
    Section::new(
        "ejection",
        "Endpoints that fail are spared for a while, then tried with one request. Failures are answers of 5xx, errors \
            of gRPC that are the server's, and connections that fail.",
    )
    .settings([
        setting!(Raw, "in_a_row", Whole::between(0, 1000), config.proxy.balance.ejection.in_a_row)
            .unit("failures")
            .means("So many failures in a row, as one worker sees them; 0: no endpoint is ever spared.")
            .costs("A smaller number spares endpoints that fail by chance."),
        setting!(Raw, "success_ratio", Share, config.proxy.balance.ejection.success_ratio)
            .unit("part of the answers")
            .means(
                "… or a smaller part than this of at least five answers in ten seconds was good, all workers together.",
            )
            .costs("As for `in_a_row`."),
        setting!(
            Raw,
            "shortest",
            Span::between(Duration::from_millis(1), hour),
            config.proxy.balance.ejection.shortest
        )
        .means("For how long at first; twice as long each time that the probe fails …")
        .costs("Each probe is a request of some client; it goes to another endpoint if it fails and may be repeated."),
        setting!(Raw, "longest", Span::between(Duration::from_millis(1), hour), config.proxy.balance.ejection.longest)
            .means("… up to this.")
            .costs("An endpoint that has recovered gets nothing for up to so long."),
        setting!(Raw, "max_share", Share, config.proxy.balance.ejection.max_share)
            .unit("part of the endpoints")
            .means("So many of a service's endpoints may be spared at a time; one always may, all never.")
            .costs("The others carry their load."),
        setting!(Raw, "panic_threshold", Share, config.proxy.balance.ejection.panic_threshold)
            .unit("part of the endpoints")
            .means("When fewer than this part are left, all count again.")
            .costs("Requests then meet endpoints that fail."),
    ])
}

fn outliers() -> Section<Raw> {
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
    Section::new(
        "outliers",
        "Endpoints that do worse than the others of their service are spared too, by the answers of the last ten seconds, \
            judged every ten. After Envoy's detectors by success rate and failure percentage, and with its figures. \
            `max_share` of `ejection` holds for these as well, and so does `in_a_row = 0`.",
    )
    .settings([
        setting!(Raw, "deviation", Whole::between(0, 1000), config.proxy.balance.outliers.deviation_tenths)
            .unit("tenths of the standard deviation")
            .means(
                "Spared is whose part of good answers is so far below the mean of all that have enough of them (19: 1.9 \
                standard deviations) …; 0: nobody.",
            )
            .costs("A smaller number spares more endpoints that are only unlucky."),
        setting!(Raw, "margin", Share, config.proxy.balance.outliers.margin)
            .unit("part of the answers")
            .means(
                "… and by so much at least. Envoy has none: where nothing fails, an endpoint is spared there for a single \
                failure.",
            )
            .costs("As for `deviation`."),
        setting!(Raw, "min_answers", Whole::between(1, 1_000_000), config.proxy.balance.outliers.rate_answers)
            .unit("answers in ten seconds")
            .means("An endpoint with fewer is not compared.")
            .costs("Few answers say little."),
        setting!(Raw, "min_endpoints", Whole::between(2, 1_000_000), config.proxy.balance.outliers.min_endpoints)
            .unit("endpoints")
            .means("With fewer that have enough answers none is judged. Of less than five none is ever 1.9 deviations off.")
            .costs("Few endpoints say little of what is usual."),
        setting!(Raw, "failure_share", Share, config.proxy.balance.outliers.failure_share)
            .unit("part of the answers")
            .means(
                "Spared is also whose part of bad answers is so large, whatever the others do; 0: nobody. Where Envoy is told \
                to, it takes 0.85.",
            )
            .costs("`success_ratio` of `ejection` decides on less."),
        setting!(Raw, "failure_min_answers", Whole::between(1, 1_000_000), config.proxy.balance.outliers.share_answers)
            .unit("answers in ten seconds")
            .means("An endpoint with fewer is not judged by `failure_share`.")
            .costs("Few answers say little."),
        setting!(Raw, "time", Span::between(second, hour), config.proxy.balance.outliers.time)
            .means(
                "For how long, half of it at least; twice, three times as long … when an endpoint is found so again, and once \
                less for each time that it is compared and is not. Then one request tries it, as after any failure.",
            )
            .costs("The others carry its load for so long."),
        setting!(Raw, "longest", Span::between(second, hour), config.proxy.balance.outliers.longest)
            .means("… up to this.")
            .costs("An endpoint that has recovered gets nothing for up to so long."),
    ])
}

fn proxy() -> [Setting<Raw>; 7] {
    [
        setting!(Raw, "trusted_proxies", Many::new(Network, "networks", 1024), config.proxy.trusted_proxies)
            .example("[\"10.0.0.0/24\"]")
            .means(
                "Clients whose `Forwarded`, `X-Forwarded-*` and `X-Real-IP` are believed; from all others they \
                are removed and written anew.",
            )
            .costs("Whoever is in these networks can claim any client address."),
        setting!(Raw, "via", PSEUDONYM, config.proxy.via)
            .means("This proxy's name in `Via`. Instances that forward to one another share it: by it loops are found.")
            .costs("None."),
        setting!(Raw, "proxy_status", Flag, config.proxy.proxy_status)
            .means("Whether answers of the proxy's own carry `Proxy-Status` (RFC 9209) beside `x-pointsman-reason`.")
            .costs("Clients learn a little of what is behind the proxy."),
        setting!(Raw, "error_pages", Optional(FOLDER), config.proxy.error_pages)
            .example("\"/etc/pointsman/pages\"")
            .by_default("short texts")
            .means(
                "A folder of pages for errors that the proxy answers by itself: `503.html`, `5xx.html`, `any.html`, also as \
                `.json` (for clients that ask for JSON and not for HTML) and `.txt`; up to 64 KiB each. Status, \
                `x-pointsman-reason` and the other fields stay. The folder is followed.",
            )
            .costs("The pages in memory; a look at the folder each second."),
        setting!(Raw, "request_id", Optional(PSEUDONYM), config.proxy.request_id)
            .example("\"X-Request-Id\"")
            .by_default("none")
            .means(
                "The header field that carries a request's id to its endpoint, into the access log and into answers of the \
                proxy's own. An id from `trusted_proxies` is kept, else one is made.",
            )
            .costs("Some fifty octets a request."),
        setting!(Raw, "proxy_status_relayed", Flag, config.proxy.proxy_status_relayed)
            .means(
                "Whether answers of endpoints carry `Proxy-Status` too: the endpoint's address, what it speaks, and the status \
                that it gave.",
            )
            .costs("Clients learn the addresses of tasks; some octets an answer."),
        setting!(Raw, "max_hops", Whole::between(1, 100), config.proxy.max_hops)
            .unit("entries of ours in `Via`")
            .means("A request that passed so many proxies of this name is looping and gets 508.")
            .costs("A loop costs as many requests."),
    ]
}

fn attempts() -> [Setting<Raw>; 4] {
    [
        setting!(Raw, "max_attempts", Whole::between(1, 10), config.proxy.max_attempts)
            .unit("attempts")
            .means(
                "Attempts per request in all, each at another endpoint where there is one. Where more than one is allowed, up to \
                31 that found nobody listening are not counted.",
            )
            .costs(
                "A failing service may get up to so many times its load for a moment; how much it gets in all is bounded by \
                `retry_ratio`.",
            ),
        setting!(Raw, "retry_ratio", Share, config.proxy.retry_ratio)
            .unit("part of the requests")
            .means(
                "Further attempts that a service may cause, as a part of its requests of the last ten seconds and of \
                those under way; beside it ten a second and three at a time are always allowed. Attempts after a \
                failed connection are not counted: they cost the endpoint nothing.",
            )
            .costs("More makes a failing service's load grow by so much."),
        setting!(
            Raw,
            "retry_statuses",
            Many::new(Whole::between(500, 599), "statuses", 16),
            config.proxy.retry_statuses
        )
        .means(
            "An answer with one of these statuses is not passed on while another endpoint can be asked and the request \
            may be repeated; if none does better, the client gets it after all. None: every answer is passed on.",
        )
        .costs("A service that answers so as a matter of course gets more requests, within `retry_ratio`."),
        setting!(Raw, "retry_body_size", Size::between(0, 16 << 20), config.proxy.retry_body_bytes)
            .means("Request bodies up to this size are kept for another attempt.")
            .costs("So much memory for each request under way that has a body."),
    ]
}

fn requests() -> [Setting<Raw>; 3] {
    [
        setting!(Raw, "underscores", underscores(), config.proxy.underscores)
            .means(
                "What becomes of requests' fields with `_` in their names, which many tasks (CGI, WSGI, PHP) cannot tell from \
                those with `-`. `aliases`: those are not passed on that would be taken for a field that this proxy, a filter \
                or a route writes, or for one that frames or routes; `drop`: none is passed on; `refuse`: a request that has \
                one gets 400 `bad-head`.",
            )
            .costs(
                "With `aliases` a task that trusts a field that something else in front of it writes (`X-Role`) can be told \
                it by a client as `X_Role`. The others shut out clients that mean theirs (`api_key`).",
            ),
        setting!(Raw, "misses", misses(), config.proxy.misses)
            .means(
                "Who is told why a request has no route (`no-route`): what the nearest route of its host asks for that it has \
                not. `log`: the access log's JSON says so (`miss`); `header`: the answer too, in `x-pointsman-miss`; `none`: \
                ask `explain`.",
            )
            .costs(
                "The routes of the host are looked at twice for such a request. With `header` clients learn hosts, paths and \
                names of fields that routes ask for; never the values.",
            ),
        setting!(Raw, "https_port", Whole::between(1, 65_535), config.proxy.https_port)
            .unit("port number")
            .means("The port that redirects to HTTPS name: the one that clients reach a TLS listener by.")
            .costs("None."),
    ]
}

fn service_ports() -> Section<Raw> {
    Section::new(
        "service_ports",
        "Ports that apps claim for themselves (`pointsman.listen`, `HAPROXY_{n}_PORT`, Marathon's service ports). \
            Each listener comes and goes by itself; of two apps on one port the one that has claimed it longest has it.",
    )
    .settings([
        setting!(
            Raw,
            "addresses",
            Many::new(Address, "addresses", 16),
            config.proxy.service_ports.addresses
        )
        .example("[\"0.0.0.0\"]")
        .by_default("none: no such port is opened")
        .means("Addresses that the ports are opened on.")
        .costs("A socket for every worker, port and address: `server` needs as many file descriptors."),
        setting!(Raw, "allowed", Many::new(Ports, "ranges", 64), config.proxy.service_ports.allowed)
            .means("Ports that may be claimed; `[[policy]]` can say by whom.")
            .costs("Whoever can start a task can have such a port."),
        setting!(Raw, "assigned", Optional(Ports), config.proxy.service_ports.assigned)
            .example("\"10050-10100\"")
            .by_default("none: such an app has a port only if a label names one")
            .means(
                "Ports, of those in `allowed`, for Marathon's apps whose tasks have addresses of their own and that have no \
                service port (marathon-lb: `--min-serv-port-ip-per-task` and `--max-…`). The app's id and the container's port \
                choose by the same hash; apps take their turns by their ids, so that every instance assigns the same. A port \
                may change hands when an app comes or goes; who names a port by a label goes before whom it is assigned to.",
            )
            .costs("A listener for each TCP port of such apps that are served; where the range is full, the rest has none and is told."),
        setting!(Raw, "certificates", Optional(FOLDER), config.proxy.service_ports.certificates)
            .example("\"/etc/pointsman/certificates\"")
            .means(
                "A folder of certificates that labels choose from by name (`pointsman.certificate`, `HAPROXY_{n}_SSL_CERT`): for \
                ports that are to speak TLS, and at every listener with TLS for the hosts that the app has there. A host's own \
                goes before the listener's `certificates` if it is for that name, or if none of those is.",
            )
            .costs("A watch on the folder. Whoever has a host may have any certificate of the folder shown for it."),
        setting!(Raw, "proxy_protocol", Many::new(Network, "networks", 1024), config.proxy.service_ports.proxy_protocol)
            .example("[\"10.0.0.0/24\"]")
            .by_default("none")
            .means("As `proxy_protocol` of a listener, for all these ports.")
            .costs("Whoever is in these networks can claim any client address."),
    ])
}

fn tls() -> Section<Raw> {
    let week = Duration::from_secs(7 * 86_400);
    Section::new("tls", "TLS towards clients, on all listeners.").settings([
        setting!(Raw, "ticket_rotation", Span::between(Duration::ZERO, week), config.proxy.tls.ticket_rotation)
            .means(
                "How long a key of session tickets is used; then it still decrypts for as long, and is forgotten. \"0s\": no \
                session is resumed.",
            )
            .costs("Who steals a key can read what was said under its tickets in TLS 1.2; a short time makes more full handshakes."),
        setting!(Raw, "ticket_keys", Optional(FILE), config.proxy.tls.ticket_keys)
            .example("\"/etc/pointsman/ticket-keys\"")
            .by_default("made at random")
            .means(
                "File with keys that several instances share, one of 32 octets in base64 a line: the first encrypts, all \
                decrypt. Whoever writes it changes the keys; it is followed.",
            )
            .costs("Keys that are not changed, or are copied elsewhere, undo forward secrecy."),
    ])
}

fn timeouts() -> [Setting<Raw>; 8] {
    let up_to = |most: u64| Span::between(Duration::from_millis(1), Duration::from_secs(most));
    [
        setting!(Raw, "header", up_to(3600), config.proxy.limits.header)
            .means("From the first byte of a request's head to its last; then the connection is closed.")
            .costs("Clients that send slowly hold their connection for so long."),
        setting!(Raw, "connect", up_to(600), config.proxy.limits.connect)
            .means("For a connection to an endpoint; then another endpoint is tried.")
            .costs("A dead endpoint delays a request by so much."),
        setting!(Raw, "per_try", up_to(3600), config.proxy.limits.per_try)
            .means("For the first byte of an answer from one endpoint; then another is asked, if one has room and `retry_ratio` has a repeat. Else the first is waited for on.")
            .costs("Too short a time repeats requests that are only slow."),
        setting!(Raw, "response", up_to(86_400), config.proxy.limits.response)
            .means("For the first byte of the answer, all attempts together; then 504.")
            .costs("Clients of a hanging service wait for so long, and their requests count as under way."),
        setting!(Raw, "idle", up_to(86_400), config.proxy.limits.idle)
            .means("Without a byte in either direction of a body or an upgraded connection; then it is cut.")
            .costs(
                "Silent connections hold two file descriptors for so long; WebSockets need a ping more often \
                than this.",
            ),
        setting!(Raw, "tcp_idle", up_to(604_800), config.proxy.limits.tcp_idle)
            .means("Without a byte in either direction of a plain TCP connection; then it is cut.")
            .costs("Silent connections hold two file descriptors for so long."),
        setting!(Raw, "keep_alive", up_to(86_400), config.proxy.limits.keep_alive)
            .means("A client's connection without a request for so long is closed.")
            .costs("A file descriptor and some kilobytes for each idle client."),
        setting!(Raw, "upstream_idle", up_to(86_400), config.proxy.limits.upstream_idle)
            .means(
                "A connection to an endpoint without a request for so long is closed. Where the endpoint's last answer said a \
                time of its own (`Keep-Alive: timeout=5`), that counts if it is less, but for its last second.",
            )
            .costs(
                "Longer than the endpoint's own time, requests meet connections that are being closed, and are \
                retried.",
            ),
    ]
}

fn bounds() -> [Setting<Raw>; 8] {
    [
        setting!(Raw, "head_size", Size::between(1024, 1 << 20), config.proxy.limits.head_bytes)
            .means("The largest head of a request, its line and all fields; then 431.")
            .costs("So much memory for each client that sends one."),
        setting!(Raw, "head_fields", Whole::between(8, 1000), config.proxy.limits.head_fields)
            .unit("header fields")
            .means("Header fields of a request at most; then 431.")
            .costs("Time on each request that has so many."),
        setting!(Raw, "connections", Whole::between(1, 10_000_000), config.proxy.limits.connections)
            .unit("client connections a worker")
            .means("Client connections at a time; more wait to be accepted.")
            .costs("A file descriptor and some kilobytes each; the process's limit of files must allow them."),
        setting!(
            Raw,
            "connections_per_network",
            Whole::between(1, 10_000_000),
            config.proxy.limits.connections_per_network
        )
        .unit("client connections a worker")
        .means(
            "Client connections at a time from one network, /24 of IPv4 or /48 of IPv6; more are closed at once. \
                Those of `trusted_proxies` are not counted.",
        )
        .costs("Too small a number shuts out clients behind one large address translation."),
        setting!(Raw, "buffer_size", Size::between(1 << 20, 1 << 40), config.proxy.limits.buffer_bytes)
            .means(
                "Octets of bodies that wait in one worker's memory, for slow clients and for other attempts; above \
                it new requests get 503 until others have ended.",
            )
            .costs("So much memory for each worker, when clients read slowly."),
        setting!(Raw, "streams", Whole::between(1, 100_000), config.proxy.limits.streams)
            .unit("requests a connection")
            .means("Requests under way on one HTTP/2 connection.")
            .costs("One client can have so many requests in work with one connection."),
        setting!(
            Raw,
            "connections_per_endpoint",
            Whole::between(1, 1_000_000),
            config.proxy.limits.connections_per_endpoint
        )
        .unit("connections an endpoint and worker")
        .means(
            "Connections in use at a time, one for each request of HTTP/1.1 and each upgrade; where all endpoints of a \
            service have so many, requests get 503. An endpoint of HTTP/2 may have so many times `streams` requests.",
        )
        .costs("Too few refuse requests that the endpoints could serve; workers times this reach each instance."),
        setting!(Raw, "idle_per_endpoint", Whole::between(0, 100_000), config.proxy.limits.idle_per_endpoint)
            .unit("connections an endpoint and worker")
            .means(
                "Connections kept open and unused, at most; there are never more than were in use at a time within \
                `upstream_idle`.",
            )
            .costs(
                "Too few: where more requests than this are under way, connections are closed and opened anew all the time. \
                Else file descriptors here and at the endpoints: workers times instances times this.",
            ),
    ]
}

const PAIR_EXAMPLES: &[Example] = &[Example {
    about: "A file with the certificate, its chain and its key, as HAProxy has it.",
    active: false,
    values: &[("certificate", "\"/etc/pointsman/shop.pem\"")],
}];

fn pair() -> Section<RawFilePair> {
    Section::new(
        "pairs",
        "A certificate of the listener by its files, beside or instead of a folder. The files are followed; one that cannot \
            be used harms no other, and leaves its former version in force.",
    )
    .settings([
        setting!(RawFilePair, "certificate", FILE, certificate)
            .required()
            .example("\"/etc/pointsman/shop.pem\"")
            .means(
                "PEM file with the certificate and its chain. One whose file is called `default` (`default.pem`) serves \
                whoever asks for a name that no certificate has; else the first one does.",
            )
            .costs("None.")
            .reloads(Reload::Listener),
        setting!(RawFilePair, "key", Optional(FILE), key)
            .example("\"/etc/pointsman/shop.key\"")
            .by_default("the certificate's file")
            .means("PEM file with its key.")
            .costs("None.")
            .reloads(Reload::Listener),
    ])
}

fn listener() -> Section<RawListener> {
    let section =
        Section::new("listeners", "An address that the proxy listens on; one entry for each. None: no proxy.");
    section.settings(listener_place()).settings(listener_clients()).settings(listener_kind()).list(
        &ListRules { most: 1000, reload: Reload::Listener, examples: PAIR_EXAMPLES },
        pair(),
        |listener: &RawListener| &listener.pairs,
        |listener: &mut RawListener| &mut listener.pairs,
    )
}

/// Where it listens, and with what it speaks TLS.
fn listener_place() -> [Setting<RawListener>; 3] {
    [
        setting!(RawListener, "name", NAME, name)
            .required()
            .example("\"http\"")
            .means("The listener's name in logs and metrics.")
            .costs("None.")
            .reloads(Reload::Listener),
        setting!(RawListener, "address", Optional(Socket), address)
            .required()
            .example("\"127.0.0.1:10080\"")
            .means("The address, for HTTP/1.1 and HTTP/2 alike. Each address stands once in the file.")
            .costs("A socket for every worker; ports below 1024 need CAP_NET_BIND_SERVICE.")
            .reloads(Reload::Listener),
        setting!(RawListener, "certificates", Optional(FOLDER), certificates)
            .example("\"/etc/pointsman/certificates\"")
            .by_default("clear text, but for `pairs`")
            .means(
                "A folder of certificates for TLS, NAME.crt or NAME.pem each with NAME.key, chosen by SNI. The \
                folder is watched; new ones are taken up without a reload. Of several for one name the exact one goes before \
                the wildcard, then `pairs` in their order, then the folder's in the order of their names.",
            )
            .costs("A watch on the folder; the handshakes take most of the time of short connections.")
            .reloads(Reload::Listener),
    ]
}

/// What clients have to show.
fn listener_clients() -> [Setting<RawListener>; 3] {
    [
        setting!(RawListener, "client_ca", Optional(FILE), client_ca)
            .example("\"/etc/pointsman/clients-ca.pem\"")
            .by_default("clients are asked for none")
            .means(
                "PEM file with the authorities that have signed the certificates of clients. Tasks get the verified one in \
                the field `Client-Cert` (RFC 9440). The file is followed.",
            )
            .costs("A verification in each handshake that resumes no session.")
            .reloads(Reload::Listener),
        setting!(RawListener, "client_crl", Many::new(FILE, "files", 64), client_crl)
            .example("[\"/etc/pointsman/clients.crl\"]")
            .by_default("none: nothing is looked up")
            .means(
                "Files with lists of what the authorities of `client_ca` have revoked (CRLs), in PEM or DER. With any, every \
                certificate of a client's chain, but for the trusted one, needs a list of its issuer's that is not past its \
                `nextUpdate`; without one the handshake fails. The files are followed; new lists end sessions that could be \
                resumed, not connections.",
            )
            .costs("Lists that are not written anew in time shut out every client that shows a certificate; the lists in memory.")
            .reloads(Reload::Listener),
        setting!(
            RawListener,
            "client_certificate",
            Choice(&[("required", ClientDemand::Required), ("optional", ClientDemand::Optional)]),
            client_certificate
        )
        .means("Whether clients must show one, where `client_ca` is set. With \"optional\" those without come without the field.")
        .costs("None.")
        .reloads(Reload::Listener),
    ]
}

/// What is made of what they send.
fn listener_kind() -> [Setting<RawListener>; 3] {
    [
        setting!(
            RawListener,
            "route_by",
            Choice(&[("host", RouteBy::Host), ("app-id", RouteBy::App)]),
            route_by
        )
        .means(
            "What requests are routed by: their host and path, or the app that their header `X-Marathon-App-Id` names \
                (for callers inside the cluster).",
        )
        .costs("Whoever reaches a listener by app reaches every app, within the rules of each.")
        .reloads(Reload::Listener),
        setting!(RawListener, "passthrough", Flag, passthrough)
            .means(
                "Whether TLS connections for hosts of ports that speak `tls` (label `protocol`) are carried to them as they \
                are. Those for other names end here, by `certificates`; without those they are closed.",
            )
            .costs("A look at each client's first message. What is within such connections is not seen, so no rule of HTTP holds for it.")
            .reloads(Reload::Listener),
        setting!(RawListener, "proxy_protocol", Many::new(Network, "networks", 1024), proxy_protocol)
            .example("[\"10.0.0.0/24\"]")
            .by_default("none")
            .means(
                "Networks of balancers that speak the PROXY protocol: each of their connections has to begin with a header \
                (version 1 or 2), and its client is who the header names. From all others no header is taken.",
            )
            .costs("Whoever is in these networks can claim any client address.")
            .reloads(Reload::Listener),
    ]
}
