//! Requests at a steady rate, and what became of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::cluster::Cluster;

/// What became of requests.
#[derive(Default)]
pub struct Asked {
    /// How long each took: from when it was due, where the one before it was not answered by then; else from its beginning,
    /// since that a timer rings late is no time of an answer's.
    pub took: Vec<Duration>,
    /// What went wrong.
    pub faults: Vec<String>,
}

/// A kept connection.
pub struct Client {
    proxy: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub fn new(proxy: SocketAddr) -> Self {
        Self { proxy, stream: None }
    }

    /// Asks for a host: status and content.
    pub async fn get(&mut self, host: &str) -> std::io::Result<(u16, String)> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.proxy).await?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<usize>().ok());
        let status = number(head.get(9..12)).unwrap_or_default();
        let head = head.to_ascii_lowercase();
        let length = number(head.split("content-length:").nth(1).and_then(|rest| rest.lines().next()));
        let mut content = vec![0; length.unwrap_or_default()];
        stream.read_exact(&mut content).await?;
        self.stream = Some(stream);
        Ok((u16::try_from(status).unwrap_or_default(), String::from_utf8_lossy(&content).into_owned()))
    }
}

/// Asks `rate` times a second for one of the first `apps` apps, for a while. Blocks: on a thread of their own clients wait for
/// nobody in this program.
pub fn ask(cluster: &Arc<Cluster>, proxy: SocketAddr, apps: usize, rate: u32, duration: Duration) -> Asked {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask_at(cluster, proxy, apps, rate, duration))
}

async fn ask_at(cluster: &Arc<Cluster>, proxy: SocketAddr, apps: usize, rate: u32, duration: Duration) -> Asked {
    const CLIENTS: u32 = 4;
    let begun = Instant::now();
    let client = |number: u32| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let mut asked = Asked::default();
            let mut client = Client::new(proxy);
            let mut random = fastrand::Rng::with_seed(number.into());
            let pause = Duration::from_secs(1) * CLIENTS / rate;
            let mut due = begun + pause * number / CLIENTS;
            while due < begun + duration {
                let is_early = Instant::now() < due;
                tokio::time::sleep_until(due.into()).await;
                let asked_at = if is_early { Instant::now() } else { due };
                let app = random.usize(..apps);
                // What may still be answered hangs on when it was really asked for: a client that is late is owed the newest.
                let sent = Instant::now();
                match client.get(&Cluster::host(app)).await {
                    Ok((200, place)) => {
                        asked.took.push(asked_at.elapsed());
                        let at = place.parse::<SocketAddr>().ok();
                        if !at.is_some_and(|at| cluster.is_right(app, at.ip(), Some(at.port()), sent)) {
                            asked.faults.push(format!("app {app} was asked for, and {place} answered"));
                        }
                    }
                    Ok((status, content)) => asked.faults.push(format!("app {app}: {status} {content}")),
                    Err(error) => asked.faults.push(format!("app {app}: {error}")),
                }
                due += pause;
            }
            asked
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    let mut all = Asked::default();
    for client in clients {
        let mut asked = client.await.unwrap();
        all.took.append(&mut asked.took);
        all.faults.append(&mut asked.faults);
    }
    all
}
