//! A small Marathon: keeps apps at their number of instances, rolls versions out, and replaces what is lost.
//!
//! Operations on one app follow each other; a crash, a lost agent or a failover may come at any time in between.
//! A roll-out kills an old instance only when its successor runs and is healthy.
//!
//! Every task's driver is owned by the scheduler's tracker and ends with [`Scheduler::stop`].

pub mod agents;
mod replace;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::AppSpec;
use super::cluster::{AgentStanding, ClusterModel, ModelError, ModelTask};
use super::feed::Feed;
use super::master::Masters;
use super::options::Pace;
use super::task::{LiveTask, Order, Surroundings, drive, reserve_port};

/// Instances an app may be scaled to: each is a listener in this process.
pub const MOST_INSTANCES: usize = 200;

/// Attempts at one instance that keeps falling over before a roll-out gives up.
const ATTEMPTS: usize = 3;

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// No such app.
    #[error("there is no app {app:?}; there are {known}")]
    UnknownApp {
        /// What was asked for.
        app: String,
        /// What there is.
        known: String,
    },
    /// No such task, or none that runs.
    #[error("there is no running task {name:?}; see the tasks that are at GET /demo")]
    UnknownTask {
        /// What was asked for.
        name: String,
    },
    /// No such agent, or none that could be meant.
    #[error("there is no agent {name:?} in that condition; see the agents that are at GET /demo")]
    UnknownAgent {
        /// What was asked for.
        name: String,
    },
    /// Too many.
    #[error("{wanted} instances are more than the {MOST_INSTANCES} that one process should play; ask for fewer")]
    TooMany {
        /// What was asked for.
        wanted: usize,
    },
    /// The model refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A listener could not be had.
    #[error("cannot listen on {address}: {source}; free the port or raise the limit of open files")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Instances did not get ready.
    #[error("instances of {app} were not ready within {limit:?}; crash or scale the app, then try again")]
    NotReady {
        /// The app.
        app: String,
        /// How long it was waited.
        limit: Duration,
    },
    /// The cluster is being stopped.
    #[error("the cluster is being stopped")]
    Stopping,
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    feed: Arc<Feed>,
    masters: Arc<Masters>,
    pace: Pace,
    deploy_batch: usize,
    apps: Mutex<BTreeMap<String, AppSpec>>,
    /// One permit an app: its operations follow each other.
    turns: BTreeMap<String, Semaphore>,
    failovers: Semaphore,
    tasks: Mutex<BTreeMap<String, Arc<LiveTask>>>,
    launches: AtomicU64,
    drivers: TaskTracker,
    stopping: CancellationToken,
}

impl Scheduler {
    pub(super) fn new(
        feed: Arc<Feed>,
        masters: Arc<Masters>,
        pace: Pace,
        deploy_batch: usize,
        apps: Vec<AppSpec>,
    ) -> Self {
        let apps: BTreeMap<_, _> = apps.into_iter().map(|app| (app.name.clone(), app)).collect();
        Self {
            feed,
            masters,
            pace,
            deploy_batch: deploy_batch.max(1),
            turns: apps.keys().map(|name| (name.clone(), Semaphore::new(1))).collect(),
            failovers: Semaphore::new(1),
            apps: Mutex::new(apps),
            tasks: Mutex::default(),
            launches: AtomicU64::new(0),
            drivers: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }

    /// The apps as they are wanted.
    pub fn apps(&self) -> Vec<AppSpec> {
        self.app_map().values().cloned().collect()
    }

    /// Brings an app to so many instances; returns when new ones are ready or old ones have ended.
    ///
    /// # Errors
    /// See [`SchedulerError`].
    pub async fn scale(&self, app: &str, instances: usize) -> Result<(), SchedulerError> {
        if instances > MOST_INSTANCES {
            return Err(SchedulerError::TooMany { wanted: instances });
        }
        let _turn = self.turn(app).await?;
        self.change_app(app, |spec| spec.instances = instances)?;
        self.settle(app).await
    }

    /// Waits until every app has all its instances ready.
    pub(super) async fn all_ready(&self) -> Result<(), SchedulerError> {
        for app in self.turns.keys() {
            self.until_ready(app).await?;
        }
        Ok(())
    }

    /// Rolls out the next version, batch by batch: new instances up and healthy first, then old ones end.
    ///
    /// # Errors
    /// See [`SchedulerError`]; old instances whose successors did not become ready go on.
    pub async fn deploy(&self, app: &str) -> Result<(), SchedulerError> {
        let _turn = self.turn(app).await?;
        let spec = self.change_app(app, |spec| spec.version += 1)?;
        let old = self.feed.read(|model| wanted(model, app, |task| task.version < spec.version));
        for batch in old.chunks(self.deploy_batch) {
            self.bring_up(&spec, batch.len()).await?;
            batch.iter().for_each(|id| self.order(id, Order::Kill));
            self.until_ended(app, batch).await?;
        }
        self.settle(app).await
    }

    /// One instance falls over: the one of this id, or the oldest of this app. Returns its id.
    ///
    /// # Errors
    /// [`SchedulerError::UnknownTask`].
    pub fn crash(&self, name: &str) -> Result<String, SchedulerError> {
        let task = self.find_task(name)?;
        task.order(Order::Crash);
        Ok(task.id.clone())
    }

    /// One instance fails (or passes) its health checks from now on: the one of this id, or the oldest of this app.
    ///
    /// # Errors
    /// [`SchedulerError::UnknownTask`].
    pub fn set_sick(&self, name: &str, sick: bool) -> Result<String, SchedulerError> {
        let task = self.find_task(name)?;
        task.sick.store(sick, Ordering::Relaxed);
        Ok(task.id.clone())
    }

    /// Where a task listens.
    pub fn address(&self, id: &str) -> Option<std::net::SocketAddr> {
        self.live().get(id).map(|task| task.address)
    }

    /// Ends every task at once and waits for all of them.
    pub(super) async fn stop(&self) {
        self.begin_stop();
        self.drivers.close();
        self.drivers.wait().await;
    }

    /// Ends every task at once.
    pub(super) fn begin_stop(&self) {
        self.stopping.cancel();
        self.live().values().for_each(|task| task.order(Order::Crash));
    }

    /// Starts and ends instances until the number is right, and waits for them.
    async fn settle(&self, app: &str) -> Result<(), SchedulerError> {
        self.start_missing(app).await?;
        let surplus = self.kill_surplus(app)?;
        self.until_ended(app, &surplus).await?;
        self.until_ready(app).await
    }

    async fn start_missing(&self, app: &str) -> Result<(), SchedulerError> {
        let spec = self.app(app)?;
        let present = self.feed.read(|model| wanted(model, app, |_| true).len());
        for _ in present..spec.instances {
            self.launch(&spec).await?;
        }
        Ok(())
    }

    /// Ends the youngest of too many.
    fn kill_surplus(&self, app: &str) -> Result<Vec<String>, SchedulerError> {
        let instances = self.app(app)?.instances;
        let present = self.oldest_first(self.feed.read(|model| wanted(model, app, |_| true)));
        let surplus = present.get(instances..).unwrap_or_default().to_vec();
        surplus.iter().for_each(|id| self.order(id, Order::Kill));
        Ok(surplus)
    }

    /// Launches instances and waits until all are ready; those that fall over meanwhile are tried again.
    async fn bring_up(&self, spec: &AppSpec, count: usize) -> Result<(), SchedulerError> {
        let mut missing = count;
        for _ in 0..ATTEMPTS {
            let mut launched = Vec::new();
            for _ in 0..missing {
                launched.push(self.launch(spec).await?);
            }
            let decided = |model: &ClusterModel| {
                let tasks = || launched.iter().filter_map(|id| model.tasks().get(id)).filter(|task| task.is_wanted());
                tasks().all(ModelTask::is_ready).then(|| tasks().count())
            };
            missing -= self.wait(&spec.name, decided).await?;
            if missing == 0 {
                return Ok(());
            }
        }
        Err(self.not_ready(&spec.name))
    }

    /// Launches one instance on the registered agent that has the fewest.
    async fn launch(&self, spec: &AppSpec) -> Result<String, SchedulerError> {
        loop {
            let (agent, ip) = self.wait(&spec.name, emptiest_agent).await?;
            let (socket, address) =
                reserve_port(ip).map_err(|source| SchedulerError::Listen { address: ip.to_string(), source })?;
            match self.feed.try_change(|model, _| model.launch(spec, &agent, address.port())) {
                Ok(id) => {
                    let launched = self.launches.fetch_add(1, Ordering::Relaxed);
                    let task = Arc::new(LiveTask::new(id.clone(), spec.clone(), agent, address, launched));
                    self.own(task, socket);
                    return Ok(id);
                }
                // It went away between the look and the launch.
                Err(ModelError::AgentAway { .. }) => {}
            }
        }
    }

    fn own(&self, task: Arc<LiveTask>, socket: tokio::net::TcpSocket) {
        let mut live = self.live();
        self.feed.read(|model| live.retain(|id, _| model.tasks().contains_key(id)));
        if self.stopping.is_cancelled() {
            task.order(Order::Crash);
        }
        live.insert(task.id.clone(), task.clone());
        let around = Surroundings { feed: self.feed.clone(), pace: self.pace };
        self.drivers.spawn(drive(task, socket, around));
    }

    async fn until_ended(&self, app: &str, ids: &[String]) -> Result<(), SchedulerError> {
        let ended = |id: &String, model: &ClusterModel| model.tasks().get(id).is_none_or(|task| task.state.is_ended());
        self.wait(app, |model| ids.iter().all(|id| ended(id, model)).then_some(())).await
    }

    async fn until_ready(&self, app: &str) -> Result<(), SchedulerError> {
        let instances = self.app(app)?.instances;
        self.wait(app, |model| (wanted(model, app, ModelTask::is_ready).len() >= instances).then_some(())).await
    }

    async fn wait<T>(&self, app: &str, look: impl FnMut(&ClusterModel) -> Option<T>) -> Result<T, SchedulerError> {
        tokio::select! {
            () = self.stopping.cancelled() => Err(SchedulerError::Stopping),
            found = self.feed.wait_for(self.pace.ready_limit, look) => found.ok_or_else(|| self.not_ready(app)),
        }
    }

    fn not_ready(&self, app: &str) -> SchedulerError {
        SchedulerError::NotReady { app: app.to_owned(), limit: self.pace.ready_limit }
    }

    async fn turn(&self, app: &str) -> Result<Turn<'_>, SchedulerError> {
        let turns = self.turns.get(app).ok_or_else(|| self.unknown_app(app))?;
        let permit = tokio::select! {
            () = self.stopping.cancelled() => return Err(SchedulerError::Stopping),
            turn = turns.acquire() => turn.map_err(|_closed| SchedulerError::Stopping)?,
        };
        Ok(Turn { permit: Some(permit), feed: &self.feed })
    }

    fn order(&self, id: &str, order: Order) {
        if let Some(task) = self.live().get(id) {
            task.order(order);
        }
    }

    fn find_task(&self, name: &str) -> Result<Arc<LiveTask>, SchedulerError> {
        let ids = self.feed.read(|model| match model.tasks().get_key_value(name) {
            Some((id, _)) => vec![id.clone()],
            None => wanted(model, name, |_| true),
        });
        let oldest = self.oldest_first(ids).into_iter().next();
        let live = oldest.and_then(|id| self.live().get(&id).cloned());
        live.ok_or_else(|| SchedulerError::UnknownTask { name: name.to_owned() })
    }

    fn oldest_first(&self, mut ids: Vec<String>) -> Vec<String> {
        let live = self.live();
        ids.sort_by_key(|id| live.get(id).map_or(u64::MAX, |task| task.launched));
        ids
    }

    fn app(&self, app: &str) -> Result<AppSpec, SchedulerError> {
        self.app_map().get(app).cloned().ok_or_else(|| self.unknown_app(app))
    }

    fn change_app(&self, app: &str, change: impl FnOnce(&mut AppSpec)) -> Result<AppSpec, SchedulerError> {
        let mut apps = self.app_map();
        let Some(spec) = apps.get_mut(app) else {
            drop(apps);
            return Err(self.unknown_app(app));
        };
        change(spec);
        Ok(spec.clone())
    }

    fn unknown_app(&self, app: &str) -> SchedulerError {
        let known = self.turns.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        SchedulerError::UnknownApp { app: app.to_owned(), known }
    }

    fn app_map(&self) -> MutexGuard<'_, BTreeMap<String, AppSpec>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<String, Arc<LiveTask>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An app's turn; when it is over, whoever keeps the numbers looks again.
struct Turn<'a> {
    permit: Option<SemaphorePermit<'a>>,
    feed: &'a Feed,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.feed.touch();
    }
}

/// The app's instances that count and are not on an agent that was given up.
fn wanted(model: &ClusterModel, app: &str, also: impl Fn(&ModelTask) -> bool) -> Vec<String> {
    let on_agent = |task: &ModelTask| {
        model.agents().get(&task.agent).is_some_and(|agent| agent.standing != AgentStanding::Unreachable)
    };
    let counts = |task: &ModelTask| task.app == app && task.is_wanted() && on_agent(task) && also(task);
    model.tasks().iter().filter(|(_, task)| counts(task)).map(|(id, _)| id.clone()).collect()
}

fn emptiest_agent(model: &ClusterModel) -> Option<(String, std::net::IpAddr)> {
    let tasks_on = |id: &str| model.tasks().values().filter(|task| task.agent == id).count();
    let there = model.agents().iter();
    let there = there.filter(|(_, agent)| agent.connected && agent.standing == AgentStanding::Registered);
    there.min_by_key(|(id, _)| tasks_on(id)).map(|(id, agent)| (id.clone(), agent.ip))
}
