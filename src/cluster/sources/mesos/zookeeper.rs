//! Watches the masters' nodes in ZooKeeper, for ever.
//!
//! What is found goes into a watch channel: whoever reads it sees the latest, and never a queue. While ZooKeeper
//! cannot be asked, what was found last goes on counting.

use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use zookeeper_client as zk;

use super::backoff;
use super::leader::{Detected, MasterNode, NodeError, master_nodes, master_of_node};
use crate::model::network::MastersFacts;

/// How soon a lost server is noticed; Mesos itself uses 10 s.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Times that a listing is repeated at once because a node vanished before it was read.
const MAX_RELISTS: u32 = 10;

/// Masters that are looked at.
const MAX_MASTERS: usize = 64;

/// What is known of the masters.
#[derive(Clone, Debug, Default)]
pub enum Detection {
    /// Nothing yet.
    #[default]
    Unknown,
    /// The masters' nodes say this.
    Found(Detected),
    /// ZooKeeper cannot be asked.
    Failed(String),
}

/// Where to watch.
#[derive(Clone, Debug)]
pub struct Ensemble {
    /// `host:port` of each server.
    pub servers: Vec<String>,
    /// The path of the masters' nodes.
    pub path: String,
    /// `user:password` for digest authentication.
    pub auth: Option<String>,
}

#[derive(Debug, Error)]
enum WatchError {
    #[error("ZooKeeper at {servers} cannot be asked for the masters at {path}: {source}")]
    ZooKeeper { servers: String, path: String, source: zk::Error },
    #[error("the masters' nodes at {path} in ZooKeeper change faster than they can be read")]
    Restless { path: String },
    #[error("{0}")]
    Node(#[from] NodeError),
}

/// Watches until it is dropped.
pub async fn watch(ensemble: Ensemble, found: watch::Sender<Detection>, mut random: fastrand::Rng) {
    let mut failures = 0;
    loop {
        let error = match follow(&ensemble, &found, &mut failures).await {
            Ok(never) => match never {},
            Err(error) => error.to_string(),
        };
        tracing::warn!(error, "leader detection interrupted");
        // A found leader is not forgotten: the session is told of the failure only while it has none.
        found.send_if_modified(|detection| match detection {
            Detection::Found(detected) if detected.leader.is_some() => false,
            _ => {
                *detection = Detection::Failed(error);
                true
            }
        });
        failures += 1;
        tokio::time::sleep(backoff::pause(failures, MAX_BACKOFF, &mut random)).await;
    }
}

enum Never {}

/// Follows the nodes in one session, until that ends.
async fn follow(
    ensemble: &Ensemble,
    found: &watch::Sender<Detection>,
    failures: &mut u32,
) -> Result<Never, WatchError> {
    let explained =
        |source| WatchError::ZooKeeper { servers: ensemble.servers.join(","), path: ensemble.path.clone(), source };
    let mut connector = zk::Client::connector().with_session_timeout(SESSION_TIMEOUT);
    if let Some(auth) = &ensemble.auth {
        connector = connector.with_auth("digest", auth.as_bytes());
    }
    let client = connector.connect(&ensemble.servers.join(",")).await.map_err(explained)?;
    let mut relists = 0;
    loop {
        let (children, changed) = match client.list_and_watch_children(&ensemble.path).await {
            Ok((children, watcher)) => (children, watcher),
            Err(zk::Error::NoNode) => {
                // No master was ever started there, or the path is wrong.
                found.send_replace(Detection::Failed(format!("ZooKeeper has no node {}", ensemble.path)));
                let (stat, watcher) = client.check_and_watch_stat(&ensemble.path).await.map_err(explained)?;
                if stat.is_none() {
                    watcher.changed().await;
                }
                continue;
            }
            Err(error) => return Err(explained(error)),
        };
        match read_masters(&client, &ensemble.path, &master_nodes(&children)).await {
            Ok(detected) => {
                relists = 0;
                *failures = 0;
                tell(found, detected);
            }
            // It vanished between listing and reading: list again.
            Err(ReadError::Vanished) if relists < MAX_RELISTS => {
                relists += 1;
                continue;
            }
            Err(ReadError::Vanished) => return Err(WatchError::Restless { path: ensemble.path.clone() }),
            Err(ReadError::Node(error)) => return Err(error.into()),
            Err(ReadError::ZooKeeper(error)) => return Err(explained(error)),
        }
        let event = changed.changed().await;
        if event.event_type == zk::EventType::Session && event.session_state.is_terminated() {
            return Err(explained(zk::Error::SessionExpired));
        }
    }
}

fn tell(found: &watch::Sender<Detection>, detected: Detected) {
    found.send_if_modified(|detection| {
        let is_known = matches!(detection, Detection::Found(known) if *known == detected);
        if !is_known {
            *detection = Detection::Found(detected);
        }
        !is_known
    });
}

enum ReadError {
    Vanished,
    Node(NodeError),
    ZooKeeper(zk::Error),
}

/// Reads the masters' nodes, the leader first. A node that cannot be understood is fatal only if it leads.
async fn read_masters(client: &zk::Client, path: &str, nodes: &[MasterNode]) -> Result<Detected, ReadError> {
    let (mut detected, mut leader, mut addresses) = (Detected::default(), None, Vec::new());
    for (at, node) in nodes.iter().take(MAX_MASTERS).enumerate() {
        let value = match client.get_data(&child(path, &node.name)).await {
            Ok((value, _)) => value,
            Err(zk::Error::NoNode) => return Err(ReadError::Vanished),
            Err(error) => return Err(ReadError::ZooKeeper(error)),
        };
        let (target, address) = match master_of_node(&node.name, &value) {
            Ok(master) => master,
            Err(error) if at == 0 => return Err(ReadError::Node(error)),
            Err(error) => {
                tracing::warn!(%error, "a master's node is passed over");
                continue;
            }
        };
        if at == 0 {
            detected.leader = Some(target.clone());
            leader = address;
        }
        detected.masters.push(target);
        addresses.extend(address);
    }
    detected.facts = MastersFacts::found(leader, addresses);
    Ok(detected)
}

fn child(path: &str, name: &str) -> String {
    format!("{}/{name}", path.trim_end_matches('/'))
}

/// Runs the ZooKeeper client's own tasks on a Tokio runtime, tracked so that their end can be waited for.
pub struct ClientTasks {
    runtime: tokio::runtime::Handle,
    tracker: tokio_util::task::TaskTracker,
}

impl ClientTasks {
    /// Runs tasks on `runtime`.
    pub fn new(runtime: tokio::runtime::Handle) -> Self {
        Self { runtime, tracker: tokio_util::task::TaskTracker::new() }
    }

    /// Waits for all tasks.
    pub fn finished(&self) -> impl Future<Output = ()> + '_ {
        self.tracker.close();
        self.tracker.wait()
    }
}

impl spawns_core::Spawn for ClientTasks {
    fn spawn(&self, task: spawns_core::Task) {
        self.tracker.spawn_on(Box::into_pin(task.future), &self.runtime);
    }
}
