//! Logging by `tracing`, as text or JSON, with a level that can be changed while the program runs.

use std::io::IsTerminal;
use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::checked::{LogConfig, LogFormat};

/// Changes the level of a running program.
#[derive(Clone, Debug)]
pub struct LogHandle(Arc<reload::Handle<EnvFilter, Registry>>);

impl LogHandle {
    /// Sets the filter: a level, or directives in `tracing` syntax (`info,pointsman::proxy=debug`).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// Starts logging to standard error. May be called once a process.
///
/// # Errors
/// The filter is wrong, or logging has been started before.
pub fn start_logging(config: &LogConfig) -> Result<LogHandle, String> {
    let filter = EnvFilter::try_new(&config.level).map_err(|error| error.to_string())?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match config.format {
        LogFormat::Text => {
            // Colours are for people; a journal or a file would be full of escapes.
            #[expect(
                clippy::disallowed_methods,
                reason = "the variable by which people tell every program (no-color.org)"
            )]
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry.with(fmt::layer().with_ansi(colours).with_writer(std::io::stderr)).try_init()
        }
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
    };
    started.map_err(|error| error.to_string())?;
    Ok(LogHandle(Arc::new(handle)))
}
