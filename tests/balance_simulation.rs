//! The balancers against model endpoints, with a clock of the test's own and a fixed seed: where load goes, how fast it
//! leaves an endpoint that is slow or fails and comes back, which keys move, what repeats may cost.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that cannot go on fails")]

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use pointsman::config::Config;
use pointsman::config::checked::{AdaptiveConfig, BalanceConfig};
use pointsman::model::agent::AgentFacts;
use pointsman::model::balance::Algorithm;
use pointsman::model::endpoint::{Endpoint, EndpointId, EndpointState, Family, Weight};
use pointsman::model::id::{ServiceId, TaskKey};
use pointsman::model::ring::{Ring, SLOTS};
use pointsman::model::run::Moment;
use pointsman::model::service::{Protocol, Service};
use pointsman::model::time::Timestamp;
use pointsman::proxy::balance::budget::{Budget, Grant};
use pointsman::proxy::balance::choose::{self, Ask};
use pointsman::proxy::balance::gradient::Gradient;
use pointsman::proxy::balance::hedging::Hedging;
use pointsman::proxy::balance::local::ServiceLocal;
use pointsman::proxy::balance::{InFlight, WorkerSeat, limit, outcome};
use pointsman::proxy::metrics::ProxyMetrics;
use tokio::time::Instant;

const SEED: u64 = 20;
/// The wall's clock when a simulation begins.
const EPOCH: Timestamp = Timestamp(1_000_000_000_000);

fn endpoint(number: u16, weight: u16) -> Endpoint {
    let task = TaskKey::new("c".into(), "f".into(), format!("task-{number:04}"));
    Endpoint {
        id: EndpointId { task, port: "0".into(), family: Family::V4 },
        service: ServiceId::new("c".into(), "f", "web", "0"),
        address: ([127, 0, 0, 1], number).into(),
        protocol: Protocol::Http,
        tls: None,
        proxy_protocol: None,
        version: "1".into(),
        weight: Weight(weight),
        version_weight: None,
        deployment: None,
        state: EndpointState::Ready,
        agent: None,
        ready_since: Some(Timestamp(0)),
        drain_time: None,
        rules: None,
        sticky: false,
        balance: None,
        bounds: None,
        check: None,
        run: Arc::default(),
    }
}

fn service(endpoints: impl IntoIterator<Item = Endpoint>) -> Service {
    let endpoints: pointsman::model::sorted::SortedList<_> = endpoints.into_iter().map(Arc::new).collect();
    Service {
        id: ServiceId::new("c".into(), "f", "web", "0"),
        framework: "f".into(),
        protocol: Protocol::Http,
        available: endpoints.clone(),
        endpoints,
        sticky: Default::default(),
        panic: false,
        ring: None,
        rules: None,
        mixed_rules: false,
        shares: None,
        said_shares: 0,
        empty_since: None,
    }
}

fn even(count: u16) -> Service {
    service((0..count).map(|number| endpoint(number, 100)))
}

/// How an endpoint answers: after so long, with this status.
type Behaviour = Box<dyn Fn(u16, Duration) -> (Duration, u16)>;

fn all(millis: u64) -> Behaviour {
    Box::new(move |_, _| (Duration::from_millis(millis), 200))
}

struct Simulation {
    service: Arc<Service>,
    config: Arc<Config>,
    /// What each worker keeps.
    locals: Vec<Rc<ServiceLocal>>,
    rng: fastrand::Rng,
    begun: Instant,
    behaviour: Behaviour,
    under_way: BinaryHeap<Reverse<(Instant, u64)>>,
    requests: std::collections::HashMap<u64, (InFlight, u16)>,
    sent: u64,
    key: Option<u64>,
    /// The zone of each endpoint, by number; empty: nobody says.
    zones: &'static [&'static str],
}

/// An agent of a zone.
fn agent_in(zone: &str) -> Arc<AgentFacts> {
    Arc::new(AgentFacts {
        cluster: "c".into(),
        id: "a".into(),
        hostname: "a".into(),
        address: None,
        port: None,
        region: Some("r".into()),
        zone: Some(zone.into()),
        active: true,
        recovered: false,
    })
}

impl Simulation {
    fn new(service: Service, algorithm: &str, behaviour: Behaviour) -> Self {
        Self::of_workers(1, service, algorithm, behaviour)
    }

    /// Of so many workers, each of which gets a request by chance, as the kernel has it.
    fn of_workers(workers: usize, service: Service, algorithm: &str, behaviour: Behaviour) -> Self {
        let mut config = Config::default();
        config.proxy.balance.algorithm = Algorithm::parse(algorithm).unwrap();
        config.proxy.balance.slow_start = Duration::ZERO;
        let metrics = ProxyMetrics::new(workers);
        let mut rng = fastrand::Rng::with_seed(SEED);
        fastrand::seed(SEED);
        let mut local = |index| Rc::new(ServiceLocal::new(&service.id, metrics.shard(index), &mut rng));
        let locals = (0..workers).map(&mut local).collect();
        let mut simulation = Self {
            service: Arc::new(service),
            config: Arc::new(config),
            locals,
            rng,
            begun: Instant::now(),
            behaviour,
            under_way: BinaryHeap::new(),
            requests: Default::default(),
            sent: 0,
            key: None,
            zones: &[],
        };
        simulation.turn_ring();
        simulation
    }

    fn turn_ring(&mut self) {
        let hashes = matches!(self.config.proxy.balance.algorithm, Algorithm::Hash(_));
        let ring = if hashes { Ring::of(&self.service.available).map(Arc::new) } else { None };
        self.service = Arc::new(Service { ring, ..(*self.service).clone() });
    }

    /// Another configuration of how requests are spread.
    fn configure(mut self, change: impl FnOnce(&mut BalanceConfig)) -> Self {
        let mut config = (*self.config).clone();
        change(&mut config.proxy.balance);
        self.config = Arc::new(config);
        self
    }

    fn endpoint(&self, number: u16) -> &Endpoint {
        self.service.endpoints.iter().find(|endpoint| endpoint.address.port() == number).unwrap()
    }

    /// Another table: the same endpoints keep their state.
    fn change(&mut self, change: impl FnOnce(&mut Service)) {
        let mut service = (*self.service).clone();
        change(&mut service);
        service.available = service.endpoints.clone();
        self.service = Arc::new(service);
        self.turn_ring();
    }

    /// Sends one request now; returns the endpoint's number.
    fn send(&mut self) -> Option<u16> {
        let now = Instant::now();
        let moment = Moment::of(now.into_std());
        let wall = EPOCH.plus(now - self.begun);
        let agent =
            |endpoint: &Endpoint| self.zones.get(usize::from(endpoint.address.port())).map(|zone| agent_in(zone));
        let workers = self.locals.len();
        let index = if workers == 1 { 0 } else { self.rng.usize(..workers) };
        let (seat, local) = (WorkerSeat { index, workers }, self.locals[index].clone());
        let (outlook, zones) = local.look(&self.service, &self.config, moment, || wall, agent);
        let ask = Ask {
            service: &self.service,
            outlook,
            zones: zones.as_deref(),
            local: &local,
            config: &self.config.proxy.balance,
            key: self.key.or_else(|| Some(self.rng.u64(..))),
            is_repeatable: true,
            seat,
            now: moment,
            wall,
        };
        let (chosen, is_probe) = choose::choose(&ask, |endpoint| limit::has_room(&ask, endpoint), &mut self.rng)?;
        let number = chosen.address.port();
        let in_flight = InFlight::begin(chosen.clone(), seat, local.clone(), now, is_probe);
        let (latency, status) = (self.behaviour)(number, now - self.begun);
        self.under_way.push(Reverse((now + latency, self.sent)));
        self.requests.insert(self.sent, (in_flight, status));
        self.sent += 1;
        Some(number)
    }

    async fn until(&mut self, time: Instant) {
        while let Some(Reverse((at, request))) = self.under_way.peek().copied().filter(|Reverse((at, _))| *at <= time) {
            self.under_way.pop();
            tokio::time::advance(at - Instant::now()).await;
            let (in_flight, status) = self.requests.remove(&request).unwrap();
            let outcome =
                outcome::of_head(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), std::time::SystemTime::now);
            in_flight.answered(outcome, self.begun, Instant::now());
        }
        tokio::time::advance(time - Instant::now()).await;
    }

    /// Requests at random moments for so long, `rate` a second; how many each endpoint got.
    async fn run(&mut self, time: Duration, rate: f64) -> Vec<u32> {
        let end = Instant::now() + time;
        let most = self.service.endpoints.iter().map(|endpoint| endpoint.address.port()).max().unwrap();
        let mut counts = vec![0; usize::from(most) + 1];
        loop {
            let pause = -(1.0 - self.rng.f64()).ln() / rate;
            let next = Instant::now() + Duration::from_secs_f64(pause);
            if next > end {
                self.until(end).await;
                return counts;
            }
            self.until(next).await;
            let number = self.send().expect("there is always an endpoint");
            counts[usize::from(number)] += 1;
        }
    }

    fn ejected(&self) -> usize {
        self.service.endpoints.iter().filter(|endpoint| endpoint.run.ejection.is_ejected()).count()
    }
}

const ALGORITHMS: [&str; 5] = ["peak_ewma", "least_request", "round_robin", "random", "hash:address"];

fn share(counts: &[u32], number: usize) -> f64 {
    f64::from(counts[number]) / f64::from(counts.iter().sum::<u32>())
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn load_spreads_evenly() {
    for algorithm in ALGORITHMS {
        let mut simulation = Simulation::new(even(10), algorithm, all(20));
        simulation.run(secs(2), 500.0).await;
        let counts = simulation.run(secs(20), 500.0).await;
        let exact = if algorithm == "round_robin" { 0.001 } else { 0.03 };
        for number in 0..10 {
            assert!((share(&counts, number) - 0.1).abs() < exact, "{algorithm} {counts:?}");
        }
    }
}

/// Workers tell each other nothing of their requests but whom they spare, and how many are under way.
#[tokio::test(start_paused = true)]
async fn many_workers_spread_load_and_leave_together_what_fails_fast() {
    for algorithm in ["peak_ewma", "least_request"] {
        let (fails_from, fails_to) = (secs(10), secs(30));
        let behaviour: Behaviour = Box::new(move |number, at| match number {
            0 if (fails_from..fails_to).contains(&at) => (Duration::from_millis(1), 500),
            _ => (Duration::from_millis(20), 200),
        });
        let mut simulation = Simulation::of_workers(8, even(10), algorithm, behaviour);
        let well = simulation.run(secs(10), 500.0).await;
        assert!((0..10).all(|number| (share(&well, number) - 0.1).abs() < 0.03), "{algorithm}: {well:?}");
        // At the worst each worker has its own row of failures, before one has them all spare it.
        let turning = simulation.run(secs(2), 500.0).await;
        assert!(turning[0] < 8 * 7, "{algorithm}: {turning:?}");
        // By latency, few ask it again so soon that a row could come about.
        assert!(algorithm == "peak_ewma" || simulation.ejected() == 1, "{algorithm}");
        let failing = simulation.run(secs(18), 500.0).await;
        // Probes alone, whichever worker sends them.
        assert!(failing[0] <= 10, "{algorithm}: {failing:?}");
        simulation.run(secs(60), 500.0).await;
        let back = simulation.run(secs(20), 500.0).await;
        assert!((share(&back, 0) - 0.1).abs() < 0.03, "{algorithm}: {back:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_workers_never_spare_more_than_may_be() {
    let behaviour: Behaviour = Box::new(|number, _| (Duration::from_millis(5), if number < 8 { 500 } else { 200 }));
    let mut simulation = Simulation::of_workers(8, even(10), "random", behaviour);
    for _ in 0..200 {
        simulation.run(Duration::from_millis(50), 500.0).await;
        assert!(simulation.ejected() <= 5);
    }
    assert_eq!(simulation.ejected(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_an_endpoint_is_one_for_all_workers() {
    let mut simulation = Simulation::of_workers(8, even(10), "peak_ewma", all(20));
    let mut config = (*simulation.config).clone();
    config.proxy.balance.max_requests = 3;
    simulation.config = Arc::new(config);
    let sent = (0..100).filter(|_| simulation.send().is_some()).count();
    assert_eq!(sent, 30);
    assert!(simulation.service.endpoints.iter().all(|endpoint| endpoint.run.in_flight() == 3));
    simulation.until(Instant::now() + secs(1)).await;
    assert!(simulation.service.endpoints.iter().all(|endpoint| endpoint.run.in_flight() == 0));
}

/// A proxy in a zone, before endpoints in these zones.
fn in_zone(zone: &str, zones: &'static [&'static str], algorithm: &str, behaviour: Behaviour) -> Simulation {
    let mut simulation = Simulation::new(even(zones.len() as u16), algorithm, behaviour);
    let mut config = (*simulation.config).clone();
    config.proxy.zone.name = Some(zone.into());
    simulation.config = Arc::new(config);
    simulation.zones = zones;
    simulation
}

const ZONED: [&str; 3] = ["peak_ewma", "least_request", "random"];
const ZONES: &[&str] = &["a", "a", "a", "a", "a", "a", "b", "b", "b", "c", "c", "c"];

#[tokio::test(start_paused = true)]
async fn requests_stay_in_their_zone_and_no_endpoint_gets_more_than_its_part() {
    for algorithm in ZONED {
        let mut all_proxies = vec![0; ZONES.len()];
        // One proxy in each zone, with the same load.
        for (zone, stays) in [("a", 1.0), ("b", 0.75), ("c", 0.75)] {
            let mut simulation = in_zone(zone, ZONES, algorithm, all(20));
            let counts = simulation.run(secs(40), 500.0).await;
            let own = ZONES.iter().enumerate().filter(|(_, of)| **of == zone).map(|(number, _)| share(&counts, number));
            let own: f64 = own.sum();
            assert!((own - stays).abs() < 0.02, "{algorithm} in {zone}: {own} stays");
            all_proxies.iter_mut().zip(&counts).for_each(|(all, count)| *all += count);
        }
        for number in 0..ZONES.len() {
            let share = share(&all_proxies, number);
            assert!((share - 1.0 / 12.0).abs() < 0.015, "{algorithm}: {all_proxies:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_fails_is_left_and_taken_back() {
    let fails_to = secs(20);
    let behaviour: Behaviour = Box::new(move |number, at| {
        let fails = ZONES[usize::from(number)] == "b" && at < fails_to;
        (Duration::from_millis(10), if fails { 500 } else { 200 })
    });
    let mut simulation = in_zone("b", ZONES, "peak_ewma", behaviour);
    simulation.run(secs(5), 500.0).await;
    let failing = simulation.run(secs(10), 500.0).await;
    let own = |counts: &[u32]| (6..9).map(|number| share(counts, number)).sum::<f64>();
    assert!(own(&failing) < 0.05, "{failing:?}");
    simulation.run(secs(60), 500.0).await;
    let well = simulation.run(secs(20), 500.0).await;
    assert!((own(&well) - 0.75).abs() < 0.03, "{well:?}");
}

#[tokio::test(start_paused = true)]
async fn zones_do_not_matter_where_few_are_known_or_endpoints_are_few() {
    // Too few endpoints; one zone alone; nobody knows where they are.
    for zones in [["a", "a", "b", "b", "b"].as_slice(), &["a"; 8]] {
        let zones: &'static [&'static str] = Vec::leak(zones.to_vec());
        let mut simulation = in_zone("a", zones, "random", all(20));
        let counts = simulation.run(secs(20), 500.0).await;
        let even = 1.0 / zones.len() as f64;
        assert!((0..zones.len()).all(|number| (share(&counts, number) - even).abs() < 0.03), "{zones:?}: {counts:?}");
    }
    let mut simulation = in_zone("a", ZONES, "round_robin", all(20));
    let counts = simulation.run(secs(20), 500.0).await;
    assert!((0..ZONES.len()).all(|number| (share(&counts, number) - 1.0 / 12.0).abs() < 0.001), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn zones_count_again_once_enough_endpoints_are_well() {
    const SIX: &[&str] = &["a", "a", "a", "b", "b", "b"];
    let fails_to = secs(10);
    let behaviour: Behaviour = Box::new(move |number, at| {
        let fails = number == 2 && at < fails_to;
        (Duration::from_millis(10), if fails { 500 } else { 200 })
    });
    let mut simulation = in_zone("a", SIX, "random", behaviour);
    let own = |counts: &[u32]| (0..3).map(|number| share(counts, number)).sum::<f64>();
    simulation.run(secs(5), 500.0).await;
    // While one is spared, five are too few.
    let failing = simulation.run(secs(5), 500.0).await;
    assert!((own(&failing) - 0.4).abs() < 0.05, "{failing:?}");
    simulation.run(secs(60), 500.0).await;
    let well = simulation.run(secs(10), 500.0).await;
    assert!(own(&well) > 0.999, "{well:?}");
}

#[tokio::test(start_paused = true)]
async fn enough_endpoints_in_the_zone_keep_everything() {
    let mut simulation = in_zone("b", ZONES, "random", all(20));
    let mut config = (*simulation.config).clone();
    config.proxy.zone.stay_from = 3;
    simulation.config = Arc::new(config);
    let counts = simulation.run(secs(10), 500.0).await;
    assert_eq!(counts[6..9].iter().sum::<u32>(), counts.iter().sum::<u32>(), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn load_follows_weights() {
    for algorithm in ALGORITHMS {
        let weights = [100, 300, 0, 600];
        let endpoints = weights.iter().enumerate().map(|(number, weight)| endpoint(number as u16, *weight));
        let mut simulation = Simulation::new(service(endpoints), algorithm, all(50));
        simulation.run(secs(5), 600.0).await;
        let counts = simulation.run(secs(20), 600.0).await;
        assert_eq!(counts[2], 0, "{algorithm}");
        for (number, expected) in [(0, 0.1), (1, 0.3), (3, 0.6)] {
            assert!((share(&counts, number) - expected).abs() < 0.06, "{algorithm} {counts:?}");
        }
    }
}

/// Beside the heaviest one the others have hardly a turn; without it they share by their weights.
#[tokio::test(start_paused = true)]
async fn light_endpoints_share_what_the_heaviest_leaves() {
    for weights in [[u16::MAX, 6, 6, 6], [1000, 5, 5, 5], [1000, 2, 6, 12], [1000, 300, 100, 200], [0, 1, 2, 3]] {
        let endpoints = weights.iter().enumerate().map(|(number, weight)| endpoint(number as u16, *weight));
        let mut simulation = Simulation::new(service(endpoints), "round_robin", all(5));
        let now = Moment::of(Instant::now().into_std());
        simulation.endpoint(0).run.ejection.eject_for(secs(3600), now, 1.0);
        let counts = simulation.run(secs(20), 600.0).await;
        assert_eq!(counts[0], 0, "{weights:?}");
        let light: u32 = weights[1..].iter().map(|weight| u32::from(*weight)).sum();
        for (number, weight) in weights.iter().enumerate().skip(1) {
            let expected = f64::from(*weight) / f64::from(light);
            assert!((share(&counts, number) - expected).abs() < 0.02, "{weights:?} {counts:?}");
        }
    }
}

/// The longest walk is some rounds: each place that is looked at costs the request that waits.
#[tokio::test(start_paused = true)]
async fn one_pick_looks_at_few_places() {
    const COUNT: u16 = 1000;
    let endpoints = (0..COUNT).map(|number| endpoint(number, if number == 0 { u16::MAX } else { 1 }));
    let mut simulation = Simulation::new(service(endpoints), "round_robin", all(5));
    let looked = std::cell::Cell::new(0);
    let wanted = |endpoint: &Arc<Endpoint>| {
        looked.set(looked.get() + 1);
        endpoint.weight.0 == 1
    };
    let (local, service) = (&simulation.locals[0], simulation.service.clone());
    for _ in 0..100 {
        looked.set(0);
        let share = |endpoint: &Endpoint| f64::from(endpoint.weight.0) / f64::from(u16::MAX);
        assert!(local.rotation.next(&service.available, wanted, share, &mut simulation.rng).is_some());
        assert!(looked.get() <= 3 * u32::from(COUNT), "{}", looked.get());
    }
}

#[tokio::test(start_paused = true)]
async fn load_leaves_a_slow_endpoint_and_comes_back() {
    let slow_from = secs(10);
    let slow_to = secs(30);
    let behaviour: Behaviour = Box::new(move |number, at| {
        let is_slow = number == 3 && (slow_from..slow_to).contains(&at);
        (Duration::from_millis(if is_slow { 500 } else { 10 }), 200)
    });
    let mut simulation = Simulation::new(even(10), "peak_ewma", behaviour);
    let before = simulation.run(slow_from, 300.0).await;
    assert!(share(&before, 3) > 0.07, "{before:?}");
    // What it has when the first slow answers are in is all that it gets.
    simulation.run(secs(1), 300.0).await;
    let during = simulation.run(secs(19), 300.0).await;
    assert!(share(&during, 3) < 0.02, "{during:?}");
    simulation.run(secs(45), 300.0).await;
    let after = simulation.run(secs(20), 300.0).await;
    assert!(share(&after, 3) > 0.05, "{after:?}");
}

/// An endpoint that fails at once has the fewest requests under way and the least latency: it must not draw them.
#[tokio::test(start_paused = true)]
async fn no_herd_runs_to_an_endpoint_that_fails_fast() {
    for (algorithm, status) in
        [("peak_ewma", 503), ("least_request", 503), ("round_robin", 500), ("random", 500), ("peak_ewma", 429)]
    {
        let behaviour: Behaviour = Box::new(move |number, _| match number {
            0 => (Duration::from_millis(1), status),
            _ => (Duration::from_millis(30), 200),
        });
        let mut simulation = Simulation::new(even(5), algorithm, behaviour);
        let counts = simulation.run(secs(30), 200.0).await;
        assert!(share(&counts, 0) < 0.01, "{algorithm} {status} {counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_endpoint_is_probed_ever_more_rarely_and_taken_back() {
    let recovers = secs(60);
    let behaviour: Behaviour =
        Box::new(move |number, at| (Duration::from_millis(10), if number == 1 && at < recovers { 503 } else { 200 }));
    let mut simulation = Simulation::new(even(4), "round_robin", behaviour);
    let counts = simulation.run(secs(2), 200.0).await;
    assert!(counts[1] <= 10, "{counts:?}");
    assert_eq!(simulation.ejected(), 1);
    let counts = simulation.run(secs(57), 200.0).await;
    // 1, 2, 4, 8, 16, 32 seconds, each drawn from its upper half.
    assert!((3..=8).contains(&counts[1]), "{counts:?}");
    simulation.run(secs(62), 200.0).await;
    assert_eq!(simulation.ejected(), 0);
    let counts = simulation.run(secs(10), 200.0).await;
    assert!((share(&counts, 1) - 0.25).abs() < 0.01, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_share_is_spared_and_one_always_serves() {
    for (count, failing, most) in [(1, 1, 0), (2, 2, 1), (3, 3, 1), (10, 9, 5)] {
        let behaviour: Behaviour =
            Box::new(move |number, _| (Duration::from_millis(5), if number < failing { 500 } else { 200 }));
        let mut simulation = Simulation::new(even(count), "random", behaviour);
        simulation.run(secs(20), 200.0).await;
        assert!(simulation.ejected() <= most, "{count} {failing}: {}", simulation.ejected());
        assert_eq!(most > 0, simulation.ejected() > 0, "{count} {failing}");
    }
}

/// Each endpoint answers badly every so many requests, by its number; 0: never. From `well` on nobody does.
fn failing_every(every: &'static [u32], well: Duration) -> Behaviour {
    let counts = RefCell::new(vec![0_u32; every.len()]);
    Box::new(move |number, at| {
        let number = usize::from(number);
        let count = &mut counts.borrow_mut()[number];
        *count += 1;
        let fails = at < well && every[number] > 0 && count.is_multiple_of(every[number]);
        (Duration::from_millis(10), if fails { 500 } else { 200 })
    })
}

const EVER: Duration = Duration::from_secs(1_000_000);
/// One of ten fails a tenth of its requests: no breaker sees that.
const ONE_OF_TEN: &[u32] = &[0, 0, 0, 10, 0, 0, 0, 0, 0, 0];

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_does_worse_than_the_others_is_spared_ever_longer_and_taken_back() {
    for algorithm in ["round_robin", "least_request", "random"] {
        let well = secs(120);
        let mut simulation = Simulation::new(even(10), algorithm, failing_every(ONE_OF_TEN, well));
        simulation.run(secs(13), 300.0).await;
        let is_spared = |simulation: &Simulation| simulation.endpoint(3).run.ejection.is_ejected();
        assert!(simulation.ejected() == 1 && is_spared(&simulation), "{algorithm}");
        // Half a minute, of which half is drawn.
        let left = simulation.endpoint(3).run.ejection.left(Moment::of(Instant::now().into_std())).unwrap();
        assert!((secs(10)..=secs(30)).contains(&left), "{algorithm}: {left:?}");
        let counts = simulation.run(well - secs(13), 300.0).await;
        assert!(share(&counts, 3) < 0.04, "{algorithm}: {counts:?}");
        assert!(simulation.endpoint(3).run.judgement.times() >= 2, "{algorithm}");
        assert_eq!(simulation.ejected(), usize::from(is_spared(&simulation)), "{algorithm}: nobody else");
        simulation.run(secs(150), 300.0).await;
        let counts = simulation.run(secs(20), 300.0).await;
        assert!((share(&counts, 3) - 0.1).abs() < 0.03, "{algorithm}: {counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn workers_that_compare_endpoints_spare_one_once() {
    let mut simulation = Simulation::of_workers(8, even(10), "round_robin", failing_every(ONE_OF_TEN, EVER));
    simulation.run(secs(20), 400.0).await;
    let run = &simulation.endpoint(3).run;
    assert_eq!((simulation.ejected(), run.ejection.is_ejected(), run.judgement.times()), (1, true, 1));
}

/// What all endpoints do, what few of them do, and what one does a little more than the others, is nobody's fault.
#[tokio::test(start_paused = true)]
async fn endpoints_that_do_about_as_well_as_the_others_are_not_spared() {
    const ALL: &[u32] = &[10; 10];
    const A_LITTLE: &[u32] = &[0, 0, 0, 50, 0, 0, 0, 0, 0, 0];
    for (what, every) in [("all fail", ALL), ("one fails a little", A_LITTLE), ("four are few", &ONE_OF_TEN[..4])] {
        let mut simulation = Simulation::new(even(every.len() as u16), "round_robin", failing_every(every, EVER));
        for _ in 0..60 {
            simulation.run(secs(1), 300.0).await;
            assert_eq!(simulation.ejected(), 0, "{what}");
        }
    }
    // Too few answers say nothing, and nothing is done where nobody is ever to be spared.
    let rare = Simulation::new(even(10), "round_robin", failing_every(ONE_OF_TEN, EVER));
    let off = Simulation::new(even(10), "round_robin", failing_every(ONE_OF_TEN, EVER));
    let off = off.configure(|balance| balance.ejection.in_a_row = 0);
    for (mut simulation, rate) in [(rare, 80.0), (off, 300.0)] {
        simulation.run(secs(60), rate).await;
        assert_eq!(simulation.ejected(), 0, "{rate}");
    }
    // By Envoy's own rule, without a margin, the one that fails a little would be.
    let simulation = Simulation::new(even(10), "round_robin", failing_every(A_LITTLE, EVER));
    let mut simulation = simulation.configure(|balance| balance.outliers.margin = 0.0);
    simulation.run(secs(20), 300.0).await;
    assert_eq!(simulation.ejected(), 1);
}

/// Where a third fails nobody is far from what is usual; the part that fails is looked at by itself where that is asked for.
#[tokio::test(start_paused = true)]
async fn endpoints_that_fail_most_of_their_requests_are_spared_where_that_is_asked_for() {
    for (failure_share, expected) in [(0.0, 0), (0.85, 2)] {
        let behaviour: Behaviour = {
            let counts = RefCell::new([0_u32; 6]);
            Box::new(move |number, _| {
                let count = &mut counts.borrow_mut()[usize::from(number)];
                *count += 1;
                // Nine of ten requests to two of the six.
                (Duration::from_millis(10), if number < 2 && !count.is_multiple_of(10) { 500 } else { 200 })
            })
        };
        let mut simulation = Simulation::new(even(6), "round_robin", behaviour).configure(|balance| {
            // No breaker is in the way.
            (balance.ejection.in_a_row, balance.ejection.success_ratio) = (1000, 0.0);
            balance.outliers.failure_share = failure_share;
        });
        simulation.run(secs(13), 300.0).await;
        assert_eq!(simulation.ejected(), expected, "{failure_share}");
    }
}

/// When the good ones leave, those that are spared serve again: better one that failed than none.
#[tokio::test(start_paused = true)]
async fn when_too_few_are_left_all_count_again() {
    let behaviour: Behaviour = Box::new(|number, _| (Duration::from_millis(5), if number < 4 { 500 } else { 200 }));
    let mut simulation = Simulation::new(even(10), "least_request", behaviour);
    simulation.run(secs(5), 200.0).await;
    assert_eq!(simulation.ejected(), 4);
    simulation.change(|service| {
        for number in 5..10 {
            let id = service.endpoints.iter().find(|e| e.address.port() == number).unwrap().id.clone();
            service.endpoints.remove(&id);
        }
    });
    let counts = simulation.run(secs(5), 200.0).await;
    assert!((0..4).all(|number| counts[number] > 50), "one of five would have to carry all: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_starts_slowly() {
    for algorithm in ["peak_ewma", "least_request", "round_robin", "random"] {
        let mut simulation = Simulation::new(even(3), algorithm, all(20));
        let mut config = (*simulation.config).clone();
        config.proxy.balance.slow_start = secs(100);
        simulation.config = Arc::new(config);
        simulation.run(secs(5), 300.0).await;
        let ready = EPOCH.plus(Instant::now() - simulation.begun);
        simulation.change(|service| {
            service.endpoints.insert(Arc::new(Endpoint { ready_since: Some(ready), ..endpoint(3, 100) }));
        });
        let mut curve = Vec::new();
        for _ in 0..11 {
            curve.push(share(&simulation.run(secs(10), 300.0).await, 3));
        }
        // Its weight is a tenth, then grows to the whole; its share of the load follows: w / (3 + w).
        for (at, share) in curve.iter().enumerate() {
            let weight = ((at as f64 + 0.5) / 10.0).clamp(0.1, 1.0);
            let expected = weight / (3.0 + weight);
            assert!((share - expected).abs() < 0.05, "{algorithm} {at}: {share} {expected} {curve:?}");
        }
        assert!(curve[10] > 4.0 * curve[0], "{curve:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_most_are_new_none_is_spared() {
    let endpoints = (0..4).map(|number| Endpoint {
        ready_since: if number == 0 { Some(Timestamp(0)) } else { Some(EPOCH) },
        ..endpoint(number, 100)
    });
    let mut simulation = Simulation::new(service(endpoints), "random", all(10));
    let mut config = (*simulation.config).clone();
    config.proxy.balance.slow_start = secs(100);
    simulation.config = Arc::new(config);
    let counts = simulation.run(secs(10), 400.0).await;
    assert!((0..4).all(|number| (share(&counts, number) - 0.25).abs() < 0.04), "{counts:?}");
}

/// A new endpoint gets one request before anything is known of it, however many come.
#[tokio::test(start_paused = true)]
async fn an_unknown_endpoint_is_not_flooded() {
    let behaviour: Behaviour = Box::new(|number, _| (Duration::from_millis(if number == 2 { 3000 } else { 10 }), 200));
    let mut simulation = Simulation::new(even(2), "peak_ewma", behaviour);
    simulation.run(secs(5), 500.0).await;
    simulation.change(|service| drop(service.endpoints.insert(Arc::new(endpoint(2, 100)))));
    let counts = simulation.run(Duration::from_millis(2500), 500.0).await;
    assert!(counts[2] <= 2, "{counts:?}");
}

fn owners(ring: &Ring, endpoints: &Service) -> Vec<u16> {
    let at = |key: usize| ring.from_key(key as u64).next().unwrap();
    (0..SLOTS).map(|key| endpoints.available.at(at(key)).unwrap().address.port()).collect()
}

#[test]
fn few_keys_move_when_an_endpoint_comes_or_goes() {
    let (all, fewer) = (even(100), service((0..100).filter(|n| *n != 42).map(|number| endpoint(number, 100))));
    let before = owners(&Ring::of(&all.available).unwrap(), &all);
    let after = owners(&Ring::of(&fewer.available).unwrap(), &fewer);
    let held = before.iter().filter(|owner| **owner == 42).count();
    assert!((600..=720).contains(&held), "{held} of {SLOTS}: an even part");
    let moved = before.iter().zip(&after).filter(|(before, after)| **before != 42 && before != after).count();
    // The paper's figures are of this order: its table of 65,537 moves a few percent beside those of the lost one.
    assert!(moved * 100 < SLOTS * 4, "{moved} of {SLOTS} moved without need");
    assert!(after.iter().all(|owner| *owner != 42));
    let weighted = service([endpoint(0, 100), endpoint(1, 300)]);
    let ring = owners(&Ring::of(&weighted.available).unwrap(), &weighted);
    let first = ring.iter().filter(|owner| **owner == 0).count();
    assert!((first as f64 / SLOTS as f64 - 0.25).abs() < 0.001, "{first}");
    assert!(Ring::of(&service([]).available).is_none() && Ring::of(&service([endpoint(0, 0)]).available).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_key_stays_with_its_endpoint_and_a_hot_one_spreads() {
    let mut simulation = Simulation::new(even(10), "hash:address", all(1));
    for key in 0..200 {
        simulation.key = Some(key * 7919);
        let mut hits = Vec::new();
        for _ in 0..5 {
            hits.push(simulation.send().unwrap());
            let now = Instant::now();
            simulation.until(now + Duration::from_millis(10)).await;
        }
        assert!(hits.iter().all(|number| *number == hits[0]), "{key} {hits:?}");
    }
    // One key with 100 requests under way: none has more than one and a half times its even part of them.
    let mut simulation = Simulation::new(even(10), "hash:address", all(1000));
    simulation.key = Some(1);
    for _ in 0..100 {
        simulation.send().unwrap();
    }
    let most = simulation.service.endpoints.iter().map(|endpoint| endpoint.run.in_flight()).max().unwrap();
    assert!((10..=16).contains(&most), "{most}");
    // An endpoint that is spared loses its keys to the next one, and has them back afterwards.
    let mut simulation = Simulation::new(even(10), "hash:address", all(1));
    simulation.key = Some(99);
    let owner = simulation.send().unwrap();
    let now = Instant::now();
    simulation.until(now + secs(1)).await;
    let run = simulation.service.endpoints.iter().find(|e| e.address.port() == owner).unwrap().run.clone();
    run.ejection.eject((secs(5), secs(5)), Moment::of(Instant::now().into_std()), 1.0);
    let other = simulation.send().unwrap();
    assert_ne!(other, owner);
    let now = Instant::now();
    simulation.until(now + secs(6)).await;
    assert_eq!(simulation.send(), Some(owner), "as the probe");
    let now = Instant::now();
    simulation.until(now + secs(1)).await;
    assert_eq!(simulation.send(), Some(owner));
}

/// Requests and repeats of each second.
#[derive(Default)]
struct Seconds(Vec<(f64, f64)>);

impl Seconds {
    fn at(&mut self, at: u32) -> &mut (f64, f64) {
        let second = (at / 1000) as usize;
        self.0.resize(self.0.len().max(second + 1), (0.0, 0.0));
        &mut self.0[second]
    }

    /// How many more repeats than a fifth of the requests there were in so many seconds at the end.
    fn excess(&self, seconds: usize) -> f64 {
        let last = self.0.iter().rev().take(seconds);
        last.map(|(requests, repeats)| repeats - 0.2 * requests).sum()
    }
}

/// Whatever comes: with each repeat, those of ten seconds are a fifth of the requests and the reserve at most, and none is
/// denied before.
#[test]
fn the_budget_is_never_exceeded() {
    const ROUNDING: f64 = 1e-6;
    let mut rng = fastrand::Rng::with_seed(SEED);
    for (workers, reserve) in [(1, 100.0), (4, 25.0), (200, 1.0)] {
        let (mut budget, mut seconds) = (Budget::default(), Seconds::default());
        let (mut under_way, mut denied, mut at, mut latest) = (0, 0, 1000, 0);
        for _ in 0..60_000 {
            at += if rng.u32(0..2000) == 0 { rng.u32(0..15_000) } else { rng.u32(0..10) };
            match rng.u32(0..10) {
                0..=3 => {
                    // Some are told of when they are answered.
                    let began = if rng.bool() { at } else { at.saturating_sub(rng.u32(0..3000)).max(1) };
                    budget.deposit(0.2, Moment(began));
                    latest = latest.max(began);
                    seconds.at(latest).0 += 1.0;
                }
                4..=7 => {
                    latest = at;
                    seconds.at(at);
                    match budget.withdraw(0.2, 50, workers, Moment(at)) {
                        Grant::Granted => {
                            under_way += 1;
                            seconds.at(at).1 += 1.0;
                            let excess = seconds.excess(10);
                            assert!(excess <= reserve + ROUNDING, "{workers} workers, {at}: {excess}");
                        }
                        Grant::Spent => {
                            denied += 1;
                            let excess = seconds.excess(10);
                            assert!(excess > reserve - 1.0 - ROUNDING, "{workers} workers, {at}: {excess}");
                        }
                        Grant::Busy => assert_eq!(under_way, 10),
                    }
                }
                _ if under_way > 0 => {
                    under_way -= 1;
                    budget.finished();
                }
                _ => {}
            }
            assert!(under_way <= 10, "a fifth of 50 under way");
        }
        assert!(denied > 1000, "{denied}: the test asks for more than is given");
        // So nothing is spent twice: over the whole time it is ten a second, and what was saved up before.
        let tens = seconds.0.len().div_ceil(10) as f64;
        let excess = seconds.excess(usize::MAX);
        assert!(excess <= tens * reserve + ROUNDING, "{workers} workers: {excess} in {tens} times ten seconds");
    }
}

/// What is told of a request that began a while ago makes nobody forget what was spent since.
#[test]
fn a_request_that_took_its_time_gives_no_budget_back() {
    for began in [4999, 4001, 1] {
        let mut budget = Budget::default();
        while budget.withdraw(0.2, 0, 1, Moment(5000)) == Grant::Granted {
            budget.finished();
        }
        budget.deposit(0.2, Moment(began));
        assert_eq!(budget.withdraw(0.2, 0, 1, Moment(5001)), Grant::Spent, "{began}");
    }
    // Moments wrap, and a service may have had no request for weeks.
    for later in [u32::MAX / 2, u32::MAX - 200_000_000, 3000] {
        let mut budget = Budget::default();
        while budget.withdraw(0.2, 0, 1, Moment(u32::MAX - 1000)) == Grant::Granted {
            budget.finished();
        }
        let now = Moment((u32::MAX - 1000).wrapping_add(11_000).wrapping_add(later));
        assert_eq!(budget.withdraw(0.2, 0, 1, now), Grant::Granted, "{later}");
    }
}

#[test]
fn a_quiet_service_has_its_reserve_and_no_more() {
    let mut budget = Budget::default();
    let mut given = 0;
    while budget.withdraw(0.2, 0, 1, Moment(5000)) == Grant::Granted {
        budget.finished();
        given += 1;
    }
    assert_eq!(given, 100, "ten a second for ten seconds");
    assert_eq!(budget.withdraw(0.2, 0, 1, Moment(14_000)), Grant::Spent);
    assert_eq!(budget.withdraw(0.2, 0, 1, Moment(15_500)), Grant::Granted);
    // However small a worker's part is, a service that was quiet has a first repeat there, and one more after ten seconds.
    for workers in [100, 101, 1000] {
        let mut part = Budget::default();
        let mut withdraw = |at| part.withdraw(0.2, 0, workers, Moment(at));
        assert_eq!([withdraw(5000), withdraw(5001)], [Grant::Granted, Grant::Spent], "{workers} workers");
        assert_eq!([withdraw(14_000), withdraw(15_500)], [Grant::Spent, Grant::Granted], "{workers} workers");
    }
    let mut few = Budget::default();
    let at_once = (0..10).filter(|_| few.withdraw(0.2, 4, 1, Moment(5000)) == Grant::Granted).count();
    assert_eq!(at_once, 3, "three at a time");
    assert_eq!(few.withdraw(0.2, 4, 1, Moment(5000)), Grant::Busy);
}

/// All that an endpoint had in flight fails at one moment: what may not be repeated at once waits, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn repeats_beyond_those_at_a_time_wait_for_one_another() {
    let simulation = Simulation::new(even(3), "peak_ewma", all(10));
    let local = &simulation.locals[0];
    let deadline = Instant::now() + secs(5);
    let repeats = (0..40).map(|_| async {
        let repeat = local.repeat(0.2, 1, deadline).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        repeat.is_some()
    });
    let begun = Instant::now();
    let granted = futures_of(repeats).await;
    assert!(granted.iter().all(|granted| *granted), "{granted:?}");
    // Three at a time, ten milliseconds each.
    assert_eq!(begun.elapsed().as_millis() / 10, 14);
    // Whoever cannot wait is told no, and takes nobody's place.
    let held = [
        local.repeat(0.2, 1, deadline).await,
        local.repeat(0.2, 1, deadline).await,
        local.repeat(0.2, 1, deadline).await,
    ];
    assert!(held.iter().all(Option::is_some));
    assert!(local.repeat(0.2, 1, Instant::now() + secs(1)).await.is_none());
    drop(held);
    assert!(local.repeat(0.2, 1, Instant::now()).await.is_some());
}

/// Lets all of them run beside one another.
async fn futures_of<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = futures.map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        pending.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => {
                done.push(value);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

/// Two in a hundred answers take a hundred times as long: copies cut them off, and are no more than may be.
#[test]
fn copies_shorten_the_tail_within_their_budget() {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut latency = move || {
        let usual = 5.0 + 5.0 * rng.f64();
        Duration::from_secs_f64(if rng.f64() < 0.02 { usual } else { usual / 100.0 })
    };
    let mut run = |ratio: f64| {
        let mut hedging = Hedging::default();
        let mut copies = 0;
        let mut taken: Vec<Duration> = Vec::new();
        for _ in 0..50_000 {
            hedging.deposit(ratio);
            let first = latency();
            let delay = hedging.delay(0.95).filter(|delay| first > *delay);
            let time = match delay {
                Some(delay) if hedging.withdraw() => {
                    copies += 1;
                    first.min(delay + latency())
                }
                _ => first,
            };
            hedging.observe(time);
            taken.push(time);
        }
        taken.sort_unstable();
        (taken[taken.len() * 99 / 100], taken[taken.len() * 999 / 1000], copies)
    };
    let (p99, p999, copies) = run(0.0);
    assert!(copies == 0 && p99 > secs(4) && p999 > secs(8), "{p99:?} {p999:?} {copies}");
    let (p99, p999, copies) = run(0.05);
    assert!(p99 < Duration::from_millis(300), "{p99:?}");
    assert!(p999 < secs(8), "only where a copy is slow as well, or the budget was spent: {p999:?}");
    assert!((500..=2500).contains(&copies), "{copies} of 50,000");
}

/// A service that answers in ten milliseconds up to forty requests at a time, and then as late as there are more.
#[test]
fn a_limit_is_found_where_answers_become_slow() {
    const CAPACITY: u32 = 40;
    let config = AdaptiveConfig { enabled: true, least: 5, most: 1000 };
    let mut gradient = Gradient::default();
    let answer = |asking: u32| Duration::from_millis(10).mul_f64(f64::from(asking.max(CAPACITY)) / f64::from(CAPACITY));
    let mut at = 1000;
    // Twice the load that the service can take: all that may be is under way.
    let mut latest = Vec::new();
    for moment in 0..3000 {
        let asking = gradient.limit(&config).min(2 * CAPACITY * 2);
        for number in 0..10 {
            gradient.observe(answer(asking), asking, Moment(at + if number == 9 { 100 } else { 0 }), &config);
        }
        at += 101;
        if moment > 2000 {
            latest.push(asking);
        }
    }
    let (least, most) = (*latest.iter().min().unwrap(), *latest.iter().max().unwrap());
    assert!(least >= CAPACITY, "the service is used: {least}");
    assert!(most <= 3 * CAPACITY, "and answers do not take much longer than they need: {most}");
    // It slows down to a tenth: the limit follows within seconds.
    let mut moments = 0;
    while gradient.limit(&config) > 2 * least / 3 {
        let asking = gradient.limit(&config);
        for number in 0..10 {
            gradient.observe(10 * answer(asking), asking, Moment(at + if number == 9 { 100 } else { 0 }), &config);
        }
        at += 101;
        moments += 1;
        assert!(moments < 50, "the limit does not follow");
    }
}
