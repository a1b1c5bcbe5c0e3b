//! A master that answers connections by a script, byte for byte as recorded.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How one connection is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// A stream.
    Stream(Body),
}

/// A stream's body, in the HTTP chunks it is sent in.
#[derive(Clone, Debug)]
pub struct Body {
    pub content_type: &'static str,
    pub chunks: Vec<Vec<u8>>,
    pub end: End,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the final chunk: the master gave the subscriber up.
    Clean,
    /// TCP is closed within the body: the master died.
    Eof,
    /// Not at all: the master is silent.
    Hold,
}

/// A scripted master. Dropped, it closes everything and waits for its thread.
pub struct Master {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A recorded answer of one piece.
pub fn recorded(name: &str) -> Answer {
    let head = super::recordings::bytes(&format!("{name}.headers"));
    let body = super::recordings::bytes(&format!("{name}.body"));
    Answer::Bytes([head, body].concat())
}

impl Body {
    /// A body in chunks of random sizes.
    pub fn chunked(body: &[u8], json: bool, end: End, random: &mut fastrand::Rng) -> Self {
        let mut chunks = Vec::new();
        let mut rest = body;
        let largest = [1, 7, 300, 5000, 60_000][random.usize(..5)].min(body.len().max(1)).max(body.len() / 2000);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(random.usize(1..=largest.max(1)).min(rest.len()));
            chunks.push(chunk.to_vec());
            rest = after;
        }
        Self::of(chunks, json, end)
    }

    /// A body with one chunk a record, as Mesos sends it.
    pub fn by_record(body: &[u8], json: bool, end: End) -> Self {
        Self::of(super::recordings::records(body).into_iter().map(<[u8]>::to_vec).collect(), json, end)
    }

    fn of(chunks: Vec<Vec<u8>>, json: bool, end: End) -> Self {
        let content_type = if json { "application/json" } else { "application/x-protobuf" };
        Self { content_type, chunks, end }
    }
}

impl Master {
    /// Answers SUBSCRIBE by the script, one answer a connection, and GET_AGENTS with `agents`, always. When the
    /// script is used up, connections are closed without an answer.
    pub fn start(script: Vec<Answer>, agents: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().unwrap();
        let (requests, stopped) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let thread = std::thread::spawn({
            let (requests, stopped) = (requests.clone(), stopped.clone());
            move || serve(&listener, script, agents.as_deref(), &requests, &stopped)
        });
        Self { address, requests, stopped, thread: Some(thread) }
    }

    /// The requests so far, head and body.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the master's thread ends well");
        }
    }
}

fn serve(
    listener: &TcpListener,
    script: Vec<Answer>,
    agents: Option<&[u8]>,
    requests: &Mutex<Vec<String>>,
    stopped: &AtomicBool,
) {
    let mut script = script.into_iter();
    let mut held = Vec::new();
    while let Ok((mut socket, _)) = listener.accept() {
        if stopped.load(Ordering::SeqCst) {
            break;
        }
        let Some(request) = read_request(&mut socket) else { continue };
        let is_listing = request.contains("GET_AGENTS") || request.as_bytes().ends_with(&[8, 10]);
        requests.lock().unwrap().push(request);
        let answer = match agents.filter(|_| is_listing) {
            Some(agents) => Some(Answer::Bytes(agents.to_vec())),
            None => script.next(),
        };
        match answer {
            None => {}
            Some(Answer::Bytes(bytes)) => {
                let _ = socket.write_all(&bytes);
                let _ = socket.shutdown(Shutdown::Write);
            }
            Some(Answer::Stream(body)) => held.extend(stream(socket, &body)),
        }
    }
}

/// Sends a stream; gives the socket back if it is to stay open.
fn stream(mut socket: TcpStream, body: &Body) -> Option<TcpStream> {
    let _ = socket.set_nodelay(true);
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 11:48:35 GMT\r\nTransfer-Encoding: chunked\r\nContent-Type: {}\r\n\r\n",
        body.content_type
    );
    socket.write_all(head.as_bytes()).ok()?;
    for chunk in &body.chunks {
        let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
        socket.write_all(&framed).ok()?;
    }
    match body.end {
        End::Clean => socket.write_all(b"0\r\n\r\n").ok()?,
        End::Eof => {}
        End::Hold => return Some(socket),
    }
    None
}

/// Reads a request with a body of a stated length.
fn read_request(socket: &mut TcpStream) -> Option<String> {
    socket.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        match socket.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
}
