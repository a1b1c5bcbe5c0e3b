//! HTTP/1.1 to those whom filters ask: a few connections that a worker keeps, TLS with the system's authorities or one's
//! own. Answers are read whole, up to a bound; redirects are not followed.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::cluster::sources::http::Target;
use crate::cluster::sources::mesos::tls::client_config;
use crate::config::checked::ClientTls;

/// Connections to one of them that are kept, and for how long: shorter than most servers keep theirs.
const KEPT: usize = 32;
const IDLE: Duration = Duration::from_secs(4);
/// How long files of authorities are believed without another look.
const AUTHORITIES: Duration = Duration::from_secs(600);
/// The largest head of an answer.
const HEAD_BYTES: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundFault {
    /// No connection.
    #[error("no connection: {0}")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something else than an answer, or one that is too large.
    #[error("no valid answer: {0}")]
    Invalid(#[source] Box<dyn std::error::Error + Send + Sync>),
}

pub(super) type Sender = SendRequest<Full<Bytes>>;

/// Over TLS, name, port.
type Origin = (bool, String, u16);

/// By the file of authorities, and until when each is believed.
type Configurations = HashMap<Option<PathBuf>, (Arc<ClientConfig>, Instant)>;

/// Who is asked: where, and which authorities answer for its name.
#[derive(Clone, Copy, Debug)]
pub struct Whom<'a> {
    /// Where.
    pub target: &'a Target,
    /// A file of authorities; `None`: the system's.
    pub ca: Option<&'a Path>,
}

/// A worker's connections to them.
#[derive(Debug, Default)]
pub struct Outbound {
    kept: RefCell<HashMap<Origin, Vec<(Sender, Instant)>>>,
    tls: RefCell<Configurations>,
}

pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

pub(super) type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Asks once, on a connection of its own, and reads the whole answer.
///
/// # Errors
/// Why there is none.
pub async fn fetch(
    whom: Whom<'_>,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Response<Bytes>, OutboundFault> {
    let (mut sender, driver) = open(whom).await?;
    let (mut answer, mut driver) = (std::pin::pin!(exchange(&mut sender, request, most)), std::pin::pin!(driver));
    tokio::select! {
        answer = &mut answer => answer,
        // It may end together with the answer, which is there then.
        _ = &mut driver => answer.await,
    }
}

/// Opens a connection; whoever gets it drives it.
///
/// # Errors
/// Why there is none.
pub(super) async fn open(whom: Whom<'_>) -> Result<(Sender, Driver), OutboundFault> {
    let tls = if whom.target.tls { Some(read_tls(whom.ca).await.map_err(OutboundFault::Unreachable)?) } else { None };
    let socket = connect(whom.target, tls).await.map_err(OutboundFault::Unreachable)?;
    handshake(socket).await
}

pub(super) type Driver = http1::Connection<TokioIo<Box<dyn Socket>>, Full<Bytes>>;

async fn handshake(socket: Box<dyn Socket>) -> Result<(Sender, Driver), OutboundFault> {
    let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES).handshake(TokioIo::new(socket));
    handshake.await.map_err(|error| OutboundFault::Unreachable(error.into()))
}

async fn connect(target: &Target, tls: Option<Arc<ClientConfig>>) -> Result<Box<dyn Socket>, AnyError> {
    let tcp = TcpStream::connect((target.host.as_str(), target.port)).await?;
    tcp.set_nodelay(true)?;
    let Some(config) = tls else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(target.host.clone())?;
    Ok(Box::new(tokio_rustls::TlsConnector::from(config).connect(name, tcp).await?))
}

/// Files are read on a thread that may wait for the disk.
async fn read_tls(ca: Option<&Path>) -> Result<Arc<ClientConfig>, AnyError> {
    let tls = ClientTls { ca: ca.map(Path::to_owned), ..ClientTls::default() };
    Ok(tokio::task::spawn_blocking(move || client_config(&tls)).await??)
}

impl Outbound {
    /// Asks, and reads the whole answer, of at most so many octets. What `make` makes may be sent twice.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ask(
        &self,
        tasks: &TaskTracker,
        whom: Whom<'_>,
        make: impl Fn() -> Request<Full<Bytes>>,
        most: usize,
    ) -> Result<Response<Bytes>, OutboundFault> {
        let key = (whom.target.tls, whom.target.host.clone(), whom.target.port);
        if let Some(mut kept) = self.take(&key) {
            // The other side may have closed it just now: then another one is opened.
            if let Ok(answer) = exchange(&mut kept, make(), most).await {
                self.keep(key, kept);
                return Ok(answer);
            }
        }
        let mut sender = self.open(tasks, whom).await?;
        let answer = exchange(&mut sender, make(), most).await?;
        self.keep(key, sender);
        Ok(answer)
    }

    fn take(&self, key: &Origin) -> Option<Sender> {
        let mut kept = self.kept.borrow_mut();
        let kept = kept.get_mut(key)?;
        let now = Instant::now();
        kept.retain(|(sender, until)| *until > now && sender.is_ready());
        kept.pop().map(|(sender, _)| sender)
    }

    fn keep(&self, key: Origin, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut kept = self.kept.borrow_mut();
        let kept = kept.entry(key).or_default();
        if kept.len() < KEPT {
            kept.push((sender, Instant::now() + IDLE));
        }
    }

    /// Closes what has been idle for too long.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.kept.borrow_mut().retain(|_, kept| {
            kept.retain(|(sender, until)| *until > now && !sender.is_closed());
            !kept.is_empty()
        });
    }

    /// Closes all.
    pub fn clear(&self) {
        self.kept.borrow_mut().clear();
    }

    async fn open(&self, tasks: &TaskTracker, whom: Whom<'_>) -> Result<Sender, OutboundFault> {
        let tls = match whom.target.tls {
            true => Some(self.tls(whom.ca).await.map_err(OutboundFault::Unreachable)?),
            false => None,
        };
        let socket = connect(whom.target, tls).await.map_err(OutboundFault::Unreachable)?;
        let (sender, driver) = handshake(socket).await?;
        tasks.spawn_local(async move {
            // Whoever waits for an answer hears of an error.
            let _ = driver.await;
        });
        Ok(sender)
    }

    async fn tls(&self, ca: Option<&Path>) -> Result<Arc<ClientConfig>, AnyError> {
        let (key, now) = (ca.map(Path::to_owned), Instant::now());
        let known = self.tls.borrow().get(&key).filter(|(_, until)| *until > now).map(|(config, _)| config.clone());
        if let Some(known) = known {
            return Ok(known);
        }
        let config = read_tls(ca).await?;
        self.tls.borrow_mut().insert(key, (config.clone(), now + AUTHORITIES));
        Ok(config)
    }
}

/// One request and its whole answer, of at most so many octets.
///
/// # Errors
/// Why there is none.
pub(super) async fn exchange(
    sender: &mut Sender,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Response<Bytes>, OutboundFault> {
    let answer = sender.send_request(request).await.map_err(|error| OutboundFault::Invalid(error.into()))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, most).collect().await.map_err(OutboundFault::Invalid)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
