//! Both sides of a connection against each other, without sockets.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use http::{HeaderMap, Request, Response};
use proptest::prelude::*;

use super::frame::{self, Code, ConnectionFault, FrameHead, HEAD, flag, kind, setting};
use super::handles::{Reader, Shared, Turn, Writer};
use super::head;
use super::input::{self, Input};
use super::receive::Event;
use super::state::{Core, Counted, Limits, Role};
use super::stream::{Awaited, StreamFault};
use crate::proxy::held::Held;
use crate::proxy::metrics::Shard;

const LIMITS: Limits = Limits { streams: 4, list: 2000, stream_window: 1000, connection_window: 70_000, faults: 10 };

struct Side {
    core: Shared,
    input: Input,
    shard: Arc<Shard>,
}

impl Side {
    fn new(role: Role, limits: Limits) -> Self {
        let shard: Arc<Shard> = Arc::default();
        let core = Core::new(role, limits, Counted::Answers(Held::nothing(shard.clone())));
        let input = if role == Role::Server { Input::of_client() } else { Input::of_endpoint() };
        Self { core: Rc::new(RefCell::new(core)), input, shard }
    }

    /// What it has to say.
    fn said(&self) -> Vec<u8> {
        let mut core = self.core.borrow_mut();
        let said = core.waiting().to_vec();
        core.was_sent(said.len());
        said
    }

    fn hears(&mut self, octets: &[u8]) -> Result<Vec<Event>, ConnectionFault> {
        let mut events = Vec::new();
        input::feed(&mut self.input, octets, &self.core, |event| events.push(event))?;
        Ok(events)
    }
}

/// A server that has heard its client's first words.
struct Server {
    side: Side,
}

fn payload(frames: &[u8]) -> Vec<(FrameHead, Vec<u8>)> {
    let (mut rest, mut found) = (frames, Vec::new());
    while let Some(head) = FrameHead::read(rest) {
        found.push((head, rest[HEAD..HEAD + head.length].to_vec()));
        rest = &rest[HEAD + head.length..];
    }
    found
}

impl Server {
    fn new() -> Self {
        let mut side = Side::new(Role::Server, LIMITS);
        let mut first = frame::PREFACE.to_vec();
        frame::write_settings(&[], &mut first);
        assert!(side.hears(&first).unwrap().is_empty());
        side.said();
        Self { side }
    }

    fn hears(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<Vec<Event>, ConnectionFault> {
        let mut octets = Vec::new();
        frame::write(kind, flags, stream, payload, &mut octets);
        self.side.hears(&octets)
    }

    fn says(&self) -> Vec<(u8, u32)> {
        payload(&self.side.said()).iter().map(|(head, _)| (head.kind, head.stream)).collect()
    }

    /// The code of the reset that it sends.
    fn resets(&self, stream: u32) -> Option<u32> {
        let said = payload(&self.side.said());
        let reset = said.iter().find(|(head, _)| head.kind == kind::RST_STREAM && head.stream == stream)?;
        Some(u32::from_be_bytes(reset.1.as_slice().try_into().unwrap()))
    }
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn get() -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])
}

fn post(length: &str) -> Vec<u8> {
    let head =
        [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/"), ("content-length", length)];
    block(&head)
}

const WHOLE: u8 = flag::END_HEADERS | flag::END_STREAM;

fn code(result: Result<Vec<Event>, ConnectionFault>) -> Option<u32> {
    result.err().map(|fault| fault.code.0)
}

#[test]
fn identifiers_rfc9113_5_1_1() {
    let mut server = Server::new();
    assert_eq!(server.hears(kind::HEADERS, WHOLE, 5, &get()).unwrap().len(), 1);
    assert_eq!(code(server.hears(kind::HEADERS, WHOLE, 3, &get())), Some(Code::PROTOCOL_ERROR.0), "it was left out");
    assert_eq!(code(Server::new().hears(kind::HEADERS, WHOLE, 2, &get())), Some(Code::PROTOCOL_ERROR.0));
    assert_eq!(code(Server::new().hears(kind::HEADERS, WHOLE, 0, &get())), Some(Code::PROTOCOL_ERROR.0));
    for kind in [kind::DATA, kind::RST_STREAM, kind::WINDOW_UPDATE] {
        assert_eq!(code(Server::new().hears(kind, 0, 1, &[0, 0, 0, 1])), Some(Code::PROTOCOL_ERROR.0), "{kind}");
    }
}

#[test]
fn what_comes_after_the_end_rfc9113_5_1() {
    let mut server = Server::new();
    server.hears(kind::HEADERS, WHOLE, 1, &get()).unwrap();
    assert_eq!(code(server.hears(kind::DATA, 0, 1, b"x")), None);
    assert_eq!(server.resets(1), Some(Code::STREAM_CLOSED.0));
    // What was on its way when it was reset does no harm.
    assert_eq!(code(server.hears(kind::DATA, 0, 1, b"x")), None);
    assert_eq!(server.says(), []);
    // Given up by the client, also where whoever serves it has not heard of that yet.
    server.hears(kind::HEADERS, flag::END_HEADERS, 7, &post("5")).unwrap();
    let _reader = Reader::new(server.side.core.clone(), 7);
    server.hears(kind::RST_STREAM, 0, 7, &[0, 0, 0, 8]).unwrap();
    assert_eq!(code(server.hears(kind::DATA, 0, 7, b"x")), None);
    assert_eq!(server.resets(7), Some(Code::STREAM_CLOSED.0));
    // Answered, and closed.
    let mut server = Server::new();
    server.hears(kind::HEADERS, WHOLE, 3, &get()).unwrap();
    let writer = Writer::new(server.side.core.clone(), 3);
    writer.send_head(true, |encoder, out| head::write_answer(&Response::new(()).into_parts().0, encoder, out)).unwrap();
    drop(writer);
    assert_eq!(code(server.hears(kind::HEADERS, WHOLE, 3, &get())), Some(Code::STREAM_CLOSED.0));
}

#[test]
fn streams_are_bounded_and_refused_ones_may_be_sent_again_rfc9113_8_7() {
    let mut server = Server::new();
    for stream in [1, 3, 5, 7] {
        assert_eq!(server.hears(kind::HEADERS, WHOLE, stream, &get()).unwrap().len(), 1);
    }
    assert!(server.hears(kind::HEADERS, WHOLE, 9, &get()).unwrap().is_empty());
    assert_eq!(server.resets(9), Some(Code::REFUSED_STREAM.0));
    server.hears(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]).unwrap();
    assert_eq!(server.hears(kind::HEADERS, WHOLE, 11, &get()).unwrap().len(), 1);
    // Whoever serves what was reset may not have heard of it: that is bounded, too.
    for stream in (13..).step_by(2).take(20) {
        server.hears(kind::RST_STREAM, 0, stream - 2, &[0, 0, 0, 8]).unwrap();
        server.hears(kind::HEADERS, WHOLE, stream, &get()).unwrap();
    }
    assert!(server.side.core.borrow().open() <= 4);
}

#[test]
fn lengths_rfc9113_8_1_1() {
    for (length, data, ends, expected) in [
        ("5", &b"hello"[..], true, None),
        ("5", b"hell", true, Some(Code::PROTOCOL_ERROR.0)),
        ("5", b"hello!", false, Some(Code::PROTOCOL_ERROR.0)),
        ("5", b"hell", false, None),
    ] {
        let mut server = Server::new();
        server.hears(kind::HEADERS, flag::END_HEADERS, 1, &post(length)).unwrap();
        server.hears(kind::DATA, if ends { flag::END_STREAM } else { 0 }, 1, data).unwrap();
        assert_eq!(server.resets(1), expected, "{data:?}");
    }
    let mut server = Server::new();
    assert!(server.hears(kind::HEADERS, WHOLE, 1, &post("5")).unwrap().is_empty());
    assert_eq!(server.resets(1), Some(Code::PROTOCOL_ERROR.0));
}

#[test]
fn windows_rfc9113_6_9_1() {
    let mut server = Server::new();
    server.hears(kind::HEADERS, flag::END_HEADERS, 1, &post("100000")).unwrap();
    let mut reader = Reader::new(server.side.core.clone(), 1);
    server.hears(kind::DATA, 0, 1, &[0; 900]).unwrap();
    assert_eq!(server.side.shard.held(), 900, "what waits is counted");
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(reader.poll_data(&context), Poll::Ready(Ok(Some(piece))) if piece.len() == 900));
    assert_eq!((server.says(), server.side.shard.held()), (vec![(kind::WINDOW_UPDATE, 1)], 0));
    server.hears(kind::DATA, 0, 1, &[0; 1000]).unwrap();
    assert_eq!(server.resets(1), None);
    // Padding counts, and is given back at once.
    server.hears(kind::DATA, flag::PADDED, 1, &[[9; 1].as_slice(), &[0; 9]].concat()).unwrap();
    assert_eq!(server.resets(1), Some(Code::FLOW_CONTROL_ERROR.0));
    assert!(matches!(
        pin!(std::future::poll_fn(|context| reader.poll_data(context))).poll(&mut context),
        Poll::Ready(Ok(Some(_)))
    ));
    assert!(matches!(reader.poll_data(&context), Poll::Ready(Err(StreamFault::Broken(Code::FLOW_CONTROL_ERROR)))));
    drop(reader);
    assert_eq!(server.side.shard.held(), 0);
}

#[test]
fn nobody_takes_what_is_dropped_and_the_connections_window_goes_on() {
    let mut server = Server::new();
    for stream in [1, 3] {
        server.hears(kind::HEADERS, flag::END_HEADERS, stream, &post("100000")).unwrap();
    }
    let (reader, writer) = (Reader::new(server.side.core.clone(), 1), Writer::new(server.side.core.clone(), 1));
    server.hears(kind::DATA, 0, 1, &[0; 1000]).unwrap();
    drop(reader);
    assert_eq!(server.side.shard.held(), 0);
    // RFC 9113 section 8.1: the answer is whole, the rest of the request is not wanted.
    writer.send_head(true, |encoder, out| head::write_answer(&Response::new(()).into_parts().0, encoder, out)).unwrap();
    drop(writer);
    assert_eq!(server.resets(1), Some(Code::NO_ERROR.0));
    for _ in 0..34 {
        server.hears(kind::DATA, 0, 1, &[0; 1000]).unwrap();
    }
    assert_eq!(server.says(), [(kind::WINDOW_UPDATE, 0)]);
}

#[test]
fn errors_of_streams_are_bounded_cve_2025_8671() {
    let mut server = Server::new();
    let mut streams = (1..).step_by(2);
    let ended = streams.by_ref().take(1000).find_map(|stream| {
        server.hears(kind::HEADERS, flag::END_HEADERS, stream, &post("5")).unwrap();
        let _served = (Reader::new(server.side.core.clone(), stream), Writer::new(server.side.core.clone(), stream));
        server.hears(kind::WINDOW_UPDATE, 0, stream, &[0; 4]).err().map(|fault| (stream, fault.code))
    });
    assert_eq!(ended, Some((21, Code::ENHANCE_YOUR_CALM)));
}

#[test]
fn a_drain_takes_what_is_on_its_way_rfc9113_6_8() {
    let mut server = Server::new();
    server.hears(kind::HEADERS, WHOLE, 1, &get()).unwrap();
    server.side.core.borrow_mut().ask_to_close();
    assert_eq!(server.says(), [(kind::GOAWAY, 0), (kind::PING, 0)]);
    assert_eq!(server.hears(kind::HEADERS, WHOLE, 3, &get()).unwrap().len(), 1);
    server.hears(kind::PING, flag::ACK, 0, b"pointsmn").unwrap();
    let said = payload(&server.side.said());
    assert_eq!((said[0].0.kind, said[0].1[..4].to_vec()), (kind::GOAWAY, vec![0, 0, 0, 3]));
    assert!(server.hears(kind::HEADERS, WHOLE, 5, &get()).unwrap().is_empty());
    for stream in [1, 3] {
        assert!(!server.side.core.borrow().is_done());
        Writer::new(server.side.core.clone(), stream).reset(Code::CANCEL);
    }
    assert!(server.side.core.borrow().is_done());
}

/// A client and a server that exchange what they have to say.
struct Pair {
    client: Side,
    server: Side,
    /// Streams that the server has seen.
    asked: Vec<u32>,
}

impl Pair {
    fn new(limits: Limits) -> Self {
        let (client, server) = (Side::new(Role::Client, limits), Side::new(Role::Server, limits));
        let mut pair = Self { client, server, asked: Vec::new() };
        pair.exchange(usize::MAX);
        pair
    }

    /// Lets both hear each other, in pieces of so many octets; whether anything was said.
    fn exchange(&mut self, piece: usize) -> bool {
        let (up, down) = (self.client.said(), self.server.said());
        for octets in up.chunks(piece) {
            for event in self.server.hears(octets).unwrap() {
                let Event::Request { stream, .. } = event else { panic!("{event:?}") };
                self.asked.push(stream);
            }
        }
        for octets in down.chunks(piece) {
            self.client.hears(octets).unwrap();
        }
        !up.is_empty() || !down.is_empty()
    }

    fn ask(&self) -> (Reader, Writer) {
        let head = Request::post("http://a/").body(()).unwrap().into_parts().0;
        let write = |encoder: &mut _, out: &mut _| head::write_request(&head, None, encoder, out);
        let id = self.client.core.borrow_mut().open_stream(false, Awaited::Content, write).unwrap();
        (Reader::new(self.client.core.clone(), id), Writer::new(self.client.core.clone(), id))
    }
}

/// Sends `octets` as far as there is room; whether all were sent.
fn push(writer: &Writer, octets: &mut &[u8]) -> bool {
    let context = Context::from_waker(Waker::noop());
    while let Poll::Ready(room) = writer.poll_room(octets.len(), &context) {
        let room = room.unwrap();
        let (now, later) = octets.split_at(room);
        *octets = later;
        writer.send_data(now, later.is_empty()).unwrap();
        if later.is_empty() {
            return true;
        }
    }
    false
}

/// Takes what has come; whether that was all.
fn pull(reader: &mut Reader, taken: &mut Vec<u8>) -> bool {
    let context = Context::from_waker(Waker::noop());
    while let Poll::Ready(piece) = reader.poll_data(&context) {
        match piece.unwrap() {
            Some(piece) => taken.extend_from_slice(&piece),
            None => return true,
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the windows, the sizes of the pieces and the order: all octets arrive, and nothing is left.
    #[test]
    fn everything_arrives(
        bodies in prop::collection::vec(0_usize..5000, 1..4),
        piece in 1_usize..3000,
        window in 1_u32..2000,
    ) {
        let mut pair = Pair::new(Limits { stream_window: window, ..LIMITS });
        let octets: Vec<Vec<u8>> =
            bodies.iter().map(|length| (0..*length).map(|at| u8::try_from(at % 251).unwrap()).collect()).collect();
        let asked: Vec<_> = bodies.iter().map(|_| pair.ask()).collect();
        let (mut readers, writers): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        pair.exchange(piece);
        prop_assert_eq!(pair.asked.len(), bodies.len());
        let serving: Vec<_> = pair.asked.iter().map(|id| {
            (Reader::new(pair.server.core.clone(), *id), Writer::new(pair.server.core.clone(), *id))
        }).collect();
        let (mut uploads, answers): (Vec<_>, Vec<_>) = serving.into_iter().unzip();
        for answer in &answers {
            answer.send_head(false, |encoder, out| {
                head::write_answer(&Response::new(()).into_parts().0, encoder, out);
            }).unwrap();
        }
        let mut left: Vec<&[u8]> = octets.iter().map(Vec::as_slice).collect();
        let mut back = left.clone();
        let (mut up, mut down) = (vec![Vec::new(); bodies.len()], vec![Vec::new(); bodies.len()]);
        let mut done = vec![[false; 4]; bodies.len()];
        let mut rounds = 0;
        while done.iter().flatten().any(|done| !done) {
            for at in 0..bodies.len() {
                let done = &mut done[at];
                done[0] = done[0] || push(&writers[at], &mut left[at]);
                done[1] = done[1] || pull(&mut uploads[at], &mut up[at]);
                done[2] = done[2] || push(&answers[at], &mut back[at]);
                done[3] = done[3] || pull(&mut readers[at], &mut down[at]);
            }
            pair.exchange(piece);
            rounds += 1;
            prop_assert!(rounds < 100_000, "nothing moves any more: {:?}", done);
        }
        prop_assert_eq!(&up, &octets);
        prop_assert_eq!(&down, &octets);
        drop((readers, writers, uploads, answers));
        for side in [&pair.client, &pair.server] {
            prop_assert_eq!((side.core.borrow().open(), side.shard.held()), (0, 0));
        }
    }

    /// Whatever comes, nothing panics, and what waits is bounded by the windows.
    #[test]
    fn anything_may_come(octets in prop::collection::vec(any::<u8>(), 0..600), flags in any::<u8>()) {
        for role in [Role::Server, Role::Client] {
            let mut side = Side::new(role, LIMITS);
            let mut first = if role == Role::Server { frame::PREFACE.to_vec() } else { Vec::new() };
            frame::write_settings(&[(setting::INITIAL_WINDOW_SIZE, 10)], &mut first);
            frame::write(kind::HEADERS, flags, 1, &get(), &mut first);
            let _ = side.hears(&first);
            let _ = side.hears(&octets);
            prop_assert!(side.shard.held() <= 71_000);
        }
    }
}

#[test]
fn trailers_come_behind_the_content_rfc9113_8_1() {
    let mut pair = Pair::new(LIMITS);
    let (mut reader, writer) = pair.ask();
    writer.send_data(b"x", true).unwrap();
    pair.exchange(7);
    let answer = Writer::new(pair.server.core.clone(), pair.asked[0]);
    answer
        .send_head(false, |encoder, out| head::write_answer(&Response::new(()).into_parts().0, encoder, out))
        .unwrap();
    answer.send_data(b"y", false).unwrap();
    let trailers: HeaderMap = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
    answer.send_trailers(&trailers).unwrap();
    pair.exchange(5);
    let context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(head)) = reader.poll_answer(&context) else { panic!("no answer") };
    let mut taken = Vec::new();
    assert!(pull(&mut reader, &mut taken) && head.status().unwrap().as_u16() == 200);
    assert_eq!((taken, reader.take_trailers()), (b"y".to_vec(), Some(trailers)));
    assert!(reader.is_over());
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// RFC 9113 section 5.1.2: one place that becomes free is one's, and whoever was told and went away leaves it to the next one.
#[test]
fn the_end_of_a_stream_wakes_one_of_those_who_wait_for_it() {
    let mut pair = Pair::new(LIMITS);
    let mut asked: Vec<_> = (0..LIMITS.streams).map(|_| pair.ask()).collect();
    pair.exchange(usize::MAX);
    let core = pair.client.core.clone();
    let mut turns: Vec<_> = (0..4).map(|_| (Box::pin(Turn::new(core.clone())), Arc::<Woken>::default())).collect();
    let look = |(turn, woken): &mut (std::pin::Pin<Box<Turn>>, Arc<Woken>)| {
        turn.as_mut().poll(&mut Context::from_waker(&Waker::from(woken.clone())))
    };
    assert!(turns.iter_mut().all(|turn| look(turn).is_pending()));
    let woken = |turns: &[(_, Arc<Woken>)]| turns.iter().map(|(_, woken)| woken.0.load(Relaxed)).collect::<Vec<_>>();
    drop(asked.pop());
    assert_eq!(woken(&turns), [1, 0, 0, 0]);
    // Nobody else takes the place meanwhile.
    assert!(!core.borrow().has_room());
    turns.remove(0);
    assert_eq!(woken(&turns), [1, 0, 0]);
    assert!(look(&mut turns[1]).is_pending() && look(&mut turns[0]).is_ready());
    asked.push(pair.ask());
    assert_eq!((core.borrow().open(), core.borrow().has_room()), (LIMITS.streams, false));
    drop(asked.pop());
    assert_eq!(woken(&turns), [1, 1, 0]);
    // The end of the connection is for all of them.
    core.borrow_mut().end(StreamFault::Ended);
    assert_eq!(woken(&turns), [1, 1, 1]);
    assert!(turns[1..].iter_mut().all(|turn| look(turn).is_ready()));
}

/// What we give up ourselves is no fault of the other side, which hears of it.
#[test]
fn what_is_given_up_is_told_apart() {
    let mut pair = Pair::new(LIMITS);
    let (mut reader, writer) = pair.ask();
    pair.exchange(usize::MAX);
    let mut upload = Reader::new(pair.server.core.clone(), pair.asked[0]);
    writer.reset(Code::CANCEL);
    pair.exchange(usize::MAX);
    let context = Context::from_waker(Waker::noop());
    assert!(matches!(reader.poll_answer(&context), Poll::Ready(Err(StreamFault::GivenUp))));
    assert!(matches!(upload.poll_data(&context), Poll::Ready(Err(StreamFault::Reset(Code::CANCEL)))));
}

#[test]
fn what_was_not_processed_is_told_apart_rfc9113_6_8() {
    let mut pair = Pair::new(LIMITS);
    let ((mut one, _writer), (mut two, _other)) = (pair.ask(), pair.ask());
    let mut goaway = Vec::new();
    frame::write_goaway(1, Code::NO_ERROR, &mut goaway);
    pair.client.hears(&goaway).unwrap();
    let context = Context::from_waker(Waker::noop());
    assert!(one.poll_answer(&context).is_pending());
    assert!(matches!(two.poll_answer(&context), Poll::Ready(Err(StreamFault::Unprocessed))));
    assert!(!pair.client.core.borrow().may_open());
    pair.client.core.borrow_mut().end(StreamFault::Ended);
    assert!(matches!(one.poll_answer(&context), Poll::Ready(Err(StreamFault::Ended))));
}

#[test]
fn who_sends_more_than_is_let_go_waits_for_its_turn() {
    // Two streams share 65,535 octets; both get some of what is let go anew.
    let mut pair = Pair::new(Limits { stream_window: 100_000, ..LIMITS });
    let ((_r1, one), (_r2, two)) = (pair.ask(), pair.ask());
    let large = vec![0; 90_000];
    let (mut first, mut second) = (&large[..], &large[..]);
    assert!(!push(&one, &mut first) && !push(&two, &mut second));
    assert_eq!((first.len(), second.len()), (90_000 - 65_535 - 4465, 90_000), "4465 more: the window is 70,000");
    pair.exchange(usize::MAX);
    let mut window = Vec::new();
    frame::write_window(0, 40_000, &mut window);
    pair.client.hears(&window).unwrap();
    // The one that waits longest goes first, a frame at a time.
    let context = Context::from_waker(Waker::noop());
    let before = second.len();
    for _ in 0..4 {
        for (writer, rest) in [(&two, &mut second), (&one, &mut first)] {
            if let Poll::Ready(room) = writer.poll_room(rest.len(), &context) {
                let (now, later) = rest.split_at(room.unwrap());
                writer.send_data(now, false).unwrap();
                *rest = later;
            }
        }
    }
    assert!(before - second.len() >= 16_384, "{}", second.len());
    assert_eq!(first.len() + second.len(), 110_000 - 40_000);
}
