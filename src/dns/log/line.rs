//! One answer as one line, for people or for machines.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Entry;
use crate::config::checked::LogFormat;
use crate::dns::metrics::type_name;
use crate::dns::wire::name::NameText;
use crate::dns::wire::{HEADER_LEN, Rcode, flags, read_u16};

/// What a line says.
#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since 1970, to the millisecond.
    time: f64,
    client: String,
    transport: &'static str,
    name: &'a str,
    #[serde(rename = "type")]
    record_type: String,
    rcode: String,
    flags: String,
    answers: u16,
    size: usize,
}

/// Appends the line of an answer.
pub(super) fn write(entry: &Entry<'_>, format: LogFormat, out: &mut String) {
    let message = entry.answer;
    let word = read_u16(message, 2).unwrap_or_default();
    let question = (read_u16(message, 4) == Some(1)).then(|| NameText::read(message, HEADER_LEN)).flatten();
    let asked = question.as_ref().and_then(|(_, end)| read_u16(message, *end));
    let line = Line {
        time: seconds(entry.at),
        client: entry.client.map_or_else(|| "-".to_owned(), |client| client.to_string()),
        transport: entry.transport.as_str(),
        name: question.as_ref().map_or("-", |(name, _)| if name.as_str().is_empty() { "." } else { name.as_str() }),
        record_type: asked.map_or_else(|| "-".to_owned(), type_name),
        rcode: rcode(message, word),
        flags: flags_of(word),
        answers: read_u16(message, 6).unwrap_or_default(),
        size: message.len(),
    };
    let written = match format {
        LogFormat::Json => serde_json::to_string(&line).is_ok_and(|json| writeln!(out, "{json}").is_ok()),
        LogFormat::Text => {
            let Line { time, client, transport, name, record_type, rcode, flags, answers, size } = &line;
            writeln!(out, "{time:.3} {client} {transport} {name} {record_type} {rcode} {flags} {answers} {size}")
                .is_ok()
        }
    };
    debug_assert!(written, "a string takes whatever is written");
}

fn seconds(at: SystemTime) -> f64 {
    let milliseconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    milliseconds as f64 / 1000.0
}

/// The response code: four bits in the header, and eight that OPT adds, the last record of what we write.
fn rcode(message: &[u8], word: u16) -> String {
    let opt = message.windows(9).rposition(|octets| octets[..3] == [0, 0, 41]);
    let upper = opt.and_then(|at| message.get(at + 5)).copied().unwrap_or_default();
    let whole = u16::from(upper) << 4 | word & 0xf;
    // Octets that only look like OPT can stand in no record of ours but in texts and addresses: then the code is unknown.
    let known = |code: u16| Rcode::ALL.iter().find(|known| known.code() == code).map(|known| known.as_str().to_owned());
    known(whole).or_else(|| known(word & 0xf)).unwrap_or_else(|| (word & 0xf).to_string())
}

/// `a` authoritative, `t` truncated, `r` recursion desired; `-` none of them.
fn flags_of(word: u16) -> String {
    let all = [(flags::AA, 'a'), (flags::TC, 't'), (flags::RD, 'r')];
    let set: String = all.iter().filter(|(flag, _)| word & flag != 0).map(|(_, letter)| *letter).collect();
    if set.is_empty() { "-".into() } else { set }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::Transport;

    fn line(answer: &[u8], format: LogFormat) -> String {
        let at = UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_123);
        let client = Some([192, 0, 2, 1].into());
        let mut out = String::new();
        write(&Entry { at, client, transport: Transport::Udp, query: &[], answer }, format, &mut out);
        out
    }

    #[test]
    fn lines_say_what_was_asked_and_answered() {
        let answer = b"\x12\x34\x85\x00\0\x01\0\x02\0\0\0\0\x03WWW\x05mesos\0\0\x1c\0\x01";
        assert_eq!(line(answer, LogFormat::Text), "1700000000.123 192.0.2.1 udp www.mesos AAAA NOERROR ar 2 27\n");
        let json: serde_json::Value = serde_json::from_str(&line(answer, LogFormat::Json)).unwrap();
        assert_eq!((&json["name"], &json["type"], &json["answers"]), (&"www.mesos".into(), &"AAAA".into(), &2.into()));
        assert_eq!(json["time"], 1_700_000_000.123);
        let opt = [&b"\x12\x34\x80\x07\0\0\0\0\0\0\0\x01"[..], b"\0\0\x29\x04\xd0\x01\0\0\0\0\0"].concat();
        assert_eq!(line(&opt, LogFormat::Text), "1700000000.123 192.0.2.1 udp - - BADCOOKIE - 0 23\n");
        assert_eq!(line(b"", LogFormat::Text), "1700000000.123 192.0.2.1 udp - - NOERROR - 0 0\n");
    }
}
