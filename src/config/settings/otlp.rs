//! `[proxy.trace.otlp]`.

use std::time::Duration;

use crate::config::kind::duration::Span;
use crate::config::kind::fields::SecretFields;
use crate::config::kind::number::Whole;
use crate::config::kind::text::{ATTRIBUTE, FILE, LINE};
use crate::config::kind::url::HttpUrl;
use crate::config::kind::{Many, Optional};
use crate::config::raw::Raw;
use crate::config::section::Section;
use crate::config::setting::setting;

pub(super) fn section() -> Section<Raw> {
    let hour = Duration::from_secs(3600);
    Section::new(
        "otlp",
        "Spans of requests for a collector of OpenTelemetry (OTLP over HTTP, protobuf), one a request and one a try at an \
        endpoint. Only in a program that was built with `--features otlp`.",
    )
    .settings([
        setting!(Raw, "endpoint", Optional(HttpUrl), config.proxy.trace.otlp.endpoint)
            .example("\"http://127.0.0.1:4318\"")
            .by_default("no spans are made")
            .means(
                "The collector, by `http` or `https`; without a path it is `/v1/traces`. Spans are made of requests whose \
                trace is marked to be recorded; where a request has no trace, one begins here, marked as `sample` has it, \
                whatever `context` says.",
            )
            .costs(
                "Some microseconds and about 1.5 KiB a request that is marked; for others no more than `context = \"begin\"` \
                costs. Clients that mark their traces have them recorded.",
            ),
        setting!(Raw, "headers", SecretFields, config.proxy.trace.otlp.headers)
            .secret()
            .by_default("none")
            .means(
                "Header fields for the collector, `name=value`, with commas or line ends between, the values \
                percent-encoded where they have such (as `OTEL_EXPORTER_OTLP_HEADERS`).",
            )
            .costs("None."),
        setting!(Raw, "ca", Optional(FILE), config.proxy.trace.otlp.ca)
            .example("\"/etc/pointsman/ca.pem\"")
            .by_default("the system's")
            .means("A PEM file with the authorities that answer for an `https` URL.")
            .costs("None."),
        setting!(Raw, "service", LINE, config.proxy.trace.otlp.service)
            .means("What this program is called there (`service.name`).")
            .costs("None."),
        setting!(Raw, "attributes", Many::new(ATTRIBUTE, "attributes", 64), config.proxy.trace.otlp.attributes)
            .example("[\"service.instance.id=edge-1\", \"deployment.environment.name=production\"]")
            .means("What else is said of this program with each batch, `name=value`.")
            .costs("So many octets a batch."),
        setting!(Raw, "queue", Whole::between(32, 1_000_000), config.proxy.trace.otlp.queue)
            .unit("spans")
            .means("Spans that may wait for the collector; beyond that new ones are dropped and counted. No request waits.")
            .costs("Half a KiB each while they wait."),
        setting!(Raw, "batch", Whole::between(1, 100_000), config.proxy.trace.otlp.batch)
            .unit("spans")
            .means("Spans that are sent together at most, as soon as there are so many …")
            .costs("Collectors refuse what is too large for them: often 4 MiB, about 10,000 spans."),
        setting!(Raw, "delay", Span::between(Duration::from_millis(1), hour), config.proxy.trace.otlp.delay)
            .means("… or so long after the first of them.")
            .costs("Spans are seen so much later."),
        setting!(Raw, "timeout", Span::between(Duration::from_millis(1), hour), config.proxy.trace.otlp.timeout)
            .means(
                "For the collector's answer. After none, and after 429, 502, 503 and 504, a batch is sent again, five times \
                in all, as late as `Retry-After` says.",
            )
            .costs("Others wait in the queue meanwhile."),
    ])
}
