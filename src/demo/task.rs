//! A task's process: a real server on a loopback port, from launch to end.
//!
//! The port is bound when the task is launched and refuses connections until the task runs. Told to end, a task goes
//! on serving for its grace period, finishes what is in flight, and closes; a crash resets everything at once.

mod driver;
mod web;
mod websocket;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::app::{AppProtocol, AppSpec};
use super::feed::Feed;
use super::options::Pace;
use super::serve::{self, Closing, Resetting};

pub(super) use driver::drive;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Octets an echo task reads at a time.
const ECHO_BUFFER: usize = 16 * 1024;

/// What a task was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Go on.
    Run,
    /// End in good order.
    Kill,
    /// Fall over.
    Crash,
}

/// A task that was launched.
#[derive(Debug)]
pub(super) struct LiveTask {
    pub(super) id: String,
    pub(super) app: AppSpec,
    pub(super) agent: String,
    pub(super) address: SocketAddr,
    /// Sick by order.
    pub(super) sick: AtomicBool,
    /// Sick because the app is now and then.
    in_sick_phase: AtomicBool,
    /// Counts launches: the age of tasks.
    pub(super) launched: u64,
    served: AtomicU64,
    orders: watch::Sender<Order>,
}

impl LiveTask {
    pub(super) fn new(id: String, app: AppSpec, agent: String, address: SocketAddr, launched: u64) -> Self {
        Self {
            id,
            app,
            agent,
            address,
            sick: AtomicBool::new(false),
            in_sick_phase: AtomicBool::new(false),
            launched,
            served: AtomicU64::new(0),
            orders: watch::Sender::new(Order::Run),
        }
    }

    /// Gives an order; one that is less than what was ordered before changes nothing.
    pub(super) fn order(&self, order: Order) {
        self.orders.send_if_modified(|current| {
            let more = order > *current;
            *current = order.max(*current);
            more
        });
    }

    /// Waits until at least this was ordered.
    async fn ordered(&self, least: Order) {
        let mut orders = self.orders.subscribe();
        // The sender is this task's own and outlives the wait.
        let _alive = orders.wait_for(|order| *order >= least).await;
    }

    fn is_unwell(&self) -> bool {
        self.sick.load(Ordering::Relaxed) || self.in_sick_phase.load(Ordering::Relaxed)
    }

    fn count_request(&self) -> u64 {
        self.served.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Takes a free port of an agent's address without listening on it yet.
pub(super) fn reserve_port(ip: IpAddr) -> std::io::Result<(TcpSocket, SocketAddr)> {
    let socket = if ip.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(ip, 0))?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// Serves until closed.
async fn serve(task: Arc<LiveTask>, listener: TcpListener, closing: Closing) {
    let upgraded = TaskTracker::new();
    match task.app.protocol {
        AppProtocol::Http => {
            let web = web::Web::new(task, upgraded.clone(), closing.clone());
            serve::http(listener, web, closing).await;
        }
        AppProtocol::TcpEcho => {
            let cut = closing.cut.clone();
            let echo = move |stream, _client| {
                let cut = cut.clone();
                async move {
                    tokio::select! {
                        () = cut.cancelled() => {}
                        ended = echo(stream) => {
                            if let Err(error) = ended {
                                tracing::debug!(%error, "an echo connection broke");
                            }
                        }
                    }
                }
            };
            serve::connections(listener, closing, echo).await;
        }
    }
    upgraded.close();
    upgraded.wait().await;
}

async fn echo(mut stream: Resetting) -> std::io::Result<()> {
    let mut buffer = vec![0; ECHO_BUFFER];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

/// What a task needs of its surroundings.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) feed: Arc<Feed>,
    pub(super) pace: Pace,
}
