//! Clients of one kind each that ask without a pause, on a connection or socket of their own each time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Longer than an answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One that asks, and what became of it.
pub struct Asking {
    asked: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    finishing: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Asking {
    /// `ask` is given the number of its turn, and says whether it was answered.
    fn start(ask: impl Fn(u64) -> bool + Send + 'static) -> Self {
        let (asked, lost, finishing) =
            (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let shared = (asked.clone(), lost.clone(), finishing.clone());
        let thread = std::thread::spawn(move || {
            let (asked, lost, finishing) = shared;
            let mut turn = 0;
            while !finishing.load(Ordering::Relaxed) {
                lost.fetch_add(u64::from(!ask(turn)), Ordering::Relaxed);
                asked.fetch_add(1, Ordering::Relaxed);
                turn += 1;
            }
        });
        Self { asked, lost, finishing, thread }
    }

    /// For a name, by UDP and every fourth time by TCP.
    pub fn names(dns: SocketAddr) -> Self {
        Self::start(move |turn| if turn % 4 == 3 { by_tcp(dns) } else { by_udp(dns) })
    }

    /// A task of the tests, by a port that only carries what is said.
    pub fn carried(port: SocketAddr) -> Self {
        Self::start(move |_| Carried::open(port).is_some_and(|mut connection| connection.ask()))
    }

    /// How often it has asked.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// How often it asked, and how often in vain.
    pub fn finish(self) -> (u64, u64) {
        self.finishing.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        (self.asked.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }
}

/// `www.corp.test A`, in the form of RFC 1035 section 4.1.
const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x04corp\x04test\x00\x00\x01\x00\x01";

/// A socket of its own for each, so that each meets any of the workers.
pub fn by_udp(dns: SocketAddr) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(QUESTION, dns).unwrap();
    let mut answer = [0; 512];
    socket
        .recv(&mut answer)
        .is_ok_and(|length| length > QUESTION.len() && answer[..2] == QUESTION[..2] && answer[3] & 15 == 0)
}

pub fn by_tcp(dns: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(dns) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = u16::try_from(QUESTION.len()).unwrap().to_be_bytes();
    let mut answer = [0; 2];
    stream.write_all(&[&length, QUESTION].concat()).is_ok() && stream.read_exact(&mut answer).is_ok()
}

/// A connection to a task by a port that only carries what is said.
pub struct Carried(TcpStream);

impl Carried {
    /// `None`: it is refused.
    pub fn open(port: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(port).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Self(stream))
    }

    /// One more request; whether it was answered whole.
    pub fn ask(&mut self) -> bool {
        if self.0.write_all(b"GET / HTTP/1.1\r\nHost: carried\r\n\r\n").is_err() {
            return false;
        }
        let mut heard = Vec::new();
        let mut octets = [0; 512];
        // What a task says at last.
        while !heard.ends_with(b"hello\n") {
            match self.0.read(&mut octets) {
                Ok(length) if length > 0 => heard.extend_from_slice(&octets[..length]),
                _ => return false,
            }
        }
        true
    }
}
