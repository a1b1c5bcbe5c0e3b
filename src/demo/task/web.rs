//! What an HTTP task answers: who it is, slowly if asked, as a stream, as a WebSocket echo, or its metrics.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::{Interval, interval, sleep};
use tokio_util::task::TaskTracker;

use super::LiveTask;
use crate::demo::serve::{Answers, Closing};

/// The longest `/slow?ms=`.
const SLOWEST: Duration = Duration::from_secs(60);

/// The longest `/stream?n=`.
const LONGEST_STREAM: u64 = 10_000;

/// Between two lines of a stream.
const STREAM_PACE: Duration = Duration::from_millis(100);

type Answer = Response<Either<Full<Bytes>, Lines>>;

/// An HTTP task's answers.
#[derive(Clone, Debug)]
pub(super) struct Web {
    task: Arc<LiveTask>,
    upgraded: TaskTracker,
    closing: Closing,
}

impl Web {
    pub(super) fn new(task: Arc<LiveTask>, upgraded: TaskTracker, closing: Closing) -> Self {
        Self { task, upgraded, closing }
    }
}

impl Answers for Web {
    type Body = Either<Full<Bytes>, Lines>;

    async fn answer(&self, client: SocketAddr, mut request: Request<Incoming>) -> Answer {
        let number = self.task.count_request();
        if let Some(answer) = super::websocket::accept(&mut request, &self.upgraded, &self.closing) {
            return self.signed(answer.map(Either::Left));
        }
        let query = |key: &str, default| number_in_query(request.uri().query(), key).unwrap_or(default);
        let answer = match request.uri().path() {
            "/health" if self.task.is_unwell() => text(StatusCode::SERVICE_UNAVAILABLE, "sick\n"),
            "/health" => text(StatusCode::OK, "healthy\n"),
            "/metrics" => self.metrics(number),
            "/stream" => Response::new(Either::Right(Lines::new(query("n", 20).min(LONGEST_STREAM)))),
            "/echo" => return self.echo(request).await,
            path => {
                if path == "/slow" {
                    sleep(Duration::from_millis(query("ms", 1000)).min(SLOWEST)).await;
                }
                self.page(number, client, &request)
            }
        };
        self.signed(answer)
    }
}

impl Web {
    /// Who answers, as JSON or HTML.
    fn page(&self, number: u64, client: SocketAddr, request: &Request<Incoming>) -> Answer {
        let task = &self.task;
        let wants_html = request.headers().get(ACCEPT).is_some_and(|accept| contains(accept, "text/html"));
        let (content_type, body) = if wants_html {
            ("text/html; charset=utf-8", html(task, number))
        } else {
            let header = |name: HeaderName| text_of(request.headers(), &name);
            let body = json!({
                "app": task.app.name, "version": task.app.version_name(), "task": task.id, "agent": task.agent,
                "address": task.address, "request": number, "method": request.method().as_str(),
                "path": request.uri().path(), "host": header(http::header::HOST), "client": client,
                "forwarded_for": header(HeaderName::from_static("x-forwarded-for")),
            });
            ("application/json", format!("{body}\n"))
        };
        let mut answer = Response::new(Either::Left(Full::from(body)));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        answer
    }

    /// What Prometheus scrapes.
    fn metrics(&self, number: u64) -> Answer {
        let (app, version) = (&self.task.app.name, self.task.app.version_name());
        let body = format!(
            "# HELP demo_task_requests_total Requests to this task.\n# TYPE demo_task_requests_total counter\n\
             demo_task_requests_total{{app=\"{app}\",version=\"{version}\"}} {number}\n"
        );
        let mut answer = text(StatusCode::OK, "");
        *answer.body_mut() = Either::Left(Full::from(body));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
        answer
    }

    /// Sends the request's body back, at most a megabyte of it.
    async fn echo(&self, request: Request<Incoming>) -> Answer {
        const LIMIT: usize = 1024 * 1024;
        let answer = match http_body_util::Limited::new(request.into_body(), LIMIT).collect().await {
            Ok(body) => Response::new(Either::Left(Full::from(body.to_bytes()))),
            Err(error) => {
                tracing::debug!(%error, "a body could not be echoed");
                text(StatusCode::PAYLOAD_TOO_LARGE, "a body may have 1048576 octets\n")
            }
        };
        self.signed(answer)
    }

    /// Every answer says who gave it.
    fn signed(&self, mut answer: Answer) -> Answer {
        let version = self.task.app.version_name();
        let names = [("x-demo-app", &self.task.app.name), ("x-demo-version", &version), ("x-demo-task", &self.task.id)];
        for (name, value) in names {
            // An app's name comes from whoever starts the demo: left out if it is no header text.
            if let Ok(value) = HeaderValue::try_from(value) {
                answer.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        answer
    }
}

fn html(task: &LiveTask, number: u64) -> String {
    format!(
        "<!doctype html><title>{app}</title><h1>{app} {version}</h1><p>Task <code>{id}</code> at {address}, request \
         {number}.</p><p><a href=\"/slow?ms=2000\">slow</a> <a href=\"/stream\">stream</a> <a \
         href=\"/health\">health</a></p>\n",
        app = task.app.name,
        version = task.app.version_name(),
        id = task.id,
        address = task.address,
    )
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn contains(value: &HeaderValue, part: &str) -> bool {
    value.to_str().is_ok_and(|value| value.contains(part))
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn number_in_query(query: Option<&str>, key: &str) -> Option<u64> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(name, _)| *name == key).and_then(|(_, value)| value.parse().ok())
}

/// A body of numbered lines, one at a time.
#[derive(Debug)]
pub(super) struct Lines {
    next: u64,
    count: u64,
    pace: Interval,
}

impl Lines {
    fn new(count: u64) -> Self {
        Self { next: 0, count, pace: interval(STREAM_PACE) }
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.next == self.count {
            return Poll::Ready(None);
        }
        self.pace.poll_tick(cx).map(|_| {
            self.next += 1;
            Some(Ok(Frame::data(format!("line {} of {}\n", self.next, self.count).into())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_numbers() {
        assert_eq!(number_in_query(Some("a=1&ms=25"), "ms"), Some(25));
        assert_eq!(number_in_query(Some("ms=x"), "ms"), None);
        assert_eq!(number_in_query(Some("ms"), "ms"), None);
        assert_eq!(number_in_query(None, "ms"), None);
    }
}
