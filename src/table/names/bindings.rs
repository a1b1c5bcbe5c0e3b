//! SVCB and HTTPS records (RFC 9460): a task's port with what it speaks.
//!
//! An HTTPS record tells browsers to use TLS and nothing else (§9.5), so only ports that speak it have one: those whose
//! name or protocol is `https`, or that speak `https` or `h2` by label.

use std::sync::Arc;

use crate::cluster::event::{Binding, RecordData};
use crate::model::service::Protocol;
use crate::table::task::SaidPort;

/// Which record is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// SVCB: any port.
    Any,
    /// HTTPS: ports that speak it.
    Https,
}

/// The record of a port with this number, name and protocol as declared, at `target`.
pub(super) fn binding(
    wanted: Use,
    port: u16,
    (name, transport): (&str, &str),
    said: Option<&SaidPort>,
    target: Arc<str>,
) -> Option<RecordData> {
    let is_secure = said.and_then(|said| said.protocol).is_some_and(Protocol::is_secure);
    let is_https = is_secure || [name, transport].iter().any(|text| text.eq_ignore_ascii_case("https"));
    if wanted == Use::Https && !is_https {
        return None;
    }
    let default = if transport.eq_ignore_ascii_case("udp") { Protocol::Udp } else { Protocol::Http };
    let protocol = said.and_then(|said| said.protocol).unwrap_or(default);
    // §2.4.1: priority 0 would be an alias.
    let priority = said.and_then(|said| said.srv_priority).unwrap_or(0).saturating_add(1);
    let alpn = alpn(protocol, is_https).iter().map(|id| Arc::from(*id)).collect();
    let binding = Box::new(Binding { priority, target, port, alpn });
    Some(match wanted {
        Use::Any => RecordData::Svcb(binding),
        Use::Https => RecordData::Https(binding),
    })
}

/// What a port speaks, as ALPN calls it (RFC 7301 §6, RFC 9113 §3.1).
fn alpn(protocol: Protocol, is_tls: bool) -> &'static [&'static str] {
    match protocol {
        Protocol::Http => &["http/1.1"],
        Protocol::H2c if is_tls => &["h2"],
        // `h2c` is reserved and said by nobody within TLS (RFC 9113 §3.1); without TLS nothing is negotiated.
        Protocol::H2c => &[],
        Protocol::Https => &["http/1.1"],
        Protocol::H2 => &["h2"],
        Protocol::Tcp | Protocol::Tls | Protocol::Udp => &[],
    }
}
