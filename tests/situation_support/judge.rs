//! What becomes of requests in a situation, and what may not.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::load::socket::Socket;
use super::super::load::{Kind, Load, soon};
use super::{World, least};

/// One at a time: each loads the machine by itself.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(future)
}

pub const ALL: [Kind; 5] = [Kind::Http1, Kind::Http2, Kind::Tls, Kind::Socket, Kind::Post];

/// What is told of a request that may have acted, and of which nothing more is known.
const EXPLAINED: [&str; 2] = ["HTTP/1.1 502 Bad Gateway upstream-reset", "HTTP/2 502 upstream-reset"];

/// What is told while there is no task: nothing was done, and clients may come again.
const TOLD: [&str; 2] = ["HTTP/1.1 503 Service Unavailable no-endpoint", "HTTP/2 503 no-endpoint"];

/// Says what became of every request, and asserts that none was lost.
pub async fn judge(what: &str, load: Load) {
    for (kind, tally) in load.finish().await {
        let faults = tally.faults();
        println!("{what}: {kind:?} {} requests, lost {}, cut {}", tally.asked(), faults.len(), tally.cut());
        match kind {
            Kind::Post => {
                let strange: Vec<_> = faults.iter().filter(|fault| !EXPLAINED.contains(&fault.as_str())).collect();
                assert!(strange.is_empty(), "{what}: lost POSTs that are not explained: {strange:?}");
            }
            _ => assert_eq!(faults, [""; 0], "{what}: {kind:?}"),
        }
        assert!(tally.asked() > least(), "{what}: {kind:?}");
    }
}

/// Nobody fell over: not even a request that may not be repeated is lost, and no answer is cut.
pub async fn judge_in_good_order(what: &str, load: Load) {
    let posts = load.of(Kind::Post).faults();
    assert_eq!(posts, [""; 0], "{what}: no task fell over");
    let cut: Vec<(Kind, u64)> = ALL.iter().map(|kind| (*kind, load.of(*kind).cut())).collect();
    judge(what, load).await;
    assert!(cut.iter().all(|(_, count)| *count == 0), "{what}: {cut:?}");
}

/// There were times without a task: all that was asked then was told so, all else was answered, and that often enough.
pub async fn judge_with_gaps(what: &str, load: Load) {
    for (kind, tally) in load.finish().await {
        let faults = tally.faults();
        let answered = tally.asked() - faults.len() as u64 - tally.cut();
        println!(
            "{what}: {kind:?} {answered} requests, lost 0, cut {}; {} told to come again",
            tally.cut(),
            faults.len()
        );
        let strange: Vec<_> = faults.iter().filter(|fault| !TOLD.contains(&fault.as_str())).take(5).collect();
        assert!(strange.is_empty(), "{what}: {kind:?}: {strange:?}");
        assert_eq!(tally.cut(), 0, "{what}: {kind:?}");
        assert!(!faults.is_empty() && answered > least(), "{what}: {kind:?}");
    }
}

/// The fewest requests of any kind that were answered.
pub fn fewest_answered(load: &Load) -> u64 {
    let answered = |kind: &Kind| load.of(*kind).answers().values().sum();
    ALL.iter().map(answered).min().unwrap_or_default()
}

/// Open WebSockets to tasks that stay.
pub struct Sockets(Vec<Socket>);

impl Sockets {
    /// Some, to tasks whose ids this says of that they stay.
    pub async fn open(world: &World, stays: impl Fn(&str) -> bool) -> Self {
        let mut sockets = Vec::new();
        while sockets.len() < 6 {
            let socket = soon(Socket::open(&world.target)).await.unwrap();
            if stays(&socket.task) {
                sockets.push(socket);
            }
        }
        Self(sockets)
    }

    pub async fn are_open(&mut self) {
        for socket in &mut self.0 {
            let echo = soon(socket.echo(b"still there")).await;
            assert!(echo.is_ok(), "a WebSocket to {} was closed: {echo:?}", socket.task);
        }
    }
}

/// Requests that tasks whose ids begin so have answered, of all kinds.
pub fn answered(load: &Load, start: &str) -> u64 {
    let of = |answers: BTreeMap<String, u64>| -> u64 {
        answers.iter().filter(|(task, _)| task.starts_with(start)).map(|(_, count)| count).sum()
    };
    ALL.iter().map(|kind| of(load.of(*kind).answers())).sum()
}
