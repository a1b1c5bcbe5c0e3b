//! The session's state machine in virtual time, without sockets: recorded bytes, scripted outcomes, and random ones
//! from a seed.

mod mesos_support;

use std::time::Duration;

use mesos_support::facts::Model;
use mesos_support::recordings::{bytes, first, records};
use pointsman::cluster::event::Fact;
use pointsman::cluster::sources::mesos::leader::{Detected, Target};
use pointsman::cluster::sources::mesos::refusal::Head;
use pointsman::cluster::sources::mesos::session::{Action, Request, Session};
use pointsman::config::checked::{Masters, MesosConfig, MesosEncoding};

/// A session with what it did so far.
struct Driven {
    session: Session,
    now: Duration,
    requests: Vec<(Duration, Request)>,
    facts: Vec<(u64, Fact)>,
    is_connected: bool,
    /// A request is not answered yet.
    is_asking: bool,
}

impl Driven {
    fn new(config: &MesosConfig, seed: u64) -> Self {
        let mut driven = Self {
            session: Session::new(config, seed, 100),
            now: Duration::ZERO,
            requests: Vec::new(),
            facts: Vec::new(),
            is_connected: false,
            is_asking: false,
        };
        driven.session.poll(driven.now);
        driven.act();
        driven
    }

    fn act(&mut self) {
        while let Some(action) = self.session.next_action() {
            match action {
                Action::Open(request) => {
                    self.is_connected = true;
                    self.is_asking = true;
                    self.requests.push((self.now, request));
                }
                Action::Disconnect => {
                    self.is_connected = false;
                    self.is_asking = false;
                }
                Action::ListAgents(_) => {}
                Action::Emit(event) => self.facts.extend(event.facts.into_iter().map(|fact| (event.stream, fact))),
            }
        }
    }

    fn step(&mut self, step: impl FnOnce(&mut Session, Duration)) {
        step(&mut self.session, self.now);
        self.act();
    }

    /// Lets time pass until the session wants to do something.
    fn wait(&mut self) {
        let deadline = self.session.deadline().expect("it waits for something");
        assert!(deadline >= self.now || deadline == Duration::ZERO, "time does not run backwards");
        self.now = self.now.max(deadline);
        self.step(|session, now| session.poll(now));
    }

    fn accept(&mut self) {
        self.is_asking = false;
        self.step(|session, now| session.answered(now, &ok(), None, &[]));
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.step(|session, now| {
            session.received(now, bytes);
            session.flush();
        });
    }

    fn losses(&self) -> Vec<String> {
        let facts: Vec<_> = self.facts.iter().map(|(_, fact)| fact.clone()).collect();
        mesos_support::facts::losses(&facts)
    }
}

fn ok() -> Head {
    Head { status: 200, content_type: Some("application/json".into()), ..Head::default() }
}

fn config(masters: &[&str]) -> MesosConfig {
    MesosConfig { encoding: MesosEncoding::Json, ..MesosConfig::with_masters("prod", "mesos", masters) }
}

fn detecting() -> MesosConfig {
    let masters = Masters::ZooKeeper { servers: vec!["z:2181".into()], path: "/mesos".into(), auth: None };
    MesosConfig { masters, ..config(&[]) }
}

fn led_by(leader: &str) -> Detected {
    let target = Target::parse(leader).unwrap();
    Detected { leader: Some(target.clone()), masters: vec![target], ..Detected::default() }
}

#[test]
fn a_frozen_leader_is_noticed_after_five_silent_heartbeats() {
    let mut driven = Driven::new(&config(&["m1:5050"]), 1);
    driven.accept();
    let body = bytes("zookeeper/sigstop-subscribe-old-leader.recordio");
    // SUBSCRIBED and one heartbeat; then the master is stopped. Agents are listed meanwhile, in vain.
    driven.receive(&first(&body, 2));
    assert!(driven.session.is_live());
    while driven.losses().is_empty() {
        driven.wait();
    }
    assert_eq!(driven.now, Duration::from_secs(75));
    assert!(driven.losses()[0].contains("silent for 75 s (5 heartbeats)"), "{:?}", driven.losses());
    // When it goes on, what it says comes from nowhere: its connection is closed.
    assert!(!driven.is_connected);
    let told = driven.facts.len();
    driven.receive(&records(&body)[2..].concat());
    assert_eq!(driven.facts.len(), told);
}

#[test]
fn a_frozen_leader_is_dropped_at_once_when_zookeeper_names_another() {
    let mut driven = Driven::new(&detecting(), 1);
    assert_eq!(driven.requests.len(), 0, "nobody is known");
    driven.step(|session, now| session.leader_detected(now, led_by("m1:5050")));
    driven.accept();
    driven.receive(&first(&bytes("zookeeper/sigstop-subscribe-old-leader.recordio"), 2));
    driven.now = Duration::from_secs(10);
    driven.step(|session, now| session.leader_detected(now, led_by("m2:5050")));
    assert_eq!(driven.losses(), ["the leader changed from m1:5050 to m2:5050"]);
    assert_eq!(driven.requests.last().unwrap().1.target.to_string(), "m2:5050");
    assert_eq!(driven.requests.last().unwrap().0, driven.now);
    driven.accept();
    driven.receive(&bytes("zookeeper/sigstop-subscribe-new-leader.recordio"));
    let streams: Vec<_> = driven.facts.iter().map(|(stream, _)| *stream).collect();
    assert!(streams.is_sorted() && streams.contains(&101) && streams.contains(&102), "{streams:?}");
}

#[test]
fn the_same_leader_again_changes_nothing() {
    let mut driven = Driven::new(&detecting(), 1);
    driven.step(|session, now| session.leader_detected(now, led_by("m1:5050")));
    driven.accept();
    driven.receive(&first(&bytes("zookeeper/kill9-subscribe-old-leader.recordio"), 2));
    let more = Detected { masters: vec![Target::parse("m9:5050").unwrap()], ..led_by("m1:5050") };
    driven.step(|session, now| session.leader_detected(now, more));
    driven.step(|session, now| session.leader_detected(now, Detected::default()));
    driven.step(|session, _| session.detection_failed("gone"));
    assert!(driven.session.is_live() && driven.losses().is_empty());
}

#[test]
fn attempts_become_rarer_and_are_never_a_busy_loop() {
    for seed in 0..20 {
        let mut driven = Driven::new(&config(&["m1:5050", "m2:5050", "m3:5050"]), seed);
        while driven.now < Duration::from_secs(600) {
            if driven.is_connected {
                driven.step(|session, now| session.failed(now, "refused"));
            } else {
                driven.wait();
            }
        }
        // Three a round; rounds at most 30 s apart, on average 15 s.
        let count = driven.requests.len() / 3;
        assert!((20..150).contains(&count), "seed {seed}: {count} rounds in ten minutes");
        assert_eq!(driven.losses(), ["refused"], "the same reason is told once");
        let hosts: Vec<_> = driven.requests.iter().take(3).map(|(_, request)| request.target.host.clone()).collect();
        assert_eq!(hosts, ["m1", "m2", "m3"]);
    }
}

#[test]
fn evictions_that_follow_one_another_are_not_answered_at_once() {
    let body = bytes("errors-auth/limit2-subscriber-1.recordio");
    let mut driven = Driven::new(&config(&["m1:5050"]), 3);
    for _ in 0..12 {
        driven.accept();
        driven.receive(&body);
        driven.step(|session, now| session.ended(now));
        driven.wait();
    }
    assert_eq!(driven.requests[1].0, Duration::ZERO, "the first time it is asked again at once");
    assert!(driven.now > Duration::from_secs(5), "a thousand that evict each other slow down: {:?}", driven.now);
    // After a stream that lasted, at once again.
    driven.accept();
    driven.receive(&body);
    driven.now += Duration::from_secs(40);
    driven.step(|session, now| session.ended(now));
    assert_eq!(driven.session.deadline(), Some(driven.now));
}

#[test]
fn a_snapshot_that_is_cut_off_is_not_finished() {
    let body = bytes("scenario/subscribe-populated.json.recordio");
    let mut driven = Driven::new(&config(&["m1:5050"]), 1);
    driven.accept();
    driven.receive(&body[..20_000]);
    driven.step(|session, now| session.failed(now, "reset"));
    let has = |driven: &Driven, wanted: fn(&Fact) -> bool| driven.facts.iter().any(|(_, fact)| wanted(fact));
    assert!(has(&driven, |fact| matches!(fact, Fact::SnapshotStarted)));
    assert!(!has(&driven, |fact| matches!(fact, Fact::SnapshotFinished(_) | Fact::Live)));
    // An end in order within a record is no end in order.
    driven.wait();
    driven.accept();
    driven.receive(&body[..20_000]);
    driven.step(|session, now| session.ended(now));
    assert!(driven.losses().last().unwrap().contains("within a record"), "{:?}", driven.losses());
}

#[test]
fn a_stream_that_begins_otherwise_is_given_up() {
    let body = bytes("scenario/subscribe-populated.json.recordio");
    let mut driven = Driven::new(&config(&["m1:5050"]), 1);
    driven.accept();
    driven.receive(records(&body)[2]);
    assert!(driven.losses()[0].contains("does not begin with SUBSCRIBED"), "{:?}", driven.losses());
}

#[test]
fn a_task_that_cannot_be_read_is_a_problem_and_still_listed() {
    let task = r#"{"task_id":{"value":"t"},"framework_id":{"value":"f"},"name":7}"#;
    let text = format!(r#"{{"type":"SUBSCRIBED","subscribed":{{"get_state":{{"get_tasks":{{"tasks":[{task}]}}}}}}}}"#);
    let mut driven = Driven::new(&config(&["m1:5050"]), 1);
    driven.accept();
    driven.receive(format!("{}\n{text}", text.len()).as_bytes());
    let facts: Vec<_> = driven.facts.into_iter().map(|(_, fact)| fact).collect();
    let problem = facts.iter().find_map(|fact| match fact {
        Fact::Problem(problem) => Some(problem),
        _ => None,
    });
    assert_eq!(&*problem.unwrap().at, "task t");
    let key = pointsman::model::id::TaskKey::new("prod".into(), "f".into(), "t");
    assert!(facts.contains(&Fact::TaskUnreadable(key)), "{facts:?}");
}

#[test]
fn a_stream_that_ends_within_its_first_event_is_one_failure() {
    // An event before SUBSCRIBED, and after it something that is no RecordIO: each would end the stream.
    let heartbeat = r#"{"type":"AGENT_REMOVED","agent_removed":{"agent_id":{"value":"a"}}}"#;
    let mut driven = Driven::new(&config(&["m1:5050", "m2:5050", "m3:5050"]), 1);
    driven.accept();
    driven.receive(format!("{}\n{heartbeat}<html>", heartbeat.len()).as_bytes());
    let hosts: Vec<_> = driven.requests.iter().map(|(_, request)| request.target.host.clone()).collect();
    assert_eq!(hosts, ["m1", "m2"], "nobody is passed over");
    assert_eq!(driven.losses().len(), 1, "{:?}", driven.losses());
}

#[test]
fn any_sequence_of_outcomes_keeps_the_rules() {
    let bodies = [
        bytes("zookeeper/sigterm-subscribe-new-leader.recordio"),
        bytes("errors-auth/limit2-subscriber-1.recordio"),
        bytes("scenario/subscribe-populated.json.recordio"),
    ];
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let is_detecting = random.bool();
        let mut driven = Driven::new(&if is_detecting { detecting() } else { config(&["m1:5050", "m2:5050"]) }, seed);
        let mut left: Vec<u8> = Vec::new();
        for _ in 0..300 {
            let before = driven.requests.len();
            match random.u32(..12) {
                0 | 1 if driven.is_asking => {
                    driven.accept();
                    left.clone_from(&bodies[random.usize(..bodies.len())]);
                }
                2..=5 => {
                    let count = random.usize(..=left.len().min(30_000));
                    let chunk: Vec<_> = left.drain(..count).collect();
                    driven.receive(&chunk);
                }
                6 => driven.step(|session, now| session.ended(now)),
                7 => driven.step(|session, now| session.failed(now, "reset")),
                8 => {
                    let location = Some(format!("//m{}:5050/master/api/v1", random.u32(1..4)));
                    driven.step(|session, now| {
                        session.answered(now, &Head { status: 307, location, ..Head::default() }, None, &[]);
                    });
                }
                9 if is_detecting => {
                    let leader = format!("m{}:5050", random.u32(1..4));
                    driven.step(|session, now| session.leader_detected(now, led_by(&leader)));
                }
                10 => driven.step(|session, now| session.request_snapshot(now)),
                _ if driven.session.deadline().is_some() => driven.wait(),
                _ => {}
            }
            if driven.requests.len() > before {
                left.clear();
            }
        }
        check_order(seed, &driven.facts);
    }
}

/// Streams rise; what a stream says begins with a snapshot and is live after its end only.
fn check_order(seed: u64, facts: &[(u64, Fact)]) {
    let (mut stream, mut is_open, mut is_live) = (0, false, false);
    for (number, fact) in facts {
        assert!(*number >= stream, "seed {seed}");
        if *number > stream {
            (stream, is_open, is_live) = (*number, false, false);
        }
        match fact {
            Fact::SnapshotStarted => is_open = true,
            Fact::SnapshotFinished(_) => assert!(is_open, "seed {seed}: the end of nothing"),
            Fact::Live => {
                assert!(is_open && !is_live, "seed {seed}");
                is_live = true;
            }
            Fact::Lost { .. } => (is_open, is_live) = (false, false),
            Fact::Masters(_) => {}
            fact => assert!(is_open, "seed {seed}: {fact:?} before its snapshot"),
        }
    }
    // What is told last is consistent enough to be applied.
    let last: Vec<_> = facts.iter().filter(|(number, _)| *number == stream).map(|(_, fact)| fact.clone()).collect();
    Model::of(&last);
}
