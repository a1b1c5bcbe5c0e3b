//! Messages of HTTP/1.1 as they came, read without judging them.

use std::io::{BufRead, Error, ErrorKind, Result};

/// A message.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Request line or status line.
    pub first: String,
    /// Names in lower case, in the order in which they came.
    pub fields: Vec<(String, String)>,
    pub content: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// What ended it was the end of the connection.
    pub is_ended_by_close: bool,
}

/// How a content without length and coding ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unframed {
    /// There is none: of a request.
    Empty,
    /// With the connection: of an answer.
    ByClose,
    /// There is none, whatever fields say: of an answer to HEAD, and of 1xx, 204 and 304 (RFC 9112 section 6.3).
    Never,
}

impl Message {
    /// A head; an error of kind `UnexpectedEof`: there is none.
    pub fn read_head(input: &mut impl BufRead) -> Result<Self> {
        let first = read_line(input)?;
        Ok(Self { first, fields: read_fields(input)?, ..Self::default() })
    }

    /// What follows the head.
    pub fn read_content(&mut self, input: &mut impl BufRead, unframed: Unframed) -> Result<()> {
        if unframed == Unframed::Never {
            return Ok(());
        }
        if self.field("transfer-encoding").contains("chunked") {
            return self.read_chunks(input);
        }
        match self.field("content-length").parse() {
            Ok(length) => {
                self.content = vec![0; length];
                input.read_exact(&mut self.content)
            }
            Err(_) if unframed == Unframed::ByClose => {
                self.is_ended_by_close = true;
                input.read_to_end(&mut self.content).map(drop)
            }
            Err(_) => Ok(()),
        }
    }

    fn read_chunks(&mut self, input: &mut impl BufRead) -> Result<()> {
        loop {
            let line = read_line(input)?;
            let length = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
            let length = length.map_err(|_| Error::from(ErrorKind::InvalidData))?;
            if length == 0 {
                self.trailers = read_fields(input)?;
                return Ok(());
            }
            let begin = self.content.len();
            self.content.resize(begin + length, 0);
            input.read_exact(&mut self.content[begin..])?;
            read_line(input)?;
        }
    }

    /// Every value of a field, in one line.
    pub fn field(&self, name: &str) -> String {
        let values = self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        values.collect::<Vec<_>>().join(" | ")
    }

    /// A word of the first line.
    pub fn word(&self, index: usize) -> &str {
        self.first.splitn(3, ' ').nth(index).unwrap_or_default()
    }

    /// The status; 0: it is no answer.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    /// How its content ends where nothing says so.
    pub fn unframed_answer(&self, method: &str) -> Unframed {
        match self.status() {
            100..200 | 204 | 304 => Unframed::Never,
            _ if method == "HEAD" => Unframed::Never,
            _ => Unframed::ByClose,
        }
    }
}

/// A line without its end, whatever octets are in it.
fn read_line(input: &mut impl BufRead) -> Result<String> {
    let mut octets = Vec::new();
    input.read_until(b'\n', &mut octets)?;
    if octets.pop() != Some(b'\n') {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let line = String::from_utf8_lossy(&octets).into_owned();
    Ok(line.trim_end_matches('\r').to_owned())
}

fn read_fields(input: &mut impl BufRead) -> Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = read_line(input)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}
