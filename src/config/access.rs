//! `[proxy.access_log]` and `[proxy.trace]`: what is written down of requests, and how they are known elsewhere.

use std::path::PathBuf;

use super::otlp::OtlpConfig;

/// What is written down of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// A file for lines; `None`: nothing is written down.
    pub path: Option<PathBuf>,
    /// How lines look.
    pub format: AccessFormat,
    /// Each so many requests of a worker are written down.
    pub sample: u32,
    /// Requests that went wrong are written down whatever the sample says.
    pub errors: bool,
    /// Queries are part of targets.
    pub query: bool,
}

/// How a request's line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// One JSON object.
    Json,
    /// The Common Log Format.
    Common,
    /// … with referrer and user agent.
    Combined,
    /// … with what this proxy knows beside.
    Extended,
}

/// Which requests are written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogRule {
    /// As the log is configured.
    #[default]
    Sampled,
    /// Each of them.
    Always,
    /// None of them.
    Never,
}

/// How requests are followed through several services.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceConfig {
    /// What becomes of a request without a trace.
    pub context: TraceContext,
    /// So large a share of the traces that begin here is marked to be recorded.
    pub sample: f64,
    /// Where spans of requests are sent.
    pub otlp: OtlpConfig,
}

impl TraceConfig {
    /// Whether a request without a trace begins one: also where its span is to be the trace's first.
    pub fn begins(&self) -> bool {
        self.context == TraceContext::Begin || self.exports()
    }

    /// Whether requests that are marked to be recorded have spans here.
    pub fn exports(&self) -> bool {
        self.otlp.endpoint.is_some()
    }
}

/// What becomes of `traceparent` (W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceContext {
    /// It is passed on as any other field.
    Pass,
    /// … and where there is none that is valid, one is made.
    Begin,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self { path: None, format: AccessFormat::Json, sample: 1, errors: true, query: true }
    }
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self { context: TraceContext::Pass, sample: 0.01, otlp: OtlpConfig::default() }
    }
}
