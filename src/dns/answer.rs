//! From a query's octets to its answer's. Pure: names, settings and the random source are passed in.
//!
//! Here is decided what kind of answer a message gets at all; what a name's answer consists of is decided in
//! [`super::resolve`].

use std::net::IpAddr;

use super::asker::Asker;
use super::chaos;
use super::cookies::{self, Verdict};
use super::resolve::Resolution;
use super::source::NameSource;
use super::tsig::{Fault, Session};
use super::wire::name::NameText;
use super::wire::option::{ExtendedError, code};
use super::wire::query::{self, Edns, Ignored, Incoming, Query, Question, Rejection};
use super::wire::response::{EdnsReply, Response};
use super::wire::{CLASS_CH, CLASS_IN, MAX_MESSAGE, MIN_UDP_SIZE, Rcode, Transport, flags, record_type};
use crate::config::checked::{CookiePolicy, DnsConfig, Place};
use crate::model::zone_slot::ZoneSlot;

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
    /// It consists of aliases, the last of which leads to a name that lies in none of our zones.
    pub leads_outside: bool,
    /// The name lies in a zone of others, whose servers are named: these may be asked.
    pub is_delegated: bool,
    /// A cookie has shown that answers to this address reach the asker.
    pub is_proven: bool,
    /// The zone that was asked; `None`: it did not come to that.
    pub zone: Option<ZoneSlot>,
    /// Where in the name asked for the one begins whose wildcard answered.
    pub wildcard: Option<usize>,
}

impl Answered {
    /// An answer in which nothing is out of the ordinary.
    pub(crate) fn plain(record_type: Option<u16>, rcode: Rcode) -> Self {
        Self {
            record_type,
            rcode,
            truncated: false,
            impossible_records: 0,
            is_repeatable: false,
            is_outside: false,
            leads_outside: false,
            is_delegated: false,
            is_proven: false,
            zone: None,
            wildcard: None,
        }
    }
}

/// Answers `message`: appends the answer to `out`, or nothing where there is none.
pub fn answer<N: NameSource>(
    authority: &Authority<'_, N>,
    asker: impl Into<Asker>,
    message: &[u8],
    random: &mut fastrand::Rng,
    out: &mut Vec<u8>,
) -> Outcome {
    let (asker, mut text) = (asker.into(), NameText::default());
    match query::parse(message, &mut text) {
        Incoming::Ignored(reason) => Outcome::Ignored(reason),
        Incoming::Rejected(rejection) => Outcome::Answered(reject(authority.names.config(), &asker, &rejection, out)),
        Incoming::Query(query) => Outcome::Answered(respond(authority, &asker, message, &query, random, out)),
    }
}

fn reject(config: &DnsConfig, asker: &Asker, rejection: &Rejection<'_>, out: &mut Vec<u8>) -> Answered {
    let Rejection { header, question, edns, rcode } = rejection;
    let (reply, cookie) = edns_reply(config, asker, *edns);
    let rcode = if *rcode == Rcode::NoError { judged(config, asker, *edns, cookie) } else { None }.unwrap_or(*rcode);
    Response::begin(out, *header, question.as_ref(), reply, limit(config, asker, *edns)).finish(rcode, 0);
    let record_type = question.as_ref().map(|question| question.record_type);
    Answered { is_proven: cookie.is_proven, ..Answered::plain(record_type, rcode) }
}

fn respond<N: NameSource>(
    authority: &Authority<'_, N>,
    asker: &Asker,
    message: &[u8],
    query: &Query<'_>,
    random: &mut fastrand::Rng,
    out: &mut Vec<u8>,
) -> Answered {
    let config = authority.names.config();
    let (reply, cookie) = edns_reply(config, asker, query.edns);
    let limit = limit(config, asker, query.edns);
    // A cookie is its client's and of its time; the time that a connection stays is told to those who ask.
    let is_of_the_moment = query.edns.is_some_and(|edns| {
        let options = edns.options;
        options.cookie.is_some() || options.subnet.is_some()
    });
    let place = place(config, asker, query.edns);
    let mut response = Response::begin(out, query.header, Some(&query.question), reply, limit);
    let mut answered = Answered::plain(Some(query.question.record_type), Rcode::NoError);
    answered.is_proven = cookie.is_proven;
    let refused = refusal(authority.names, query, judged(config, asker, query.edns, cookie));
    if let Some((rcode, reason)) = refused {
        answered.rcode = rcode;
        if let Some(reason) = reason {
            response.explain(reason);
        }
        match &query.tsig {
            Some(tsig) if rcode == Rcode::NotAuth => response.finish_bad_signature(message, tsig, Fault::BadKey),
            _ => response.finish(rcode, 0),
        }
        return answered;
    }
    if query.question.class == CLASS_CH {
        let (rcode, set) = chaos::resolve(config, &query.question, &mut response);
        answered.rcode = rcode;
        response.finish(rcode, set);
        return answered;
    }
    let resolution = Resolution::resolve(authority, &query.question, place, random, &mut response);
    answered.rcode = resolution.rcode;
    answered.truncated = resolution.truncated;
    answered.impossible_records = resolution.impossible_records;
    answered.is_repeatable = resolution.is_repeatable() && !is_of_the_moment && place.is_none();
    answered.is_outside = resolution.is_outside;
    answered.leads_outside = resolution.leads_outside && !resolution.truncated;
    answered.is_delegated = resolution.is_delegated;
    answered.zone = Some(resolution.zone);
    answered.wildcard = resolution.wildcard;
    match resolution.rcode {
        Rcode::Refused => response.explain(ExtendedError::NotAuthoritative),
        Rcode::ServFail => response.explain(ExtendedError::NotReady),
        _ => {}
    }
    response.finish(resolution.rcode, resolution.flags());
    answered
}

/// Refuses `message`, whatever it asks: its client may not ask here.
pub(crate) fn prohibit(config: &DnsConfig, asker: &Asker, message: &[u8], out: &mut Vec<u8>) -> Outcome {
    let mut text = NameText::default();
    match query::parse(message, &mut text) {
        Incoming::Ignored(reason) => Outcome::Ignored(reason),
        Incoming::Rejected(rejection) => Outcome::Answered(reject(config, asker, &rejection, out)),
        Incoming::Query(query) => {
            let mut response = begin(config, asker, &query, out);
            response.explain(ExtendedError::Prohibited);
            response.finish(Rcode::Refused, 0);
            Outcome::Answered(Answered::plain(Some(query.question.record_type), Rcode::Refused))
        }
    }
}

/// The answer that says nothing but that it is truncated, so that the client asks again in a way that proves its address.
pub(crate) fn write_truncated(config: &DnsConfig, asker: &Asker, query: &Query<'_>, rcode: Rcode, out: &mut Vec<u8>) {
    begin(config, asker, query, out).finish(rcode, flags::TC);
}

fn begin<'b>(config: &DnsConfig, asker: &Asker, query: &Query<'_>, out: &'b mut Vec<u8>) -> Response<'b> {
    let (reply, _) = edns_reply(config, asker, query.edns);
    Response::begin(out, query.header, Some(&query.question), reply, limit(config, asker, query.edns))
}

/// Refuses a query whose signature is no good (RFC 8945 §5.2): to one that was only signed at another time, signed.
pub(crate) fn write_bad_signature(
    config: &DnsConfig,
    asker: &Asker,
    message: &[u8],
    query: &Query<'_>,
    (fault, session): (Fault, Option<Session>),
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let response = begin(config, asker, query, out);
    match (session, &query.tsig) {
        (Some(mut session), _) => {
            response.finish(Rcode::NotAuth, 0);
            session.sign(u64::from(asker.now), start, out);
        }
        (None, Some(tsig)) => response.finish_bad_signature(message, tsig, fault),
        (None, None) => response.finish(Rcode::NotAuth, 0),
    }
}

/// An answer that says nothing but a code, with the reason where there is one to say.
pub(crate) fn write_code(
    config: &DnsConfig,
    asker: &Asker,
    query: &Query<'_>,
    (rcode, reason): (Rcode, Option<ExtendedError>),
    out: &mut Vec<u8>,
) {
    let mut response = begin(config, asker, query, out);
    if let Some(reason) = reason {
        response.explain(reason);
    }
    response.finish(rcode, 0);
}

/// The answer to a name that is missing, as an alias of `target`, where the client's search path leads.
pub(crate) fn write_alias<N: NameSource>(
    authority: &Authority<'_, N>,
    asker: &Asker,
    query: &Query<'_>,
    target: std::sync::Arc<str>,
    random: &mut fastrand::Rng,
    out: &mut Vec<u8>,
) -> Answered {
    let config = authority.names.config();
    let mut response = begin(config, asker, query, out);
    let place = place(config, asker, query.edns);
    // It holds while the name is missing.
    let ttl = config.ttl_seconds.min(config.negative_ttl_seconds);
    let alias = Some((target, ttl));
    let resolution = Resolution::resolve_by(authority, &query.question, alias, place, random, &mut response);
    response.finish(resolution.rcode, resolution.flags());
    Answered {
        truncated: resolution.truncated,
        impossible_records: resolution.impossible_records,
        leads_outside: resolution.leads_outside && !resolution.truncated,
        ..Answered::plain(Some(query.question.record_type), resolution.rcode)
    }
}

/// RFC 1995 §2: what changed since a version does not fit a datagram; the SOA alone says that there is a newer one.
pub(crate) fn write_soa<N: NameSource>(
    authority: &Authority<'_, N>,
    asker: &Asker,
    query: &Query<'_>,
    random: &mut fastrand::Rng,
    out: &mut Vec<u8>,
) -> Rcode {
    let mut response = begin(authority.names.config(), asker, query, out);
    let question = Question { record_type: record_type::SOA, ..query.question };
    let resolution = Resolution::resolve(authority, &question, None, random, &mut response);
    response.finish(resolution.rcode, resolution.flags());
    resolution.rcode
}

/// What the answer says by EDNS, and what the client's cookie comes to.
pub(crate) fn edns_reply(config: &DnsConfig, asker: &Asker, edns: Option<Edns>) -> (Option<EdnsReply>, Verdict) {
    let Some(mut reply) = EdnsReply::to(edns, advertised_size(config)) else { return (None, Verdict::default()) };
    let options = edns.map(|edns| edns.options).unwrap_or_default();
    let verdict = cookies::judge(config, asker, options.cookie.as_ref());
    if let Some(cookie) = &verdict.reply {
        reply.add(code::COOKIE, cookie);
    }
    if options.nsid
        && let Some(identity) = &config.identity
    {
        reply.add(code::NSID, identity.as_bytes());
    }
    // RFC 7871 §7.2.1: repeated with what the answer holds for; 0 is for everybody.
    if let Some(subnet) = options.subnet.filter(|_| is_believed(config, asker)) {
        let scope = match subnet.source {
            0 => 0,
            bits => config.locality.place_of_network(subnet.address, bits).1,
        };
        reply.add(code::CLIENT_SUBNET, &subnet.reply(scope));
    }
    // RFC 7828 §3.2.2: over UDP there is nothing to keep alive, and the option is ignored.
    if options.keepalive && asker.transport.is_stream() {
        let tenths = u16::try_from(config.tcp_idle.as_millis() / 100).unwrap_or(u16::MAX);
        reply.add(code::TCP_KEEPALIVE, &tenths.to_be_bytes());
    }
    // RFC 7830 §6: in the clear, padding hides nothing.
    if options.padding && asker.transport.is_encrypted() {
        reply.pad();
    }
    (Some(reply), verdict)
}

/// Where the client is that an answer is for: as a resolver that is believed says, else by the address that asks.
fn place<'c>(config: &'c DnsConfig, asker: &Asker, edns: Option<Edns>) -> Option<&'c Place> {
    let said = edns.and_then(|edns| edns.options.subnet).filter(|_| is_believed(config, asker));
    match said {
        // RFC 7871 §7.1.2: a prefix of 0 is a wish to be treated like everybody.
        Some(subnet) if subnet.source == 0 => None,
        Some(subnet) => config.locality.place_of_network(subnet.address, subnet.source).0,
        None => config.locality.place_of(asker.client?),
    }
}

fn is_believed(config: &DnsConfig, asker: &Asker) -> bool {
    asker.client.is_some_and(|client| config.locality.trusts(client))
}

/// RFC 7873 §5.2.3 and §5.2.4: a client that knows cookies and shows none of ours over UDP is given one and told to ask
/// again, where that is wanted. Those that do not know cookies are answered.
fn judged(config: &DnsConfig, asker: &Asker, edns: Option<Edns>, cookie: Verdict) -> Option<Rcode> {
    let is_wanted = config.cookies == CookiePolicy::Require && asker.transport == Transport::Udp;
    let has_cookie = edns.is_some_and(|edns| edns.options.cookie.is_some());
    (is_wanted && has_cookie && cookie.reply.is_some() && !cookie.is_proven).then_some(Rcode::BadCookie)
}

/// Why a well-formed query is not looked up, and what there is to say about it.
fn refusal<N: NameSource>(
    names: &N,
    query: &Query<'_>,
    cookie: Option<Rcode>,
) -> Option<(Rcode, Option<ExtendedError>)> {
    // RFC 6891 §6.1.3: before anything else, since the rest may mean something else in another version.
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return Some((Rcode::BadVers, None));
    }
    if query.tsig.is_some() {
        return Some((Rcode::NotAuth, None));
    }
    if let Some(rcode) = cookie {
        return Some((rcode, None));
    }
    match query.question.record_type {
        // No data, so nothing that could be asked for.
        record_type::OPT | record_type::TSIG => return Some((Rcode::FormErr, None)),
        // RFC 8906 §3.1.1 wants unknown types answered; these are known, and are no data but services.
        record_type::TKEY | record_type::MAILA | record_type::MAILB => return Some((Rcode::NotImp, None)),
        record_type::AXFR | record_type::IXFR => return Some((Rcode::Refused, Some(ExtendedError::Prohibited))),
        _ => {}
    }
    match query.question.class {
        CLASS_IN if names.is_ready() => None,
        // Nobody may conclude from silence that a name does not exist, nor that its zone is not ours.
        CLASS_IN => Some((Rcode::ServFail, Some(ExtendedError::NotReady))),
        CLASS_CH => None,
        _ => Some((Rcode::Refused, None)),
    }
}

/// The largest message over UDP, in both directions.
fn advertised_size(config: &DnsConfig) -> u16 {
    config.max_udp_size.max(MIN_UDP_SIZE)
}

/// The most octets that an answer may have.
pub(crate) fn limit(config: &DnsConfig, asker: &Asker, edns: Option<Edns>) -> usize {
    let whole = match (asker.transport, edns) {
        (Transport::Tcp | Transport::Tls | Transport::Https, _) => MAX_MESSAGE,
        (Transport::Udp, None) => usize::from(MIN_UDP_SIZE),
        // RFC 6891 §6.2.3: less than 512 means 512.
        (Transport::Udp, Some(edns)) => usize::from(edns.udp_size.clamp(MIN_UDP_SIZE, advertised_size(config))),
    };
    whole.saturating_sub(asker.reserved)
}
