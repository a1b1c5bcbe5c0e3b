//! A snapshot of any size passes in bounded memory: the only test of this program, so that the process's peak is its.

use std::io::Write;
use std::time::Duration;

use pointsman::cluster::sources::mesos::refusal::Head;
use pointsman::cluster::sources::mesos::session::{Action, Session};
use pointsman::config::checked::{MesosConfig, MesosEncoding, MesosMode};
use prost::Message;

/// Content of each snapshot.
const SNAPSHOT_BYTES: usize = 256 << 20;

/// What the process may take at its peak beside what it had before.
const ALLOWED_KIB: u64 = 48 << 10;

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM is told");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_snapshot_passes_in_bounded_memory() {
    let recorded = include_bytes!("data/mesos/scenario/calls/GET_TASKS.protobuf.bin");
    let response = pointsman::cluster::sources::mesos::wire::Response::decode(&recorded[..]).unwrap();
    let task = response.get_tasks.unwrap().tasks.swap_remove(0);
    let before = peak_kib();
    for encoding in [MesosEncoding::Protobuf, MesosEncoding::Json] {
        let count = pass(encoding, &task);
        let grown = peak_kib() - before;
        println!("{encoding:?}: {count} tasks in {} MiB, the peak grew by {grown} KiB", SNAPSHOT_BYTES >> 20);
        assert!(count > 50_000, "{encoding:?}: {count}");
        assert!(grown < ALLOWED_KIB, "{encoding:?}: the peak grew by {grown} KiB");
    }
    for packed in [false, true] {
        let count = pass_state(packed);
        let grown = peak_kib() - before;
        println!("state, packed: {packed}: {count} tasks, the peak grew by {grown} KiB");
        assert!(count > 5_000, "packed: {packed}: {count}");
        assert!(grown < ALLOWED_KIB, "packed: {packed}: the peak grew by {grown} KiB");
    }
}

/// Sends a state document of many tasks through a session and counts the facts. Packed, most of it is white space:
/// a thousandfold of what comes.
fn pass_state(packed: bool) -> usize {
    let config = MesosConfig { mode: MesosMode::State, ..MesosConfig::with_masters("m", "m", &["m1:5050"]) };
    let mut session = Session::new(&config, 1, 0);
    session.poll(Duration::ZERO);
    let mut head = Head { status: 200, content_type: Some("application/json".into()), ..Head::default() };
    head.content_encoding = packed.then(|| "gzip".into());
    session.answered(Duration::ZERO, &head, None, &[]);
    let start = r#"{"leader":"m@1.1.1.1:1","slaves":[],"frameworks":[{"id":"F","name":"f","tasks":[{}"#;
    let task = r#",{"id":"web.1","name":"web","slave_id":"S0","state":"TASK_RUNNING","statuses":[{"state":"TASK_RUNNING"}],
        "labels":[{"key":"a","value":"0123456789012345678901234567890123456789012345678901234567890123456789"}]}"#;
    let task = if packed { format!("{}{task}", " ".repeat(8192)) } else { task.to_owned() };
    let many = task.repeat(64);
    let (repeats, mut tasks) = (SNAPSHOT_BYTES / 4 / many.len(), 0);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut send = |bytes: &[u8], end: bool| {
        let packed_bytes = if packed {
            encoder.write_all(bytes).unwrap();
            if end {
                encoder.try_finish().unwrap();
            }
            std::mem::take(encoder.get_mut())
        } else {
            bytes.to_vec()
        };
        session.received(Duration::ZERO, &packed_bytes);
        if end {
            session.ended(Duration::ZERO);
        }
        while let Some(action) = session.next_action() {
            if let Action::Emit(event) = action {
                tasks += event.facts.len();
            }
        }
    };
    send(start.as_bytes(), false);
    for _ in 0..repeats {
        send(many.as_bytes(), false);
    }
    send(b"]}]}", true);
    assert!(session.is_live(), "packed: {packed}: the state is complete");
    tasks
}

/// Sends a snapshot of many tasks through a session and counts the facts.
fn pass(encoding: MesosEncoding, task: &pointsman::cluster::sources::mesos::wire::Task) -> usize {
    let config = MesosConfig { encoding, ..MesosConfig::with_masters("m", "m", &["m1:5050"]) };
    let mut session = Session::new(&config, 1, 0);
    session.poll(Duration::ZERO);
    let content_type = match encoding {
        MesosEncoding::Protobuf => "application/x-protobuf",
        MesosEncoding::Json => "application/json",
    };
    let head = Head { status: 200, content_type: Some(content_type.into()), ..Head::default() };
    session.answered(Duration::ZERO, &head, None, &[]);
    let (start, element, end) = match encoding {
        MesosEncoding::Json => {
            let start = r#"{"type":"SUBSCRIBED","subscribed":{"get_state":{"get_tasks":{"tasks":[{}"#;
            let element = format!(",{}", serde_json::to_string(task).unwrap());
            (start.as_bytes().to_vec(), element.into_bytes(), b"]}}}}".to_vec())
        }
        MesosEncoding::Protobuf => {
            let body = task.encode_to_vec();
            let element = [&[0x12][..], &varint(body.len()), &body].concat();
            (Vec::new(), element, Vec::new())
        }
    };
    let repeats = SNAPSHOT_BYTES / element.len();
    let mut content = start.len() + repeats * element.len() + end.len();
    let mut wrapping = Vec::new();
    if encoding == MesosEncoding::Protobuf {
        // get_tasks = 1 in get_state = 1 in subscribed = 2.
        for field in [1 << 3 | 2, 1 << 3 | 2, 2 << 3 | 2] {
            wrapping = [&[field][..], &varint(content), &wrapping].concat();
            content += 1 + varint(content).len();
        }
    }
    let mut tasks = 0;
    let mut receive = |bytes: &[u8]| {
        session.received(Duration::ZERO, bytes);
        while let Some(action) = session.next_action() {
            if let Action::Emit(event) = action {
                tasks += event.facts.len();
            }
        }
    };
    receive(format!("{content}\n").as_bytes());
    receive(&wrapping);
    receive(&start);
    let many = element.repeat(64);
    for _ in 0..repeats / 64 {
        receive(&many);
    }
    receive(&element.repeat(repeats % 64));
    receive(&end);
    assert!(session.is_live(), "{encoding:?}: the snapshot is complete");
    tasks
}

fn varint(number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(number as u64, &mut bytes);
    bytes
}
