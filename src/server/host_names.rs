//! Hosts that schedulers are known by alone: their names are looked up beside everything else, and what is found goes to the
//! writer, as a fact like any other.
//!
//! The system's resolver is asked, as for the names of masters: it knows the names of the machines around whether or not this
//! program asks others for names. Nobody waits for it. What was found stays while it does not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::cluster::event::{ClusterEvent, EventSender, HostAddresses};
use crate::table::handle::TableHandle;

/// The time between two looks for all of them: as often as Mesos-DNS does by default.
const INTERVAL: Duration = Duration::from_secs(60);

/// Between two looks at the table: a storm of tables must not cost look-ups.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// The longest time for one name.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Names that are looked up at a time: each has a thread meanwhile.
const AT_A_TIME: usize = 8;

/// The most names that are looked up; no cluster has as many schedulers.
const MOST: usize = 1000;

/// Looks up what tables want, until `stop`.
pub async fn follow(table: Arc<TableHandle>, events: EventSender, stop: CancellationToken) {
    let ask_system = |host: Arc<str>| async move {
        let found = tokio::net::lookup_host((&*host, 0)).await;
        found.map(|addresses| addresses.map(|address| address.ip().to_canonical()).collect()).unwrap_or_default()
    };
    // Dropping the loop at an await loses at most what was being looked up.
    stop.run_until_cancelled(follow_by(table, events, ask_system)).await;
}

/// The same by any resolver; one that finds nothing gives no addresses.
async fn follow_by<F>(table: Arc<TableHandle>, events: EventSender, ask: impl Fn(Arc<str>) -> F)
where
    F: Future<Output = Vec<IpAddr>> + Send + 'static,
{
    let mut generations = table.watch();
    let mut again = interval(INTERVAL);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut wanted = BTreeSet::new();
    loop {
        // Cancel safe: both only wait.
        let is_time = tokio::select! {
            _ = again.tick() => true,
            changed = generations.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::time::sleep(LOOK_PAUSE).await;
                false
            }
        };
        let (known, now_wanted) = {
            let table = table.load();
            (table.names.hosts().clone(), table.names.wanted_hosts())
        };
        if !is_time && now_wanted == wanted {
            continue;
        }
        wanted = now_wanted;
        let found = look_up(&wanted, &known, &ask).await;
        if found != *known && events.send(ClusterEvent::HostsFound(Arc::new(found))).await.is_err() {
            return;
        }
    }
}

/// The addresses of all hosts; of those that cannot be found, what was known.
async fn look_up<F>(wanted: &BTreeSet<Arc<str>>, known: &HostAddresses, ask: impl Fn(Arc<str>) -> F) -> HostAddresses
where
    F: Future<Output = Vec<IpAddr>> + Send + 'static,
{
    let mut found = BTreeMap::new();
    let mut asked = JoinSet::new();
    let mut hosts = wanted.iter().take(MOST);
    loop {
        while asked.len() < AT_A_TIME
            && let Some(host) = hosts.next()
        {
            let (host, answer) = (host.clone(), ask(host.clone()));
            asked.spawn(async move { (host, timeout(TIMEOUT, answer).await.unwrap_or_default()) });
        }
        let Some(answered) = asked.join_next().await else { return found };
        let Ok((host, mut addresses)) = answered else { continue };
        addresses.sort_unstable();
        addresses.dedup();
        let addresses = match addresses.is_empty() {
            true => known.get(&host).cloned(),
            false => Some(addresses.into()),
        };
        match addresses {
            Some(addresses) => drop(found.insert(host, addresses)),
            None => tracing::debug!(%host, "the host of a scheduler has no address"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn hosts(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn addresses(last: &[u8]) -> Vec<IpAddr> {
        last.iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_found_counts_and_what_is_not_stays_as_it_was() {
        let known: HostAddresses = [("slow", 1), ("gone", 2), ("moved", 3), ("former", 4)]
            .into_iter()
            .map(|(name, last)| (Arc::from(name), addresses(&[last]).into()))
            .collect();
        let ask = |host: Arc<str>| async move {
            match &*host {
                "slow" => std::future::pending().await,
                "moved" => addresses(&[8, 7, 8]),
                "new" => addresses(&[9]),
                _ => Vec::new(),
            }
        };
        let found = look_up(&hosts(&["slow", "gone", "moved", "new", "nowhere"]), &known, ask).await;
        let found: Vec<(&str, &[IpAddr])> = found.iter().map(|(host, addresses)| (&**host, &**addresses)).collect();
        let expected = [
            ("gone", addresses(&[2])),
            ("moved", addresses(&[7, 8])),
            ("new", addresses(&[9])),
            ("slow", addresses(&[1])),
        ];
        assert_eq!(found, expected.each_ref().map(|(host, addresses)| (*host, &**addresses)));
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_asked_for_at_a_time() {
        let wanted: BTreeSet<Arc<str>> = (0..MOST + 10).map(|n| format!("h{n}").into()).collect();
        let (asking, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let ask = |_: Arc<str>| {
            let (asking, most) = (asking.clone(), most.clone());
            async move {
                most.fetch_max(asking.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                asking.fetch_sub(1, Ordering::SeqCst);
                addresses(&[1])
            }
        };
        assert_eq!(look_up(&wanted, &HostAddresses::default(), ask).await.len(), MOST);
        assert_eq!(most.load(Ordering::SeqCst), AT_A_TIME);
    }
}
