//! `[dns]` and `[dns.soa]`.

use std::time::Duration;

use crate::config::checked::IpSource;
use crate::config::kind::duration::{Seconds, Span};
use crate::config::kind::network::{Address, Socket};
use crate::config::kind::number::Whole;
use crate::config::kind::text::LABELS;
use crate::config::kind::{Choice, Flag, Many};
use crate::config::raw::Raw;
use crate::config::section::Section;
use crate::config::setting::{Reload, Setting, setting};

pub(super) fn section() -> Section<Raw> {
    Section::new("dns", "The DNS server. It answers for the zones of the sources and refuses every other name.")
        .settings(answers())
        .settings(transport())
        .section(soa())
}

fn answers() -> [Setting<Raw>; 6] {
    let words = Choice(&[("netinfo", IpSource::Netinfo), ("host", IpSource::Host)]);
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
        setting!(Raw, "ip_sources", Many::new(words, "sources of addresses", 2).some(), config.dns.ip_sources)
            .means(
                "Which address a task's name has, the first that is known: its containers' own (netinfo) or its \
                agent's (host).",
            )
            .costs("None."),
        setting!(Raw, "srv_weight", Whole::between(0, 65_535), config.dns.srv_weight)
            .means("The weight of SRV records.")
            .costs("None."),
        setting!(Raw, "name_unhealthy", Flag, config.dns.name_unhealthy)
            .means("Whether unhealthy tasks are named while a healthy one exists.")
            .costs("Clients are sent to tasks that are known to fail."),
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

fn soa() -> Section<Raw> {
    let year = 31_536_000;
    Section::new("soa", "What the zones' SOA and NS records say; only secondary servers and people read it.").settings(
        [
            setting!(Raw, "nameserver", LABELS, config.dns.nameserver)
                .means("The name server's name, below each zone.")
                .costs("Tasks cannot have this name."),
            setting!(Raw, "nameserver_addresses", Many::new(Address, "addresses", 16), config.dns.nameserver_addresses)
                .example("[\"10.0.0.53\"]")
                .by_default("those of `dns.listen`")
                .means("The name server's addresses, where clients reach it under others than it listens on.")
                .costs("None."),
            setting!(Raw, "contact", LABELS, config.dns.contact)
                .means("Whom to write to, below each zone: the first dot stands for the at sign.")
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
