//! Where answers come from: what the server needs of a table, and no more.

use std::sync::Arc;

use crate::config::checked::{DnsConfig, Place};
use crate::table::Table;
use crate::table::handle::TableReader;
use crate::table::names::further::RareType;
use crate::table::names::records::Records;
use crate::table::names::{Found, Record, Zone};

/// Names and the settings they are answered with, frozen while one query is answered.
pub trait NameSource {
    /// A number that changes with whatever an answer depends on.
    fn version(&self) -> u64;

    /// Whether there is anything to answer from; before that, everything is SERVFAIL.
    fn is_ready(&self) -> bool;

    /// The settings.
    fn config(&self) -> &DnsConfig;

    /// Finds a name: lower case, absolute, without the final dot.
    fn find(&self, name: &str) -> Found<'_>;

    /// What a name has of a type that [`NameSource::find`] leaves out, because few ask for it.
    fn rare(&self, _name: &str, _record_type: RareType) -> Records {
        Records::default()
    }

    /// How far each of a name's records leads from a place; `None`: all the same.
    fn distances(&self, _name: &str, _records: &[&Record], _place: &Place) -> Option<Vec<u8>> {
        None
    }

    /// Whether [`NameSource::weights`] may have something to say of a name; quickly told.
    fn has_weights(&self, _name: &str) -> bool {
        false
    }

    /// Which share each of a name's addresses is to have of the first places; `None`: all the same.
    fn weights(&self, _name: &str, _records: &[&Record]) -> Option<Vec<u32>> {
        None
    }

    /// Everything in a zone of ours, for those who get it whole; takes its time. `None`: there is no such zone, or its
    /// source has not spoken.
    fn contents(&self, _zone: &str) -> Option<ZoneContents> {
        None
    }
}

/// Everything in a zone, but for what the settings add: the apex' SOA and NS, the name server's addresses.
#[derive(Clone, Debug)]
pub struct ZoneContents {
    /// The zone.
    pub zone: Arc<Zone>,
    /// Names with their records.
    pub names: Vec<(String, Vec<Record>)>,
}

impl NameSource for Table {
    fn version(&self) -> u64 {
        self.generation
    }

    fn is_ready(&self) -> bool {
        self.generation > 0
    }

    fn config(&self) -> &DnsConfig {
        &self.config.dns
    }

    fn find(&self, name: &str) -> Found<'_> {
        self.names.find(name)
    }

    fn rare(&self, name: &str, record_type: RareType) -> Records {
        self.names.rare(name, record_type)
    }

    fn distances(&self, name: &str, records: &[&Record], place: &Place) -> Option<Vec<u8>> {
        self.names.distances(name, records, place)
    }

    fn has_weights(&self, name: &str) -> bool {
        self.names.has_weights(name)
    }

    fn weights(&self, name: &str, records: &[&Record]) -> Option<Vec<u32>> {
        self.names.weights(name, records)
    }

    fn contents(&self, zone: &str) -> Option<ZoneContents> {
        let names = self.names.list(zone)?;
        let zone = self.names.zones().find(|known| *known.name == *zone)?.clone();
        Some(ZoneContents { zone, names })
    }
}

/// Gives a worker the newest names; called once for each batch of queries.
pub trait LoadNames {
    /// What is loaded.
    type Names: NameSource + Send + Sync + 'static;

    /// The newest.
    fn load_names(&mut self) -> &Self::Names;

    /// The newest, to be kept for a while.
    fn share_names(&mut self) -> Arc<Self::Names>;
}

impl LoadNames for TableReader {
    type Names = Table;

    fn load_names(&mut self) -> &Table {
        self.load()
    }

    fn share_names(&mut self) -> Arc<Table> {
        self.load().clone()
    }
}

/// Names that never change.
impl<N: NameSource + Send + Sync + 'static> LoadNames for Arc<N> {
    type Names = N;

    fn load_names(&mut self) -> &N {
        self
    }

    fn share_names(&mut self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::table::handle::TableHandle;

    #[test]
    fn a_tables_reader_gives_its_names_and_settings() {
        let mut config = Config::default();
        config.dns.ttl_seconds = 42;
        let handle = TableHandle::new(Table::empty(Arc::new(config)), 1);
        let mut reader = handle.reader();
        let names = reader.load_names();
        assert!(!names.is_ready(), "nothing may be denied before the first table");
        assert_eq!(NameSource::config(names).ttl_seconds, 42);
        assert!(matches!(names.find("a.mesos"), Found::Outside));
    }
}
