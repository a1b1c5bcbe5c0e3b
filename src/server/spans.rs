//! Spans of requests: who sends them, where this program was built with it.

use std::sync::Arc;

use prometheus::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::proxy::spans::SpanSender;
#[cfg(feature = "otlp")]
use crate::proxy::spans::{self, SpanReceiver, metrics::SpanMetrics, otlp};
use crate::table::handle::TableHandle;

/// What is still to be started.
#[cfg(feature = "otlp")]
pub(super) struct Waiting(SpanReceiver, SpanMetrics);

/// Nobody sends them.
#[cfg(not(feature = "otlp"))]
pub(super) struct Waiting;

/// The workers' end, and what takes what they give.
#[cfg(feature = "otlp")]
pub(super) fn open(registry: &Registry) -> prometheus::Result<(Option<SpanSender>, Waiting)> {
    let metrics = SpanMetrics::register(registry)?;
    let (sender, receiver) = spans::channel(metrics.clone());
    Ok((Some(sender), Waiting(receiver, metrics)))
}

/// No end: workers give nothing away.
#[cfg(not(feature = "otlp"))]
#[expect(clippy::unnecessary_wraps, reason = "with the feature it may fail")]
pub(super) fn open(_registry: &Registry) -> prometheus::Result<(Option<SpanSender>, Waiting)> {
    Ok((None, Waiting))
}

impl Waiting {
    /// Sends until `stop`, and what waits then.
    #[cfg(feature = "otlp")]
    pub(super) fn start(
        self,
        runtime: &tokio::runtime::Runtime,
        table: Arc<TableHandle>,
        stop: CancellationToken,
    ) -> Option<JoinHandle<()>> {
        Some(runtime.spawn(otlp::run(self.0, table, self.1, stop)))
    }

    /// There is nothing to start.
    #[cfg(not(feature = "otlp"))]
    pub(super) fn start(
        self,
        _runtime: &tokio::runtime::Runtime,
        _table: Arc<TableHandle>,
        _stop: CancellationToken,
    ) -> Option<JoinHandle<()>> {
        None
    }
}
