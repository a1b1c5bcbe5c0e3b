//! `GET /master/state` at an interval: recorded and damaged documents, packed or not, cut anywhere; whom to ask, when,
//! and what is not believed.

mod mesos_support;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesos_support::facts::{Model, Source, config, losses};
use mesos_support::master::{Answer, Master, recorded};
use mesos_support::recordings::{bytes, json};
use mesos_support::{expected, legacy};
use pointsman::cluster::event::{ClusterEvent, Fact, SourceEvent};
use pointsman::cluster::sources::mesos::leader::{Detected, Target};
use pointsman::cluster::sources::mesos::refusal::Head;
use pointsman::cluster::sources::mesos::session::{Action, Request, Session};
use pointsman::cluster::state::ClusterState;
use pointsman::config::Config;
use pointsman::config::checked::{Masters, MesosConfig, MesosCredentials, MesosEncoding, MesosMode, Secret};
use pointsman::model::network::MastersFacts;
use pointsman::model::task::TaskState;
use pointsman::model::time::Timestamp;
use pointsman::table::writer::Writer;
use serde_json::{Value, json};

fn polling(masters: &[&str]) -> MesosConfig {
    MesosConfig { mode: MesosMode::State, ..config(masters, MesosEncoding::Protobuf) }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An answer with this document, in chunks of random sizes.
fn answer(document: &[u8], packed: bool, random: &mut fastrand::Rng) -> Answer {
    let body = if packed { gzip(document) } else { document.to_vec() };
    let encoding = if packed { "Content-Encoding: gzip\r\n" } else { "" };
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 11:47:21 GMT\r\nContent-Type: application/json\r\n{encoding}\
         Transfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    let mut rest = body.as_slice();
    let largest = [3, 300, 9000][random.usize(..3)].max(body.len() / 500);
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(random.usize(1..=largest).min(rest.len()));
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
        rest = after;
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    Answer::Bytes(bytes)
}

/// A session in virtual time.
struct Driven {
    session: Session,
    now: Duration,
    requests: Vec<(Duration, Request)>,
    facts: Vec<Fact>,
}

impl Driven {
    fn new(config: &MesosConfig) -> Self {
        let session = Session::new(config, 7, 100);
        let mut driven = Self { session, now: Duration::ZERO, requests: Vec::new(), facts: Vec::new() };
        driven.step(Session::poll);
        driven
    }

    fn step(&mut self, step: impl FnOnce(&mut Session, Duration)) {
        step(&mut self.session, self.now);
        while let Some(action) = self.session.next_action() {
            match action {
                Action::Open(request) => self.requests.push((self.now, request)),
                Action::Emit(event) => self.facts.extend(event.facts),
                Action::Disconnect | Action::ListAgents(_) => {}
            }
        }
    }

    fn wait(&mut self) {
        self.now = self.session.deadline().expect("it waits for something").max(self.now);
        self.step(Session::poll);
    }

    fn answered(&mut self, change: impl FnOnce(&mut Head)) {
        let mut head = Head { status: 200, content_type: Some("application/json".into()), ..Head::default() };
        change(&mut head);
        self.step(|session, now| session.answered(now, &head, None, &[]));
    }

    /// The master answers with this document, cut anywhere.
    fn read(&mut self, document: &[u8], packed: bool, random: &mut fastrand::Rng) {
        self.answered(|head| head.content_encoding = packed.then(|| "gzip".into()));
        let body = if packed { gzip(document) } else { document.to_vec() };
        let mut rest = body.as_slice();
        let largest = [1, 50, 5000][random.usize(..3)].max(body.len() / 300);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(random.usize(1..=largest).min(rest.len()));
            self.step(|session, now| session.received(now, chunk));
            rest = after;
        }
        self.step(|session, now| session.ended(now));
    }

    fn take(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }
}

/// What a first read of this document says.
fn facts_of(document: &[u8], packed: bool, random: &mut fastrand::Rng) -> Vec<Fact> {
    let mut driven = Driven::new(&polling(&["m1:5050"]));
    driven.read(document, packed, random);
    driven.take()
}

/// What a first read says in the end. It also tells the ends of tasks that it cannot know to be unknown.
fn model_of(facts: &[Fact]) -> Model {
    let mut model = Model::default();
    for fact in facts {
        match fact {
            Fact::Status(status) if !model.tasks.contains_key(&status.key.to_string()) => {
                assert_eq!(status.state, TaskState::Ended);
            }
            fact => model.apply(fact),
        }
    }
    model
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/mesos-state");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("SKIP: no recorded state documents of Mesos ({} is not there)", folder.display());
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .filter(|(name, _)| name.starts_with("mesos"))
        .collect();
    found.sort();
    found
}

fn documents() -> Vec<(String, Vec<u8>)> {
    let mut documents = fixtures();
    for name in ["scenario/calls", "scenario/calls-agent2-unreachable"] {
        documents.push((name.into(), bytes(&format!("{name}/legacy-master-state.json"))));
    }
    documents
}

fn is_complete(facts: &[Fact]) -> bool {
    matches!(facts.last(), Some(Fact::Live)) && facts.iter().any(|fact| matches!(fact, Fact::SnapshotFinished(_)))
}

#[test]
fn every_document_says_what_an_independent_reading_of_it_says() {
    let mut random = fastrand::Rng::with_seed(3);
    for (name, document) in documents() {
        let wanted = legacy::of_document(&serde_json::from_slice(&document).unwrap());
        for packed in [false, true] {
            let facts = facts_of(&document, packed, &mut random);
            assert!(is_complete(&facts), "{name}: {:?}", losses(&facts));
            let model = model_of(&facts);
            let found = expected::of_model(&model);
            let both = found.iter().zip(&wanted).find(|(found, wanted)| found != wanted);
            assert!(both.is_none() && found.len() == wanted.len(), "{name}: {both:#?}");
        }
    }
}

#[test]
fn the_state_says_the_same_as_the_stream_of_the_same_cluster() {
    let mut random = fastrand::Rng::with_seed(4);
    let state = model_of(&facts_of(&bytes("scenario/calls/legacy-master-state.json"), true, &mut random));
    let stream = expected::of_state(&json("scenario/calls/GET_STATE.json"));
    let tasks = |lines: &[String]| -> BTreeSet<String> {
        let is_task = |line: &&String| line.starts_with("task ");
        // A state document has no health checks and grace periods, and puts ranges of ports together.
        let same = |line: &String| {
            let line = line.replace("check=true", "check=false");
            line.replace("\"31703-31703\", \"31704-31704\"", "\"31703-31704\"")
        };
        lines.iter().filter(is_task).map(same).map(|line| without_grace(&line)).collect()
    };
    assert_eq!(tasks(&expected::of_model(&state)), tasks(&stream));
}

fn without_grace(line: &str) -> String {
    line.rsplit_once(" grace=").map_or(line, |(rest, _)| rest).to_owned()
}

#[test]
fn the_real_source_reads_at_an_interval_and_tells_what_changed() {
    let mut random = fastrand::Rng::with_seed(5);
    let first = state(&[("a", "TASK_RUNNING"), ("b", "TASK_RUNNING")], &[]);
    let second = state(&[("b", "TASK_KILLING"), ("c", "TASK_RUNNING")], &[("a", "TASK_FINISHED")]);
    let script = vec![
        answer(first.to_string().as_bytes(), true, &mut random),
        answer(second.to_string().as_bytes(), false, &mut random),
    ];
    let master = Master::start(script, None);
    let mut config = polling(&[&master.address.to_string()]);
    config.poll_interval = Duration::from_millis(10);
    config.credentials =
        Some(MesosCredentials::Basic { principal: "operator".into(), secret: Secret("s3cret".into()) });
    let mut source = Source::start(config);
    let mut facts = source.until(|fact| matches!(fact, Fact::Live));
    let mut model = model_of(&facts);
    assert_eq!(model.in_state(TaskState::Running), 2);
    facts = source.until(|fact| matches!(fact, Fact::Live));
    facts.iter().for_each(|fact| model.apply(fact));
    assert_eq!((model.in_state(TaskState::Ended), model.in_state(TaskState::Killing)), (1, 1));
    // The script is used up: the master closes without an answer. What was known stays.
    assert!(source.next_loss().contains("the connection was closed"));
    let request = master.requests().remove(0).to_ascii_lowercase();
    assert!(request.starts_with("get /master/state http/1.1\r\n"), "{request}");
    for line in ["accept-encoding: gzip\r\n", "accept: application/json\r\n", "authorization: basic b3blcmf0b3i6"] {
        assert!(request.contains(line), "{line} in {request}");
    }
    source.stop();
}

/// Mesos-DNS's `IAMConfigFile`: a login for a token, which goes to the masters, and another one when it is refused.
#[test]
fn a_service_account_logs_in_and_again_when_its_token_is_taken_back() {
    let mut random = fastrand::Rng::with_seed(8);
    let document = state(&[("a", "TASK_RUNNING")], &[]).to_string();
    let said = |random: &mut fastrand::Rng| answer(document.as_bytes(), true, random);
    let token = |token: &str| {
        let body = json!({ "token": token }).to_string();
        Answer::Bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
    };
    let login = Master::start(vec![token("one"), token("two")], None);
    let script = vec![said(&mut random), recorded("errors-auth/auth-get-master-state"), said(&mut random)];
    let master = Master::start(script, None);
    let folder = tempfile::tempdir().unwrap();
    let account = json!({
        "uid": "pointsman", "private_key": include_str!("data/service-account.pem"), "scheme": "RS256",
        "login_endpoint": format!("http://{}/acs/api/v1/auth/login", login.address),
    });
    std::fs::write(folder.path().join("account.json"), account.to_string()).unwrap();
    let mut config = polling(&[&master.address.to_string()]);
    config.poll_interval = Duration::from_millis(10);
    config.credentials = Some(MesosCredentials::ServiceAccount(folder.path().join("account.json")));
    let mut source = Source::start(config);
    source.until(|fact| matches!(fact, Fact::Live));
    assert!(source.next_loss().contains("does not accept the credentials (401)"));
    source.until(|fact| matches!(fact, Fact::Live));
    source.stop();
    let sent = |request: &String| {
        let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization: "));
        line.map(|line| line["authorization: ".len()..].to_owned())
    };
    let sent: Vec<_> = master.requests().iter().take(3).map(sent).collect();
    assert_eq!(sent, ["token=one", "token=one", "token=two"].map(|token| Some(token.to_owned())));
    let logins = login.requests();
    assert_eq!(logins.len(), 2);
    assert!(logins[0].starts_with("POST /acs/api/v1/auth/login HTTP/1.1\r\n"), "{}", logins[0]);
    let body = logins[0].split_once("\r\n\r\n").unwrap().1;
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["uid"], body["exp"].is_u64()), (&json!("pointsman"), true));
    assert_eq!(body["token"].as_str().unwrap().split('.').count(), 3, "signed: tests/marathon_tls.rs checks by what");
}

#[test]
fn a_master_that_does_not_lead_redirects_or_names_the_leader() {
    let mut random = fastrand::Rng::with_seed(6);
    let document = state(&[("a", "TASK_RUNNING")], &[]).to_string();
    let leader = Master::start(vec![answer(document.as_bytes(), true, &mut random)], None);
    let mut old = state(&[], &[]);
    old["leader"] = json!(format!("master@{}", leader.address));
    old["slaves"] = json!([]);
    let names = Master::start(vec![answer(old.to_string().as_bytes(), false, &mut random)], None);
    let Answer::Bytes(redirect) = recorded("zookeeper/get-B-master-state") else { unreachable!() };
    let redirect = String::from_utf8(redirect).unwrap();
    assert!(redirect.contains("Location: //127.0.0.1:5050/master/state"));
    let place = format!("//{}/master/state", names.address);
    let redirect = redirect.replace("//127.0.0.1:5050/master/state", &place);
    let redirects = Master::start(vec![Answer::Bytes(redirect.into_bytes())], None);

    let mut config = polling(&[&redirects.address.to_string()]);
    config.credentials =
        Some(MesosCredentials::Basic { principal: "operator".into(), secret: Secret("s3cret".into()) });
    let mut source = Source::start(config);
    let facts = source.until(|fact| matches!(fact, Fact::Live));
    assert_eq!(losses(&facts), [] as [&str; 0]);
    assert_eq!(facts.iter().filter(|fact| matches!(fact, Fact::SnapshotFinished(_))).count(), 1);
    assert_eq!(model_of(&facts).tasks.len(), 1);
    // Nobody is told to lead but by the state of the one that does, which says its own address.
    let itself = "10.0.0.1:5050".parse().unwrap();
    let expected = MastersFacts { leader: Some(itself), masters: vec![redirects.address, itself] };
    assert_eq!(masters(&facts), [&expected]);
    // Credentials go to configured masters only.
    let has_credentials = |master: &Master| master.requests()[0].to_ascii_lowercase().contains("authorization:");
    assert!(has_credentials(&redirects) && !has_credentials(&names) && !has_credentials(&leader));
    source.stop();
}

#[test]
fn the_leader_is_where_its_state_says_that_it_is() {
    let mut random = fastrand::Rng::with_seed(11);
    let of = |pid: &str| {
        let mut document = state(&[("a", "TASK_RUNNING")], &[]);
        document["pid"] = pid.into();
        document["leader"] = pid.into();
        document.to_string()
    };
    // Reached through a forwarded port; then it says the name of its host, which has no address in it; then its own again.
    let pids = ["master@10.0.0.1:5050", "master@m1.example:5050", "master@m1.example:5050", "master@[fd00::1]:5051"];
    let script = pids.map(|pid| answer(of(pid).as_bytes(), true, &mut random)).into();
    let master = Master::start(script, None);
    let mut config = polling(&[&master.address.to_string()]);
    config.poll_interval = Duration::from_millis(10);
    let mut source = Source::start(config);
    let (v4, v6) = ("10.0.0.1:5050".parse().unwrap(), "[fd00::1]:5051".parse().unwrap());
    let is_reached = MastersFacts { leader: Some(master.address), masters: vec![master.address] };
    let led = |leader| MastersFacts { leader: Some(leader), masters: vec![master.address, leader] };
    for expected in [Some(led(v4)), Some(is_reached), None, Some(led(v6))] {
        let facts = source.until(|fact| matches!(fact, Fact::Live));
        assert_eq!(masters(&facts), expected.iter().collect::<Vec<_>>());
        // It belongs to what the state says: whoever sees the snapshot whole sees the leader.
        let at = |is_it: fn(&Fact) -> bool| facts.iter().position(is_it);
        let finished = at(|fact| matches!(fact, Fact::SnapshotFinished(_)));
        assert!(at(|fact| matches!(fact, Fact::Masters(_))) < finished);
    }
    source.stop();
}

fn masters(facts: &[Fact]) -> Vec<&MastersFacts> {
    let said = facts.iter().filter_map(|fact| match fact {
        Fact::Masters(masters) => Some(masters),
        _ => None,
    });
    said.collect()
}

#[test]
fn refusals_are_told_with_their_mend() {
    let document = |value: &Value| answer(value.to_string().as_bytes(), false, &mut fastrand::Rng::with_seed(1));
    let mut without_agents = state(&[], &[]);
    without_agents.as_object_mut().unwrap().remove("slaves");
    let mut of_nobody = state(&[], &[]);
    of_nobody.as_object_mut().unwrap().remove("leader");
    let Answer::Bytes(plain) = document(&state(&[], &[])) else { unreachable!() };
    let plain = String::from_utf8(plain).unwrap();
    let with = |from: &str, to: &str| Answer::Bytes(plain.replacen(from, to, 1).into_bytes());
    for (answer, expected) in [
        (recorded("errors-auth/auth-get-master-state"), "MASTER asks for credentials (401)"),
        (recorded("zookeeper/leader-not-recovered-get-state"), "MASTER: it was elected 4 s ago and its state is empty"),
        (recorded("errors-auth/err-path-not-found"), "MASTER has no /master/state (404"),
        (document(&json!({"frameworks": 5})), "MASTER: its state has no list of slaves"),
        (document(&without_agents), "MASTER: its state has no list of slaves"),
        (document(&of_nobody), "MASTER: it does not lead"),
        (document(&json!([1])), "MASTER: malformed JSON object"),
        (with("Content-Type: application/json", "Content-Type: text/html"), "MASTER answers with Content-Type"),
        (with("Date:", "Content-Encoding: br\r\nDate:"), "MASTER: its answer is encoded with \"br\""),
        (with("Date:", "Content-Encoding: gzip\r\nDate:"), "MASTER: its answer is not the gzip that it says"),
    ] {
        let master = Master::start(vec![answer], None);
        let mut source = Source::start(polling(&[&master.address.to_string()]));
        let facts = source.until(|fact| matches!(fact, Fact::Lost { .. }));
        let loss = losses(&facts).remove(0).replace(&master.address.to_string(), "MASTER");
        source.stop();
        assert!(loss.starts_with(expected), "{expected}: {loss}");
        assert!(masters(&facts).is_empty(), "{expected}: {facts:?}");
    }
}

#[test]
fn a_document_that_ends_early_is_no_snapshot() {
    let mut random = fastrand::Rng::with_seed(8);
    let document = state(&[("a", "TASK_RUNNING"), ("b", "TASK_RUNNING")], &[]).to_string().into_bytes();
    let packed = gzip(&document);
    for (body, is_packed) in [(&document, false), (&packed, true)] {
        for cut in 0..body.len() {
            let mut driven = Driven::new(&polling(&["m1:5050"]));
            driven.answered(|head| head.content_encoding = is_packed.then(|| "gzip".into()));
            driven.step(|session, now| session.received(now, &body[..cut]));
            driven.step(Session::ended);
            assert_eq!(losses(&driven.facts).len(), 1, "{cut} of {}", body.len());
            assert!(!driven.facts.iter().any(|fact| matches!(fact, Fact::SnapshotFinished(_) | Fact::Live)), "{cut}");
        }
    }
    assert!(is_complete(&facts_of(&document, true, &mut random)));
}

#[test]
fn reads_are_an_interval_apart_and_a_new_leader_is_read_at_once() {
    let masters = Masters::ZooKeeper { servers: vec!["z:2181".into()], path: "/mesos".into(), auth: None };
    let mut config = MesosConfig { masters, ..polling(&[]) };
    config.poll_interval = Duration::from_secs(30);
    config.poll_timeout = Duration::from_secs(50);
    let mut random = fastrand::Rng::with_seed(9);
    let document = state(&[("a", "TASK_RUNNING")], &[]).to_string().into_bytes();
    let mut driven = Driven::new(&config);
    assert_eq!(driven.requests.len(), 0, "nobody is known");
    let leads = |leader: &str| {
        let target = Target::parse(leader).unwrap();
        Detected { leader: Some(target.clone()), masters: vec![target], ..Detected::default() }
    };
    driven.step(|session, now| session.leader_detected(now, leads("m1:5050")));
    let mut pauses = BTreeSet::new();
    for _ in 0..20 {
        driven.read(&document, true, &mut random);
        assert!(driven.session.is_live());
        let before = driven.now;
        driven.wait();
        pauses.insert(driven.now - before);
    }
    assert!(pauses.len() > 10, "they vary");
    let (shortest, longest) = (*pauses.first().unwrap(), *pauses.last().unwrap());
    assert!(shortest >= Duration::from_secs(27) && longest <= Duration::from_secs(33), "{pauses:?}");
    assert!(driven.requests.iter().all(|(_, request)| request.target.path == "/master/state"));

    driven.read(&document, true, &mut random);
    driven.step(|session, now| session.leader_detected(now, leads("m2:5050")));
    let (at, request) = driven.requests.last().unwrap();
    assert_eq!((*at, request.target.to_string().as_str()), (driven.now, "m2:5050"));
    // It hangs: the read is given up, and what was known stays.
    driven.take();
    driven.answered(|_| {});
    let asked = driven.now;
    while losses(&driven.facts).is_empty() {
        driven.step(|session, now| session.received(now, b" "));
        driven.wait();
    }
    assert_eq!(driven.now - asked, Duration::from_secs(50));
    assert_eq!(losses(&driven.facts), ["m2:5050 does not send its whole state within 50 s"]);
    assert!(!driven.session.is_live());
}

#[test]
fn a_read_that_is_asked_for_is_made_at_once_and_only_between_reads() {
    let mut random = fastrand::Rng::with_seed(10);
    let document = state(&[("a", "TASK_RUNNING")], &[]).to_string().into_bytes();
    let mut driven = Driven::new(&polling(&["m1:5050"]));
    driven.read(&document, false, &mut random);
    assert_eq!(driven.requests.len(), 1);
    driven.step(Session::request_snapshot);
    assert_eq!(driven.requests.len(), 2);
    driven.step(Session::request_snapshot);
    driven.answered(|_| {});
    driven.step(Session::request_snapshot);
    assert_eq!(driven.requests.len(), 2, "one is under way");
}

/// A writer that a session's facts go to.
struct World {
    driven: Driven,
    writer: Writer,
    stream: u64,
}

impl World {
    fn new() -> Self {
        let mesos = polling(&["m1:5050"]);
        let driven = Driven::new(&mesos);
        let mut config = Config::default();
        config.mesos.push(mesos);
        let state = ClusterState::new(Arc::new(config), Timestamp(0));
        Self { driven, writer: Writer::new(state, 1, Timestamp(0)), stream: 0 }
    }

    fn read(&mut self, document: &Value) {
        self.driven.read(document.to_string().as_bytes(), true, &mut fastrand::Rng::with_seed(1));
        self.stream += 1;
        let event = SourceEvent { source: "prod".into(), stream: self.stream, facts: self.driven.take() };
        self.writer.apply([ClusterEvent::Source(event)], self.now());
    }

    fn now(&self) -> Timestamp {
        Timestamp(0).plus(self.driven.now)
    }

    /// The time of the next read comes.
    fn wait(&mut self) {
        self.driven.wait();
    }

    fn tasks(&mut self) -> usize {
        let now = self.now();
        self.writer.first(now).tasks.len()
    }

    fn held(&mut self) -> Option<usize> {
        let now = self.now();
        self.writer.first(now).sources[0].held.as_ref().map(|held| held.tasks)
    }
}

fn many(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("t{number}")).collect()
}

fn running(names: &[String]) -> Vec<(&str, &str)> {
    names.iter().map(|name| (name.as_str(), "TASK_RUNNING")).collect()
}

#[test]
fn an_empty_state_of_a_master_that_has_not_recovered_is_not_believed() {
    let names = many(3);
    let mut world = World::new();
    world.read(&state(&running(&names), &[]));
    assert_eq!(world.tasks(), 3);
    // Its clock is not told, so that only the state's emptiness is there to doubt.
    let mut empty = state(&[], &[]);
    empty["slaves"] = json!([]);
    empty["frameworks"] = json!([]);
    world.wait();
    world.read(&empty);
    assert_eq!((world.tasks(), world.held()), (3, Some(3)));
    // It has recovered: agents are known to be missing, and then come back.
    let mut recovered = empty.clone();
    recovered["recovered_slaves"] = state(&[], &[])["slaves"].clone();
    world.wait();
    world.read(&recovered);
    assert_eq!((world.tasks(), world.held()), (3, None));
    world.wait();
    world.read(&state(&running(&names), &[]));
    assert_eq!((world.tasks(), world.held()), (3, None));
    // Really empty: believed once a second read, a minute later, agrees.
    let begun = world.now();
    loop {
        world.wait();
        world.read(&empty);
        if world.tasks() == 0 {
            break;
        }
        assert!(world.now().since(begun) < Duration::from_secs(150), "held for ever");
    }
    assert!(world.now().since(begun) >= Duration::from_secs(60));
}

#[test]
fn tasks_that_are_told_to_have_ended_go_at_once_and_those_that_vanish_are_held() {
    let names = many(41);
    let mut world = World::new();
    world.read(&state(&running(&names), &[]));
    // 30 of 41 ended, as the state tells; one of them runs again under its old id.
    let ended: Vec<_> = names[..30].iter().map(|name| (name.as_str(), "TASK_FINISHED")).collect();
    let mut left = running(&names[30..]);
    left.push((&names[0], "TASK_RUNNING"));
    world.wait();
    world.read(&state(&left, &ended));
    assert_eq!((world.tasks(), world.held()), (12, None));
    // The rest vanishes without a word.
    world.wait();
    world.read(&state(&[("new", "TASK_RUNNING")], &ended));
    assert_eq!((world.tasks(), world.held()), (12, Some(11)));
}

#[test]
fn a_framework_that_ended_takes_its_tasks_along() {
    let names = many(40);
    let mut world = World::new();
    world.read(&state(&running(&names), &[]));
    let mut document = state(&[], &[]);
    document["frameworks"] = json!([]);
    document["completed_frameworks"] = json!([{"id": "F-0001", "name": "marathon", "completed_tasks": [{"id": 5}]}]);
    world.wait();
    world.read(&document);
    assert_eq!((world.tasks(), world.held()), (0, None));
}

#[test]
fn a_problem_names_what_is_bad_until_it_is_mended() {
    let names = many(3);
    let mut damaged = state(&running(&names), &[]);
    damaged["frameworks"][0]["tasks"][1]["discovery"] = json!({"ports": {"ports": [{"number": "80"}]}});
    let mut world = World::new();
    world.read(&damaged);
    assert_eq!(world.tasks(), 2);
    let problems = |world: &mut World| -> Vec<String> {
        let now = world.now();
        let table = world.writer.first(now);
        table.problems.iter().flat_map(|(_, of)| of.iter()).map(|problem| problem.message.to_string()).collect()
    };
    let found = problems(&mut world);
    let names_it = |text: &String| text.starts_with("framework F-0001: t1: invalid type: string \"80\"");
    assert!(found.iter().any(names_it), "{found:?}");
    assert_eq!(world.driven.session.take_counts().unreadable, 1);
    world.wait();
    world.read(&state(&running(&names), &[]));
    assert_eq!(world.tasks(), 3);
    // Once known, it is served as it was last read.
    world.wait();
    world.read(&damaged);
    assert_eq!((world.tasks(), world.held()), (3, None));
    world.wait();
    world.read(&state(&running(&names), &[]));
    assert!(!problems(&mut world).iter().any(names_it));
}

/// Puts every wrong type in every place of a document, one at a time: only the record it is in may change.
#[test]
fn one_wrong_type_anywhere_spoils_only_its_own_record() {
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!("x"),
        json!("\u{0}\u{e9}"),
        json!([]),
        json!({}),
        json!([[[1]]]),
        json!({"a": {"b": 1}, "id": 7, "value": []}),
    ];
    let all = std::env::var_os("POINTSMAN_FULL").is_some();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut documents = documents();
    // The larger ones take long, and have nothing in them that the smaller ones have not.
    documents.retain(|(_, bytes)| bytes.len() < 60_000);
    for (name, bytes) in documents {
        let original: Value = serde_json::from_slice(&bytes).unwrap();
        let whole = records(&facts_of(&bytes, false, &mut random));
        let mut places = Vec::new();
        pointers(&original, "", &mut places);
        if !all {
            random.shuffle(&mut places);
            places.truncate(60);
        }
        for place in places {
            let values: Vec<_> = if all { wrong.iter().collect() } else { vec![random.choice(&wrong).unwrap()] };
            for value in values {
                if value.is_array() && original.pointer(&place).unwrap().is_array() {
                    // Another list is no wrong type.
                    continue;
                }
                let mut document = original.clone();
                *document.pointer_mut(&place).unwrap() = value.clone();
                let facts = facts_of(document.to_string().as_bytes(), random.bool(), &mut random);
                check_damage(&whole, &facts, &place, &format!("{name}: {value} at {place}"));
            }
        }
    }
}

/// `facts` are of a document that is damaged at `place`.
fn check_damage(whole: &BTreeSet<String>, facts: &[Fact], place: &str, about: &str) {
    if !is_complete(facts) {
        // Not believed at all: only where what is said of the master or the lists themselves is damaged.
        // A master that seems to be another than the leader that it names is not lost: that leader is asked.
        let is_root = place.matches('/').count() == 1;
        let expected = usize::from(!matches!(place, "/pid" | "/leader"));
        assert!(is_root && losses(facts).len() >= expected, "{about}: {:?}", losses(facts));
        return;
    }
    let found = records(facts);
    let parts: Vec<_> = place.split('/').skip(1).collect();
    let is_one = |list: &str| parts.len() > 1 && parts[0] == list;
    let is_inside_task = parts.len() >= 4
        && parts[0] == "frameworks"
        && matches!(parts[2], "tasks" | "unreachable_tasks" | "completed_tasks");
    let missing: Vec<_> = whole.difference(&found).collect();
    let allowed = if is_inside_task || is_one("slaves") || is_one("recovered_slaves") {
        1
    } else if parts[0] == "frameworks" && parts.len() >= 3 {
        // A member of a framework, its lists of tasks among them; under another id it is another framework.
        if matches!(parts[2], "tasks" | "unreachable_tasks" | "id") && parts.len() == 3 { usize::MAX } else { 1 }
    } else if parts[0] == "frameworks" {
        usize::MAX
    } else {
        usize::from(matches!(parts[0], "orphan_tasks"))
    };
    assert!(missing.len() <= allowed, "{about}: {missing:?} are missing");
}

/// Tasks, agents and frameworks as lines.
fn records(facts: &[Fact]) -> BTreeSet<String> {
    let record = |fact: &Fact| match fact {
        // Which of two tasks of one id is the second changes with the first.
        Fact::Task(task) => Some(format!("{task:?}").replace("\u{1f}2", "")),
        Fact::Agent(agent) => Some(format!("{agent:?}")),
        Fact::Framework(framework) => Some(format!("{framework:?}")),
        _ => None,
    };
    facts.iter().filter_map(record).collect()
}

/// Every place of a document, outermost first.
fn pointers(value: &Value, at: &str, places: &mut Vec<String>) {
    let mut inner = |key: String, value: &Value| {
        let place = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        places.push(place.clone());
        pointers(value, &place, places);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| inner(key.clone(), value)),
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(at, value)| inner(at.to_string(), value));
        }
        _ => {}
    }
}

/// A state with one agent and one framework, these tasks and these that ended.
fn state(tasks: &[(&str, &str)], ended: &[(&str, &str)]) -> Value {
    let task = |(id, state): &(&str, &str)| {
        json!({
            "id": id, "name": "web", "framework_id": "F-0001", "slave_id": "S0", "state": state,
            "resources": {"cpus": 0.1, "ports": "[31000-31000]"},
            "statuses": [{"state": state, "timestamp": 1795348441.1}],
        })
    };
    json!({
        "version": "1.12.0", "elected_time": 1795348036.9, "pid": "master@10.0.0.1:5050",
        "leader": "master@10.0.0.1:5050",
        "slaves": [{"id": "S0", "hostname": "10.0.0.2", "pid": "slave(1)@10.0.0.2:5051", "active": true}],
        "recovered_slaves": [],
        "frameworks": [{
            "id": "F-0001", "name": "marathon", "pid": "scheduler-1@10.0.0.3:15101", "hostname": "10.0.0.3",
            "active": true, "tasks": tasks.iter().map(task).collect::<Vec<_>>(),
            "completed_tasks": ended.iter().map(task).collect::<Vec<_>>(),
        }],
        "completed_frameworks": [], "orphan_tasks": [],
    })
}
