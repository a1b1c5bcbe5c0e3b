//! The keys of session tickets: changed by the clock, or by whoever writes the file that they are in.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::config::checked::ListenerTlsConfig;
use crate::config::watch::Watch;
use crate::proxy::tls::tickets::{KeysFault, Tickets, read_keys};

/// Keys in force, and what changes them.
#[derive(Debug)]
pub(super) struct TicketKeys {
    pub(super) tickets: Arc<Tickets>,
    config: Option<ListenerTlsConfig>,
    task: Option<JoinHandle<()>>,
    control: Handle,
}

impl TicketKeys {
    /// None are in force; they are changed on `control`.
    pub(super) fn new(control: Handle) -> Self {
        Self { tickets: Arc::default(), config: None, task: None, control }
    }

    /// Does what a configuration says. Blocks.
    ///
    /// # Errors
    /// Its file holds no keys; nothing has changed then.
    pub(super) fn apply(&mut self, config: &ListenerTlsConfig) -> Result<(), KeysFault> {
        if self.config.as_ref() == Some(config) {
            return Ok(());
        }
        let (tickets, period) = (self.tickets.clone(), config.ticket_rotation);
        let task = match &config.ticket_keys {
            _ if period.is_zero() => {
                tickets.clear();
                None
            }
            Some(file) => {
                // Watched before it is read, so that no change is missed between the two.
                let watch =
                    Watch::start(file).inspect_err(|error| warn!(file = %file.display(), %error, "not followed"));
                tickets.replace(read_keys(file)?, period);
                watch.ok().map(|watch| self.control.spawn(follow(tickets, file.clone(), period, watch)))
            }
            None => {
                tickets.rotate(period);
                Some(self.control.spawn(rotate(tickets, period)))
            }
        };
        if let Some(former) = std::mem::replace(&mut self.task, task) {
            former.abort();
        }
        self.config = Some(config.clone());
        Ok(())
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

async fn follow(tickets: Arc<Tickets>, file: std::path::PathBuf, period: Duration, watch: Watch) {
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
