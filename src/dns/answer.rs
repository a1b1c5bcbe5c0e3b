//! From a query's octets to its answer's. Pure: names, settings and the random source are passed in.
//!
//! Here is decided what kind of answer a message gets at all; what a name's answer consists of is decided in
//! [`super::resolve`].

use std::net::IpAddr;

use super::resolve::Resolution;
use super::source::NameSource;
use super::wire::query::{self, Edns, Ignored, Incoming, Query, Rejection};
use super::wire::response::{EdnsReply, Response};
use super::wire::{CLASS_IN, MAX_MESSAGE, MIN_UDP_SIZE, Rcode, Transport, record_type};
use crate::config::checked::DnsConfig;

/// What answers are made from.
pub struct Authority<'a, N> {
    /// The names and settings.
    pub names: &'a N,
    /// The addresses that this server listens on, for the name server's name where none are configured.
    pub own_addresses: &'a [IpAddr],
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was written.
    Ignored(Ignored),
    /// An answer was written.
    Answered(Answered),
}

/// An answer, as metrics see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The type asked for; `None`: there was no readable question.
    pub record_type: Option<u16>,
    /// The response code.
    pub rcode: Rcode,
    /// Whether something that was asked for did not fit.
    pub truncated: bool,
    /// Records left out because no message can express them.
    pub impossible_records: u32,
    /// Whether the same question gets the same octets as long as the names do not change.
    pub is_repeatable: bool,
    /// The name lies in none of our zones: others may know it.
    pub is_outside: bool,
}

impl Answered {
    /// An answer in which nothing is out of the ordinary.
    pub(crate) fn plain(record_type: Option<u16>, rcode: Rcode) -> Self {
        Self { record_type, rcode, truncated: false, impossible_records: 0, is_repeatable: false, is_outside: false }
    }
}

/// Answers `message`: appends the answer to `out`, or nothing where there is none.
pub fn answer<N: NameSource>(
    authority: &Authority<'_, N>,
    transport: Transport,
    message: &[u8],
    random: &mut fastrand::Rng,
    out: &mut Vec<u8>,
) -> Outcome {
    match query::parse(message) {
        Incoming::Ignored(reason) => Outcome::Ignored(reason),
        Incoming::Rejected(rejection) => {
            Outcome::Answered(reject(authority.names.config(), transport, &rejection, out))
        }
        Incoming::Query(query) => Outcome::Answered(respond(authority, transport, message, &query, random, out)),
    }
}

fn reject(config: &DnsConfig, transport: Transport, rejection: &Rejection<'_>, out: &mut Vec<u8>) -> Answered {
    let Rejection { header, question, edns, rcode } = rejection;
    let reply = EdnsReply::to(*edns, advertised_size(config));
    Response::begin(out, *header, question.as_ref(), reply, limit(config, transport, *edns)).finish(*rcode, 0);
    Answered::plain(question.as_ref().map(|question| question.record_type), *rcode)
}

fn respond<N: NameSource>(
    authority: &Authority<'_, N>,
    transport: Transport,
    message: &[u8],
    query: &Query<'_>,
    random: &mut fastrand::Rng,
    out: &mut Vec<u8>,
) -> Answered {
    let config = authority.names.config();
    let reply = EdnsReply::to(query.edns, advertised_size(config));
    let limit = limit(config, transport, query.edns);
    let mut response = Response::begin(out, query.header, Some(&query.question), reply, limit);
    let mut answered = Answered::plain(Some(query.question.record_type), Rcode::NoError);
    if let Some(rcode) = refusal(authority.names, query) {
        answered.rcode = rcode;
        match &query.tsig {
            Some(tsig) if rcode == Rcode::NotAuth => response.finish_unknown_key(message, tsig),
            _ => response.finish(rcode, 0),
        }
        return answered;
    }
    let resolution = Resolution::resolve(authority, &query.question, random, &mut response);
    answered.rcode = resolution.rcode;
    answered.truncated = resolution.truncated;
    answered.impossible_records = resolution.impossible_records;
    answered.is_repeatable = resolution.is_repeatable();
    answered.is_outside = resolution.is_outside;
    response.finish(resolution.rcode, resolution.flags());
    answered
}

/// Why a well-formed query is not looked up.
fn refusal<N: NameSource>(names: &N, query: &Query<'_>) -> Option<Rcode> {
    // RFC 6891 §6.1.3: before anything else, since the rest may mean something else in another version.
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return Some(Rcode::BadVers);
    }
    if query.tsig.is_some() {
        return Some(Rcode::NotAuth);
    }
    match query.question.record_type {
        // No data, so nothing that could be asked for.
        record_type::OPT | record_type::TSIG => return Some(Rcode::FormErr),
        // RFC 8906 §3.1.1 wants unknown types answered; these are known, and are no data but services.
        record_type::TKEY | record_type::MAILA | record_type::MAILB => return Some(Rcode::NotImp),
        record_type::AXFR | record_type::IXFR => return Some(Rcode::Refused),
        _ => {}
    }
    if query.question.class != CLASS_IN {
        return Some(Rcode::Refused);
    }
    // Nobody may conclude from silence that a name does not exist, nor that its zone is not ours.
    (!names.is_ready()).then_some(Rcode::ServFail)
}

/// The largest message over UDP, in both directions.
fn advertised_size(config: &DnsConfig) -> u16 {
    config.max_udp_size.max(MIN_UDP_SIZE)
}

fn limit(config: &DnsConfig, transport: Transport, edns: Option<Edns>) -> usize {
    match (transport, edns) {
        (Transport::Tcp, _) => MAX_MESSAGE,
        (Transport::Udp, None) => usize::from(MIN_UDP_SIZE),
        // RFC 6891 §6.2.3: less than 512 means 512.
        (Transport::Udp, Some(edns)) => usize::from(edns.udp_size.clamp(MIN_UDP_SIZE, advertised_size(config))),
    }
}
