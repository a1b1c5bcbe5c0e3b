//! Requests of HTTP/1.1 that take the short way ([`crate::proxy::shortcut`]), to endpoints that have a connection waiting:
//! what is read is rewritten ([`super::rewrite`]) and written.

use std::mem::MaybeUninit;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::time::Instant;

use super::answer::Answer;
use super::relay::BareRelay;
use super::rewrite::{self, AnswerSink, Passing};
use super::stays;
use super::upstream::{Bare, BareAnswer, Read};
use crate::config::checked::{ProxyConfig, Underscores};
use crate::model::service::Protocol;
use crate::proxy::authority::authority_to_host;
use crate::proxy::balance::outcome::Outcome;
use crate::proxy::connect;
use crate::proxy::connection::Client;
use crate::proxy::forwarded::Hop;
use crate::proxy::shortcut::{self, Chosen, FirstTry, Limit, Resumed, plain_path};

/// The most fields of an answer that is passed on so.
const FIELDS: usize = 64;
/// What the proxy says of a request takes so many octets, in most cases.
const OWN_FIELDS: usize = 320;

/// A request under way.
#[derive(Debug)]
pub struct Direct {
    /// Its head as the client sent it: for the long way.
    pub raw: Vec<u8>,
    /// The client wants the connection closed after the answer.
    pub closes: bool,
    chosen: Chosen,
    asking: Asking,
}

/// A head that is sent to an endpoint, whose answer is waited for.
#[derive(Debug)]
pub struct Asking {
    head: Vec<u8>,
    written: usize,
    /// `None`: none was waiting.
    connection: Option<Bare>,
}

/// Begins with a plain request, if it needs no second look: `head` and what it says.
pub fn begin(client: &Rc<Client>, head: &[u8], parsed: &httparse::Request<'_, '_>) -> Option<Box<Direct>> {
    if parsed.method != Some("GET") {
        return None;
    }
    let worker = &client.worker;
    let (begun, found) = worker.with_table(|table| {
        let proxy = &table.config.proxy;
        if !shortcut::is_open_to(client, proxy) {
            return None;
        }
        let read = read(client, proxy, head.len(), parsed)?;
        let found = shortcut::find(table, client, &read.host, read.path)?;
        Some((Begun { head: read.head, closes: read.closes }, found))
    })?;
    let chosen = Chosen::begin(client, found)?;
    let asking = Asking::new(client, &chosen, begun.head);
    Some(Box::new(Direct { raw: head.to_vec(), closes: begun.closes, chosen, asking }))
}

/// A head that is ready for the next hop.
struct Begun {
    head: Vec<u8>,
    closes: bool,
}

/// The same, and what routes go by.
pub(super) struct Found<'a> {
    pub(super) head: Vec<u8>,
    pub(super) closes: bool,
    pub(super) host: std::borrow::Cow<'a, str>,
    pub(super) path: &'a str,
}

fn read<'a>(
    client: &Client,
    proxy: &ProxyConfig,
    length: usize,
    parsed: &httparse::Request<'_, 'a>,
) -> Option<Found<'a>> {
    // A field that is left out here may have such a name, too.
    if proxy.underscores == Underscores::Refuse && parsed.headers.iter().any(|field| field.name.contains('_')) {
        return None;
    }
    write(length, parsed, shortcut::hop(client), &proxy.via)
}

/// Writes the head of a plain GET of so many octets for the next hop. `hop`: what is known of its client, but for the authority
/// that it asks for.
pub(super) fn write<'a>(
    length: usize,
    parsed: &httparse::Request<'_, 'a>,
    hop: Hop<'_>,
    via: &str,
) -> Option<Found<'a>> {
    let target = parsed.path?;
    let path = plain_path(target)?;
    let mut head = Vec::with_capacity(length + OWN_FIELDS);
    head.extend_from_slice(b"GET ");
    head.extend_from_slice(target.as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    let asked = rewrite::request(rewrite::parsed(parsed.headers), &mut head)?;
    let host = authority_to_host(asked.authority).ok()?;
    rewrite::end_request(&mut head, "1.1", &Hop { authority: asked.authority, ..hop }, via);
    Some(Found { head, closes: asked.closes, host, path })
}

impl Asking {
    /// On a connection that waits for its next request, if there is one.
    pub fn new(client: &Client, chosen: &Chosen, head: Vec<u8>) -> Self {
        let endpoint = &chosen.endpoint;
        let is_bare = endpoint.protocol == Protocol::Http && connect::is_plain(endpoint);
        let connection = if is_bare { client.worker.pool.take_bare(endpoint, chosen.started()) } else { None };
        Self { head, written: 0, connection }
    }

    /// Sends the head and waits for the beginning of an answer; `Err`: it takes the long way.
    pub fn poll_heard(
        &mut self,
        chosen: &mut Chosen,
        client: &Client,
        context: &mut Context<'_>,
    ) -> Poll<Result<(Bare, Read), FirstTry>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Err(FirstTry::Chosen)) };
        while self.written < self.head.len() {
            match connection.poll_write(context, &self.head[self.written..]) {
                Poll::Ready(Ok(length)) => self.written += length,
                Poll::Ready(Err(error)) => {
                    let fault = connection.unsent(self.written, error);
                    return Poll::Ready(Err(FirstTry::Failed(fault)));
                }
                Poll::Pending => return self.poll_limits(chosen, client, context),
            }
        }
        match connection.poll_read(context) {
            Poll::Ready(Ok(read)) if read.bytes().is_empty() => {
                let fault = connection.died(std::io::ErrorKind::UnexpectedEof.into());
                Poll::Ready(Err(FirstTry::Failed(fault)))
            }
            Poll::Ready(Ok(read)) => {
                let Some(connection) = self.connection.take() else { return Poll::Ready(Err(FirstTry::Chosen)) };
                Poll::Ready(Ok((connection, read)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(FirstTry::Failed(connection.died(error)))),
            Poll::Pending => self.poll_limits(chosen, client, context),
        }
    }

    /// Whether the try has taken too long, or its endpoint is gone.
    fn poll_limits<T>(
        &mut self,
        chosen: &mut Chosen,
        client: &Client,
        context: &mut Context<'_>,
    ) -> Poll<Result<T, FirstTry>> {
        // What has not been sent to its end stays here: it could not be waited for on the long way.
        let is_sent = self.written == self.head.len();
        chosen.poll_limits(client, is_sent, context).map(|limit| {
            Err(match (limit, self.connection.take()) {
                (Limit::Failed(fault), _) => FirstTry::Failed(fault),
                (Limit::Slow, Some(connection)) => FirstTry::Heard(connection, Read::default()),
                (Limit::Slow, None) => FirstTry::Chosen,
            })
        })
    }

    /// The buffer of the head that was sent, empty.
    fn take_buffer(&mut self) -> Vec<u8> {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        head
    }
}

/// What follows the head of an answer, of so many octets, that is passed on; `Err`: it is another's already.
pub fn relay(
    chosen: &mut Chosen,
    client: &Client,
    (mut connection, mut read): (Bare, Read),
    length: usize,
    said: rewrite::Said,
) -> Result<BareRelay, FirstTry> {
    let Some(account) = chosen.answers(client, said.status, Some(Outcome::Good), chosen.started()) else {
        return Err(FirstTry::Heard(connection, read));
    };
    read.advance(length);
    connection.until = said.stays.map(|said| stays::until(said, Instant::now()));
    let answer = BareAnswer { connection, framing: said.framing, is_kept: said.is_kept, read };
    let limits = &chosen.config.proxy.limits;
    Ok(BareRelay::new(answer, chosen.endpoint.address, client.worker.clone(), account, limits))
}

impl Direct {
    /// Sends the request and waits for an answer that can be passed on; `Err`: it takes the long way.
    pub fn poll_answer(
        &mut self,
        client: &Client,
        closes: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<Answer, FirstTry>> {
        self.closes |= closes;
        let heard = ready!(self.asking.poll_heard(&mut self.chosen, client, context));
        Poll::Ready(heard.and_then(|(connection, read)| self.heard(client, connection, read)))
    }

    /// What is needed on the long way; `None`: the request is answered.
    pub fn resumed(&mut self, first: FirstTry) -> Option<Resumed> {
        self.chosen.resumed(first)
    }

    fn heard(&mut self, client: &Client, connection: Bare, read: Read) -> Result<Answer, FirstTry> {
        // The request has left: its buffer is free.
        let mut head = self.asking.take_buffer();
        let passing = Passing { via: &self.chosen.config.proxy.via, closes: self.closes };
        let Some((length, said)) = read_answer(read.bytes(), &passing, || client.worker.date(), &mut head) else {
            return Err(FirstTry::Heard(connection, read));
        };
        let has_content = !matches!(said.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let relay = relay(&mut self.chosen, client, (connection, read), length, said)?;
        Ok(Answer::passed_on(head, relay, has_content))
    }
}

/// Reads the head of an answer that did its work, and writes it for the client.
pub fn read_answer(
    bytes: &[u8],
    passing: &Passing<'_>,
    date: impl FnOnce() -> http::HeaderValue,
    head: &mut impl AnswerSink,
) -> Option<(usize, rewrite::Said)> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let read = config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields);
    let Ok(httparse::Status::Complete(length)) = read else { return None };
    Some((length, rewrite::answer(&parsed, passing, date, head)?))
}
