//! Deploys as Marathon does them, end to end: the real program follows a Marathon alone, or one beside the masters of its
//! Mesos; tasks are real sockets of a few processes, and clients ask without a pause over HTTP/1.1, HTTP/2, TLS and WebSocket.
//!
//! Not one request may be lost that may be asked again. `POINTSMAN_FULL=1` asks 100,000 times of each kind and situation.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]
#![allow(clippy::duplicate_mod, reason = "what tests of the proxy share looks for ports by itself")]

mod common;
mod faults_support;
mod load;
mod marathon_common;
mod marathon_play;
mod proxy_common;
mod situation_support;

use std::sync::Arc;

use common::program::get;
use faults_support::HOST;
use load::Load;
use marathon_play::{Kill, Play};
use serde_json::Value;
use situation_support::judge::{
    ALL, Sockets, alone, block_on, fewest_answered, judge, judge_in_good_order, judge_with_gaps,
};
use situation_support::{Cluster, Twins, World, aside, crowd, least};

/// Not a test: what the tasks of the others run in.
#[test]
fn plays_tasks_where_some_are_asked_for() {
    crowd::play();
}

/// Tasks of each app.
const TASKS: usize = 3;

/// Who tells of the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sources {
    /// Marathon.
    Alone,
    /// Mesos, and Marathon of what Mesos does not know.
    BesideMesos,
}

struct Stage {
    world: World,
    play: Arc<Play>,
    sources: Sources,
    /// Versions that were made.
    versions: usize,
    /// Deploys that the ledger has to have of each service.
    deploys: usize,
}

impl Stage {
    async fn start(sources: Sources) -> Self {
        let cluster = Arc::new(Cluster::start(3, 12).await);
        let play = Arc::new(Play::start(cluster.clone()).await);
        let config = match sources {
            Sources::Alone => play.source("marathon"),
            Sources::BesideMesos => cluster.source() + &play.source("mesos"),
        };
        let world = World::serving(cluster, &config);
        // The first version comes to services that did not have any: that is a deploy, too.
        let mut stage = Self { world, play, sources, versions: 0, deploys: 1 };
        let first = stage.next_version();
        stage.play(move |play| play.deploy(&first, TASKS, Kill::WithGrace)).await;
        stage.world.until_available(TASKS);
        stage
    }

    /// The next version of the apps. Marathon says which version a task runs, and of its labels only the newest; Mesos says
    /// with which labels a task was started, and of its version nothing.
    fn next_version(&mut self) -> Twins {
        self.versions += 1;
        let version = format!("v{}", self.versions);
        match self.sources {
            Sources::Alone => Twins::new("app", &[]),
            Sources::BesideMesos => Twins::new("app", &[("pointsman.version", &version)]),
        }
    }

    /// The version that is there.
    fn version(&self) -> Twins {
        let version = format!("v{}", self.versions);
        match self.sources {
            Sources::Alone => Twins::new("app", &[]),
            Sources::BesideMesos => Twins::new("app", &[("pointsman.version", &version)]),
        }
    }

    async fn play(&self, work: impl FnOnce(&Play) + Send + 'static) {
        let play = self.play.clone();
        aside(move || work(&play)).await;
    }

    async fn roll(&mut self, kill: Kill) {
        let next = self.next_version();
        self.play(move |play| play.deploy(&next, TASKS, kill)).await;
        self.deploys += 1;
    }

    fn until_available(&mut self, count: usize) {
        self.world.until_available(count);
    }
}

/// New tasks ready first, then old ones told to end: over and over.
async fn rolling(stage: &mut Stage) {
    let load = Load::start_evenly(&stage.world.target, &ALL);
    let mut rounds = 0;
    while rounds < 2 || load.fewest() <= least() {
        stage.roll(Kill::WithGrace).await;
        load.more(&ALL, least() / 20).await;
        rounds += 1;
    }
    println!("{:?}: {rounds} rolling deploys", stage.sources);
    judge_in_good_order(&format!("{:?}, rolling", stage.sources), load).await;
}

/// The same, with old tasks that are gone at once.
async fn killed_at_once(stage: &mut Stage) {
    let load = Load::start_evenly(&stage.world.target, &ALL);
    let mut rounds = 0;
    while rounds < 2 || load.fewest() <= least() {
        stage.roll(Kill::AtOnce).await;
        load.more(&ALL, least() / 20).await;
        rounds += 1;
    }
    println!("{:?}: {rounds} deploys whose old tasks are killed at once", stage.sources);
    judge(&format!("{:?}, killed at once", stage.sources), load).await;
}

/// Scaled to nothing and back: the host stays the app's, and clients are told to come again.
async fn to_zero_and_back(stage: &mut Stage) {
    let load = Load::start_evenly(&stage.world.target, &ALL);
    let mut rounds = 0;
    while rounds < 2 || fewest_answered(&load) <= least() {
        let apps = stage.version();
        stage.play(move |play| play.scale(&apps, 0)).await;
        stage.until_available(0);
        let empty = get(stage.world.target.http, HOST, "/").unwrap();
        assert_eq!(empty.status, 503, "{empty:?}");
        assert!(empty.head.contains("retry-after: 1") && empty.head.contains("no-endpoint"), "{empty:?}");
        load.more(&ALL, 10).await;
        let apps = stage.version();
        stage.play(move |play| play.scale(&apps, TASKS)).await;
        stage.until_available(TASKS);
        load.more(&ALL, (least() / 10).max(100)).await;
        rounds += 1;
    }
    println!("{:?}: {rounds} times to zero and back", stage.sources);
    judge_with_gaps(&format!("{:?}, to zero and back", stage.sources), load).await;
}

/// The leading Marathon goes, and a task with it; the next one knows no health at first.
async fn another_leader(stage: &mut Stage) {
    let stays = Twins::new("stays", &[]);
    stage.play(move |play| play.scale(&stays, 2)).await;
    stage.until_available(TASKS + 2);
    let mut sockets = Sockets::open(&stage.world, |task| task.starts_with("web-stays.")).await;
    let load = Load::start_evenly(&stage.world.target, &ALL);
    let mut changes = 0;
    let phase = (least() / 60).max(30);
    while changes < 3 || load.fewest() <= least() {
        let apps = stage.version();
        stage
            .play(move |play| {
                play.lose_leader();
                play.crash(&apps);
            })
            .await;
        load.more(&ALL, phase).await;
        sockets.are_open().await;
        stage.play(|play| play.elect()).await;
        let play = stage.play.clone();
        stage.world.program.until("the next leader is followed", move |program| {
            play.is_followed() && program.metric("pointsman_marathon_live{source=\"marathon\"}") == Some(1.0)
        });
        // What it does not know is as it was.
        load.more(&ALL, phase).await;
        sockets.are_open().await;
        let apps = stage.version();
        stage
            .play(move |play| {
                play.see();
                play.scale(&apps, TASKS);
            })
            .await;
        stage.until_available(TASKS + 2);
        load.more(&ALL, phase).await;
        sockets.are_open().await;
        changes += 1;
    }
    println!("{:?}: {changes} changes of the leader", stage.sources);
    judge(&format!("{:?}, another leader", stage.sources), load).await;
}

/// The ledger has found every deploy, knows its deployment, and says that it ended well.
fn ledger_is_right(stage: &mut Stage) {
    let expected = stage.deploys;
    let deploys = |service: &str| format!("/v1/deploys?service={service}&limit=10000");
    for service in ["web", "rpc"] {
        let all = |program: &common::program::Program| {
            program.api(&deploys(service)).1["deploys"].as_array().cloned().unwrap_or_default()
        };
        stage
            .world
            .program
            .until("all deploys are over", |program| all(program).iter().all(|deploy| deploy["outcome"] != "running"));
        let all = all(&stage.world.program);
        // The ledger remembers 500 of all services.
        assert!(all.len() == expected || all.len() > 100, "{} deploys of {expected}: {all:?}", all.len());
        for deploy in &all {
            assert_eq!(deploy["outcome"], "finished", "{deploy}");
            let deployments = deploy["deployments"].as_array().unwrap();
            // On a busy machine the end of one may be seen behind the beginning of the next.
            assert!((1..=2).contains(&deployments.len()), "{deploy}");
            let app = Value::from(format!("/{service}-app"));
            for one in deployments {
                assert_eq!((&one["state"], &one["source"]), (&"succeeded".into(), &"marathon".into()), "{deploy}");
                assert!(one["apps"].as_array().unwrap().contains(&app), "{deploy}");
            }
        }
    }
}

fn situations(sources: Sources) {
    let _one = alone();
    block_on(async {
        let mut stage = Stage::start(sources).await;
        rolling(&mut stage).await;
        killed_at_once(&mut stage).await;
        ledger_is_right(&mut stage);
        to_zero_and_back(&mut stage).await;
        another_leader(&mut stage).await;
        stage.world.program.stop();
    });
}

#[test]
fn deploys_of_a_marathon_alone_lose_nothing() {
    situations(Sources::Alone);
}

#[test]
fn deploys_of_a_marathon_beside_its_mesos_lose_nothing() {
    situations(Sources::BesideMesos);
}
