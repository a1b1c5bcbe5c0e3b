//! `serve --take-over`: the program is replaced under load, over HTTP/1.1, HTTP/2, TLS, WebSocket and DNS, at listeners of its
//! own, at ports of services, and at sockets of the service manager, and nothing is lost. What is known of endpoints goes
//! along, and so do orders for certificates. Whatever goes wrong leaves the running one serving. `POINTSMAN_FULL=1` asks
//! 100,000 times of each kind.
#![allow(clippy::duplicate_mod, reason = "what tests of the proxy share looks for ports by itself")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "what is shared with the tests of certificates alone")]
mod acme_support;
#[path = "common/authority.rs"]
mod authority;
mod common;
mod faults_support;
mod load;
mod marathon_common;
mod proxy_common;
mod take_over_support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acme_support::fake::{Fake, problem};
use acme_support::shown::shown;
use acme_support::{Pebble, Setup, World as AcmeWorld};
use common::backend::Backend;
use common::ports;
use common::program::{Folder, PATIENCE, Program, exchange, get, listens, run, until};
use faults_support::task::{self, Task};
use faults_support::{HOST, least};
use load::socket::Socket;
use load::{Kind, Load, Target, soon};
use marathon_common::server::{Marathon, app, task as marathon_task};
use serde_json::{Value, json};
use take_over_support::asking::{Asking, Carried, by_tcp, by_udp};
use take_over_support::manager::Manager;
use take_over_support::{Places, World, replace, sockets, successor};

/// Not a test: what the tasks of the others run.
#[test]
fn plays_a_task_where_one_is_asked_for() {
    task::play();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(future)
}

#[test]
fn the_program_is_replaced_under_load_and_nothing_is_lost() {
    let mut world = World::start("5s");
    block_on(async {
        let all = Kind::REPEATABLE;
        let (load, names) = (Load::start(&world.target, &all), Asking::names(world.dns));
        load.more(&all, 20).await;
        let mut replaced = 0;
        let goal: Vec<_> = all.iter().map(|kind| load.of(*kind).asked() + least()).collect();
        while replaced < 3 || all.iter().zip(&goal).any(|(kind, goal)| load.of(*kind).asked() < *goal) {
            // One that is open already goes on with the former process until that has drained.
            let mut open = soon(Socket::open(&world.target)).await.unwrap();
            let mut former = tokio::task::block_in_place(|| world.replace());
            soon(open.echo(b"still there")).await.unwrap();
            load.more(&all, 20).await;
            drop(open);
            tokio::task::block_in_place(|| assert_eq!(former.ended().code(), Some(0), "{}", former.log()));
            replaced += 1;
        }
        for (kind, tally) in load.finish().await {
            println!(
                "{replaced} times: {kind:?} {} asked, {} lost, {} cut",
                tally.asked(),
                tally.faults().len(),
                tally.cut()
            );
            assert_eq!((tally.faults(), tally.cut()), (Vec::new(), 0), "{kind:?}");
        }
        let (asked, lost) = names.finish();
        println!("{replaced} times: {asked} names asked, {lost} lost");
        assert_eq!(lost, 0);
    });
    world.program.stop();
}

/// What the API says of the endpoint of a task.
fn endpoint(program: &Program, task: &Task) -> Value {
    let details = program.api("/v1/services/web").1;
    let endpoints = details["endpoints"].as_array().cloned().unwrap_or_default();
    let address = task.address.to_string();
    endpoints.into_iter().find(|endpoint| endpoint["address"] == address).unwrap_or_else(|| panic!("{details}"))
}

/// Asks so often, one after the other; who answered.
fn answered_by(world: &World, count: usize) -> Vec<String> {
    let ask = |_| {
        let reply = get(world.target.http, HOST, "/").unwrap();
        assert_eq!(reply.status, 200, "{}", reply.head);
        let task = reply.head.lines().find_map(|line| line.strip_prefix("x-task: "));
        task.unwrap_or_default().to_owned()
    };
    (0..count).map(ask).collect()
}

#[test]
fn what_is_known_of_endpoints_goes_along() {
    let mut world = World::start("1s");
    world.tasks[1].be("slow 1500");
    let latency = |program: &Program, task: &Task| endpoint(program, task)["latency_ms"].as_f64();
    let ratio = |world: &World| {
        let [fast, slow] = [0, 1].map(|index| latency(&world.program, &world.tasks[index]));
        Some(slow? / fast?)
    };
    // Chance decides which worker meets whom; each asks whom it does not know.
    until("both are known", || answered_by(&world, 10).len() == 10 && ratio(&world).is_some());
    // Both estimates wear off in the same way, so that their ratio stays as long as nobody is asked.
    let before = ratio(&world).unwrap();
    assert!(before > 2.0, "{before}");
    let mut former = world.replace();
    let after = ratio(&world).expect("nothing was asked since, and yet it is known");
    assert!((after / before - 1.0).abs() < 0.2, "{before} before, {after} after");
    // It counts for whom the next request goes to: without it each worker would ask the slow one too.
    assert_eq!(answered_by(&world, 20), ["task-0"; 20]);
    assert_eq!(endpoint(&world.program, &world.tasks[1])["requests"], 0);
    assert_eq!(former.ended().code(), Some(0));
    world.program.stop();
}

#[test]
fn an_endpoint_that_is_spared_stays_so() {
    // In turn, so that the one that fails is asked until it is spared; and for longer than the test takes.
    let mut world = World::start_with(
        "1s",
        "[proxy.balance]\nalgorithm = \"round_robin\"\n\
         [proxy.balance.ejection]\nshortest = \"30m\"\nlongest = \"1h\"\n",
    );
    world.tasks[1].be("resetting");
    let spared = |world: &World| endpoint(&world.program, &world.tasks[1])["spared_ms"].as_u64();
    // Each request is answered: by the other one, if need be.
    until("it is spared", || answered_by(&world, 2).len() == 2 && spared(&world).is_some());
    world.tasks[1].be("well");
    let before = spared(&world).unwrap();
    assert!(before > 14 * 60_000, "from the upper half of half an hour on: {before}");
    let mut formers = Vec::new();
    // Whoever has taken over hands it on as well.
    for _ in 0..2 {
        formers.push(world.replace());
        let after = spared(&world).expect("it is spared still");
        assert!(after <= before && after > before - 3 * 60_000, "{before} ms before, {after} ms after");
        let seen = endpoint(&world.program, &world.tasks[1]);
        assert!(seen["reason"].as_str().is_some_and(|reason| reason.contains("is spared")), "{seen}");
        assert_eq!(answered_by(&world, 20), ["task-0"; 20]);
        assert_eq!(endpoint(&world.program, &world.tasks[1])["requests"], 0);
        // The other one is nothing of the sort.
        assert_eq!(endpoint(&world.program, &world.tasks[0])["spared_ms"], Value::Null);
    }
    for mut former in formers {
        assert_eq!(former.ended().code(), Some(0));
    }
    world.program.stop();
}

/// Three ports of apps: one by HTTP, one by HTTP over TLS, one that only carries what is said.
struct Ports {
    http: SocketAddr,
    https: SocketAddr,
    carried: SocketAddr,
}

impl Ports {
    fn all(&self) -> [SocketAddr; 3] {
        [self.http, self.https, self.carried]
    }

    /// Apps that have them, with these tasks.
    fn apps(&self, marathon: &Marathon, tasks: &[Task]) {
        let put = |id: &str, port: SocketAddr, labels: Value| {
            let tasks = tasks.iter().zip(1..).map(|(task, number)| marathon_task(id, number, task.address));
            marathon.put(app(id, port.port(), &labels, &tasks.collect::<Vec<_>>()));
            marathon.changed(id);
        };
        put("/plain", self.http, json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_MODE": "http" }));
        let secure = json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_MODE": "http", "HAPROXY_0_SSL_CERT": "host" });
        put("/secure", self.https, secure);
        put("/carried", self.carried, json!({ "HAPROXY_GROUP": "external", "HAPROXY_0_MODE": "tcp" }));
    }
}

#[test]
fn ports_of_services_come_along_under_load() {
    block_on(async {
        let marathon = Marathon::start().await;
        let open = Ports { http: ports::unused(), https: ports::unused(), carried: ports::unused() };
        let more = format!(
            "[[sources.marathon]]\nname = \"marathon\"\nurls = [\"{}\"]\n\
             [routing]\nrequire_port_resource = false\n\
             [proxy.service_ports]\naddresses = [\"127.0.0.1\"]\nallowed = [\"1024-65535\"]\n\
             certificates = \"certificates\"\n",
            marathon.url()
        );
        let mut world = tokio::task::block_in_place(|| World::start_with("20s", &more));
        tokio::task::block_in_place(|| until("Marathon is followed", || marathon.followers() > 0));
        open.apps(&marathon, &world.tasks);
        let are_served = |program: &Program| {
            let services = program.api("/v1/services").1["services"].as_array().cloned().unwrap_or_default();
            services.len() == 5 && services.iter().all(|service| service["available"] == 2)
        };
        tokio::task::block_in_place(|| {
            world
                .program
                .until("the ports are open", |program| are_served(program) && open.all().into_iter().all(listens));
        });
        let target = Target { http: open.http, https: open.https, ..world.target.clone() };
        let all = Kind::REPEATABLE;
        let (load, carried) = (Load::start(&target, &all), Asking::carried(open.carried));
        load.more(&all, 20).await;
        let goal: Vec<_> = all.iter().map(|kind| load.of(*kind).asked() + least()).collect();
        let mut replaced = 0;
        while replaced < 2
            || all.iter().zip(&goal).any(|(kind, goal)| load.of(*kind).asked() < *goal)
            || carried.asked() < least()
        {
            let before = open.all().map(|port| sockets("tcp", port));
            assert!(before.iter().all(|sockets| sockets.len() == 2), "one for each worker: {before:?}");
            // What is carried already goes on by the former process until that has drained.
            let mut long = Carried::open(open.carried).unwrap();
            assert!(long.ask());
            let mut former = tokio::task::block_in_place(|| world.replace());
            assert!(tokio::task::block_in_place(|| long.ask()), "a connection that was open");
            load.more(&all, 20).await;
            drop(long);
            tokio::task::block_in_place(|| assert_eq!(former.ended().code(), Some(0), "{}", former.log()));
            // The very sockets: what waited in their queues has lost nothing.
            assert_eq!(open.all().map(|port| sockets("tcp", port)), before);
            replaced += 1;
        }
        for (kind, tally) in load.finish().await {
            println!("ports, {replaced} times: {kind:?} {} asked, {} lost", tally.asked(), tally.faults().len());
            assert_eq!((tally.faults(), tally.cut()), (Vec::new(), 0), "{kind:?}");
        }
        let (asked, lost) = carried.finish();
        println!("ports, {replaced} times: {asked} carried, {lost} lost");
        assert_eq!(lost, 0);
        assert!(!world.program.log().contains("a service's port cannot be listened on"), "{}", world.program.log());
        world.program.stop();
    });
}

#[test]
fn sockets_of_the_service_manager_come_along_and_outlive_everybody() {
    let places = Places::unused();
    let manager = Manager::open(places.http, places.dns);
    let mut world = World::start_at(places, "5s", "", |folder| manager.start(folder));
    let own = |world: &World| [sockets("tcp", world.target.http), sockets("tcp", world.dns), sockets("udp", world.dns)];
    let before = own(&world);
    assert!(before.iter().all(|sockets| sockets.len() == 1), "the manager's, which all workers share: {before:?}");
    // The manager follows the main process by what it is told.
    let told = UnixDatagram::bind(world.folder.path("notify")).unwrap();
    told.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut message = [0; 4096];
        let length = told.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    block_on(async {
        let all = Kind::REPEATABLE;
        let (load, names) = (Load::start(&world.target, &all), Asking::names(world.dns));
        load.more(&all, 20).await;
        let goal: Vec<_> = all.iter().map(|kind| load.of(*kind).asked() + least()).collect();
        let mut replaced = 0;
        while replaced < 2 || all.iter().zip(&goal).any(|(kind, goal)| load.of(*kind).asked() < *goal) {
            // As somebody starts it who has no sockets to give.
            let mut command = successor(&world.folder);
            command.env("NOTIFY_SOCKET", world.folder.path("notify"));
            let mut former = tokio::task::block_in_place(|| replace(&world.folder, &mut world.program, command));
            let said = tokio::task::block_in_place(hear);
            assert!(said.starts_with(&format!("MAINPID={}\nREADY=1", world.program.id())), "{said}");
            load.more(&all, 20).await;
            tokio::task::block_in_place(|| assert_eq!(former.ended().code(), Some(0), "{}", former.log()));
            assert_eq!(own(&world), before);
            replaced += 1;
        }
        for (kind, tally) in load.finish().await {
            println!("manager, {replaced} times: {kind:?} {} asked, {} lost", tally.asked(), tally.faults().len());
            assert_eq!((tally.faults(), tally.cut()), (Vec::new(), 0), "{kind:?}");
        }
        let (asked, lost) = names.finish();
        println!("manager, {replaced} times: {asked} names asked, {lost} lost");
        assert_eq!(lost, 0);
    });
    // The last one knows whose they are: it leaves them open, with whoever connects then.
    world.program.stop();
    let waiting = TcpStream::connect_timeout(&world.target.http, PATIENCE).unwrap();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    world.program = manager.start(&world.folder);
    world.program.until_ready();
    assert_eq!(exchange(waiting, "GET", "/", &[&format!("Host: {HOST}")], "").unwrap().status, 200);
    assert!(by_udp(world.dns) && by_tcp(world.dns));
    assert_eq!(own(&world), before);
    assert!(!world.program.log().contains("inherited socket belongs to no listener"), "{}", world.program.log());
    world.program.stop();
}

/// An entry that orders, and a program that can be replaced.
fn ordering(entry: &str, settle: &str, retry: &str) -> String {
    let entry = entry.replace("\nretry = \"1s\"", &format!("\nretry = \"{retry}\""));
    let entry = entry.replace("max_retry = \"2s\"", "max_retry = \"2h\"");
    format!(
        "{entry}settle = \"{settle}\"\ncertificates = [[\"a.acme.test\"]]\n\
         [server]\nworkers = 1\ndrain_time = \"60s\"\nhand_over = \"hand-over\"\n"
    )
}

/// Whether a challenge lies in the folder.
fn is_open(world: &AcmeWorld) -> bool {
    std::fs::read_dir(world.own("challenges")).is_ok_and(|mut found| found.next().is_some())
}

const ORDERED: &str = "a certificate is ordered";
const ISSUED: &str = "a certificate is issued";

#[test]
fn an_order_under_way_is_finished_and_its_challenge_answered_by_the_successor() {
    let setup = Setup::default();
    let Some(pebble) = Pebble::start(&setup) else { return };
    let (folder, backend) = (Folder::new(), Backend::start("web"));
    folder.serve_web(&[backend.address]);
    // The authority is told of the challenge when the former process accepts nothing any more.
    let mut world = AcmeWorld::start_in(folder, setup.http, setup.https, &ordering(&pebble.entry(), "10s", "1s"));
    // The former process stays as long as this is not answered, and its order with it.
    let http = world.http;
    let held = std::thread::spawn(move || get(http, "web.test", "/held"));
    until("a request is in flight", || backend.held() == 1);
    until("a challenge is open", || is_open(&world));
    let mut former = replace(&world.folder, &mut world.program, successor(&world.folder));
    assert!(is_open(&world) && world.count(ISSUED) == 0, "replacing took longer than the authority was waited for");
    // Long enough for the successor to look at what is due several times.
    world.until_valid("a.acme.test");
    let answered = world.program.metric("pointsman_proxy_local_answers_total{reason=\"acme-challenge\"}");
    assert!(answered >= Some(1.0), "the authority came here: {answered:?}");
    assert_eq!((world.count(ORDERED), world.count(ISSUED), world.count("an account is made")), (1, 1, 1));
    assert!(!former.has_ended());
    until("the certificate is shown", || shown(world.https, "a.acme.test", &[]).is_ok());
    backend.release();
    assert_eq!(held.join().unwrap().map(|reply| reply.status), Some(200));
    assert_eq!(former.ended().code(), Some(0));
    // Nothing is left over, and nothing is due.
    until("the challenge is closed", || !is_open(&world));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((world.count(ORDERED), world.count(ISSUED)), (1, 1));
    world.program.stop();
}

#[test]
fn an_order_that_ends_with_the_former_process_is_made_anew_after_its_pause() {
    let setup = Setup::default();
    let Some(pebble) = Pebble::start(&setup) else { return };
    let mut world =
        AcmeWorld::start_in(Folder::new(), setup.http, setup.https, &ordering(&pebble.entry(), "8s", "12s"));
    until("a challenge is open", || is_open(&world));
    let record = std::fs::read(world.own("records").join("a.acme.test.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let pause_ends = record["next"].as_i64().unwrap_or_else(|| panic!("{record}"));
    // Nothing is in flight: the former one ends at once.
    let mut former = replace(&world.folder, &mut world.program, successor(&world.folder));
    assert_eq!(former.ended().code(), Some(0));
    assert_eq!(world.count(ISSUED), 0, "replacing took longer than the authority was waited for");
    until("it is ordered anew", || world.count(ORDERED) == 2);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(i64::try_from(now).unwrap() >= pause_ends, "ordered at {now}, and the pause ends at {pause_ends}");
    world.until_valid("a.acme.test");
    // By the account that the former one has made.
    assert_eq!((world.count(ORDERED), world.count(ISSUED), world.count("an account is made")), (2, 1, 1));
    world.program.stop();
}

#[test]
fn an_authority_that_wants_to_be_left_alone_is_by_the_successor_too() {
    let limited =
        |path: &str, _: SocketAddr| (path == "/order").then(|| problem(429, "rateLimited", "Retry-After: 3600\r\n"));
    let fake = Fake::start(limited);
    let mut world = AcmeWorld::start(ports::unused(), ports::unused(), &ordering(&fake.entry(), "0s", "1s"));
    world.until("a.acme.test", "has failed", |seen| seen["failures"] == 1);
    let next = world.certificate("a.acme.test")["next_order"].clone();
    let mut former = replace(&world.folder, &mut world.program, successor(&world.folder));
    assert_eq!(former.ended().code(), Some(0));
    world.until("a.acme.test", "is known", |seen| seen["failures"] == 1);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((fake.count("/order"), fake.count("/account")), (1, 1));
    let seen = world.certificate("a.acme.test");
    assert_eq!((&seen["next_order"], &seen["state"]), (&next, &json!("missing")), "{seen}");
    world.program.stop();
}

#[test]
fn nobody_to_take_over_from_is_told() {
    let world = World::start("1s");
    let World { folder, mut program, .. } = world;
    program.stop();
    let mut command = folder.command();
    let (code, _, said) = run(command.arg("--take-over"));
    assert!(code != 0 && said.contains("nobody hands over at"), "{code} {said}");
    let other = Folder::new();
    other.configure("[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n");
    other.serve_web(&[]);
    let (code, _, said) = run(other.command().arg("--take-over"));
    assert!(code != 0 && said.contains("server.hand_over"), "{code} {said}");
}

/// Says something at the socket where the program hands over, and returns what it answers.
fn say(stream: &mut UnixStream, message: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&u32::try_from(message.len()).unwrap().to_be_bytes())?;
    stream.write_all(message.as_bytes())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut text = vec![0; u32::from_be_bytes(length).try_into().unwrap()];
    stream.read_exact(&mut text)?;
    Ok(String::from_utf8(text).unwrap())
}

#[test]
fn whatever_goes_wrong_leaves_the_running_one_serving() {
    let mut world = World::start("1s");
    let path = world.folder.path("hand-over");
    let serves = |world: &World| {
        for _ in 0..10 {
            assert_eq!(get(world.target.http, HOST, "/").unwrap().status, 200);
        }
        assert!(by_udp(world.dns) && by_tcp(world.dns));
    };
    let hello =
        |format: u32, workers: u32| format!(r#"{{"format":{format},"version":"9","process":1,"workers":{workers}}}"#);
    // Another format, another number of workers, nonsense, and silence.
    let answer = say(&mut UnixStream::connect(&path).unwrap(), &hello(99, 2)).unwrap();
    assert!(answer.contains("Refused") && answer.contains("format 99"), "{answer}");
    let answer = say(&mut UnixStream::connect(&path).unwrap(), &hello(1, 7)).unwrap();
    assert!(answer.contains("Refused") && answer.contains("server.workers is 7 there and 2 here"), "{answer}");
    assert!(say(&mut UnixStream::connect(&path).unwrap(), "{").is_err());
    drop(UnixStream::connect(&path).unwrap());
    serves(&world);
    // One that has the sockets, and dies before it serves.
    let mut dying = UnixStream::connect(&path).unwrap();
    let answer = say(&mut dying, &hello(1, 2)).unwrap();
    assert!(answer.contains("Offered"), "{answer}");
    drop(dying);
    serves(&world);
    // A real one whose configuration is wrong, and one that is killed while it waits for its sources.
    let good = std::fs::read_to_string(world.folder.path("pointsman.toml")).unwrap();
    world.folder.write("wrong.toml", format!("{good}\nnonsense = 1\n"));
    let mut command = common::program::pointsman();
    let (code, _, said) = run(command.args(["serve", "--take-over", "--config"]).arg(world.folder.path("wrong.toml")));
    assert!(code != 0 && said.contains("nonsense"), "{said}");
    let waiting = good.replace(
        "[[sources.file]]",
        "[[sources.mesos]]\nname = \"m\"\nmasters = [\"127.0.0.1:1\"]\nzone = \"mesos\"\n[[sources.file]]",
    );
    let waiting = waiting.replace("path = \"state\"", "path = \"other-state\"");
    world.folder.write("waiting.toml", waiting);
    let mut command = common::program::pointsman();
    command.args(["serve", "--take-over", "--config"]).arg(world.folder.path("waiting.toml"));
    let other = Folder::new();
    let mut killed = other.start_by(command);
    killed.until("it has the sockets", |program| program.log().contains("sockets taken over"));
    serves(&world);
    killed.signal(nix::sys::signal::Signal::SIGKILL);
    killed.ended();
    serves(&world);
    assert!(!world.program.has_ended());
    // And then one for which all goes well.
    world
        .program
        .until("each attempt was told", |program| program.log().matches("this process goes on serving").count() == 6);
    let mut former = world.replace();
    serves(&world);
    assert_eq!(former.ended().code(), Some(0));
    world.program.stop();
}
