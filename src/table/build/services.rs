//! Services and their endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::task::{DeclaredPort, Derivation, EndpointDraft};
use super::{digest, framework_name};
use crate::cluster::state::ClusterState;
use crate::config::Config;
use crate::config::checked::RoutingConfig;
use crate::model::balance::Algorithm;
use crate::model::deployment::{self, Colour, Deployment};
use crate::model::endpoint::{Endpoint, EndpointId, EndpointState, Weight};
use crate::model::id::{ServiceId, TaskKey, Version};
use crate::model::persistent::PersistentMap;
use crate::model::ring::Ring;
use crate::model::rules::Rules;
use crate::model::service::{Protocol, Service, Share};
use crate::model::sorted::SortedList;
use crate::model::time::Timestamp;
use crate::model::weights::WeightOrder;
use crate::table::Table;
use crate::table::task::TaskView;

/// What is kept of services beside the table.
#[derive(Debug, Default)]
pub struct Services {
    /// Services of the table before a rebuild, for the run-time state of their endpoints.
    former: PersistentMap<ServiceId, Arc<Service>>,
}

impl Services {
    /// Before a rebuild: endpoints of `former` keep their run-time state.
    pub fn recalling(former: PersistentMap<ServiceId, Arc<Service>>) -> Self {
        Self { former }
    }

    /// After a rebuild.
    pub fn forget_former(&mut self) {
        self.former = PersistentMap::new();
    }

    /// Whether the service has an endpoint.
    pub fn has_endpoints(&self, table: &Table, id: &ServiceId) -> bool {
        table.services.get(id).is_some_and(|service| !service.endpoints.is_empty())
    }

    /// Lets a derivation use the copies of ids and versions that its services have already.
    pub fn share(&self, table: &Table, derived: &mut Derivation) {
        if derived.endpoints.is_empty() {
            return;
        }
        let view = Arc::make_mut(&mut derived.view);
        for (draft, place) in derived.endpoints.iter_mut().zip(&mut view.services) {
            let Some(known) = table.services.get(&draft.service) else { continue };
            draft.service = known.id.clone();
            place.0 = known.id.clone();
            if let Some(endpoint) = known.endpoints.at(0).filter(|endpoint| endpoint.version == view.version) {
                view.version = endpoint.version.clone();
            }
        }
    }

    /// Adds or replaces an endpoint.
    pub fn set(&self, table: &mut Table, draft: &EndpointDraft, view: &TaskView, config: &Config, now: Timestamp) {
        let known = table.services.get(&draft.service);
        let former = known.and_then(|service| service.endpoint(&draft.id)).cloned();
        let recalled = || self.former.get(&draft.service)?.endpoint(&draft.id).cloned();
        let relative = former.clone().or_else(recalled);
        // One copy of the id serves all endpoints of the service.
        let id = known.map_or_else(|| draft.service.clone(), |service| service.id.clone());
        let endpoint = Arc::new(make(draft, id.clone(), view, relative.as_deref(), now));
        if former.as_deref() == Some(&*endpoint) {
            return;
        }
        let mut service = known.map_or_else(|| empty(id.clone(), view), |service| (**service).clone());
        add_digest(table, former.as_deref(), Some(&endpoint));
        if endpoint.sticky {
            service.sticky.insert(Arc::new((&endpoint.id).into()));
        } else if former.as_ref().is_some_and(|former| former.sticky) {
            service.sticky.remove(&endpoint.id.fingerprint());
        }
        service.endpoints.insert(endpoint.clone());
        service.empty_since = None;
        make_available(&mut service, &endpoint, &config.routing);
        if tells_shares(&mut service, former.as_deref(), Some(&endpoint)) {
            service.shares = shares(&service, table.weights.get(&service.id));
        }
        service.protocol = protocol(&service);
        set_rules(table, &mut service, former.as_deref().map(|former| &former.rules), Some(&endpoint.rules));
        table.services.insert(id, Arc::new(service));
    }

    /// Removes an endpoint.
    pub fn remove(&self, table: &mut Table, id: &ServiceId, endpoint: &EndpointId, config: &Config) {
        let Some(service) = table.services.get(id) else { return };
        let mut service = (**service).clone();
        let Some(removed) = service.endpoints.remove(endpoint) else { return };
        add_digest(table, Some(&removed), None);
        if removed.sticky {
            service.sticky.remove(&endpoint.fingerprint());
        }
        make_unavailable(&mut service, &removed, &config.routing);
        if tells_shares(&mut service, Some(&removed), None) {
            service.shares = shares(&service, table.weights.get(id));
        }
        service.protocol = protocol(&service);
        set_rules(table, &mut service, Some(&removed.rules), None);
        table.services.insert(id.clone(), Arc::new(service));
    }

    /// Brings a service to rest: forgets it, shows it as retained, or as declared.
    pub fn settle(&self, table: &mut Table, state: &ClusterState, id: &ServiceId, lives: bool) {
        let record = state.ledger.services.get(id);
        let empty_since = if lives { None } else { record.and_then(|record| record.empty_since) };
        if !lives && empty_since.is_none() {
            table.services.remove(id);
            return;
        }
        match table.services.get(id) {
            Some(service) if service.empty_since == empty_since => {}
            Some(service) => {
                let service = Service { empty_since, ..(**service).clone() };
                table.services.insert(id.clone(), Arc::new(service));
            }
            None => {
                let framework = state.framework(id.cluster(), &id.namespace().into());
                let service = Service {
                    id: id.clone(),
                    framework: framework.map_or_else(|| id.namespace().into(), |f| f.name.clone()),
                    protocol: record.map(|record| record.protocol).unwrap_or_default(),
                    endpoints: SortedList::default(),
                    available: SortedList::default(),
                    sticky: SortedList::default(),
                    ring: None,
                    panic: false,
                    rules: record.and_then(|record| record.rules.clone()),
                    mixed_rules: false,
                    shares: None,
                    said_shares: 0,
                    empty_since,
                };
                table.ways.version += u64::from(service.rules.is_some());
                table.services.insert(id.clone(), Arc::new(service));
            }
        }
    }

    /// A service without endpoints that lives by an app is as the app says: what its last task said may be of old. The
    /// app may have been there before its framework's name was known.
    pub fn declare(&self, table: &mut Table, state: &ClusterState, app: &DeclaredPort) {
        let Some(service) = table.services.get(&app.service) else { return };
        let mut next = (**service).clone();
        if let Some(framework) = state.framework(app.service.cluster(), &app.service.namespace().into()) {
            next.framework = framework.name.clone();
        }
        if next.endpoints.is_empty() {
            next.protocol = app.protocol;
            next.rules.clone_from(&app.rules);
            next.mixed_rules = false;
        }
        let same_way = next.protocol == service.protocol && next.rules == service.rules;
        if same_way && next.framework == service.framework {
            return;
        }
        table.ways.version += u64::from(!same_way);
        table.services.insert(app.service.clone(), Arc::new(next));
    }

    /// Brings the versions' shares of a service up to date where an operator orders them, or did.
    pub fn split(&self, table: &mut Table, id: &ServiceId) {
        let Some(service) = table.services.get(id) else { return };
        let order = table.weights.get(id);
        if order.is_none() && service.shares.is_none() {
            return;
        }
        let shares = shares(service, order);
        if service.shares != shares {
            let service = Service { shares, ..(**service).clone() };
            table.services.insert(id.clone(), Arc::new(service));
        }
    }

    /// Makes the ring of a service whose endpoints changed, if its requests are spread by hashing. Here, not where a
    /// request would need it: it takes a millisecond or two.
    pub fn turn_ring(&self, table: &mut Table, id: &ServiceId, config: &Config) {
        let Some(service) = table.services.get(id) else { return };
        let hashes = matches!(service.algorithm(&config.proxy.balance.algorithm), Algorithm::Hash(_));
        let ring = if hashes { Ring::of(&service.available) } else { None };
        if service.ring.as_deref() != ring.as_ref() {
            let service = Service { ring: ring.map(Arc::new), ..(**service).clone() };
            table.services.insert(id.clone(), Arc::new(service));
        }
    }
}

fn protocol(service: &Service) -> Protocol {
    service.endpoints.at(0).map_or(service.protocol, |endpoint| endpoint.protocol)
}

/// Counts what an endpoint as it was and as it is now says of shares; whether the service's may be other ones. Where any of
/// its endpoints says something, who may be chosen decides too, and that may be one that says nothing.
fn tells_shares(service: &mut Service, left: Option<&Endpoint>, came: Option<&Endpoint>) -> bool {
    let says = |endpoint: &Endpoint| endpoint.version_weight.is_some() || endpoint.deployment.is_some();
    let (left, came) = (left.is_some_and(says), came.is_some_and(says));
    service.said_shares = (service.said_shares + u32::from(came)).saturating_sub(u32::from(left));
    service.said_shares > 0 || left || service.shares.is_some()
}

/// The shares of a service's versions that may be chosen now: as an operator ordered, else as tasks say.
fn shares(service: &Service, order: Option<&WeightOrder>) -> Option<Arc<[Share]>> {
    let mut said: BTreeMap<&Version, Option<u32>> = BTreeMap::new();
    for endpoint in service.endpoints.iter() {
        let known = said.entry(&endpoint.version).or_default();
        *known = known.or(endpoint.version_weight.map(|weight| u32::from(weight.0)));
    }
    if order.is_none() && said.values().all(Option::is_none) {
        return deploy_shares(service);
    }
    let ordered = |order: &WeightOrder, version: &Version| {
        order.versions.iter().find(|(known, _)| known == version).map_or(0, |(_, share)| *share)
    };
    let serving: BTreeSet<&Version> = service.available.iter().map(|endpoint| &endpoint.version).collect();
    let share = |(version, said): (&Version, Option<u32>)| Share {
        version: version.clone(),
        weight: order.map_or(said.unwrap_or(u32::from(Weight::default().0)), |order| ordered(order, version)),
    };
    let all = said.into_iter().filter(|(version, _)| serving.contains(version)).map(share);
    Some(all.filter(|share| share.weight > 0).collect())
}

/// The shares that follow from the deploy under way, where labels tell of one.
fn deploy_shares(service: &Service) -> Option<Arc<[Share]>> {
    let mut said: BTreeMap<&Version, Option<&Deployment>> = BTreeMap::new();
    for endpoint in service.endpoints.iter() {
        let known = said.entry(&endpoint.version).or_default();
        *known = known.or(endpoint.deployment.as_deref());
    }
    if said.values().all(Option::is_none) {
        return None;
    }
    // A task in both address families is one.
    let mut serving: BTreeMap<&Version, BTreeSet<&TaskKey>> = BTreeMap::new();
    for endpoint in service.available.iter() {
        serving.entry(&endpoint.version).or_default().insert(&endpoint.id.task);
    }
    let colours: Vec<Colour<'_>> = serving
        .iter()
        .map(|(version, tasks)| Colour {
            said: said.get(*version).copied().flatten(),
            serving: u32::try_from(tasks.len()).unwrap_or(u32::MAX),
        })
        .collect();
    let weights = deployment::shares(&colours)?;
    let shares = serving.into_keys().zip(weights).filter(|(_, weight)| *weight > 0);
    Some(shares.map(|(version, weight)| Share { version: version.clone(), weight }).collect())
}

type SharedRules = Option<Arc<Rules>>;

/// Brings a service's rules up to date after an endpoint with these rules left and one with those came. A service
/// without endpoints keeps the last ones.
fn set_rules(table: &mut Table, service: &mut Service, left: Option<&SharedRules>, came: Option<&SharedRules>) {
    // Nearly always all endpoints have the same rules.
    let is_known = |rules: Option<&SharedRules>| rules.is_none_or(|rules| *rules == service.rules);
    let is_first = service.endpoints.len() == 1;
    if service.endpoints.is_empty() || (is_known(left) && is_known(came) && !service.mixed_rules && !is_first) {
        return;
    }
    let first = service.endpoints.at(0).map(|endpoint| endpoint.rules.clone()).unwrap_or_default();
    service.mixed_rules = service.endpoints.iter().any(|endpoint| endpoint.rules != first);
    let rules = Rules::merged(service.endpoints.iter().map(|endpoint| &endpoint.rules));
    if rules != service.rules {
        service.rules = rules;
        table.ways.version += 1;
    }
}

fn empty(id: ServiceId, view: &TaskView) -> Service {
    Service {
        id,
        framework: framework_name(view),
        protocol: Protocol::Http,
        endpoints: SortedList::default(),
        available: SortedList::default(),
        sticky: SortedList::default(),
        ring: None,
        panic: false,
        rules: None,
        mixed_rules: false,
        shares: None,
        said_shares: 0,
        empty_since: None,
    }
}

fn make(
    draft: &EndpointDraft,
    service: ServiceId,
    view: &TaskView,
    former: Option<&Endpoint>,
    now: Timestamp,
) -> Endpoint {
    let same_place = former.filter(|former| former.address == draft.address);
    let ready_since =
        (view.state == EndpointState::Ready).then(|| former.and_then(|former| former.ready_since).unwrap_or(now));
    Endpoint {
        id: draft.id.clone(),
        service,
        address: draft.address,
        protocol: draft.protocol,
        tls: draft.tls.clone(),
        proxy_protocol: draft.proxy_protocol,
        version: view.version.clone(),
        weight: draft.weight,
        version_weight: draft.version_weight,
        deployment: draft.deployment.clone(),
        state: view.state,
        agent: view.facts.agent.clone(),
        ready_since,
        drain_time: draft.drain_time,
        sticky: draft.sticky,
        balance: draft.balance.clone(),
        bounds: draft.bounds.clone(),
        rules: draft.rules.clone(),
        check: draft.check.clone(),
        run: same_place.map(|former| former.run.clone()).unwrap_or_default(),
    }
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.state == EndpointState::Ready && endpoint.weight.0 > 0
}

/// Whether it is served in panic alone.
fn is_reserve(endpoint: &Endpoint) -> bool {
    endpoint.state.serves_in_panic() && endpoint.weight.0 > 0
}

/// Whether it speaks for the service being as it is: in panic one that is not ready, else one that is. One more of those changes
/// nothing about it, one less may.
fn speaks_for(service: &Service, endpoint: &Endpoint) -> bool {
    if service.panic { is_reserve(endpoint) } else { is_ready(endpoint) }
}

/// Puts a changed endpoint where it belongs among those that may be chosen.
fn make_available(service: &mut Service, endpoint: &Arc<Endpoint>, routing: &RoutingConfig) {
    let speaks = speaks_for(service, endpoint);
    if speaks || is_ready(endpoint) {
        service.available.insert(endpoint.clone());
    } else {
        service.available.remove(&endpoint.id);
    }
    if !speaks {
        review_panic(service, routing);
    }
}

/// An endpoint has left that was `removed`.
fn make_unavailable(service: &mut Service, removed: &Endpoint, routing: &RoutingConfig) {
    service.available.remove(&removed.id);
    if speaks_for(service, removed) {
        review_panic(service, routing);
    }
}

/// Begins or ends a panic.
fn review_panic(service: &mut Service, routing: &RoutingConfig) {
    // Nearly always there are endpoints that are ready, and those are enough.
    let is_sure = !service.panic && !service.available.is_empty() && routing.panic_threshold <= 0.0;
    if !is_sure && is_panic(service, routing) != service.panic {
        choose_available(service, routing);
    }
}

/// Whether so few endpoints are ready that those which are merely unhealthy or cut off are served beside them.
fn is_panic(service: &Service, routing: &RoutingConfig) -> bool {
    let reserve = service.endpoints.iter().filter(|endpoint| is_reserve(endpoint)).count();
    if !routing.panic || reserve == 0 {
        return false;
    }
    let ready = service.endpoints.iter().filter(|endpoint| is_ready(endpoint)).count();
    ready == 0 || (ready as f64) < routing.panic_threshold * (ready + reserve) as f64
}

/// Chooses anew who may be chosen: the ready ones, and in panic those that are merely unhealthy or cut off, too.
fn choose_available(service: &mut Service, routing: &RoutingConfig) {
    service.panic = is_panic(service, routing);
    let may_be_chosen = |endpoint: &&Arc<Endpoint>| is_ready(endpoint) || (service.panic && is_reserve(endpoint));
    service.available = service.endpoints.iter().filter(may_be_chosen).cloned().collect();
}

fn add_digest(table: &mut Table, former: Option<&Endpoint>, next: Option<&Endpoint>) {
    table.digest =
        table.digest.wrapping_sub(former.map_or(0, digest::endpoint)).wrapping_add(next.map_or(0, digest::endpoint));
}
