//! What one worker keeps of a service: counters, its place in the round, its budget, and what is worked out once a
//! table instead of once a request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::budget::{Budget, Grant};
use super::gradient::Gradient;
use super::hedging::Hedging;
use super::outliers::{self, Outlier};
use super::queue::Queue;
use super::rotation::Rotation;
use super::zones::Zones;
use super::{eject, slow_start};
use crate::config::Config;
use crate::config::checked::{BalanceConfig, EjectionConfig};
use crate::model::agent::AgentFacts;
use crate::model::endpoint::Endpoint;
use crate::model::id::ServiceId;
use crate::model::run::Moment;
use crate::model::service::Service;
use crate::model::time::Timestamp;
use crate::proxy::metrics::{ServiceCounters, ServiceTally, Shard};

/// How long what depends on time is believed.
const RECHECK: Duration = Duration::from_millis(200);
/// How often endpoints are compared: as long as their answers are counted for.
const INTERVAL: Duration = Duration::from_secs(10);

/// One worker's view of one service.
#[derive(Debug)]
pub struct ServiceLocal {
    /// What is counted of the service's requests.
    pub counters: RefCell<Arc<ServiceCounters>>,
    /// The tally of the service's requests.
    pub tally: Arc<ServiceTally>,
    /// What is counted of all.
    pub shard: Arc<Shard>,
    /// For round robin.
    pub rotation: Rotation,
    /// For repeats.
    pub budget: RefCell<Budget>,
    /// Told when a repeat is over.
    repeat_ended: Notify,
    /// For second copies of requests.
    pub hedging: RefCell<Hedging>,
    /// How many requests may wait for answers, where that is found out.
    pub gradient: RefCell<Gradient>,
    /// Requests that wait for the beginning of their answers.
    pub asking: Cell<u32>,
    /// Requests that wait for room.
    pub queue: Rc<Queue>,
    /// Requests of the service under way at this worker.
    pub in_flight: Cell<u32>,
    /// When this worker last compared the service's endpoints.
    judged: Cell<Option<Moment>>,
    view: RefCell<Option<View>>,
}

/// A request that waits for the beginning of its answer.
#[derive(Debug)]
pub struct Asking(Rc<ServiceLocal>);

impl Asking {
    /// Counts one more.
    pub fn begin(local: &Rc<ServiceLocal>) -> Self {
        local.asking.set(local.asking.get() + 1);
        Self(local.clone())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.asking.set(self.0.asking.get().saturating_sub(1));
    }
}

/// A repeat that the budget allowed, until it is over.
#[derive(Debug)]
pub struct Repeat(Rc<ServiceLocal>);

impl Drop for Repeat {
    fn drop(&mut self) {
        self.0.budget.borrow_mut().finished();
        self.0.repeat_ended.notify_one();
    }
}

#[derive(Debug)]
struct View {
    service: Arc<Service>,
    config: Arc<Config>,
    outlook: Outlook,
    zones: Option<Rc<Zones>>,
    /// Looked at anew at the latest then.
    until: Option<Moment>,
    /// Whether too many are spared, and when that was found.
    panic: (Moment, bool),
}

/// What is worked out of a service's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The greatest weight.
    pub heaviest: u16,
    /// All weights.
    pub total_weight: u64,
    /// Some endpoints are new, and the others can carry them.
    pub slow_start: bool,
}

impl ServiceLocal {
    /// For a service that is seen for the first time.
    pub fn new(id: &ServiceId, shard: Arc<Shard>, rng: &mut fastrand::Rng) -> Self {
        Self {
            counters: RefCell::new(shard.service(id)),
            tally: shard.tally(id),
            shard,
            rotation: Rotation::begin(rng),
            budget: RefCell::default(),
            repeat_ended: Notify::new(),
            hedging: RefCell::default(),
            gradient: RefCell::default(),
            asking: Cell::new(0),
            queue: Rc::default(),
            in_flight: Cell::new(0),
            judged: Cell::new(None),
            view: RefCell::new(None),
        }
    }

    /// Takes a repeat out of the budget; `None`: it is spent. Where too many are under way, waits until one is over, until
    /// `deadline` at most. Cancel safe.
    pub async fn repeat(self: &Rc<Self>, ratio: f64, workers: usize, deadline: Instant) -> Option<Repeat> {
        loop {
            let now = Moment::of(Instant::now().into_std());
            let grant = self.budget.borrow_mut().withdraw(ratio, self.in_flight.get(), workers, now);
            match grant {
                Grant::Granted => return Some(Repeat(self.clone())),
                Grant::Spent => return None,
                // There are some, so one will end.
                Grant::Busy => timeout_at(deadline, self.repeat_ended.notified()).await.ok()?,
            }
        }
    }

    /// Takes a repeat out of the budget if it may begin now. `former`: the repeat that it follows and whose place it takes;
    /// left alone where it may not.
    pub fn repeat_now(self: &Rc<Self>, ratio: f64, workers: usize, former: &mut Option<Repeat>) -> Option<Repeat> {
        let now = Moment::of(Instant::now().into_std());
        let mut budget = self.budget.borrow_mut();
        match former {
            Some(_) => former.take_if(|_| budget.withdraw_again(workers, now)),
            None => {
                let grant = budget.withdraw(ratio, self.in_flight.get(), workers, now);
                (grant == Grant::Granted).then(|| Repeat(self.clone()))
            }
        }
    }

    /// Looks at the service as the current table has it; `agent` tells where an endpoint runs. Costs two comparisons while
    /// that is the same.
    pub fn look(
        &self,
        service: &Arc<Service>,
        config: &Arc<Config>,
        now: Moment,
        wall: impl Fn() -> Timestamp,
        agent: impl Fn(&Endpoint) -> Option<Arc<AgentFacts>>,
    ) -> (Outlook, Option<Rc<Zones>>) {
        let mut view = self.view.borrow_mut();
        if let Some(view) = &*view
            && Arc::ptr_eq(&view.service, service)
            && Arc::ptr_eq(&view.config, config)
            && view.until.is_none_or(|until| now.since(until).is_none())
        {
            return (view.outlook, view.zones.clone());
        }
        let balance = &config.proxy.balance;
        let outlook = Outlook::of(service, balance, now, wall());
        let zones = Zones::of(service, &config.proxy.zone, agent).map(Rc::new);
        *view = Some(View {
            service: service.clone(),
            config: config.clone(),
            outlook,
            zones: zones.clone(),
            // No table tells of endpoints that are spared, or taken back and then as good as new.
            until: (!balance.slow_start.is_zero() || config.proxy.zone.name.is_some()).then(|| now.plus(RECHECK * 5)),
            panic: (now, false),
        });
        (outlook, zones)
    }

    /// Whether so many endpoints are spared that all count again. Asked only when one is met.
    pub fn is_panicking(&self, now: Moment) -> bool {
        let mut view = self.view.borrow_mut();
        let Some(view) = &mut *view else { return false };
        let (at, is_panic) = view.panic;
        if is_panic && now.since(at).is_some_and(|age| age < RECHECK) {
            return true;
        }
        let is_panic = self::is_panic(&view.config.proxy.balance.ejection, &view.service);
        view.panic = (now, is_panic);
        is_panic
    }

    /// Spares a failing endpoint, if that leaves enough of the others.
    pub fn eject(&self, endpoint: &Endpoint, now: Moment, random: f64) -> bool {
        let view = self.view.borrow();
        let Some(view) = &*view else { return false };
        let config = &view.config.proxy.balance.ejection;
        if !eject::may_eject(config, ejected(&view.service), view.service.available.len()) {
            return false;
        }
        endpoint.run.ejection.eject((config.shortest, config.longest), now, random);
        true
    }

    /// Spares endpoints that do worse than the others, if it is time to compare them, and as far as that leaves enough.
    /// `random` draws from 0 to 1.
    pub fn judge(&self, now: Moment, random: impl Fn() -> f64) -> Vec<(Arc<Endpoint>, Outlier)> {
        let is_due = self.judged.get().is_none_or(|last| now.since(last).is_some_and(|age| age >= INTERVAL));
        let view = self.view.borrow();
        let Some(view) = view.as_ref().filter(|_| is_due) else { return Vec::new() };
        let BalanceConfig { ejection, outliers, .. } = &view.config.proxy.balance;
        let is_off = outliers.deviation_tenths == 0 && outliers.failure_share <= 0.0;
        if ejection.in_a_row == 0 || is_off {
            return Vec::new();
        }
        self.judged.set(Some(now));
        let compared: Vec<_> = view.service.available.iter().filter(|e| !e.run.ejection.is_ejected()).collect();
        let counts: Vec<_> = compared.iter().map(|endpoint| endpoint.run.recent(now)).collect();
        let found = outliers::find(outliers, &counts);
        let mut spared = Vec::new();
        for (at, (endpoint, (good, bad))) in compared.into_iter().zip(counts).enumerate() {
            // Workers compare one after the other: each endpoint is judged once in an interval, by whoever comes first.
            if !endpoint.run.judgement.claim(now, INTERVAL) {
                continue;
            }
            let Some((_, outlier)) = found.iter().find(|(found, _)| *found == at) else {
                if good + bad >= u64::from(outliers.rate_answers) {
                    endpoint.run.judgement.passed();
                }
                continue;
            };
            if eject::may_eject(ejection, ejected(&view.service), view.service.available.len()) {
                let time = outliers.time.saturating_mul(endpoint.run.judgement.failed()).min(outliers.longest);
                endpoint.run.ejection.eject_for(time, now, random());
                spared.push((endpoint.clone(), *outlier));
            }
        }
        spared
    }

    /// The configuration that the service is looked at with.
    pub fn balance<T>(&self, look: impl FnOnce(&BalanceConfig) -> T) -> Option<T> {
        self.view.borrow().as_ref().map(|view| look(&view.config.proxy.balance))
    }

    /// Gives up what holds a former table.
    pub fn forget_view(&self) {
        self.view.replace(None);
    }
}

impl Outlook {
    fn of(service: &Service, balance: &BalanceConfig, now: Moment, wall: Timestamp) -> Self {
        let weights = || service.available.iter().map(|endpoint| endpoint.weight.0);
        let is_new = |endpoint: &&Arc<Endpoint>| age(endpoint, now, wall).is_some_and(|age| age < balance.slow_start);
        let new = if balance.slow_start.is_zero() { 0 } else { service.available.iter().filter(is_new).count() };
        Self {
            heaviest: weights().max().unwrap_or(0),
            total_weight: weights().map(u64::from).sum(),
            slow_start: slow_start::applies(new, service.available.len()),
        }
    }
}

/// How long an endpoint has been ready, or back after failures.
pub fn age(endpoint: &Endpoint, now: Moment, wall: Timestamp) -> Option<Duration> {
    let ready = endpoint.ready_since.map(|since| wall.since(since));
    let restored = endpoint.run.ejection.restored();
    let back = if restored.0 == 0 { None } else { now.since(restored) };
    match (ready, back) {
        (Some(ready), Some(back)) => Some(ready.min(back)),
        (ready, back) => ready.or(back),
    }
}

/// Whether so many of a service's endpoints are spared that all count again.
pub fn is_panic(config: &EjectionConfig, service: &Service) -> bool {
    eject::is_panic(config, ejected(service), service.available.len())
}

fn ejected(service: &Service) -> usize {
    service.available.iter().filter(|endpoint| endpoint.run.ejection.is_ejected()).count()
}
