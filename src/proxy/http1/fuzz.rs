//! What fuzzing feeds to the short way of requests and answers: whatever it passes on, the long way passes on alike, and so does
//! whoever reads it next.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Version, response};
use hyper::ext::ReasonPhrase;

use super::direct;
use super::head::{AnswerHead, Found, PlainHead, read_answer, read_request, take_none};
use super::rewrite::{Passing, Said};
use super::stays;
use super::upstream::{Framing, framing};
use crate::config::checked::{ProxyConfig, ProxyLimits, Underscores};
use crate::proxy::forward::check_answer;
use crate::proxy::forwarded::{self, Hop, address_text};
use crate::proxy::gate::admit;
use crate::proxy::headers;
use crate::proxy::path::POLICIES;

/// Fields of a request, so that there is room for those that are written beside them.
const FIELDS: usize = 64;
/// Octets of a request, for the same reason.
const LONGEST: usize = 8 * 1024;
/// Whoever asks.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The proxy's name.
const VIA: &str = "p";
/// A moment.
const NOW: HeaderValue = HeaderValue::from_static("now");

/// What the short way makes of a request.
struct Short {
    head: Vec<u8>,
    closes: bool,
    host: String,
    path: String,
}

/// What is read as a plain request by both ways has one target, one host and one end in either, and leaves with the same
/// fields.
pub fn fuzz_requests(data: &[u8]) {
    let peer_text = address_text(PEER);
    let hop = Hop {
        peer: PEER,
        peer_text: &peer_text,
        trusted: false,
        client: PEER,
        secure: false,
        authority: "",
        port: 8080,
        certificate: None,
    };
    if data.len() > LONGEST {
        return;
    }
    let take = |head: &[u8], parsed: &httparse::Request<'_, '_>| {
        let is_get = parsed.method == Some("GET");
        let found = if is_get { direct::write(head.len(), parsed, hop, VIA) } else { None };
        found.map(|found| Short {
            head: found.head,
            closes: found.closes,
            host: found.host.into_owned(),
            path: found.path.to_owned(),
        })
    };
    let Found::Direct(short, length) = read_request(data, FIELDS, take) else { return };
    let long = plain(data, FIELDS).expect("the long way finds it plain");
    assert_eq!((long.length, long.closes), (length, short.closes));
    let authority = check_admitted(&short, &long);
    let again = plain(&short.head, usize::MAX).expect("what leaves is plain");
    assert_eq!(again.length, short.head.len());
    assert_eq!(again.parts.uri, long.parts.uri);
    for underscores in [Underscores::Aliases, Underscores::Drop] {
        let mut expected = long.parts.headers.clone();
        headers::prepare_request(&mut expected, Version::HTTP_11, VIA, underscores);
        let authority_text = authority.to_str().expect("it was admitted");
        forwarded::write(&mut expected, &Hop { authority: authority_text, ..hop });
        expected.insert(HOST, authority.clone());
        assert_eq!(again.parts.headers, expected);
    }
}

fn plain(data: &[u8], fields: usize) -> Option<Box<PlainHead>> {
    match read_request(data, fields, take_none) {
        Found::Plain(head) => Some(head),
        _ => None,
    }
}

/// By each policy of paths the gate lets it pass, with the same target; returns the authority.
fn check_admitted(short: &Short, long: &PlainHead) -> HeaderValue {
    let mut authority = HeaderValue::from_static("");
    let limits = ProxyLimits { head_fields: FIELDS, ..ProxyLimits::default() };
    let mut proxy = ProxyConfig { limits, ..ProxyConfig::default() };
    for policy in POLICIES {
        proxy.paths = policy;
        let admitted = admit(&long.parts, &proxy).expect("the long way lets it pass");
        assert_eq!((admitted.path(), &*admitted.host()), (&*short.path, &*short.host));
        let line = format!("GET {} HTTP/1.1\r\n", admitted.target);
        assert!(short.head.starts_with(line.as_bytes()), "{line}");
        authority = admitted.authority;
    }
    authority
}

/// An answer that is passed on by the short way ends where the long way ends it, keeps its connection as long, and comes out
/// with the same fields.
pub fn fuzz_answers(data: &[u8]) {
    for closes in [false, true] {
        let mut written = Vec::new();
        let passing = Passing { via: VIA, closes };
        let Some((length, said)) = direct::read_answer(data, &passing, || NOW, &mut written) else { return };
        let long = whole(data).expect("the long way reads it");
        assert_eq!((long.length, long.parts.status), (length, said.status));
        check_said(&said, &long.parts);
        let again = whole(&written).expect("what comes out is an answer");
        assert_eq!((again.length, again.parts.status), (written.len(), said.status));
        assert_eq!(again.parts.headers, prepared(&long.parts, &said, closes));
        let reason =
            |head: &AnswerHead| head.parts.extensions.get::<ReasonPhrase>().map(|reason| reason.as_bytes().to_vec());
        assert_eq!(reason(&again), reason(&long));
    }
}

fn whole(data: &[u8]) -> Option<AnswerHead> {
    read_answer(data).ok().flatten()
}

/// What the short way says of an answer is what the long way finds.
fn check_said(said: &Said, long: &response::Parts) {
    check_answer(long, false).expect("the long way finds one meaning");
    let end = |framing: &Framing| match framing {
        Framing::Length(length) => (0, *length),
        Framing::Chunked(_) => (1, 0),
        Framing::UntilClosed => (2, 0),
    };
    let framing = framing(long, false).expect("the long way finds its end");
    assert_eq!(end(&said.framing), end(&framing));
    let stays_open = long.version == Version::HTTP_11 && !headers::has_token(&long.headers, &CONNECTION, "close");
    assert_eq!(said.is_kept, stays_open && !matches!(framing, Framing::UntilClosed));
    assert_eq!(said.stays, stays::of(&long.headers));
}

/// The fields with which the long way passes it on.
fn prepared(long: &response::Parts, said: &Said, closes: bool) -> HeaderMap {
    let mut fields = long.headers.clone();
    headers::prepare_answer(&mut fields, Version::HTTP_11, VIA);
    fields.entry(DATE).or_insert(NOW);
    let length = fields.remove(CONTENT_LENGTH);
    match said.framing {
        _ if said.status.as_u16() == 204 => {}
        _ if said.status.as_u16() == 304 => drop(length.map(|length| fields.insert(CONTENT_LENGTH, length))),
        Framing::Length(length) => drop(fields.insert(CONTENT_LENGTH, length.into())),
        _ => drop(fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
    }
    if closes {
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    fields
}
