//! Marathon: apps and pods with what only Marathon knows of them (service ports, its own health checks, readiness, pod
//! labels), and their tasks.
//!
//! Events are the trigger, never the truth: they are not replayed and not ordered, so each only says which app to read
//! again. Beside a Mesos source of the same cluster it adds to the tasks that Mesos tells of; alone it tells of them
//! itself. Losing it loses nothing: what it said holds until it says something else.
//!
//! ```text
//! run (thread, I/O) → client (HTTP, TLS, credentials) → sse (frames) → changes (which app) → translate (facts)
//!                                                                   └→ deployments (facts)
//! ```

pub mod changes;
mod checks;
pub mod client;
pub mod deployments;
mod ended;
mod killing;
mod listing;
pub mod metrics;
pub mod pods;
mod ports;
mod readiness;
mod reading;
mod reads;
pub mod run;
#[cfg(test)]
mod run_tests;
pub mod sse;
pub mod translate;
pub mod wire;

pub use run::spawn;

/// Reads arbitrary bytes as every document that Marathon sends, and checks what must hold of what comes out.
#[doc(hidden)]
pub fn fuzz_marathon_json(data: &[u8]) {
    use crate::model::task::TaskState;
    use crate::model::time::Timestamp;
    let scope = translate::Scope { cluster: "c".into(), framework: "f".into(), use_health: true, active_checks: true };
    let said = match translate::apps(data) {
        Ok(apps) => apps.iter().map(|app| translate::app(app, &scope)).collect::<Vec<_>>(),
        Err(_) => Vec::new(),
    };
    for app in said.into_iter().flatten() {
        assert!(app.tasks.iter().all(|task| task.facts.state != TaskState::Ended));
        assert!(app.tasks.len() + app.problems.len() <= data.len());
    }
    let _ = translate::pods(data).map(|pods| pods.iter().map(|pod| pods::pod(pod, &scope)).collect::<Vec<_>>());
    let _ = changes::of("status_update_event", data);
    for kind in ["deployment_info", "deployment_success"] {
        let event = changes::of(kind, data).deployment;
        let _ = event.map(|event| deployments::heard(&event, &scope, Timestamp(0)));
    }
    let _ = deployments::listed(data, [], &scope);
    let _ = serde_json::from_slice::<wire::Info>(data);
}

/// Reads arbitrary bytes as a stream of events, in pieces of any size.
#[doc(hidden)]
pub fn fuzz_sse(data: &[u8]) {
    let whole = {
        let mut decoder = sse::Decoder::default();
        let events = decoder.push(data);
        (events.unwrap_or_default(), decoder.held())
    };
    assert!(whole.1 <= sse::MAX_EVENT + data.len());
    // However the bytes are cut, the same events come out, as far as none is too long.
    if data.len() < 4096 {
        let mut decoder = sse::Decoder::default();
        let mut events = Vec::new();
        for byte in data {
            events.extend(decoder.push(std::slice::from_ref(byte)).unwrap_or_default());
        }
        assert_eq!(events, whole.0);
    }
}
