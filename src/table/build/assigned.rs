//! Ports of the proxy for apps that have none: which of a configured range each port of an app gets.
//!
//! Marathon before 1.5 knows no service ports of apps whose tasks have addresses of their own; marathon-lb assigns them: a
//! hash of the app's id and the container's port chooses, and who finds a port taken tries another one. It is so here, with the
//! same hash. Invariants:
//! - what is assigned follows from which apps there are, and from nothing that was: every instance that sees the same apps
//!   assigns the same, after a restart too. So a port that two apps would have may change hands when one of them comes or
//!   goes;
//! - apps take their turns by their ids. marathon-lb goes through Marathon's list, whose order is nobody's promise;
//! - ports that Marathon itself gave to an app are passed over, which marathon-lb leaves to whoever chooses the range;
//! - an app has its ports whether or not it has tasks, and whether or not it is served: groups are no matter of ports.
//!
//! Not here: who may have a port ([`super::ways`]), and who holds it where somebody else asks for it ([`super::claims`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha1::{Digest, Sha1};

use crate::cluster::event::DeclaredApp;
use crate::labels::ports::ports;
use crate::model::app;
use crate::model::id::{ClusterName, FrameworkId, TaskKey};
use crate::model::task::{NetworkMode, PortRange};

/// How many hashes are tried, as marathon-lb tries them; then the first port that is free is taken.
const TRIES: u32 = 50;

/// The label by which both colours of a deploy are one app, as marathon-lb has it.
const GROUP: &str = "HAPROXY_DEPLOYMENT_GROUP";

/// What is assigned to whom.
#[derive(Debug, Default)]
pub(super) struct Assigned {
    /// None: nothing is assigned.
    range: Option<PortRange>,
    /// Apps that ask, or have a port of the range from Marathon.
    apps: BTreeMap<TaskKey, App>,
    given: BTreeMap<Asker, u16>,
    /// Who asks, or what is passed over, has changed.
    is_stale: bool,
}

/// Who asks for a port, in the order in which they are served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asker {
    /// The app's id, or its deployment group's.
    id: Arc<str>,
    /// The container's port.
    port: u16,
    /// Whose app it is: several Marathons may have one of the same id.
    cluster: ClusterName,
    framework: FrameworkId,
}

/// What an app asks for, and what it has from Marathon.
#[derive(Debug, PartialEq, Eq)]
struct App {
    /// By the index of its ports.
    asks: Box<[Option<Asker>]>,
    /// Its service ports that lie in the range.
    own: Box<[u16]>,
}

impl Assigned {
    /// Nothing is assigned yet; all will be of this range.
    pub(super) fn of(range: Option<PortRange>) -> Self {
        Self { range, ..Self::default() }
    }

    /// Takes over what there is of an app; `None`: it is gone.
    pub(super) fn note(&mut self, key: &TaskKey, app: Option<&DeclaredApp>) {
        let Some(range) = self.range else { return };
        let next = app.and_then(|app| App::of(app, range));
        if self.apps.get(key) == next.as_ref() {
            return;
        }
        self.is_stale = true;
        match next {
            Some(next) => drop(self.apps.insert(key.clone(), next)),
            None => drop(self.apps.remove(key)),
        }
    }

    /// Assigns anew where something has changed; the apps that have other ports than before.
    pub(super) fn settle(&mut self) -> Vec<TaskKey> {
        let Some(range) = self.range.filter(|_| self.is_stale) else { return Vec::new() };
        self.is_stale = false;
        let askers: BTreeSet<&Asker> = self.apps.values().flat_map(|app| app.asks.iter().flatten()).collect();
        let taken = self.apps.values().flat_map(|app| app.own.iter().copied()).collect();
        let next = assign(range, askers, taken);
        let former = std::mem::replace(&mut self.given, next);
        let has_moved = |asker: &Asker| former.get(asker) != self.given.get(asker);
        let moved = self.apps.iter().filter(|(_, app)| app.asks.iter().flatten().any(has_moved));
        moved.map(|(key, _)| key.clone()).collect()
    }

    /// The port that an app's port has. None where it asks for none, or none is left.
    pub(super) fn port(&self, key: &TaskKey, index: usize) -> Option<u16> {
        self.given.get(self.apps.get(key)?.asks.get(index)?.as_ref()?).copied()
    }
}

impl App {
    fn of(app: &DeclaredApp, range: PortRange) -> Option<Self> {
        let definition = &app.definition;
        let facts = definition.app.as_deref()?;
        let own = facts.service_ports.iter().copied().filter(|port| range.contains(*port)).collect();
        let mut asks = Box::default();
        if definition.network == NetworkMode::Container && facts.service_ports.contains(&0) {
            let id = id(app, &facts.id);
            let asker = |port| Asker {
                id: id.clone(),
                port,
                cluster: app.key.cluster().clone(),
                framework: app.key.framework().clone(),
            };
            let has_none = |index: usize| facts.service_ports.get(index) == Some(&0);
            asks = ports(definition)
                .iter()
                .map(|port| port.container.filter(|_| has_none(port.index)).map(asker))
                .collect();
        }
        let app = Self { asks, own };
        let matters = !app.own.is_empty() || app.asks.iter().any(Option::is_some);
        matters.then_some(app)
    }
}

/// The id that an app asks by.
fn id(app: &DeclaredApp, own: &Arc<str>) -> Arc<str> {
    let group = app.definition.labels.iter().find(|label| &*label.key == GROUP);
    group.and_then(|label| app::id_of(&label.value)).unwrap_or_else(|| own.clone())
}

/// Each asker's port; those for whom none is left have none.
fn assign(range: PortRange, askers: BTreeSet<&Asker>, mut taken: BTreeSet<u16>) -> BTreeMap<Asker, u16> {
    let mut given = BTreeMap::new();
    for asker in askers {
        if taken.len() > usize::from(range.end - range.begin) {
            break;
        }
        let tried = (0..TRIES).map(|attempt| trial(asker, attempt, range)).find(|port| !taken.contains(port));
        if let Some(port) = tried.or_else(|| range.iter().find(|port| !taken.contains(port))) {
            taken.insert(port);
            given.insert(asker.clone(), port);
        }
    }
    given
}

/// The port that an asker tries at an attempt: the first 32 bits of a SHA-1 choose it.
fn trial(asker: &Asker, attempt: u32, range: PortRange) -> u16 {
    let digest = Sha1::digest(format!("{}-{}-{attempt}", asker.id, asker.port).as_bytes());
    let first = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    let size = u32::from(range.end - range.begin) + 1;
    range.begin + u16::try_from(first % size).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::{AppFacts, Discovery, DiscoveryPort, Label, PortScope, TaskDefinition};

    const RANGE: PortRange = PortRange { begin: 10_050, end: 10_100 };

    fn app(id: &str, ports: &[u16], service_ports: &[u16], group: Option<&str>) -> DeclaredApp {
        let port = |number: &u16| DiscoveryPort {
            number: *number,
            name: "".into(),
            protocol: "tcp".into(),
            scope: PortScope::Container,
            labels: Box::new([]),
        };
        let facts = AppFacts { id: id.into(), service_ports: service_ports.into(), ..AppFacts::default() };
        let label = group.map(|group| Label { key: GROUP.into(), value: group.into() });
        let definition = TaskDefinition {
            labels: label.into_iter().collect(),
            discovery: Some(Discovery { name: "".into(), ports: ports.iter().map(port).collect() }),
            network: NetworkMode::Container,
            app: Some(Arc::new(facts)),
            ..TaskDefinition::default()
        };
        DeclaredApp { key: key(id), definition: Arc::new(definition) }
    }

    fn key(id: &str) -> TaskKey {
        TaskKey::new("c".into(), "f".into(), id)
    }

    /// What is assigned to these apps, noted in this order.
    fn assigned(range: PortRange, apps: &[DeclaredApp]) -> Assigned {
        let mut assigned = Assigned::of(Some(range));
        apps.iter().for_each(|app| assigned.note(&app.key, Some(app)));
        assigned.settle();
        assigned
    }

    #[test]
    fn the_hash_is_the_one_of_marathon_lb() {
        // The SHA-1 of `/web-80-0` begins with 7716ff21, of `/web-443-0` with 15732485, of `/team/db-5432-0` with 00b4906b.
        let assigned = assigned(RANGE, &[app("/web", &[80, 443], &[0, 0], None), app("/team/db", &[5432], &[0], None)]);
        let ports = [("/web", 0), ("/web", 1), ("/team/db", 0)].map(|(id, index)| assigned.port(&key(id), index));
        assert_eq!(ports, [Some(10_071), Some(10_100), Some(10_073)]);
        assert_eq!((assigned.port(&key("/web"), 2), assigned.port(&key("/other"), 0)), (None, None));
    }

    #[test]
    fn what_is_assigned_does_not_depend_on_what_was() {
        // Twelve apps for thirteen ports: most find the one they try first taken.
        let range = PortRange { begin: 10_000, end: 10_012 };
        let apps: Vec<_> = (0..12).map(|number| app(&format!("/app-{number}"), &[80], &[0], None)).collect();
        let all = assigned(range, &apps).given;
        assert_eq!(all.values().collect::<BTreeSet<_>>().len(), 12, "each has its own");
        let mut turned = apps.clone();
        turned.reverse();
        assert_eq!(assigned(range, &turned).given, all);
        // One by one, with one that comes and goes between.
        let mut one_by_one = Assigned::of(Some(range));
        let guest = app("/a-guest", &[80], &[0], None);
        for app in turned.iter().chain([&guest]) {
            one_by_one.note(&app.key, Some(app));
            one_by_one.settle();
        }
        let ninth = |assigned: &Assigned| assigned.port(&key("/app-9"), 0);
        assert_ne!(ninth(&one_by_one), ninth(&assigned(range, &apps)), "the guest's id goes before it");
        one_by_one.note(&guest.key, None);
        let moved = one_by_one.settle();
        assert_eq!(one_by_one.given, all);
        // Who had to give way to it has its port back, and nobody else is moved.
        assert_eq!(moved, [key("/app-9")]);
        assert!(one_by_one.settle().is_empty());
    }

    #[test]
    fn ports_of_marathons_own_are_passed_over() {
        let web = app("/web", &[80], &[0], None);
        let first = assigned(RANGE, std::slice::from_ref(&web)).port(&key("/web"), 0).unwrap();
        let other = app("/other", &[80], &[first], None);
        let next = assigned(RANGE, &[web, other]).port(&key("/web"), 0).unwrap();
        assert!(next != first && RANGE.contains(next), "{next}");
    }

    #[test]
    fn who_finds_no_port_left_has_none() {
        let two = PortRange { begin: 10_000, end: 10_001 };
        let apps = ["/c", "/a", "/b"].map(|id| app(id, &[80], &[0], None));
        let mut assigned = assigned(two, &apps);
        let has = |assigned: &Assigned| ["/a", "/b", "/c"].map(|id| assigned.port(&key(id), 0).is_some());
        assert_eq!(has(&assigned), [true, true, false]);
        assigned.note(&key("/a"), None);
        assert!(assigned.settle().contains(&key("/c")));
        assert_eq!(has(&assigned), [false, true, true]);
    }

    #[test]
    fn both_colours_of_a_deploy_have_one_port() {
        let apps = ["/shop-blue", "/shop-green"].map(|id| app(id, &[80], &[0], Some("shop")));
        let both = assigned(RANGE, &apps);
        let alone = assigned(RANGE, &[app("/shop", &[80], &[0], None)]).port(&key("/shop"), 0);
        assert!(alone.is_some());
        assert_eq!([alone; 2], ["/shop-blue", "/shop-green"].map(|id| both.port(&key(id), 0)));
    }

    #[test]
    fn apps_of_two_marathons_with_one_id_have_two_ports() {
        let here = app("/web", &[80], &[0], None);
        let there = DeclaredApp { key: TaskKey::new("c".into(), "g".into(), "/web"), ..here.clone() };
        let both = assigned(RANGE, &[there.clone(), here.clone()]);
        let ports = [&here, &there].map(|app| both.port(&app.key, 0));
        assert!(ports[0].is_some() && ports[1].is_some() && ports[0] != ports[1], "{ports:?}");
    }

    #[test]
    fn only_who_has_none_and_has_an_address_of_its_own_asks() {
        let mixed = app("/mixed", &[80, 81], &[10_500, 0], None);
        let pod = app("/pod", &[80], &[], None);
        let mut host = app("/host", &[80], &[0], None);
        let definition = TaskDefinition { network: NetworkMode::Host, ..(*host.definition).clone() };
        host.definition = Arc::new(definition);
        let assigned = assigned(RANGE, &[mixed, pod, host]);
        let ports = [("/mixed", 0), ("/mixed", 1), ("/pod", 0), ("/host", 0)];
        let has = ports.map(|(id, index)| assigned.port(&key(id), index).is_some());
        assert_eq!(has, [false, true, false, false]);
        // Without a range nobody has one.
        let mut off = Assigned::of(None);
        let web = app("/web", &[80], &[0], None);
        off.note(&web.key, Some(&web));
        assert!(off.settle().is_empty() && off.port(&web.key, 0).is_none());
    }
}
