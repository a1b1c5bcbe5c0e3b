//! Sticky sessions: a cookie keeps a client on one endpoint for as long as that one serves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod proxy_common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use pointsman::config::checked::EjectionConfig;
use pointsman::model::endpoint::{Endpoint, EndpointState, Weight};
use pointsman::model::service::{Protocol, Target};
use pointsman::table::routes::Route;
use proxy_common::*;

/// Three endpoints that answer with their number and the head they were sent.
async fn backends() -> Vec<Backend> {
    backends_of_which_fails(&Arc::new(AtomicU8::new(NONE))).await
}

/// No endpoint's number.
const NONE: u8 = u8::MAX;

/// The same, and the one with this number says 500.
async fn backends_of_which_fails(failing: &Arc<AtomicU8>) -> Vec<Backend> {
    let mut backends = Vec::new();
    for number in 0..3 {
        let failing = failing.clone();
        let backend = Backend::start(move |mut stream, _| {
            let failing = failing.clone();
            async move {
                while let Some(head) = read_head(&mut stream).await {
                    let mut text = ok(&format!("{number} {head}"));
                    if failing.load(Ordering::SeqCst) == number {
                        text = text.replacen("200 OK", "500 Broken", 1);
                    }
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await;
                }
            }
        });
        backends.push(backend.await);
    }
    backends
}

fn cluster(backends: &[Backend], change: impl Fn(&mut Endpoint)) -> Cluster {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    Cluster::everything(Protocol::Http, &addresses).endpoints("web", |endpoint| {
        endpoint.sticky = true;
        change(endpoint);
    })
}

/// The same with other rules of when an endpoint is spared.
fn sparing(mut cluster: Cluster, change: impl FnOnce(&mut EjectionConfig)) -> Cluster {
    change(&mut Arc::make_mut(&mut cluster.0.config).proxy.balance.ejection);
    cluster
}

/// A client with a cookie jar.
#[derive(Clone, Default)]
struct Browser {
    cookie: Option<String>,
    /// Cookies it was given so far.
    given: usize,
}

impl Browser {
    /// The number of the endpoint that answered, and served.
    async fn visit(&mut self, proxy: &Proxy) -> u8 {
        let (status, number) = self.look(proxy).await;
        assert_eq!(status, 200, "{number}");
        number
    }

    /// The status of the answer, and the number of the endpoint that gave it.
    async fn look(&mut self, proxy: &Proxy) -> (u16, u8) {
        let cookie = self.cookie.as_ref().map(|cookie| format!("Cookie: theme=dark; {cookie}\r\n"));
        let request =
            format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n", cookie.clone().unwrap_or_default());
        let answer = proxy.raw(&request).await;
        if let Some(set) = header(&answer, "set-cookie") {
            assert!(set.ends_with("; Path=/; HttpOnly"), "{set}");
            assert_eq!(header(&answer, "cache-control"), Some("private"), "{answer}");
            self.cookie = set.split(';').next().map(str::to_owned);
            self.given += 1;
        }
        let seen = header(body(&answer), "cookie");
        assert_eq!(seen, cookie.is_some().then_some("theme=dark"), "the endpoint sees all cookies but ours");
        (status(&answer), body(&answer).as_bytes()[0] - b'0')
    }

    /// Comes to its endpoint, which fails, until that is spared.
    async fn see_it_fail(&mut self, proxy: &Proxy, home: u8) {
        for _ in 0..7 {
            if proxy.metric(EJECTIONS) >= 1.0 {
                break;
            }
            assert_eq!(self.look(proxy).await, (500, home));
        }
        assert_eq!(proxy.metric(EJECTIONS), 1.0);
    }
}

const EJECTIONS: &str = "pointsman_proxy_ejections_total";

#[tokio::test]
async fn a_client_stays_through_changes_that_leave_its_endpoint_alone() {
    let backends = backends().await;
    let proxy = cluster(&backends, |_| {}).serve();
    let mut browser = Browser::default();
    let home = browser.visit(&proxy).await;
    for round in 0..20 {
        if round % 5 == 0 {
            // Another endpoint, another service and every weight change.
            let other = backends[usize::from(home + 1) % 3].address;
            let cluster = cluster(&backends, |endpoint| {
                endpoint.weight = Weight(10 + round);
                endpoint.state = if endpoint.address == other { EndpointState::Draining } else { EndpointState::Ready };
            });
            proxy.publish(cluster.service("new", Protocol::Http, &[other]));
        }
        assert_eq!(browser.visit(&proxy).await, home);
    }
    assert_eq!(browser.given, 1);
    // Clients without a cookie are spread as ever; an endpoint that was slow once is avoided for a while.
    let mut homes = BTreeSet::new();
    let spread = async {
        while homes.len() < 2 {
            homes.insert(Browser::default().visit(&proxy).await);
        }
    };
    soon(spread).await;
}

#[tokio::test]
async fn another_endpoint_takes_over_and_names_itself() {
    let backends = backends().await;
    for state in [EndpointState::Draining, EndpointState::Unhealthy, EndpointState::Unverified] {
        let proxy = cluster(&backends, |_| {}).serve();
        let mut browser = Browser::default();
        let home = browser.visit(&proxy).await;
        let address = backends[usize::from(home)].address;
        let change = |endpoint: &mut Endpoint| {
            if endpoint.address == address {
                endpoint.state = state;
            }
        };
        proxy.publish(cluster(&backends, change));
        let next = browser.visit(&proxy).await;
        assert_ne!(next, home, "{state:?}");
        assert_eq!(browser.given, 2);
        // It stays there, also when the former one is back.
        proxy.publish(cluster(&backends, |_| {}));
        for _ in 0..10 {
            assert_eq!(browser.visit(&proxy).await, next);
        }
        assert_eq!(browser.given, 2);
    }
}

#[tokio::test]
async fn a_session_whose_endpoint_is_gone_or_fails_moves() {
    let mut backends = backends().await;
    let proxy = cluster(&backends, |_| {}).serve();
    let mut browser = Browser::default();
    let home = browser.visit(&proxy).await;
    let gone = backends.remove(usize::from(home));
    proxy.publish(cluster(&backends, |_| {}));
    let next = browser.visit(&proxy).await;
    assert!(next != home && browser.given == 2);
    // The next one dies, and the table does not know yet: the request is sent elsewhere, and so is the session.
    let at = if next > home { next - 1 } else { next };
    drop(gone);
    let address = backends[usize::from(at)].address;
    drop(backends.remove(usize::from(at)));
    until("it refuses connections", || std::net::TcpStream::connect(address).is_err()).await;
    let stale = Cluster::everything(Protocol::Http, &[address, backends[0].address]);
    proxy.publish(stale.endpoints("web", |endpoint| endpoint.sticky = true));
    let last = browser.visit(&proxy).await;
    assert!(last != next && last != home);
    assert_eq!(browser.given, 3);
}

#[tokio::test]
async fn a_session_whose_endpoint_is_spared_moves() {
    let failing = Arc::new(AtomicU8::new(NONE));
    let backends = backends_of_which_fails(&failing).await;
    let proxy = sparing(cluster(&backends, |_| {}), |ejection| ejection.shortest = Duration::from_secs(60)).serve();
    let mut browser = Browser::default();
    let home = browser.visit(&proxy).await;
    failing.store(home, Ordering::SeqCst);
    browser.see_it_fail(&proxy, home).await;
    assert_eq!(browser.given, 1);
    let next = browser.visit(&proxy).await;
    assert_ne!(next, home);
    for _ in 0..10 {
        assert_eq!(browser.visit(&proxy).await, next);
    }
    assert_eq!(browser.given, 2);
}

/// Where so many are spared that all count again, moving would do no good.
#[tokio::test]
async fn a_session_stays_while_too_many_endpoints_are_spared() {
    let failing = Arc::new(AtomicU8::new(NONE));
    let backends = backends_of_which_fails(&failing).await;
    // One of three is too many.
    let change = |ejection: &mut EjectionConfig| {
        (ejection.shortest, ejection.panic_threshold) = (Duration::from_secs(60), 0.7);
    };
    let proxy = sparing(cluster(&backends, |_| {}), change).serve();
    let mut browser = Browser::default();
    let home = browser.visit(&proxy).await;
    failing.store(home, Ordering::SeqCst);
    browser.see_it_fail(&proxy, home).await;
    for _ in 0..5 {
        assert_eq!(browser.look(&proxy).await, (500, home));
    }
    assert_eq!(browser.given, 1);
    assert!(proxy.metric("pointsman_proxy_panic_picks_total") >= 5.0);
}

/// Once its time is over, one that is kept on it finds out whether it works again.
#[tokio::test]
async fn a_session_is_the_probe_of_its_endpoint() {
    let failing = Arc::new(AtomicU8::new(NONE));
    let backends = backends_of_which_fails(&failing).await;
    let proxy = sparing(cluster(&backends, |_| {}), |ejection| ejection.shortest = Duration::from_millis(300)).serve();
    let mut browser = Browser::default();
    let home = browser.visit(&proxy).await;
    failing.store(home, Ordering::SeqCst);
    browser.see_it_fail(&proxy, home).await;
    failing.store(NONE, Ordering::SeqCst);
    let comes_back = async {
        // One that has not moved meanwhile.
        while browser.clone().visit(&proxy).await != home {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(comes_back).await;
    assert_eq!(proxy.metric("pointsman_proxy_restorations_total"), 1.0);
    assert_eq!((browser.visit(&proxy).await, browser.given), (home, 1));
}

#[tokio::test]
async fn weight_zero_keeps_its_sessions_and_gets_no_new_ones() {
    let backends = backends().await;
    let proxy = cluster(&backends, |_| {}).serve();
    let mut browser = Browser::default();
    let home = browser.visit(&proxy).await;
    let address = backends[usize::from(home)].address;
    let change = |endpoint: &mut Endpoint| {
        if endpoint.address == address {
            endpoint.weight = Weight(0);
        }
    };
    proxy.publish(cluster(&backends, change));
    for _ in 0..5 {
        assert_eq!(browser.visit(&proxy).await, home);
        assert_ne!(Browser::default().visit(&proxy).await, home);
    }
}

#[tokio::test]
async fn services_without_the_wish_set_no_cookie() {
    let backends = backends().await;
    let proxy = cluster(&backends, |endpoint| endpoint.sticky = false).serve();
    let mut browser = Browser::default();
    browser.visit(&proxy).await;
    assert_eq!(browser.given, 0);
}

/// Two of the endpoints are of the old version, the third is the canary.
fn split(backends: &[Backend], old: u32, new: u32) -> Cluster {
    let canary = backends[2].address;
    let mut cluster = cluster(backends, |endpoint| {
        endpoint.version = if endpoint.address == canary { "new" } else { "old" }.into();
    });
    let known = cluster.0.routes.iter().next().unwrap();
    let target = |version: &str, weight| Target { service: service_id("web"), version: Some(version.into()), weight };
    let route = Route { targets: [target("old", old), target("new", new)].into_iter().collect(), ..(**known).clone() };
    cluster.0.routes.insert(Arc::new(route));
    cluster
}

#[tokio::test]
async fn a_session_outlives_the_weights_of_a_canary() {
    let backends = backends().await;
    let proxy = split(&backends, 0, 100).serve();
    let mut browser = Browser::default();
    assert_eq!(browser.visit(&proxy).await, 2);
    // All the others go back to the old version.
    proxy.publish(split(&backends, 100, 0));
    for _ in 0..5 {
        assert_eq!(browser.visit(&proxy).await, 2);
        assert_ne!(Browser::default().visit(&proxy).await, 2);
    }
}

#[tokio::test]
async fn a_session_leaves_the_version_whose_endpoint_is_spared() {
    let failing = Arc::new(AtomicU8::new(NONE));
    let backends = backends_of_which_fails(&failing).await;
    let split = |old, new| sparing(split(&backends, old, new), |ejection| ejection.shortest = Duration::from_secs(60));
    let proxy = split(0, 100).serve();
    let mut browser = Browser::default();
    assert_eq!(browser.visit(&proxy).await, 2);
    proxy.publish(split(100, 0));
    failing.store(2, Ordering::SeqCst);
    browser.see_it_fail(&proxy, 2).await;
    assert_ne!(browser.visit(&proxy).await, 2);
    assert_eq!(browser.given, 2);
}
