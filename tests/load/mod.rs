//! Clients that ask through the proxy without a pause, over every protocol, and what became of every request.
//!
//! Lost is a request whose answer had not begun, or that was answered with an error; an answer that was cut midway is
//! counted apart.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod http1;
pub mod http2;
pub mod socket;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// Longer than anything takes without any progress.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Clients of a kind that ask at a time.
pub const CLIENTS: u64 = 3;
/// Requests that a kind may be ahead of the slowest one, where they keep pace.
const LEAD: u64 = 200;

/// How clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP/1.1 on kept connections.
    Http1,
    /// HTTP/2 with prior knowledge; every other request is for a service that speaks HTTP/2 itself.
    Http2,
    /// HTTP/1.1 and HTTP/2 over TLS, on connections that are opened anew after some requests.
    Tls,
    /// A WebSocket for each: handshake, one message, its echo.
    Socket,
    /// HTTP/1.1 and HTTP/2, with a method that may not be repeated.
    Post,
}

impl Kind {
    /// Those whose requests may be asked again.
    pub const REPEATABLE: [Self; 4] = [Self::Http1, Self::Http2, Self::Tls, Self::Socket];
}

/// Where clients ask, and for what.
#[derive(Clone)]
pub struct Target {
    pub http: SocketAddr,
    pub https: SocketAddr,
    /// The host of a service that speaks HTTP/1.1.
    pub host: &'static str,
    /// The host of one that speaks HTTP/2.
    pub host2: &'static str,
    /// Believes the certificate; by protocol.
    pub tls: [TlsConnector; 2],
}

/// What became of a request.
#[derive(Debug)]
pub enum Fault {
    /// Its answer had not begun, or was an error: what happened instead.
    Lost(String),
    /// Its answer had begun.
    Cut,
}

/// Who answered.
pub type Outcome = Result<String, Fault>;

/// Says what broke before an answer began.
pub fn lost<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Fault {
    move |error| Fault::Lost(format!("{what}: {error}"))
}

/// What became of the requests of a kind.
#[derive(Debug, Default)]
pub struct Tally {
    asked: AtomicU64,
    cut: AtomicU64,
    faults: Mutex<Vec<String>>,
    answered_by: Mutex<std::collections::BTreeMap<String, u64>>,
}

impl Tally {
    fn add(&self, outcome: Outcome) {
        match outcome {
            Ok(task) => *self.answered_by.lock().unwrap().entry(task).or_default() += 1,
            Err(Fault::Cut) => drop(self.cut.fetch_add(1, Ordering::Relaxed)),
            Err(Fault::Lost(what)) => self.faults.lock().unwrap().push(what),
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    pub fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }

    /// Requests that each task answered.
    pub fn answers(&self) -> std::collections::BTreeMap<String, u64> {
        self.answered_by.lock().unwrap().clone()
    }

    /// Requests that this task answered.
    pub fn answered_by(&self, task: &str) -> u64 {
        self.answered_by.lock().unwrap().get(task).copied().unwrap_or(0)
    }
}

/// Clients that ask until they are told to finish.
pub struct Load {
    tallies: Vec<(Kind, Arc<Tally>)>,
    finishing: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts some clients of each kind.
    pub fn start(target: &Target, kinds: &[Kind]) -> Self {
        Self::start_at(target, kinds, u64::MAX)
    }

    /// The same, of kinds that keep pace: those that are ahead wait a little, so that a count of each takes no longer than it
    /// must.
    pub fn start_evenly(target: &Target, kinds: &[Kind]) -> Self {
        Self::start_at(target, kinds, LEAD)
    }

    fn start_at(target: &Target, kinds: &[Kind], lead: u64) -> Self {
        let finishing = Arc::new(AtomicBool::new(false));
        let tallies: Vec<(Kind, Arc<Tally>)> = kinds.iter().map(|kind| (*kind, Arc::default())).collect();
        let all: Arc<[Arc<Tally>]> = tallies.iter().map(|(_, tally)| tally.clone()).collect();
        let mut clients = JoinSet::new();
        for (kind, tally) in &tallies {
            for number in 0..CLIENTS {
                let pace = Pace { tally: tally.clone(), all: all.clone(), lead };
                clients.spawn(ask_on(*kind, number, target.clone(), pace, finishing.clone()));
            }
        }
        Self { tallies, finishing, clients }
    }

    pub fn of(&self, kind: Kind) -> &Tally {
        &self.tallies.iter().find(|(known, _)| *known == kind).expect("the kind was asked for").1
    }

    /// Waits until each of these kinds has begun and ended so many requests more.
    pub async fn more(&self, kinds: &[Kind], count: u64) {
        // Those under way may have begun before.
        self.reach(kinds.iter().map(|kind| (self.of(*kind), self.of(*kind).asked() + count + CLIENTS)).collect()).await;
    }

    /// Waits until each of these kinds has ended so many requests in all.
    pub async fn until(&self, kinds: &[Kind], count: u64) {
        self.reach(kinds.iter().map(|kind| (self.of(*kind), count)).collect()).await;
    }

    /// The fewest requests that any kind has ended.
    pub fn fewest(&self) -> u64 {
        self.tallies.iter().map(|(_, tally)| tally.asked()).min().unwrap_or_default()
    }

    async fn reach(&self, goals: Vec<(&Tally, u64)>) {
        let mut seen = (0, Instant::now());
        while goals.iter().any(|(tally, goal)| tally.asked() < *goal) {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let asked = goals.iter().map(|(tally, goal)| tally.asked().min(*goal)).sum();
            if asked > seen.0 {
                seen = (asked, Instant::now());
            }
            assert!(seen.1.elapsed() < PATIENCE, "no request ends any more: {:?}", self.tallies);
        }
    }

    /// Lets every client finish its request.
    pub async fn finish(mut self) -> Vec<(Kind, Arc<Tally>)> {
        self.finishing.store(true, Ordering::Relaxed);
        while let Some(ended) = soon(self.clients.join_next()).await {
            ended.unwrap();
        }
        self.tallies
    }
}

/// What became of a kind's requests, and how far it may be ahead of the others.
struct Pace {
    tally: Arc<Tally>,
    all: Arc<[Arc<Tally>]>,
    lead: u64,
}

impl Pace {
    fn is_ahead(&self) -> bool {
        let slowest = self.all.iter().map(|tally| tally.asked()).min().unwrap_or_default();
        self.tally.asked() - slowest > self.lead
    }
}

async fn ask_on(kind: Kind, number: u64, target: Target, pace: Pace, finishing: Arc<AtomicBool>) {
    let (mut http1, mut http2) = (http1::Client::default(), http2::Client::default());
    let mut turn = number;
    while !finishing.load(Ordering::Relaxed) {
        if pace.is_ahead() {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        let outcome = match kind {
            Kind::Http1 => soon(http1.ask(&target, "GET", None)).await,
            Kind::Post if number.is_multiple_of(2) => soon(http1.ask(&target, "POST", None)).await,
            Kind::Post => soon(http2.ask(&target, "POST", turn % 2 == 1, None)).await,
            Kind::Http2 => soon(http2.ask(&target, "GET", turn % 2 == 1, None)).await,
            Kind::Tls if number.is_multiple_of(2) => soon(http1.ask(&target, "GET", Some(&target.tls[0]))).await,
            Kind::Tls => soon(http2.ask(&target, "GET", false, Some(&target.tls[1]))).await,
            Kind::Socket => soon(socket::ask(&target)).await,
        };
        pace.tally.add(outcome);
        turn += 1;
        if kind == Kind::Tls && turn.is_multiple_of(20) {
            (http1, http2) = Default::default();
        }
    }
}

/// A connection to the proxy.
async fn connect(address: SocketAddr) -> Result<TcpStream, Fault> {
    let stream = TcpStream::connect(address).await.map_err(lost("connect"))?;
    stream.set_nodelay(true).map_err(lost("connect"))?;
    Ok(stream)
}

/// Waits for a future, but not for ever.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it took too long")
}
