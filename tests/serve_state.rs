//! What outlives a process, and how it begins and ends: stored state, sockets, readiness, the service manager. By the
//! real program as a process. `POINTSMAN_FULL=1` holds the time without answers after a kill to a second, and tells that of
//! 100,000 tasks instead of 1,000.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

#[path = "common/authority.rs"]
mod authority;
mod common;
#[path = "take_over_support/manager.rs"]
mod manager;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::{Duration, Instant};

use authority::Authority;
use common::backend::Backend;
use common::ports::unused;
use common::program::{Folder, PATIENCE, exchange, get, listens, mode, run, until};
use common::{dns, facts};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use manager::start_with;
use nix::sys::signal::Signal;
use pointsman::cluster::event::Fact;
use pointsman::cluster::store;
use pointsman::config::{self, Config};
use pointsman::demo::app::AppSpec;
use pointsman::demo::{DemoCluster, DemoOptions};
use pointsman::model::time::Timestamp;

/// Nobody listens there: ports below 1024 need a privilege, and this one has no service.
const NOWHERE: &str = "127.0.0.1:1";

fn listener(address: SocketAddr) -> String {
    format!("[[proxy.listeners]]\nname = \"http\"\naddress = \"{address}\"\n")
}

/// How many tasks the stored state of a folder has; none if there is no such state.
fn stored_tasks(folder: &Folder) -> usize {
    let Ok(config) = config::load(&folder.path("pointsman.toml")) else { return 0 };
    let state = store::load(&folder.path("state"), config.into(), Timestamp::now());
    state.map_or(0, |state| state.statuses().iter().map(|source| source.tasks).sum())
}

fn is_full() -> bool {
    std::env::var_os("POINTSMAN_FULL").is_some()
}

/// Whether a name has addresses by now, of whoever listens there.
fn is_named(server: SocketAddr, name: &str) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut answer = [0; 4096];
    // Where nobody listens yet, the kernel says so.
    let received = socket.send(&dns::query(name, RecordType::A)).and_then(|_| socket.recv(&mut answer));
    let Ok(length) = received else { return false };
    !Message::from_vec(&answer[..length]).unwrap().answers.is_empty()
}

#[test]
fn killed_and_restarted_without_its_master_it_serves_what_was_stored_and_says_so() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let labels = [("HAPROXY_GROUP", "external"), ("HAPROXY_0_VHOST", "web.test")];
    let options = DemoOptions { apps: vec![AppSpec::http("web", 3, &labels)], ..DemoOptions::fast() };
    let cluster = runtime.block_on(DemoCluster::start(options)).unwrap();
    runtime.block_on(cluster.ready()).unwrap();
    let folder = Folder::new();
    let (proxy, names) = (unused(), unused());
    let configure = |masters: &[String]| {
        folder.configure(&format!(
            "[state]\npath = \"state\"\ninterval = \"1s\"\n[[sources.mesos]]\nname = \"demo\"\nzone = \"mesos\"\n\
             masters = {masters:?}\nmax_backoff = \"200ms\"\n[dns]\nlisten = [\"{names}\"]\n{}",
            listener(proxy)
        ));
    };
    let masters: Vec<_> = cluster.masters().iter().map(ToString::to_string).collect();
    configure(&masters);
    let mut program = folder.start();
    program.until_ready();
    let answers = || get(proxy, "web.test", "/").is_some_and(|reply| reply.status == 200);
    program.until("requests are answered", |_| answers());
    // The last change comes within an interval of the first: it is stored when that ends, without another one.
    program.until("all tasks are stored", |_| stored_tasks(&folder) == 3);
    assert_eq!(mode(&folder.path("state")), 0o600);
    let (_, before) = program.api("/v1/table");
    assert_eq!(before["stale"], false);
    configure(&[NOWHERE.to_owned()]);
    let killed = Instant::now();
    program.signal(Signal::SIGKILL);
    program.ended();

    let mut program = folder.start();
    program.until("names are answered", |_| is_named(names, "web.marathon.mesos."));
    let silence = killed.elapsed();
    println!("names are answered from what was stored {silence:?} after the kill");
    // What else runs on the machine is no fault of the program's: only where it has the machine to itself.
    assert!(!is_full() || silence <= Duration::from_secs(1), "{silence:?} without an answer");
    program.until_ready();
    println!("ready {:?} after the kill", killed.elapsed());
    assert!(answers(), "{:?}", get(proxy, "web.test", "/"));
    let web = dns::over_udp(names, "web.marathon.mesos.", RecordType::A);
    assert_eq!(web.metadata.response_code, ResponseCode::NoError);
    assert!(!web.answers.is_empty());

    // Marked stale wherever anybody looks.
    assert_eq!(program.api("/v1/table").1["stale"], true);
    assert_eq!(program.api("/readyz").1["stale"], true);
    program.until("the source says why", |program| {
        let source = program.api("/v1/sources").1["sources"][0].clone();
        source["state"] == "stale" && source["error"].as_str().is_some_and(|error| !error.is_empty())
    });
    assert_eq!(program.metric("pointsman_table_stale"), Some(1.0));
    assert_eq!(program.metric("pointsman_source_state{source=\"demo\",state=\"live\"}"), Some(0.0));
    let (code, said, _) = program.ask(&["explain", "http://web.test/"]);
    assert!(code == 0 && said.contains("STALE"), "{said}");
    let (_, said, _) = program.ask(&["sources"]);
    assert!(said.contains("stale"), "{said}");

    // The master is back: what it says counts again.
    configure(&masters);
    program.until("it is current again", |program| program.api("/v1/table").1["stale"] == false);
    assert_eq!(program.metric("pointsman_table_stale"), Some(0.0));
    assert_eq!(program.api("/v1/table").1["counts"]["tasks"], 3);
    program.stop();
    runtime.block_on(cluster.stop());
}

#[test]
fn many_tasks_are_answered_for_again_after_a_kill() {
    let tasks = if is_full() { 100_000 } else { 1000 };
    let now = Timestamp::now();
    let mut state = pointsman::cluster::state::ClusterState::new(facts::config().into(), now);
    let mut all: Vec<Fact> = (0..4).map(|number| Fact::Agent(Box::new(facts::agent(number)))).collect();
    all.push(Fact::Framework(Box::new(facts::framework("marathon"))));
    all.extend((0..tasks).map(|number| {
        let (id, name) = (format!("t{number}"), format!("app-{}", number / 10));
        let on = u8::try_from(number % 4).unwrap();
        Fact::Task(Box::new(facts::task(&id, &name, on, 9000, &[])))
    }));
    state.apply(facts::snapshot(1, all), now, &mut Default::default());
    let mut stored = Vec::new();
    state.view(now).write(&mut stored).unwrap();
    let (folder, names) = (Folder::new(), unused());
    folder.write("state", &stored);
    let source = facts::CLUSTER;
    folder.configure(&format!(
        "[state]\npath = \"state\"\n[[sources.mesos]]\nname = \"{source}\"\nzone = \"mesos\"\nmasters = [\"{NOWHERE}\"]\n\
         [upstreams]\nallowed_networks = [\"10.0.0.0/8\"]\n[dns]\nlisten = [\"{names}\"]\n"
    ));
    let last = format!("app-{}.marathon.mesos.", (tasks - 1) / 10);
    let mut program = folder.start();
    program.until("names are answered", |_| is_named(names, &last));
    let killed = Instant::now();
    program.signal(Signal::SIGKILL);
    program.ended();
    let mut program = folder.start();
    program.until("names are answered again", |_| is_named(names, &last));
    println!("{tasks} tasks: names are answered {:?} after the kill", killed.elapsed());
    program.until_ready();
    assert_eq!(program.api("/v1/table").1["counts"]["tasks"], tasks);
    program.stop();
}

#[test]
fn a_stored_state_that_cannot_be_used_is_set_aside_and_the_start_goes_on() {
    let backend = Backend::start("web");
    // A state of ours with an octet changed in its middle.
    let mut damaged = Vec::new();
    let mut state = pointsman::cluster::state::ClusterState::new(facts::config().into(), Timestamp(1));
    let event = facts::snapshot(1, vec![Fact::Agent(Box::new(facts::agent(1)))]);
    state.apply(event, Timestamp(1), &mut Default::default());
    state.view(Timestamp(1)).write(&mut damaged).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x20;
    let mut newer = damaged.clone();
    newer[8..12].copy_from_slice(&99_u32.to_le_bytes());
    let cut = damaged[..20].to_vec();
    for (content, message) in [
        (damaged, "damaged at byte"),
        (newer, "written in format 99, this version reads format"),
        (cut, "damaged at byte"),
        (b"a shopping list\n".to_vec(), "not a stored state"),
        (Vec::new(), "state"),
    ] {
        let folder = Folder::new();
        folder.serve_web(&[backend.address]);
        folder.configure("[state]\npath = \"state\"\n[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n");
        folder.write("state", &content);
        let mut program = folder.start();
        program.until_ready();
        let log = program.log();
        assert!(log.contains("stored state refused; starting without it") && log.contains(message), "{message}\n{log}");
        assert_eq!(std::fs::read(folder.path("state.refused")).unwrap(), content, "it is kept for whoever looks at it");
        assert_eq!(program.api("/v1/table").1["counts"]["services"], 1);
        program.stop();
        assert_eq!(mode(&folder.path("state")), 0o600);
        assert!(store::load(&folder.path("state"), Config::default().into(), Timestamp::now()).is_ok());
    }
}

#[test]
fn the_admin_socket_is_ours_alone_and_a_killed_instances_is_replaced() {
    let backend = Backend::start("web");
    let folder = Folder::new();
    folder.serve_web(&[backend.address]);
    folder.configure("[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n");
    let mut program = folder.start();
    program.until_ready();
    assert_eq!(mode(&folder.path("admin.sock")), 0o600);

    // While it lives, a second one is told.
    let (code, _, said) = run(&mut folder.command());
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("another instance listens on the admin socket") && said.contains("admin.socket"), "{said}");
    assert_eq!(program.api("/healthz").0, 200, "the first goes on");

    program.signal(Signal::SIGKILL);
    program.ended();
    assert!(folder.path("admin.sock").exists(), "nobody cleaned up");
    let mut program = folder.start();
    program.until_ready();
    assert_eq!(mode(&folder.path("admin.sock")), 0o600);
    program.stop();
    assert!(!folder.path("admin.sock").exists());

    // What is no socket is not touched.
    folder.write("admin.sock", "precious");
    let (code, _, said) = run(&mut folder.command());
    assert!(code == 5 && said.contains("exists and is no socket"), "{said}");
    assert_eq!(std::fs::read(folder.path("admin.sock")).unwrap(), b"precious");
}

#[test]
fn readiness_says_what_it_waits_for_and_ends_with_the_stop() {
    let backend = Backend::start("web");
    let (proxy, names, api) = (unused(), unused(), unused());
    let folder = Folder::new();
    folder.serve_web(&[backend.address]);
    let text = |mesos: &str| {
        format!(
            "[server]\nworkers = 1\ndrain_time = \"1h\"\n[admin]\nsocket = \"admin.sock\"\nmetrics_listen = \"{api}\"\n{mesos}\
             [[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n[dns]\nlisten = [\"{names}\"]\n{}",
            listener(proxy)
        )
    };
    folder.configure(&text(&format!(
        "[[sources.mesos]]\nname = \"cluster\"\nzone = \"mesos\"\nmasters = [\"{NOWHERE}\"]\n"
    )));
    let mut program = folder.start();
    program.until("the API answers", |program| program.try_api("GET", "/healthz", "").is_some());
    program.until("the file is read", |program| {
        program.api("/readyz").1["waits_for"] == serde_json::json!(["the first complete snapshot of source cluster"])
    });
    assert_eq!(program.api("/readyz").0, 503);
    assert_eq!(get(api, &api.to_string(), "/readyz").unwrap().status, 503, "for load balancers, too");
    // Until all have spoken nothing is denied.
    assert_eq!(dns::summary(&dns::over_udp(names, "web.marathon.mesos.", RecordType::A)), (ResponseCode::ServFail, 0));
    let targets = program.try_api("GET", "/v1/prometheus/targets", "").unwrap();
    assert_eq!(targets.status, 503, "{}", targets.body);

    // Without the silent source it is ready.
    folder.configure(&text(""));
    program.until_ready();

    // The stop: not ready, nothing new, what is in flight goes on.
    let in_flight = std::thread::spawn(move || get(proxy, "web.test", "/held"));
    until("a request is in flight", || backend.held() == 1);
    program.signal(Signal::SIGTERM);
    program.until("it is not ready", |program| {
        let (status, body) = program.api("/readyz");
        status == 503 && body["waits_for"] == serde_json::json!(["nothing: the program is stopping"])
    });
    program.until("it stops accepting", |_| !listens(proxy));
    assert!(!program.has_ended());
    assert_eq!(get(api, &api.to_string(), "/readyz").unwrap().status, 503);
    // A second signal gives up what is in flight, long before the drain time is over.
    program.signal(Signal::SIGINT);
    assert_eq!(program.ended().code(), Some(0));
    let _ = in_flight.join();
    backend.release();
}

#[test]
fn the_service_manager_is_told_of_start_reload_and_stop() {
    let backend = Backend::start("web");
    let folder = Folder::new();
    folder.serve_web(&[backend.address]);
    let source = "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n";
    folder.configure(source);
    let manager = UnixDatagram::bind(folder.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut command = folder.command();
    command.env("NOTIFY_SOCKET", folder.path("notify"));
    let mut program = folder.start_by(command);
    assert_eq!(heard()[0], "READY=1");

    // At once: whoever was told READY may send it.
    program.signal(Signal::SIGHUP);
    let reloading = heard();
    assert_eq!(reloading[0], "RELOADING=1");
    assert!(
        reloading[1].strip_prefix("MONOTONIC_USEC=").is_some_and(|now| now.parse::<u64>().is_ok()),
        "{reloading:?}"
    );
    assert_eq!(heard(), ["READY=1", "STATUS=serving"]);
    folder.write("pointsman.toml", "nonsense");
    program.signal(Signal::SIGHUP);
    assert_eq!(heard()[0], "RELOADING=1");
    let refused = heard();
    assert!(refused[0] == "READY=1" && refused[1].contains("refused"), "{refused:?}");

    program.signal(Signal::SIGTERM);
    assert_eq!(heard()[0], "STOPPING=1");
    assert_eq!(program.ended().code(), Some(0));
}

#[test]
fn sockets_of_the_service_manager_are_served_and_outlive_a_restart() {
    let backend = Backend::start("web");
    let folder = Folder::new();
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = http.local_addr().unwrap();
    let names = unused();
    let (udp, tcp) = (UdpSocket::bind(names).unwrap(), TcpListener::bind(names).unwrap());
    folder.write(
        "services.toml",
        format!(
            "[[services]]\nname = \"web\"\nhosts = [\"*\"]\nendpoints = [\"{}\"]\n\
             [[records]]\nname = \"db.corp.test\"\ntype = \"A\"\nvalue = \"10.1.2.3\"\n",
            backend.address
        ),
    );
    let source = "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\nzones = [\"corp.test\"]\n";
    let text = format!("[server]\nworkers = 2\n{source}[dns]\nlisten = [\"{names}\"]\n{}", listener(proxy));
    folder.configure(&text);
    let served = (ResponseCode::NoError, 1);
    let mut connection = None;
    for life in 0..2 {
        let mut program = start_with(&folder, "http:dns:dns", [http.as_fd(), udp.as_fd(), tcp.as_fd()]);
        program.until_ready();
        // Who connected between the lives is answered.
        if let Some(waiting) = connection.take() {
            let answer = exchange(waiting, "GET", "/", &["Host: web.test"], "").unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (200, "web"));
        }
        assert_eq!(get(proxy, "web.test", "/").unwrap().status, 200, "life {life}");
        assert_eq!(dns::summary(&dns::over_udp(names, "db.corp.test.", RecordType::A)), served);
        let mut stream = TcpStream::connect(names).unwrap();
        assert_eq!(dns::summary(&dns::over_tcp(&mut stream, "db.corp.test.", RecordType::A)), served);
        drop(stream);
        // A listener with other settings goes on with the same socket.
        std::fs::create_dir_all(folder.path("certificates")).unwrap();
        folder.configure(&format!("{text}certificates = \"certificates\"\n"));
        program.until_reload("applied", 0);
        let at = program.api("/v1/config").1["last_reload"]["at"].as_u64().unwrap();
        folder.configure(&text);
        program.until_reload("applied", at);
        // A worker takes its new orders up a moment after they are given: until then TLS is spoken.
        program.until("clear text is spoken again", |_| {
            get(proxy, "web.test", "/").is_some_and(|reply| reply.status == 200)
        });
        program.stop();
        connection = Some(TcpStream::connect(proxy).unwrap());
        connection.as_ref().unwrap().set_read_timeout(Some(PATIENCE)).unwrap();
    }

    // A socket that nobody wants, and half a pair, are told.
    folder.configure(&format!("{source}[dns]\nlisten = [\"{names}\"]\n"));
    let mut program = start_with(&folder, "http:dns:dns", [http.as_fd(), udp.as_fd(), tcp.as_fd()]);
    program.until_ready();
    assert!(program.log().contains("inherited socket belongs to no listener"), "{}", program.log());
    program.stop();
    let mut program = start_with(&folder, "http:dns:dns", [http.as_fd(), udp.as_fd(), http.as_fd()]);
    assert_eq!(program.ended().code(), Some(5));
    assert!(program.log().contains("no TCP socket; add ListenStream="), "{}", program.log());
}

/// Asks by kdig; `None`, with a message, where it is not installed.
fn kdig(port: u16, transport: &str) -> Option<std::process::Child> {
    let mut command = std::process::Command::new("kdig");
    command.args(["@127.0.0.1", "-p", &port.to_string(), transport, "+timeout=60", "+retry=0", "+short"]);
    command.args(["db.corp.test", "A"]).stdout(Stdio::piped());
    command.spawn().inspect_err(|error| println!("SKIP: kdig cannot be run: {error}")).ok()
}

/// What half-open connections may cost, all together: of the 128 that there are descriptors for, each a handshake's state and a
/// buffer, and as much again for what the allocator keeps.
const MOST_KIB_OF_HALF_OPEN: u64 = 16 << 10;

/// More connections than descriptors, none of which says a whole query or a whole handshake.
#[test]
fn half_open_connections_keep_nobody_elses_answer_and_are_not_accepted_in_circles() {
    let folder = Folder::new();
    let (names, tls) = (unused(), unused());
    std::fs::create_dir_all(folder.path("certificates")).unwrap();
    Authority::new().issue(&["dns.test"]).write(&folder.path("certificates"), "dns");
    folder.write("services.toml", "[[records]]\nname = \"db.corp.test\"\ntype = \"A\"\nvalue = \"10.1.2.3\"\n");
    folder.configure(&format!(
        "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\nzones = [\"corp.test\"]\n\
         [dns]\nlisten = [\"{names}\"]\ntcp_idle = \"1h\"\n\
         [dns.tls]\nlisten = [\"{tls}\"]\ncertificates = \"certificates\"\n"
    ));
    let mut command = std::process::Command::new("sh");
    let serve = folder.command();
    command.args(["-c", "ulimit -n 128; exec \"$@\"", "sh"]).arg(serve.get_program()).args(serve.get_args());
    let mut program = folder.start_by(command);
    program.until_ready();
    let mut held = Vec::new();
    let mut begin_both = || {
        for (address, beginning) in [(names, &b"\0"[..]), (tls, &b"\x16\x03\x01\x02\0\x01"[..])] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(beginning).unwrap();
            held.push(stream);
        }
        assert_eq!(dns::summary(&dns::over_udp(names, "db.corp.test.", RecordType::A)), (ResponseCode::NoError, 1));
    };
    // What the first ones make it load is there once.
    begin_both();
    let before = program.peak_kib();
    (0..200).for_each(|_| begin_both());
    let grown = program.peak_kib().saturating_sub(before);
    println!("the peak grew by {grown} KiB while 400 connections began");
    // As many as there are descriptors for are accepted, the others wait in the kernel.
    assert!(grown < MOST_KIB_OF_HALF_OPEN, "the peak grew by {grown} KiB");
    drop(held);
    // Those who waited behind them are answered.
    let mut stream = TcpStream::connect(names).unwrap();
    assert_eq!(dns::over_tcp(&mut stream, "db.corp.test.", RecordType::A).answers.len(), 1);
    if let Some(client) = kdig(tls.port(), "+tls") {
        let output = client.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "10.1.2.3");
    }
    // Each failure is followed by a pause, twice as long as the last: a server in a circle has millions.
    let failed = program.metric("pointsman_dns_accept_errors_total").unwrap_or_default();
    assert!((1.0..500.0).contains(&failed), "{failed}");
    program.stop();
}

#[test]
fn encrypted_names_are_served_on_sockets_of_the_service_manager_too() {
    let folder = Folder::new();
    let [http, tls, https] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [proxy, tls_at, https_at] = [&http, &tls, &https].map(|socket| socket.local_addr().unwrap());
    std::fs::create_dir_all(folder.path("certificates")).unwrap();
    Authority::new().issue(&["dns.test"]).write(&folder.path("certificates"), "dns");
    let record = "[[records]]\nname = \"db.corp.test\"\ntype = \"A\"\nvalue = \"10.1.2.3\"\n";
    folder.write("services.toml", record);
    folder.configure(&format!(
        "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\nzones = [\"corp.test\"]\n\
         [dns]\nlisten = [\"{}\"]\n\
         [dns.tls]\nlisten = [\"{tls_at}\"]\nhttps_listen = [\"{https_at}\"]\ncertificates = \"certificates\"\n{}",
        unused(),
        listener(proxy)
    ));
    let ask = || Some([kdig(tls_at.port(), "+tls")?, kdig(https_at.port(), "+https")?]);
    for life in 0..2 {
        // Who connects before the program is there waits in the queue, and is told at least that nothing is known yet.
        let Some(waiting) = ask() else { return };
        let sockets = [http.as_fd(), tls.as_fd(), https.as_fd()];
        let mut program = start_with(&folder, "http:dns-tls:dns-https", sockets);
        program.until_ready();
        for client in waiting {
            let output = client.wait_with_output().unwrap();
            assert!(output.status.success(), "life {life}: {}", String::from_utf8_lossy(&output.stdout));
        }
        for client in ask().unwrap() {
            let output = client.wait_with_output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "10.1.2.3", "life {life}");
        }
        program.stop();
    }
}
