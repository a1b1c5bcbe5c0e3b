//! Upgraded connections (WebSocket and others, RFC 9110 section 7.8).
//!
//! Bytes flow only after the endpoint itself has answered 101 (CVE-2024-23326): before that the client is a client of
//! HTTP, and nothing it sends is passed on unparsed. Over HTTP/2 a WebSocket is a stream (RFC 8441), on either side. An upgrade to `h2c` is never passed on: behind it, requests would
//! escape every rule.

use std::cell::Cell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, Version};
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::debug;

use super::abort::Abort;
use super::account::Account;
use super::drain;
use super::headers::has_token;
use super::http2::duplex::Duplex;
use super::leash;
use super::reason::Reason;
use super::websocket;

/// The protocol's name.
pub const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// Octets copied at once, each way.
pub(super) const BUFFER: usize = 16 * 1024;

/// What the client asks to be upgraded to; `None` if it does not, or only to what is not passed on.
///
/// # Errors
/// The reason of the answer, if its WebSocket handshake is not valid.
pub fn requested(head: &Parts, has_body: bool) -> Result<Option<HeaderValue>, Reason> {
    if is_over_http2(head) {
        return Ok(Some(WEBSOCKET));
    }
    // RFC 9110 section 7.8: from HTTP/1.0 it is ignored, and so it is for HTTP/2. With a body it may be ignored.
    if head.version != Version::HTTP_11 || has_body || !has_token(&head.headers, &CONNECTION, "upgrade") {
        return Ok(None);
    }
    let mut values = head.headers.get_all(UPGRADE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Ok(None);
    };
    let Ok(text) = value.to_str() else {
        return Ok(None);
    };
    if text.split(',').any(|token| token.trim().to_ascii_lowercase().starts_with("h2c")) {
        return Ok(None);
    }
    if text.trim().eq_ignore_ascii_case("websocket") && !is_handshake(head) {
        return Err(Reason::BadUpgrade);
    }
    Ok(Some(value.clone()))
}

/// Says that a request was an extended CONNECT.
#[derive(Clone, Copy, Debug)]
struct OverHttp2;

/// Turns a WebSocket's extended CONNECT (RFC 8441 section 5) into the handshake that it stands for, so that every rule holds
/// for it as for any other; `key` is the handshake's. Whether it was one.
pub fn translate(head: &mut Parts, key: [u8; 16]) -> bool {
    let asked = head.extensions.get::<Protocol>().map(Protocol::as_str);
    if head.method != Method::CONNECT || head.version != Version::HTTP_2 || asked != Some("websocket") {
        return false;
    }
    head.method = Method::GET;
    let key = HeaderValue::from_str(&BASE64_STANDARD.encode(key)).expect("base64 is visible ASCII");
    head.headers.insert(SEC_WEBSOCKET_KEY, key);
    head.extensions.insert(OverHttp2);
    true
}

/// Whether a request was an extended CONNECT.
pub fn is_over_http2(head: &Parts) -> bool {
    head.extensions.get::<OverHttp2>().is_some()
}

/// Whether this is the protocol's name.
pub fn is_websocket(protocol: &HeaderValue) -> bool {
    protocol.as_bytes().trim_ascii().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
}

/// What an endpoint has to answer to a key (RFC 6455 section 4.2.2).
pub fn accept(key: &HeaderValue) -> HeaderValue {
    let sum = Sha1::new().chain_update(key.as_bytes()).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    HeaderValue::from_str(&BASE64_STANDARD.encode(sum)).expect("base64 is visible ASCII")
}

/// RFC 6455 section 4.1: GET, and a key of 16 octets in base64.
fn is_handshake(head: &Parts) -> bool {
    let mut keys = head.headers.get_all("sec-websocket-key").iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return false;
    };
    let key = key.as_bytes();
    let digits = |bytes: &[u8]| bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
    head.method == Method::GET && key.len() == 24 && digits(&key[..22]) && key.ends_with(b"==")
}

/// Writes the fields of an upgrade: they are of one hop, so the header rules have removed them.
pub fn write(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// One side of a tunnel that is to be.
#[derive(Debug)]
pub enum Side {
    /// A connection that hyper has read.
    Upgrade(OnUpgrade),
    /// A stream, which is given when its heads were exchanged.
    Stream(oneshot::Receiver<Duplex>),
    /// A stream whose heads were exchanged.
    Open(Duplex),
}

/// A side that could not be had.
#[derive(Debug, thiserror::Error)]
enum SideFault {
    #[error(transparent)]
    Upgrade(#[from] hyper::Error),
    #[error("the stream is over")]
    Stream(#[from] oneshot::error::RecvError),
}

impl Side {
    async fn open(self) -> Result<Opened, SideFault> {
        Ok(match self {
            Self::Upgrade(upgrade) => Opened::Upgraded(TokioIo::new(upgrade.await?)),
            Self::Stream(stream) => Opened::Stream(stream.await?),
            Self::Open(stream) => Opened::Stream(stream),
        })
    }
}

/// One side of a tunnel.
#[derive(Debug)]
enum Opened {
    Upgraded(TokioIo<Upgraded>),
    Stream(Duplex),
}

impl Opened {
    fn io(self: Pin<&mut Self>) -> Pin<&mut dyn Both> {
        match self.get_mut() {
            Self::Upgraded(io) => Pin::new(io),
            Self::Stream(stream) => Pin::new(stream),
        }
    }
}

/// What can be read from and written to.
trait Both: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

impl AsyncRead for Opened {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.io().poll_read(context, buffer)
    }
}

impl AsyncWrite for Opened {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.io().poll_write(context, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(context)
    }
}

impl Abort for Opened {
    fn abort(self) {
        match self {
            Self::Upgraded(io) => io.abort(),
            Self::Stream(stream) => stream.abort(),
        }
    }
}

/// A tunnel that is to be: both its sides, and what ends it.
#[derive(Debug)]
pub struct Tunnel {
    /// The client's side.
    pub client: Side,
    /// The endpoint's side.
    pub endpoint: Side,
    /// The longest silence of both.
    pub idle: Duration,
    /// Draining of whoever carries it.
    pub drain: drain::DrainSignal,
    /// Of a WebSocket: the key of the frame by which the endpoint is told that it has to end.
    pub websocket: Option<[u8; 4]>,
}

impl Tunnel {
    /// Copies both ways until both sides have ended, nothing was said for too long, or draining (ours or the endpoint's)
    /// ends it; the peers of a WebSocket are told then. `account` counts the request as in flight until the end.
    pub async fn run(self, mut account: Account) {
        let Self { client, endpoint, idle, mut drain, websocket } = self;
        let mut hold = account.hold.take();
        let is_cut = Cell::new(false);
        let mut end = pin!(async {
            tokio::select! {
                () = drain::expired(&mut drain) => {}
                () = leash::cut(hold.as_mut()) => is_cut.set(true),
            }
        });
        let copied = Copied::default();
        let sides = tokio::select! {
            sides = async { tokio::try_join!(client.open(), endpoint.open()) } => Some(sides),
            () = &mut end => None,
        };
        match (sides, websocket) {
            (Some(Ok((client, endpoint))), Some(mask)) => {
                websocket::relay(client, endpoint, idle, &copied, mask, end).await;
            }
            (Some(Ok((client, endpoint))), None) => tokio::select! {
                () = copy_both(client, endpoint, idle, &copied) => {}
                () = end => {}
            },
            (Some(Err(error)), _) => debug!(%error, "upgrade failed"),
            (None, _) => {}
        }
        if is_cut.get() {
            account.drained();
        }
        account.copied(copied.from_client.octets.get(), copied.from_endpoint.octets.get());
        account.complete();
    }
}

/// What was copied, each way.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) from_client: Way,
    pub(super) from_endpoint: Way,
}

/// One way.
#[derive(Debug, Default)]
pub(super) struct Way {
    octets: Cell<u64>,
    /// Whoever sends on it has said all, and that was passed on.
    is_whole: Cell<bool>,
}

impl Way {
    /// So many octets were read.
    pub(super) fn note(&self, octets: usize) {
        self.octets.set(self.octets.get() + octets as u64);
    }

    /// Whether whoever sends on it has said all, and that was passed on.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole.get()
    }

    /// Whoever sends on it has said all; whether that was passed on.
    pub(super) fn ends(&self, passed: bool) {
        self.is_whole.set(passed);
    }
}

/// Copies both ways until both have ended or nothing was said for `idle`. What breaks one way breaks both: neither side
/// may take what it got for the whole, nor wait for one that is gone.
pub(super) async fn copy_both(client: impl Abort, endpoint: impl Abort, idle: Duration, copied: &Copied) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_endpoint, mut to_endpoint) = tokio::io::split(endpoint);
    let activity = Activity::new();
    let (forth, back) = (&copied.from_client, &copied.from_endpoint);
    let both = async {
        tokio::try_join!(
            copy(&mut from_client, &mut to_endpoint, &activity, (forth, back), idle),
            copy(&mut from_endpoint, &mut to_client, &activity, (back, forth), idle)
        )
    };
    let is_broken = tokio::select! {
        ended = both => ended.is_err(),
        () = activity.silence(idle) => false,
    };
    if is_broken {
        from_client.unsplit(to_client).abort();
        from_endpoint.unsplit(to_endpoint).abort();
    }
}

/// One side is gone, or does not read.
pub(super) struct Broken;

/// One way. Its end is passed on, the other way goes on: half-closed connections are whole for the other half.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    activity: &Activity,
    (way, back): (&Way, &Way),
    stall: Duration,
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await.map_err(|_| Broken)?;
        if length == 0 {
            break;
        }
        activity.note();
        way.note(length);
        let written = async {
            to.write_all(&buffer[..length]).await?;
            to.flush().await
        };
        if !matches!(timeout(stall, written).await, Ok(Ok(()))) {
            // Who has said all may want to hear no more, and what it said is whole.
            return if back.is_whole() { Ok(()) } else { Err(Broken) };
        }
    }
    // A side that is gone has ended its own way, too, and that tells how.
    way.ends(matches!(timeout(stall, to.shutdown()).await, Ok(Ok(()))));
    Ok(())
}

/// When something was last said, either way.
pub(super) struct Activity(Cell<tokio::time::Instant>);

impl Activity {
    pub(super) fn new() -> Self {
        Self(Cell::new(tokio::time::Instant::now()))
    }

    pub(super) fn note(&self) {
        self.0.set(tokio::time::Instant::now());
    }

    pub(super) async fn silence(&self, idle: Duration) {
        loop {
            let until = self.0.get() + idle;
            tokio::time::sleep_until(until).await;
            if self.0.get() + idle <= until {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn check(version: Version, lines: &[(&str, &str)], expected: Result<Option<&str>, Reason>) {
        let mut request = Request::builder().version(version).uri("/");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let found = requested(&request.body(()).unwrap().into_parts().0, false);
        assert_eq!(
            found
                .map(|value| value.map(|v| v.to_str().unwrap().to_owned()))
                .as_ref()
                .map(Option::as_deref)
                .map_err(|r| *r),
            expected,
            "{lines:?}"
        );
    }

    const ASKS: (&str, &str) = ("connection", "keep-alive, Upgrade");
    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");

    #[test]
    fn upgrades_are_passed_on_where_they_are_allowed() {
        let socket = ("upgrade", "websocket");
        check(Version::HTTP_11, &[ASKS, socket, KEY], Ok(Some("websocket")));
        check(Version::HTTP_11, &[ASKS, ("upgrade", "custom/1")], Ok(Some("custom/1")));
        check(Version::HTTP_11, &[socket, KEY], Ok(None));
        check(Version::HTTP_10, &[ASKS, socket, KEY], Ok(None));
        check(Version::HTTP_2, &[ASKS, socket, KEY], Ok(None));
        check(Version::HTTP_11, &[ASKS, ("upgrade", "h2c")], Ok(None));
        check(Version::HTTP_11, &[ASKS, ("upgrade", "websocket, h2c"), KEY], Ok(None));
    }

    #[test]
    fn websocket_handshakes_are_checked_rfc6455_4_1() {
        let socket = ("upgrade", "WebSocket");
        check(Version::HTTP_11, &[ASKS, socket], Err(Reason::BadUpgrade));
        check(Version::HTTP_11, &[ASKS, socket, ("sec-websocket-key", "short==")], Err(Reason::BadUpgrade));
        check(Version::HTTP_11, &[ASKS, socket, KEY, KEY], Err(Reason::BadUpgrade));
    }
}
