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

/// The first labels of the zones that several tops have.
const DIRECTORIES: [(&str, ZoneKind); 4] = [
    ("dcos", ZoneKind::Tasks),
    ("mesos", ZoneKind::Mirror),
    ("l4lb", ZoneKind::Vips),
    ("thisnode", ZoneKind::ThisNode),
];

/// What they lie below.
const TOPS: [&str; 2] = ["thisdcos.directory", "thisdcos.global"];

fn own_top(cluster_key: &str) -> String {
    format!("{cluster_key}.dcos.directory")
}

/// The zone of a kind with the longest name of those that several tops have; `None`: there is but one of the kind.
pub fn longest(kind: ZoneKind, cluster_key: Option<&str>) -> Option<String> {
    let (label, _) = DIRECTORIES.iter().find(|(_, of)| *of == kind)?;
    let own = cluster_key.map(own_top);
    let top = TOPS.into_iter().chain(own.as_deref()).max_by_key(|top| top.len())?;
    Some(format!("{label}.{top}"))
}

/// Every zone with what it is. `cluster_key`: the cluster's own, for the zones below `KEY.dcos.directory`.
pub fn zones(cluster_key: Option<&str>) -> Vec<(String, ZoneKind)> {
    let tops = TOPS.map(str::to_owned).into_iter().chain(cluster_key.map(own_top));
    let mut all: Vec<(String, ZoneKind)> =
        tops.flat_map(|top| DIRECTORIES.map(|(label, kind)| (format!("{label}.{top}"), kind))).collect();
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

    #[test]
    fn the_longest_zone_of_a_kind_is_the_longest() {
        for key in [None, Some("a"), Some("0123456789abcdef")] {
            for kind in [ZoneKind::Tasks, ZoneKind::Mirror, ZoneKind::Vips, ZoneKind::ThisNode] {
                let all = zones(key).into_iter().filter(|(_, of)| *of == kind).map(|(zone, _)| zone.len());
                assert_eq!(longest(kind, key).map(|zone| zone.len()), all.max(), "{kind:?} {key:?}");
            }
            assert_eq!(longest(ZoneKind::ZooKeeper, key), None);
        }
    }
}
