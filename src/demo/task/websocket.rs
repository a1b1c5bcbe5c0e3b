//! A WebSocket that echoes (RFC 6455): enough to see upgrades pass, with every frame checked and bounded.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::task::TaskTracker;

use crate::demo::serve::Closing;

/// RFC 6455 section 1.3: appended to the key before hashing.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Octets of a frame that is echoed; a longer one ends the connection with status 1009.
const FRAME_LIMIT: usize = 64 * 1024;

const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();
const PROTOCOL_ERROR: [u8; 2] = 1002_u16.to_be_bytes();
const TOO_BIG: [u8; 2] = 1009_u16.to_be_bytes();

/// Answers an upgrade to WebSocket, and echoes on the connection from then on.
pub(super) fn accept(
    request: &mut Request<Incoming>,
    owner: &TaskTracker,
    closing: &Closing,
) -> Option<Response<Full<Bytes>>> {
    let upgrade = request.headers().get(UPGRADE)?.to_str().ok()?;
    let key = request.headers().get(SEC_WEBSOCKET_KEY).filter(|_| upgrade.eq_ignore_ascii_case("websocket"))?;
    let accept = accept_value(key.as_bytes());
    let upgrading = hyper::upgrade::on(request);
    let closing = closing.clone();
    owner.spawn(async move {
        let echoing = async {
            match upgrading.await {
                Ok(upgraded) => echo(TokioIo::new(upgraded), &closing).await,
                Err(error) => Err(std::io::Error::other(error)),
            }
        };
        tokio::select! {
            () = closing.cut.cancelled() => {}
            ended = echoing => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an echoing WebSocket broke");
                }
            }
        }
    });
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(accept).ok()?);
    Some(answer)
}

fn accept_value(key: &[u8]) -> String {
    BASE64_STANDARD.encode(Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize())
}

/// Echoes frames until a close, a fault, or the task's end.
async fn echo(mut stream: TokioIo<Upgraded>, closing: &Closing) -> std::io::Result<()> {
    loop {
        // Reading is not cancel safe, but after the drain nothing is read any more.
        let frame = tokio::select! {
            frame = read_frame(&mut stream) => frame?,
            () = closing.drain.cancelled() => Err(GOING_AWAY),
        };
        let (first, payload) = match frame {
            Ok((first, payload)) => (first, payload),
            Err(status) => (FINAL | CLOSE, status.to_vec()),
        };
        match first & 0x0f {
            PING => write_frame(&mut stream, FINAL | PONG, &payload).await?,
            PONG => {}
            CLOSE => {
                write_frame(&mut stream, FINAL | CLOSE, &payload).await?;
                return stream.shutdown().await;
            }
            _ => write_frame(&mut stream, first, &payload).await?,
        }
    }
}

/// A client's frame: its first octet and unmasked payload, or the status to close with.
async fn read_frame(stream: &mut TokioIo<Upgraded>) -> std::io::Result<Result<(u8, Vec<u8>), [u8; 2]>> {
    let first = stream.read_u8().await?;
    let second = stream.read_u8().await?;
    let length = match second & 0x7f {
        126 => stream.read_u16().await?.into(),
        127 => stream.read_u64().await?,
        short => short.into(),
    };
    // RFC 6455 section 5.1: "a server MUST close the connection upon receiving a frame that is not masked".
    if second & 0x80 == 0 {
        return Ok(Err(PROTOCOL_ERROR));
    }
    let Some(length) = usize::try_from(length).ok().filter(|length| *length <= FRAME_LIMIT) else {
        return Ok(Err(TOO_BIG));
    };
    let mask = stream.read_u32().await?.to_be_bytes();
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    for (octet, mask) in payload.iter_mut().zip(mask.into_iter().cycle()) {
        *octet ^= mask;
    }
    Ok(Ok((first, payload)))
}

async fn write_frame(stream: &mut TokioIo<Upgraded>, first: u8, payload: &[u8]) -> std::io::Result<()> {
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < 126 => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    stream.write_all(&frame).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    #[test]
    fn accepts_as_the_standard_has_it() {
        // RFC 6455 section 1.3, the example.
        assert_eq!(super::accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
