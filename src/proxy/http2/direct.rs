//! Requests over HTTP/2 that take the short way ([`crate::proxy::shortcut`]): to an endpoint of HTTP/1.1 that has a
//! connection waiting, or to one of HTTP/2 that has room for a stream. No map of fields is made of either head.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::answering::Sending;
use super::block::{Block, Noted, WithoutHost};
use super::handles::Reader;
use super::head::Fields;
use super::hpack::Encoder;
use super::link::{Asked, Stream};
use super::upload::Beside;
use crate::config::checked::{ProxyConfig, Underscores};
use crate::model::service::Protocol;
use crate::proxy::answer_body::{AnswerBody, Carrier};
use crate::proxy::authority::authority_to_host;
use crate::proxy::balance::outcome::Outcome;
use crate::proxy::connection::Client;
use crate::proxy::early::Ear;
use crate::proxy::error::AttemptFault;
use crate::proxy::flow::Flow;
use crate::proxy::forward::{self, Brought, Upload};
use crate::proxy::forwarded::{self, Hop};
use crate::proxy::gate;
use crate::proxy::http1::direct::{Asking, read_answer, relay};
use crate::proxy::http1::rewrite::{self, Nowhere, Passing, Sink};
use crate::proxy::http1::upstream::{Bare, Read};
use crate::proxy::pool::{Http2Place, Place};
use crate::proxy::request_body::RequestSource;
use crate::proxy::shortcut::{self, Chosen, FirstTry, Limit, plain_path};

/// Octets of a head for an endpoint of HTTP/1.1, in most cases.
const HEAD: usize = 768;

/// A request whose endpoint is chosen.
#[derive(Debug)]
pub struct Direct {
    chosen: Chosen,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Over HTTP/1.1.
    Bare(Asking),
    /// Over HTTP/2.
    Stream(Stream),
    /// The long one.
    Long,
}

/// Begins with a request, if it needs no second look; `ends`: it has no content.
pub fn begin(client: &Rc<Client>, fields: &Fields, ends: bool) -> Option<Direct> {
    let (found, needs_stream) = client.worker.with_table(|table| {
        let proxy = &table.config.proxy;
        if !shortcut::is_open_to(client, proxy) {
            return None;
        }
        let needs_stream = read(proxy, fields)? || !ends;
        let path = plain_path(fields.path())?;
        let host = authority_to_host(fields.authority()).ok()?;
        Some((shortcut::find(table, client, &host, path)?, needs_stream))
    })?;
    let mut chosen = Chosen::begin(client, found)?;
    if is_call(fields) {
        chosen.is_a_call();
    }
    let way = match chosen.endpoint.protocol {
        Protocol::Http if !needs_stream => bare(client, &chosen, fields),
        Protocol::H2c | Protocol::H2 if chosen.endpoint.proxy_protocol.is_none() => stream(client, &chosen),
        _ => Way::Long,
    };
    Some(Direct { chosen, way })
}

/// Whether a request is a call over gRPC, as [`crate::proxy::grpc::is_call`] has it.
fn is_call(fields: &Fields) -> bool {
    fields.method() == "POST" && has_grpc(fields)
}

/// Whether the content is that of a call.
fn has_grpc(fields: &Fields) -> bool {
    fields.iter().any(|(name, value, _)| name == b"content-type" && value.starts_with(b"application/grpc"))
}

/// Whether a request that can be passed on as it is needs a stream for that; `None`: it needs a second look.
fn read(proxy: &ProxyConfig, fields: &Fields) -> Option<bool> {
    let is_get = fields.method() == "GET";
    if !(is_get || fields.method() == "POST") || !matches!(fields.scheme(), "http" | "https") || fields.has_protocol() {
        return None;
    }
    if fields.len() > proxy.limits.head_fields {
        return None;
    }
    let mut needs_stream = !is_get;
    for (name, value, _) in fields.iter() {
        match name {
            b"content-length" if gate::is_padded(value) => return None,
            b"host" | b"expect" | b"trailer" | b"http2-settings" | b"max-forwards" => return None,
            // Its time is the proxy's business, too.
            _ if name.starts_with(b"grpc-timeout") => return None,
            b"te" | b"content-length" => needs_stream = true,
            _ if name.contains(&b'_') && proxy.underscores == Underscores::Refuse => return None,
            _ => {}
        }
    }
    // Everything else that needs a second look is found on the way.
    rewrite::request(with_host(fields), &mut Nowhere)?;
    Some(needs_stream)
}

/// The fields as HTTP/1.1 has them.
fn with_host(fields: &Fields) -> impl Iterator<Item = (&[u8], &[u8], bool)> {
    std::iter::once((&b"host"[..], fields.authority().as_bytes(), false)).chain(fields.iter())
}

fn bare(client: &Client, chosen: &Chosen, fields: &Fields) -> Way {
    let mut head = Vec::with_capacity(HEAD);
    for part in ["GET ", fields.path(), " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    // It was found that nothing stands against it.
    if rewrite::request(with_host(fields), &mut head).is_none() {
        return Way::Long;
    }
    let hop = Hop { authority: fields.authority(), ..shortcut::hop(client) };
    rewrite::end_request(&mut head, "2", &hop, &chosen.config.proxy.via);
    Way::Bare(Asking::new(client, chosen, head))
}

fn stream(client: &Client, chosen: &Chosen) -> Way {
    let worker = &client.worker;
    let place = Place::of(&chosen.endpoint, None, &worker.tls);
    match worker.pool.take_http2(&place, &chosen.endpoint, &chosen.config.proxy.limits, chosen.started()) {
        Http2Place::Stream(stream) => Way::Stream(stream),
        // Whoever goes the long way opens one, or waits.
        Http2Place::Open(_) | Http2Place::Wait(_) => Way::Long,
    }
}

/// Answers a request whose endpoint is chosen.
pub(super) async fn serve(
    client: Rc<Client>,
    fields: Box<Fields>,
    direct: Direct,
    reader: Option<Reader>,
    sending: Sending,
) {
    let Direct { chosen, way } = direct;
    let serving = Serving { client, fields, chosen, sending };
    match way {
        Way::Bare(asking) => serving.ask_bare(asking).await,
        Way::Stream(stream) => serving.ask_stream(stream, reader).await,
        Way::Long => {
            let upload = match reader {
                Some(reader) => Upload::Comes(Flow::Stream(reader)),
                None if serving.fields.iter().any(|(name, ..)| name == b"te") => Upload::Comes(Flow::Nothing),
                None => Upload::Nothing,
            };
            serving.resume(FirstTry::Chosen, upload).await;
        }
    }
}

struct Serving {
    client: Rc<Client>,
    fields: Box<Fields>,
    chosen: Chosen,
    sending: Sending,
}

impl Serving {
    /// Goes on the long way, with its head taken apart.
    async fn resume(mut self, first: FirstTry, upload: Upload) {
        let Ok(head) = self.fields.request() else { return self.sending.writer.is_malformed() };
        let Some(resumed) = self.chosen.resumed(first) else { return };
        let ear = Ear::Stream(self.sending.writer.interim());
        let answer = Box::pin(forward::resume(self.client, head, resumed, Brought { upload, ear }));
        let Some(answer) = self.sending.unless_over(answer).await else { return };
        Box::pin(self.sending.answer(answer, None)).await;
    }

    async fn ask_bare(mut self, mut asking: Asking) {
        let heard = poll_fn(|context| {
            if self.sending.writer.poll_over(context).is_ready() {
                return Poll::Ready(None);
            }
            asking.poll_heard(&mut self.chosen, &self.client, context).map(Some)
        });
        let begun = match heard.await {
            // Whoever has gone needs no answer: dropping it ends the request.
            None => return,
            Some(heard) => heard.and_then(|(connection, read)| self.begin_bare(connection, read)),
        };
        match begun {
            Ok(Some(body)) => self.sending.body(body).await,
            Ok(None) => {}
            // Boxed: few requests come this way.
            Err(first) => Box::pin(self.resume(first, Upload::Nothing)).await,
        }
    }

    /// Passes the head of an answer on; what follows it, if anything does.
    fn begin_bare(&mut self, connection: Bare, read: Read) -> Result<Option<AnswerBody>, FirstTry> {
        let (client, config) = (self.client.clone(), self.chosen.config.clone());
        let passing = Passing { via: &config.proxy.via, closes: false };
        let mut head = Noted::new();
        let said = read_answer(read.bytes(), &passing, || client.worker.date(), &mut head);
        let Some((length, said)) = said else { return Err(FirstTry::Heard(connection, read)) };
        let relay = relay(&mut self.chosen, &client, (connection, read), length, said)?;
        let body = AnswerBody::Bare(Box::new(relay));
        let ends = http_body::Body::is_end_stream(&body);
        let sent = self.sending.writer.send_head(ends, |encoder, out| head.write(encoder, out));
        // A client that has gone needs nothing.
        Ok(if ends || sent.is_err() { None } else { Some(body) })
    }

    async fn ask_stream(mut self, stream: Stream, reader: Option<Reader>) {
        let source = match reader {
            Some(reader) => {
                let (proxy, shard) = (&self.chosen.config.proxy, self.client.worker.shard.clone());
                RequestSource::new(Flow::Stream(reader), proxy, u64::MAX, shard)
            }
            None => RequestSource::empty(),
        };
        // A client of HTTP/2 whose answer has begun may rest, and who makes a call may at any time.
        if self.chosen.is_call() {
            source.may_rest();
        }
        let asked = stream.open(source.reader(), |encoder, out| self.write_head(encoder, out));
        let Some(mut asked) = asked else {
            // The place is another's now.
            drop(stream);
            return Box::pin(self.resume(FirstTry::Chosen, Upload::Begun(source))).await;
        };
        if stream.reused {
            self.client.worker.shard.upstream_reused.increment();
        }
        let heard = poll_fn(|context| self.poll_heard(&mut asked, context)).await;
        let fields = match heard {
            Heard::Gone => return,
            Heard::Failed(fault) => {
                let first = FirstTry::Failed(stream.classify(fault));
                // Nothing of this try goes on beside the next one.
                drop((asked, stream));
                return Box::pin(self.resume(first, Upload::Begun(source))).await;
            }
            Heard::Limit(Limit::Failed(fault)) if matches!(fault, AttemptFault::Drained) => {
                drop((asked, stream));
                return Box::pin(self.resume(FirstTry::Failed(fault), Upload::Begun(source))).await;
            }
            // How long it may still take is found out on the long way.
            Heard::Limit(_) => {
                let first = FirstTry::Asked(asked, stream);
                return Box::pin(self.resume(first, Upload::Begun(source))).await;
            }
            Heard::Answer(fields) => fields,
        };
        match self.begin_stream(fields, asked, stream, &source) {
            Ok(Some(body)) => {
                source.may_rest();
                // What it holds for a repeat is needed no more.
                source.forget();
                let Self { sending, .. } = self;
                drop(source);
                sending.body(body).await;
            }
            Ok(None) => {}
            Err(first) => Box::pin(self.resume(first, Upload::Begun(source))).await,
        }
    }

    fn write_head(&self, encoder: &mut Encoder, out: &mut Vec<u8>) {
        let (fields, chosen) = (&self.fields, &self.chosen);
        encoder.begin(out);
        encoder.method(fields.method(), out);
        encoder.scheme(if chosen.endpoint.tls.is_some() { "https" } else { "http" }, out);
        encoder.authority(fields.authority(), out);
        encoder.path(fields.path(), out);
        let mut block = Block { encoder, out };
        // It was found that nothing stands against it.
        let _ = rewrite::request(with_host(fields), &mut WithoutHost(&mut block));
        block.via("2", &chosen.config.proxy.via);
        let hop = Hop { authority: fields.authority(), ..shortcut::hop(&self.client) };
        forwarded::each(&hop, |field, value| block.field(field.name().as_bytes(), value, false));
    }

    fn poll_heard(&mut self, asked: &mut Asked, context: &mut Context<'_>) -> Poll<Heard> {
        if self.sending.writer.poll_over(context).is_ready() {
            return Poll::Ready(Heard::Gone);
        }
        let (writer, via) = (&self.sending.writer, &self.chosen.config.proxy.via);
        match asked.poll_answer(context, &mut |head| Ear::Stream(writer.interim()).hears(head, via)) {
            Poll::Ready(Ok(fields)) => Poll::Ready(Heard::Answer(fields)),
            Poll::Ready(Err(fault)) => Poll::Ready(Heard::Failed(fault)),
            Poll::Pending => Poll::Ready(Heard::Limit(ready!(self.chosen.poll_limits(&self.client, true, context)))),
        }
    }

    /// Passes the head of an answer on; what follows it, if anything does.
    fn begin_stream(
        &mut self,
        fields: Box<Fields>,
        asked: Asked,
        stream: Stream,
        source: &RequestSource,
    ) -> Result<Option<AnswerBody>, FirstTry> {
        let (client, config) = (self.client.clone(), self.chosen.config.clone());
        let (via, worker) = (&*config.proxy.via, &client.worker);
        let date = || worker.date();
        let plain = fields.status().filter(|status| rewrite::is_plain_status(status.as_u16()));
        let plain = plain
            .filter(|status| rewrite::stream_answer(fields.iter(), status.as_u16(), via, date, &mut Nowhere).is_some());
        let Some(status) = plain else { return Err(FirstTry::Answered(fields, asked, stream)) };
        // Of a call the trailers tell.
        let outcome = if has_grpc(&fields) { None } else { Some(Outcome::Good) };
        let since = source.last_progress().map_or(self.chosen.started(), |last| last.max(self.chosen.started()));
        let Some(mut account) = self.chosen.answers(&client, status, outcome, since) else { return Ok(None) };
        account.upload = source.fate();
        let limits = &config.proxy.limits;
        let reader = asked.into_reader(Beside { tasks: &worker.tasks, stall: limits.idle });
        let body = AnswerBody::relayed(Flow::Stream(reader), Carrier::Http2(stream), worker.clone(), account, limits);
        let ends = http_body::Body::is_end_stream(&body);
        let sent = self.sending.writer.send_head(ends, |encoder, out| {
            encoder.begin(out);
            encoder.status(status.as_u16(), out);
            let _ = rewrite::stream_answer(fields.iter(), status.as_u16(), via, date, &mut Block { encoder, out });
        });
        // A client that has gone needs nothing.
        Ok(if ends || sent.is_err() { None } else { Some(body) })
    }
}

/// What has become of a request that was sent as a stream.
enum Heard {
    /// Its client is gone.
    Gone,
    Answer(Box<Fields>),
    Failed(super::stream::StreamFault),
    Limit(Limit),
}
