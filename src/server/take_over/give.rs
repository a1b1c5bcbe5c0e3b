//! The running program's side: waits for one that takes over, and hands over.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::message::{self, Answer, Hello, Offer, Released, Serving};
use super::{FORMAT, Place, balance};
use crate::admin::bind::OwnSocket;
use crate::model::run::Moment;
use crate::server::lock;
use crate::server::reload::Admin;
use crate::server::workers::Workers;
use crate::table::handle::TableHandle;

/// How long the other side may take for what it has at hand.
const PROMPT: Duration = Duration::from_secs(10);
/// How long it may take until it serves: it follows the sources meanwhile.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// How long requests to the API may go on.
const ADMIN_GRACE: Duration = Duration::from_millis(500);

/// What is handed over, and by whom.
pub(in crate::server) struct Giver {
    pub(in crate::server) table: Arc<TableHandle>,
    pub(in crate::server) workers: Arc<Mutex<Workers>>,
    pub(in crate::server) admin: Arc<tokio::sync::Mutex<Admin>>,
    /// Becomes true when another one serves.
    pub(in crate::server) given: watch::Sender<bool>,
    pub(in crate::server) stop: CancellationToken,
}

impl Giver {
    /// Waits for those that want to take over, one after the other, until one has.
    pub(in crate::server) async fn run(self, listener: UnixListener, own: OwnSocket) {
        let (giver, mut own) = (Arc::new(self), own);
        loop {
            let accepted = tokio::select! {
                () = giver.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted.and_then(|(stream, address)| {
                is_ours(&stream)?;
                Ok((stream, address))
            }) else {
                continue;
            };
            let stream = stream.into_std().and_then(|stream| stream.set_nonblocking(false).map(|()| stream));
            let Ok(stream) = stream else { continue };
            match giver.clone().converse(stream).await {
                Ok(stream) => {
                    own.remove();
                    drop(listener);
                    if let Some(admin) = giver.admin.lock().await.take() {
                        admin.stop(ADMIN_GRACE).await;
                    }
                    // Whoever it is told to serves in any case.
                    let _ = message::write(&stream, &Released);
                    tracing::info!("another process has taken over");
                    giver.given.send_replace(true);
                    return;
                }
                Err(error) => tracing::warn!(%error, "not taken over; this process goes on serving"),
            }
        }
    }

    /// One conversation; returns when the other one serves.
    async fn converse(self: Arc<Self>, stream: UnixStream) -> io::Result<UnixStream> {
        let conversation = tokio::task::spawn_blocking(move || {
            stream.set_read_timeout(Some(PROMPT))?;
            stream.set_write_timeout(Some(PROMPT))?;
            let hello: Hello = message::read(&stream)?;
            tracing::info!(version = %hello.version, process = hello.process, "another process wants to take over");
            if let Some(why) = self.refusal(&hello) {
                message::write(&stream, &Answer::Refused(why.clone()))?;
                return Err(io::Error::other(why));
            }
            let (places, sockets): (Vec<Place>, Vec<OwnedFd>) = lock(&self.workers).sockets()?.into_iter().unzip();
            let endpoints = balance::records(&self.table.load(), Moment::of(Instant::now()));
            message::write(&stream, &Answer::Offered(Offer { sockets: places, endpoints }))?;
            message::send_sockets(&stream, &sockets)?;
            drop(sockets);
            stream.set_read_timeout(Some(PATIENCE))?;
            let Serving { places } = message::read(&stream)?;
            lock(&self.workers).hand_over(&places);
            Ok(stream)
        });
        conversation.await.map_err(io::Error::other)?
    }

    fn refusal(&self, hello: &Hello) -> Option<String> {
        if hello.format != FORMAT {
            let theirs = hello.format;
            return Some(format!(
                "the process that wants to take over speaks format {theirs}, this one {FORMAT}; stop this one and start the \
                 other without --take-over"
            ));
        }
        let workers = lock(&self.workers).count();
        (hello.workers != workers).then(|| {
            format!(
                "server.workers is {} there and {workers} here, and each worker has its own sockets; make them equal, \
                 or restart",
                hello.workers
            )
        })
    }
}

/// Only our own user, or root, may have the sockets.
fn is_ours(stream: &tokio::net::UnixStream) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    match user == 0 || user == nix::unistd::geteuid().as_raw() {
        true => Ok(()),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}
