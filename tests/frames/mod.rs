//! Writes and reads frames of HTTP/2 by hand (RFC 9113 section 4, RFC 7541), also those that no library would send.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that cannot go on fails")]

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// Longer than anything a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// The bytes of one frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block without compression: literals that are not indexed (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(name, &mut bytes);
        text(value, &mut bytes);
    }
    bytes
}

fn text(text: &str, bytes: &mut Vec<u8>) {
    // RFC 7541 section 5.1, a prefix of 7 bits.
    match text.len() {
        length @ 0..127 => bytes.push(length as u8),
        length => {
            bytes.push(127);
            let mut left = length - 127;
            while left >= 128 {
                bytes.push((left % 128) as u8 | 128);
                left /= 128;
            }
            bytes.push(left as u8);
        }
    }
    bytes.extend(text.as_bytes());
}

/// The fields of a plain GET.
pub fn get() -> Vec<(&'static str, &'static str)> {
    vec![(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
}

/// A frame as it was read.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status that a header block begins with.
    pub fn status(&self) -> u16 {
        let mut block = &self.payload[..];
        // A change of the dynamic table's size may come first (RFC 7541 section 6.3).
        while let [first, rest @ ..] = block
            && first & 0xe0 == 0x20
        {
            block = rest;
        }
        match block {
            [first @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)],
            // A literal whose name is `:status`: Huffman-coded digits of 5 or 6 bits.
            [0x48 | 0x08 | 0x18, length, rest @ ..] if length & 0x80 != 0 => {
                digits(&rest[..usize::from(length & 0x7f)])
            }
            [0x48 | 0x08 | 0x18, 3, rest @ ..] => std::str::from_utf8(&rest[..3]).unwrap().parse().unwrap(),
            other => panic!("no status in {other:x?}"),
        }
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// Digits in the Huffman code of RFC 7541 appendix B.
fn digits(bytes: &[u8]) -> u16 {
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
    let mut number = 0;
    for _ in 0..3 {
        let mut code: u16 = 0;
        for _ in 0..5 {
            code = code << 1 | u16::from(bits.next().unwrap());
        }
        let digit = match code {
            0..=2 => code,
            _ => (code << 1 | u16::from(bits.next().unwrap())) - 0b01_1001 + 3,
        };
        number = number * 10 + digit;
    }
    number
}

/// A client that sends what it is told.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Sends the preface and `settings` (identifier, value).
    pub async fn start(mut stream: TcpStream, settings: &[(u16, u32)]) -> Self {
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut payload = Vec::new();
        for (identifier, value) in settings {
            payload.extend(identifier.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut client = Self { stream };
        client.send(SETTINGS, 0, 0, &payload).await.unwrap();
        client
    }

    /// # Errors
    /// The proxy has closed the connection.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.write(&frame(kind, flags, stream, payload)).await
    }

    /// # Errors
    /// The proxy has closed the connection.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the proxy takes no more")
    }

    /// A request without a body.
    pub async fn request(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields)).await.unwrap();
    }

    /// The next frame; `None` when the connection has ended. Pings of the proxy are answered.
    pub async fn read(&mut self) -> Option<Frame> {
        let frame = tokio::time::timeout(PATIENCE, self.try_read()).await.expect("a frame, or the end")?;
        if frame.kind == PING && frame.flags & ACK == 0 {
            let _ = self.send(PING, ACK, 0, &frame.payload).await;
        }
        Some(frame)
    }

    async fn try_read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of one of these kinds.
    pub async fn next_of(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let frame = self.read().await?;
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }

    /// What becomes of a request: the status of its answer, or nothing where the stream or the connection ends.
    pub async fn outcome(&mut self, stream: u32) -> Option<u16> {
        loop {
            let frame = self.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await?;
            match frame.kind {
                HEADERS if frame.stream == stream => return Some(frame.status()),
                RST_STREAM if frame.stream == stream => return None,
                GOAWAY if frame.error() != 0 => return None,
                _ => {}
            }
        }
    }

    /// The error code the connection ends with; `None`: it ends without a word.
    pub async fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.read().await {
            if frame.kind == GOAWAY {
                code = Some(frame.error());
            }
        }
        code
    }
}
