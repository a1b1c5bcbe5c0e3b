//! A DNS server that answers by a script, over UDP and TCP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};
use pointsman::config::checked::{UpstreamServer, UpstreamTransport};

/// A query as it came.
#[derive(Clone)]
pub struct Asked {
    pub message: Message,
    pub octets: Vec<u8>,
    pub over_tcp: bool,
    /// The port that it came from.
    pub port: u16,
}

/// What is sent back, in order: octets, each after a pause.
pub type Replies = Vec<(Duration, Vec<u8>)>;

type Script = dyn Fn(&Asked) -> Replies + Send + Sync;

/// The server. Dropped, it stops.
pub struct Upstream {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Upstream {
    pub fn start(script: impl Fn(&Asked) -> Replies + Send + Sync + 'static) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            // Another process may have the TCP port of that number.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let (asked, stopped) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicBool>::default());
        let script: Arc<Script> = Arc::new(script);
        let threads = vec![
            std::thread::spawn({
                let (asked, stopped, script) = (asked.clone(), stopped.clone(), script.clone());
                move || serve_udp(&udp, &asked, &stopped, &*script)
            }),
            std::thread::spawn({
                let (asked, stopped) = (asked.clone(), stopped.clone());
                move || serve_tcp(&tcp, &asked, &stopped, &*script)
            }),
        ];
        Self { address, asked, stopped, threads }
    }

    /// Answers everything in the same way.
    pub fn answering(answer: impl Fn(&Message) -> Message + Send + Sync + 'static) -> Self {
        Self::start(move |asked| at_once(&answer(&asked.message)))
    }

    /// Never answers.
    pub fn dead() -> Self {
        Self::start(|_| Vec::new())
    }

    pub fn server(&self) -> UpstreamServer {
        UpstreamServer { address: self.address, transport: UpstreamTransport::Udp }
    }

    /// The queries so far, without the probes for loops.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| !is_probe(&asked.message)).cloned().collect()
    }

    /// How often this name was asked for.
    pub fn count(&self, name: &str) -> usize {
        let name = Name::from_ascii(name).unwrap();
        self.asked().iter().filter(|asked| asked.message.queries[0].name() == &name).count()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _ = socket.send_to(&[0], self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

pub fn is_probe(message: &Message) -> bool {
    let first = message.queries.first();
    first.is_some_and(|query| query.query_type() == RecordType::TXT && query.name().to_string().ends_with("test."))
}

/// An answer without records, with the question as it was asked.
pub fn reply(query: &Message, code: ResponseCode) -> Message {
    let mut message = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.add_query(query.queries[0].clone());
    message
}

/// … with an address for the name asked for.
pub fn with_address(query: &Message, last: u8, ttl: u32) -> Message {
    let mut message = reply(query, ResponseCode::NoError);
    let name = query.queries[0].name().clone();
    message.add_answer(Record::from_rdata(name, ttl, RData::A(rdata::A::new(192, 0, 2, last))));
    message
}

/// … with the SOA of a zone.
pub fn with_soa(mut message: Message, zone: &str, ttl: u32) -> Message {
    let name = Name::from_ascii(zone).unwrap();
    let soa = rdata::SOA::new(name.clone(), name.clone(), 1, 1, 1, 1, ttl);
    message.add_authority(Record::from_rdata(name, ttl, RData::SOA(soa)));
    message
}

pub fn at_once(message: &Message) -> Replies {
    vec![(Duration::ZERO, message.to_vec().unwrap())]
}

fn serve_udp(socket: &UdpSocket, asked: &Mutex<Vec<Asked>>, stopped: &AtomicBool, script: &Script) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        if stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(message) = Message::from_vec(&buffer[..length]) else { continue };
        let query = Asked { message, octets: buffer[..length].to_vec(), over_tcp: false, port: client.port() };
        asked.lock().unwrap().push(query.clone());
        let replies = script(&query);
        if replies.iter().all(|(pause, _)| pause.is_zero()) {
            for (_, octets) in replies {
                let _ = socket.send_to(&octets, client);
            }
            continue;
        }
        let socket = socket.try_clone().unwrap();
        std::thread::spawn(move || {
            for (pause, octets) in replies {
                std::thread::sleep(pause);
                let _ = socket.send_to(&octets, client);
            }
        });
    }
}

fn serve_tcp(listener: &TcpListener, asked: &Mutex<Vec<Asked>>, stopped: &AtomicBool, script: &Script) {
    while let Ok((mut stream, client)) = listener.accept() {
        if stopped.load(Ordering::SeqCst) {
            return;
        }
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            continue;
        }
        let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut octets).is_err() {
            continue;
        }
        let Ok(message) = Message::from_vec(&octets) else { continue };
        let query = Asked { message, octets, over_tcp: true, port: client.port() };
        asked.lock().unwrap().push(query.clone());
        for (pause, octets) in script(&query) {
            std::thread::sleep(pause);
            let length = u16::try_from(octets.len()).unwrap();
            let _ = stream.write_all(&[&length.to_be_bytes()[..], &octets].concat());
        }
    }
}
