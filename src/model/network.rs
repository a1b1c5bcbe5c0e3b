//! Masters of a cluster.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Who leads a cluster, as a source found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MastersFacts {
    /// The leading master's address.
    pub leader: Option<SocketAddr>,
    /// All masters that are known, the leader among them, in the order of their numbers (`master0` and so on).
    pub masters: Vec<SocketAddr>,
}

impl MastersFacts {
    /// Masters that somebody listed, in the order of that list. A leader that it lacks is the last one, as with
    /// Mesos-DNS.
    pub fn listed(leader: Option<SocketAddr>, masters: &[SocketAddr]) -> Self {
        let mut masters = masters.to_vec();
        masters.extend(leader.filter(|leader| !masters.contains(leader)));
        Self { leader, masters }
    }

    /// Masters that were found, each once: the leader first, as with Mesos-DNS. The others come by address, which a
    /// failover does not change; Mesos-DNS numbers them at random.
    pub fn found(leader: Option<SocketAddr>, masters: impl IntoIterator<Item = SocketAddr>) -> Self {
        let others: BTreeSet<SocketAddr> = masters.into_iter().filter(|master| Some(*master) != leader).collect();
        Self { leader, masters: leader.into_iter().chain(others).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_list_keeps_its_order_and_a_leader_that_it_lacks_comes_last() {
        let check = |leader: Option<&str>, list: &[&str], expected: &[&str]| {
            let leader = leader.map(|text| text.parse().unwrap());
            let facts = MastersFacts::listed(leader, &addresses(list));
            assert_eq!(facts, MastersFacts { leader, masters: addresses(expected) }, "{leader:?} {list:?}");
        };
        check(Some("10.0.0.1:5050"), &["10.0.0.2:5050", "10.0.0.1:5050"], &["10.0.0.2:5050", "10.0.0.1:5050"]);
        check(Some("10.0.0.1:5050"), &["127.0.0.1:5050"], &["127.0.0.1:5050", "10.0.0.1:5050"]);
        check(Some("10.0.0.1:5050"), &["10.0.0.1:5051"], &["10.0.0.1:5051", "10.0.0.1:5050"]);
        check(None, &["10.0.0.2:5050"], &["10.0.0.2:5050"]);
    }

    #[test]
    fn of_those_found_the_leader_is_the_first_and_the_others_come_by_address() {
        let check = |leader: Option<&str>, list: &[&str], expected: &[&str]| {
            let leader = leader.map(|text| text.parse().unwrap());
            let facts = MastersFacts::found(leader, addresses(list));
            assert_eq!(facts, MastersFacts { leader, masters: addresses(expected) }, "{leader:?} {list:?}");
        };
        let all = ["10.0.0.3:5050", "10.0.0.2:5050", "10.0.0.1:5050", "10.0.0.2:5050", "10.0.0.3:5050"];
        check(Some("10.0.0.3:5050"), &all, &["10.0.0.3:5050", "10.0.0.1:5050", "10.0.0.2:5050"]);
        // The leader's node may say a name in place of an address.
        check(None, &all, &["10.0.0.1:5050", "10.0.0.2:5050", "10.0.0.3:5050"]);
    }
}
