//! What a worker gives up: connections that nobody needs any more, what hangs on endpoints that go away, what it keeps of
//! services that are gone.
//!
//! With a new table it looks at what has changed since the one it followed last, so that a change costs the same beside ten
//! endpoints and beside fifty thousand. As time passes it looks at everything, a little at a time: what has been idle for too
//! long, and what no change has told of (a request that still goes by an older table).
//!
//! Names and requests wait for this thread, and whoever shares its core waits too: nothing here may take longer than a few of
//! them do. What is looked at is seldom in the processor's cache, and costs microseconds each.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::worker::Worker;
use crate::model::endpoint::{Endpoint, EndpointId, EndpointState};
use crate::model::id::ServiceId;
use crate::table::Table;
use crate::table::task::TaskView;

/// How often everything is looked at, where that is not too much, and what is due is done.
const ROUND: Duration = Duration::from_secs(1);
/// Looked at in one go, of each kind: less than a hundred microseconds beside fifty thousand endpoints. (256 took a millisecond.)
const SOME: usize = 16;
/// Between two of those: requests come first, and a fiftieth of the time is enough.
const PAUSE: Duration = Duration::from_millis(5);
/// The shortest time between two looks that new tables cause: with a thousand changes a second, a few changes each.
const TABLE_PAUSE: Duration = Duration::from_millis(5);
/// Endpoints that a new table says something of and that are dealt with in one go: each may close connections.
const TOLD: usize = 8;

/// Follows new tables until there will be none.
pub(super) async fn follow_tables(worker: Rc<Worker>, mut generations: watch::Receiver<u64>) {
    let mut followed = worker.table();
    while generations.changed().await.is_ok() {
        let next = worker.table();
        let told = worker.compare(&followed, &next);
        followed = next;
        for some in told.chunks(TOLD) {
            worker.settle(some);
            // What has arrived meanwhile comes first, however many leave at once.
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(TABLE_PAUSE).await;
    }
}

/// Does what is due once a second.
pub(super) async fn keep_time(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        worker.tick();
    }
}

/// Looks at everything, over and over: once a second where that is not too much.
pub(super) async fn keep_tidy(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut left = worker.to_tidy();
        while left > 0 {
            worker.tidy(left.min(SOME));
            left = left.saturating_sub(SOME);
            if left > 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Worker {
    /// Forgets what was worked out of what a new table changes; returns the endpoints that it says something new of, as they
    /// were and as they are.
    fn compare(&self, former: &Table, next: &Table) -> Vec<Arc<Endpoint>> {
        if Arc::ptr_eq(&former.config, &next.config) {
            former.services.diff(&next.services, &mut |service, _, _| self.forget_view(service));
        } else {
            self.permits.resize(next.config.proxy.limits.connections);
            self.forget_views();
        }
        let mut told = Vec::new();
        former.tasks.diff(&next.tasks, &mut |_, before, after| {
            told.extend(endpoints(former, before).chain(endpoints(next, after)).cloned());
        });
        told
    }

    /// Has endpoints stay or leave, whichever the current table says: a later one than that which told of them may be in force.
    fn settle(&self, told: &[Arc<Endpoint>]) {
        self.with_table(|table| {
            let (now, drain_time) = (Instant::now(), table.config.routing.drain_time);
            for endpoint in told {
                if is_current(table, endpoint) {
                    self.leashes.stay(endpoint);
                } else {
                    self.pool.leave(endpoint, |user| is_current(table, user));
                    self.leashes.leave(endpoint, now, drain_time);
                }
            }
        });
    }

    /// What is due once in a while and costs little.
    fn tick(&self) {
        self.outbound.sweep();
        // Something may wait no longer that was no upload.
        self.crowd.wake();
        self.pool.follow_profiles(self.tls.version());
        self.with_table(|table| {
            let (now, config) = (Instant::now(), &table.config);
            self.permits.resize(config.proxy.limits.connections);
            self.leashes.cut(now, config.routing.drain_time, |endpoint| is_current(table, endpoint));
        });
    }

    /// How much there is of what there is most of.
    fn to_tidy(&self) -> usize {
        self.pool.places().max(self.leashes.len()).max(self.services_known())
    }

    /// Looks at so many places, leashes and services, those that were looked at longest ago.
    fn tidy(&self, some: usize) {
        self.with_table(|table| {
            let (now, config) = (Instant::now(), &table.config);
            let is_current = |endpoint: &Endpoint| is_current(table, endpoint);
            self.pool.tidy(some, now, config.proxy.limits.upstream_idle, is_current);
            self.leashes.tidy(some, now, config.routing.drain_time, is_current);
            self.tidy_services(some, |service| table.service(service).is_some());
        });
    }
}

/// Whether the table still has this endpoint, at this address, for new requests.
fn is_current(table: &Table, endpoint: &Endpoint) -> bool {
    let current = find(table, &endpoint.service, &endpoint.id);
    current.is_some_and(|now| now.address == endpoint.address && now.state != EndpointState::Draining)
}

fn find<'t>(table: &'t Table, service: &ServiceId, id: &EndpointId) -> Option<&'t Arc<Endpoint>> {
    table.service(service)?.endpoint(id)
}

fn endpoints<'t>(table: &'t Table, task: Option<&'t Arc<TaskView>>) -> impl Iterator<Item = &'t Arc<Endpoint>> {
    let all = task.into_iter().flat_map(|task| task.endpoints());
    all.filter_map(|(service, id)| find(table, service, &id))
}
