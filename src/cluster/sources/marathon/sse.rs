//! Server-sent events (WHATWG HTML, section 9.2.6, "Interpreting an event stream").
//!
//! Pure and bounded. Comments and empty frames (Marathon's heartbeats) come out as nothing; that bytes came is the
//! caller's to notice.

use thiserror::Error;

/// The longest event: a plan of a large deployment has some hundreds of kilobytes.
pub const MAX_EVENT: usize = 16 << 20;

/// An event is longer than any should be.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("an event is longer than {MAX_EVENT} bytes")]
pub struct TooLong;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; empty if it has none.
    pub name: String,
    /// Its data, lines joined by LF.
    pub data: String,
}

/// Takes bytes, gives events.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    /// The last byte was a CR: an LF right behind it belongs to it.
    after_cr: bool,
    begun: bool,
}

impl Decoder {
    /// The events that these bytes complete.
    ///
    /// # Errors
    /// One is too long; the stream must be given up.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let follows_cr = std::mem::take(&mut self.after_cr);
            match byte {
                b'\n' if follows_cr => {}
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    events.extend(self.end_line());
                }
                _ => self.line.push(byte),
            }
            if self.held() > MAX_EVENT {
                return Err(TooLong);
            }
        }
        Ok(events)
    }

    /// Bytes held for an event that is not complete.
    pub fn held(&self) -> usize {
        self.line.len() + self.event.data.len() + self.event.name.len()
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let first = !std::mem::replace(&mut self.begun, true);
        // One byte order mark at the very beginning is no part of the stream.
        let text = if first { text.strip_prefix('\u{feff}').unwrap_or(&text) } else { &text };
        if text.is_empty() {
            return self.dispatch();
        }
        let (field, value) = match text.split_once(':') {
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (text, ""),
        };
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // `id` and `retry` mean nothing to Marathon; a line that begins with a colon is a comment.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        let event = std::mem::take(&mut self.event);
        std::mem::take(&mut self.has_data).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let mut decoder = Decoder::default();
        let events = decoder.push(text.as_bytes()).unwrap();
        let shown: Vec<_> = events.iter().map(|event| (&*event.name, &*event.data)).collect();
        assert_eq!(shown, expected, "{text:?}");
    }

    #[test]
    fn frames() {
        check("event: a\r\ndata: {}\r\n\r\n", &[("a", "{}")]);
        check("event: a\ndata: 1\ndata:2\n\ndata: 3\n\n", &[("a", "1\n2"), ("", "3")]);
        check("\u{feff}data: x\r\rdata:  y\n\n", &[("", "x"), ("", " y")]);
        check(": heartbeat\n\n\r\n\r\n", &[]);
        check("event: alone\n\ndata\n\n", &[("", "")]);
        check("id: 7\nretry: 1\nother: z\ndata: w\n\ndata: cut", &[("", "w")]);
    }

    #[test]
    fn an_endless_event_is_given_up() {
        let mut decoder = Decoder::default();
        let line = [&b"data:"[..], &vec![b'x'; 1 << 20], b"\n"].concat();
        let refused = (0..20).any(|_| decoder.push(&line).is_err());
        assert!(refused);
    }
}
