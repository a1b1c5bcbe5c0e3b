//! Clients that ask through the proxy without a pause, and what became of every request.
//!
//! Lost is a request whose answer had not begun, or that was answered with an error of ours. An answer that was cut
//! midway is counted apart; one that ends as complete has to be complete.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::soon;

pub const HOST: &str = "app.test";
/// Clients that ask at a time, each on a connection of its own.
pub const CLIENTS: u64 = 8;
/// Parts of the trouble in each of which requests have to begin.
const PARTS: u32 = 5;

/// What clients ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Requests that may be asked again.
    Repeatable,
    /// Those that may not, too.
    Everything,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Tally {
    pub asked: u64,
    /// Whose answer had not begun or was an error, with what happened instead.
    pub faults: Vec<Lost>,
    /// Whose answer had begun.
    pub cut: u64,
    pub by_version: BTreeMap<String, u64>,
    pub by_task: BTreeMap<String, u64>,
    /// When each began.
    began: Vec<Instant>,
}

/// A request without an answer.
#[derive(Debug)]
pub struct Lost {
    pub method: &'static str,
    /// The status line and the reason's code, or what broke.
    pub what: String,
}

impl Tally {
    pub fn lost(&self) -> usize {
        self.faults.len()
    }

    /// How many requests began within this time.
    pub fn within(&self, begin: Instant, length: Duration) -> usize {
        self.began.iter().filter(|at| **at >= begin && **at < begin + length).count()
    }

    /// Requests have to begin in every part of the trouble, and not only at its edges.
    pub fn check_spread(&self, troubles: &[(Instant, Duration)]) {
        let in_part = |number: u32| -> usize {
            troubles.iter().map(|(begin, length)| self.within(*begin + *length / PARTS * number, *length / PARTS)).sum()
        };
        let counts: Vec<usize> = (0..PARTS).map(in_part).collect();
        assert!(counts.iter().all(|count| *count > 0), "requests in each part of {troubles:?}: {counts:?}");
    }

    fn add(&mut self, request: &Request, began: Instant, outcome: Result<Answer, Fault>) {
        self.asked += 1;
        self.began.push(began);
        match outcome {
            Ok(answer) => {
                *self.by_version.entry(answer.version).or_default() += 1;
                *self.by_task.entry(answer.task).or_default() += 1;
            }
            Err(Fault::Cut) => self.cut += 1,
            Err(Fault::Lost(what)) => self.faults.push(Lost { method: request.method, what }),
        }
    }
}

/// Clients that ask until they are told to finish.
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    asked: Arc<AtomicU64>,
    finishing: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    pub fn start(proxy: SocketAddr, mix: Mix) -> Self {
        let (tally, asked) = (Arc::new(Mutex::new(Tally::default())), Arc::new(AtomicU64::new(0)));
        let finishing = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (tally, asked, finishing) = (tally.clone(), asked.clone(), finishing.clone());
            clients.spawn(async move {
                let mut connection = None;
                let mut turn = client * 7;
                while !finishing.load(Ordering::Relaxed) {
                    let (request, began) = (Request::at(mix, turn), Instant::now());
                    let outcome = soon(ask(proxy, &mut connection, &request)).await;
                    tally.lock().unwrap().add(&request, began, outcome);
                    asked.fetch_add(1, Ordering::Relaxed);
                    turn += 1;
                }
            });
        }
        Self { tally, asked, finishing, clients }
    }

    /// Requests so far.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Requests without an answer so far.
    pub fn lost(&self) -> usize {
        self.tally.lock().unwrap().lost()
    }

    /// Waits until so many requests more have been asked.
    pub async fn more(&self, count: u64) {
        let until = self.asked() + count;
        soon(async {
            while self.asked() < until {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    pub async fn finish(mut self) -> Tally {
        self.finishing.store(true, Ordering::Relaxed);
        soon(async {
            while let Some(ended) = self.clients.join_next().await {
                ended.unwrap();
            }
        })
        .await;
        std::mem::take(&mut *self.tally.lock().unwrap())
    }
}

/// A request, and what a complete answer to it has.
struct Request {
    method: &'static str,
    text: String,
    /// The lines of the answer's body, or `None` where that is not known.
    lines: Option<usize>,
}

impl Request {
    /// Most requests are plain; some are slow, some have a body, a few are answered piece by piece.
    fn at(mix: Mix, turn: u64) -> Self {
        match turn % 100 {
            50 => Self { lines: Some(2), ..Self::get("/stream?n=2") },
            number if number % 10 == 3 => Self::get("/slow?ms=20"),
            number if number % 20 == 6 && mix == Mix::Everything => Self { lines: Some(1), ..Self::post("/echo") },
            number if number % 20 == 16 && mix == Mix::Everything => Self::post("/slow?ms=20"),
            _ => Self::get("/"),
        }
    }

    fn post(path: &str) -> Self {
        let text = format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 6\r\n\r\nhello\n");
        Self { method: "POST", text, lines: None }
    }

    fn get(path: &str) -> Self {
        Self { method: "GET", text: format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), lines: None }
    }
}

/// A whole answer: who gave it.
struct Answer {
    version: String,
    task: String,
}

enum Fault {
    /// The answer had not begun, or was an error.
    Lost(String),
    /// It had begun.
    Cut,
}

/// Asks on the connection that is there, or on a new one; keeps it if it may be kept.
async fn ask(proxy: SocketAddr, kept: &mut Option<BufReader<TcpStream>>, request: &Request) -> Result<Answer, Fault> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => BufReader::new(TcpStream::connect(proxy).await.map_err(lost("connect"))?),
    };
    connection.get_mut().write_all(request.text.as_bytes()).await.map_err(lost("write"))?;
    let mut status = String::new();
    connection.read_line(&mut status).await.map_err(lost("read"))?;
    if status.is_empty() {
        return Err(Fault::Lost("closed before the answer".to_owned()));
    }
    let head = read_head(&mut connection).await.map_err(|_| Fault::Cut)?;
    let body = read_body(&mut connection, &head).await.map_err(|_| Fault::Cut)?;
    let field = |name: &str| head.get(name).cloned().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(Fault::Lost(format!("{} {}", status.trim_end(), field("x-pointsman-reason"))));
    }
    let lines = body.iter().filter(|octet| **octet == b'\n').count();
    assert!(request.lines.is_none_or(|expected| expected == lines), "a complete answer of {lines} lines");
    if head.get("connection").is_none_or(|value| value != "close") {
        *kept = Some(connection);
    }
    Ok(Answer { version: field("x-demo-version"), task: field("x-demo-task") })
}

fn lost(what: &'static str) -> impl Fn(std::io::Error) -> Fault {
    move |error| Fault::Lost(format!("{what}: {error}"))
}

type Head = BTreeMap<String, String>;

async fn read_head(connection: &mut BufReader<TcpStream>) -> std::io::Result<Head> {
    let mut head = Head::new();
    loop {
        let line = read_line(connection).await?;
        if line.is_empty() {
            return Ok(head);
        }
        let (name, value) = line.split_once(':').ok_or(std::io::ErrorKind::InvalidData)?;
        head.insert(name.to_ascii_lowercase(), value.trim().to_ascii_lowercase());
    }
}

async fn read_body(connection: &mut BufReader<TcpStream>, head: &Head) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if let Some(length) = head.get("content-length") {
        body.resize(length.parse().map_err(std::io::Error::other)?, 0);
        connection.read_exact(&mut body).await?;
        return Ok(body);
    }
    loop {
        let length = usize::from_str_radix(&read_line(connection).await?, 16).map_err(std::io::Error::other)?;
        let begun = body.len();
        body.resize(begun + length, 0);
        connection.read_exact(&mut body[begun..]).await?;
        read_line(connection).await?;
        if length == 0 {
            return Ok(body);
        }
    }
}

/// A line without its end; one that does not end is an error.
async fn read_line(connection: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    connection.read_line(&mut line).await?;
    line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}
