//! Names of single tasks by id: `ID.id.FW` with the task's addresses and the SRV records of its ports,
//! `ID.id.FW.slave` with its agent's, and `_PORT._PROTO.ID.id.FW` (RFC 2782) for ports that have a name.
//!
//! `ID` is the task's id where that is a legal label in lower case, else what can be kept of it and a hash of the id,
//! so that ids that differ in any octet have labels that differ. Nothing but the index is stored, one entry a task;
//! names and records are made when they are asked for.
//!
//! These names are the program's own: a discovery name with dots or a framework's name that happens to read like one
//! adds nothing to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Record;
use super::cluster::{ClusterNames, Findings};
use super::group::{Member, NameRank, rank};
use super::label::{LABEL, is_long_hash, long_hash_text, service_label, spec, suffixed};
use super::records::Records;
use super::rules::NamingRules;
use super::services::{ServiceName, member_ports};
use crate::config::checked::{ExtraName, LabelRule};
use crate::model::hash::process_hash;
use crate::model::id::TaskKey;
use crate::model::persistent::PersistentMap;
use crate::table::task::TaskView;

/// What stands between a task's id and its framework.
pub(crate) const ID: &str = "id";

/// The tasks of a cluster, by the names that their ids make.
#[derive(Clone, Debug, Default)]
pub struct TaskIds {
    /// By a hash of label and framework's part; who asks compares both again.
    index: PersistentMap<u64, Holders>,
}

/// Who is found at a place: one task, unless hashes meet or frameworks of one name have a task of one id.
#[derive(Clone, Debug)]
enum Holders {
    One(Arc<TaskView>),
    Several(Arc<Vec<Arc<TaskView>>>),
}

impl Holders {
    fn views(&self) -> &[Arc<TaskView>] {
        match self {
            Self::One(view) => std::slice::from_ref(view),
            Self::Several(views) => views,
        }
    }
}

impl TaskIds {
    /// Files a task under `label` in a framework's part, in place of its former view.
    pub(crate) fn put(&mut self, label: &str, part: &str, view: &Arc<TaskView>) {
        let place = place(label, part);
        let mut views = self.others(place, &view.facts.key);
        views.push(view.clone());
        views.sort_by(|a, b| a.facts.key.cmp(&b.facts.key));
        self.set(place, views);
    }

    /// Takes a task back.
    pub(crate) fn take(&mut self, label: &str, part: &str, key: &TaskKey) {
        let place = place(label, part);
        let views = self.others(place, key);
        self.set(place, views);
    }

    /// Every entry as the id's label and its task, sorted.
    pub(crate) fn sorted(&self) -> Vec<(String, TaskKey)> {
        let mut all: Vec<_> =
            self.views().map(|view| (id_label(view.facts.key.said_id()), view.facts.key.clone())).collect();
        all.sort();
        all
    }

    fn views(&self) -> impl Iterator<Item = &Arc<TaskView>> {
        self.index.values().flat_map(Holders::views)
    }

    /// The tasks that `label` names in the framework's part.
    fn named<'a>(
        &'a self,
        label: &'a str,
        part: &'a str,
        rules: &'a NamingRules,
    ) -> impl Iterator<Item = &'a Arc<TaskView>> {
        let views = self.index.get(&place(label, part)).map(Holders::views).unwrap_or_default();
        views.iter().filter(move |view| {
            let parts = id_parts(view, rules);
            parts.iter().any(|own| **own == *part) && id_label(view.facts.key.said_id()) == label
        })
    }

    fn others(&self, place: u64, key: &TaskKey) -> Vec<Arc<TaskView>> {
        let views = self.index.get(&place).map(Holders::views).unwrap_or_default();
        views.iter().filter(|view| view.facts.key != *key).cloned().collect()
    }

    fn set(&mut self, place: u64, mut views: Vec<Arc<TaskView>>) {
        let holders = match views.len() {
            0 => return drop(self.index.remove(&place)),
            1 => Holders::One(views.swap_remove(0)),
            _ => Holders::Several(Arc::new(views)),
        };
        self.index.insert(place, holders);
    }
}

fn place(label: &str, part: &str) -> u64 {
    process_hash(&(label, part))
}

/// The label that a task's id makes, whatever the rule for the labels of names.
///
/// An id that ends like a hash gets one too: else a task could be called like another one's label.
pub fn id_label(id: &str) -> String {
    if is_legal(id) && !id.rsplit('-').next().is_some_and(is_long_hash) {
        return id.to_owned();
    }
    let hash = long_hash_text(id);
    let kept = spec(id, LabelRule::Rfc1123);
    let with_hash = suffixed(&kept, &format!("-{hash}")).filter(|_| !kept.is_empty());
    with_hash.unwrap_or(hash)
}

/// Whether a text is a label that host names may have (RFC 1123 §2.1), in lower case.
fn is_legal(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LABEL).contains(&text.len()) && text.bytes().all(is_plain) && !text.starts_with('-') && !text.ends_with('-')
}

/// The framework's parts below which a task is found by its id; none where the configuration wants no such names, and none
/// where it is not named and names are not held.
pub(crate) fn id_parts(view: &TaskView, rules: &NamingRules) -> Vec<Arc<str>> {
    if !rules.extra.has(ExtraName::Ids) {
        return Vec::new();
    }
    let Some(framework) = &view.framework else { return Vec::new() };
    if !rules.hold && rank(view, rules.unhealthy) == NameRank::Never {
        return Vec::new();
    }
    rules.framework_parts(&framework.name)
}

/// `[_PORT._PROTO.]LABEL.id.FRAMEWORK[.slave]`.
struct IdName<'a> {
    /// The labels before the id that begin with an underscore, nearest last; ids' labels never do.
    service: Vec<&'a str>,
    label: &'a str,
    framework: &'a str,
    on_agents: bool,
}

impl<'a> IdName<'a> {
    /// What the name may mean: a framework may be called `x.slave`.
    fn readings(name: &'a str) -> Vec<Self> {
        let mut service = Vec::new();
        let mut rest = name;
        while let Some((label, below)) = rest.strip_prefix('_').and_then(|rest| rest.split_once('.')) {
            service.push(label);
            rest = below;
        }
        let host = rest.split_once('.').and_then(|(label, rest)| {
            let framework = rest.strip_prefix(ID)?.strip_prefix('.')?;
            Some((label, framework))
        });
        let Some((label, framework)) = host else { return Vec::new() };
        let reading = |framework, on_agents| Self { service: service.clone(), label, framework, on_agents };
        let on_agents = framework.strip_suffix(".slave").map(|framework| reading(framework, true));
        [reading(framework, false)].into_iter().chain(on_agents).collect()
    }
}

impl ClusterNames {
    /// The name that finds just this task, relative to the zone; `None` while it has none.
    pub fn name_by_id(&self, view: &TaskView) -> Option<String> {
        let framework = id_parts(view, &self.rules).pop()?;
        Some(self.target(&format!("{}.{ID}", id_label(view.facts.key.said_id())), &framework, ""))
    }

    /// Adds every name by id, those of ports and in networks among them, for those who want the whole zone.
    pub(super) fn list_ids(&self, names: &mut BTreeSet<String>) {
        for view in self.ids.views() {
            let (label, member) = (id_label(view.facts.key.said_id()), Member::new(view.clone()));
            for part in id_parts(view, &self.rules) {
                self.list_id(&label, &part, &member, names);
            }
        }
    }

    /// … those of one task.
    pub(super) fn list_id(&self, label: &str, part: &str, member: &Member, names: &mut BTreeSet<String>) {
        let host = format!("{label}.{ID}.{part}");
        names.extend(self.port_names(&host, member));
        self.list_in_networks(&host, member, names);
        names.insert(format!("{host}.slave"));
        names.insert(host);
    }

    /// The tasks that a name by id stands for; none where it is none, or stands for their agents or ports.
    pub(super) fn members_by_id(&self, name: &str) -> Vec<Member> {
        let hosts = IdName::readings(name).into_iter().filter(|query| query.service.is_empty() && !query.on_agents);
        let members = hosts.map(|query| {
            let views = self.ids.named(query.label, query.framework, &self.rules);
            views.map(|view| Member::new(view.clone())).collect::<Vec<_>>()
        });
        members.flatten().collect()
    }

    /// The records of a name by id; `None` if it is none.
    pub(super) fn find_by_id(&self, name: &str) -> Option<Records> {
        let mut found = Findings::default();
        for query in IdName::readings(name) {
            for view in self.ids.named(query.label, query.framework, &self.rules) {
                self.add_by_id(&query, &Member::new(view.clone()), &mut found);
            }
        }
        found.into_records()
    }

    fn add_by_id(&self, query: &IdName<'_>, member: &Member, found: &mut Findings) {
        let is_named = member.rank(self.rules.unhealthy) != NameRank::Never;
        match *query.service {
            [] => {
                // It exists as long as its task is known, with records while that is named.
                found.add([]);
                if is_named {
                    self.host_by_id(query, member, found);
                }
            }
            // Above the names of its ports.
            [protocol] if self.has_named_port(query, protocol, member) => found.add([]),
            [port, protocol] if !port.is_empty() => {
                let ports = self.ports_by_id(query, Some(port), protocol, member);
                if !ports.is_empty() {
                    let ports = ports.into_iter().filter(|_| is_named);
                    found.add(ports.map(|port| self.srv_by_id(query, member, port)));
                }
            }
            _ => {}
        }
    }

    fn host_by_id(&self, query: &IdName<'_>, member: &Member, found: &mut Findings) {
        let declared = member.declared_ports().filter(|_| !query.on_agents);
        let ports: Vec<u16> = match declared {
            Some(declared) => declared.iter().map(|port| port.number).collect(),
            None => member.host_ports().collect(),
        };
        found.add(ports.into_iter().map(|port| self.srv_by_id(query, member, port)));
        match query.on_agents {
            true => found.add_addresses(member.agent_addresses()),
            false => found.add_addresses(member.view.addresses().iter().copied()),
        }
    }

    fn has_named_port(&self, query: &IdName<'_>, protocol: &str, member: &Member) -> bool {
        let labels = member.declared_ports().unwrap_or_default().iter().map(|port| self.rules.label(&port.name));
        labels.filter(|label| !label.is_empty()).any(|label| {
            let port = service_label(&label);
            !self.ports_by_id(query, Some(&port), protocol, member).is_empty()
        })
    }

    /// The numbers of a task's ports with this name and protocol. Host ports have no names.
    fn ports_by_id(&self, query: &IdName<'_>, port: Option<&str>, protocol: &str, member: &Member) -> Vec<u16> {
        let service = ServiceName {
            service: "",
            protocol,
            framework: query.framework,
            on_agents: query.on_agents,
            network: None,
        };
        member_ports(member, port, &service, &self.rules)
    }

    fn srv_by_id(&self, query: &IdName<'_>, member: &Member, port: u16) -> Record {
        // Host ports are the agent's.
        let below = if query.on_agents || member.declared_ports().is_none() { ".slave" } else { "" };
        self.task_srv(member, port, &self.target(&format!("{}.{ID}", query.label), query.framework, below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legal_id_is_its_own_label() {
        for id in ["web", "web-1", "7", &"a".repeat(63)] {
            assert_eq!(id_label(id), id);
        }
    }

    #[test]
    fn other_ids_keep_what_they_can_and_end_in_a_hash() {
        let long = "app.instance-cb9c1f2e-8c1a-11ee-b962-0242ac120002._app.1";
        for id in ["a.b", "a_b", "A-b", "a-b-", "-a-b", &"a".repeat(64), long, "", "ж"] {
            let label = id_label(id);
            assert!(is_legal(&label), "{id}: {label}");
            assert!(label.rsplit('-').next().is_some_and(is_long_hash), "{id}: {label}");
        }
        assert!(id_label("a.b").starts_with("a-b-"));
        assert!(id_label(long).starts_with("app-instance-cb9c1f2e-8c1a-"));
        assert_ne!(id_label("a.b"), id_label("a_b"));
        assert_ne!(id_label(long), id_label(&long.replace("._app.1", "._app.2")));
    }

    #[test]
    fn the_example_of_the_documentation() {
        let id = "shop.instance-c9de6033-b669-11e6-a48f-0ea4f4b1778c._app.1";
        assert_eq!(id_label(id), "shop-instance-c9de6033-b669-11e6-a48f-0ea4f4b1778c-7brhq3d1y4");
    }

    #[test]
    fn no_id_is_another_ones_label() {
        let label = id_label("a.b");
        assert_ne!(id_label(&label), label);
    }
}
