//! `[routing]`, `[upstreams]` and `[[policy]]`.

use std::time::Duration;

use super::endpoint_tls;
use crate::config::checked::PolicyConfig;
use crate::config::kind::duration::Span;
use crate::config::kind::network::Network;
use crate::config::kind::number::{Share, Whole};
use crate::config::kind::text::{Host, LINE, PATH_PREFIX, PATTERN, Text};
use crate::config::kind::{Flag, Many};
use crate::config::raw::Raw;
use crate::config::section::{Example, ListRules, Section};
use crate::config::setting::{Reload, Setting, setting};

pub(super) fn routing() -> Section<Raw> {
    let day = Duration::from_secs(86_400);
    Section::new("routing", "Who is served, and when.").settings([
        setting!(Raw, "serve_unverified", Flag, config.routing.serve_unverified)
            .means("Whether tasks with a health check that has given no verdict yet are ready for requests.")
            .costs("Requests may reach tasks that are still starting."),
        setting!(Raw, "unreachable_keep", Span::between(Duration::ZERO, day), config.routing.unreachable_keep)
            .means("How long tasks of a lost agent are kept; most of them still run, cut off from the master alone.")
            .costs("Dead ones are tried for so long, each attempt up to `proxy.limits.connect`."),
        setting!(Raw, "panic", Flag, config.routing.panic)
            .means("Whether all endpoints of a service are served again, and flagged, when none is healthy.")
            .costs("Without it a wrong health check takes the whole service down."),
        setting!(Raw, "panic_threshold", Share, config.routing.panic_threshold)
            .unit("part of the endpoints")
            .means(
                "With `panic`, all are served again also when fewer than this part of a service's endpoints are ready, of those \
                that are ready, unhealthy or cut off; 0: when none is. Those that start or end are not counted, and names \
                in DNS go by health alone.",
            )
            .costs("Requests meet unhealthy endpoints then. Without it the few that pass a wrong check get all the load."),
        Setting::new(
            "groups",
            Many::new(LINE, "groups", 1024),
            |raw: &Raw| raw.config.routing.groups.iter().map(|group| group.as_str().into()).collect(),
            |raw: &mut Raw, groups| raw.config.routing.groups = strings(&groups),
        )
        .example("[\"external\"]")
        .by_default("every group that a label names")
        .means(
            "Groups whose `pointsman.group` or `HAPROXY_GROUP` labels are served. \"*\": all, and apps without a group \
                too: their `HAPROXY_*` labels count, and their service ports are listened on (marathon-lb: `--group '*'`).",
        )
        .costs("With \"*\" every app of Marathon's has its service ports at the proxy, whether or not it asks for them."),
        setting!(Raw, "drain_time", Span::between(Duration::ZERO, day), config.routing.drain_time)
            .means(
                "How long what is under way (requests, streams, WebSockets) may go on at an endpoint that goes away; \
                then it is cut. A label may say less.",
            )
            .costs("The cluster should give a killed task as long (its kill policy's grace period)."),
        setting!(Raw, "require_port_resource", Flag, config.routing.require_port_resource)
            .means("Whether a task's port must lie in its `ports` resource when its agent's address is used.")
            .costs("Without it a task can draw requests to a port of its agent that is not its own."),
        setting!(Raw, "strict_mode", Flag, config.routing.strict_mode)
            .means("Whether ports that `HAPROXY_GROUP` selects are off unless `HAPROXY_{n}_ENABLED` is true.")
            .costs("None."),
    ])
}

pub(super) fn upstreams() -> Section<Raw> {
    Section::new("upstreams", "Which addresses requests may be sent to.")
        .settings([setting!(
            Raw,
            "allowed_networks",
            Many::new(Network, "networks", 1024),
            config.upstreams.allowed_networks
        )
        .example("[\"172.16.0.0/12\", \"fd00::/8\"]")
        .means(
            "Networks of endpoints beside the agents' own addresses: those of the containers. Loopback, link-local, \
                multicast and unspecified addresses, and the program's own sockets (also those on the unspecified \
                address, by an address that the machine has at the start or the reload), are refused unless listed here.",
        )
        .costs("Whoever can start a task can have requests sent to any address in them.")])
        .list(
            &ListRules { most: 1000, reload: Reload::Live, examples: endpoint_tls::EXAMPLES },
            endpoint_tls::section(),
            |raw: &Raw| &raw.config.upstreams.tls,
            |raw: &mut Raw| &mut raw.config.upstreams.tls,
        )
}

pub(super) fn policies(root: Section<Raw>) -> Section<Raw> {
    root.list(
        &ListRules { most: 1000, reload: Reload::Live, examples: POLICY_EXAMPLES },
        policy(),
        |raw: &Raw| &raw.config.policies,
        |raw: &mut Raw| &mut raw.config.policies,
    )
}

const POLICY_EXAMPLES: &[Example] = &[Example {
    about: "A team may claim hosts below its own domain only.",
    active: false,
    values: &[("frameworks", "[\"marathon-team-a\"]"), ("hosts", "[\"*.team-a.example.com\"]")],
}];

fn policy() -> Section<PolicyConfig> {
    Section::new(
        "policy",
        "Who may claim what. The first entry that speaks of a task's framework, principal, role and app \
            decides; a task that none speaks of may claim nothing. No entry at all: everybody may claim \
            everything.",
    )
    .settings([
        texts("frameworks", (PATTERN, "patterns"), |p| &p.frameworks, |p, v| p.frameworks = v)
            .example("[\"marathon-team-a\"]")
            .by_default("all")
            .means("Names of frameworks it speaks of; `*` at an end matches any text.")
            .costs(TIME),
        texts("principals", (PATTERN, "patterns"), |p| &p.principals, |p, v| p.principals = v)
            .example("[\"team-a-*\"]")
            .by_default("all")
            .means("Principals of frameworks it speaks of.")
            .costs(TIME),
        texts("roles", (PATTERN, "patterns"), |p| &p.roles, |p, v| p.roles = v)
            .example("[\"team-a\"]")
            .by_default("all")
            .means("Roles it speaks of: the task's own where its cluster tells it, else any of its framework's.")
            .costs(TIME),
        texts("apps", (PATTERN, "patterns"), |p| &p.apps, |p, v| p.apps = v)
            .example("[\"/team-a/*\"]")
            .by_default("all")
            .means(
                "Apps it speaks of, as their framework calls them: by id (`/team-a/*`) or by the name of their tasks \
                    (`*.team-a`). The service that labels name chooses no entry; a task may join it only where the \
                    same entry speaks of it, too.",
            )
            .costs(TIME),
        setting!(PolicyConfig, "hosts", Many::new(Host, "hosts", 1024), hosts)
            .required()
            .example("[\"*.team-a.example.com\"]")
            .means("Hosts that may be claimed, wildcards for all below; `[]`: none.")
            .costs(TIME),
        texts("paths", (PATH_PREFIX, "path prefixes"), |p| &p.paths, |p, v| p.paths = v)
            .example("[\"/team-a\"]")
            .by_default("all")
            .means("Path prefixes that may be claimed, with everything below.")
            .costs(TIME),
        setting!(PolicyConfig, "ports", Many::new(Whole::between(1, 65_535), "ports", 1024), ports)
            .example("[10080]")
            .by_default("all")
            .means("Ports of the proxy that may be claimed (`proxy.service_ports`).")
            .costs(TIME),
        texts("names", (PATTERN, "patterns"), |p| &p.names, |p, v| p.names = v)
            .example("[\"*.team-a.mesos\"]")
            .by_default("all")
            .means(
                "DNS names of tasks that may be made. Where any entry lists names, a task that no entry speaks of makes none.",
            )
            .costs(TIME),
    ])
}

/// What every rule costs.
const TIME: &str = "Time for each task whose labels change.";

/// A list of texts whose field is a list of `String`.
fn texts(
    key: &'static str,
    (kind, plural): (Text, &'static str),
    get: fn(&PolicyConfig) -> &Vec<String>,
    set: fn(&mut PolicyConfig, Vec<String>),
) -> Setting<PolicyConfig> {
    Setting::new(
        key,
        Many::new(kind, plural, 1024),
        move |policy| get(policy).iter().map(|text| text.as_str().into()).collect(),
        move |policy, texts| set(policy, strings(&texts)),
    )
}

fn strings(texts: &[std::sync::Arc<str>]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}
