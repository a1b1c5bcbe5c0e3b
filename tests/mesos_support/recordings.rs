//! Recordings of a real master: whole bodies, and bodies cut between records.

use std::path::PathBuf;
use std::process::Command;

use pointsman::config::checked::MesosEncoding;
use serde_json::Value;

/// Both encodings, each with the part of a file's name that tells it.
pub const ENCODINGS: [(MesosEncoding, &str); 2] =
    [(MesosEncoding::Json, "json"), (MesosEncoding::Protobuf, "protobuf")];

/// The recording's bytes. `.gz` files are unpacked by gzip.
pub fn bytes(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/mesos").join(name);
    if !name.ends_with(".gz") {
        return std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let output = Command::new("gzip").arg("-dc").arg(&path).output().expect("gzip runs");
    assert!(output.status.success(), "{}: gzip fails", path.display());
    output.stdout
}

/// A recorded answer in JSON.
pub fn json(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).expect("a recorded answer is JSON")
}

/// The records of a RecordIO body, each with its length line.
pub fn records(body: &[u8]) -> Vec<&[u8]> {
    let (mut records, mut at) = (Vec::new(), 0);
    while at < body.len() {
        let line = body[at..].iter().position(|byte| *byte == b'\n').expect("a length line");
        let length: usize = std::str::from_utf8(&body[at..at + line]).unwrap().parse().unwrap();
        let end = at + line + 1 + length;
        records.push(&body[at..end]);
        at = end;
    }
    records
}

/// The content of a record in JSON.
pub fn event(record: &[u8]) -> Value {
    let start = record.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    serde_json::from_slice(&record[start..]).unwrap()
}

/// How many records of a JSON body come before the first event for which `is_next` holds.
pub fn count_before(body: &[u8], is_next: impl Fn(&Value) -> bool) -> usize {
    records(body).iter().position(|record| is_next(&event(record))).expect("such an event is in the recording")
}

/// The first `count` records.
pub fn first(body: &[u8], count: usize) -> Vec<u8> {
    records(body)[..count].concat()
}
