//! dnstap: each answer as a message of protobuf, to a Unix socket that somebody listens on, or to a file.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use prost::Message as _;

use super::{Entry, frames};
use crate::dns::wire::{Transport, flags, read_u16};

/// How long the other end may take to read.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time between two attempts to reach somebody who does not listen.
const RETRY: Duration = Duration::from_secs(1);

/// `dnstap.proto`, as far as it is written here.
#[derive(Clone, PartialEq, prost::Message)]
struct Dnstap {
    #[prost(bytes = "vec", optional, tag = "1")]
    identity: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    version: Option<Vec<u8>>,
    #[prost(message, optional, tag = "14")]
    message: Option<Message>,
    /// 1: a message.
    #[prost(int32, required, tag = "15")]
    kind: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    /// 2: an authority's answer; 6: a resolver's.
    #[prost(int32, required, tag = "1")]
    kind: i32,
    /// 1: IPv4; 2: IPv6.
    #[prost(int32, optional, tag = "2")]
    socket_family: Option<i32>,
    /// 1: UDP; 2: TCP; 3: TLS; 4: HTTPS.
    #[prost(int32, optional, tag = "3")]
    socket_protocol: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    query_address: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "8")]
    query_time_sec: Option<u64>,
    #[prost(fixed32, optional, tag = "9")]
    query_time_nsec: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "10")]
    query_message: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "12")]
    response_time_sec: Option<u64>,
    #[prost(fixed32, optional, tag = "13")]
    response_time_nsec: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "14")]
    response_message: Option<Vec<u8>>,
}

/// Recursion available: others were, or could be, asked.
const RA: u16 = 0x0080;

/// Where dnstap goes.
pub(super) struct Tap {
    target: PathBuf,
    identity: Option<Arc<str>>,
    open: Option<Open>,
    tried: Option<Instant>,
    is_faulty: bool,
    octets: Vec<u8>,
}

enum Open {
    Socket(UnixStream),
    File(File),
}

impl Tap {
    pub(super) fn new(target: PathBuf, identity: Option<Arc<str>>) -> Self {
        Self { target, identity, open: None, tried: None, is_faulty: false, octets: Vec::new() }
    }

    /// Sends answers; whether they have been taken. While nobody listens they are not kept.
    pub(super) fn write<'a>(&mut self, entries: impl Iterator<Item = Entry<'a>>) -> bool {
        self.octets.clear();
        for entry in entries {
            let data = message(&entry, self.identity.as_deref()).encode_to_vec();
            frames::frame(&data, &mut self.octets);
        }
        if self.open.is_none() && self.tried.is_none_or(|tried| tried.elapsed() >= RETRY) {
            self.connect();
        }
        let written = match &mut self.open {
            None => return false,
            Some(Open::Socket(stream)) => stream.write_all(&self.octets),
            Some(Open::File(file)) => file.write_all(&self.octets),
        };
        if let Err(error) = written {
            // What was written in part cannot be continued.
            self.open = None;
            self.complain(&error);
            return false;
        }
        true
    }

    /// Ends the stream in order.
    pub(super) fn end(self) {
        let ended = match self.open {
            None => Ok(()),
            Some(Open::Socket(mut stream)) => {
                frames::end(&mut stream).and_then(|()| frames::wait_for_finish(&mut stream))
            }
            Some(Open::File(mut file)) => frames::end(&mut file),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a dnstap stream did not end in order");
        }
    }

    fn connect(&mut self) {
        self.tried = Some(Instant::now());
        match self.try_connect() {
            Ok(open) => (self.open, self.is_faulty) = (Some(open), false),
            Err(error) => self.complain(&error),
        }
    }

    /// A socket, where one is; else a file, begun anew: a stream is one whole.
    fn try_connect(&self) -> io::Result<Open> {
        let is_socket = std::fs::metadata(&self.target).is_ok_and(|found| found.file_type().is_socket());
        if is_socket {
            let mut stream = UnixStream::connect(&self.target)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            frames::agree(&mut stream)?;
            return Ok(Open::Socket(stream));
        }
        let mut file = File::create(&self.target)?;
        frames::begin(&mut file)?;
        Ok(Open::File(file))
    }

    /// Once, until it works again.
    fn complain(&mut self, error: &io::Error) {
        if !self.is_faulty {
            tracing::warn!(target = %self.target.display(), %error, "dnstap cannot be written");
        }
        self.is_faulty = true;
    }
}

fn message(entry: &Entry<'_>, identity: Option<&str>) -> Dnstap {
    let since = entry.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let has_recursion = read_u16(entry.answer, 2).is_some_and(|word| word & RA != 0 && word & flags::AA == 0);
    let family = |client: &IpAddr| if client.is_ipv4() { 1 } else { 2 };
    let octets = |client: IpAddr| match client {
        IpAddr::V4(client) => client.octets().to_vec(),
        IpAddr::V6(client) => client.octets().to_vec(),
    };
    let message = Message {
        kind: if has_recursion { 6 } else { 2 },
        socket_family: entry.client.as_ref().map(family),
        socket_protocol: Some(match entry.transport {
            Transport::Udp => 1,
            Transport::Tcp => 2,
            Transport::Tls => 3,
            Transport::Https => 4,
        }),
        query_address: entry.client.map(octets),
        query_time_sec: Some(since.as_secs()),
        query_time_nsec: Some(since.subsec_nanos()),
        query_message: (!entry.query.is_empty()).then(|| entry.query.to_vec()),
        response_time_sec: Some(since.as_secs()),
        response_time_nsec: Some(since.subsec_nanos()),
        response_message: Some(entry.answer.to_vec()),
    };
    Dnstap {
        identity: identity.map(|identity| identity.as_bytes().to_vec()),
        version: Some(concat!("Pointsman ", env!("CARGO_PKG_VERSION")).into()),
        message: Some(message),
        kind: 1,
    }
}
