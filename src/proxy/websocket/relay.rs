//! Copies a WebSocket both ways, and ends it in good order when it has to end.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frames::Frames;
use super::goodbye::{ANSWER, BOUNDARY, Ending, TO_CLIENT, to_endpoint};
use crate::proxy::abort::Abort;
use crate::proxy::upgrade::{Activity, BUFFER, Broken, Copied, Way};

/// What both ways know.
struct Shared<'a> {
    activity: &'a Activity,
    ending: &'a Ending,
    /// The longest time that one side may leave the other waiting.
    stall: Duration,
}

/// One way.
struct Line<'a> {
    way: &'a Way,
    back: &'a Way,
    frames: RefCell<Frames>,
    /// What is said last where the proxy ends it.
    close: &'a [u8],
}

/// How a tunnel came to its end.
enum Outcome {
    /// Both sides have ended it, or were silent for too long.
    Over,
    /// One side is gone, or in the midst of a frame to whose end it did not come.
    Broken,
    /// Both were told.
    Told,
}

/// Copies both ways until both have ended, nothing was said for `idle`, or `end` is there: then both are told, with `mask`
/// as the key of the frame that goes to the endpoint. What breaks one way breaks both.
pub(crate) async fn relay(
    client: impl Abort,
    endpoint: impl Abort,
    idle: Duration,
    copied: &Copied,
    mask: [u8; 4],
    end: impl Future<Output = ()>,
) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_endpoint, mut to_task) = tokio::io::split(endpoint);
    let (activity, ending, masked) = (Activity::new(), Ending::default(), to_endpoint(mask));
    let shared = Shared { activity: &activity, ending: &ending, stall: idle };
    let (forth, back) = (&copied.from_client, &copied.from_endpoint);
    let up = Line { way: forth, back, frames: RefCell::default(), close: &masked };
    let down = Line { way: back, back: forth, frames: RefCell::default(), close: &TO_CLIENT };
    let outcome = {
        let mut both = pin!(async {
            tokio::try_join!(
                copy(&mut from_client, &mut to_task, &up, &shared),
                copy(&mut from_endpoint, &mut to_client, &down, &shared)
            )
        });
        tokio::select! {
            ended = &mut both => if ended.is_ok() { Outcome::Over } else { Outcome::Broken },
            () = activity.silence(idle) => Outcome::Over,
            () = end => {
                ending.ask();
                match timeout(BOUNDARY, both).await {
                    Ok(Ok(_)) => Outcome::Told,
                    _ => Outcome::Broken,
                }
            }
        }
    };
    match outcome {
        Outcome::Over => {}
        Outcome::Broken => {
            from_client.unsplit(to_client).abort();
            from_endpoint.unsplit(to_task).abort();
        }
        Outcome::Told => {
            let answers = async { tokio::join!(hear(&mut from_client, &up), hear(&mut from_endpoint, &down)) };
            // Who does not answer has been told all the same.
            let _ = timeout(ANSWER, answers).await;
            let closed = async { tokio::join!(to_client.shutdown(), to_task.shutdown()) };
            let _ = timeout(ANSWER, closed).await;
        }
    }
}

/// One way, until whoever sends has ended it, or it has to end and is between two frames.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    line: &Line<'_>,
    shared: &Shared<'_>,
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let is_between = line.frames.borrow().is_between();
        if is_between && shared.ending.is_asked() {
            return line.say_goodbye(to, shared.stall).await;
        }
        let length = tokio::select! {
            // Reading is cancel safe: nothing was read if the other branch is taken.
            read = from.read(&mut buffer) => read.map_err(|_| Broken)?,
            () = shared.ending.wait(), if is_between => continue,
        };
        if length == 0 {
            break;
        }
        shared.activity.note();
        line.way.note(length);
        let (passed, rest) = buffer[..length].split_at(line.follow(&buffer[..length], shared.ending));
        let written = async {
            to.write_all(passed).await?;
            to.flush().await
        };
        if !matches!(timeout(shared.stall, written).await, Ok(Ok(()))) {
            // Who has said all may want to hear no more, and what it said is whole.
            return if line.back.is_whole() { Ok(()) } else { Err(Broken) };
        }
        if !rest.is_empty() {
            // A frame has ended, and what begins behind it is not passed on.
            let said = line.say_goodbye(to, shared.stall).await;
            line.frames.borrow_mut().feed(rest);
            return said;
        }
    }
    // A side that is gone has ended its own way, too, and that tells how.
    line.way.ends(matches!(timeout(shared.stall, to.shutdown()).await, Ok(Ok(()))));
    Ok(())
}

impl Line<'_> {
    /// Follows what was read; how much of it is to be passed on.
    fn follow(&self, octets: &[u8], ending: &Ending) -> usize {
        let mut frames = self.frames.borrow_mut();
        if ending.is_asked() {
            return frames.feed_to_end(octets);
        }
        frames.feed(octets);
        octets.len()
    }

    /// Says that it ends, unless whoever sends on this way has said so.
    async fn say_goodbye(&self, to: &mut (impl AsyncWrite + Unpin), stall: Duration) -> Result<(), Broken> {
        if self.frames.borrow().have_closed() {
            return Ok(());
        }
        let said = async {
            to.write_all(self.close).await?;
            to.flush().await
        };
        match timeout(stall, said).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Broken),
        }
    }
}

/// Reads what a side still says, for nobody, until it has closed the WebSocket or the connection.
async fn hear(from: &mut (impl AsyncRead + Unpin), line: &Line<'_>) {
    let mut buffer = vec![0; BUFFER];
    while !line.frames.borrow().have_closed() {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        line.way.note(length);
        line.frames.borrow_mut().feed(&buffer[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};
    use tokio::sync::oneshot;

    impl Abort for DuplexStream {
        fn abort(self) {}
    }

    const MASK: [u8; 4] = [1, 2, 3, 4];
    /// "hello", from an endpoint.
    const HELLO: &[u8] = b"\x81\x05hello";

    struct Tunnel {
        client: DuplexStream,
        endpoint: DuplexStream,
        end: Option<oneshot::Sender<()>>,
    }

    /// A tunnel between two ends, and what runs it.
    fn tunnel() -> (Tunnel, impl Future<Output = ()>) {
        let (client, near) = duplex(1 << 20);
        let (endpoint, far) = duplex(1 << 20);
        let (end, ended) = oneshot::channel();
        let run = async move {
            let copied = Copied::default();
            let end = async {
                let _ = ended.await;
            };
            relay(near, far, Duration::from_secs(60), &copied, MASK, end).await;
        };
        (Tunnel { client, endpoint, end: Some(end) }, run)
    }

    async fn read(stream: &mut DuplexStream, length: usize) -> Vec<u8> {
        let mut octets = vec![0; length];
        timeout(Duration::from_secs(20), stream.read_exact(&mut octets)).await.unwrap().unwrap();
        octets
    }

    #[tokio::test(start_paused = true)]
    async fn between_frames_both_sides_are_told_and_have_a_moment_to_answer() {
        let (mut tunnel, run) = tunnel();
        let peers = async {
            tunnel.endpoint.write_all(HELLO).await.unwrap();
            assert_eq!(read(&mut tunnel.client, HELLO.len()).await, HELLO);
            tunnel.end.take().unwrap().send(()).unwrap();
            assert_eq!(read(&mut tunnel.client, 4).await, TO_CLIENT);
            assert_eq!(read(&mut tunnel.endpoint, 8).await, to_endpoint(MASK));
            // The answers: then it is over at once, and both see an end.
            tunnel.client.write_all(&to_endpoint(MASK)).await.unwrap();
            tunnel.endpoint.write_all(&TO_CLIENT).await.unwrap();
            for side in [&mut tunnel.client, &mut tunnel.endpoint] {
                assert_eq!(side.read(&mut [0; 9]).await.unwrap(), 0, "nobody gets the other's answer");
            }
        };
        let begun = tokio::time::Instant::now();
        tokio::join!(run, peers);
        assert!(begun.elapsed() < ANSWER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_has_begun_is_waited_for_and_nothing_behind_it_passes() {
        let (mut tunnel, run) = tunnel();
        let peers = async {
            tunnel.endpoint.write_all(&HELLO[..4]).await.unwrap();
            assert_eq!(read(&mut tunnel.client, 4).await, HELLO[..4]);
            tunnel.end.take().unwrap().send(()).unwrap();
            tokio::time::sleep(BOUNDARY / 2).await;
            tunnel.endpoint.write_all(&[&HELLO[4..], HELLO, &HELLO[..3]].concat()).await.unwrap();
            assert_eq!(read(&mut tunnel.client, 3).await, HELLO[4..]);
            assert_eq!(read(&mut tunnel.client, 4).await, TO_CLIENT);
        };
        tokio::join!(run, peers);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_does_not_end_is_not_waited_for_long() {
        let (mut tunnel, run) = tunnel();
        let peers = async {
            tunnel.endpoint.write_all(&HELLO[..4]).await.unwrap();
            assert_eq!(read(&mut tunnel.client, 4).await, HELLO[..4]);
            tunnel.end.take().unwrap().send(()).unwrap();
            let mut rest = Vec::new();
            let _ = tunnel.client.read_to_end(&mut rest).await;
            assert!(rest.is_empty(), "no Close within a frame: {rest:?}");
        };
        let begun = tokio::time::Instant::now();
        tokio::join!(run, peers);
        assert!(begun.elapsed() < BOUNDARY * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_closed_is_sent_nothing_more_rfc6455_5_5_1() {
        let (mut tunnel, run) = tunnel();
        let own = [0x88, 2, 0x0f, 0xa0];
        let peers = async {
            tunnel.endpoint.write_all(&own).await.unwrap();
            assert_eq!(read(&mut tunnel.client, 4).await, own);
            tunnel.end.take().unwrap().send(()).unwrap();
            let mut rest = Vec::new();
            let _ = tunnel.client.read_to_end(&mut rest).await;
            assert!(rest.is_empty(), "{rest:?}");
            assert_eq!(read(&mut tunnel.endpoint, 8).await, to_endpoint(MASK));
        };
        tokio::join!(run, peers);
    }

    #[tokio::test(start_paused = true)]
    async fn the_ends_of_both_halves_are_passed_on() {
        let (mut tunnel, run) = tunnel();
        let peers = async {
            tunnel.client.write_all(b"\x81\x85\0\0\0\0hello").await.unwrap();
            tunnel.client.shutdown().await.unwrap();
            let mut heard = Vec::new();
            tunnel.endpoint.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"\x81\x85\0\0\0\0hello");
            tunnel.endpoint.write_all(HELLO).await.unwrap();
            tunnel.endpoint.shutdown().await.unwrap();
            let mut heard = Vec::new();
            tunnel.client.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, HELLO);
        };
        tokio::join!(run, peers);
    }
}
