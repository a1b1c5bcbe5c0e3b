//! `[health]`.

use std::time::Duration;

use crate::config::kind::Choice;
use crate::config::kind::duration::Span;
use crate::config::kind::number::Whole;
use crate::config::kind::text::CHECK_PATH;
use crate::config::raw::Raw;
use crate::config::section::Section;
use crate::config::setting::setting;
use crate::model::check::CheckKind;

pub(super) fn section() -> Section<Raw> {
    let kinds = Choice(&[
        ("none", None),
        ("tcp", Some(CheckKind::Tcp)),
        ("http", Some(CheckKind::Http)),
        ("grpc", Some(CheckKind::Grpc)),
    ]);
    let hour = Duration::from_secs(3600);
    Section::new(
        "health",
        "Active checks of endpoints, beside those of the cluster. A checked task is served from its first success on.",
    )
    .settings([
        setting!(Raw, "check", kinds, config.health.check)
            .means("How ports are checked whose labels say nothing; those that speak no HTTP by a connection.")
            .costs("Each instance asks each endpoint so often; an endpoint that cannot answer gets no requests."),
        setting!(Raw, "path", CHECK_PATH, config.health.path)
            .means(
                "The path of HTTP checks, where labels name none. 200 to 399 is healthy; redirects are not followed.",
            )
            .costs("Whatever the endpoints do for it."),
        setting!(Raw, "interval", Span::between(Duration::from_millis(10), hour), config.health.interval)
            .means(
                "How often, a tenth more or less; while nothing is decided at least once a second. A label may say \
                otherwise.",
            )
            .costs("A longer one notices failures later."),
        setting!(Raw, "timeout", Span::between(Duration::from_millis(1), hour), config.health.timeout)
            .means("How long a check may take.")
            .costs("Too short a time takes out endpoints that are only busy."),
        setting!(Raw, "rise", Whole::between(1, 100), config.health.rise)
            .unit("checks")
            .means("Successes in a row that bring an endpoint back; for a new one the first counts.")
            .costs("More brings endpoints back later."),
        setting!(Raw, "fall", Whole::between(1, 100), config.health.fall)
            .unit("checks")
            .means("Failures in a row that take an endpoint out.")
            .costs("More notices failures later; fewer takes endpoints out by chance."),
        setting!(Raw, "concurrency", Whole::between(1, 10_000), config.health.concurrency)
            .unit("checks")
            .means("Checks under way at a time; more wait.")
            .costs("A file descriptor each."),
    ])
}
