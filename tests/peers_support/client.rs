//! A client that sends a case and hears everything that comes, and what it is compared by.

use std::collections::BTreeMap;
use std::io::{BufReader, Error, ErrorKind, Result, Write};
use std::net::{SocketAddr, TcpStream};

use super::cases::{Case, probe};
use super::message::Message;
use crate::common::program::PATIENCE;

/// What a client heard.
#[derive(Default)]
pub struct Conversation {
    interim: Vec<Message>,
    answers: Vec<Message>,
    /// What became of the connection.
    end: &'static str,
}

impl Conversation {
    pub fn hold(address: SocketAddr, case: &Case) -> Self {
        let mut conversation = Self::default();
        conversation.end = match conversation.run(address, case) {
            Ok(()) => "goes on",
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => "is silent",
            Err(error) if error.kind() == ErrorKind::InvalidData => "is not understood",
            Err(_) => "is closed",
        };
        conversation
    }

    fn run(&mut self, address: SocketAddr, case: &Case) -> Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut input = BufReader::new(stream.try_clone()?);
        let mut parts = case.parts.iter();
        let mut send = |part: Option<&String>| stream.write_all(part.map_or("", String::as_str).as_bytes());
        send(parts.next())?;
        for method in &case.methods {
            let answer = loop {
                let mut answer = Message::read_head(&mut input)?;
                answer.read_content(&mut input, answer.unframed_answer(method))?;
                if !(100..200).contains(&answer.status()) {
                    break answer;
                }
                self.interim.push(answer);
                send(parts.next())?;
            };
            let is_over = answer.is_ended_by_close;
            self.answers.push(answer);
            if is_over {
                return Err(Error::from(ErrorKind::UnexpectedEof));
            }
        }
        send(Some(&probe()))?;
        Message::read_head(&mut input).map(drop)
    }
}

/// What is compared, and by which name a difference of it is listed: a kind (`answer`, `request`), the number of the message,
/// and what of it.
type Aspects = BTreeMap<(&'static str, usize, String), String>;

/// Fields of one hop (RFC 9110 section 7.6.1), and those that a proxy writes by itself and as it is configured.
const LEFT_OUT: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "date",
    "forwarded",
    "server",
    "via",
    "x-pointsman-reason",
    "x-real-ip",
];

/// What a case came to: what the client heard, and what the server behind saw.
pub struct Outcome {
    aspects: Aspects,
    counts: [(&'static str, usize); 2],
}

impl Outcome {
    pub fn of(case: &Case, heard: &Conversation, seen: &[Message]) -> Self {
        let mut aspects = Aspects::new();
        let mut note =
            |kind, index, what: &str, value: String| drop(aspects.insert((kind, index, what.to_owned()), value));
        note("end", 0, "", heard.end.to_owned());
        let interim = heard.interim.iter().map(|answer| format!("{} {}", answer.status(), answer.field("link")));
        note("interim", 0, "", interim.collect::<Vec<_>>().join(", "));
        let counts = [("answer", heard.answers.len()), ("request", seen.len())];
        for (kind, count) in counts {
            note(kind, 0, "count", count.to_string());
        }
        let messages = heard.answers.iter().enumerate().map(|(index, message)| ("answer", index, message));
        let requests = seen.iter().enumerate().map(|(index, message)| ("request", index, message));
        for (kind, index, message) in messages.chain(requests) {
            let (version, line) = match kind {
                "answer" => (message.word(0), format!("{} {}", message.word(1), message.word(2))),
                _ => (message.word(2), format!("{} {}", message.word(0), message.word(1))),
            };
            note(kind, index, "version", version.to_owned());
            note(kind, index, "line", line);
            note(kind, index, "content", shown(&message.content));
            note(kind, index, "trailers", format!("{:?}", message.trailers));
            // A client of HTTP/1.0 knows no codings (RFC 9112 section 6.1).
            if kind == "answer" && case.parts.iter().any(|part| part.contains(" HTTP/1.0\r\n")) {
                note(kind, index, "coding", message.field("transfer-encoding"));
            }
            for (name, _) in &message.fields {
                if !LEFT_OUT.contains(&name.as_str()) && !name.starts_with("x-forwarded-") {
                    note(kind, index, name, message.field(name));
                }
            }
        }
        Self { aspects, counts }
    }

    /// Where another one differs: what is listed, what this one is, what the other one is. Of messages that only one of them
    /// has, their number alone.
    pub fn differences(&self, other: &Self) -> Vec<(String, String, String)> {
        let has_both = |kind: &str, index: usize| {
            let mut counts = self.counts.iter().chain(&other.counts).filter(|(counted, _)| *counted == kind);
            counts.all(|(_, count)| index < *count)
        };
        let keys = self.aspects.keys().chain(other.aspects.keys());
        let mut found: Vec<_> = keys
            .filter(|(kind, index, what)| what == "count" || has_both(kind, *index))
            .filter(|key| self.aspects.get(*key) != other.aspects.get(*key))
            .map(|key| {
                let value = |of: &Self| {
                    of.aspects.get(key).map_or_else(|| "nothing".to_owned(), |value| shown(value.as_bytes()))
                };
                (format!("{} {}", key.0, key.2).trim_end().to_owned(), value(self), value(other))
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// The one value of an aspect of the first message.
    pub fn first(&self, kind: &'static str, what: &str) -> &str {
        self.aspects.get(&(kind, 0, what.to_owned())).map_or("", String::as_str)
    }
}

/// Octets as text; of many their beginning, their number, and what tells them from others.
fn shown(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(&octets[..octets.len().min(80)]);
    if octets.len() <= 80 {
        return text.into_owned();
    }
    let sum = octets.iter().fold(0_u64, |sum, octet| sum.wrapping_mul(31).wrapping_add(u64::from(*octet)));
    format!("{text}… ({} octets, {sum:x})", octets.len())
}
