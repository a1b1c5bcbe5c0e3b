//! What fuzzing feeds to the readers that stand before everything else, and what holds whatever they read.

use std::net::{IpAddr, Ipv4Addr};
use std::task::{Context, Waker};

use http::header::{AUTHORIZATION, COOKIE, HeaderName};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::authority::{authority_port, authority_to_host};
use super::balance::sticky;
use super::client_address::client_address;
use super::filters::jwt::keys::KeySet;
use super::filters::jwt::token;
use super::forwarded::X_FORWARDED_FOR;
use super::frame_guard::FrameGuard;
use super::head_gate::{HeadGate, Turn};
use super::head_scan::HeadScan;
use super::idle::Watch;
use super::path::{POLICIES, normalise_path};
use super::websocket::frames::Frames;
use crate::config::filter::JwtConfig;
use crate::model::id::ServiceId;

/// Octets of a head.
const HEAD: usize = 1000;
/// Some time.
const NOW: u64 = 1_300_000_000;

/// What is wrong is found however the octets come.
pub fn fuzz_head_scan(data: &[u8]) {
    let scan = |piece: usize| {
        let mut scan = HeadScan::after(0, HEAD);
        data.chunks(piece).for_each(|piece| scan.feed(piece));
        // Of two faults of one line the first that is seen counts.
        scan.violation().map(|violation| violation.request)
    };
    let whole = scan(data.len().max(1));
    assert_eq!(scan(1), whole);
    assert_eq!(scan(7), whole);
}

/// Which request is refused does not depend on how the octets come, and of what is not refused nothing is lost.
pub fn fuzz_head_gate(data: &[u8]) {
    let gated = |piece: usize| {
        let (watch, mut gate, mut out) = (Watch::default(), HeadGate::new(0, HEAD, 100), Vec::new());
        let context = Context::from_waker(Waker::noop());
        for piece in data.chunks(piece) {
            let passed = gate.receive(piece, &watch).expect("no request has begun");
            out.extend_from_slice(&piece[..passed]);
            while gate.turn(&watch, &context).expect("no request has begun") == Turn::Give {
                let mut room = [0; 64];
                let mut buffer = ReadBuf::new(&mut room);
                gate.give(&mut buffer);
                out.extend_from_slice(buffer.filled());
            }
        }
        let most = u32::try_from(data.len()).unwrap_or(u32::MAX).saturating_add(1);
        let refused = (1..=most).find(|number| watch.violation(*number).is_some());
        if refused.is_none() {
            out.extend(gate.let_go());
            assert_eq!(out, data);
        }
        refused
    };
    let whole = gated(data.len().max(1));
    assert_eq!(gated(1), whole);
    assert_eq!(gated(7), whole);
}

/// Frames end where they end, however the octets come.
pub fn fuzz_websocket_frames(data: &[u8]) {
    let walk = |piece: usize| {
        let mut frames = Frames::default();
        data.chunks(piece).for_each(|piece| frames.feed(piece));
        (frames.is_between(), frames.have_closed())
    };
    let whole = walk(data.len().max(1));
    assert_eq!(walk(1), whole);
    assert_eq!(walk(7), whole);
    let (mut frames, mut at) = (Frames::default(), 0);
    while at < data.len() {
        // One octet of the next frame, then the rest of it.
        frames.feed(&data[at..=at]);
        at += 1 + frames.feed_to_end(&data[at + 1..]);
        assert!(frames.is_between() || at == data.len());
    }
}

/// Floods and header blocks are seen however the octets come.
pub fn fuzz_frame_guard(data: &[u8]) {
    let now = Instant::now();
    let walk = |piece: usize| {
        let mut guard = FrameGuard::default();
        let fed = data.chunks(piece).try_for_each(|piece| guard.feed(piece, || now));
        (fed, guard.is_in_block(), guard.blocks())
    };
    let whole = walk(data.len().max(1));
    assert_eq!(walk(1), whole);
    assert_eq!(walk(7), whole);
}

/// A normal form is its own, by each policy.
pub fn fuzz_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for policy in POLICIES {
        if let Ok(normal) = normalise_path(text, policy) {
            assert!(normal.starts_with('/') && normal.is_ascii());
            assert_eq!(normalise_path(&normal, policy).as_deref(), Ok(&*normal));
        }
    }
}

/// A host is its own, and has nothing that a path or a port begins with.
pub fn fuzz_authority(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = authority_port(text);
    if let Ok(host) = authority_to_host(text) {
        assert!(host.starts_with('[') || !host.contains([':', '/', '@', ',', ' ']));
        assert_eq!(authority_to_host(&host).as_deref(), Ok(&*host));
    }
}

/// Who is not trusted says nothing about an address.
pub fn fuzz_client_address(data: &[u8]) {
    let headers = fields(data, &X_FORWARDED_FOR);
    let trusted: Vec<IpNet> = vec![IpNet::from(IpAddr::from([10, 0, 0, 1]))];
    let (stranger, friend) = (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::new(10, 0, 0, 1).into());
    assert_eq!(client_address(stranger, &headers, &trusted), stranger);
    client_address(friend, &headers, &trusted);
}

/// What was taken out is out.
pub fn fuzz_cookies(data: &[u8]) {
    let mut headers = fields(data, &COOKIE);
    let service = ServiceId::new("c".into(), "f", "web", "0");
    let _ = sticky::Session::read(&headers, &service);
    let config = JwtConfig { cookie: Some("t".into()), ..JwtConfig::default() };
    let _ = token::find(&config, &headers);
    sticky::strip(&mut headers);
    assert!(sticky::Session::read(&headers, &service).is_none());
    let once = headers.clone();
    sticky::strip(&mut headers);
    assert_eq!(headers, once);
}

/// A set of keys in the first line, and what says that one of them has signed it. What nobody has signed is not believed.
pub fn fuzz_jwt(data: &[u8]) {
    let Some(at) = data.iter().position(|octet| *octet == b'\n') else { return };
    let (keys, token) = (&data[..at], &data[at + 1..]);
    let config = JwtConfig::default();
    let _ = token::find(&config, &fields(token, &AUTHORIZATION));
    let (Ok(keys), Ok(token)) = (KeySet::parse(keys), std::str::from_utf8(token)) else { return };
    assert!(!keys.is_empty());
    if let Ok(claims) = token::judge(&config, &keys, token, NOW) {
        let _ = token::text_of(&claims, "sub");
    }
    assert!(token::judge(&config, &keys, &format!("{token}A"), NOW).is_err());
}

/// A field a line.
pub(super) fn fields(data: &[u8], name: &HeaderName) -> HeaderMap {
    let values = data.split(|octet| *octet == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    values.map(|value| (name.clone(), value)).collect()
}
