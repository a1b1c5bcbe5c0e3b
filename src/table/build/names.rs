//! Names of a table, kept up to date with the state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::task_names::{AddedNames, TaskNames};
use super::{ids, serials};
use crate::cluster::deadline::Deadline;
use crate::cluster::ledger::RETAINED_LIMIT;
use crate::cluster::state::ClusterState;
use crate::config::Config;
use crate::config::checked::ExtraName;
use crate::model::agent::AgentFacts;
use crate::model::framework::FrameworkFacts;
use crate::model::id::{ClusterName, FrameworkId};
use crate::model::problem::{Problem, ProblemCode};
use crate::model::time::Timestamp;
use crate::table::Table;
use crate::table::names::cluster::{ClusterNames, SchedulerAddresses};
use crate::table::names::group::{Member, TaskGroup};
use crate::table::names::label::{LABEL, NAME, service_label};
use crate::table::names::rules::NamingRules;
use crate::table::names::{
    AgentNames, Around, Content, Names, Pointers, Spread, StaticNames, Zone, ZoneNames, ill_named, settings,
};
use crate::table::task::TaskView;

/// Lays out the zones of the configuration, without content.
pub(super) fn layout(table: &mut Table, state: &ClusterState) {
    let config = &state.config;
    let mut zones: BTreeMap<Arc<str>, Content> = BTreeMap::new();
    for mesos in &config.mesos {
        let names = ClusterNames {
            cluster: mesos.cluster.clone(),
            zone: mesos.zone.clone(),
            rules: NamingRules::new(&config.dns, &mesos.zone),
            srv_weight: config.dns.srv_weight,
            ..ClusterNames::default()
        };
        zones.entry(mesos.zone.clone()).or_insert(Content::Cluster(names));
    }
    for zone in config.files.iter().flat_map(|file| &file.zones) {
        zones.entry(zone.clone()).or_insert(Content::Static(StaticNames::default()));
    }
    let reverse = config.dns.reverse.iter().flat_map(|network| crate::model::reverse::zones_of(*network));
    zones.extend(reverse.map(|zone| (zone.into(), Content::Reverse(Pointers::default()))));
    let dcos = &config.dns.dcos;
    if let Some(mesos) = config.mesos.iter().find(|mesos| Some(mesos.name.as_str()) == dcos.source.as_deref()) {
        let dcos = crate::model::dcos::zones(dcos.cluster_key.as_deref()).into_iter();
        zones.extend(dcos.map(|(zone, kind)| (zone.into(), Content::Dcos(mesos.cluster.clone(), kind))));
    }
    let serial = |name: &Arc<str>| state.ledger.serials.get(name).map_or(0, |version| version.serial);
    let mut zones: Vec<ZoneNames> = zones
        .into_iter()
        .map(|(name, content)| ZoneNames {
            zone: Arc::new(Zone::new(name.clone(), serial(&name))),
            ready: false,
            changed: true,
            content,
            beside: StaticNames::default(),
        })
        .collect();
    zones.sort_by_key(|zone| std::cmp::Reverse(zone.zone.name.len()));
    let (dcos, hosts) = (Arc::new(config.dns.dcos.clone()), state.hosts.clone());
    table.names = Names { zones, dcos, hosts, settings: settings(config) };
}

/// Fills everything that does not hang on single tasks; what is wrong with records of files, by subject.
pub(super) fn refresh(table: &mut Table, state: &ClusterState) -> BTreeMap<Arc<str>, Vec<Problem>> {
    let clusters: BTreeSet<ClusterName> = state.sources.values().map(|source| source.cluster.clone()).collect();
    for cluster in &clusters {
        refresh_cluster(table, state, cluster);
    }
    for (cluster, text) in state.ledger.names.keys() {
        with_cluster(table, cluster, |names| retain(names, text));
    }
    let problems = refresh_records(table, state);
    refresh_readiness(table, state);
    problems
}

/// Masters, agents and frameworks of one cluster.
pub(super) fn refresh_cluster(table: &mut Table, state: &ClusterState, cluster: &ClusterName) {
    let masters = state.sources.values().find(|s| s.cluster == *cluster && s.masters.leader.is_some());
    let masters = masters.map(|source| Arc::new(source.masters.clone())).unwrap_or_default();
    let agents = agent_addresses(state, cluster);
    refresh_agents(table, state, cluster);
    table.names.hosts = state.hosts.clone();
    with_cluster(table, cluster, |names| {
        let frameworks = framework_addresses(state, cluster, &names.rules);
        let called = frameworks.iter().map(|(part, addresses)| (&**part, addresses));
        names.around = Around::new(&masters, &agents, called, &names.agent_names, &names.rules);
        names.masters = masters;
        names.agents = agents;
        names.agents_kept = Arc::default();
        names.framework_names = framework_names(state, cluster);
        names.wanted_hosts = wanted_hosts(state, cluster);
        names.dotted_frameworks = dotted_frameworks(&names.framework_names, &names.rules);
        let former = std::mem::take(&mut names.frameworks);
        for (frag, _) in former.iter().filter(|(frag, _)| !frameworks.contains_key(*frag)) {
            names.parents.remove_ancestors(frag);
            names.parents.remove_ancestors(&format!("_framework._tcp.{frag}"));
        }
        for (frag, addresses) in frameworks {
            if !former.contains_key(&frag) {
                names.parents.add_ancestors(&frag);
                names.parents.add_ancestors(&format!("_framework._tcp.{frag}"));
            }
            names.frameworks.insert(frag, addresses);
        }
    });
}

/// Agents of one cluster by name and, with the reverse zones, by address.
fn refresh_agents(table: &mut Table, state: &ClusterState, cluster: &ClusterName) {
    if !state.config.dns.extra_names.contains(&ExtraName::Agents) {
        return;
    }
    let agents = state.agents.iter().filter(|((of, _), _)| of == cluster).filter_map(|(_, entry)| entry.first());
    let mut is_other = false;
    with_cluster(table, cluster, |names| {
        let agents = AgentNames::new(agents, &names.zone);
        is_other = !agents.points_as(&names.agent_names);
        names.agent_names = agents;
    });
    if is_other && !state.config.dns.reverse.is_empty() {
        serials::point_to_agents(&mut table.names);
    }
}

/// Records from files, each in the zone it lies in; what is wrong with them, by subject.
pub(super) fn refresh_records(table: &mut Table, state: &ClusterState) -> BTreeMap<Arc<str>, Vec<Problem>> {
    let mut problems = BTreeMap::new();
    let zones: Vec<Arc<str>> = table.names.zones().map(|zone| zone.name.clone()).collect();
    let with_records = state.sources.values().filter(|source| !source.records.is_empty());
    let sources: Vec<Spread<'_>> = with_records.map(|source| Spread::of(&source.records, &zones)).collect();
    for (at, zone) in table.names.zones.iter_mut().enumerate() {
        let (fresh, crowded) = StaticNames::of_zone(&zones, at, &sources);
        if !crowded.is_empty() {
            let subject: Arc<str> = format!("zone {}", zone.zone.name).into();
            let of_zone = crowded.iter().map(|name| alias_problem(&subject, name, *name == zone.zone.name)).collect();
            problems.insert(subject, of_zone);
        }
        let names = match &mut zone.content {
            Content::Static(names) => names,
            _ => &mut zone.beside,
        };
        zone.changed = true;
        *names = fresh;
    }
    problems
}

/// An alias beside other records, as only several files together come to have it: each file refuses its own.
fn alias_problem(zone: &Arc<str>, name: &Arc<str>, is_apex: bool) -> Problem {
    let message = match is_apex {
        true => format!("the zone's own name {name} has a CNAME record, beside its SOA and NS: it is left out"),
        false => {
            format!("files give the name {name} a CNAME record and others: only one alias, or the others, are served")
        }
    };
    Problem {
        code: ProblemCode::InvalidRecord,
        subject: zone.clone(),
        at: name.clone(),
        message: message.into(),
        mend: "keep the CNAME record alone, or remove it".into(),
    }
}

/// Which zones' sources have spoken.
pub(super) fn refresh_readiness(table: &mut Table, state: &ClusterState) {
    for zone in &mut table.names.zones {
        let has_files = state.config.files.iter().all(|file| {
            !file.zones.contains(&zone.zone.name) || state.sources.get(&file.name).is_some_and(|s| s.complete)
        });
        let is_made = match &zone.content {
            Content::Cluster(names) => state.sources.values().all(|s| s.cluster != names.cluster || s.complete),
            Content::Dcos(cluster, kind) => {
                !kind.is_clusters() || state.sources.values().all(|s| s.cluster != *cluster || s.complete)
            }
            // Any cluster may have the address.
            Content::Reverse(_) => {
                let is_named = |cluster: &ClusterName| state.config.mesos.iter().any(|mesos| mesos.cluster == *cluster);
                state.sources.values().all(|source| source.complete || !is_named(&source.cluster))
            }
            Content::Static(_) => true,
        };
        zone.ready = is_made && has_files;
    }
}

/// A task with what it adds to names.
pub(super) type Named = (Arc<TaskView>, TaskNames);

/// Replaces what one task adds to the names.
pub(super) fn swap_task(
    table: &mut Table,
    state: &mut ClusterState,
    old: Option<&Named>,
    new: Option<&Named>,
    now: Timestamp,
) {
    let digest = |named: Option<&Named>| named.map_or(0, |(_, names)| names.digest);
    table.digest = table.digest.wrapping_sub(digest(old)).wrapping_add(digest(new));
    let Some(cluster) = old.or(new).map(|(view, _)| view.facts.key.cluster().clone()) else { return };
    let mut emptied = Vec::new();
    let mut holds = false;
    let config = state.config.clone();
    let (mut former_pointers, mut pointers) = (Vec::new(), Vec::new());
    with_cluster(table, &cluster, |names| {
        holds = names.rules.hold;
        ids::swap_task(names, old, new);
        let weighs = |named: Option<&Named>| usize::from(named.is_some_and(|(view, _)| view.has_own_weight()));
        names.weighted = (names.weighted + weighs(new)).saturating_sub(weighs(old));
        let (before, after) = (added(old), added(new));
        names.shown.take(before.map(|added| added.shown).unwrap_or_default());
        names.shown.add(after.map(|added| added.shown).unwrap_or_default());
        let none = BTreeSet::new();
        let [gone, come] = [before, after].map(|added| added.map_or(&none, |added| &added.parents));
        swap_parents(names, gone, come);
        if let (Some((view, _)), Some(before)) = (old, before) {
            let stays = |name: &Arc<str>| after.is_some_and(|after| after.groups.contains(name));
            for name in before.groups.iter().filter(|name| !stays(name)) {
                if leave(names, name, before.hash, view) {
                    emptied.push(name.clone());
                }
            }
            let member = Member::with_hash(before.hash, view.clone());
            own_names(names, &member, &before.cut, false);
            former_pointers = change_further(names, &config, view, false);
        }
        if let (Some((view, _)), Some(after)) = (new, after) {
            let member = Member::with_hash(after.hash, view.clone());
            own_names(names, &member, &after.cut, true);
            pointers = change_further(names, &config, view, true);
            for name in &after.groups {
                join(names, name, &member);
            }
        }
    });
    if former_pointers != pointers {
        serials::point(&mut table.names, &former_pointers, false);
        serials::point(&mut table.names, &pointers, true);
    }
    if !state.ledger.names.is_empty() {
        for name in added(new).into_iter().flat_map(|added| &added.groups) {
            state.ledger.names.remove(&(cluster.clone(), name.clone()));
        }
    }
    for name in emptied {
        let until = now.plus(state.config.server.service_retention);
        if holds && state.ledger.names.len() < RETAINED_LIMIT && until > now {
            state.ledger.names.insert((cluster.clone(), name.clone()), until);
            state.deadlines.set(until, Deadline::Name(cluster.clone(), name));
        } else {
            forget(table, state, &cluster, &name);
        }
    }
}

/// What a task adds to its cluster's zone.
pub(super) fn added(named: Option<&Named>) -> Option<&AddedNames> {
    named.and_then(|(_, names)| names.added.as_ref())
}

/// Adds a task to what zones beside its cluster's own show of it, or takes it back; where its addresses lead back to.
fn change_further(names: &mut ClusterNames, config: &Config, view: &Arc<TaskView>, add: bool) -> Vec<(IpAddr, u64)> {
    names.address_names.change(view, &config.dns.reverse, add);
    if config.dns.dcos.source.is_some() {
        names.vips.change(view, add);
    }
    names.pointers(view, &config.dns.reverse)
}

/// Replaces the names that exist for those that one task has alone. Most changes leave them as they are.
fn swap_parents(names: &mut ClusterNames, old: &BTreeSet<String>, new: &BTreeSet<String>) {
    for parent in new.difference(old) {
        names.parents.add(parent);
        names.parents.add_ancestors(parent);
    }
    for parent in old.difference(new) {
        names.parents.remove(parent);
        names.parents.remove_ancestors(parent);
    }
}

/// Files a task under its own names where those had to be cut, so that its group is not found by them.
fn own_names(names: &mut ClusterNames, member: &Member, own: &[Arc<str>], add: bool) {
    for name in own {
        let mut members = names.cut.get(name).map(|group| group.members.clone()).unwrap_or_default();
        if add {
            members.insert(member.clone());
        } else {
            members.remove(&(member.hash(), member.view.facts.key.clone()));
        }
        match members.is_empty() {
            true => drop(names.cut.remove(name)),
            false => drop(names.cut.insert(name.clone(), TaskGroup::new(members))),
        }
    }
}

/// Forgets a name whose retention is over.
pub(super) fn forget(table: &mut Table, state: &ClusterState, cluster: &ClusterName, name: &Arc<str>) {
    if state.ledger.names.contains_key(&(cluster.clone(), name.clone())) {
        return;
    }
    with_cluster(table, cluster, |names| {
        if names.groups.get(name).is_some_and(|group| group.members.is_empty()) {
            names.groups.remove(name);
            name_parents(names, name, false);
        }
    });
}

fn with_cluster(table: &mut Table, cluster: &ClusterName, change: impl FnOnce(&mut ClusterNames)) {
    for zone in &mut table.names.zones {
        zone.changed |= matches!(&zone.content, Content::Dcos(of, kind) if of == cluster && kind.is_clusters());
    }
    for zone in &mut table.names.zones {
        if let Content::Cluster(names) = &mut zone.content
            && names.cluster == *cluster
        {
            zone.changed = true;
            change(names);
            return;
        }
    }
}

fn join(names: &mut ClusterNames, name: &Arc<str>, member: &Member) {
    let known = names.groups.get(name);
    let fresh = known.is_none();
    let mut members = known.map(|group| group.members.clone()).unwrap_or_default();
    members.insert(member.clone());
    names.groups.insert(name.clone(), TaskGroup::new(members));
    if fresh {
        name_parents(names, name, true);
    }
}

/// Takes a task out of a group; tells whether the group is empty now.
fn leave(names: &mut ClusterNames, name: &Arc<str>, hash: u32, view: &TaskView) -> bool {
    let Some(group) = names.groups.get(name) else { return false };
    let mut members = group.members.clone();
    members.remove(&(hash, view.facts.key.clone()));
    let empty = members.is_empty();
    names.groups.insert(name.clone(), TaskGroup::new(members));
    empty
}

fn retain(names: &mut ClusterNames, name: &Arc<str>) {
    if !names.groups.contains_key(name) {
        names.groups.insert(name.clone(), TaskGroup::default());
        name_parents(names, name, true);
    }
}

fn name_parents(names: &mut ClusterNames, name: &str, add: bool) {
    if let Some((label, rest)) = name.split_once('.') {
        let short = service_label(label);
        if short != label {
            let key: Arc<str> = format!("{short}.{rest}").into();
            match add {
                true => drop(names.shortened.insert(key, name.into())),
                false => drop(names.shortened.remove(&key)),
            }
        }
    }
    let on_agents = format!("{name}.slave");
    for owner in [name, &on_agents] {
        if add {
            names.parents.add_ancestors(owner);
        } else {
            names.parents.remove_ancestors(owner);
        }
    }
}

fn agent_addresses(state: &ClusterState, cluster: &ClusterName) -> Arc<[(IpAddr, u16)]> {
    let agents = state.agents.iter().filter(|((of, _), _)| of == cluster).filter_map(|(_, entry)| entry.first());
    // The port of an agent's own API; 5051 is Mesos' default where the source does not say.
    let addresses = agents.filter_map(|agent| Some((agent.address?, agent.port.unwrap_or(5051))));
    addresses.collect::<BTreeSet<_>>().into_iter().collect()
}

fn framework_addresses(
    state: &ClusterState,
    cluster: &ClusterName,
    rules: &NamingRules,
) -> BTreeMap<Arc<str>, SchedulerAddresses> {
    let mut by_name: BTreeMap<Arc<str>, BTreeSet<(IpAddr, Option<u16>)>> = BTreeMap::new();
    for (_, entry) in state.frameworks.iter().filter(|((of, _), _)| of == cluster) {
        let Some(framework) = entry.first() else { continue };
        let addresses = addresses_of(state, framework);
        if addresses.is_empty() && !rules.hold {
            continue;
        }
        for part in rules.framework_parts(&framework.name) {
            by_name.entry(part).or_default().extend(addresses.iter().map(|address| (*address, framework.port)));
        }
    }
    by_name.into_iter().map(|(name, addresses)| (name, addresses.into_iter().collect())).collect()
}

/// What is wrong with the names of frameworks and agents, by subject: the scheduler's address is not known, so that its name
/// has none; a name leaves no room for what stands around it; or frameworks share one.
pub(super) fn framework_problems(state: &ClusterState, cluster: &ClusterName) -> BTreeMap<Arc<str>, Vec<Problem>> {
    let Some(mesos) = state.config.mesos.iter().find(|mesos| mesos.cluster == *cluster) else {
        return BTreeMap::new();
    };
    let rules = NamingRules::new(&state.config.dns, &mesos.zone);
    let mut found: BTreeMap<Arc<str>, Vec<Problem>> = BTreeMap::new();
    let sharing = frameworks_by_part(state, cluster, &rules);
    for (_, entry) in state.frameworks.iter().filter(|((of, _), _)| of == cluster) {
        let Some(framework) = entry.first() else { continue };
        let part = rules.framework(&framework.name);
        let all = sharing.get(&part).filter(|_| framework.connected);
        let conflict = all.and_then(|all| conflict_problem(framework, &part, all));
        let is_unaddressed = framework.connected && addresses_of(state, framework).is_empty();
        let unaddressed = is_unaddressed.then(|| unaddressed_problem(framework));
        let has_dcos = state.config.dns.dcos.source.as_deref() == Some(mesos.name.as_str());
        let long_label = has_dcos.then(|| long_label_problem(framework, &part)).flatten();
        let long = long_name_problem(framework, &rules).into_iter().chain(long_label);
        let problems: Vec<Problem> = unaddressed.into_iter().chain(long).chain(conflict).collect();
        if let Some(first) = problems.first() {
            found.insert(first.subject.clone(), problems);
        }
    }
    if state.config.dns.extra_names.contains(&ExtraName::Agents) {
        let agents = state.agents.iter().filter(|((of, _), _)| of == cluster).filter_map(|(_, entry)| entry.first());
        found.extend(agents.filter_map(|agent| agent_problem(agent, &mesos.zone)));
    }
    found
}

/// The frameworks that are there, by the part of names that several of them make of what they are called. One whose scheduler
/// is away has often registered anew by the same name, and is no conflict.
fn frameworks_by_part<'s>(
    state: &'s ClusterState,
    cluster: &ClusterName,
    rules: &NamingRules,
) -> BTreeMap<String, Vec<&'s FrameworkFacts>> {
    let ours = state.frameworks.iter().filter(|((of, _), _)| of == cluster).filter_map(|(_, entry)| entry.first());
    let mut by_part: BTreeMap<String, Vec<&FrameworkFacts>> = BTreeMap::new();
    for framework in ours.filter(|framework| framework.connected) {
        by_part.entry(rules.framework(&framework.name)).or_default().push(framework);
    }
    by_part.retain(|part, all| !part.is_empty() && all.len() > 1);
    by_part
}

fn problem_of(framework: &FrameworkFacts, code: ProblemCode, message: String, mend: String) -> Problem {
    Problem {
        code,
        subject: format!("{}/{}", framework.cluster, framework.id).into(),
        at: framework.name.clone(),
        message: message.into(),
        mend: mend.into(),
    }
}

/// A framework whose part of names others make, too: `sharing` are all that do.
fn conflict_problem(framework: &FrameworkFacts, part: &str, sharing: &[&FrameworkFacts]) -> Option<Problem> {
    let mut others: Vec<String> =
        sharing.iter().filter(|one| one.id != framework.id).map(|one| one.id.to_string()).collect();
    others.sort_unstable();
    let first = others.first()?;
    let more = match others.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message =
        format!("framework {first}{more} makes the same name: below {part}, names stand for the tasks of all");
    let mend = "give the frameworks different names, or ask for their tasks by id".into();
    Some(problem_of(framework, ProblemCode::NameConflict, message, mend))
}

/// An agent that is not named as it calls itself, by its subject.
fn agent_problem(agent: &AgentFacts, zone: &str) -> Option<(Arc<str>, Vec<Problem>)> {
    let message = ill_named(agent, zone)?;
    let subject: Arc<str> = format!("{}/{}", agent.cluster, agent.id).into();
    let problem = Problem {
        code: ProblemCode::InvalidName,
        subject: subject.clone(),
        at: agent.hostname.clone(),
        message: message.into(),
        mend: "give the agent a shorter host name (`--hostname`), or look it up by what is said".into(),
    };
    Some((subject, vec![problem]))
}

/// A framework whose part is shortened in names that would be too long with it.
fn long_name_problem(framework: &FrameworkFacts, rules: &NamingRules) -> Option<Problem> {
    let parts = rules.framework_parts(&framework.name);
    let [short, whole] = parts.as_slice() else { return None };
    let message = format!(
        "names with the {} octets of {whole} in them would be longer than 255: there it is shortened to {short}",
        whole.len()
    );
    let mend = format!("give the framework a name of at most {} octets", rules.room());
    Some(problem_of(framework, ProblemCode::InvalidName, message, mend))
}

/// A framework whose part has no room in one label, as which the zones of DC/OS have it.
fn long_label_problem(framework: &FrameworkFacts, part: &str) -> Option<Problem> {
    // Its dots become hyphens: one octet each.
    if part.len() <= LABEL {
        return None;
    }
    let label = NamingRules::dcos_label(part);
    let message = format!(
        "in the zones of DC/OS it is one label, and longer than a label's {LABEL} octets: there it is shortened to {label}"
    );
    let mend = format!("give the framework a name of at most {LABEL} octets");
    Some(problem_of(framework, ProblemCode::InvalidName, message, mend))
}

fn unaddressed_problem(framework: &FrameworkFacts) -> Problem {
    let (name, host) = (&framework.name, &framework.hostname);
    let mend = "let the scheduler register with an address as its hostname (Marathon: --hostname), or with a name that is known here";
    let message = format!(
        "the name of framework {name} has no address: {host:?} is no address and no agent's host, and the system's \
         resolver does not know it"
    );
    Problem { at: host.clone(), ..problem_of(framework, ProblemCode::FrameworkAddressUnknown, message, mend.into()) }
}

fn framework_names(state: &ClusterState, cluster: &ClusterName) -> Arc<[(FrameworkId, Arc<str>)]> {
    let ours = state.frameworks.iter().filter(|((of, _), _)| of == cluster).filter_map(|(_, entry)| entry.first());
    let mut names: Vec<_> = ours.map(|framework| (framework.id.clone(), framework.name.clone())).collect();
    names.sort();
    names.into()
}

/// Framework's parts that have dots, with what they are as one label.
fn dotted_frameworks(names: &[(FrameworkId, Arc<str>)], rules: &NamingRules) -> Arc<[(Arc<str>, Arc<str>)]> {
    let parts = names.iter().flat_map(|(_, name)| rules.framework_parts(name)).filter(|part| part.contains('.'));
    let dotted: BTreeSet<(Arc<str>, Arc<str>)> =
        parts.map(|part| (NamingRules::dcos_label(&part).into(), part)).collect();
    dotted.into_iter().collect()
}

/// A framework's addresses: what its source knows, else its host's: that of the agent of this host name, else what was found
/// for it.
fn addresses_of(state: &ClusterState, framework: &FrameworkFacts) -> SmallVec<[IpAddr; 1]> {
    if let Some(address) = known_address(state, framework) {
        return smallvec![address];
    }
    state.hosts.get(&framework.hostname).into_iter().flat_map(|found| found.iter().copied()).collect()
}

fn known_address(state: &ClusterState, framework: &FrameworkFacts) -> Option<IpAddr> {
    if framework.address.is_some() {
        return framework.address;
    }
    let agents = state.agents.iter().filter(|((of, _), _)| *of == framework.cluster);
    agents.filter_map(|(_, entry)| entry.first()).find(|agent| agent.hostname == framework.hostname)?.address
}

/// Hosts of frameworks of which nothing else is known: what could be a host's name is looked up.
fn wanted_hosts(state: &ClusterState, cluster: &ClusterName) -> Arc<[Arc<str>]> {
    let ours = state.frameworks.iter().filter(|((of, _), _)| of == cluster).filter_map(|(_, entry)| entry.first());
    let unknown = ours.filter(|framework| known_address(state, framework).is_none());
    let hosts: BTreeSet<Arc<str>> = unknown.map(|framework| framework.hostname.clone()).collect();
    hosts.into_iter().filter(|host| is_host(host)).collect()
}

fn is_host(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| (1..=LABEL).contains(&label.len()) && label.bytes().all(is_plain);
    name.len() <= NAME && name.strip_suffix('.').unwrap_or(name).split('.').all(is_label)
}
