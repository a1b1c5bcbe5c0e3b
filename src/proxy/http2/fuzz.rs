//! Fuzz targets: whatever the other side sends, the state stays within its bounds and does not depend on how the octets
//! come.

use std::cell::RefCell;
use std::sync::Arc;

use super::frame::{self, PREFACE};
use super::handles::{Reader, Shared, Writer};
use super::head;
use super::input::{self, Input};
use super::receive::Event;
use super::state::{Core, Counted, Limits, Role};
use super::stream::Awaited;
use crate::proxy::held::Held;
use crate::proxy::metrics::Shard;

const LIMITS: Limits = Limits { streams: 3, list: 500, stream_window: 100, connection_window: 70_000, faults: 5 };

/// What has come of it: whether the connection goes on, and all that it says.
type Outcome = (bool, Vec<u8>);

/// What a client sends behind its preface. Each request is answered when its number says so, so that streams end in all
/// ways.
pub fn fuzz_http2_server(data: &[u8]) {
    let octets = [PREFACE, data].concat();
    let whole = serve(&octets, octets.len());
    for piece in [1, 7] {
        assert_eq!(serve(&octets, piece), whole);
    }
}

fn begin(role: Role) -> (Shared, Arc<Shard>) {
    let shard: Arc<Shard> = Arc::default();
    let counted = Counted::Answers(Held::nothing(shard.clone()));
    (Shared::new(RefCell::new(Core::new(role, LIMITS, counted))), shard)
}

fn check(core: &Shared, shard: &Shard) {
    let core = core.borrow();
    assert!(core.open() <= LIMITS.streams || core.has_ended());
    assert!(shard.held() <= u64::from(LIMITS.connection_window) + 20_000);
}

fn serve(octets: &[u8], piece: usize) -> Outcome {
    let ((core, shard), mut input) = (begin(Role::Server), Input::of_client());
    let mut kept = Vec::new();
    let fed = octets.chunks(piece).try_for_each(|piece| {
        let fed = input::feed(&mut input, piece, &core, |event| {
            let (stream, writer) = match event {
                Event::Request { stream, fields, ends } => {
                    // What is to be served can be said as a head, or is refused.
                    if fields.request().is_err() {
                        return core.borrow_mut().is_malformed(stream);
                    }
                    kept.extend((!ends).then(|| Reader::new(core.clone(), stream)));
                    (stream, Writer::new(core.clone(), stream))
                }
                Event::TooLong { stream } => (stream, Writer::new(core.clone(), stream)),
            };
            // Every other one is answered, the others are reset as soon as this is dropped.
            if stream % 4 == 1 {
                let answer = http::Response::new(()).into_parts().0;
                let _ = writer.send_head(true, |encoder, out| head::write_answer(&answer, encoder, out));
            }
        });
        check(&core, &shard);
        fed.and(core.borrow_mut().take_doom().map_or(Ok(()), Err))
    });
    let mut said = core.borrow().waiting().to_vec();
    drop(kept);
    core.borrow_mut().end(super::stream::StreamFault::Ended);
    assert_eq!(core.borrow().open(), 0);
    said.truncate(100_000);
    (fed.is_ok(), said)
}

/// What an endpoint sends to whom three requests were sent.
pub fn fuzz_http2_client(data: &[u8]) {
    let ask = |piece: usize| {
        let ((core, shard), mut input) = (begin(Role::Client), Input::of_endpoint());
        let mut asked = Vec::new();
        for (awaited, method) in
            [(Awaited::Content, "POST"), (Awaited::HeadAlone, "HEAD"), (Awaited::Tunnel, "CONNECT")]
        {
            let ends = awaited == Awaited::HeadAlone;
            let id = core.borrow_mut().open_stream(ends, awaited, |encoder, out| {
                encoder.begin(out);
                encoder.method(method, out);
            });
            asked.extend(id.map(|id| (Reader::new(core.clone(), id), Writer::new(core.clone(), id))));
        }
        let mut first = Vec::new();
        frame::write_settings(&[], &mut first);
        first.extend_from_slice(data);
        let fed = first.chunks(piece).try_for_each(|piece| {
            let fed = input::feed(&mut input, piece, &core, |_| ());
            check(&core, &shard);
            fed
        });
        let said = core.borrow().waiting().to_vec();
        let over = asked.iter().map(|(reader, writer)| (reader.is_over(), writer.has_ended())).collect::<Vec<_>>();
        drop(asked);
        core.borrow_mut().end(super::stream::StreamFault::Ended);
        assert_eq!(core.borrow().open(), 0);
        (fed.is_ok(), said, over)
    };
    let whole = ask(data.len().max(1) + 100);
    for piece in [1, 7] {
        assert_eq!(ask(piece), whole);
    }
}
