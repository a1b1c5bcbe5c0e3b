//! An answer on its way to a client of HTTP/1.1: its head, and its body as pieces that are written where they lie.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Response, StatusCode, response};
use http_body::Body as _;
use hyper::ext::ReasonPhrase;

use super::relay::BareRelay;
use crate::proxy::answer_body::{AnswerBody, AnswerFault};

/// What an answer's framing depends on beside the answer itself.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// It was asked for the head alone.
    pub is_head: bool,
    /// The connection ends with the answer.
    pub closes: bool,
}

/// An answer that is being written: `prefix`, then the body's present piece, then `suffix`.
#[derive(Debug)]
pub struct Answer {
    body: AnswerBody,
    /// The present piece, where the body is not one that lies in a buffer of this thread.
    frame: Bytes,
    prefix: Vec<u8>,
    prefix_at: usize,
    suffix: &'static [u8],
    state: State,
    is_chunked: bool,
}

#[derive(Debug)]
enum State {
    /// The next piece is to be asked for.
    Asks,
    /// There is something to write, and more behind it.
    Writes,
    /// What there is to write is the last.
    Ends,
    /// The body broke off; what came before is still written.
    Breaks,
}

/// What to do with an answer next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Write what [`Answer::pieces`] gives.
    Write,
    /// It is written.
    Done,
    /// Nothing more comes, and it is not whole.
    Broken,
}

impl Answer {
    /// Begins an answer.
    pub fn new(answer: Response<AnswerBody>, asked: Asked) -> Self {
        let (head, body) = answer.into_parts();
        let has_content = !asked.is_head && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = length(&body);
        let is_chunked = has_content && length.is_none();
        let prefix = write_head(&head, framing(&head, &body, has_content), asked.closes);
        let state = if has_content { State::Asks } else { State::Ends };
        Self { body, frame: Bytes::new(), prefix, prefix_at: 0, suffix: b"", state, is_chunked }
    }

    /// Begins an answer whose head is written already.
    pub fn passed_on(head: Vec<u8>, relay: BareRelay, has_content: bool) -> Self {
        let is_chunked = has_content && relay.length().is_none();
        let state = if has_content { State::Asks } else { State::Ends };
        let (body, frame) = (AnswerBody::Bare(Box::new(relay)), Bytes::new());
        Self { body, frame, prefix: head, prefix_at: 0, suffix: b"", state, is_chunked }
    }

    /// What is to be done. Pending: the body has nothing yet, and all that there was is written.
    pub fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        loop {
            if matches!(self.state, State::Asks) {
                match self.poll_piece(context) {
                    Poll::Ready(piece) => self.begin(&piece),
                    Poll::Pending if self.is_empty() => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            if !self.is_empty() {
                return Poll::Ready(Step::Write);
            }
            match self.state {
                State::Writes => self.state = State::Asks,
                State::Ends => return Poll::Ready(Step::Done),
                State::Breaks => return Poll::Ready(Step::Broken),
                State::Asks => {}
            }
        }
    }

    /// What is to be written, in this order.
    pub fn pieces(&self) -> [&[u8]; 3] {
        [&self.prefix[self.prefix_at..], self.piece(), self.suffix]
    }

    /// The client does not read: what there is has to wait.
    pub fn waits(&mut self) {
        if let AnswerBody::Bare(relay) = &mut self.body {
            relay.waits();
        }
    }

    /// So many octets of the pieces were written.
    pub fn advance(&mut self, length: usize) {
        let of_prefix = length.min(self.prefix.len() - self.prefix_at);
        self.prefix_at += of_prefix;
        if self.prefix_at == self.prefix.len() {
            self.prefix.clear();
            self.prefix_at = 0;
        }
        let of_piece = (length - of_prefix).min(self.piece().len());
        match &mut self.body {
            AnswerBody::Bare(relay) => relay.advance(of_piece),
            _ => self.frame.advance(of_piece),
        }
        self.suffix = &self.suffix[length - of_prefix - of_piece..];
    }

    fn is_empty(&self) -> bool {
        self.pieces().iter().all(|piece| piece.is_empty())
    }

    fn piece(&self) -> &[u8] {
        match &self.body {
            AnswerBody::Bare(relay) => relay.piece(),
            _ => &self.frame,
        }
    }

    /// The next piece, not empty; `false`: the body is whole.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, AnswerFault>> {
        if let AnswerBody::Bare(relay) = &mut self.body {
            return relay.poll_piece(context);
        }
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
                return Poll::Ready(Ok(false));
            };
            // Trailers: who asks for them is served by hyper.
            if let Ok(data) = frame?.into_data()
                && !data.is_empty()
            {
                self.frame = data;
                return Poll::Ready(Ok(true));
            }
        }
    }

    fn begin(&mut self, piece: &Result<bool, AnswerFault>) {
        self.state = match piece {
            Ok(true) if is_last(&self.body) => State::Ends,
            Ok(true) => State::Writes,
            Ok(false) => State::Ends,
            Err(_) => State::Breaks,
        };
        if !self.is_chunked {
            return;
        }
        if let Ok(true) = piece {
            let length = self.piece().len();
            write_hexadecimal(&mut self.prefix, length);
            self.prefix.extend_from_slice(b"\r\n");
        }
        self.suffix = match (piece, &self.state) {
            (Ok(true), State::Ends) => b"\r\n0\r\n\r\n",
            (Ok(true), _) => b"\r\n",
            (Ok(false), _) => b"0\r\n\r\n",
            (Err(_), _) => b"",
        };
    }
}

fn length(body: &AnswerBody) -> Option<u64> {
    match body {
        AnswerBody::Bare(relay) => relay.length(),
        body => body.size_hint().exact(),
    }
}

fn is_last(body: &AnswerBody) -> bool {
    match body {
        AnswerBody::Bare(relay) => relay.is_last(),
        body => body.is_end_stream(),
    }
}

/// The fields that mark the end of an answer's content.
#[derive(Clone, Copy)]
enum Framing {
    /// As the answer has them.
    AsItIs,
    /// None.
    None,
    Length(u64),
    Chunked,
}

/// RFC 9112 section 6, and RFC 9110 section 8.6 for what has no content.
fn framing(head: &response::Parts, body: &AnswerBody, has_content: bool) -> Framing {
    match (has_content, body) {
        (true, body) => length(body).map_or(Framing::Chunked, Framing::Length),
        // RFC 9110 section 8.6: "MUST NOT" for 204; for 304 only the one that an answer with content would have had, which
        // an endpoint may know.
        (false, _) if head.status == StatusCode::NO_CONTENT => Framing::None,
        (false, AnswerBody::Local(..)) if head.status == StatusCode::NOT_MODIFIED => Framing::None,
        (false, AnswerBody::Local(..)) => length(body).map_or(Framing::None, Framing::Length),
        (false, _) => Framing::AsItIs,
    }
}

fn write_head(head: &response::Parts, framing: Framing, closes: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(head.status.as_str().as_bytes());
    text.push(b' ');
    match head.extensions.get::<ReasonPhrase>() {
        Some(reason) => text.extend_from_slice(reason.as_bytes()),
        None => text.extend_from_slice(head.status.canonical_reason().unwrap_or_default().as_bytes()),
    }
    text.extend_from_slice(b"\r\n");
    let keeps_length = matches!(framing, Framing::AsItIs);
    for (name, value) in &head.headers {
        if *name == CONNECTION || *name == TRANSFER_ENCODING || (*name == CONTENT_LENGTH && !keeps_length) {
            continue;
        }
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    match framing {
        Framing::AsItIs | Framing::None => {}
        Framing::Length(length) => {
            text.extend_from_slice(b"content-length: ");
            text.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => text.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if closes {
        text.extend_from_slice(b"connection: close\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text
}

fn write_hexadecimal(text: &mut Vec<u8>, number: usize) {
    use std::io::Write;
    // Writing to a vector cannot fail.
    let _ = write!(text, "{number:x}");
}
