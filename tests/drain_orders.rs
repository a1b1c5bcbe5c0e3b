//! Tasks and agents that an operator takes out of service: by the real program, its API and its command line.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;

use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::backend::Backend;
use common::dns;
use common::ports::unused;
use common::program::{Folder, PATIENCE, Program, Reply, exchange, get, pointsman, run, until};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;
use pointsman::demo::app::AppSpec;
use pointsman::demo::{DemoCluster, DemoOptions};
use serde_json::Value;

fn listener(address: SocketAddr) -> String {
    format!("[[proxy.listeners]]\nname = \"http\"\naddress = \"{address}\"\n")
}

fn order(program: &Program, method: &str, path: &str) -> (u16, Value) {
    let reply = program.try_api(method, path, "").unwrap();
    (reply.status, serde_json::from_str(&reply.body).unwrap_or_default())
}

/// The task behind an address.
fn task_at(program: &Program, address: SocketAddr) -> String {
    let (_, service) = program.api("/v1/services/web");
    let endpoints = service["endpoints"].as_array().unwrap();
    let endpoint = endpoints.iter().find(|endpoint| endpoint["address"] == address.to_string().as_str());
    endpoint.unwrap_or_else(|| panic!("{address} is not in {service}"))["task"].as_str().unwrap().to_owned()
}

/// Who answers `count` requests, one after the other.
fn names(proxy: SocketAddr, count: usize) -> Vec<String> {
    let mut names: Vec<String> = (0..count)
        .map(|_| {
            let reply = get(proxy, "web.test", "/").unwrap();
            assert_eq!(reply.status, 200, "{reply:?}");
            reply.body
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// A request that some backend holds.
fn hold(proxy: SocketAddr, backends: [&Backend; 2]) -> (JoinHandle<Option<Reply>>, usize) {
    let request = std::thread::spawn(move || get(proxy, "web.test", "/held"));
    until("a request is held", || backends.iter().any(|backend| backend.held() == 1));
    (request, backends.iter().position(|backend| backend.held() == 1).unwrap())
}

#[test]
fn a_drained_task_finishes_what_it_has_and_gets_nothing_new() {
    let (proxy, folder) = (unused(), Folder::new());
    let backends = [Backend::start("a"), Backend::start("b")];
    folder.serve_web(&[backends[0].address, backends[1].address]);
    let files = "[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\n";
    folder.configure(&format!("[state]\npath = \"state\"\ninterval = \"1s\"\n{files}{}", listener(proxy)));
    let mut program = folder.start();
    program.until_ready();
    until("both serve", || names(proxy, 20) == ["a", "b"]);

    let (request, at) = hold(proxy, [&backends[0], &backends[1]]);
    let (drained, other) = (&backends[at], &backends[1 - at]);
    let (task, survivor) = (task_at(&program, drained.address), ["a", "b"][1 - at]);
    let path = format!("/v1/drains/tasks/{task}");
    assert_eq!(order(&program, "GET", &path).0, 404, "no order was given yet");
    let (status, view) = order(&program, "PUT", &format!("{path}?wait=0"));
    assert_eq!((status, &view["in_flight"], &view["drained"]), (202, &1.into(), &false.into()), "{view}");
    let is_told = |program: &Program, what: &str| {
        program.log().lines().any(|line| line.contains(what) && line.contains("user ") && line.contains("actor"))
    };
    until("it is told who said so", || is_told(&program, "an operator takes something out of service"));
    let before = drained.requests();
    assert_eq!(names(proxy, 30), [survivor], "what is new goes elsewhere from the answer on");
    assert_eq!(drained.requests(), before);
    let (_, details) = program.api("/v1/services/web");
    let why = details["endpoints"].as_array().unwrap().iter().find(|e| e["task"] == *task).unwrap()["reason"].clone();
    assert!(why.as_str().unwrap().contains("an operator took it out of service"), "{why}");

    let (code, out, err) = program.ask(&["drain", "--timeout", "1", "task", &task]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("1 in flight"), "{out}");
    let (_, list, _) = program.ask(&["drain"]);
    assert!(list.contains(&task) && list.contains("no"), "{list}");

    let socket = folder.path("admin.sock");
    let waited = task.clone();
    let wait =
        std::thread::spawn(move || run(pointsman().arg("--admin").arg(&socket).args(["drain", "task", &waited])));
    until("the command waits", || program.metric("pointsman_table_drains{kind=\"task\"}") == Some(1.0));
    assert!(!wait.is_finished(), "something is in flight still");
    drained.release();
    let (code, out, err) = wait.join().unwrap();
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("nothing is in flight"), "{out}");
    assert_eq!(request.join().unwrap().unwrap().status, 200, "what was in flight is finished");

    // The order is part of the stored state.
    until("it is stored", || folder.path("state").exists());
    program.signal(Signal::SIGTERM);
    program.ended();
    let mut program = folder.start();
    program.until_ready();
    until("the other serves", || names(proxy, 20) == [survivor]);
    assert_eq!(order(&program, "GET", &path).1["drained"], true);

    let (code, out, _) = program.ask(&["undrain", "task", &task]);
    assert_eq!((code, out.contains("in service again")), (0, true), "{out}");
    until("it is told who said so", || is_told(&program, "an operator puts something back into service"));
    until("both serve again", || names(proxy, 20) == ["a", "b"]);
    assert_eq!(program.ask(&["undrain", "task", &task]).0, 1, "there is no order any more");
    other.release();
    program.stop();
}

/// A request of a client that has this cookie: who answers, and the cookie that it is given.
fn visit(proxy: SocketAddr, cookie: Option<&str>) -> (String, Option<String>) {
    let stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let cookie = cookie.map(|cookie| format!("Cookie: {cookie}"));
    let lines: Vec<_> = ["Host: web.test"].into_iter().chain(cookie.as_deref()).collect();
    let reply = exchange(stream, "GET", "/", &lines, "").unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    let given =
        reply.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next().map(str::to_owned));
    (reply.body, given)
}

/// Of the drain time of ten seconds the first five are its clients'.
#[test]
fn a_drained_task_keeps_its_clients_for_a_while() {
    let (proxy, folder) = (unused(), Folder::new());
    let backends = [Backend::start("a"), Backend::start("b")];
    let endpoints = backends.each_ref().map(|backend| backend.address.to_string());
    folder.write(
        "services.toml",
        format!("[[services]]\nname = \"web\"\nhosts = [\"*\"]\nsticky = true\nendpoints = {endpoints:?}\n"),
    );
    let files = "[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\n[routing]\ndrain_time = \"10s\"\n";
    folder.configure(&format!("{files}{}", listener(proxy)));
    let mut program = folder.start();
    program.until_ready();
    until("both serve", || names(proxy, 20) == ["a", "b"]);

    let (home, cookie) = visit(proxy, None);
    let cookie = cookie.expect("a cookie keeps it there");
    let at = ["a", "b"].iter().position(|name| *name == home).unwrap();
    let (task, other) = (task_at(&program, backends[at].address), ["a", "b"][1 - at]);
    let path = format!("/v1/drains/tasks/{task}");
    let begun = Instant::now();
    let (status, view) = order(&program, "PUT", &format!("{path}?wait=0"));
    assert_eq!((status, &view["in_flight"], &view["drained"]), (202, &0.into(), &false.into()), "{view}");
    assert_eq!(view["kept_until"], view["since"].as_u64().unwrap() + 5000, "{view}");
    let (code, out, err) = program.ask(&["drain", "--no-wait", "task", &task]);
    assert!(code == 0 && out.contains("clients that a cookie keeps there may come for"), "{out}{err}");
    assert_eq!(names(proxy, 20), [other], "new clients go elsewhere");
    // Whoever comes in time is served there and keeps its cookie.
    let (mut moved, mut stayed) = (None, 0);
    while moved.is_none() {
        let (who, given) = visit(proxy, Some(&cookie));
        if who == home {
            assert_eq!(given, None);
            assert!(begun.elapsed() < PATIENCE, "its clients come for ever");
            stayed += 1;
        } else {
            assert!(
                begun.elapsed() >= Duration::from_secs(5),
                "it moved after {:?}, and {stayed} visits",
                begun.elapsed()
            );
            moved = Some(given);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(stayed > 0);
    let given = moved.unwrap().expect("who takes over names itself");
    assert_eq!(visit(proxy, Some(&given)), (other.to_owned(), None), "it stays where it is now");
    let (code, out, err) = program.ask(&["drain", "task", &task]);
    assert!(code == 0 && out.contains("nothing is in flight"), "{out}{err}");
    assert_eq!(order(&program, "GET", &path).1["kept_until"], Value::Null);
    program.stop();
}

#[test]
fn orders_over_tcp_need_the_token_and_nonsense_is_refused() {
    let (folder, admin) = (Folder::new(), unused());
    let backend = Backend::start("a");
    folder.serve_web(&[backend.address]);
    folder.write("token", "secret\n");
    folder.configure(&format!(
        "[admin]\nsocket = \"admin.sock\"\nlisten = \"{admin}\"\ntoken_file = \"token\"\n\
         [[sources.file]]\nname = \"file\"\npath = \"services.toml\"\n"
    ));
    let mut program = folder.start();
    program.until_ready();
    program.until("it serves", |program| program.api("/v1/services/web").0 == 200);
    let task = task_at(&program, backend.address);
    let url = format!("http://{admin}");
    let ask = |arguments: &[&str]| run(pointsman().arg("--admin").arg(&url).args(arguments));
    let (code, _, err) = ask(&["drain", "task", &task]);
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("token"), "{err}");
    let token = folder.path("token");
    let (code, out, err) = ask(&["--token-file", token.to_str().unwrap(), "drain", "task", &task]);
    assert_eq!(code, 0, "{out}{err}");
    for (method, path, status) in [
        ("PUT", "/v1/drains/tasks/nobody", 404),
        ("PUT", "/v1/drains/agents/nobody", 404),
        ("PUT", "/v1/drains/machines/x", 404),
        ("PUT", &*format!("/v1/drains/tasks/{task}?wait=x"), 400),
        ("PUT", &*format!("/v1/drains/tasks/{task}?wait=99999"), 400),
        ("PUT", &*format!("/v1/drains/tasks/{task}?until=1"), 400),
        ("POST", &*format!("/v1/drains/tasks/{task}"), 405),
    ] {
        assert_eq!(order(&program, method, path).0, status, "{method} {path}");
    }
    program.stop();
}

#[test]
fn a_drained_agent_loses_names_and_requests_and_gets_them_back() {
    drain_an_agent("");
}

/// Mesos-DNS names tasks whatever their health, but it knows no orders: they hold beside its rules.
#[test]
fn a_drained_agent_loses_its_names_where_the_unhealthy_have_theirs() {
    drain_an_agent("name_unhealthy = \"always\"\n");
}

fn drain_an_agent(dns: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let apps = vec![AppSpec::http("web", 4, &[("pointsman.host", "web.test")])];
    let cluster = runtime.block_on(DemoCluster::start(DemoOptions { apps, ..DemoOptions::fast() })).unwrap();
    runtime.block_on(cluster.ready()).unwrap();
    let (proxy, resolver, folder) = (unused(), unused(), Folder::new());
    let masters: Vec<_> = cluster.masters().iter().map(ToString::to_string).collect();
    folder.configure(&format!(
        "[[sources.mesos]]\nname = \"demo\"\nzone = \"mesos\"\nmasters = {masters:?}\n[dns]\nlisten = [\"{resolver}\"]\n{dns}{}",
        listener(proxy)
    ));
    let mut program = folder.start();
    program.until_ready();
    program.until("all serve", |program| program.api("/v1/services/web").1["service"]["available"] == 4);
    let agent = program.api("/v1/tasks?service=web").1["tasks"][0]["agent_hostname"].as_str().unwrap().to_owned();
    let on = |program: &Program| program.api(&format!("/v1/tasks?agent={agent}")).1["tasks"].as_array().unwrap().len();
    let there = on(&program);
    assert!((1..4).contains(&there), "the cluster spreads its tasks: {there} on {agent}");
    let addresses = || {
        let answer = dns::over_udp(resolver, "_web._tcp.marathon.mesos", RecordType::SRV);
        assert_eq!(answer.response_code, ResponseCode::NoError);
        answer.answers.len()
    };
    assert_eq!(addresses(), 4);

    let (code, out, err) = program.ask(&["drain", "agent", &agent]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(addresses(), 4 - there, "draining tasks leave the answers at once");
    let (_, service) = program.api("/v1/services/web");
    assert_eq!(service["service"]["available"], 4 - there);
    assert!((0..20).all(|_| get(proxy, "web.test", "/").is_some_and(|reply| reply.status == 200)));
    // A task that comes to the agent meanwhile is out of service from its first moment.
    runtime.block_on(cluster.scheduler().scale("web", 8)).unwrap();
    program.until("there are more", |program| {
        let tasks = program.api("/v1/tasks?service=web&state=running").1;
        tasks["tasks"].as_array().is_some_and(|tasks| tasks.len() == 8)
    });
    let new = on(&program);
    assert!(new > there);
    program.until("the others serve", |program| program.api("/v1/services/web").1["service"]["available"] == 8 - new);
    assert_eq!(addresses(), 8 - new);

    assert_eq!(program.ask(&["undrain", "agent", &agent]).0, 0);
    program.until("all serve", |program| program.api("/v1/services/web").1["service"]["available"] == 8);
    assert_eq!(addresses(), 8);
    program.stop();
    runtime.block_on(cluster.stop());
}
