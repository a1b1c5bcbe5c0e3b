//! A little HTTP/1.1 server: says its name, or holds a request until it is released.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Answers `GET /held…` once it is released, everything else at once, each with its name.
pub struct Backend {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    requests: AtomicUsize,
    held: AtomicUsize,
    released: Mutex<bool>,
    release: Condvar,
}

impl Backend {
    pub fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            requests: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            released: Mutex::new(false),
            release: Condvar::new(),
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = serving.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Requests that wait to be released.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }

    /// Answers what is held, and what is asked for later at once.
    pub fn release(&self) {
        *self.shared.released.lock().unwrap() = true;
        self.shared.release.notify_all();
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut first = String::new();
            reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            }
            self.requests.fetch_add(1, Ordering::SeqCst);
            if first.split(' ').nth(1).is_some_and(|path| path.starts_with("/held")) {
                self.hold();
            }
            let (name, length) = (&self.name, self.name.len());
            let metrics = format!("# TYPE backend_up gauge\nbackend_up{{name=\"{name}\"}} 1\n");
            let answer = match first.contains(" /metrics ") {
                true => format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n{metrics}",
                    metrics.len()
                ),
                false => format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}"),
            };
            reader.get_mut().write_all(answer.as_bytes()).ok()?;
        }
    }

    fn hold(&self) {
        self.held.fetch_add(1, Ordering::SeqCst);
        let released = self.released.lock().unwrap();
        let limit = Duration::from_secs(60);
        drop(self.release.wait_timeout_while(released, limit, |released| !*released).unwrap());
        self.held.fetch_sub(1, Ordering::SeqCst);
    }
}
