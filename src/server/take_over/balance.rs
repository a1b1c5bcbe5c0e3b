//! What is known of endpoints by the requests they had, on its way to the program that takes over.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::endpoint::EndpointId;
use crate::model::id::ServiceId;
use crate::model::run::Moment;
use crate::table::Table;

/// One endpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EndpointRecord {
    service: ServiceId,
    endpoint: EndpointId,
    address: SocketAddr,
    /// How long it takes to answer, in seconds.
    latency: Option<f64>,
    /// How often in a row it was spared, and for how long it still is, in milliseconds.
    spared: Option<(u8, u64)>,
    /// How often of late it did worse than the others of its service; a program of before says nothing of that.
    #[serde(default)]
    outlier_times: u32,
}

/// What is worth keeping of a table's endpoints.
pub(super) fn records(table: &Table, now: Moment) -> Vec<EndpointRecord> {
    let endpoints = table.services.values().flat_map(|service| service.endpoints.iter());
    let record = |endpoint: &std::sync::Arc<crate::model::endpoint::Endpoint>| {
        let left = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let spared = endpoint.run.ejection.left(now).map(|time| (endpoint.run.ejection.times(), left(time)));
        let latency = endpoint.run.latency(now);
        let outlier_times = endpoint.run.judgement.times();
        (latency.is_some() || spared.is_some() || outlier_times > 0).then(|| EndpointRecord {
            service: endpoint.service.clone(),
            endpoint: endpoint.id.clone(),
            address: endpoint.address,
            latency,
            spared,
            outlier_times,
        })
    };
    endpoints.filter_map(record).collect()
}

/// Lets the endpoints of a table go on with what was known of them; those that have moved begin anew.
pub(crate) fn apply(records: &[EndpointRecord], table: &Table, workers: usize, now: Moment) {
    for record in records {
        let known = table.service(&record.service).and_then(|service| service.endpoint(&record.endpoint));
        let Some(endpoint) = known.filter(|endpoint| endpoint.address == record.address) else { continue };
        if let Some(latency) = record.latency.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            for worker in 0..workers {
                endpoint.run.line(worker, workers).latency.observe(latency, now, Moment(0));
            }
        }
        endpoint.run.judgement.go_on(record.outlier_times);
        if let Some((times, left)) = record.spared {
            endpoint.run.ejection.go_on(times, Duration::from_millis(left.min(3_600_000)), now);
        }
    }
}
