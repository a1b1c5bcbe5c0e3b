//! A request as one line, for machines or in the formats that log readers know.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderValue, Version};
use serde::Serialize;

use super::note::{self, Note};
use crate::config::access::{AccessFormat, AccessLogConfig};
use crate::model::endpoint::Endpoint;
use crate::model::time::Civil;

/// Octets of a target, and of any other text of the client's, that are written.
const LONGEST_TARGET: usize = 4096;
const LONGEST_TEXT: usize = 512;

/// The status of a request that its client gave up before it was answered, as nginx has it.
const GIVEN_UP: u16 = 499;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How a request ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The status of its answer; `None`: there was none.
    pub status: Option<u16>,
    /// What became of the answer.
    pub end: EndKind,
    /// From its head to the end of its answer.
    pub elapsed: Duration,
    /// The endpoint that served it, or that was tried last.
    pub endpoint: Option<&'a Endpoint>,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndKind {
    /// It is whole.
    Complete,
    /// It broke off on the endpoint's side.
    Cut,
    /// The client went away.
    ClientGone,
}

impl EndKind {
    /// Its name in logs and spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cut => "cut",
            Self::ClientGone => "client-gone",
        }
    }
}

impl Ended<'_> {
    /// Whether somebody may want to know why.
    pub fn went_wrong(&self, note: &Note) -> bool {
        self.end != EndKind::Complete
            || self.status.is_none_or(|status| status >= 500)
            || note.reason.is_some_and(|reason| !reason.is_intended())
    }

    fn status(&self) -> u16 {
        self.status.unwrap_or(GIVEN_UP)
    }
}

/// What a line of JSON says.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    client: String,
    method: &'a str,
    scheme: &'static str,
    host: &'a str,
    target: &'a str,
    protocol: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    miss: Option<&'a str>,
    end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<SocketAddr>,
    attempts: u32,
    table: u64,
    received: u64,
    sent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    queued_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_ms: Option<f64>,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
}

/// Appends the line of a request.
pub fn write(config: &AccessLogConfig, note: &Note, ended: &Ended<'_>, out: &mut Vec<u8>) {
    let line = line(config, note, ended);
    if config.format == AccessFormat::Json {
        let length = out.len();
        if serde_json::to_writer(&mut *out, &line).is_err() {
            out.truncate(length);
            return;
        }
    } else {
        write_text(config.format, note, &line, out);
    }
    out.push(b'\n');
}

fn line<'a>(config: &AccessLogConfig, note: &'a Note, ended: &Ended<'a>) -> Line<'a> {
    let text = |value: &HeaderValue| clip(&String::from_utf8_lossy(value.as_bytes()), LONGEST_TEXT).to_owned();
    Line {
        time: Civil::from(note.at).to_string(),
        client: note.client.to_string(),
        method: if note.is_unread { "-" } else { clip(note.method.as_str(), LONGEST_TEXT) },
        scheme: if note.secure { "https" } else { "http" },
        host: clip(note.authority.to_str().unwrap_or_default(), LONGEST_TEXT),
        target: clip(note::target(note, config.query), LONGEST_TARGET),
        protocol: protocol(note.version),
        status: ended.status(),
        reason: note.reason.map(super::super::reason::Reason::code),
        miss: note.miss.as_deref(),
        end: ended.end.as_str(),
        service: note.service.as_ref().map(ToString::to_string),
        version: ended.endpoint.map(|endpoint| endpoint.version.as_str()),
        endpoint: ended.endpoint.map(|endpoint| endpoint.id.to_string()),
        address: ended.endpoint.map(|endpoint| endpoint.address),
        attempts: note.attempts,
        table: note.generation,
        received: note.received.get(),
        sent: note.sent,
        queued_ms: note.queued.as_ref().map(|queued| milliseconds(queued.get())),
        first_byte_ms: note.first.map(milliseconds),
        duration_ms: milliseconds(ended.elapsed),
        request_id: note.request_id.as_ref().and_then(|(_, id)| id.to_str().ok()),
        trace_id: note.trace_id.as_deref(),
        referer: note.referer.as_ref().map(text),
        user_agent: note.user_agent.as_ref().map(text),
    }
}

/// The formats of NCSA's and Apache's servers; who has passed as whom is not said.
fn write_text(format: AccessFormat, note: &Note, line: &Line<'_>, out: &mut Vec<u8>) {
    let at = Civil::from(note.at);
    let month = usize::try_from(at.month).ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    let (hour, minute, second) = (at.second / 3600, at.second / 60 % 60, at.second % 60);
    let month = month.copied().unwrap_or("-");
    // Writing to a vector cannot fail.
    let _ = write!(out, "{} - - [{:02}/{month}/{:04}:", line.client, at.day, at.year);
    let _ = write!(out, "{hour:02}:{minute:02}:{second:02} +0000] \"");
    for (text, end) in [(line.method, " "), (line.target, " "), (line.protocol, "\" ")] {
        escape(text, out);
        out.extend_from_slice(end.as_bytes());
    }
    let _ = write!(out, "{} {}", line.status, line.sent);
    if format == AccessFormat::Common {
        return;
    }
    let quoted = [line.referer.as_deref(), line.user_agent.as_deref()];
    quote(&quoted, out);
    if format == AccessFormat::Combined {
        return;
    }
    quote(&[Some(line.host), line.request_id, line.trace_id], out);
    let texts = [line.reason, Some(line.end), line.service.as_deref(), line.version, line.endpoint.as_deref()];
    quote(&texts, out);
    let _ = match line.address {
        Some(address) => write!(out, " {address}"),
        None => write!(out, " -"),
    };
    let _ = write!(out, " {} {} {}", line.attempts, line.table, line.received);
    let first = line.first_byte_ms.unwrap_or(line.duration_ms);
    let _ = write!(out, " {first:.3} {:.3} {:.3}", line.duration_ms, line.queued_ms.unwrap_or_default());
}

fn quote(texts: &[Option<&str>], out: &mut Vec<u8>) {
    for text in texts {
        out.extend_from_slice(b" \"");
        escape(text.filter(|text| !text.is_empty()).unwrap_or("-"), out);
        out.push(b'"');
    }
}

/// A quote, a backslash and whatever is not visible ASCII as Apache writes it: no client ends a line of ours.
fn escape(text: &str, out: &mut Vec<u8>) {
    for &octet in text.as_bytes() {
        match octet {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', octet]),
            b' '..=b'~' => out.push(octet),
            _ => {
                let _ = write!(out, "\\x{octet:02x}");
            }
        }
    }
}

/// The beginning of a text, not longer than so many octets.
fn clip(text: &str, longest: usize) -> &str {
    &text[..text.floor_char_boundary(longest)]
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 | Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;
    use crate::proxy::reason::Reason;

    fn note() -> Note {
        Note {
            request_id: Some(("x-request-id".parse().unwrap(), "id-1".parse().unwrap())),
            begun_trace: None,
            span: None,
            rule: crate::config::access::LogRule::Sampled,
            at: Timestamp(1_709_251_199_042),
            client: [192, 0, 2, 1].into(),
            secure: false,
            is_unread: false,
            method: "GET".parse().unwrap(),
            authority: HeaderValue::from_static("shop.test"),
            target: "/a?secret=1".parse().unwrap(),
            version: Version::HTTP_11,
            referer: None,
            user_agent: Some(HeaderValue::from_bytes(b"a\"b\\c\xe9").unwrap()),
            trace_id: None,
            service: None,
            generation: 7,
            reason: Some(Reason::NoRoute),
            miss: None,
            attempts: 0,
            queued: None,
            first: Some(Duration::from_micros(1500)),
            received: Default::default(),
            sent: 12,
        }
    }

    fn written(format: AccessFormat, query: bool) -> String {
        written_of(&note(), format, query)
    }

    fn written_of(note: &Note, format: AccessFormat, query: bool) -> String {
        let config = AccessLogConfig { format, query, ..AccessLogConfig::default() };
        let elapsed = Duration::from_micros(2250);
        let ended = Ended { status: Some(404), end: EndKind::Complete, elapsed, endpoint: None };
        let mut out = Vec::new();
        write(&config, note, &ended, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_that_readers_of_logs_know() {
        let common = "192.0.2.1 - - [29/Feb/2024:23:59:59 +0000] \"GET /a?secret=1 HTTP/1.1\" 404 12";
        assert_eq!(written(AccessFormat::Common, true), format!("{common}\n"));
        let combined = format!(r#"{common} "-" "a\"b\\c\xef\xbf\xbd""#);
        assert_eq!(written(AccessFormat::Combined, true), format!("{combined}\n"));
        let extended =
            format!(r#"{combined} "shop.test" "id-1" "-" "no-route" "complete" "-" "-" "-" - 0 7 0 1.500 2.250 0.000"#);
        assert_eq!(written(AccessFormat::Extended, true), format!("{extended}\n"));
    }

    #[test]
    fn lines_of_json_and_no_query_where_none_is_wanted() {
        let line: serde_json::Value = serde_json::from_str(&written(AccessFormat::Json, false)).unwrap();
        assert_eq!(line["time"], "2024-02-29T23:59:59.042Z");
        assert_eq!((&line["target"], &line["reason"], &line["table"]), (&"/a".into(), &"no-route".into(), &7.into()));
        assert_eq!((line["first_byte_ms"].as_f64(), line["duration_ms"].as_f64()), (Some(1.5), Some(2.25)));
        assert!(line.get("service").is_none() && line.get("queued_ms").is_none() && line.get("miss").is_none());
    }

    #[test]
    fn how_long_a_request_stood_in_line_has_a_field_of_its_own() {
        let mut note = note();
        let queued = note.queued.insert(std::rc::Rc::default());
        queued.set(Duration::from_micros(750));
        let line: serde_json::Value = serde_json::from_str(&written_of(&note, AccessFormat::Json, true)).unwrap();
        assert_eq!((line["queued_ms"].as_f64(), line["first_byte_ms"].as_f64()), (Some(0.75), Some(1.5)));
        assert!(written_of(&note, AccessFormat::Extended, true).ends_with(" 1.500 2.250 0.750\n"));
        assert_eq!(written_of(&note, AccessFormat::Combined, true), written(AccessFormat::Combined, true));
    }

    #[test]
    fn long_texts_are_clipped_between_characters() {
        assert_eq!(clip("aé", 2), "a");
        assert_eq!(clip("aé", 3), "aé");
    }
}
