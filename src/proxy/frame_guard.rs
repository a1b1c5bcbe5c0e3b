//! Walks the frames that an HTTP/2 client sends and says when they are an attack.
//!
//! Pure. The connection's state ([`super::http2`]) bounds what costs memory; frames that cost only time, or an answer each,
//! it takes without end. Here each kind has a bucket of tokens: what honest clients do stays far below, whoever empties one is
//! cut off (CVE-2019-9512, -9513, -9515, -9517, -9518, CVE-2023-44487, CVE-2024-27316). Whether a header block has
//! begun and not ended is known here too, so that it has a deadline.

use tokio::time::Instant;

/// The octets before the first frame (RFC 9113 section 3.4).
const PREFACE: u32 = 24;
/// Octets of a frame's head (RFC 9113 section 4.1).
const HEAD: usize = 9;
/// CONTINUATION frames of one header block; the list itself is far smaller than they could be (CVE-2024-27316).
const CONTINUATIONS: u32 = 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const PADDED: u8 = 0x8;
const END_HEADERS: u8 = 0x4;

/// Requests of one connection that may be reset before their answer has begun, each that gets an answer making good for
/// one: what a burst may not do at once may not be done for ever either (CVE-2023-44487).
pub const ABANDONED: u32 = 50;

/// What a client sent too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flood {
    /// Each wants an answer (CVE-2019-9512).
    #[error("too many PING frames")]
    Ping,
    /// Each wants an answer (CVE-2019-9515).
    #[error("too many SETTINGS frames")]
    Settings,
    /// PRIORITY, and types that are not known: work without effect (CVE-2019-9513).
    #[error("too many PRIORITY or unknown frames")]
    Priority,
    /// Requests that are reset as soon as they are made (CVE-2023-44487).
    #[error("too many RST_STREAM frames")]
    Reset,
    /// More requests that are reset before their answer than requests that are let be answered (CVE-2023-44487).
    #[error("too many requests that were reset before their answer")]
    Abandoned,
    /// DATA without content (CVE-2019-9518).
    #[error("too many empty DATA frames")]
    EmptyData,
    /// A header block in very many pieces (CVE-2024-27316).
    #[error("too many CONTINUATION frames")]
    Continuation,
    /// What the connection's state bounds by itself: resets that it is made to send (CVE-2025-8671), and lists of fields without
    /// end (CVE-2026-49975).
    #[error("too many faults of streams, or fields")]
    Library,
}

impl Flood {
    /// Every kind, in the order of [`Flood::index`].
    pub const ALL: [Self; 8] = [
        Self::Ping,
        Self::Settings,
        Self::Priority,
        Self::Reset,
        Self::Abandoned,
        Self::EmptyData,
        Self::Continuation,
        Self::Library,
    ];

    /// Its position in [`Flood::ALL`].
    pub fn index(self) -> u8 {
        self as u8
    }
}

/// The walker of one connection.
#[derive(Debug)]
pub struct FrameGuard {
    place: Place,
    /// A header block has begun and not ended.
    is_in_block: bool,
    continuations: u32,
    /// Header blocks that have begun.
    blocks: u32,
    ping: Bucket,
    settings: Bucket,
    priority: Bucket,
    reset: Bucket,
    empty_data: Bucket,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// So many octets are skipped; a header block may end behind them.
    Skip {
        left: u32,
        ends_block: bool,
    },
    Head {
        octets: [u8; HEAD],
        have: usize,
    },
    /// The next octet says how much of what follows, so many octets with itself, is padding (RFC 9113 section 6.1).
    Padding {
        length: u32,
        flags: u8,
    },
}

const FRAME: Place = Place::Head { octets: [0; HEAD], have: 0 };

impl Default for FrameGuard {
    fn default() -> Self {
        Self {
            place: Place::Skip { left: PREFACE, ends_block: false },
            is_in_block: false,
            continuations: 0,
            blocks: 0,
            ping: Bucket::new(100, 10),
            settings: Bucket::new(50, 5),
            priority: Bucket::new(100, 10),
            reset: Bucket::new(100, 100),
            empty_data: Bucket::new(100, 10),
        }
    }
}

impl FrameGuard {
    /// Looks at the next bytes of the connection; `now` is asked only where a frame is counted.
    ///
    /// # Errors
    /// What there is too much of.
    pub fn feed(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Flood> {
        while !bytes.is_empty() {
            match &mut self.place {
                Place::Skip { left, ends_block } => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[here..];
                    *left -= u32::try_from(here).unwrap_or(*left);
                    if *left == 0 {
                        self.is_in_block &= !*ends_block;
                        self.place = FRAME;
                    }
                }
                Place::Head { octets, have } => {
                    let here = (HEAD - *have).min(bytes.len());
                    octets[*have..*have + here].copy_from_slice(&bytes[..here]);
                    *have += here;
                    bytes = &bytes[here..];
                    if *have == HEAD {
                        let octets = *octets;
                        self.frame(octets, &now)?;
                    }
                }
                Place::Padding { length, flags } => {
                    let (length, flags) = (*length - 1, *flags);
                    let content = length.saturating_sub(bytes[0].into());
                    self.data(content, flags, &now)?;
                    bytes = &bytes[1..];
                    self.place = match length {
                        0 => FRAME,
                        left => Place::Skip { left, ends_block: false },
                    };
                }
            }
        }
        Ok(())
    }

    /// Whether a header block has begun and not ended.
    pub fn is_in_block(&self) -> bool {
        self.is_in_block
    }

    /// Header blocks that have begun.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    fn frame(&mut self, [a, b, c, kind, flags, ..]: [u8; HEAD], now: &impl Fn() -> Instant) -> Result<(), Flood> {
        let length = u32::from_be_bytes([0, a, b, c]);
        let has = |flag| flags & flag != 0;
        let mut ends_block = false;
        match kind {
            DATA if has(PADDED) && length > 0 => {
                self.place = Place::Padding { length, flags };
                return Ok(());
            }
            DATA => self.data(length, flags, now)?,
            HEADERS | CONTINUATION => {
                ends_block = has(END_HEADERS);
                self.head_frame(kind)?;
            }
            RST_STREAM => self.reset.take(now).ok_or(Flood::Reset)?,
            SETTINGS if !has(ACK) => self.settings.take(now).ok_or(Flood::Settings)?,
            PING if !has(ACK) => self.ping.take(now).ok_or(Flood::Ping)?,
            SETTINGS | PING | WINDOW_UPDATE => {}
            _ => self.priority.take(now).ok_or(Flood::Priority)?,
        }
        self.place = match length {
            0 => {
                self.is_in_block &= !ends_block;
                FRAME
            }
            left => Place::Skip { left, ends_block },
        };
        Ok(())
    }

    /// DATA with so much content.
    fn data(&mut self, content: u32, flags: u8, now: &impl Fn() -> Instant) -> Result<(), Flood> {
        match content {
            0 if flags & END_STREAM == 0 => self.empty_data.take(now).ok_or(Flood::EmptyData),
            0 => Ok(()),
            // What carries a request pays for the probes and hints around it: some clients send one with each.
            _ => {
                self.ping.give();
                Ok(())
            }
        }
    }

    fn head_frame(&mut self, kind: u8) -> Result<(), Flood> {
        if kind == CONTINUATION {
            self.continuations += 1;
            return if self.continuations > CONTINUATIONS { Err(Flood::Continuation) } else { Ok(()) };
        }
        self.continuations = 0;
        self.is_in_block = true;
        self.blocks = self.blocks.wrapping_add(1);
        self.ping.give();
        self.priority.give();
        Ok(())
    }
}

/// So many at once, and so many a second afterwards.
#[derive(Debug)]
struct Bucket {
    most: u32,
    per_second: u32,
    tokens: u32,
    filled: Option<Instant>,
}

impl Bucket {
    fn new(most: u32, per_second: u32) -> Self {
        Self { most, per_second, tokens: most, filled: None }
    }

    /// Takes a token; the clock is asked only when there is none left.
    fn take(&mut self, now: &impl Fn() -> Instant) -> Option<()> {
        if self.filled.is_none() {
            self.filled = Some(now());
        }
        if self.tokens == 0 {
            self.fill(now());
        }
        self.tokens = self.tokens.checked_sub(1)?;
        Some(())
    }

    fn give(&mut self) {
        self.tokens = (self.tokens + 1).min(self.most);
    }

    fn fill(&mut self, now: Instant) {
        let Some(filled) = self.filled else { return };
        let elapsed = now.saturating_duration_since(filled).as_millis();
        let earned = elapsed.saturating_mul(u128::from(self.per_second)) / 1000;
        if earned > 0 {
            self.tokens = u32::try_from(earned).unwrap_or(u32::MAX).min(self.most);
            self.filled = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Frames until the guard refuses, at most `most`.
    fn survives(frames: &[Vec<u8>], most: usize) -> Result<usize, (usize, Flood)> {
        let now = Instant::now();
        let mut guard = FrameGuard::default();
        guard.feed(&[0; PREFACE as usize], || now).unwrap();
        for number in 0..most {
            for frame in frames {
                guard.feed(frame, || now).map_err(|flood| (number, flood))?;
            }
        }
        Ok(most)
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_has_its_bound() {
        assert_eq!(survives(&[frame(PING, 0, &[0; 8])], 1000), Err((100, Flood::Ping)));
        assert_eq!(survives(&[frame(PING, ACK, &[0; 8])], 1000), Ok(1000));
        assert_eq!(survives(&[frame(SETTINGS, 0, &[])], 1000), Err((50, Flood::Settings)));
        assert_eq!(survives(&[frame(2, 0, &[0; 5])], 1000), Err((100, Flood::Priority)));
        assert_eq!(survives(&[frame(0xfe, 0, &[])], 1000), Err((100, Flood::Priority)));
        assert_eq!(survives(&[frame(DATA, 0, &[])], 1000), Err((100, Flood::EmptyData)));
        assert_eq!(survives(&[frame(DATA, END_STREAM, &[])], 1000), Ok(1000));
        // Padding is no content, and pays for nothing.
        assert_eq!(survives(&[frame(DATA, PADDED, &[0])], 1000), Err((100, Flood::EmptyData)));
        assert_eq!(survives(&[frame(DATA, PADDED, &[3, 0, 0, 0])], 1000), Err((100, Flood::EmptyData)));
        assert_eq!(survives(&[frame(DATA, PADDED, &[2, 9, 0, 0])], 1000), Ok(1000));
        let ping = frame(PING, 0, &[0; 8]);
        let padded = frame(DATA, PADDED | END_STREAM, &[2, 0, 0]);
        assert_eq!(survives(&[padded, ping.clone()], 1000), Err((100, Flood::Ping)));
        assert_eq!(survives(&[frame(DATA, PADDED, &[2, 9, 0, 0]), ping], 1000), Ok(1000));
        let reset = [frame(HEADERS, END_HEADERS, &[0; 3]), frame(RST_STREAM, 0, &[0; 4])];
        assert_eq!(survives(&reset, 1000), Err((100, Flood::Reset)));
        let pieces: Vec<_> =
            std::iter::once(frame(HEADERS, 0, &[0])).chain((0..30).map(|_| frame(CONTINUATION, 0, &[0]))).collect();
        assert_eq!(survives(&pieces, 1), Err((0, Flood::Continuation)));
    }

    #[test]
    fn kinds_have_their_positions() {
        for (position, flood) in Flood::ALL.iter().enumerate() {
            assert_eq!(usize::from(flood.index()), position);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn honest_clients_stay_below() {
        // A probe with each piece of data, a hint with each request (gRPC, browsers).
        let busy = [
            frame(HEADERS, END_HEADERS, &[0; 20]),
            frame(0x10, 0, &[0; 6]),
            frame(DATA, 0, &[0; 100]),
            frame(PING, 0, &[0; 8]),
            frame(WINDOW_UPDATE, 0, &[0; 4]),
        ];
        assert_eq!(survives(&busy, 5000), Ok(5000));
    }

    #[tokio::test(start_paused = true)]
    async fn time_fills_the_bucket() {
        let mut guard = FrameGuard::default();
        guard.feed(&[0; PREFACE as usize], Instant::now).unwrap();
        for _ in 0..100 {
            guard.feed(&frame(PING, 0, &[0; 8]), Instant::now).unwrap();
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..10 {
            guard.feed(&frame(PING, 0, &[0; 8]), Instant::now).unwrap();
        }
        assert_eq!(guard.feed(&frame(PING, 0, &[0; 8]), Instant::now), Err(Flood::Ping));
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_header_block_is_known_in_pieces_of_any_size() {
        for piece in [1, 2, 5, 1000] {
            let mut guard = FrameGuard::default();
            let mut feed = |bytes: &[u8]| {
                bytes.chunks(piece).for_each(|piece| guard.feed(piece, Instant::now).unwrap());
                (guard.is_in_block(), guard.blocks())
            };
            feed(&[0; PREFACE as usize]);
            let whole = frame(HEADERS, END_HEADERS, &[0; 30]);
            assert_eq!(feed(&whole[..20]), (true, 1));
            assert_eq!(feed(&whole[20..]), (false, 1));
            assert_eq!(feed(&frame(HEADERS, 0, &[0; 30])), (true, 2));
            assert_eq!(feed(&frame(CONTINUATION, END_HEADERS, &[])), (false, 2));
            assert_eq!(feed(&frame(DATA, PADDED, &[2, 9, 0, 0])), (false, 2));
            assert_eq!(feed(&frame(DATA, 0, &[0; 30])[..12]), (false, 2));
        }
    }
}
