//! What a connection that waits for its next request takes in memory, and what a route does: of the real program as a
//! process, by the memory that is its alone. The kernel's own memory for sockets is not in it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::backend::Backend;
use common::ports::unused;
use common::program::{Folder, PATIENCE, Program, get};

/// Octets of memory that the process shares with nobody.
fn own_memory(program: &Program) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", program.id())).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss_Anon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn start(hosts: usize, tasks: &[SocketAddr]) -> (Program, Folder, SocketAddr) {
    start_with(hosts, 1, tasks)
}

/// So many services with one endpoint and `hosts_each` hosts each, `h0.test` and so on.
fn start_with(services: usize, hosts_each: usize, tasks: &[SocketAddr]) -> (Program, Folder, SocketAddr) {
    let folder = Folder::new();
    let mut text = String::new();
    for service in 0..services {
        let task = tasks[service % tasks.len()];
        let begin = service * hosts_each;
        let hosts: Vec<String> = (begin..begin + hosts_each).map(|host| format!("h{host}.test")).collect();
        writeln!(text, "[[services]]\nname = \"s{service}\"\nhosts = {hosts:?}\nendpoints = [\"{task}\"]").unwrap();
    }
    folder.write("services.toml", text);
    let proxy = unused();
    folder.configure(&format!(
        "[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n\
         [[proxy.listeners]]\nname = \"http\"\naddress = \"{proxy}\"\n"
    ));
    let mut program = folder.start();
    program.until_ready();
    (program, folder, proxy)
}

/// The least within a second: memory that reading the file took is given back a moment later.
fn settled_memory(program: &Program) -> usize {
    let look = |_| {
        std::thread::sleep(Duration::from_millis(50));
        own_memory(program)
    };
    (0..20).map(look).min().unwrap()
}

/// Opens a connection and has one request answered on it.
fn open(proxy: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h0.test\r\n\r\n").unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"task") {
        let mut octets = [0; 512];
        let length = stream.read(&mut octets).unwrap();
        assert!(length > 0, "closed: {}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&octets[..length]);
    }
    stream
}

#[test]
fn a_connection_that_waits_takes_at_most_4_kib() {
    const CONNECTIONS: usize = 3000;
    let task = Backend::start("task");
    let (mut program, _folder, proxy) = start(1, &[task.address]);
    // What is made once, and kept for the next.
    let warm: Vec<_> = (0..200).map(|_| open(proxy)).collect();
    drop(warm);
    let before = own_memory(&program);
    let waiting: Vec<_> = (0..CONNECTIONS).map(|_| open(proxy)).collect();
    let each = own_memory(&program).saturating_sub(before) / CONNECTIONS;
    println!("{each} octets for a connection that waits");
    assert!(each <= 4096, "{each}");
    drop(waiting);
    program.stop();
}

#[test]
fn a_route_takes_little() {
    const ROUTES: usize = 10_000;
    let task = Backend::start("task");
    let tasks: Vec<SocketAddr> = (0..50).map(|port| SocketAddr::new(task.address.ip(), 20_000 + port)).collect();
    let memory = [1, ROUTES].map(|hosts| {
        let (mut program, _folder, proxy) = start(hosts, &tasks);
        // Nobody listens there, but the route is known.
        let status = get(proxy, &format!("h{}.test", hosts - 1), "/").unwrap().status;
        assert!([502, 503].contains(&status), "{status}");
        let memory = own_memory(&program);
        program.stop();
        memory
    });
    let each = memory[1].saturating_sub(memory[0]) / ROUTES;
    println!("{each} octets for a route with its service and one endpoint");
    // A service, its endpoint and its route, and what reading the file has left behind: that differs from run to run.
    assert!(each <= 10_240, "{each}");
}

/// Services and endpoints are the same in number both times, and so is all that reading them leaves behind but the texts of
/// the hosts: what is more is what routes take.
#[test]
fn a_route_beside_others_of_its_service_takes_little() {
    // As many hosts as a service may have.
    const SERVICES: usize = 160;
    const HOSTS: usize = pointsman::labels::MAX_HOSTS;
    let task = Backend::start("task");
    let memory = [1, HOSTS].map(|hosts_each| {
        let (mut program, _folder, proxy) = start_with(SERVICES, hosts_each, &[task.address]);
        let last = SERVICES * hosts_each - 1;
        for host in [0, last / 2, last] {
            assert_eq!(get(proxy, &format!("h{host}.test"), "/").unwrap().status, 200, "h{host}.test");
        }
        assert_eq!(get(proxy, &format!("h{}.test", last + 1), "/").unwrap().status, 404);
        let memory = settled_memory(&program);
        program.stop();
        memory
    });
    let routes = SERVICES * (HOSTS - 1);
    let each = memory[1].saturating_sub(memory[0]) / routes;
    println!("{each} octets for a further route ({routes} of them, goal 512)");
    assert!(each < 4096, "{each}");
}
