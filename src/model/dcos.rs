//! The zones of DC/OS: what they are called, and what each is.
//!
//! A renamed zone (`thisdcos.global`, `dclb`, a cluster's key below `dcos.directory`) is a zone of its own with the same
//! content, so that all that is said of a name lies in the zone that was asked.

/// Which of the zones one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneKind {
    /// `dcos`: tasks, leader.
    Tasks,
    /// `mesos`: the cluster's zone again.
    Mirror,
    /// `l4lb`: virtual addresses.
    Vips,
    /// `thisnode`.
    ThisNode,
    /// `zk`: the masters as `zk-1` to `zk-5`.
    ZooKeeper,
    /// `spartan`: what DC/OS's own resolver has.
    Spartan,
    /// `localhost`.
    Localhost,
}

impl ZoneKind {
    /// Whether it shows the cluster, and so waits for its source.
    pub fn is_clusters(self) -> bool {
        matches!(self, Self::Tasks | Self::Mirror | Self::Vips | Self::ZooKeeper)
    }
}

/// Every zone with what it is. `cluster_key`: the cluster's own, for the zones below `KEY.dcos.directory`.
pub fn zones(cluster_key: Option<&str>) -> Vec<(String, ZoneKind)> {
    let directories = [
        ("dcos", ZoneKind::Tasks),
        ("mesos", ZoneKind::Mirror),
        ("l4lb", ZoneKind::Vips),
        ("thisnode", ZoneKind::ThisNode),
    ];
    let key = cluster_key.map(|key| format!("{key}.dcos.directory"));
    let tops = ["thisdcos.directory", "thisdcos.global"].map(str::to_owned).into_iter().chain(key);
    let mut all: Vec<(String, ZoneKind)> =
        tops.flat_map(|top| directories.map(|(label, kind)| (format!("{label}.{top}"), kind))).collect();
    let fixed = [
        ("dclb.thisdcos.directory", ZoneKind::Vips),
        ("dclb.thisdcos.global", ZoneKind::Vips),
        ("zk", ZoneKind::ZooKeeper),
        ("spartan", ZoneKind::Spartan),
        ("localhost", ZoneKind::Localhost),
    ];
    all.extend(fixed.map(|(zone, kind)| (zone.to_owned(), kind)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_is_there_once_and_beside_the_others() {
        let zones = zones(Some("abc"));
        assert_eq!(zones.len(), 17);
        for (at, (zone, _)) in zones.iter().enumerate() {
            let is_within = |other: &str| zone == other || zone.ends_with(&format!(".{other}"));
            assert!(zones.iter().enumerate().all(|(other, (name, _))| other == at || !is_within(name)), "{zone}");
        }
    }
}
