//! The settings: every key once, with its type, range, unit, meaning, cost and reload rule.
//!
//! This is the only place that knows the file's layout. The parser, the error messages, the sample file, the
//! reference in the README, the API's view and the rules of a reload come from it; defaults stand beside the types
//! in [`super::checked`].

mod access;
mod acme;
mod admin;
mod dns;
mod endpoint_tls;
mod filters;
mod health;
mod otlp;
mod program;
mod proxy;
mod routing;
mod sources;

use std::sync::LazyLock;

use super::raw::Raw;
use super::section::Section;

/// The file, from its root.
pub(crate) fn root() -> &'static Section<Raw> {
    static ROOT: LazyLock<Section<Raw>> = LazyLock::new(|| {
        let root = Section::new("", "")
            .section(program::server())
            .section(program::log())
            .section(program::state())
            .section(sources::section())
            .section(dns::section())
            .section(proxy::section())
            .section(routing::routing())
            .section(health::section())
            .section(routing::upstreams());
        routing::policies(root).section(admin::section())
    });
    &ROOT
}
