//! Deploys and what goes wrong beside them, end to end: the real program subscribed to masters, tasks as real sockets of a
//! few processes, and clients that ask without a pause over HTTP/1.1, HTTP/2, TLS and WebSocket.
//!
//! Not one request may be lost that may be asked again, and no WebSocket to a task that stays may close; each loss of a
//! request that may have acted is explained. `POINTSMAN_FULL=1` asks 100,000 times of each kind and situation: while the
//! trouble lasts, not before or after it, and kinds keep pace, so that none is asked more often than that.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;
mod faults_support;
mod load;
mod situation_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use load::Load;
use situation_support::judge::{ALL, Sockets, alone, answered, block_on, judge, judge_in_good_order};
use situation_support::{Cluster, Live, Twins, World, aside, crowd, least};

/// Not a test: what the tasks of the others run in.
#[test]
fn plays_tasks_where_some_are_asked_for() {
    crowd::play();
}

/// Launches so many tasks of both apps, on one agent after the other.
fn launch(cluster: &Cluster, apps: &Twins, count: usize) -> Vec<Live> {
    let all = (0..count).flat_map(|number| apps.0.iter().map(move |app| (app, number)));
    all.map(|(app, number)| cluster.launch(app, number % cluster.agents())).collect()
}

/// One colour of a service, with the share that its labels say.
fn colour(name: &str, share: u16) -> Twins {
    Twins::new(name, &[("pointsman.version", name), ("pointsman.version_weight", &share.to_string())])
}

/// Rolls an app out with another share, a task of each twin at a time: its successor runs before it is told to end.
fn roll(cluster: &Cluster, mut old: Vec<Live>, next: &Twins) -> Vec<Live> {
    let mut fresh = Vec::new();
    while !old.is_empty() {
        fresh.extend(launch(cluster, next, 1));
        cluster.end_all(old.drain(..2).collect());
    }
    fresh
}

#[test]
fn blue_and_green_change_places_by_their_labels() {
    let _one = alone();
    block_on(async {
        let mut world = World::start(2, 16).await;
        let cluster = world.cluster.clone();
        let mut blue = launch(&cluster, &colour("blue", 100), 2);
        let mut green = launch(&cluster, &colour("green", 0), 2);
        world.until_available(4);
        let load = Load::start_evenly(&world.target, &ALL);
        let share = |before: (u64, u64), load: &Load| {
            let (blue, green) =
                (of_colour(load, "blue").saturating_sub(before.0), of_colour(load, "green").saturating_sub(before.1));
            100 * green / (blue + green)
        };
        load.more(&ALL, part()).await;
        assert_eq!(of_colour(&load, "green"), 0, "its share is 0");
        for (blues, greens, expected) in [(50, 50, 40..=60), (0, 100, 100..=100)] {
            let moving = cluster.clone();
            (blue, green) = aside(move || {
                let green = roll(&moving, green, &colour("green", greens));
                (roll(&moving, blue, &colour("blue", blues)), green)
            })
            .await;
            until_shares(&mut world, blues, greens);
            // What was under way may end where it began.
            load.more(&ALL, 10).await;
            let before = (of_colour(&load, "blue"), of_colour(&load, "green"));
            load.more(&ALL, part()).await;
            let share = share(before, &load);
            println!("blue and green: {blues}/{greens} by labels, {share} % to green");
            assert!(expected.contains(&share), "{blues}/{greens}: {share} %");
        }
        // Back by an operator's orders: nobody is replaced, so no WebSocket closes, whatever its colour's share.
        let mut sockets = Sockets::open(&world, |task| task.contains("green")).await;
        for (blues, greens, expected) in [(50, 50, 40..=60), (100, 0, 0..=0)] {
            for name in ["web", "rpc"] {
                let path = format!("/v1/weights/{name}?versions=blue={blues},green={greens}");
                assert_eq!(world.program.try_api("PUT", &path, "").unwrap().status, 200);
            }
            load.more(&ALL, 10).await;
            let before = (of_colour(&load, "blue"), of_colour(&load, "green"));
            load.more(&ALL, part()).await;
            sockets.are_open().await;
            let share = share(before, &load);
            println!("blue and green: {blues}/{greens} by order, {share} % to green");
            assert!(expected.contains(&share), "{blues}/{greens}: {share} %");
        }
        judge_in_good_order("blue and green", load).await;
        drop((blue, green));
    });
}

/// What is asked under each of the shares, so that it is enough in all; and enough for a share to show.
fn part() -> u64 {
    (least() / 5).max(170)
}

fn of_colour(load: &Load, colour: &str) -> u64 {
    ["web", "rpc"].iter().map(|kind| answered(load, &format!("{kind}-{colour}."))).sum()
}

/// Waits until the program draws by these shares.
fn until_shares(world: &mut World, blue: u16, green: u16) {
    world.program.until("the labels' shares count", |program| {
        ["web", "rpc"].iter().all(|name| {
            let versions = program.api(&format!("/v1/weights/{name}")).1["versions"].as_array().cloned();
            let of = |colour: &str| {
                let versions = versions.as_deref().unwrap_or_default();
                versions.iter().find(|version| version["version"] == colour).map(|version| version["weight"].clone())
            };
            of("blue") == Some(blue.into()) && of("green") == Some(green.into())
        })
    });
}

/// Tasks that start and fall over, over and over, until told to stop; how many did.
fn loop_and_crash(cluster: &Cluster, apps: &Twins, agent: usize, ends: &AtomicBool, crashed: &AtomicUsize) {
    let mut turn = agent;
    while !ends.load(Ordering::Relaxed) {
        // Every third one never comes so far as to listen, and is taken for running all the same.
        let deaf = turn.is_multiple_of(3);
        let app = &apps.0[turn % 2];
        let live = if deaf { cluster.launch_deaf(app, agent) } else { cluster.launch(app, agent) };
        std::thread::sleep(Duration::from_millis(10 + 20 * (turn as u64 % 4)));
        if deaf {
            cluster.fail_deaf(live)
        } else {
            cluster.crash(live)
        }
        crashed.fetch_add(1, Ordering::Relaxed);
        turn += 1;
    }
}

#[test]
fn a_crash_loop_beside_healthy_tasks() {
    let _one = alone();
    block_on(async {
        let mut world = World::start(3, 8).await;
        let cluster = world.cluster.clone();
        let healthy = launch(&cluster, &Twins::new("healthy", &[]), 3);
        world.until_available(3);
        let mut sockets = Sockets::open(&world, |task| task.starts_with("web-healthy.")).await;
        let load = Load::start_evenly(&world.target, &ALL);
        load.more(&ALL, 30).await;
        let (ends, crashed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let loops: Vec<_> = (0..cluster.agents())
            .map(|agent| {
                let (cluster, ends, crashed) = (cluster.clone(), ends.clone(), crashed.clone());
                let apps = Twins::new("broken", &[]);
                std::thread::spawn(move || loop_and_crash(&cluster, &apps, agent, &ends, &crashed))
            })
            .collect();
        while load.fewest() < least() || crashed.load(Ordering::Relaxed) < 200 {
            load.more(&ALL, least() / 10).await;
            sockets.are_open().await;
        }
        ends.store(true, Ordering::Relaxed);
        loops.into_iter().for_each(|one| one.join().unwrap());
        load.more(&ALL, least() / 10).await;
        world.until_available(3);
        println!(
            "a crash loop: {} tasks fell over, {} requests met one; {} asked again elsewhere, {} not for want of a budget",
            crashed.load(Ordering::Relaxed),
            answered(&load, "web-broken.") + answered(&load, "rpc-broken."),
            world.metric("pointsman_proxy_retries_total{kind=\"other_endpoint\"}"),
            world.metric("pointsman_proxy_retries_denied_total"),
        );
        assert!(answered(&load, "web-broken.") > 0, "the broken tasks were asked");
        judge("a crash loop", load).await;
        drop(healthy);
    });
}

#[test]
fn the_leading_master_goes_and_another_knows_little_at_first() {
    let _one = alone();
    block_on(async {
        let mut world = World::start(3, 8).await;
        let cluster = world.cluster.clone();
        let stays = launch(&cluster, &Twins::new("stays", &[]), 3);
        let mut others = launch(&cluster, &Twins::new("other", &[]), 3);
        world.until_available(6);
        let mut sockets = Sockets::open(&world, |task| task.starts_with("web-stays.")).await;
        let load = Load::start_evenly(&world.target, &ALL);
        load.more(&ALL, 30).await;
        let mut changes = 0;
        // A change takes some seconds whatever is asked: as many are enough as leave each of its phases some hundred requests.
        let phase = (least() / 60).max(30);
        while changes < 3 || load.fewest() < least() {
            let dead = cluster.lose_leader().await;
            // Nobody hears of what happens now: a task falls over.
            let (victim, falling) = (others.remove(0), cluster.clone());
            aside(move || falling.crash(victim)).await;
            load.more(&ALL, phase).await;
            sockets.are_open().await;
            // The new one answers with a third of the agents, and hears of the others while clients go on.
            cluster.elect(dead, Duration::from_millis(150)).await;
            load.more(&ALL, phase).await;
            sockets.are_open().await;
            // It is followed from there on: another task takes the victim's place, and one that is told to end goes.
            let (app, moving, last) = (changes % 2, cluster.clone(), others.pop());
            let fresh = aside(move || {
                let apps = Twins::new("other", &[]);
                let fresh = vec![moving.launch(&apps.0[app], 0), moving.launch(&apps.0[(app + 1) % 2], 1)];
                last.into_iter().for_each(|last| moving.end(last));
                fresh
            })
            .await;
            others.extend(fresh);
            world.until_told();
            load.more(&ALL, phase).await;
            sockets.are_open().await;
            changes += 1;
        }
        load.more(&ALL, least() / 10).await;
        sockets.are_open().await;
        println!("another leader: {changes} changes");
        judge("another leader", load).await;
        drop((stays, others));
    });
}

/// How tasks of the churn end.
#[derive(Clone, Copy)]
enum Way {
    InGoodOrder,
    AtOnce,
}

/// The time for some of them.
const PACE: Duration = Duration::from_millis(120);

/// How many come and go. The reduced run is not long enough for all.
fn tasks() -> usize {
    if std::env::var_os("POINTSMAN_FULL").is_some() { 10_000 } else { 2_000 }
}

/// Tasks that come and go on one agent, some at a time; each serves for a moment.
fn churn(cluster: &Cluster, apps: &Twins, agent: usize, ends: &AtomicBool, gone: &AtomicUsize) {
    let mut turn = agent;
    std::thread::scope(|scope| {
        while !ends.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let some: Vec<Live> = (0..16).map(|one| cluster.launch(&apps.0[(turn + one) % 2], agent)).collect();
            let way = if turn.is_multiple_of(4) { Way::AtOnce } else { Way::InGoodOrder };
            std::thread::sleep(Duration::from_millis(20));
            match way {
                // Their grace passes while others come.
                Way::InGoodOrder => {
                    scope.spawn(move || {
                        let count = some.len();
                        cluster.end_all(some);
                        gone.fetch_add(count, Ordering::Relaxed);
                    });
                }
                Way::AtOnce => {
                    gone.fetch_add(some.len(), Ordering::Relaxed);
                    some.into_iter().for_each(|live| cluster.crash(live));
                }
            }
            turn += 1;
            // As fast as the machine can follow that plays clients, tasks and masters, too.
            std::thread::sleep(PACE.saturating_sub(begun.elapsed()));
        }
    });
}

#[test]
fn thousands_of_tasks_come_and_go() {
    let _one = alone();
    block_on(async {
        let mut world = World::start(3, 1024).await;
        let cluster = world.cluster.clone();
        let stays = launch(&cluster, &Twins::new("stays", &[]), 3);
        world.until_available(3);
        let mut sockets = Sockets::open(&world, |task| task.starts_with("web-stays.")).await;
        let load = Load::start_evenly(&world.target, &ALL);
        load.more(&ALL, 30).await;
        let (ends, gone) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let begun = Instant::now();
        let churns: Vec<_> = (0..cluster.agents())
            .map(|agent| {
                let (cluster, ends, gone) = (cluster.clone(), ends.clone(), gone.clone());
                let apps = Twins::new("brief", &[]);
                std::thread::spawn(move || churn(&cluster, &apps, agent, &ends, &gone))
            })
            .collect();
        while load.fewest() < least() || gone.load(Ordering::Relaxed) < tasks() {
            load.more(&ALL, least() / 25).await;
            sockets.are_open().await;
        }
        ends.store(true, Ordering::Relaxed);
        churns.into_iter().for_each(|one| one.join().unwrap());
        let took = begun.elapsed();
        load.more(&ALL, least() / 10).await;
        world.until_available(3);
        println!("churn: {} tasks came and went in {took:?}", gone.load(Ordering::Relaxed));
        assert!(answered(&load, "web-brief.") > 0, "they were asked");
        judge("churn", load).await;
        drop(stays);
    });
}
