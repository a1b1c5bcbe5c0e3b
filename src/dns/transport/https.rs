//! DNS over HTTPS (RFC 8484): a request of HTTP/2 a query, GET or POST, answered by what answers all other queries.
//!
//! Bounded: requests at a time, the head of one, its body by what a message may have, answers that wait to be taken; each
//! request and each connection in time. Nothing else is served here: another path is 404.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

use crate::dns::Draining;
use crate::dns::metrics::Count;
use crate::dns::source::LoadNames;
use crate::dns::wire::{MAX_MESSAGE, Transport, ttl};
use crate::dns::worker::{Reply, Worker};

/// The media type of queries and answers.
const MESSAGE: &str = "application/dns-message";

/// Requests of one connection at a time.
const REQUESTS: u32 = 32;

/// Octets of a request's head.
const HEAD: u32 = 16 * 1024;

/// Octets of a GET request's query in base64.
const MOST_BASE64: usize = HEAD as usize;

/// What a connection is left to end in order.
const GOODBYE: Duration = Duration::from_millis(500);

/// Serves one connection until the client goes, is idle for too long, or the drain has begun.
pub(crate) async fn serve<L: LoadNames + 'static>(
    stream: TlsStream<TcpStream>,
    client: Option<IpAddr>,
    path: Rc<str>,
    worker: &Rc<Worker<L>>,
    mut draining: Draining,
) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(REQUESTS).max_header_list_size(HEAD).max_send_buffer_size(2 * MAX_MESSAGE);
    let Ok(Ok(mut connection)) = timeout(worker.idle_time(), builder.handshake::<_, Bytes>(stream)).await else {
        return worker.metrics.count(Count::TlsFailed);
    };
    let mut drained = pin!(draining.begun());
    let mut requests = JoinSet::new();
    let mut last_request = Instant::now();
    loop {
        // Cancel safe: accepting drives the connection, and a request that has come is not lost with the future.
        let accepted = tokio::select! {
            accepted = timeout_at(last_request + worker.idle_time(), connection.accept()) => accepted,
            Some(_) = requests.join_next() => {
                last_request = Instant::now();
                continue;
            }
            () = &mut drained => break,
        };
        match accepted {
            Ok(Some(Ok((request, respond)))) => {
                last_request = Instant::now();
                let (worker, path) = (worker.clone(), path.clone());
                requests.spawn_local(async move { answer(&worker, client, &path, request, respond).await });
            }
            Ok(Some(Err(_)) | None) => return,
            // A request that is under way has its own time.
            Err(_) if !requests.is_empty() => last_request = Instant::now(),
            Err(_) => {
                worker.metrics.count(Count::TcpIdle);
                break;
            }
        }
    }
    // What was asked is still answered; new requests are not taken.
    connection.graceful_shutdown();
    let _ = timeout(GOODBYE, async { while let Some(Ok(_)) = connection.accept().await {} }).await;
}

/// Answers one request.
async fn answer<L: LoadNames + 'static>(
    worker: &Rc<Worker<L>>,
    client: Option<IpAddr>,
    path: &str,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let patience = worker.idle_time();
    let query = match timeout(patience, query_of(request, path)).await {
        Ok(Ok(query)) => query,
        Ok(Err(status)) => return refuse(worker, respond, status),
        Err(_) => return respond.send_reset(Reason::CANCEL),
    };
    let mut octets = Vec::new();
    let reply = worker.with_names(|names| names.answer(Transport::Https, client, &query, &mut octets));
    let octets = match reply {
        Reply::Ready => octets,
        // Only over UDP is an answer held back.
        Reply::Later(waiting) => worker.forwarded(client, waiting).await.unwrap_or_default(),
        // No query, or one that gets no answer: HTTP owes one.
        Reply::None | Reply::Transfer(_) => return refuse(worker, respond, StatusCode::BAD_REQUEST),
    };
    let Some(response) = head(&octets) else { return respond.send_reset(Reason::INTERNAL_ERROR) };
    if timeout(patience, send(&mut respond, response, octets.into())).await.is_err() {
        worker.metrics.count(Count::TcpSlow);
        respond.send_reset(Reason::CANCEL);
    }
}

/// The query that a request carries, or the status that says why there is none.
async fn query_of(request: Request<RecvStream>, path: &str) -> Result<Vec<u8>, StatusCode> {
    if request.uri().path() != path {
        return Err(StatusCode::NOT_FOUND);
    }
    match *request.method() {
        Method::GET => in_target(request.uri().query().unwrap_or_default()).ok_or(StatusCode::BAD_REQUEST),
        Method::POST => {
            let is_message = request.headers().get(header::CONTENT_TYPE).is_some_and(|known| known == MESSAGE);
            if is_message { body(request.into_body()).await } else { Err(StatusCode::UNSUPPORTED_MEDIA_TYPE) }
        }
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// RFC 8484 §4.1: the variable `dns`, base64url without padding.
fn in_target(query: &str) -> Option<Vec<u8>> {
    let value = query.split('&').find_map(|part| part.strip_prefix("dns="))?;
    (value.len() <= MOST_BASE64).then(|| URL_SAFE_NO_PAD.decode(value).ok())?
}

async fn body(mut body: RecvStream) -> Result<Vec<u8>, StatusCode> {
    let mut octets = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.map_err(|_| StatusCode::BAD_REQUEST)?;
        if octets.len() + part.len() > MAX_MESSAGE {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        octets.extend_from_slice(&part);
        body.flow_control().release_capacity(part.len()).map_err(|_| StatusCode::BAD_REQUEST)?;
    }
    Ok(octets)
}

/// RFC 8484 §5.1: an answer is fresh for as long as its shortest-lived record.
fn head(answer: &[u8]) -> Option<Response<()>> {
    let seconds = ttl::least(answer).unwrap_or(0);
    Response::builder()
        .header(header::CONTENT_TYPE, MESSAGE)
        .header(header::CONTENT_LENGTH, answer.len())
        .header(header::CACHE_CONTROL, format!("max-age={seconds}"))
        .body(())
        .ok()
}

/// Sends as the client takes: what waits is at most one answer a request.
async fn send(respond: &mut SendResponse<Bytes>, response: Response<()>, mut octets: Bytes) -> Option<()> {
    let mut stream = respond.send_response(response, octets.is_empty()).ok()?;
    while !octets.is_empty() {
        stream.reserve_capacity(octets.len());
        let room = poll_fn(|context| stream.poll_capacity(context)).await?.ok()?;
        let part = octets.split_to(room.min(octets.len()));
        stream.send_data(part, octets.is_empty()).ok()?;
    }
    Some(())
}

fn refuse<L: LoadNames>(worker: &Worker<L>, mut respond: SendResponse<Bytes>, status: StatusCode) {
    worker.metrics.count(Count::HttpsRefused);
    let mut response = Response::new(());
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST"));
    }
    // A client that is gone misses nothing.
    let _ = respond.send_response(response, true);
}
