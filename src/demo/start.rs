//! Starting and stopping the embedded cluster as a whole.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::cluster::ClusterModel;
use super::control;
use super::feed::Feed;
use super::master::Masters;
use super::options::DemoOptions;
use super::scheduler::{Scheduler, SchedulerError};
use super::serve::{self, Closing};

/// Why the embedded cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A port is taken, or not ours to take.
    #[error(
        "cannot listen on {address} ({what}): {source}; stop what listens there (`ss -ltnp 'sport = {port}'` names it) or give another address with {flag}"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Its port.
        port: u16,
        /// For what.
        what: &'static str,
        /// The option that changes it.
        flag: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// There is no master or no agent to start.
    #[error("the demo needs at least one {what}; give {flag}")]
    TooFew {
        /// Of what.
        what: &'static str,
        /// The option that changes it.
        flag: &'static str,
    },
    /// The first tasks did not come up.
    #[error("the demo's tasks did not come up: {0}")]
    Tasks(#[from] SchedulerError),
    /// Ctrl-C cannot be heard.
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// A running cluster. Dropping it ends its listeners; [`DemoCluster::stop`] also waits for them.
#[derive(Debug)]
pub struct DemoCluster {
    feed: Arc<Feed>,
    masters: Arc<Masters>,
    scheduler: Arc<Scheduler>,
    control: SocketAddr,
    closing: Closing,
    tasks: TaskTracker,
}

impl DemoCluster {
    /// Starts the masters, the agents and the control listener, and begins to launch the apps; returns as soon as the
    /// masters answer. [`DemoCluster::ready`] waits for the apps.
    ///
    /// # Errors
    /// See [`DemoError`].
    pub async fn start(options: DemoOptions) -> Result<Self, DemoError> {
        if options.masters.is_empty() {
            return Err(DemoError::TooFew { what: "master", flag: "--masters" });
        }
        if options.agents == 0 {
            return Err(DemoError::TooFew { what: "agent", flag: "--agents" });
        }
        let mut listeners = Vec::new();
        for address in &options.masters {
            listeners.push(listen(*address, "a master", "--masters").await?);
        }
        let (control_listener, control) = listen(options.control, "demo control", "--control").await?;
        let (model, ids) = populate(&options);
        let feed = Arc::new(Feed::new(model));
        let masters = Arc::new(Masters::start(feed.clone(), listeners, ids, options.pace.heartbeat));
        let scheduler =
            Arc::new(Scheduler::new(feed.clone(), masters.clone(), options.pace, options.deploy_batch, options.apps));
        let (closing, tasks) = (Closing::default(), TaskTracker::new());
        let answers = control::Control::new(feed.clone(), masters.clone(), scheduler.clone());
        tasks.spawn(serve::http(control_listener, answers, closing.clone()));
        tasks.spawn({
            let scheduler = scheduler.clone();
            async move { scheduler.keep_numbers().await }
        });
        tasks.close();
        Ok(Self { feed, masters, scheduler, control, closing, tasks })
    }

    /// Waits until every app has all its instances ready.
    ///
    /// # Errors
    /// [`SchedulerError::NotReady`], [`SchedulerError::Stopping`].
    pub async fn ready(&self) -> Result<(), SchedulerError> {
        self.scheduler.all_ready().await
    }

    /// Where the masters listen.
    pub fn masters(&self) -> &[SocketAddr] {
        self.masters.addresses()
    }

    /// The position of the leader among [`DemoCluster::masters`].
    pub fn leader(&self) -> Option<usize> {
        self.masters.leader()
    }

    /// Where [`control::send`] reaches the cluster.
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// What acts on the cluster.
    pub fn scheduler(&self) -> &Arc<Scheduler> {
        &self.scheduler
    }

    /// The model and its events.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Ends everything and waits for it.
    pub async fn stop(self) {
        self.closing.cut.cancel();
        self.masters.stop().await;
        self.scheduler.stop().await;
        self.tasks.wait().await;
    }
}

impl Drop for DemoCluster {
    fn drop(&mut self) {
        self.closing.cut.cancel();
        self.scheduler.begin_stop();
    }
}

/// The agents and the framework, before anybody listens; and the masters' ids.
fn populate(options: &DemoOptions) -> (ClusterModel, Vec<String>) {
    let mut model = ClusterModel::new(options.seed);
    for number in 1..=options.agents {
        // 127.0.0.1 is the masters'; Linux answers on the whole of 127/8.
        let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, number.saturating_add(1)));
        model.add_agent(&format!("agent-{number}"), ip);
    }
    model.connect_framework();
    let ids = options.masters.iter().map(|_| model.draw_id()).collect();
    (model, ids)
}

async fn listen(
    address: SocketAddr,
    what: &'static str,
    flag: &'static str,
) -> Result<(TcpListener, SocketAddr), DemoError> {
    let fault = |source| DemoError::Listen { address, port: address.port(), what, flag, source };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?;
    Ok((listener, address))
}
