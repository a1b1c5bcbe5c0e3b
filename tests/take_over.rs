//! `serve --take-over`: the program is replaced under load, over HTTP/1.1, HTTP/2, TLS, WebSocket and DNS, and nothing is
//! lost; whatever goes wrong leaves the running one serving. `POINTSMAN_FULL=1` asks 100,000 times of each kind.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;
mod faults_support;
mod load;

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::ports;
use common::program::{Folder, PATIENCE, Program, run};
use faults_support::task::{self, Task};
use faults_support::{Authority, HOST, HOST2, least};
use load::socket::Socket;
use load::{Kind, Load, Target, soon};

/// Not a test: what the tasks of the others run.
#[test]
fn plays_a_task_where_one_is_asked_for() {
    task::play();
}

/// A program that can be replaced, and what it serves.
struct World {
    folder: Folder,
    program: Program,
    target: Target,
    dns: SocketAddr,
    _tasks: Vec<Task>,
}

impl World {
    fn start(drain_time: &str) -> Self {
        let tasks: Vec<Task> = (0..2).map(|number| Task::start(&format!("task-{number}"))).collect();
        let (folder, authority) = (Folder::new(), Authority::new());
        std::fs::create_dir(folder.path("certificates")).unwrap();
        authority.write_pair(&folder.path("certificates"));
        let (http, https, dns) = (ports::unused(), ports::unused(), ports::unused());
        folder.configure(&format!(
            "[server]\nworkers = 2\ndrain_time = \"{drain_time}\"\nhand_over = \"hand-over\"\n\
             [state]\npath = \"state\"\n\
             [dns]\nlisten = [\"{dns}\"]\n\
             [[sources.file]]\nname = \"static\"\npath = \"services.toml\"\nzones = [\"corp.test\"]\n\
             [[proxy.listeners]]\nname = \"http\"\naddress = \"{http}\"\n\
             [[proxy.listeners]]\nname = \"https\"\naddress = \"{https}\"\ncertificates = \"certificates\"\n"
        ));
        let endpoints: Vec<_> = tasks.iter().map(|task| task.address.to_string()).collect();
        let service = |name: &str, protocol: &str, host: &str| {
            format!(
                "[[services]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nhosts = [\"{host}\"]\n\
                 endpoints = {endpoints:?}\n"
            )
        };
        let record = "[[records]]\nname = \"www.corp.test\"\ntype = \"A\"\nvalue = \"192.0.2.1\"\n";
        folder.write("services.toml", service("web", "http", HOST) + &service("rpc", "h2c", HOST2) + record);
        let mut program = folder.start();
        program.until_ready();
        let target = Target { http, https, host: HOST, host2: HOST2, tls: authority.connectors() };
        Self { program, folder, target, dns, _tasks: tasks }
    }

    /// Another instance that takes over, not awaited.
    fn successor(&self) -> Program {
        let mut command = self.folder.command();
        command.arg("--take-over");
        self.folder.start_by(command)
    }

    /// Replaces the program; the former one, which drains.
    fn replace(&mut self) -> Program {
        let count = |program: &Program| program.log().matches("another process has taken over").count();
        let before = count(&self.program);
        let successor = self.successor();
        let former = std::mem::replace(&mut self.program, successor);
        // The API is the new one's from then on.
        self.program.until("the former one has let go", |program| count(program) > before);
        self.program.until_ready();
        former
    }
}

/// Asks over UDP without a pause.
struct Names {
    asked: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    finishing: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

/// `www.corp.test A`, in the form of RFC 1035 section 4.1.
const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x04corp\x04test\x00\x00\x01\x00\x01";

impl Names {
    fn start(dns: SocketAddr) -> Self {
        let (asked, lost, finishing) =
            (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let shared = (asked.clone(), lost.clone(), finishing.clone());
        let thread = std::thread::spawn(move || {
            let (asked, lost, finishing) = shared;
            let mut turn = 0;
            while !finishing.load(Ordering::Relaxed) {
                let is_answered = if turn % 4 == 3 { by_tcp(dns) } else { by_udp(dns) };
                lost.fetch_add(u64::from(!is_answered), Ordering::Relaxed);
                asked.fetch_add(1, Ordering::Relaxed);
                turn += 1;
            }
        });
        Self { asked, lost, finishing, thread }
    }

    fn finish(self) -> (u64, u64) {
        self.finishing.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        (self.asked.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }
}

/// A socket of its own for each, so that each meets any of the workers.
fn by_udp(dns: SocketAddr) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.send_to(QUESTION, dns).unwrap();
    let mut answer = [0; 512];
    socket
        .recv(&mut answer)
        .is_ok_and(|length| length > QUESTION.len() && answer[..2] == QUESTION[..2] && answer[3] & 15 == 0)
}

fn by_tcp(dns: SocketAddr) -> bool {
    let Ok(mut stream) = std::net::TcpStream::connect(dns) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let length = u16::try_from(QUESTION.len()).unwrap().to_be_bytes();
    let mut answer = [0; 2];
    stream.write_all(&[&length, QUESTION].concat()).is_ok() && stream.read_exact(&mut answer).is_ok()
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
        let (load, names) = (Load::start(&world.target, &all), Names::start(world.dns));
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

#[test]
fn what_is_known_of_endpoints_goes_along() {
    let mut world = World::start("1s");
    for _ in 0..30 {
        assert_eq!(common::program::get(world.target.http, HOST, "/").unwrap().status, 200);
    }
    let latencies = |program: &Program| {
        let explained = program.api(&format!("/v1/explain?url=http://{HOST}/")).1;
        let endpoints = explained["request"]["targets"][0]["endpoints"].as_array().cloned().unwrap_or_default();
        endpoints.iter().filter(|endpoint| endpoint["latency_ms"].is_number()).count()
    };
    assert_eq!(latencies(&world.program), 2, "{}", world.program.api(&format!("/v1/explain?url=http://{HOST}/")).1);
    let mut former = world.replace();
    assert_eq!(latencies(&world.program), 2, "nothing was asked since, and yet it is known");
    assert_eq!(former.ended().code(), Some(0));
    world.program.stop();
}

#[test]
fn nobody_to_take_over_from_is_told() {
    let world = World::start("1s");
    let World { folder, mut program, _tasks, .. } = world;
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
            assert_eq!(common::program::get(world.target.http, HOST, "/").unwrap().status, 200);
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
