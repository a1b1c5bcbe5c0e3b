//! The zones of DC/OS, from a cluster's own state: `T.F.agentip`, `containerip` and `autoip` below
//! `dcos.thisdcos.directory`, the cluster's zone again below `mesos.thisdcos.directory`, names of virtual addresses below
//! `l4lb.thisdcos.directory`, and the fixed names of each node.
//!
//! A renamed zone (`thisdcos.global`, `dclb`, a cluster's key below `dcos.directory`) is a zone of its own with the same
//! content: what it answers, SOA and targets included, lies in the zone that was asked. What has no room for a name there is
//! left out, and told ([`super::lengths`]).

mod phash;
mod vips;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use smallvec::SmallVec;

use super::cluster::ClusterNames;
use super::group::{Member, TaskGroup};
use super::kept::GroupKept;
use super::label::NAME;
use super::records::{KeptRecords, Records};
use super::rules::NamingRules;
use super::{Content, Keeping, Names, Record, Zone};
use crate::cluster::event::{Binding, RecordData};
use crate::config::checked::{DcosConfig, NameUnhealthy};
use crate::model::dcos::ZoneKind as Kind;
use crate::model::id::ClusterName;

pub(crate) use vips::{Vips, names_of};

impl Names {
    /// The records of a name of a DC/OS zone; `None` if it does not exist.
    pub(super) fn find_dcos(
        &self,
        zone: &Zone,
        (cluster, kind): (&ClusterName, Kind),
        below: &str,
        keeping: Keeping,
    ) -> Option<Records> {
        let names = || self.of_cluster(cluster);
        let made = match kind {
            Kind::Mirror => match names()?.find_by(below, keeping)? {
                // Addresses lie in no zone.
                Records::Kept(kept) if kept.services().is_empty() => return Some(Records::Kept(kept)),
                Records::Kept(kept) => return Some(names()?.mirrored_kept(&kept, &zone.name)),
                Records::Made(records) => Some(names()?.mirrored(records, &zone.name)),
            },
            Kind::Tasks => return names()?.dcos_tasks(below, keeping),
            Kind::Vips => names()?.dcos_vip(below),
            Kind::ZooKeeper => names()?.dcos_zookeeper(below),
            Kind::ThisNode => this_node(&self.dcos, below),
            Kind::Spartan => spartan(below),
            Kind::Localhost => below.is_empty().then(|| vec![Record::of_address(Ipv4Addr::LOCALHOST.into())]),
        };
        made.map(Records::from)
    }

    /// Every name of a DC/OS zone that may have records, absolute.
    pub(super) fn list_dcos(&self, zone: &Zone, cluster: &ClusterName, kind: Kind) -> BTreeSet<String> {
        let clusters = self.zones.iter().filter_map(|zone| match &zone.content {
            Content::Cluster(names) if names.cluster == *cluster => Some(names),
            _ => None,
        });
        let below: BTreeSet<String> = match kind {
            Kind::Tasks => clusters.flat_map(ClusterNames::list_dcos_tasks).collect(),
            Kind::Mirror => clusters.flat_map(ClusterNames::list).collect(),
            Kind::Vips => clusters.flat_map(|names| names.vips.sorted()).map(|name| name.to_string()).collect(),
            Kind::ZooKeeper => (1..=ZOOKEEPERS).map(|number| format!("zk-{number}")).collect(),
            Kind::ThisNode => ["", "public"].map(str::to_owned).into(),
            Kind::Spartan => ["ready", "ns"].map(str::to_owned).into(),
            Kind::Localhost => [String::new()].into(),
        };
        let absolute =
            |name: String| if name.is_empty() { zone.name.to_string() } else { format!("{name}.{}", zone.name) };
        below.into_iter().map(absolute).collect()
    }
}

/// Whose address a name of the tasks' zone has.
#[derive(Clone, Copy)]
enum Whose {
    Agent,
    Container,
    /// Where clients reach the task: the agent where a port of it leads in, else the container, else the agent.
    Reached,
}

const WHOSE: [(&str, Whose); 3] =
    [("agentip", Whose::Agent), ("containerip", Whose::Container), ("autoip", Whose::Reached)];

impl Whose {
    fn addresses(self, member: &Member) -> Vec<IpAddr> {
        let agent = || member.agent_addresses().collect();
        let own = || member.view.facts.addresses.to_vec();
        match self {
            Self::Agent => agent(),
            Self::Container => own(),
            Self::Reached if !member.view.facts.definition.port_mappings.is_empty() => agent(),
            Self::Reached => Some(own()).filter(|own| !own.is_empty()).unwrap_or_else(agent),
        }
    }

    /// The addresses of a group's tasks that are named.
    fn all(self, group: &TaskGroup, unhealthy: NameUnhealthy) -> impl Iterator<Item = IpAddr> {
        group.named(unhealthy).into_iter().flat_map(move |member| self.addresses(member))
    }

    /// The same as they are kept beside the group.
    fn kept(self, kept: &GroupKept, group: &TaskGroup, unhealthy: NameUnhealthy) -> KeptRecords {
        let make = || KeptRecords::of_addresses(self.all(group, unhealthy));
        let records = match self {
            Self::Agent => &kept.addresses(group, unhealthy).of_agents,
            Self::Container => kept.containers.get_or_init(make),
            Self::Reached => kept.reached.get_or_init(make),
        };
        records.clone()
    }
}

/// `zk-1` to `zk-5`, whatever the number of masters.
const ZOOKEEPERS: usize = 5;

impl ClusterNames {
    fn dcos_tasks(&self, name: &str, keeping: Keeping) -> Option<Records> {
        if matches!(name, "leader" | "master") {
            let leader: Vec<_> = self.masters.leader.iter().map(|leader| Record::of_address(leader.ip())).collect();
            return Some(leader.into());
        }
        let (rest, whose) = WHOSE.iter().find_map(|(label, whose)| Some((name.strip_suffix(label)?, *whose)))?;
        let Some(rest) = rest.strip_suffix('.') else {
            return (rest.is_empty() && !self.groups.is_empty()).then(Records::default);
        };
        let Some((task, framework)) = rest.rsplit_once('.') else {
            let is_above = |part: &str| self.parents.contains(part) || self.parents.contains(&format!("{part}.slave"));
            return self.dcos_parts(rest).any(is_above).then(Records::default);
        };
        // A discovery name as it was written is no label of DC/OS's.
        if self.rules.label(task) != task {
            return None;
        }
        let groups = self.dcos_parts(framework).filter_map(|part| self.groups.get(&*format!("{task}.{part}")));
        let groups: SmallVec<[&TaskGroup; 2]> = groups.collect();
        let unhealthy = self.rules.unhealthy;
        // Nearly always one.
        let kept = match &groups[..] {
            [group] if keeping == Keeping::Keep => group.kept().map(|kept| whose.kept(kept, group, unhealthy)),
            _ => None,
        };
        let records = kept.map_or_else(
            || {
                let all: BTreeSet<IpAddr> = groups.iter().flat_map(|group| whose.all(group, unhealthy)).collect();
                all.into_iter().map(Record::of_address).collect::<Vec<_>>().into()
            },
            Records::Kept,
        );
        (!groups.is_empty() && (self.rules.hold || !records.is_empty())).then_some(records)
    }

    /// The parts that a framework's label stands for: DC/OS writes its dots as hyphens.
    pub(super) fn dcos_parts<'a>(&'a self, label: &'a str) -> impl Iterator<Item = &'a str> {
        let first = self.dotted_frameworks.partition_point(|(dashed, _)| **dashed < *label);
        let dotted = self.dotted_frameworks[first..].iter().take_while(move |(dashed, _)| **dashed == *label);
        std::iter::once(label).chain(dotted.map(|(_, part)| &**part))
    }

    fn list_dcos_tasks(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = ["leader", "master"].map(str::to_owned).into();
        for (name, group) in self.groups.iter() {
            for member in group.members.iter() {
                let Some(framework) = &member.view.framework else { continue };
                for part in self.rules.framework_parts(&framework.name) {
                    let Some(task) = name.strip_suffix(&*part).and_then(|task| task.strip_suffix('.')) else {
                        continue;
                    };
                    let framework = NamingRules::dcos_label(&part);
                    names.extend(WHOSE.iter().map(|(label, _)| format!("{task}.{framework}.{label}")));
                }
            }
        }
        names
    }

    fn dcos_vip(&self, name: &str) -> Option<Vec<Record>> {
        let Some(vip) = self.vips.get(name) else {
            return self.vips.is_above(name).then(Vec::new);
        };
        let addresses = vip.v4.map(IpAddr::from).into_iter().chain(vip.v6.map(IpAddr::from));
        Some(addresses.map(Record::of_address).collect())
    }

    fn dcos_zookeeper(&self, name: &str) -> Option<Vec<Record>> {
        let number: usize = name.strip_prefix("zk-")?.parse().ok().filter(|number| format!("zk-{number}") == name)?;
        let index = number.checked_sub(1).filter(|index| *index < ZOOKEEPERS)?;
        let mut masters: Vec<IpAddr> = Vec::new();
        for master in &self.masters.masters {
            if !masters.contains(&master.ip()) {
                masters.push(master.ip());
            }
        }
        masters.sort_unstable();
        let record = masters.get(index % masters.len().max(1)).map(|address| Record::of_address(*address));
        Some(record.into_iter().collect())
    }
}

fn this_node(config: &DcosConfig, name: &str) -> Option<Vec<Record>> {
    let addresses = match name {
        "" => &config.node_addresses,
        "public" => &config.public_addresses,
        _ => return None,
    };
    Some(addresses.iter().map(|address| Record::of_address(*address)).collect())
}

fn spartan(name: &str) -> Option<Vec<Record>> {
    match name {
        // What DC/OS probes to see whether names are answered on a node.
        "ready" => Some(vec![Record::of_address(Ipv4Addr::LOCALHOST.into())]),
        "ns" => Some(vec![Record::of_address(Ipv4Addr::new(198, 51, 100, 1).into())]),
        _ => None,
    }
}

impl ClusterNames {
    /// Records of the cluster's zone as another zone says them. Those whose target has no name there are left out: no message
    /// could say it (RFC 1035 §2.3.4: "names 255 octets or less").
    fn mirrored(&self, records: Vec<Record>, to: &str) -> Vec<Record> {
        let moved = |target: &Arc<str>| match super::below(target, &self.zone) {
            Some(below) if !below.is_empty() => self.fitting(below, to).map(|below| format!("{below}.{to}").into()),
            _ => Some(target.clone()),
        };
        let data = |data: RecordData| match data {
            RecordData::Srv { priority, weight, port, target } => {
                Some(RecordData::Srv { priority, weight, port, target: moved(&target)? })
            }
            RecordData::Svcb(binding) => {
                Some(RecordData::Svcb(Box::new(Binding { target: moved(&binding.target)?, ..*binding })))
            }
            RecordData::Https(binding) => {
                Some(RecordData::Https(Box::new(Binding { target: moved(&binding.target)?, ..*binding })))
            }
            other => Some(other),
        };
        records.into_iter().filter_map(|record| Some(Record { data: data(record.data)?, ttl: record.ttl })).collect()
    }

    /// The same of records that are kept, kept beside them.
    fn mirrored_kept(&self, kept: &KeptRecords, to: &Arc<str>) -> Records {
        let all = || self.mirrored(kept.all().to_vec(), to);
        let fits = |record: &Record| match &record.data {
            RecordData::Srv { target, .. } => {
                super::below(target, &self.zone).is_none_or(|below| below.len() + 1 + to.len() <= NAME)
            }
            _ => true,
        };
        // What fits with its framework's shortened part alone hangs on all frameworks, which change without the group.
        let mirrored = kept.elsewhere(to, || kept.all().iter().all(fits).then(all));
        mirrored.map_or_else(|| all().into(), Records::Kept)
    }

    /// A host's name as it fits below another zone: with its framework's shortened part, where that is needed and there is one.
    fn fitting<'a>(&self, host: &'a str, zone: &str) -> Option<Cow<'a, str>> {
        let fits = |host: &str| host.len() + 1 + zone.len() <= NAME;
        if fits(host) {
            return Some(Cow::Borrowed(host));
        }
        self.framework_names.iter().find_map(|(_, name)| {
            let parts = self.rules.framework_parts(name);
            let [short, whole] = parts.as_slice() else { return None };
            let (before, after) = host.split_once(&format!(".{whole}"))?;
            let shorter = format!("{before}.{short}{after}");
            ((after.is_empty() || after.starts_with('.')) && fits(&shorter)).then_some(Cow::Owned(shorter))
        })
    }
}
