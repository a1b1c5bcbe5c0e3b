//! Names that a zone leaves out, since no message can say them (RFC 1035 §2.3.4: "names 255 octets or less").
//!
//! In the cluster's own zone a framework's part is shortened for that ([`super::rules`]). What is left are names in networks,
//! names of several labels, and those that the zones of DC/OS repeat below a longer zone's name.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::cluster::ClusterNames;
use super::dcos::names_of;
use super::group::{Member, group_names};
use super::ids::{id_label, id_parts};
use super::label::{LABEL, NAME};
use super::rules::NamingRules;
use crate::config::checked::{DnsConfig, MesosConfig};
use crate::model::dcos::{ZoneKind, longest};
use crate::table::task::TaskView;

/// What is left out of the zone that leaves out most.
#[derive(Debug)]
pub(crate) struct LeftOut {
    /// The zone.
    pub(crate) zone: String,
    /// How many names.
    pub(crate) count: usize,
    /// The longest of them, relative to the zone.
    pub(crate) longest: String,
    /// By how many octets it is too long.
    pub(crate) excess: usize,
}

/// The names of a task that are left out; `None`: there are none. Names that have a shorter twin are not among them.
pub(crate) fn left_out(view: &TaskView, config: &DnsConfig, mesos: &MesosConfig) -> Option<LeftOut> {
    let key = config.dcos.cluster_key.as_deref();
    let has_dcos = config.dcos.source.as_deref() == Some(mesos.name.as_str());
    let again = has_dcos.then(|| longest(ZoneKind::Mirror, key)).flatten().map(Cow::Owned);
    let own = Cow::Borrowed(&*mesos.zone);
    let zone = [own].into_iter().chain(again).max_by_key(|zone| zone.len())?;
    let mirrored = match most_octets(view) + 1 + zone.len() > NAME {
        true => LeftOut::of(names(view, &NamingRules::new(config, &mesos.zone)), &zone),
        // Nearly every task.
        false => None,
    };
    mirrored.or_else(|| {
        let zone = has_dcos.then(|| longest(ZoneKind::Vips, key)).flatten()?;
        LeftOut::of(names_of(view), &zone)
    })
}

impl LeftOut {
    fn of(names: BTreeSet<String>, zone: &str) -> Option<Self> {
        let room = NAME.saturating_sub(zone.len() + 1);
        let out: Vec<String> = names.into_iter().filter(|name| name.len() > room).collect();
        let count = out.len();
        let longest = out.into_iter().max_by_key(String::len)?;
        Some(Self { zone: zone.to_owned(), count, excess: longest.len() - room, longest })
    }
}

/// Every name that the zone would have for a task, with its framework's shortest part.
fn names(view: &TaskView, rules: &NamingRules) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let Some(framework) = &view.framework else { return names };
    let Some(part) = rules.framework_parts(&framework.name).into_iter().next() else { return names };
    let view = Arc::new(view.clone());
    let member = Member::new(view.clone());
    let alone = ClusterNames { rules: rules.clone(), ..ClusterNames::default() };
    let is_short = |name: &str| name.strip_suffix(&*part).is_some_and(|task| task.ends_with('.'));
    let groups = group_names(&view, rules).into_iter().filter(|name| is_short(name));
    for group in groups.filter(|name| !view.refused_names().contains(name)) {
        alone.list_member(&group, &member, &mut names);
        names.extend([group.to_string(), format!("{group}.slave")]);
    }
    if id_parts(&view, rules).contains(&part) {
        alone.list_id(&id_label(view.facts.key.said_id()), &part, &member, &mut names);
    }
    names
}

/// No name of the task is longer than this, below the zone. Told without making any: labels are never longer than what they
/// are made of and what is added to them.
fn most_octets(view: &TaskView) -> usize {
    let (facts, definition) = (&view.facts, &view.facts.definition);
    let discovery = definition.discovery.as_ref();
    let task = definition.name.len().max(discovery.map_or(0, |discovery| discovery.name.len()));
    let tail = facts.agent.as_ref().and_then(|agent| agent.as_str().rsplit('-').next()).map_or(0, str::len);
    let id = (facts.key.said_id().len() + "-HHHHHHHHHH".len()).min(LABEL) + ".id".len();
    let host = (task + "-HHHHH-".len() + tail).max(id);
    let ports = discovery.map_or(&[][..], |discovery| &*discovery.ports).iter();
    let port = ports.map(|port| port.name.len().max("port65535".len()) + port.protocol.len().max("tcp".len())).max();
    let service = "_._._.".len() + port.unwrap_or("port65535tcp".len());
    let framework = view.framework.as_ref().map_or(0, |framework| framework.name.len());
    let network = facts.networks().map(|(name, _)| name.len() + "..network".len()).max();
    service + host + ".".len() + framework + network.unwrap_or(".slave".len())
}
