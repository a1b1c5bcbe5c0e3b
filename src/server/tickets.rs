//! The keys of session tickets: changed by the clock, or by whoever writes the file that they are in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::config::checked::ListenerTlsConfig;
use crate::config::watch::Watch;
use crate::proxy::tls::tickets::{KEY, KeysFault, Tickets, read_keys};

/// Keys in force, and what changes them.
#[derive(Debug)]
pub(super) struct TicketKeys {
    pub(super) tickets: Arc<Tickets>,
    config: Option<ListenerTlsConfig>,
    task: Option<JoinHandle<()>>,
    control: Handle,
}

/// Keys that a configuration asks for, not yet in force.
pub(super) enum NewKeys {
    /// Those that are in force.
    Same,
    /// None: no session is resumed.
    None,
    /// Made at random, and changed by the clock.
    Random,
    /// A file's, which is followed.
    OfFile { keys: Vec<[u8; KEY]>, file: PathBuf, watch: Option<Watch> },
}

impl TicketKeys {
    /// None are in force; they are changed on `control`.
    pub(super) fn new(control: Handle) -> Self {
        Self { tickets: Arc::default(), config: None, task: None, control }
    }

    /// Reads what a configuration asks for, unless it is in force already. Nothing changes. Blocks.
    ///
    /// # Errors
    /// Its file holds no keys.
    pub(super) fn prepare(&self, config: &ListenerTlsConfig) -> Result<NewKeys, KeysFault> {
        if self.config.as_ref() == Some(config) {
            return Ok(NewKeys::Same);
        }
        match &config.ticket_keys {
            _ if config.ticket_rotation.is_zero() => Ok(NewKeys::None),
            Some(file) => {
                // Watched before it is read, so that no change is missed between the two.
                let watch =
                    Watch::start(file).inspect_err(|error| warn!(file = %file.display(), %error, "not followed"));
                Ok(NewKeys::OfFile { keys: read_keys(file)?, file: file.clone(), watch: watch.ok() })
            }
            None => Ok(NewKeys::Random),
        }
    }

    /// Puts in force what was read of a configuration.
    pub(super) fn apply(&mut self, config: &ListenerTlsConfig, keys: NewKeys) {
        let (tickets, period) = (self.tickets.clone(), config.ticket_rotation);
        let task = match keys {
            NewKeys::Same => return,
            NewKeys::None => {
                tickets.clear();
                None
            }
            NewKeys::OfFile { keys, file, watch } => {
                tickets.replace(keys, period);
                watch.map(|watch| self.control.spawn(follow(tickets, file, period, watch)))
            }
            NewKeys::Random => {
                tickets.rotate(period);
                Some(self.control.spawn(rotate(tickets, period)))
            }
        };
        if let Some(former) = std::mem::replace(&mut self.task, task) {
            former.abort();
        }
        self.config = Some(config.clone());
    }
}

impl Drop for TicketKeys {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn rotate(tickets: Arc<Tickets>, period: Duration) {
    loop {
        tokio::time::sleep(period).await;
        tickets.rotate(period);
    }
}

async fn follow(tickets: Arc<Tickets>, file: PathBuf, period: Duration, watch: Watch) {
    let mut changes = watch.changes();
    while changes.changed().await {
        take_up(&tickets, &file, period);
    }
}

fn take_up(tickets: &Tickets, file: &Path, period: Duration) {
    match read_keys(file) {
        Ok(keys) => {
            tickets.replace(keys, period);
            info!(file = %file.display(), "keys of session tickets read again");
        }
        Err(error) => warn!(%error, "the former keys of session tickets go on"),
    }
}
