//! What a name of a zone file takes in memory, and how soon a large file is ready: the only test of this program, so that
//! the resident set's growth is its own. Allocations are the same in every build, so the bound holds in all.
//!
//! The file goes the whole way: from the disk through the source and the writer into the table that answers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, a measurement tells"
)]

mod common;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use common::facts::config;
use common::world::World;
use pointsman::cluster::event::{ClusterEvent, Fact, QUEUE};
use pointsman::cluster::sources::file;
use pointsman::config::checked::FileConfig;
use pointsman::table::names::Found;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The bound of the whole, of which the records themselves are about a third: an allocator keeps some of what reading took.
const BYTES_A_NAME: usize = 250;

#[test]
fn a_name_of_a_zone_file_takes_little() {
    // A small one to warm up; then as many as benchmarks use, half addresses and half services.
    for (names, bound) in [(1000, usize::MAX), (100_000, BYTES_A_NAME), (200_000, BYTES_A_NAME)] {
        let folder = tempfile::tempdir().unwrap();
        let source = written(folder.path(), names);
        let before = resident();
        let mut world = World::with(pointsman::config::Config { files: vec![source.clone()], ..config() });
        read(&mut world, source);
        let table = world.table();
        for n in [0, names / 4, names / 2 - 1] {
            for name in [format!("app-{n}.marathon.test"), format!("_app-{n}._tcp.marathon.test")] {
                let found = table.names.find(&name);
                assert!(matches!(&found, Found::Node(_, node) if node.records.len() == 1), "{name}: {found:?}");
            }
        }
        let missing = table.names.find("app.marathon.test");
        assert!(matches!(missing, Found::Missing(_)), "{missing:?}");
        let bytes = (resident().saturating_sub(before)) / names;
        println!("{names} names: {bytes} bytes a name");
        assert!(bytes <= bound, "{names} names take {bytes} bytes each, over {bound}");
        // The next figure begins with what this one left: nothing that it gives back may be taken again.
        std::mem::forget((world, table));
    }
}

/// A file source over a zone of so many names.
fn written(folder: &Path, names: usize) -> FileConfig {
    // Nothing of it stays in memory, where what is read of it could find room.
    let mut zone = BufWriter::new(File::create(folder.join("zone")).unwrap());
    writeln!(zone, "test. 3600 IN SOA ns1.test. root.test. 1 3600 600 86400 60").unwrap();
    for n in 0..names / 2 {
        let name = format!("app-{n}.marathon.test.");
        writeln!(zone, "{name} 60 IN A 10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255).unwrap();
        writeln!(zone, "_app-{n}._tcp.marathon.test. 60 IN SRV 0 1 {} {name}", 10_000 + n % 20_000).unwrap();
    }
    zone.flush().unwrap();
    std::fs::write(folder.join("file.toml"), "zone_file = 'zone'\n").unwrap();
    FileConfig { name: "files".into(), path: folder.join("file.toml"), zones: vec!["test".into()] }
}

/// Lets the source read the file and say everything to the writer, on the threads that the program does it on.
fn read(world: &mut World, source: FileConfig) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (_changed, changes) = watch::channel(0);
        let (sender, mut events) = mpsc::channel(QUEUE);
        let stop = CancellationToken::new();
        let running = tokio::spawn(file::run(source, changes, sender, stop.clone()));
        loop {
            let event = tokio::time::timeout(Duration::from_secs(120), events.recv()).await.unwrap().unwrap();
            let ClusterEvent::Source(said) = &event else { panic!("{event:?}") };
            let is_last = said.facts.last() == Some(&Fact::Live);
            assert!(!said.facts.iter().any(|fact| matches!(fact, Fact::Lost { .. })), "{said:?}");
            world.say(event);
            if is_last {
                break;
            }
        }
        stop.cancel();
        running.await.unwrap();
    });
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
