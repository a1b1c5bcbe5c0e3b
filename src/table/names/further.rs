//! Names that Mesos-DNS does not have. They are looked for only where it has no such name, so that none of its names ever
//! says anything else because of them.

use super::Record;
use super::cluster::ClusterNames;

impl ClusterNames {
    /// The records of a name that none of Mesos-DNS's rules knows, relative to the zone.
    pub(super) fn further(&self, name: &str) -> Option<Vec<Record>> {
        self.agent_hosts(name)
    }
}
