//! The real program while a large snapshot comes in: a master that has told half of it holds nobody up.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use common::program::{Folder, PATIENCE, Program};

const TASKS: usize = 3000;
const AGENT: &str =
    r#"{"active":true,"agent_info":{"hostname":"a","id":{"value":"S0"},"port":5051},"pid":"slave(1)@127.0.0.2:5051"}"#;
const FRAMEWORK: &str = r#"{"active":true,"connected":true,"framework_info":{"id":{"value":"F"},"name":"marathon","user":"root","hostname":"h"}}"#;

fn task(n: usize) -> String {
    let port = 1025 + n;
    format!(
        r#"{{"agent_id":{{"value":"S0"}},"framework_id":{{"value":"F"}},"name":"app-{n}","task_id":{{"value":"app-{n}.1"}},
        "state":"TASK_RUNNING","resources":[{{"name":"ports","type":"RANGES","ranges":{{"range":[{{"begin":{port},"end":{port}}}]}}}}],
        "discovery":{{"visibility":"CLUSTER","name":"app-{n}","ports":{{"ports":[{{"name":"web","number":{port},"protocol":"tcp"}}]}}}},
        "statuses":[{{"state":"TASK_RUNNING","timestamp":1.0,"container_status":{{"network_infos":[{{"ip_addresses":[{{"ip_address":"127.0.0.2"}}]}}]}}}}]}}"#
    )
}

/// A master that tells half of its snapshot, and the rest when it may.
struct Master {
    address: SocketAddr,
    go_on: SyncSender<()>,
    half_told: Receiver<()>,
    thread: JoinHandle<Option<TcpStream>>,
}

impl Master {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ((go_on, may_go_on), (told, half_told)) = (sync_channel(1), sync_channel(1));
        let thread = std::thread::spawn(move || {
            let tasks: Vec<String> = (0..TASKS).map(task).collect();
            let state = format!(
                r#"{{"get_tasks":{{"tasks":[{}]}},"get_agents":{{"agents":[{AGENT}]}},"get_frameworks":{{"frameworks":[{FRAMEWORK}]}}}}"#,
                tasks.join(",")
            );
            let event = format!(
                r#"{{"type":"SUBSCRIBED","subscribed":{{"get_state":{state},"heartbeat_interval_seconds":15.0}}}}"#
            );
            let record = format!("{}\n{event}", event.len()).into_bytes();
            let (first, second) = record.split_at(record.len() / 2);
            let mut subscriber = subscribed(&listener)?;
            send(&mut subscriber, first);
            told.send(()).ok()?;
            may_go_on.recv().ok()?;
            send(&mut subscriber, second);
            Some(subscriber)
        });
        Self { address, go_on, half_told, thread }
    }
}

/// The connection of the one that subscribes; others are closed.
fn subscribed(listener: &TcpListener) -> Option<TcpStream> {
    loop {
        let (mut stream, _) = listener.accept().ok()?;
        let mut octets = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&octets).contains("SUBSCRIBE") {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => octets.extend_from_slice(&buffer[..count]),
            }
        }
        if String::from_utf8_lossy(&octets).contains("SUBSCRIBE") {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            return Some(stream);
        }
    }
}

fn send(stream: &mut TcpStream, body: &[u8]) {
    for chunk in body.chunks(50_000) {
        let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
        stream.write_all(&framed).unwrap();
    }
}

fn tasks(program: &Program) -> u64 {
    program.api("/v1/table").1["counts"]["tasks"].as_u64().unwrap_or(0)
}

#[test]
fn a_snapshot_that_comes_in_holds_nobody_up() {
    let master = Master::start();
    let folder = Folder::new();
    folder.serve_web(&["127.0.0.1:9".parse().unwrap()]);
    folder.configure(&format!(
        "[[sources.mesos]]\nname = \"mesos\"\nzone = \"mesos\"\nmasters = [\"{}\"]\nencoding = \"json\"\n\
         [[sources.file]]\nname = \"files\"\npath = \"services.toml\"\n",
        master.address
    ));
    let mut program = folder.start();
    master.half_told.recv_timeout(PATIENCE).expect("it subscribes");
    // What was told is taken over slice by slice, before the rest is known.
    program.until("part of the snapshot is in the table", |program| tasks(program) > 500);
    assert!(tasks(&program) < TASKS as u64);
    let healthy = program.try_api("GET", "/healthz", "").expect("the API answers");
    assert_eq!(healthy.status, 200);
    let ready = program.try_api("GET", "/readyz", "").expect("the API answers");
    assert_eq!(ready.status, 503, "not ready: {}", ready.body);
    // Another source's change is published meanwhile.
    folder.serve_web(&["127.0.0.1:9".parse().unwrap(), "127.0.0.1:10".parse().unwrap()]);
    program.until("the file's change is published", |program| {
        program.api("/v1/services/web").1["service"]["available"].as_u64() == Some(2)
    });
    assert!(tasks(&program) < TASKS as u64, "the master still holds the rest back");
    master.go_on.send(()).unwrap();
    program.until_ready();
    program.until("all is in the table", |program| tasks(program) > TASKS as u64);
    let last = format!("/v1/explain?name=app-{}.marathon.mesos", TASKS - 1);
    program.until("the last task has its name", |program| program.api(&last).1["name"]["outcome"] == "answer");
    program.stop();
    drop(master.thread.join());
}
