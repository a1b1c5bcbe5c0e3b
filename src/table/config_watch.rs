//! Follows the configuration alone, for those whom tables do not concern: thousands of versions a second that have the same
//! configuration cost a comparison of two pointers each.

use std::sync::Arc;

use tokio::sync::watch;

use super::handle::TableHandle;
use crate::config::Config;

/// The configuration in force, and its changes.
#[derive(Debug)]
pub struct ConfigWatch {
    table: Arc<TableHandle>,
    generations: watch::Receiver<u64>,
    seen: Arc<Config>,
}

impl ConfigWatch {
    /// Begins with the configuration that is in force now.
    pub fn new(table: Arc<TableHandle>) -> Self {
        // Whatever is published between the two is seen as a change.
        let generations = table.watch();
        let seen = table.load().config.clone();
        Self { table, generations, seen }
    }

    /// The configuration, as of the last change that was waited for.
    pub fn current(&self) -> &Arc<Config> {
        &self.seen
    }

    /// Waits until another configuration is in force. Cancel safe.
    pub async fn changed(&mut self) {
        while self.generations.changed().await.is_ok() {
            let table = self.table.load();
            if !Arc::ptr_eq(&table.config, &self.seen) {
                self.seen = table.config.clone();
                return;
            }
        }
        // The handle that it holds has the sender, so this is not reached; nothing changes any more.
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::table::Table;
    use crate::table::history::VersionRecord;

    fn publish(handle: &TableHandle, config: &Arc<Config>, generation: u64) {
        let table = Table { generation, ..Table::empty(config.clone()) };
        handle.publish(Arc::new(table), VersionRecord::default());
    }

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn tables_with_the_same_configuration_wake_nobody() {
        let (one, other) = (Arc::new(Config::default()), Arc::new(Config::default()));
        let handle = Arc::new(TableHandle::new(Table::empty(one.clone()), 4));
        let mut watch = ConfigWatch::new(handle.clone());
        for generation in 1..1000 {
            publish(&handle, &one, generation);
            assert!(!is_ready(watch.changed()), "{generation}");
        }
        publish(&handle, &other, 1000);
        publish(&handle, &other, 1001);
        assert!(is_ready(watch.changed()), "another one is in force");
        assert!(Arc::ptr_eq(watch.current(), &other));
        assert!(!is_ready(watch.changed()), "and was seen");
    }
}
