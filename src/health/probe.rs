//! One check of one endpoint.
//!
//! Nothing is followed and nothing is believed: an answer is read up to a bound, within the time of the caller.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::model::check::{CheckKind, CheckSpec};
use crate::model::endpoint::ProxyProtocol;
use crate::model::endpoint_tls::EndpointTls;
use crate::model::service::Protocol;
use crate::proxy::proxy_protocol::Announcement;
use crate::proxy::tls::endpoint::{EndpointIo, secure};
use crate::proxy::tls::profiles::{TlsProfiles, Within};

/// The largest head of an answer, and the largest answer of gRPC.
const HEAD_BYTES: usize = 16 * 1024;
const GRPC_BYTES: usize = 4 * 1024;
const AGENT: &str = concat!("pointsman/", env!("CARGO_PKG_VERSION"), " (health check)");

/// Who is asked.
#[derive(Debug)]
pub struct Asked {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// How TLS is spoken with it, where it speaks TLS.
    pub tls: Option<Arc<EndpointTls>>,
    /// In which version of the PROXY protocol it is told of its clients: this one is nobody's.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// What is verified then.
    pub profiles: Arc<TlsProfiles>,
}

/// Asks an endpoint, over TLS if it speaks TLS.
///
/// # Errors
/// Why it does not count as healthy, for people.
pub async fn ask(asked: &Asked, spec: &CheckSpec) -> Result<(), Arc<str>> {
    let within = match spec.kind {
        CheckKind::Tcp => Within::Anything,
        CheckKind::Http if !asked.protocol.is_http2() => Within::Http1,
        CheckKind::Http | CheckKind::Grpc => Within::Http2,
    };
    let stream = connect(asked, within).await?;
    match (spec.kind, within) {
        (CheckKind::Tcp, _) => Ok(()),
        (CheckKind::Grpc, _) => judge_grpc(http2_answer(stream, grpc(asked)?).await?).await,
        (CheckKind::Http, Within::Http2) => {
            judge_status(http2_answer(stream, get(asked, spec, Version::HTTP_2)?).await?.status())
        }
        (CheckKind::Http, _) => judge_status(http1_answer(stream, get(asked, spec, Version::HTTP_11)?).await?.status()),
    }
}

async fn connect(asked: &Asked, within: Within) -> Result<EndpointIo, Arc<str>> {
    let unconnected = |error| text("cannot connect", &error);
    let mut stream = TcpStream::connect(asked.address).await.map_err(unconnected)?;
    if let Some(version) = asked.proxy_protocol {
        Announcement { version, addresses: None }.write(&mut stream).await.map_err(unconnected)?;
    }
    let Some(tls) = &asked.tls else { return Ok(EndpointIo::Plain(stream)) };
    let secured = secure(stream, asked.address, tls, within, &asked.profiles).await;
    secured.map(|stream| EndpointIo::Secure(Box::new(stream))).map_err(|error| text("no TLS", &error))
}

fn text(what: &str, error: &dyn std::fmt::Display) -> Arc<str> {
    format!("{what}: {error}").into()
}

fn judge_status(status: StatusCode) -> Result<(), Arc<str>> {
    match status.as_u16() {
        200..=399 => Ok(()),
        code => Err(format!("it answers {code}").into()),
    }
}

/// `grpc.health.v1.HealthCheckResponse`: field 1, `SERVING` is 1.
async fn judge_grpc(answer: Response<Incoming>) -> Result<(), Arc<str>> {
    judge_status(answer.status())?;
    if let Some(code) = answer.headers().get("grpc-status").filter(|code| *code != "0") {
        return Err(format!("it answers with gRPC status {}", code.to_str().unwrap_or("?")).into());
    }
    let body = Limited::new(answer.into_body(), GRPC_BYTES).collect().await;
    let body = body.map_err(|error| text("its answer broke off", &error))?;
    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned());
    match (&*body.to_bytes(), status.as_ref().map(|code| code.as_bytes())) {
        ([0, _, _, _, _, 0x08, 1, ..], None | Some(b"0")) => Ok(()),
        ([0, _, _, _, _, ..], None | Some(b"0")) => Err("it says that it does not serve".into()),
        (_, Some(code)) => Err(format!("it answers with gRPC status {}", String::from_utf8_lossy(code)).into()),
        _ => Err("its answer is not one of gRPC".into()),
    }
}

fn get(asked: &Asked, spec: &CheckSpec, version: Version) -> Result<Request<Full<Bytes>>, Arc<str>> {
    let request = Request::builder().method(Method::GET).header(USER_AGENT, AGENT);
    let request = match version {
        Version::HTTP_2 => request.version(version).uri(format!("{}{}", origin(asked), spec.path)),
        _ => request.uri(&*spec.path).header(HOST, authority(asked.address)).header(CONNECTION, "close"),
    };
    request.body(Full::default()).map_err(|error| text("the check's path cannot be asked for", &error))
}

fn grpc(asked: &Asked) -> Result<Request<Full<Bytes>>, Arc<str>> {
    // An empty message: no compression, length 0; the empty name is the server as a whole.
    let body = Full::new(Bytes::from_static(&[0; 5]));
    Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("{}/grpc.health.v1.Health/Check", origin(asked)))
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(body)
        .map_err(|error| text("the check cannot be asked for", &error))
}

/// Scheme and authority.
fn origin(asked: &Asked) -> String {
    let scheme = if asked.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", authority(asked.address))
}

/// Without the scope of a link-local address: it is no part of an authority.
fn authority(address: SocketAddr) -> String {
    SocketAddr::new(address.ip(), address.port()).to_string()
}

async fn http1_answer(stream: EndpointIo, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Arc<str>> {
    let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| text("cannot speak HTTP", &error))?;
    let (mut answer, mut connection) = (std::pin::pin!(sender.send_request(request)), std::pin::pin!(connection));
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // It may end together with the answer, which is there then.
        _ = &mut connection => answer.await,
    };
    answer.map_err(|error| text("no answer of HTTP", &error))
}

async fn http2_answer(stream: EndpointIo, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Arc<str>> {
    let tasks = TaskTracker::new();
    let handshake = http2::Builder::new(Tasks(tasks))
        .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| text("cannot speak HTTP/2", &error))?;
    // It ends when the answer, and with it the last handle, is dropped.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|error| text("no answer of HTTP/2", &error))
}

/// Runs what drives an HTTP/2 connection.
#[derive(Clone)]
struct Tasks(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
