//! `[dns]` and `[dns.soa]`.

use std::time::Duration;

use crate::config::checked::{
    CookiePolicy, ExtraName, ForwardConfig, ForwardZone, IpSource, LabelRule, LogFormat, NameUnhealthy, Place,
};
use crate::config::kind::cookie::CookieKeys;
use crate::config::kind::duration::{Seconds, Span};
use crate::config::kind::network::{Address, Network, Socket};
use crate::config::kind::number::Whole;
use crate::config::kind::size::Size;
use crate::config::kind::text::{FILE, FOLDER, IDENTITY, LABELS, LINE, NAME, PATH_PREFIX, ZONE};
use crate::config::kind::tsig::TsigKeys;
use crate::config::kind::upstream::Upstream;
use crate::config::kind::{Choice, Flag, Many, Optional};
use crate::config::raw::Raw;
use crate::config::section::{Example, ListRules, Section};
use crate::config::setting::{Reload, Setting, setting};

pub(super) fn section() -> Section<Raw> {
    Section::new(
        "dns",
        "The DNS server. It answers for the zones of the sources; every other name is forwarded or refused.",
    )
    .settings(answers())
    .settings(naming())
    .settings(transport())
    .settings(identity())
    .settings(cookies())
    .settings(access())
    .section(rate_limit())
    .section(tls())
    .section(transfer())
    .section(log())
    .section(soa())
    .section(locality())
    .section(dcos())
    .section(forward())
}

fn answers() -> [Setting<Raw>; 4] {
    [
        setting!(Raw, "listen", Many::new(Socket, "addresses", 64), config.dns.listen)
            .example("[\"127.0.0.1:10053\"]")
            .by_default("no DNS")
            .means("Addresses to answer at, each over UDP and TCP.")
            .costs("A socket of each kind for every worker.")
            .reloads(Reload::Listener),
        setting!(Raw, "ttl", Seconds::between(0, 86_400), config.dns.ttl_seconds)
            .means("Time to live of the clusters' records.")
            .costs("Resolvers go on with what has changed for so long; a shorter time brings more queries."),
        setting!(Raw, "negative_ttl", Seconds::between(0, 86_400), config.dns.negative_ttl_seconds)
            .means("How long resolvers may remember that a name or record does not exist (the SOA's minimum).")
            .costs("A new service is not seen for so long by those who asked too early."),
        setting!(Raw, "srv_weight", Whole::between(0, 65_535), config.dns.srv_weight)
            .means("The weight of SRV records.")
            .costs("None."),
    ]
}

fn naming() -> [Setting<Raw>; 6] {
    let sources = Choice(&[
        ("auto", IpSource::Auto),
        ("netinfo", IpSource::Netinfo),
        ("mesos", IpSource::Mesos),
        ("docker", IpSource::Docker),
        ("host", IpSource::Host),
    ]);
    let unhealthy = Choice(&[("fallback", NameUnhealthy::Fallback), ("always", NameUnhealthy::Always)]);
    let extra = Choice(&[
        ("ids", ExtraName::Ids),
        ("agents", ExtraName::Agents),
        ("services", ExtraName::Services),
        ("text", ExtraName::Text),
        ("bindings", ExtraName::Bindings),
        ("networks", ExtraName::Networks),
    ]);
    let rules = Choice(&[("rfc1123", LabelRule::Rfc1123), ("rfc952", LabelRule::Rfc952)]);
    [
        setting!(Raw, "ip_sources", Many::new(sources, "sources of addresses", 5).some(), config.dns.ip_sources)
            .means(
                "Which addresses a task's name has, those of the first source that knows any: where it is reached (auto), which \
                is its agent where ports of the agent lead to it (a bridge's addresses lead nowhere else) and else the same as \
                its containers' own (netinfo), the address in the label `MesosContainerizer.NetworkSettings.IPAddress` (mesos) or \
                `Docker.NetworkSettings.IPAddress` (docker) of its status, or its agent's (host).",
            )
            .costs("None."),
        setting!(Raw, "name_unhealthy", unhealthy, config.dns.name_unhealthy)
            .means(
                "Whether unhealthy tasks are named: only while no healthy one has the name (fallback), or always, \
                as Mesos-DNS does, which names the running tasks and no other.",
            )
            .costs("With \"always\", clients are sent to tasks that are known to fail."),
        setting!(Raw, "hold_names", Flag, config.dns.hold_names)
            .means(
                "Whether a name exists, without records, while its tasks start or end and for \
                `server.service_retention` after the last one. Without it such a name is NXDOMAIN, as in Mesos-DNS.",
            )
            .costs("Some hundred octets a name that is held."),
        setting!(Raw, "label_rule", rules, config.dns.label_rule)
            .means(
                "How labels are made from the names of tasks and frameworks: up to 63 letters, digits and hyphens \
                (rfc1123), or up to 24 with a letter first (rfc952, Mesos-DNS's `EnforceRFC952`).",
            )
            .costs("All names that the rules differ on change with it."),
        setting!(Raw, "extra_names", Many::new(extra, "kinds of names", 8), config.dns.extra_names)
            .means(
                "Names and types that Mesos-DNS does not have: `ID.id.FRAMEWORK` (ids), `ID.agent` and `HOST.agent` (agents), \
                `_PORT._PROTO.TASK.FRAMEWORK` (services), TXT with facts of tasks and agents (text), SVCB and HTTPS \
                (bindings), `TASK.FRAMEWORK.NETWORK.network` (networks).",
            )
            .costs("Some hundred octets an agent."),
        setting!(Raw, "reverse", Many::new(Network, "networks", 64), config.dns.reverse)
            .example("[\"10.0.0.0/8\", \"fd01:c::/64\"]")
            .by_default("none")
            .means(
                "Networks whose addresses lead back to names (PTR): each is a zone of the reverse tree that is answered \
                here, or as many as it takes to the next label (16 for a /12). An agent's address gives the agent's \
                name, a container's its tasks' own.",
            )
            .costs("Some hundred octets a container. Addresses in them that the clusters do not have are NXDOMAIN here."),
    ]
}

fn transport() -> [Setting<Raw>; 3] {
    [
        setting!(Raw, "max_udp_size", Whole::between(512, 4096), config.dns.max_udp_size)
            .unit("octets")
            .means(
                "The largest answer over UDP, whatever the client offers; longer ones are truncated and fetched \
                over TCP.",
            )
            .costs("Above 1232, answers may be fragmented and lost on the way."),
        setting!(Raw, "max_tcp_connections", Whole::between(1, 1_000_000), config.dns.max_tcp_connections)
            .unit("connections a worker and address")
            .means("Connections over TCP at a time; more wait to be accepted.")
            .costs("A file descriptor and some kilobytes each."),
        setting!(
            Raw,
            "tcp_idle",
            Span::between(Duration::from_millis(100), Duration::from_secs(3600)),
            config.dns.tcp_idle
        )
        .means("A TCP connection without a query for so long is closed.")
        .costs("Idle connections hold their place for longer."),
    ]
}

fn identity() -> [Setting<Raw>; 2] {
    [
        setting!(Raw, "identity", Optional(IDENTITY), config.dns.identity)
            .example("\"dns1\"")
            .by_default("not told")
            .means(
                "What this server is called, for those who ask which of several has answered: by NSID (RFC 5001), and \
                as `id.server` and `hostname.bind` in class CH.",
            )
            .costs("Whoever may ask learns it."),
        setting!(Raw, "tell_version", Flag, config.dns.tell_version)
            .means("Whether `version.bind` and `version.server` in class CH tell the program and its version; else REFUSED.")
            .costs("Whoever looks for a version with a known fault finds it more easily."),
    ]
}

fn cookies() -> [Setting<Raw>; 2] {
    let policies =
        Choice(&[("off", CookiePolicy::Off), ("answer", CookiePolicy::Answer), ("require", CookiePolicy::Require)]);
    [
        setting!(Raw, "cookies", policies, config.dns.cookies)
            .means(
                "DNS cookies (RFC 7873), by which a client shows that its address is not forged: who sends one gets one \
                (answer); who sends one and has none of ours gets BADCOOKIE with a new one over UDP, and asks again with \
                it (require); they are ignored (off). Clients without cookies are answered in each case.",
            )
            .costs("A hash for each query that has one; with \"require\" a second query from each new client."),
        setting!(Raw, "cookie_secret", CookieKeys, config.dns.cookie_secret)
            .secret()
            .by_default("drawn at the start, another one each day")
            .means(
                "The key that cookies are made with, the same on all servers that answer at one address: 32 hexadecimal \
                digits. More keys may follow it, with spaces between: they are taken, but not used for new cookies. To \
                change it, put the new key behind the old one on all servers, then in front, then remove the old one.",
            )
            .costs("None; kept out of logs and the API."),
    ]
}

fn access() -> [Setting<Raw>; 1] {
    [setting!(Raw, "allow", Many::new(Network, "networks", 1000), config.dns.allow)
        .example("[\"10.0.0.0/8\", \"fd00::/8\"]")
        .means(
            "Clients that are answered; all others get REFUSED with the reason (extended error 18). Whom others are asked \
            for is `dns.forward.allow`.",
        )
        .costs("A look at the list for each query, in its order.")]
}

fn rate_limit() -> Section<Raw> {
    Section::new(
        "rate_limit",
        "How many equal answers over UDP one network gets, against those who forge a victim's address. Clients that come by \
        TCP, TLS or HTTPS or show a DNS cookie are not limited.",
    )
    .settings([
        setting!(
            Raw,
            "responses_per_second",
            Whole::between(0, 1_000_000),
            config.dns.rate_limit.responses_per_second
        )
        .unit("answers a second")
        .means(
            "Equal answers (the same records; or, all names together, that there is nothing; or errors) that one network \
            gets; 0: as many as it asks for. Each worker gives its share of it, since the kernel deals queries among them.",
        )
        .costs("2 MiB a worker; a resolver that many clients share needs a high limit, or an exemption."),
        setting!(Raw, "slip", Whole::between(0, 10), config.dns.rate_limit.slip)
            .unit("answers")
            .means(
                "Each so many of the answers held back are sent without records, truncated, so that a client that is \
                really there asks again over TCP; the others are not sent. 1: all of them; 0: none.",
            )
            .costs("With 1, a forger's victim gets as many answers as before, though small ones."),
        setting!(Raw, "ipv4_prefix", Whole::between(8, 32), config.dns.rate_limit.ipv4_prefix)
            .unit("bits")
            .means("How much of an IPv4 address makes the network.")
            .costs("None."),
        setting!(Raw, "ipv6_prefix", Whole::between(16, 128), config.dns.rate_limit.ipv6_prefix)
            .unit("bits")
            .means("How much of an IPv6 address makes the network.")
            .costs("None."),
        setting!(Raw, "exempt", Many::new(Network, "networks", 1000), config.dns.rate_limit.exempt)
            .example("[\"10.0.0.0/8\"]")
            .by_default("none")
            .means("Networks that are not limited.")
            .costs("Who can forge their addresses is not limited either."),
    ])
}

fn tls() -> Section<Raw> {
    Section::new(
        "tls",
        "DNS that nobody on the way can read: over TLS and over HTTPS, with the same answers as over UDP and TCP. Connections \
        count for `dns.max_tcp_connections`, and `dns.tcp_idle` holds for them.",
    )
    .settings([
        setting!(Raw, "listen", Many::new(Socket, "addresses", 64), config.dns.tls.listen)
            .example("[\"127.0.0.1:10853\"]")
            .by_default("no DNS over TLS")
            .means("Addresses for DNS over TLS (RFC 7858); its usual port is 853.")
            .costs("A socket for every worker; each new connection costs a handshake.")
            .reloads(Reload::Listener),
        setting!(Raw, "https_listen", Many::new(Socket, "addresses", 64), config.dns.tls.https_listen)
            .example("[\"127.0.0.1:10444\"]")
            .by_default("no DNS over HTTPS")
            .means("Addresses for DNS over HTTPS (RFC 8484), by HTTP/2 with GET or POST.")
            .costs("As for `listen`.")
            .reloads(Reload::Listener),
        setting!(Raw, "https_path", PATH_PREFIX, config.dns.tls.https_path)
            .means("The path that queries come to over HTTPS; every other one is 404.")
            .costs("None.")
            .reloads(Reload::Listener),
        setting!(Raw, "certificates", Optional(FOLDER), config.dns.tls.certificates)
            .example("\"/etc/pointsman/certificates\"")
            .by_default("none: needed with one of the addresses above")
            .means(
                "Folder of certificates, as for `proxy.listeners`: NAME.crt or NAME.pem with NAME.key, chosen by the name \
                that the client asks for, else the pair called `default`. The folder is followed.",
            )
            .costs("None.")
            .reloads(Reload::Listener),
    ])
}

fn transfer() -> Section<Raw> {
    Section::new(
        "transfer",
        "Secondary servers: whom zones are sent to (AXFR, and IXFR from the versions that `server.history` keeps), and who is \
        told when they change (NOTIFY).",
    )
    .settings([
        setting!(Raw, "allow", Many::new(Network, "networks", 1000), config.dns.transfer.allow)
            .example("[\"10.0.0.5\"]")
            .by_default("nobody")
            .means("Clients that zones are sent to, over TCP or TLS; with `keys`, only if they sign too.")
            .costs("Whoever may, reads all names; each transfer lists a whole zone on a thread apart."),
        setting!(Raw, "notify", Many::new(Socket, "addresses", 64), config.dns.transfer.notify)
            .example("[\"10.0.0.5:53\"]")
            .by_default("nobody")
            .means("Secondary servers that are told of each change, again until they answer.")
            .costs("Each change makes them fetch it; changes within 100 ms are told together."),
        setting!(Raw, "keys", TsigKeys, config.dns.transfer.keys)
            .secret()
            .by_default("none")
            .means(
                "Keys of TSIG (RFC 8945) as `dig -y` takes them: hmac-sha256:NAME:BASE64, with spaces between. With any, \
                transfers must be signed with one of them; the first signs what is told. Any query may be signed.",
            )
            .costs("None; kept out of logs and the API."),
    ])
}

fn log() -> Section<Raw> {
    let formats = Choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    Section::new(
        "log",
        "What was asked and answered, written down. No answer waits for it: what comes faster than it is written is dropped \
        and counted.",
    )
    .settings([
        setting!(Raw, "path", Optional(FILE), config.dns.log.path)
            .example("\"/var/log/pointsman/dns.log\"")
            .by_default("no query log")
            .means(
                "A file for a line an answer: time, client, transport, name, type, response code, flags (a authoritative, t \
                truncated, r recursion desired), answers, octets. Rename it to begin a new one.",
            )
            .costs("About a microsecond an answer on a thread apart, and 80 octets on disk."),
        setting!(Raw, "format", formats, config.dns.log.format)
            .means("Lines for people, or one JSON object a line.")
            .costs("JSON lines are about twice as long."),
        setting!(Raw, "sample", Whole::between(1, 1_000_000), config.dns.log.sample)
            .unit("answers")
            .means("Each so many answers of a worker are written down; 1: all.")
            .costs("With 1, all that the file and dnstap cost."),
        setting!(Raw, "dnstap", Optional(FILE), config.dns.log.dnstap)
            .example("\"/run/dnstap.sock\"")
            .by_default("no dnstap")
            .means(
                "Where answers go as dnstap: a Unix socket that a collector listens on (it is reached again after a fault), \
                else a file, begun anew.",
            )
            .costs("Some hundred octets an answer."),
    ])
}

fn soa() -> Section<Raw> {
    let year = 31_536_000;
    Section::new("soa", "What the zones' SOA and NS records say; only secondary servers and people read it.").settings(
        [
            setting!(Raw, "nameserver", LABELS, config.dns.nameserver)
                .means("The name server's name, below each zone; with a final dot it is absolute.")
                .costs("Tasks cannot have this name."),
            setting!(Raw, "nameserver_addresses", Many::new(Address, "addresses", 16), config.dns.nameserver_addresses)
                .example("[\"10.0.0.53\"]")
                .by_default("those of `dns.listen`")
                .means("The name server's addresses, where clients reach it under others than it listens on.")
                .costs("None."),
            setting!(Raw, "contact", LABELS, config.dns.contact)
                .means("Whom to write to, below each zone, or absolute with a final dot: the first dot stands for the at sign.")
                .costs("None."),
            setting!(Raw, "refresh", Seconds::between(1, year), config.dns.soa_refresh_seconds)
                .means("How often secondary servers look for a new version.")
                .costs("None here."),
            setting!(Raw, "retry", Seconds::between(1, year), config.dns.soa_retry_seconds)
                .means("How soon they try again.")
                .costs("None here."),
            setting!(Raw, "expire", Seconds::between(1, year), config.dns.soa_expire_seconds)
                .means("When they stop to answer from what they have.")
                .costs("None here."),
        ],
    )
}

fn locality() -> Section<Raw> {
    Section::new(
        "locality",
        "What is near comes first for clients whose place is known: addresses of the same zone, then of the same region, then \
        all others; SRV and SVCB records get a priority by it. Where agents are, their fault domains say.",
    )
    .settings([setting!(
        Raw,
        "trusted_resolvers",
        Many::new(Network, "networks", 1000),
        config.dns.locality.trusted_resolvers
    )
    .example("[\"10.0.0.2\"]")
    .by_default("none")
    .means(
        "Resolvers that are believed what they say of their own clients' networks (the EDNS option client subnet, \
        RFC 7871); what others say of that is ignored.",
    )
    .costs("Who can forge their addresses can have answers ordered for another place.")])
    .list(
        &ListRules { most: 1000, reload: Reload::Live, examples: PLACE_EXAMPLES },
        place(),
        |raw: &Raw| &raw.config.dns.locality.places,
        |raw: &mut Raw| &mut raw.config.dns.locality.places,
    )
}

const PLACE_EXAMPLES: &[Example] = &[Example {
    about: "Clients of one data centre.",
    active: false,
    values: &[("networks", "[\"10.1.0.0/16\"]"), ("region", "\"eu-west\""), ("zone", "\"eu-west-1\"")],
}];

fn place() -> Section<Place> {
    Section::new("place", "A place and the clients in it; of several, that with the longest network counts.").settings(
        [
            setting!(Place, "networks", Many::new(Network, "networks", 1000).some(), networks)
                .required()
                .example("[\"10.1.0.0/16\"]")
                .means("The clients' networks.")
                .costs("A look at the list for each query; their answers do not come from the cache of answers."),
            setting!(Place, "region", Optional(LINE), region)
                .example("\"eu-west\"")
                .by_default("none")
                .means("The region, as agents' fault domains call it.")
                .costs("None."),
            setting!(Place, "zone", Optional(LINE), zone)
                .example("\"eu-west-1\"")
                .by_default("none")
                .means("The zone, as agents' fault domains call it; with a region, the zone of that region.")
                .costs("None."),
        ],
    )
}

fn dcos() -> Section<Raw> {
    Section::new(
        "dcos",
        "The zones of DC/OS, for its applications and for nodes that ask here in place of its own resolver.",
    )
    .settings([
        setting!(Raw, "source", Optional(NAME), config.dns.dcos.source)
            .example("\"mesos\"")
            .by_default("no such zones")
            .means(
                "The Mesos source whose cluster the zones show: `dcos`, `mesos`, `l4lb` and `thisnode` below \
                `thisdcos.directory`, `zk`, `spartan`, `localhost`, and those that DC/OS renames to them.",
            )
            .costs("Some hundred octets a virtual address."),
        setting!(Raw, "cluster_key", Optional(LABELS), config.dns.dcos.cluster_key)
            .example("\"yor6fqzxh3ej\"")
            .by_default("none")
            .means("The cluster's key (its public key in zbase32): the zones are below `KEY.dcos.directory` too.")
            .costs("None."),
        setting!(Raw, "node_addresses", Many::new(Address, "addresses", 16), config.dns.dcos.node_addresses)
            .example("[\"10.0.0.5\"]")
            .by_default("none")
            .means("What `thisnode.thisdcos.directory` is.")
            .costs("None."),
        setting!(Raw, "public_addresses", Many::new(Address, "addresses", 16), config.dns.dcos.public_addresses)
            .example("[\"192.0.2.5\"]")
            .by_default("none")
            .means("What `public.thisnode.thisdcos.directory` is.")
            .costs("None."),
    ])
}

fn forward() -> Section<Raw> {
    Section::new(
        "forward",
        "Names that lie in no zone of the sources: which servers are asked, for whom, and how long answers are kept. \
            Without servers they are refused.",
    )
    .settings(asking())
    .settings(keeping())
    .list(
        &ListRules { most: 1000, reload: Reload::Live, examples: ZONE_EXAMPLES },
        forward_zone(),
        |raw: &Raw| &raw.config.dns.forward.zones,
        |raw: &mut Raw| &mut raw.config.dns.forward.zones,
    )
}

fn asking() -> [Setting<Raw>; 8] {
    [
        setting!(
            Raw,
            "upstreams",
            Many::new(Upstream, "servers", ForwardConfig::MAX_UPSTREAMS),
            config.dns.forward.upstreams
        )
        .example("[\"10.0.0.2\", \"10.0.0.3\"]")
        .by_default("other names are refused")
        .means(
            "Recursive servers that are asked for all names that no zone has: an address, tcp:// or tls:// before \
            it, for tls:// with the name in its certificate after #. The fastest that answers is asked first.",
        )
        .costs("Clients wait for them where an answer is not kept; each worker asks for itself."),
        setting!(Raw, "allow", Many::new(Network, "networks", 1000), config.dns.forward.allow)
            .example("[\"127.0.0.0/8\", \"10.0.0.0/8\"]")
            .means("Clients that others are asked for; the rest gets REFUSED for such names.")
            .costs("A network that strangers are in makes an open resolver: a weapon for floods, and a way into the cache."),
        setting!(
            Raw,
            "timeout",
            Span::between(Duration::from_millis(100), Duration::from_secs(30)),
            config.dns.forward.timeout
        )
        .means("The longest time for an answer, all servers together; then SERVFAIL, or an answer past its time.")
        .costs("A client that waits for longer than its own patience asks again."),
        setting!(Raw, "max_in_flight", Whole::between(1, 1_000_000), config.dns.forward.max_in_flight)
            .unit("queries a worker")
            .means(
                "Queries that wait for other servers at a time; more get SERVFAIL. Each zone's servers leave as much for the \
                others as they take.",
            )
            .costs("Some kilobytes each, and a file descriptor for each different question."),
        setting!(Raw, "random_case", Flag, config.dns.forward.random_case)
            .means("Whether names are spelt with random case over UDP: who guesses an answer has to guess that too.")
            .costs("A server that changes the case is asked again over TCP."),
        setting!(Raw, "recursion_available", Flag, config.dns.forward.says_available)
            .means(
                "Whether answers about names that are served here, too, say that others are asked (RA), to clients for \
                whom they are. Those of others always say so.",
            )
            .costs("None; some clients take a server without it for one that knows its own names only."),
        setting!(Raw, "ca", Optional(FILE), config.dns.forward.ca)
            .example("\"/etc/pointsman/dns-ca.pem\"")
            .by_default("the system's authorities")
            .means("PEM file with the authorities to trust for tls:// servers.")
            .costs("None."),
        setting!(Raw, "search", Many::new(ZONE, "domains", 16), config.dns.forward.search)
            .example("[\"marathon.mesos\", \"mesos\"]")
            .by_default("none")
            .means(
                "The search path that clients have, in its order. A missing name in the first domain is answered with an \
                alias to what they would find in the others or, if others are asked for it, as it was meant: one question \
                in place of one for each domain. Works for clients for whom others are asked (`servers`, `allow`).",
            )
            .costs("A mistyped name in the first domain is asked of the servers, less that domain."),
    ]
}

fn keeping() -> [Setting<Raw>; 6] {
    let week = 604_800;
    [
        setting!(Raw, "cache_size", Size::between(0, 1 << 36), config.dns.forward.cache_bytes)
            .means("Memory for answers that are kept, shared among the workers; what is not asked for makes room.")
            .costs("Memory, about 500 octets an answer."),
        setting!(Raw, "min_ttl", Seconds::between(0, week), config.dns.forward.min_ttl_seconds)
            .means("Answers are kept for so long even where they say a shorter time.")
            .costs("Changes are seen later than their owners want."),
        setting!(Raw, "max_ttl", Seconds::between(1, week), config.dns.forward.max_ttl_seconds)
            .means("… and for so long even where they say a longer one.")
            .costs("A shorter time brings more queries to the servers."),
        setting!(Raw, "max_negative_ttl", Seconds::between(0, week), config.dns.forward.max_negative_ttl_seconds)
            .means("That there is nothing is kept for so long at most, or as the zone's SOA says.")
            .costs("A new name is not seen for so long by those who asked too early."),
        setting!(
            Raw,
            "max_stale",
            Span::between(Duration::ZERO, Duration::from_secs(604_800)),
            config.dns.forward.max_stale
        )
        .means(
            "How long an answer may be served after its time (with a TTL of 30s) while no server answers; \"0s\": never. \
            That there is nothing is never served so.",
        )
        .costs("Clients may be sent where nothing is any more, in place of an error."),
        setting!(Raw, "prefetch", Flag, config.dns.forward.prefetch)
            .means("Whether names that are asked for often are fetched again shortly before their time.")
            .costs("Some more queries to the servers."),
    ]
}

const ZONE_EXAMPLES: &[Example] = &[Example {
    about: "Names of the company are known to its own servers only.",
    active: false,
    values: &[("zone", "\"corp.example.com\""), ("upstreams", "[\"10.1.0.53\", \"10.2.0.53\"]")],
}];

fn forward_zone() -> Section<ForwardZone> {
    Section::new("zone", "A zone whose names other servers are asked for; the longest that a name lies in counts.")
        .settings([
            setting!(ForwardZone, "zone", ZONE, zone)
                .required()
                .example("\"corp.example.com\"")
                .means("The zone. It does not lie within a zone of a source: those names are answered here.")
                .costs("None."),
            setting!(
                ForwardZone,
                "upstreams",
                Many::new(Upstream, "servers", ForwardConfig::MAX_UPSTREAMS).some(),
                upstreams
            )
            .required()
            .example("[\"10.1.0.53\"]")
            .means("The servers that are asked.")
            .costs("As for `dns.forward.upstreams`."),
        ])
}
