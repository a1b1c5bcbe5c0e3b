//! Opens connections to endpoints.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use super::coalesce::{FlushingExecutor, coalesce};
use super::error::AttemptFault;
use super::exchange::{Http1, Http2};
use super::worker::Opened;

/// The largest head of an answer.
const ANSWER_HEAD_BYTES: usize = 256 * 1024;
/// Header fields of an answer.
const ANSWER_HEAD_FIELDS: usize = 256;
/// HTTP/2 windows: what one slow stream may hold back, and all of one connection together.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// A dead peer of an HTTP/2 connection is noticed by a ping.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a TCP connection.
///
/// # Errors
/// Why there is none; nothing was sent then.
pub async fn connect(address: SocketAddr, limit: Duration) -> Result<TcpStream, AttemptFault> {
    let stream = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(stream) => stream.map_err(AttemptFault::Connect)?,
        Err(_) => return Err(AttemptFault::ConnectTimeout),
    };
    // Requests are small and must not wait for an acknowledgement.
    stream.set_nodelay(true).map_err(AttemptFault::Connect)?;
    Ok(stream)
}

/// Opens a connection for HTTP/1.1.
///
/// # Errors
/// Why there is none.
pub async fn http1(address: SocketAddr, limit: Duration, opened: Opened) -> Result<Http1, AttemptFault> {
    http1_over(connect(address, limit).await?, opened).await
}

/// HTTP/1.1 over a connection of which nothing waits to be read.
///
/// # Errors
/// If the implementation does not take it.
pub async fn http1_over(stream: TcpStream, opened: Opened) -> Result<Http1, AttemptFault> {
    let handshake = http1::Builder::new()
        .max_headers(ANSWER_HEAD_FIELDS)
        .max_buf_size(ANSWER_HEAD_BYTES)
        .handshake(TokioIo::new(stream));
    let (sender, driver) = handshake.await.map_err(not_connected)?;
    Ok(Http1::new(sender, Box::pin(driver), opened))
}

/// Opens a connection for HTTP/2 with prior knowledge (RFC 9113 section 3.3). Its tasks belong to `tasks`.
///
/// # Errors
/// Why there is none.
pub async fn http2(
    address: SocketAddr,
    limit: Duration,
    opened: Opened,
    tasks: &TaskTracker,
) -> Result<Rc<Http2>, AttemptFault> {
    let stream = connect(address, limit).await?;
    let (socket, flusher) = coalesce(stream);
    let handshake = http2::Builder::new(FlushingExecutor::new(tasks.clone(), flusher))
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_header_list_size(u32::try_from(ANSWER_HEAD_BYTES).expect("a small constant"))
        .handshake(TokioIo::new(socket));
    let (sender, connection) = handshake.await.map_err(not_connected)?;
    tasks.spawn_local(async move {
        // Whoever waits for an answer hears of the error; here it only ends the connection.
        let _ = connection.await;
        drop(opened);
    });
    Ok(Rc::new(Http2::new(sender)))
}

fn not_connected(error: hyper::Error) -> AttemptFault {
    AttemptFault::Connect(std::io::Error::other(error))
}
