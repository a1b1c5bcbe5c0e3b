//! What is wrong with files of TLS becomes problems that everybody sees: it is told to the writer, as facts are.

use tokio_util::sync::CancellationToken;

use crate::cluster::event::{ClusterEvent, EventSender};
use crate::model::problem::Problem;
use crate::proxy::tls::faults::{FileFaults, now, reached};

/// Tells the writer what is wrong whenever that changes, until `stop`.
pub(super) async fn follow(faults: FileFaults, events: EventSender, stop: CancellationToken) {
    let mut changes = faults.changes();
    let mut told: Vec<Problem> = Vec::new();
    loop {
        changes.borrow_and_update();
        let (problems, next) = faults.problems(now());
        if problems != told {
            if events.send(ClusterEvent::FileFaults(problems.clone())).await.is_err() {
                return;
            }
            told = problems;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = reached(next) => {}
        }
    }
}
