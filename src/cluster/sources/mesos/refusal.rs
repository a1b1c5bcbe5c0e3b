//! What a master's refusal means, in words that tell how to mend it. Pure.

use super::leader::{STATE_PATH, Target};

/// The media types of the two encodings, as Mesos compares them: exactly, in lower case, without parameters.
pub const PROTOBUF: &str = "application/x-protobuf";
/// See [`PROTOBUF`].
pub const JSON: &str = "application/json";

/// How a master answered a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`. None is asked for a stream, and Mesos never compresses one.
    pub content_encoding: Option<String>,
    /// `Date`: the master's own clock, seconds since 1970.
    pub date: Option<u64>,
    /// `Location`.
    pub location: Option<String>,
    /// The first bytes of the body of an answer that is not 200, as text.
    pub body: String,
}

/// Which credentials went along with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// None are configured.
    None,
    /// They were sent.
    Sent,
    /// They were kept back: the master was reached by a redirect and is not a configured one.
    KeptBack,
}

impl Credentials {
    /// What went along, of what is configured.
    pub fn of(configured: bool, sent: bool) -> Self {
        match (configured, sent) {
            (false, _) => Self::None,
            (true, true) => Self::Sent,
            (true, false) => Self::KeptBack,
        }
    }
}

/// Why a request was not granted, and what to do about it. `None`: it was granted.
pub fn explain(head: &Head, expected: &str, target: &Target, credentials: Credentials) -> Option<String> {
    let said = said(&head.body);
    let text = match head.status {
        200 if target.asks_for_state() => return wrong_type(head, expected, target),
        200 => return wrong_type(head, expected, target).or_else(|| compressed(head, target)),
        401 => unauthorized(target, credentials),
        403 => format!(
            "{target} forbids the request (403{said}): the principal needs the permission to read the master's \
             state (ACLs view_frameworks, view_tasks and view_executors)"
        ),
        404 | 405 if target.asks_for_state() => {
            format!("{target} has no {STATE_PATH} ({status}{said}): the port must be a master's", status = head.status)
        }
        404 | 405 => format!(
            "{target} does not know the operator API ({status}{said}): Mesos 1.1 or later is needed, and the port \
             must be a master's",
            status = head.status
        ),
        406 | 415 => format!(
            "{target} does not accept {expected} ({status}{said}): a proxy in between seems to change the \
             Content-Type or Accept header; Mesos compares them exactly",
            status = head.status
        ),
        503 => format!("{target} is not ready (503{said})"),
        status @ 500.. => format!("{target} failed ({status}{said})"),
        status => format!("{target} refuses the request ({status}{said})"),
    };
    Some(text)
}

fn unauthorized(target: &Target, credentials: Credentials) -> String {
    match credentials {
        Credentials::None => {
            format!(
                "{target} asks for credentials (401): set the principal and secret, the token or the service account of this source"
            )
        }
        Credentials::Sent => {
            format!(
                "{target} does not accept the credentials (401): check the principal and secret, the token or the service account"
            )
        }
        Credentials::KeptBack => format!(
            "{target} asks for credentials (401), which were kept back as it was reached by a redirect and is not \
             among the configured masters: add {target} to them"
        ),
    }
}

fn wrong_type(head: &Head, expected: &str, target: &Target) -> Option<String> {
    let kind = head.content_type.as_deref().unwrap_or("none");
    let plain = kind.split(';').next().unwrap_or_default().trim();
    (!plain.eq_ignore_ascii_case(expected)).then(|| {
        format!(
            "{target} answers with Content-Type {kind:?} instead of {expected}: it is not a Mesos master, or a proxy \
             in between changes its answers",
            kind = kind.chars().take(100).collect::<String>()
        )
    })
}

fn compressed(head: &Head, target: &Target) -> Option<String> {
    let encoding = head.content_encoding.as_deref().filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))?;
    Some(format!(
        "{target} answers with Content-Encoding {encoding:?}, which nobody asked for: a proxy in between compresses the \
         stream; switch that off for this path",
        encoding = encoding.chars().take(100).collect::<String>()
    ))
}

/// What the body says, if it is a short line of text.
fn said(body: &str) -> String {
    let line = body.lines().next().unwrap_or_default().trim();
    let line: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
    if line.is_empty() { line } else { format!(", {line}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(status: u16, content_type: &str, body: &str, credentials: Credentials) -> Option<String> {
        let head = Head { status, content_type: Some(content_type.into()), body: body.into(), ..Head::default() };
        explain(&head, PROTOBUF, &Target::parse("m1:5050").unwrap(), credentials)
    }

    #[test]
    fn refusals_tell_the_mend() {
        use Credentials::{KeptBack, None, Sent};
        for (status, body, credentials, part) in [
            (401, "", None, "set the principal"),
            (401, "", Sent, "check the principal"),
            (401, "", KeptBack, "add m1:5050"),
            (403, "no", Sent, "view_frameworks"),
            (404, "", None, "Mesos 1.1"),
            (415, "Expecting 'Content-Type' of application/json", None, "415, Expecting 'Content-Type'"),
            (406, "", None, "Accept"),
            (503, "Master has not finished recovery", None, "503, Master has not finished recovery"),
            (500, "boom\nstack", None, "500, boom)"),
            (400, "", None, "refuses"),
        ] {
            let text = explained(status, "text/plain", body, credentials).unwrap();
            assert!(text.contains(part), "{status}: {text}");
        }
    }

    #[test]
    fn only_the_expected_type_is_granted() {
        assert_eq!(explained(200, "application/x-protobuf", "", Credentials::None), None);
        assert_eq!(explained(200, "Application/X-Protobuf; a=b", "", Credentials::None), None);
        assert!(explained(200, "application/json", "", Credentials::None).unwrap().contains("application/json"));
        assert!(explained(200, "text/html", "", Credentials::None).unwrap().contains("not a Mesos master"));
    }

    #[test]
    fn a_compressed_stream_is_not_read() {
        let encoded = |encoding: &str| {
            let head = Head {
                status: 200,
                content_type: Some(PROTOBUF.into()),
                content_encoding: Some(encoding.into()),
                ..Head::default()
            };
            explain(&head, PROTOBUF, &Target::parse("m1:5050").unwrap(), Credentials::None)
        };
        assert_eq!(encoded("identity"), None);
        assert!(encoded("gzip").unwrap().contains("a proxy in between compresses"));
    }
}
