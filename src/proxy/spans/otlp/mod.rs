//! What sends spans: a queue, one batch under way at a time, again where that helps (OTLP 1.x, "OTLP/HTTP").
//!
//! One task on the control runtime. It takes what workers give whatever the collector does, so that the queue alone
//! decides what is dropped; each try reads the settings that are in force then. At the end of the program it sends what
//! waits, for a bounded time.
//!
//! The messages are those of `opentelemetry-proto` (prost, no transport). Its companions for exporting are not used: they
//! bring an HTTP client and threads of their own, and a queue whose drops are not to be counted.

mod connection;
mod line;
mod message;
mod queue;
mod retry;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::line::{Answer, Line, Settings};
use self::queue::{Batch, Queue};
use super::SpanReceiver;
use super::metrics::SpanMetrics;
use crate::config::otlp::OtlpConfig;
use crate::table::handle::TableHandle;

/// How long the end of the program waits for the collector.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// A try that is under way; it has the connection meanwhile.
type Trying = Pin<Box<dyn Future<Output = (Line, Answer)> + Send>>;

/// What sends.
struct Exporter {
    config: OtlpConfig,
    settings: Option<Arc<Settings>>,
    queue: Queue,
    /// What is being sent, until it is known what became of it.
    batch: Option<Batch>,
    line: Line,
    metrics: SpanMetrics,
    is_faulty: bool,
}

/// Sends what comes, as the table's configuration has it, until `stop`, and then what waits.
pub async fn run(mut records: SpanReceiver, table: Arc<TableHandle>, metrics: SpanMetrics, stop: CancellationToken) {
    let mut generations = table.watch();
    let mut exporter = Exporter::new(metrics);
    let mut trying: Option<Trying> = None;
    let mut is_open = true;
    loop {
        exporter.adopt(&table.load().config.proxy.trace.otlp);
        let due = if trying.is_none() { exporter.due() } else { None };
        // Every branch is cancel safe: a token, `changed`, a future that is kept, a timer, `recv`. What is rare comes
        // first, so that many spans hold up nothing.
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            changed = generations.changed() => if changed.is_err() { break },
            (line, answer) = ended(&mut trying) => {
                trying = None;
                exporter.tried(line, answer);
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => trying = exporter.begin_try(),
            more = records.recv(), if is_open => match more {
                Some(more) => exporter.queue.add(more, &exporter.config, &exporter.metrics),
                None => is_open = false,
            },
        }
    }
    exporter.finish(records, trying).await;
}

/// Waits for a try, for ever if there is none.
async fn ended(trying: &mut Option<Trying>) -> (Line, Answer) {
    match trying {
        Some(trying) => trying.await,
        None => std::future::pending().await,
    }
}

impl Exporter {
    fn new(metrics: SpanMetrics) -> Self {
        Self {
            config: OtlpConfig::default(),
            settings: None,
            queue: Queue::default(),
            batch: None,
            line: Line::default(),
            metrics,
            is_faulty: false,
        }
    }

    /// Takes over what is configured now.
    fn adopt(&mut self, config: &OtlpConfig) {
        if *config == self.config {
            return;
        }
        self.settings = Settings::of(config).map(Arc::new);
        self.config = config.clone();
        match (&self.settings, &mut self.batch) {
            // Whoever it was for is not asked any more.
            (None, _) => self.lose(),
            (Some(_), Some(batch)) => batch.again_at(Instant::now()),
            (Some(_), None) => {}
        }
    }

    /// When there is something to send.
    fn due(&self) -> Option<Instant> {
        self.settings.as_ref()?;
        self.batch.as_ref().map(Batch::at).or_else(|| self.queue.due(&self.config))
    }

    /// Sends the batch whose turn it is.
    fn begin_try(&mut self) -> Option<Trying> {
        let settings = self.settings.clone()?;
        if self.batch.is_none() {
            self.batch = self.queue.take(&self.config, &self.metrics);
        }
        let body = self.batch.as_mut()?.begin_try();
        let mut line = std::mem::take(&mut self.line);
        Some(Box::pin(async move {
            let answer = line.send(&settings, body).await;
            (line, answer)
        }))
    }

    /// Counts what became of a try; a batch that is to be sent again stays.
    fn tried(&mut self, line: Line, answer: Answer) {
        self.line = line;
        let Some(mut batch) = self.batch.take() else { return };
        let metrics = &self.metrics;
        match answer {
            Answer::Taken { rejected, message } => {
                let rejected = rejected.min(batch.spans);
                metrics.taken.inc();
                metrics.rejected.inc_by(rejected);
                metrics.exported.inc_by(batch.spans - rejected);
                match message.is_empty() && rejected == 0 {
                    true => self.works(),
                    false => self.is_at_fault(&format!("it rejected {rejected} of {}: {message}", batch.spans)),
                }
            }
            Answer::Later { after, error } => match retry::wait(batch.tries, after, fastrand::f64()) {
                Some(wait) => {
                    metrics.retried.inc();
                    batch.again_at(Instant::now() + wait);
                    self.batch = Some(batch);
                    self.is_at_fault(&error);
                }
                None => self.give_up(&batch, &error),
            },
            Answer::Refused(error) => self.give_up(&batch, &error),
        }
    }

    fn give_up(&mut self, batch: &Batch, error: &str) {
        self.metrics.given_up.inc();
        self.metrics.failed.inc_by(batch.spans);
        self.is_at_fault(error);
    }

    /// Once, until it works again: the metrics say how often.
    fn is_at_fault(&mut self, error: &str) {
        if !std::mem::replace(&mut self.is_faulty, true) {
            warn!(endpoint = self.config.endpoint.as_deref(), error, "the collector does not take all spans");
        }
    }

    fn works(&mut self) {
        if std::mem::take(&mut self.is_faulty) {
            info!(endpoint = self.config.endpoint.as_deref(), "the collector takes spans again");
        }
    }

    /// Sends what is left, for so long as the end of the program may wait.
    async fn finish(mut self, mut records: SpanReceiver, mut trying: Option<Trying>) {
        while let Ok(more) = records.try_recv() {
            self.queue.add(more, &self.config, &self.metrics);
        }
        // Nothing more comes that could be waited for.
        self.config.delay = Duration::ZERO;
        let all = async {
            loop {
                if trying.is_some() {
                    let (line, answer) = ended(&mut trying).await;
                    trying = None;
                    self.tried(line, answer);
                }
                let Some(due) = self.due() else { return };
                sleep_until(due).await;
                trying = self.begin_try();
            }
        };
        if timeout(LAST_WAIT, all).await.is_err() {
            warn!(endpoint = self.config.endpoint.as_deref(), "spans that the collector does not take are lost");
        }
        self.lose();
    }

    /// What waits will not be sent.
    fn lose(&mut self) {
        let batch = self.batch.take().map_or(0, |batch| batch.spans);
        self.metrics.failed.inc_by(batch);
        self.metrics.dropped.inc_by(self.queue.clear(&self.metrics));
    }
}
