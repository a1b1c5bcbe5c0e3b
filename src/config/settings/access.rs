//! `[proxy.access_log]` and `[proxy.trace]`.

use super::otlp;
use crate::config::access::{AccessFormat, TraceContext};
use crate::config::kind::number::{Share, Whole};
use crate::config::kind::text::FILE;
use crate::config::kind::{Choice, Flag, Optional};
use crate::config::raw::Raw;
use crate::config::section::Section;
use crate::config::setting::setting;

pub(super) fn log() -> Section<Raw> {
    let formats = Choice(&[
        ("json", AccessFormat::Json),
        ("extended", AccessFormat::Extended),
        ("combined", AccessFormat::Combined),
        ("common", AccessFormat::Common),
    ]);
    Section::new(
        "access_log",
        "What was asked of the proxy and answered, a line a request. No request waits for it: what comes faster than it is \
        written is dropped and counted.",
    )
    .settings([
        setting!(Raw, "path", Optional(FILE), config.proxy.access_log.path)
            .example("\"/var/log/pointsman/access.log\"")
            .by_default("no access log")
            .means(
                "A file for the lines, or `/dev/stdout`. Rename it to begin a new one: it is looked for each second. A \
                request is written when the last octet of its answer is sent, or when it is given up.",
            )
            .costs("About a microsecond a request, and 500 octets on disk."),
        setting!(Raw, "format", formats, config.proxy.access_log.format)
            .means(
                "One JSON object a line; the Common Log Format; with referrer and user agent (combined); or with reason \
                code, service, endpoint, version, table and timings behind these (extended).",
            )
            .costs("JSON lines are about twice as long."),
        setting!(Raw, "sample", Whole::between(1, 1_000_000), config.proxy.access_log.sample)
            .unit("requests")
            .means("Each so many requests of a worker are written down; 1: all.")
            .costs("With 1, all that the log costs."),
        setting!(Raw, "errors", Flag, config.proxy.access_log.errors)
            .means(
                "Whether requests that went wrong (5xx, refused by the proxy, cut, given up by the client) are written \
                down whatever `sample` says.",
            )
            .costs("As many lines as there are errors; what is too much is dropped and counted."),
        setting!(Raw, "query", Flag, config.proxy.access_log.query)
            .means("Whether targets are written with their query.")
            .costs("Secrets that somebody puts there stand in the log."),
    ])
}

pub(super) fn trace() -> Section<Raw> {
    let contexts = Choice(&[("pass", TraceContext::Pass), ("begin", TraceContext::Begin)]);
    Section::new("trace", "How requests are followed through several services (W3C Trace Context).").settings([
        setting!(Raw, "context", contexts, config.proxy.trace.context)
            .means(
                "`traceparent` and `tracestate` are passed on as they come (pass); where a request has none that is \
                valid, a trace begins here (begin).",
            )
            .costs("With \"begin\", a hundred octets a request to the endpoints."),
        setting!(Raw, "sample", Share, config.proxy.trace.sample)
            .unit("part of the traces")
            .means("So many of the traces that begin here are marked to be recorded.")
            .costs("Services that go by the mark record so many."),
    ])
    .section(otlp::section())
}
