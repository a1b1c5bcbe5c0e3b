//! What a master answers. Words and statuses are those of a real one.

#![expect(clippy::result_large_err, reason = "the error is an answer too, and each is made once a request")]

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use prost::Message;
use serde_json::json;

use super::stream::{EventStream, Media};
use super::{Shared, legacy};
use crate::cluster::sources::mesos::wire;
use crate::demo::cluster::COMPLETED;
use crate::demo::feed::STREAMS;
use crate::demo::serve::Answers;
use crate::demo::shape::{self, MESOS_VERSION};

/// Octets of a call; those that are served here need fewer than a hundred.
const CALL_LIMIT: usize = 64 * 1024;

type Answer = Response<Either<Full<Bytes>, EventStream>>;

/// One master.
#[derive(Clone, Debug)]
pub(super) struct Master {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
}

impl Answers for Master {
    type Body = Either<Full<Bytes>, EventStream>;

    async fn answer(&self, _client: SocketAddr, request: Request<Incoming>) -> Answer {
        match request.uri().path() {
            "/api/v1" | "/master/api/v1" => self.api(request).await.unwrap_or_else(|refusal| refusal),
            "/redirect" | "/master/redirect" => self.redirect("", None),
            "/state" | "/master/state" => self.state(&request),
            "/health" | "/master/health" => plain(StatusCode::OK, Bytes::new()),
            "/version" | "/master/version" => json_answer(&json!({ "version": MESOS_VERSION })),
            "/metrics/snapshot" => {
                let elected = if self.shared.election().leader == Some(self.index) { 1.0 } else { 0.0 };
                json_answer(&json!({ "master/elected": elected }))
            }
            _ => refuse(StatusCode::NOT_FOUND, "404 Not Found."),
        }
    }
}

impl Master {
    async fn api(&self, request: Request<Incoming>) -> Result<Answer, Answer> {
        let election = self.shared.election();
        if election.leader != Some(self.index) {
            return Err(self.redirect("/master/api/v1", request.uri().query()));
        }
        if !election.recovered {
            return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "Master has not finished recovery"));
        }
        require_post(request.method())?;
        let from = content_type(request.headers())?;
        let accept = accepted(request.headers()).ok_or_else(|| {
            let expected = "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'";
            refuse(StatusCode::NOT_ACCEPTABLE, expected)
        })?;
        let too_long = |_| refuse(StatusCode::PAYLOAD_TOO_LARGE, "a call may have 65536 octets");
        let body = Limited::new(request.into_body(), CALL_LIMIT).collect().await.map_err(too_long)?.to_bytes();
        let call = parse_call(from, &body).map_err(|text| refuse(StatusCode::BAD_REQUEST, text))?;
        self.call(call, accept)
    }

    fn call(&self, call: &str, media: Media) -> Result<Answer, Answer> {
        if call == "SUBSCRIBE" {
            let (snapshot, events) = self.shared.feed.subscribe();
            let stream = EventStream::new(media, snapshot, events, self.shared.heartbeat);
            return Ok(with_content_type(Response::new(Either::Right(stream)), media.content_type()));
        }
        let response = self.response(call).ok_or_else(|| {
            refuse(StatusCode::NOT_IMPLEMENTED, format!("the embedded master does not answer {call}"))
        })?;
        let body = Full::from(media.encode(&response));
        Ok(with_content_type(Response::new(Either::Left(body)), media.content_type()))
    }

    fn response(&self, call: &str) -> Option<wire::Response> {
        let feed = &self.shared.feed;
        let response = wire::Response { r#type: Some(wire::response_type::number(call)), ..Default::default() };
        Some(match call {
            "GET_HEALTH" => wire::Response { get_health: Some(wire::GetHealth { healthy: Some(true) }), ..response },
            "GET_VERSION" => {
                let version_info = Some(wire::VersionInfo { version: Some(MESOS_VERSION.to_owned()) });
                wire::Response { get_version: Some(wire::GetVersion { version_info }), ..response }
            }
            "GET_STATE" => wire::Response { get_state: Some(feed.read(|model| model.snapshot())), ..response },
            "GET_FLAGS" => {
                let flag =
                    |(name, value): (&str, String)| wire::Flag { name: Some(name.to_owned()), value: Some(value) };
                let flags = self.flags().into_iter().map(flag).collect();
                wire::Response { get_flags: Some(wire::GetFlags { flags }), ..response }
            }
            "GET_EXECUTORS" => wire::Response { get_executors: Some(wire::GetExecutors {}), ..response },
            "GET_ROLES" => wire::Response { get_roles: Some(feed.read(|model| model.roles())), ..response },
            "GET_TASKS" => wire::Response { get_tasks: Some(feed.read(|model| model.task_lists())), ..response },
            "GET_AGENTS" => wire::Response { get_agents: Some(feed.read(|model| model.agent_lists())), ..response },
            "GET_FRAMEWORKS" => {
                wire::Response { get_frameworks: Some(feed.read(|model| model.framework_lists())), ..response }
            }
            "GET_MASTER" => wire::Response { get_master: Some(self.about()), ..response },
            _ => return None,
        })
    }

    /// The state in its older form. A leader that has not read its registry answers too, with an empty cluster.
    fn state(&self, request: &Request<Incoming>) -> Answer {
        let election = self.shared.election();
        if election.leader != Some(self.index) {
            return self.redirect("/master/state", request.uri().query());
        }
        let state = if election.recovered {
            self.shared.feed.read(|model| model.snapshot())
        } else {
            wire::GetState::default()
        };
        json_answer(&legacy::state(&self.about(), &self.flags(), &state))
    }

    /// Those flags that say something here.
    fn flags(&self) -> Vec<(&'static str, String)> {
        let address = self.shared.addresses[self.index];
        vec![
            ("authenticate_http_readonly", false.to_string()),
            ("authenticate_http_readwrite", false.to_string()),
            ("ip", address.ip().to_string()),
            ("max_completed_tasks_per_framework", COMPLETED.to_string()),
            ("max_operator_event_stream_subscribers", STREAMS.to_string()),
            ("port", address.port().to_string()),
            ("registry", "in_memory".to_owned()),
        ]
    }

    fn about(&self) -> wire::GetMaster {
        let address = self.shared.addresses[self.index];
        let ip = address.ip().to_string();
        let master_info = wire::MasterInfo {
            id: Some(self.shared.ids[self.index].clone()),
            port: Some(address.port().into()),
            pid: Some(format!("master@{address}")),
            hostname: Some(ip.clone()),
            address: Some(wire::Address {
                hostname: Some(ip.clone()),
                ip: Some(ip),
                port: Some(address.port().into()),
            }),
        };
        wire::GetMaster {
            master_info: Some(master_info),
            start_time: Some(shape::seconds(self.shared.started)),
            elected_time: Some(shape::seconds(self.shared.election().elected)),
        }
    }

    /// To the leader's address, scheme-relative, whatever the path was called here. The query stays.
    fn redirect(&self, path: &str, query: Option<&str>) -> Answer {
        let Some(leader) = self.shared.election().leader else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "No leader elected");
        };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let location = format!("//{}{path}{query}", self.shared.addresses[leader]);
        let mut answer = plain(StatusCode::TEMPORARY_REDIRECT, Bytes::new());
        let location = HeaderValue::try_from(location)
            .expect("addresses, paths of ours and what passed as a query are header text");
        answer.headers_mut().insert(LOCATION, location);
        answer
    }
}

fn require_post(method: &Method) -> Result<(), Answer> {
    if method == Method::POST {
        return Ok(());
    }
    let text = format!("405 Method Not Allowed. Expecting one of {{ 'POST' }}, but received '{method}'.");
    let mut answer = refuse(StatusCode::METHOD_NOT_ALLOWED, text);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    Err(answer)
}

/// The comparison is exact: a parameter or another case is another type to a real master too.
fn content_type(headers: &HeaderMap) -> Result<Media, Answer> {
    match headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) {
        Some(b"application/json") => Ok(Media::Json),
        Some(b"application/x-protobuf") => Ok(Media::Protobuf),
        Some(_) => Err(refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        )),
        None => Err(refuse(StatusCode::BAD_REQUEST, "Expecting 'Content-Type' to be present")),
    }
}

/// JSON wherever it is allowed, else protobuf.
fn accepted(headers: &HeaderMap) -> Option<Media> {
    let Some(accept) = headers.get(ACCEPT) else { return Some(Media::Json) };
    let accept = accept.to_str().ok()?;
    let allows = |name: &str| {
        let ranges = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
        ranges.into_iter().any(|range| range == name || range == "*/*" || range == "application/*")
    };
    [Media::Json, Media::Protobuf].into_iter().find(|media| allows(media.content_type()))
}

/// The name of a call's type, or what a real master says about a body that has none.
fn parse_call(media: Media, body: &[u8]) -> Result<&'static str, String> {
    let call = match media {
        Media::Protobuf => {
            wire::Call::decode(body).map_err(|_| "Failed to parse body into Call protobuf".to_owned())?
        }
        Media::Json => {
            let value: serde_json::Value = serde_json::from_slice(body).map_err(|error| syntax_error(body, &error))?;
            serde_json::from_value(value)
                .map_err(|error| format!("Failed to convert JSON into Call protobuf: {error}"))?
        }
    };
    call.r#type
        .and_then(wire::call_type::name)
        .filter(|name| *name != "UNKNOWN")
        .ok_or_else(|| "Failed to validate master::Call: Expecting 'type' to be present".to_owned())
}

fn syntax_error(body: &[u8], error: &serde_json::Error) -> String {
    let line = body.split(|octet| *octet == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let near = line.get(error.column().saturating_sub(1)..).unwrap_or_default();
    let near = String::from_utf8_lossy(near);
    format!("Failed to parse body into JSON: syntax error at line {} near: {near}", error.line())
}

fn refuse(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    with_content_type(plain(status, text.into()), "text/plain; charset=utf-8")
}

fn json_answer(value: &serde_json::Value) -> Answer {
    with_content_type(plain(StatusCode::OK, value.to_string().into()), "application/json")
}

fn plain(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(body)));
    *answer.status_mut() = status;
    answer
}

fn with_content_type(mut answer: Answer, content_type: &'static str) -> Answer {
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &str, expected: Option<Media>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(value).unwrap());
        assert_eq!(accepted(&headers), expected, "{value}");
    }

    #[test]
    fn json_wins_wherever_it_is_allowed() {
        accepts("*/*", Some(Media::Json));
        accepts("application/x-protobuf, application/json;q=0.5", Some(Media::Json));
        accepts("application/x-protobuf", Some(Media::Protobuf));
        accepts("application/recordio", None);
        assert_eq!(accepted(&HeaderMap::new()), Some(Media::Json));
    }

    fn refused(body: &str, expected: &str) {
        assert_eq!(parse_call(Media::Json, body.as_bytes()), Err(expected.to_owned()), "{body}");
    }

    #[test]
    fn bodies_are_refused_in_the_words_of_a_real_master() {
        refused("", "Failed to parse body into JSON: syntax error at line 1 near: ");
        refused("{nope", "Failed to parse body into JSON: syntax error at line 1 near: nope");
        refused("{}", "Failed to validate master::Call: Expecting 'type' to be present");
        refused(r#"{"type":"NO_SUCH_CALL"}"#, "Failed to validate master::Call: Expecting 'type' to be present");
        refused(r#"{"type":"subscribe"}"#, "Failed to validate master::Call: Expecting 'type' to be present");
        assert_eq!(parse_call(Media::Json, br#"{"type":"GET_HEALTH","nonsense":1}"#), Ok("GET_HEALTH"));
        assert_eq!(parse_call(Media::Protobuf, &[0x08, 0x12]), Ok("SUBSCRIBE"));
        let bad = parse_call(Media::Protobuf, &[0xff, 0xff, 0xff]);
        assert_eq!(bad, Err("Failed to parse body into Call protobuf".to_owned()));
    }
}
