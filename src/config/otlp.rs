//! `[proxy.trace.otlp]`: where spans of requests are sent (OTLP/HTTP).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::checked::Secret;

/// Whether this program was built with what sends them. Without it a configured endpoint is a fault of the file.
pub const IS_BUILT: bool = cfg!(feature = "otlp");

/// Where spans of requests are sent, and how many wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// The URL of a collector; `None`: no spans are made.
    pub endpoint: Option<Arc<str>>,
    /// Header fields that it wants to see.
    pub headers: Vec<SecretField>,
    /// A PEM file with the authorities that answer for an `https` URL; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// What this program is called there.
    pub service: Arc<str>,
    /// What else is said of it, `name=value` each.
    pub attributes: Vec<Arc<str>>,
    /// Spans that may wait.
    pub queue: usize,
    /// Spans that are sent together at most.
    pub batch: usize,
    /// How long the first of them waits for others.
    pub delay: Duration,
    /// How long the collector may take for an answer.
    pub timeout: Duration,
}

/// A header field whose value is never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretField {
    /// Its name, in lower case.
    pub name: Arc<str>,
    /// Its value.
    pub value: Secret,
}

/// The bounds of OpenTelemetry's own batch processor (its specification, "Batching processor"), but a queue that a busy
/// proxy does not fill within a second, and a second in place of five.
impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: Vec::new(),
            ca: None,
            service: "pointsman".into(),
            attributes: Vec::new(),
            queue: 8192,
            batch: 512,
            delay: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
        }
    }
}
