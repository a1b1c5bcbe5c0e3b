//! One question to one upstream server: sockets, and nothing that decides.
//!
//! Over UDP each question has a socket of its own, so that the port is another random number to be guessed; it is
//! connected, so that the kernel drops what comes from elsewhere. Over TCP and TLS a connection is used again while it
//! is fresh.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Histogram;
use rustls::ClientConfig;
use rustls::crypto::SecureRandom;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

use super::answer::Answer;
use super::key::Key;
use super::message::{self, Invalid, Reply, TtlBounds};
use super::metrics::{ForwardMetrics, Reason};
use crate::config::checked::{UpstreamServer, UpstreamTransport};

/// Datagrams longer than this are not what was offered.
const DATAGRAM: usize = 4096;

/// Datagrams that are no answer, after which somebody seems to guess: then TCP is used, which cannot be guessed.
const MAX_INVALID: u32 = 8;

/// Connections kept open to a server, and for how long without a query. RFC 7766 §6.2.3 has servers close them at will.
const MAX_IDLE: usize = 4;
const IDLE_TIME: Duration = Duration::from_secs(8);

/// An upstream server.
pub(super) struct Server {
    pub(super) config: UpstreamServer,
    /// Its name in metrics and logs.
    pub(super) label: String,
    pub(super) latency: Histogram,
    metrics: ForwardMetrics,
    tls: Option<Arc<ClientConfig>>,
    idle: RefCell<Vec<(Box<dyn Stream>, Instant)>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Why a server has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// It says that it has none.
    Rcode,
    /// It cannot be reached, or breaks off.
    Unreachable,
}

/// What is asked, and how.
pub(super) struct Question {
    pub(super) key: Key,
    pub(super) bounds: TtlBounds,
    pub(super) random_case: bool,
}

impl Server {
    pub(super) fn new(config: UpstreamServer, tls: Option<Arc<ClientConfig>>, metrics: &ForwardMetrics) -> Self {
        let label = config.to_string();
        let latency = metrics.latency(&label);
        Self { config, label, latency, metrics: metrics.clone(), tls, idle: RefCell::default() }
    }

    /// Counts a failure.
    pub(super) fn failed(&self, reason: Reason) {
        self.metrics.failures(&self.label, reason).inc();
    }

    /// Asks; takes as long as it takes.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn ask(&self, question: &Question) -> Result<Rc<Answer>, Failure> {
        let reply = match &self.config.transport {
            UpstreamTransport::Udp => match self.ask_udp(question).await {
                Ok(Reply::Truncated) => self.ask_stream(question).await,
                other => other,
            },
            UpstreamTransport::Tcp | UpstreamTransport::Tls(_) => self.ask_stream(question).await,
        };
        match reply {
            Ok(Reply::Answer(answer)) => Ok(Rc::new(answer)),
            Ok(Reply::Failure(rcode)) => {
                tracing::debug!(upstream = self.label, rcode, "an upstream server has no answer");
                self.failed(Reason::Rcode);
                Err(Failure::Rcode)
            }
            // TC over TCP: a message of 64 KiB was not enough.
            Ok(Reply::Truncated) => {
                self.failed(Reason::Invalid);
                Err(Failure::Rcode)
            }
            Err(error) => {
                tracing::debug!(upstream = self.label, %error, "an upstream server cannot be asked");
                self.failed(Reason::Unreachable);
                Err(Failure::Unreachable)
            }
        }
    }

    async fn ask_udp(&self, question: &Question) -> io::Result<Reply> {
        let mut random = fastrand::Rng::with_seed(secret());
        let id = random.u16(..);
        let query = message::query(&question.key, id, Some(&mut random).filter(|_| question.random_case));
        let any: IpAddr = match self.config.address {
            address if address.is_ipv4() => Ipv4Addr::UNSPECIFIED.into(),
            _ => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(self.config.address).await?;
        socket.send(&query).await?;
        let mut buffer = vec![0; DATAGRAM];
        let mut invalid = 0;
        loop {
            let length = socket.recv(&mut buffer).await?;
            match message::read(&question.key, &query, &buffer[..length], question.bounds) {
                Ok(reply) => return Ok(reply),
                // It does not keep the case of names: asked where nobody can guess.
                Err(Invalid::Case) => {
                    self.failed(Reason::Invalid);
                    return Ok(Reply::Truncated);
                }
                // Whoever sent it, the answer may still come.
                Err(error) => {
                    self.failed(Reason::Invalid);
                    tracing::debug!(upstream = self.label, ?error, "octets that are no answer to the query");
                    invalid += 1;
                    if invalid >= MAX_INVALID {
                        return Ok(Reply::Truncated);
                    }
                }
            }
        }
    }

    async fn ask_stream(&self, question: &Question) -> io::Result<Reply> {
        let mut random = fastrand::Rng::with_seed(secret());
        let query = message::query(&question.key, random.u16(..), None);
        if let Some(mut stream) = self.idle_stream()
            && let Ok(response) = round_trip(&mut *stream, &query).await
        {
            return self.finish(question, &query, &response, stream);
        }
        // None was open, or the server had closed it meanwhile.
        let mut stream = self.connect().await?;
        let response = round_trip(&mut *stream, &query).await?;
        self.finish(question, &query, &response, stream)
    }

    fn finish(&self, question: &Question, query: &[u8], response: &[u8], stream: Box<dyn Stream>) -> io::Result<Reply> {
        let reply = message::read(&question.key, query, response, question.bounds).map_err(|error| {
            self.failed(Reason::Invalid);
            io::Error::new(io::ErrorKind::InvalidData, format!("no answer to the query: {error:?}"))
        })?;
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE {
            idle.push((stream, Instant::now()));
        }
        Ok(reply)
    }

    fn idle_stream(&self) -> Option<Box<dyn Stream>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|(_, since)| since.elapsed() < IDLE_TIME);
        idle.pop().map(|(stream, _)| stream)
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.config.address).await?;
        stream.set_nodelay(true)?;
        let UpstreamTransport::Tls(name) = &self.config.transport else { return Ok(Box::new(stream)) };
        let config = self.tls.clone().ok_or_else(|| io::Error::other("no authorities to trust"))?;
        let name = ServerName::try_from(name.to_string()).map_err(io::Error::other)?;
        Ok(Box::new(tokio_rustls::TlsConnector::from(config).connect(name, stream).await?))
    }
}

async fn round_trip(stream: &mut dyn Stream, query: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], query].concat()).await?;
    stream.flush().await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut response = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut response).await?;
    Ok(response)
}

/// A number that nobody can guess (RFC 5452 §4.5): ids and spellings are drawn from it, and never from one before.
pub(super) fn secret() -> u64 {
    let random: &dyn SecureRandom = rustls::crypto::ring::default_provider().secure_random;
    let mut octets = [0; 8];
    // The system's source of randomness does not fail once it has been seeded; without it there is no forwarding.
    random.fill(&mut octets).expect("the system has randomness");
    u64::from_ne_bytes(octets)
}
