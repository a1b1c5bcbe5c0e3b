//! A DNS server of a test's own, and a client.

#![allow(dead_code, reason = "each test program uses its part")]
#![allow(missing_docs, clippy::unwrap_used, reason = "for tests only")]

pub mod upstream;

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use pointsman::dns::kept::Kept;
use pointsman::dns::metrics::{Count, DnsMetrics};
use pointsman::dns::sample::Sample;
use pointsman::dns::source::LoadNames;
use pointsman::dns::transport::bind::{Spoken, StreamSocket, bind, bind_streams, own_addresses};
use pointsman::dns::transport::secure::Secure;
use pointsman::dns::{DnsWorker, Drain, serve};
use tokio::sync::watch;
use tokio::task::LocalSet;

/// Long enough for a busy machine; nothing waits for it unless the test is going to fail.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a port of its own, drained when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    /// Where DNS over TLS and over HTTPS is spoken, on a server that was started with certificates.
    pub tls: Option<SocketAddr>,
    pub https: Option<SocketAddr>,
    pub metrics: DnsMetrics,
    pub registry: prometheus::Registry,
    draining: watch::Sender<Drain>,
    workers: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    pub fn start(names: Sample) -> Self {
        Self::start_on("127.0.0.1:0", 1, &Arc::new(names))
    }

    pub fn start_on(listen: &str, workers: usize, names: &(impl LoadNames + Clone + Send + 'static)) -> Self {
        Self::start_with(listen, workers, None, names)
    }

    /// The same with encrypted transports too.
    pub fn start_with(
        listen: &str,
        workers: usize,
        secure: Option<&Secure>,
        names: &(impl LoadNames + Clone + Send + 'static),
    ) -> Self {
        let mut bound = bind(&[listen.parse().unwrap()], workers).unwrap();
        let (mut tls, mut https) = (None, None);
        if secure.is_some() {
            for (place, spoken) in [(&mut tls, Spoken::Tls), (&mut https, Spoken::Https)] {
                let (address, listeners) = bind_streams("test", "127.0.0.1:0".parse().unwrap(), workers).unwrap();
                *place = Some(address);
                for (sockets, listener) in bound.workers.iter_mut().zip(listeners) {
                    sockets.streams.push(StreamSocket { listener, spoken, is_inherited: false });
                }
            }
        }
        let own_addresses: Arc<[IpAddr]> = own_addresses(&bound.addresses).into();
        let registry = prometheus::Registry::new();
        let metrics = DnsMetrics::register(&registry, workers).unwrap();
        let (draining, receiver) = watch::channel(Drain::Serving);
        let threads = bound.workers.into_iter().enumerate().map(|(index, sockets)| {
            let (names, own_addresses, drain) = (names.clone(), own_addresses.clone(), receiver.clone());
            let secure = secure.cloned();
            let metrics = metrics.worker(index);
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let kept = Rc::new(Kept::new(metrics));
                let worker = DnsWorker { sockets, secure, names, history: None, own_addresses, log: None, kept, drain };
                LocalSet::new().block_on(&runtime, serve(worker))
            })
        });
        let workers = threads.collect();
        Self { address: bound.addresses[0], tls, https, metrics, registry, draining, workers }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn counted(&self, what: Count) -> u64 {
        (0..self.workers.len()).map(|index| self.metrics.worker(index).counted(what)).sum()
    }

    /// The sum of a metric's series whose labels contain these; 0 if there are none.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let of_metric = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let lines = text.lines().filter(of_metric).filter(|line| line.contains(labels));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }

    pub fn drain(&mut self) {
        self.draining.send_replace(Drain::Draining);
        for worker in self.workers.drain(..) {
            worker.join().unwrap().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.drain();
    }
}

pub fn names() -> Sample {
    let mut names = Sample::new("mesos")
        .with_address("web.marathon.mesos", [10, 0, 0, 1].into())
        .with_address("web-abcde-s0.marathon.mesos", [10, 0, 0, 1].into())
        .with_srv("_web._tcp.marathon.mesos", 31_000, "web-abcde-s0.marathon.mesos");
    for last in 0..200 {
        names = names.with_address("many.mesos", [10, 9, 0, last].into());
    }
    for number in 0..2000u16 {
        names = names.with_srv("_many._tcp.mesos", number, &format!("many-{number}-s0.marathon.slave.mesos"));
    }
    names
}

pub fn query(id: u16, name: &str, record_type: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message.to_vec().unwrap()
}

pub fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

pub fn read_answer(stream: &mut TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    Message::from_vec(&message).unwrap()
}

/// Whether the server has closed the connection; waits for it.
pub fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

pub fn ask_udp(to: SocketAddr, message: &[u8]) -> Message {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { "::".parse().unwrap() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    // A connected socket hears only the address it is connected to.
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(message).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}
