//! A proxy that is hyper alone, to see what hyper makes of requests and answers that have two meanings.
//!
//! `stock_hyper PORT BACKEND [http2]`: listens on 127.0.0.1:PORT, to clients of HTTP/1.1 or of HTTP/2 in clear text, and passes on to
//! 127.0.0.1:BACKEND over HTTP/1.1, a connection for each request. Of a request it changes what a gateway must (RFC 9110 section 7.6.1): the target becomes a path, and fields
//! of the connection go. Nothing else is looked at; it is a peer of `benches/strictness` and no proxy to use.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use http::header::{CONNECTION, HOST, HeaderName, TE, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

type Fault = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Fault> {
    let mut ports = env::args().skip(1).take(2).map(|port| port.parse::<u16>());
    let (Some(port), Some(backend)) = (ports.next(), ports.next()) else {
        return Err("usage: stock_hyper PORT BACKEND [http2]".into());
    };
    let is_http2 = env::args().nth(3).is_some_and(|version| version == "http2");
    let backend = SocketAddr::from((Ipv4Addr::LOCALHOST, backend?));
    let listen_on = SocketAddr::from((Ipv4Addr::LOCALHOST, port?));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen_on).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let service = service_fn(move |request| async move {
                Ok::<_, Infallible>(pass_on(request, backend).await.unwrap_or_else(|_| bad_gateway()))
            });
            tokio::spawn(async move {
                // What a client did wrong is told to it by its answer, or by the end of its connection.
                let stream = TokioIo::new(stream);
                let _ = match is_http2 {
                    true => {
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(stream, service)
                            .await
                    }
                    false => hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await,
                };
            });
        }
    })
}

type Body = Either<Incoming, Empty<Bytes>>;

async fn pass_on(mut request: Request<Incoming>, backend: SocketAddr) -> Result<Response<Body>, Fault> {
    let stream = TcpStream::connect(backend).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    // RFC 9113 section 8.3.1: who passes on a request of HTTP/2 over HTTP/1.1 makes a `Host` of its authority.
    if let Some(authority) = request.uri().authority().filter(|_| request.version() == Version::HTTP_2) {
        let host = HeaderValue::from_str(authority.as_str())?;
        request.headers_mut().entry(HOST).or_insert(host);
        *request.version_mut() = Version::HTTP_11;
    }
    if let Some(target) = request.uri().path_and_query() {
        *request.uri_mut() = target.clone().into();
    }
    remove_hop_by_hop(request.headers_mut());
    let mut answer = sender.send_request(request).await?;
    remove_hop_by_hop(answer.headers_mut());
    Ok(answer.map(Either::Left))
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.into_iter().chain([CONNECTION, TE, UPGRADE, HeaderName::from_static("keep-alive")]) {
        headers.remove(name);
    }
}

fn bad_gateway() -> Response<Body> {
    let mut answer = Response::new(Either::Right(Empty::new()));
    *answer.status_mut() = StatusCode::BAD_GATEWAY;
    answer
}
