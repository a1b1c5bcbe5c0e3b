//! The only place where tables are swapped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Cache};
use tokio::sync::watch;

use super::Table;
use super::history::{History, VersionRecord};

/// Publishes tables to readers. One writer, any number of readers; a reader never waits.
#[derive(Debug)]
pub struct TableHandle {
    current: Arc<ArcSwap<Table>>,
    generation: watch::Sender<u64>,
    history: Mutex<History>,
}

/// A reader's own view of the current table: one load costs about a nanosecond while nothing changes.
///
/// One request is answered from one table: load once, take what is needed.
pub type TableReader = Cache<Arc<ArcSwap<Table>>, Arc<Table>>;

impl TableHandle {
    /// A handle that shows `table` first and keeps `versions` of those that follow.
    pub fn new(table: Table, versions: usize) -> Self {
        let generation = watch::Sender::new(table.generation);
        Self {
            current: Arc::new(ArcSwap::from_pointee(table)),
            generation,
            history: Mutex::new(History::new(versions)),
        }
    }

    /// A reader for one thread.
    pub fn reader(&self) -> TableReader {
        Cache::new(self.current.clone())
    }

    /// The current table, for those who look rarely.
    pub fn load(&self) -> Arc<Table> {
        self.current.load_full()
    }

    /// Tells whoever waits for a new generation. Intermediate generations may be skipped.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Makes `table` the current one. Only the writer calls this.
    pub fn publish(&self, table: Arc<Table>, record: VersionRecord) {
        let generation = table.generation;
        // The former table is kept by the history, so that its last reference is not dropped by a reader.
        let former = self.current.swap(table.clone());
        self.history().push(table, record);
        drop(former);
        self.generation.send_replace(generation);
    }

    /// Recent versions.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
