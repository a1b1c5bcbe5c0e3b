//! What a worker does when many endpoints leave at once: their connections are closed as soon as the table says so, however
//! many they are, and not only when everything is looked at, which is once a second. Tables come from the writer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::duplicate_mod, reason = "both sets of helpers bring the same one")]

mod common;
mod proxy_common;

use std::net::IpAddr;
use std::time::Duration;

use common::facts::{agent, config, key, snapshot, task};
use common::world::{World, marathon};
use pointsman::cluster::event::Fact;
use pointsman::table::Table;
use proxy_common::{Proxy, ok, read_head, soon, status};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, sleep_until};

/// Several times what is dealt with in one go.
const APPS: u8 = 40;
/// How often everything is looked at.
const ROUND: Duration = Duration::from_secs(1);

fn host(number: u8) -> String {
    format!("app-{number}.test")
}

/// A server on a port of every address of this machine: of every agent's.
async fn backend() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while read_head(&mut stream).await.is_some() {
                    stream.write_all(ok("here").as_bytes()).await.unwrap();
                }
            });
        }
    });
    port
}

/// So many apps with a task and an agent each.
fn world(port: u16) -> World {
    let mut config = config();
    config.upstreams.allowed_networks.push("127.0.0.0/8".parse().unwrap());
    let mut world = World::with(config);
    let mut facts = vec![marathon()];
    for number in 0..APPS {
        let address = IpAddr::from([127, 1, 0, number + 1]);
        let mut agent = agent(number);
        agent.address = Some(address);
        facts.push(Fact::Agent(Box::new(agent)));
        let host = host(number);
        let labels = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", host.as_str())];
        let mut task = task(&format!("app-{number}.1"), &format!("app-{number}"), number, port, &labels);
        task.addresses = [address].into_iter().collect();
        facts.push(Fact::Task(Box::new(task)));
    }
    world.say(snapshot(1, facts));
    world
}

/// What [`Proxy::publish`] does, of a table as it is.
fn publish(proxy: &Proxy, table: &Table) {
    proxy.publish(proxy_common::Cluster(table.clone()));
}

/// Has all apps leave in one table shortly after everything was looked at; whether their connections were closed before
/// everything is looked at again.
async fn are_closed_at_once(port: u16) -> bool {
    let mut world = world(port);
    let began = Instant::now();
    let proxy = Proxy::start(Table::clone(&world.table()), None);
    let open = || proxy.metric("pointsman_proxy_upstream_connections ");
    for number in 0..APPS {
        assert_eq!(status(&soon(proxy.get(&host(number), "/")).await), 200, "{}", host(number));
    }
    proxy_common::until("each has a connection that is kept", || open() == f64::from(APPS)).await;
    let rounds = began.elapsed().as_secs() + 1;
    sleep_until(began + ROUND * u32::try_from(rounds).unwrap() + ROUND / 4).await;
    let gone = (0..APPS).map(|number| Fact::TaskGone(key(&format!("app-{number}.1")))).collect();
    world.facts(1, gone);
    publish(&proxy, &world.table());
    let last = Instant::now() + ROUND / 2;
    while open() > 0.0 && Instant::now() < last {
        sleep(Duration::from_millis(2)).await;
    }
    // Nothing of them may stay for good.
    let is_soon = open() == 0.0;
    proxy_common::until("all are closed", || open() == 0.0).await;
    assert_eq!(status(&soon(proxy.get(&host(0), "/")).await), 503);
    is_soon
}

#[tokio::test]
async fn connections_of_many_that_leave_at_once_are_closed_at_once() {
    let port = backend().await;
    // A machine may be busy for half a second, but not each time.
    for _ in 0..5 {
        if are_closed_at_once(port).await {
            return;
        }
    }
    panic!("they were closed only when everything was looked at");
}
