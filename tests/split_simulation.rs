//! Shares of versions and sticky clients in a service whose tasks come, go, fall ill and change places, in one thread, from a
//! seed: the writer's own tables, and the router's own decisions about each request.
//!
//! Checked after every step: whom the cookie keeps stays for as long as that task serves, whatever the shares become; a
//! request that is pinned to a version has it or nobody; nobody is sent to a task that does not serve; nobody is left without
//! an answer while one does; and new clients are spread as labels and orders say. A failing seed is printed and repeats:
//! `POINTSMAN_SEED=N cargo test --test split_simulation`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

#[path = "common/facts.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod facts;
#[path = "simulation_support/seeds.rs"]
mod seeds;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use facts::{agent, config, event, framework, snapshot, status, task};
use http::HeaderMap;
use http::header::{COOKIE, SET_COOKIE};
use pointsman::cluster::event::{ClusterEvent, Command, Fact};
use pointsman::cluster::state::ClusterState;
use pointsman::model::id::ServiceId;
use pointsman::model::refinement::Head;
use pointsman::model::run::Moment;
use pointsman::model::task::TaskState;
use pointsman::model::time::Timestamp;
use pointsman::proxy::balance::WorkerSeat;
use pointsman::proxy::balance::choose::Ask;
use pointsman::proxy::balance::local::ServiceLocal;
use pointsman::proxy::balance::sticky::{self, Session};
use pointsman::proxy::metrics::ProxyMetrics;
use pointsman::proxy::route;
use pointsman::table::Table;
use pointsman::table::writer::Writer;
use seeds::{Story, each_repeats, each_seed};

/// Versions, with the shares that their labels say.
const VERSIONS: [(&str, u32); 3] = [("blue", 70), ("green", 30), ("red", 0)];
const CLIENTS: usize = 60;
const STEPS: usize = 60;
/// Clients without a cookie that are drawn at every step.
const STRANGERS: u32 = 400;
const MAX_TASKS: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well,
    Ill,
    Leaving,
}

struct Task {
    version: &'static str,
    state: State,
}

/// Somebody with a cookie jar.
#[derive(Clone, Default)]
struct Client {
    fields: HeaderMap,
    /// The task that its cookie names.
    at: Option<String>,
}

struct World {
    writer: Writer,
    table: Arc<Table>,
    local: Option<Rc<ServiceLocal>>,
    tasks: BTreeMap<String, Task>,
    order: Option<Vec<(&'static str, u32)>>,
    clients: Vec<Client>,
    launched: u32,
    now: Timestamp,
    random: fastrand::Rng,
    steps: Vec<String>,
}

impl Story for World {
    fn steps(&self) -> &[String] {
        &self.steps
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut config = config();
        // With it, those that are ill serve while nobody is well: another rule than the one that is looked at.
        config.routing.panic = false;
        let now = Timestamp(1_000_000);
        let mut writer = Writer::new(ClusterState::new(Arc::new(config), now), 7, now);
        let agents = (1..=4).map(|number| Fact::Agent(Box::new(agent(number))));
        let facts = agents.chain([Fact::Framework(Box::new(framework("marathon")))]).collect();
        writer.apply([snapshot(1, facts)], now);
        let table = writer.first(now);
        let (random, clients) = (fastrand::Rng::with_seed(seed), vec![Client::default(); CLIENTS]);
        let mut world = Self {
            writer,
            table,
            local: None,
            tasks: BTreeMap::new(),
            order: None,
            clients,
            launched: 0,
            now,
            random,
            steps: Vec::new(),
        };
        world.launch("blue");
        world
    }

    fn apply(&mut self, event: ClusterEvent) {
        self.now = self.now.plus(Duration::from_secs(1));
        if let Some((table, _)) = self.writer.apply([event], self.now).table {
            self.table = table;
        }
    }

    fn service(&self) -> ServiceId {
        self.table.services.keys().next().unwrap().clone()
    }

    fn launch(&mut self, version: &'static str) {
        self.launched += 1;
        let id = format!("{version}-{}", self.launched);
        self.steps.push(format!("{id} runs"));
        let share = VERSIONS.iter().find(|(known, _)| *known == version).unwrap().1.to_string();
        let labels = [
            ("pointsman.service", "shop"),
            ("pointsman.host", "a.test"),
            ("pointsman.route.pinned.host", "a.test"),
            ("pointsman.route.pinned.header", "x-version=green"),
            ("pointsman.route.pinned.split", "green"),
            ("pointsman.sticky", "true"),
            ("pointsman.version", version),
            ("pointsman.version_weight", share.as_str()),
        ];
        let at = u8::try_from(self.launched % 4 + 1).unwrap();
        let port = 10_000 + u16::try_from(self.launched).unwrap();
        let facts = vec![Fact::Task(Box::new(task(&id, &format!("shop-{version}"), at, port, &labels)))];
        self.apply(event(1, facts));
        self.tasks.insert(id, Task { version, state: State::Well });
    }

    fn say(&mut self, id: &str, state: TaskState, health: Option<bool>) {
        self.apply(event(1, vec![Fact::Status(Box::new(status(id, state, health)))]));
    }

    fn weigh(&mut self, order: Option<Vec<(&'static str, u32)>>) {
        self.steps.push(format!("ordered: {order:?}"));
        let versions = order.iter().flatten().map(|(version, share)| ((*version).into(), *share)).collect();
        let (service, actor) = (self.service(), "test".into());
        self.apply(ClusterEvent::Command(Command::Weigh { service, versions, actor }));
        self.order = order;
    }

    /// Something happens.
    fn step(&mut self) {
        let ids: Vec<String> = self.tasks.keys().cloned().collect();
        let picked = self.random.choice(&ids).cloned();
        match (self.random.u8(..10), picked) {
            (0..=2, _) if ids.len() < MAX_TASKS => {
                let version = VERSIONS[self.random.usize(..VERSIONS.len())].0;
                self.launch(version);
            }
            (3, _) => {
                let named = VERSIONS.iter().filter(|_| self.random.u8(..3) > 0).map(|(version, _)| *version);
                let named: Vec<_> = named.collect();
                let order: Vec<_> = named.into_iter().map(|version| (version, self.random.u32(..4) * 25)).collect();
                self.weigh(Some(order).filter(|order| !order.is_empty()));
            }
            (4, _) => self.weigh(None),
            (_, Some(id)) => self.change(&id),
            (_, None) => self.launch("green"),
        }
    }

    fn change(&mut self, id: &str) {
        let former = self.tasks[id].state;
        let next = match (former, self.random.u8(..4)) {
            (State::Leaving, _) | (_, 0) => None,
            (State::Well, 1) => Some(State::Leaving),
            (State::Well, _) => Some(State::Ill),
            (State::Ill, _) => Some(State::Well),
        };
        self.steps.push(format!("{id}: {former:?} → {next:?}"));
        match next {
            None => self.say(id, TaskState::Ended, None),
            Some(State::Leaving) => self.say(id, TaskState::Killing, None),
            Some(State::Ill) => self.say(id, TaskState::Running, Some(false)),
            Some(State::Well) => self.say(id, TaskState::Running, Some(true)),
        }
        match next {
            None => drop(self.tasks.remove(id)),
            Some(next) => self.tasks.get_mut(id).unwrap().state = next,
        }
    }

    fn is_well(&self, id: &str) -> bool {
        self.tasks.get(id).is_some_and(|task| task.state == State::Well)
    }

    /// Versions that serve.
    fn serving(&self) -> BTreeSet<&'static str> {
        self.tasks.values().filter(|task| task.state == State::Well).map(|task| task.version).collect()
    }

    /// The shares of those that serve, as labels or the order have them; empty: every task is as good as another.
    fn shares(&self) -> BTreeMap<&'static str, u32> {
        let share = |(version, of_label): &(&'static str, u32)| match &self.order {
            None => *of_label,
            Some(order) => order.iter().find(|(named, _)| named == version).map_or(0, |(_, share)| *share),
        };
        let serving = self.serving();
        let shares = VERSIONS.iter().map(|version| (version.0, share(version)));
        shares.filter(|(version, share)| *share > 0 && serving.contains(version)).collect()
    }

    /// Sends a request with these fields; returns the task that gets it, and what its answer keeps the client by.
    fn ask(&mut self, fields: &HeaderMap) -> Option<(String, Option<HeaderMap>)> {
        let head = Head { host: "a.test", path: "/", query: None, method: "GET", fields };
        let destination = route::find(&self.table, &head, fields, Timestamp::now, &mut self.random);
        let destination = destination.unwrap_or_else(|reason| panic!("the route is gone: {}", reason.code()));
        let (service, config) = (&destination.service, &self.table.config);
        let seat = WorkerSeat { index: 0, workers: 1 };
        let local = self.local.get_or_insert_with(|| {
            Rc::new(ServiceLocal::new(&service.id, ProxyMetrics::new(1).shard(0), &mut self.random))
        });
        let (now, wall) = (Moment::of(Instant::now()), self.now);
        let (outlook, zones) = local.look(service, config, now, || wall, |_| None);
        let ask = Ask {
            service,
            outlook,
            zones: zones.as_deref(),
            local,
            config: &config.proxy.balance,
            key: None,
            is_repeatable: true,
            seat,
            now,
            wall,
        };
        let (endpoint, _) = destination.choose(&[], &config.proxy.limits, &ask, None, &mut self.random)?;
        let session = Session::of(endpoint);
        let mut answer = HeaderMap::new();
        if destination.session != Some(session) {
            sticky::write(&mut answer, &service.id, session, false);
        }
        let given = !answer.is_empty();
        Some((endpoint.id.task.task().to_owned(), given.then_some(answer)))
    }

    /// Each client asks once.
    fn visit(&mut self) {
        for number in 0..self.clients.len() {
            let mut client = self.clients[number].clone();
            // Some ask for the canary; their cookie is no way around it, and keeps them there.
            let is_pinned = self.random.u8(..8) == 0;
            let mut fields = client.fields.clone();
            if is_pinned {
                fields.insert("x-version", "green".parse().unwrap());
            }
            let may_serve = |task: &Task| task.state == State::Well && (!is_pinned || task.version == "green");
            let somebody = self.tasks.values().any(may_serve);
            let Some((at, given)) = self.ask(&fields) else {
                assert!(!somebody, "client {number}, pinned {is_pinned}, has nobody");
                continue;
            };
            let chosen = self.tasks.get(&at).unwrap_or_else(|| panic!("{at} is gone, and got client {number}"));
            assert!(may_serve(chosen), "{at} is {:?}, and got client {number}, pinned {is_pinned}", chosen.state);
            let kept = client.at.clone().filter(|kept| self.tasks.get(kept).is_some_and(may_serve));
            assert!(
                kept.as_ref().is_none_or(|kept| *kept == at),
                "client {number} was at {kept:?}, and is sent to {at}"
            );
            if kept.is_none() && !is_pinned {
                let shares = self.shares();
                let has_share = shares.is_empty() || shares.contains_key(chosen.version);
                assert!(has_share, "client {number} is new, and sent to {at} of {shares:?}");
            }
            assert_eq!(given.is_none(), client.at.as_ref() == Some(&at), "client {number} knows where it is");
            if let Some(given) = given {
                let cookie = given[SET_COOKIE].to_str().unwrap().split(';').next().unwrap();
                client.fields.insert(COOKIE, cookie.parse().unwrap());
            }
            client.at = Some(at);
            self.clients[number] = client;
        }
    }

    /// Who comes for the first time is spread by the shares.
    fn draw(&mut self) {
        let (shares, serving) = (self.shares(), self.serving());
        if serving.is_empty() {
            return;
        }
        let mut counts: BTreeMap<&'static str, u32> = BTreeMap::new();
        for _ in 0..STRANGERS {
            let (at, _) = self.ask(&HeaderMap::new()).expect("somebody is well");
            assert!(self.is_well(&at), "{at} is not well");
            *counts.entry(self.tasks[&at].version).or_default() += 1;
        }
        let total: u32 = shares.values().sum();
        for (version, share) in &shares {
            let part = f64::from(*share) / f64::from(total);
            let (got, expected) = (counts.remove(version).unwrap_or(0), f64::from(STRANGERS) * part);
            // Five times what chance makes of it.
            let spread = 5.0 * (expected * (1.0 - part)).sqrt();
            assert!((f64::from(got) - expected).abs() <= spread, "{version}: {got} of {STRANGERS} by {shares:?}");
        }
        assert!(shares.is_empty() || counts.is_empty(), "by {shares:?} nobody is sent to {counts:?}");
    }
}

#[test]
fn clients_stay_and_strangers_are_spread_whatever_happens() {
    each_seed(10, 500, World::new, |world| {
        for _ in 0..STEPS {
            world.step();
            world.visit();
            world.draw();
        }
    });
}

#[test]
fn a_seed_repeats() {
    each_repeats("clients_stay_and_strangers_are_spread_whatever_happens", 0..3);
}
