//! The API's listeners as a whole: bound before anything serves, changed while they run, stopped at the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::accept::Listener;
pub use super::bind::AdminError;
use super::bind::{Place, Socket};
use super::certificate::{Current, Following, Pair, Watched, acceptor};
use super::context::AdminContext;
use super::dispatch::Shared;
use super::metrics::AdminMetrics;
use crate::config::checked::AdminConfig;

/// Bound sockets that nobody is served on yet.
#[derive(Debug)]
pub struct AdminServer {
    sockets: Vec<(Place, Socket)>,
    /// `None`: the pair is the one that is followed already.
    tls: Option<Tls>,
}

/// A certificate with the paths it is from.
struct Tls {
    pair: Option<Pair>,
    watched: Option<Watched>,
    acceptor: Option<TlsAcceptor>,
}

/// The running API; dropping it ends every connection at once, [`RunningAdmin::stop`] lets them finish.
pub struct RunningAdmin {
    shared: Arc<Shared>,
    /// What is open, and what ends it.
    open: Vec<(Place, CancellationToken)>,
    loops: JoinSet<()>,
    pair: Option<Pair>,
    current: Current,
    following: Following,
}

impl AdminServer {
    /// Binds what the configuration asks for.
    ///
    /// # Errors
    /// A socket or the certificate cannot be used; the message says how to mend it.
    pub async fn bind(config: &AdminConfig) -> Result<Self, AdminError> {
        Self::bind_beside(config, &[], None).await
    }

    async fn bind_beside(
        config: &AdminConfig,
        open: &[(Place, CancellationToken)],
        pair: Option<&Pair>,
    ) -> Result<Self, AdminError> {
        let tls = (config.tls.as_ref() != pair).then(|| Tls::read(config)).transpose()?;
        let mut sockets = Vec::new();
        for place in Place::all(config) {
            if !open.iter().any(|(known, _)| *known == place) {
                let socket = place.bind().await?;
                sockets.push((place, socket));
            }
        }
        Ok(Self { sockets, tls })
    }

    /// The TCP addresses that were bound, in the order `listen`, `metrics_listen`, `mesos_dns_listen`.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let address = |(_, socket): &(Place, Socket)| match socket {
            Socket::Tcp(tcp) => tcp.local_addr().ok(),
            Socket::Unix(..) => None,
        };
        self.sockets.iter().filter_map(address).collect()
    }

    /// Starts to serve, on the current runtime, and registers the API's metrics.
    ///
    /// # Errors
    /// The API's metrics are registered already.
    pub fn serve(self, context: Arc<AdminContext>) -> Result<RunningAdmin, AdminError> {
        let metrics = AdminMetrics::register(&context.registry, &context.table, context.workers)?;
        let mut running = RunningAdmin {
            shared: Arc::new(Shared::new(context, metrics)),
            open: Vec::new(),
            loops: JoinSet::new(),
            pair: None,
            current: watch::Sender::new(None),
            following: Following::default(),
        };
        running.serve(self);
        Ok(running)
    }
}

impl Tls {
    fn read(config: &AdminConfig) -> Result<Self, AdminError> {
        let watched = config.tls.as_ref().map(Watched::start);
        let acceptor = config.tls.as_ref().map(|(certificate, key)| acceptor(certificate, key)).transpose()?;
        Ok(Self { pair: config.tls.clone(), watched, acceptor })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("pair", &self.pair).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RunningAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningAdmin").field("open", &self.open).field("pair", &self.pair).finish_non_exhaustive()
    }
}

impl RunningAdmin {
    /// Binds what `config` has beside what is open.
    ///
    /// # Errors
    /// As for [`AdminServer::bind`]; nothing has changed then.
    pub async fn open(&self, config: &AdminConfig) -> Result<AdminServer, AdminError> {
        AdminServer::bind_beside(config, &self.open, self.pair.as_ref()).await
    }

    /// Serves what was opened for `config`, and ends what `config` does not have; what both have goes on.
    ///
    /// Requests in flight on a listener that goes are finished; streams of events there end. Must be called within
    /// the runtime.
    pub fn change(&mut self, opened: AdminServer, config: &AdminConfig) {
        while self.loops.try_join_next().is_some() {}
        self.serve(opened);
        let wanted = Place::all(config);
        for (place, stop) in self.open.extract_if(.., |(place, _)| !wanted.contains(place)) {
            info!(%place, "admin API no longer listens");
            stop.cancel();
        }
    }

    /// Takes no more connections, lets requests in flight finish for `grace`, then ends the rest.
    pub async fn stop(mut self, grace: Duration) {
        for (_, stop) in &self.open {
            stop.cancel();
        }
        let finished = async { while self.loops.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, finished).await.is_err() {
            warn!("admin API ends connections that did not finish in time");
            // Dropping a loop drops its set of connections, which aborts them.
            self.loops.shutdown().await;
        }
    }

    fn serve(&mut self, opened: AdminServer) {
        let AdminServer { sockets, tls } = opened;
        if let Some(tls) = tls {
            self.current.send_replace(tls.acceptor);
            self.following = Following::start(tls.watched, &self.current);
            self.pair = tls.pair;
        }
        for (place, socket) in sockets {
            info!(%place, "admin API listens");
            let stop = CancellationToken::new();
            let listener = Listener {
                scope: place.scope(),
                shared: self.shared.clone(),
                tls: self.current.subscribe(),
                stop: stop.clone(),
            };
            self.loops.spawn(listener.run(socket));
            self.open.push((place, stop));
        }
    }
}
