//! Listeners of ports that services hold: they come and go with the tables, one by one. What cannot be opened is told to
//! the writer, as a problem of its service, and tried again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::lock;
use super::workers::Workers;
use crate::cluster::event::{ClusterEvent, EventSender};
use crate::config::Config;
use crate::table::handle::TableHandle;

/// How long until a port that cannot be opened is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Opens and closes listeners as the tables want them, until `stop`.
pub(super) async fn follow(
    table: Arc<TableHandle>,
    workers: Arc<Mutex<Workers>>,
    events: EventSender,
    stop: CancellationToken,
) {
    let mut generations = table.watch();
    let mut seen: Option<(u64, Arc<Config>)> = None;
    let mut faults = BTreeMap::new();
    loop {
        generations.borrow_and_update();
        let current = table.load();
        let next = (current.ways.version, current.config.clone());
        let changed = seen.as_ref().is_none_or(|(version, config)| *version != next.0 || !Arc::ptr_eq(config, &next.1));
        if changed || !faults.is_empty() {
            let (wanted, config, workers) = (current.wanted_ports(), next.1.clone(), workers.clone());
            drop(current);
            // Certificates may have to be read from the disk.
            let served = tokio::task::spawn_blocking(move || lock(&workers).serve_ports(&wanted, &config)).await;
            let Ok(found) = served else { return };
            seen = Some(next);
            if found != faults {
                for (port, fault) in found.iter().filter(|(port, fault)| faults.get(port) != Some(fault)) {
                    tracing::warn!(port, %fault, "a service's port cannot be listened on");
                }
                if events.send(ClusterEvent::PortFaults(found.clone())).await.is_err() {
                    return;
                }
                faults = found;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = generations.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if !faults.is_empty() => {}
        }
    }
}
