//! `[server]`, `[log]`, `[state]`.

use std::time::Duration;

use crate::config::checked::LogFormat;
use crate::config::kind::duration::Span;
use crate::config::kind::number::Whole;
use crate::config::kind::text::{FILE, FILTER};
use crate::config::kind::{Choice, Kind, Optional};
use crate::config::raw::Raw;
use crate::config::section::Section;
use crate::config::setting::{Reload, Setting, setting};

pub(super) fn server() -> Section<Raw> {
    let hours = |hours: u64| Duration::from_secs(3600 * hours);
    Section::new("server", "The program as a whole: threads, stopping, what it remembers.").settings([
        setting!(Raw, "workers", Whole::between(1, 1024), config.server.workers)
            .unit("threads")
            .by_default("one per core")
            .example("4")
            .means(
                "Worker threads. Each has its own sockets, connection pool and share of the metrics; nothing on \
                a request's path is shared between them.",
            )
            .costs(
                "Every worker keeps its own connections to upstreams; more of them than cores adds switches and \
                no throughput.",
            )
            .reloads(Reload::Restart),
        setting!(Raw, "drain_time", Span::between(Duration::ZERO, hours(24)), config.server.drain_time)
            .means("How long requests in flight may go on after SIGTERM before their connections are closed.")
            .costs("The stop takes up to this long; give the service manager a longer one before it kills."),
        setting!(
            Raw,
            "service_retention",
            Span::between(Duration::ZERO, hours(24 * 30)),
            config.server.service_retention
        )
        .means(
            "How long a service with its routes and claims outlives its last task; until then it answers \
                503 and NODATA.",
        )
        .costs("A name that is free again can be claimed by others only after this time."),
        setting!(Raw, "history", Whole::between(1, 10_000), config.server.history)
            .unit("table versions")
            .means("Recent versions of the table, with what changed and why, that the API can show and compare.")
            .costs("Memory for what differs between the versions kept."),
        setting!(Raw, "hand_over", Optional(FILE), config.server.hand_over)
            .example("\"/run/pointsman/hand-over\"")
            .by_default("none: nobody can take over")
            .means(
                "A Unix socket at which `pointsman serve --take-over` asks the running process for its listening sockets, \
                so that the program is replaced without losing a request.",
            )
            .costs("Whoever runs as the same user, or as root, can have them.")
            .reloads(Reload::Restart),
    ])
}

pub(super) fn log() -> Section<Raw> {
    let words = Choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    Section::new("log", "Log lines, on standard error.").settings([
        text("level", FILTER, |raw| &raw.config.log.level, |raw, level| raw.config.log.level = level)
            .means(
                "The least level that is written (off, error, warn, info, debug, trace), or a filter with \
                levels by module.",
            )
            .costs("`debug` writes a line for every query and request."),
        setting!(Raw, "format", words, config.log.format)
            .means("Lines for people, or one JSON object a line for machines.")
            .costs("JSON lines are about twice as long.")
            .reloads(Reload::Restart),
    ])
}

pub(super) fn state() -> Section<Raw> {
    let day = Duration::from_secs(86_400);
    Section::new(
        "state",
        "What is known of the clusters, kept on disk: after a restart it is served until the sources have spoken.",
    )
    .settings([
        setting!(Raw, "path", Optional(FILE), config.state.path)
            .example("\"/var/lib/pointsman/state\"")
            .means("The file. Without it nothing is kept, and a start waits for the sources.")
            .costs("Disk space of some hundred octets a task; the folder must be writable by the program alone.")
            .reloads(Reload::Restart),
        setting!(Raw, "interval", Span::between(Duration::from_secs(1), day), config.state.interval)
            .means("The shortest time between two writes; the file is written at the stop too.")
            .costs("A longer time means an older state after a crash; a shorter one writes more."),
    ])
}

/// A setting whose field is a `String`.
fn text(
    key: &'static str,
    kind: impl Kind<Value = std::sync::Arc<str>>,
    get: fn(&Raw) -> &String,
    set: fn(&mut Raw, String),
) -> Setting<Raw> {
    Setting::new(key, kind, move |raw| get(raw).as_str().into(), move |raw, text| set(raw, text.to_string()))
}
