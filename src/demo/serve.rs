//! Accepting, serving and closing HTTP/1.1 connections of a loopback listener.
//!
//! Two ways out: *drain* stops accepting, serves what waits in the accept queue, finishes what is in flight and closes
//! idle connections; *cut* closes everything at once, with a reset where the end of a process is played.
//! Every connection is owned by [`http()`], which returns when the last one is gone.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections at a time; more wait in the accept queue.
const CONNECTIONS: usize = 4096;

/// How long a connection may take for a request's head, or idle.
const HEAD_LIMIT: Duration = Duration::from_secs(300);

/// How long accepting pauses after an error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The two ways out.
#[derive(Clone, Debug, Default)]
pub(super) struct Closing {
    pub(super) drain: CancellationToken,
    pub(super) cut: CancellationToken,
}

/// Answers a request of this client.
pub(super) trait Answers: Clone + Send + 'static {
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    fn answer(
        &self,
        client: SocketAddr,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Serves HTTP until closed.
pub(super) async fn http(listener: TcpListener, answers: impl Answers, closing: Closing) {
    let tell = closing.clone();
    connections(listener, closing, move |stream, client| connection(stream, client, answers.clone(), tell.clone()))
        .await;
}

/// Runs `serve` for each connection of a listener until closed, and all of them to their end.
pub(super) async fn connections<F>(listener: TcpListener, closing: Closing, serve: impl Fn(Resetting, SocketAddr) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut open = JoinSet::new();
    let wrap = |stream| Resetting::new(stream, closing.cut.clone());
    loop {
        tokio::select! {
            () = closing.cut.cancelled() => break,
            () = closing.drain.cancelled() => break,
            Some(_) = open.join_next(), if !open.is_empty() => {}
            accepted = listener.accept(), if open.len() < CONNECTIONS => match accepted {
                Ok((stream, client)) => drop(open.spawn(serve(wrap(stream), client))),
                Err(error) => {
                    tracing::debug!(%error, "accepting a demo connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    if !closing.cut.is_cancelled() {
        for (stream, client) in waiting(listener) {
            open.spawn(serve(wrap(stream), client));
        }
    }
    while open.join_next().await.is_some() {}
}

/// The connections that the kernel had accepted when the listener closed: closing it would reset them.
fn waiting(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let mut found = Vec::new();
    while let Ok((stream, client)) = listener.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            found.push((stream, client));
        }
    }
    found
}

async fn connection(stream: Resetting, client: SocketAddr, answers: impl Answers, closing: Closing) {
    let service = hyper::service::service_fn(move |request| {
        let answers = answers.clone();
        async move { Ok::<_, Infallible>(answers.answer(client, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // Dropping the connection is how it is cut: nothing of an answer that was begun is finished.
    tokio::select! {
        () = closing.cut.cancelled() => {}
        _ended = connection.as_mut() => {}
        () = closing.drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                () = closing.cut.cancelled() => {}
                _ended = connection.as_mut() => {}
            }
        }
    }
}

/// A connection that is reset instead of closed when it is dropped after the cut.
#[derive(Debug)]
pub(super) struct Resetting {
    stream: TcpStream,
    reset: CancellationToken,
}

impl Resetting {
    /// Sends at once what is written, as masters do: an event would wait until the one before it is acknowledged, 40 ms for
    /// instance, and many then come at a time.
    fn new(stream: TcpStream, reset: CancellationToken) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "what a demo connection sends may wait for an acknowledgement");
        }
        Self { stream, reset }
    }
}

impl Drop for Resetting {
    fn drop(&mut self) {
        if self.reset.is_cancelled()
            && let Err(error) = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(%error, "a demo connection is closed instead of reset");
        }
    }
}

impl AsyncRead for Resetting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Resetting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_does_not_wait_for_an_acknowledgement() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tell, told) = tokio::sync::oneshot::channel();
        let (tell, closing) = (std::sync::Mutex::new(Some(tell)), Closing::default());
        let serve = |stream: Resetting, _| {
            let nodelay = stream.stream.nodelay().unwrap();
            tell.lock().unwrap().take().unwrap().send(nodelay).unwrap();
            async {}
        };
        let serving = connections(listener, closing.clone(), serve);
        let asking = async {
            let nodelay = told.await.unwrap();
            closing.drain.cancel();
            nodelay
        };
        assert!(tokio::join!(serving, asking).1);
    }
}
