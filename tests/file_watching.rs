//! The file source at work: what it tells the writer as its files come, change, break and go.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pointsman::cluster::event::{ClusterEvent, EventReceiver, Fact, QUEUE};
use pointsman::cluster::sources::file;
use pointsman::config::checked::FileConfig;
use pointsman::model::problem::ProblemCode;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running source over a folder of its own.
struct Running {
    folder: tempfile::TempDir,
    changed: watch::Sender<u64>,
    events: EventReceiver,
    stop: CancellationToken,
    task: JoinHandle<()>,
    stream: u64,
}

/// What one read came to.
#[derive(Debug)]
struct Told {
    facts: Vec<Fact>,
    events: usize,
}

impl Told {
    fn services(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for fact in &self.facts {
            if let Fact::Declared(service) = fact {
                names.push(service.id.name());
            }
        }
        names
    }

    fn records(&self) -> usize {
        let count = |fact: &Fact| if let Fact::Records(records) = fact { Some(records.len()) } else { None };
        self.facts.iter().find_map(count).expect("a snapshot has records")
    }

    fn lost(&self) -> Option<&str> {
        self.facts.iter().find_map(|fact| if let Fact::Lost { error } = fact { Some(&**error) } else { None })
    }
}

impl Running {
    fn start(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let config =
            FileConfig { name: "files".into(), path: folder.path().join("file.toml"), zones: vec!["test".into()] };
        let (changed, receiver) = watch::channel(0);
        let (sender, events) = mpsc::channel(QUEUE);
        let stop = CancellationToken::new();
        let task = tokio::spawn(file::run(config, receiver, sender, stop.clone()));
        Self { folder, changed, events, stop, task, stream: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file as editors and config maps do.
    fn replace(&self, name: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Everything the next read tells: up to `Live`, or a loss with its problems.
    async fn told(&mut self) -> Told {
        let mut told = Told { facts: Vec::new(), events: 0 };
        let mut stream = None;
        loop {
            let event = tokio::time::timeout(Duration::from_secs(30), self.events.recv()).await;
            let Some(ClusterEvent::Source(event)) = event.expect("the source tells something") else { panic!() };
            assert!(event.stream > self.stream && stream.is_none_or(|stream| stream == event.stream));
            stream = Some(event.stream);
            told.events += 1;
            told.facts.extend(event.facts);
            if told.lost().is_some() || told.facts.last() == Some(&Fact::Live) {
                self.stream = event.stream;
                return told;
            }
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

const ONE: &str = "[[services]]\nname = 'one'\nhosts = ['one.test']\nendpoints = ['127.0.0.1:1']\n";
const TWO: &str = "[[services]]\nname = 'two'\n";

#[tokio::test]
async fn a_file_is_read_and_read_again_at_a_word() {
    let mut running = Running::start(&[("file.toml", ONE)]);
    assert_eq!(running.told().await.services(), ["one"]);
    running.replace("file.toml", TWO);
    running.notify();
    assert_eq!(running.told().await.services(), ["two"]);
    running.end().await;
}

#[tokio::test]
async fn changes_are_noticed_without_a_word() {
    let mut running = Running::start(&[("file.toml", ONE)]);
    running.told().await;
    // Nobody watches any more: the poll alone is left.
    running.changed = watch::channel(0).0;
    running.replace("file.toml", TWO);
    assert_eq!(running.told().await.services(), ["two"]);
    running.replace("file.toml", ONE);
    assert_eq!(running.told().await.services(), ["one"]);
    running.end().await;
}

#[tokio::test]
async fn a_file_with_a_fault_is_refused_whole() {
    let mut running = Running::start(&[("file.toml", ONE)]);
    running.told().await;
    running.replace("file.toml", "[[services]]\nname = 'fine'\n[[services]]\nnmae = 'x'\n");
    running.notify();
    let told = running.told().await;
    assert_eq!(told.services(), [""; 0]);
    let error = told.lost().unwrap();
    assert!(error.contains("file.toml:3:1: services[1].name: the key is missing"), "{error}");
    assert!(error.ends_with("(and 1 more)"), "{error}");
    let problems: Vec<_> = told
        .facts
        .iter()
        .filter_map(|fact| if let Fact::Problem(problem) = fact { Some(problem) } else { None })
        .collect();
    assert_eq!(problems.len(), 2);
    assert_eq!((problems[1].code, &*problems[1].subject), (ProblemCode::InvalidFact, "files"));
    assert_eq!(&*problems[1].mend, "did you mean `name`?");
    running.replace("file.toml", TWO);
    running.notify();
    assert_eq!(running.told().await.services(), ["two"]);
    running.end().await;
}

#[tokio::test]
async fn a_missing_or_empty_file_removes_nothing() {
    let mut running = Running::start(&[]);
    assert!(running.told().await.lost().unwrap().contains("cannot be read"));
    running.replace("file.toml", ONE);
    running.notify();
    assert_eq!(running.told().await.services(), ["one"]);
    running.replace("file.toml", " \n");
    running.notify();
    assert!(running.told().await.lost().unwrap().contains("the file is empty"));
    fs::remove_file(running.path("file.toml")).unwrap();
    running.notify();
    assert!(running.told().await.lost().unwrap().contains("cannot be read"));
    running.end().await;
}

#[tokio::test]
async fn other_files_belong_to_it() {
    let mut running = Running::start(&[
        ("file.toml", "zone_file = 'zone'\norigin = 'test'\nroutes_file = 'routes'\n[[services]]\nname = 'one'\n"),
        ("zone", "a A 10.0.0.1\nb A 10.0.0.2\n"),
        ("routes", "a.test 127.0.0.1:1\n* 127.0.0.1:1\n"),
    ]);
    let told = running.told().await;
    assert_eq!((told.services(), told.records()), (vec!["one", "a.test", "*"], 2));
    // A change of the zone file alone is noticed by the poll.
    running.replace("zone", "a A 10.0.0.1\n");
    assert_eq!(running.told().await.records(), 1);
    running.replace("zone", "a A 10.0.0.1\na CNAME b\nc A 1\n");
    running.notify();
    let error = running.told().await.lost().unwrap().to_owned();
    assert!(error.contains("zone:3:5: \"1\" is no IPv4 address"), "{error}");
    running.replace("zone", "a A 10.0.0.1\na CNAME b\n");
    running.notify();
    let error = running.told().await.lost().unwrap().to_owned();
    assert!(error.contains("the name a.test has a CNAME record and others"), "{error}");
    running.replace("zone", "@ CNAME b\nb A 10.0.0.1\n");
    running.notify();
    let error = running.told().await.lost().unwrap().to_owned();
    assert!(error.contains("the zone's own name test has a CNAME record, beside its SOA and NS"), "{error}");
    fs::remove_file(running.path("zone")).unwrap();
    running.notify();
    let error = running.told().await.lost().unwrap().to_owned();
    assert!(error.contains("file.toml:1:13: zone_file:"), "{error}");
    running.end().await;
}

#[tokio::test]
async fn a_large_snapshot_comes_in_slices() {
    let routes: String = (0..10_000).map(|n| format!("h{n}.test 127.0.0.1:{}\n", 1 + n % 60_000)).collect();
    let mut running = Running::start(&[("file.toml", "routes_file = 'routes'\n"), ("routes", &routes)]);
    let told = running.told().await;
    assert_eq!(told.services().len(), 10_000);
    assert!(told.events >= 20_000 / 512, "{}", told.events);
    running.end().await;
}

#[tokio::test]
async fn it_ends_when_nobody_listens_or_it_is_told() {
    let running = Running::start(&[("file.toml", ONE)]);
    drop(running.events);
    running.task.await.unwrap();

    let idle = Running::start(&[("file.toml", ONE)]);
    idle.end().await;
}

/// Reads a zone as large as benchmarks use: `cargo test --release --test file_watching -- --ignored`.
#[tokio::test]
#[ignore = "a measurement"]
async fn a_million_records() {
    let mut zone = String::from("test. 3600 IN SOA ns1.test. root.test. 1 3600 600 86400 60\n");
    for n in 0..500_000 {
        let name = format!("app-{n}.marathon.test.");
        zone.push_str(&format!("{name} 60 IN A 10.{}.{}.{}\n", n >> 16 & 255, n >> 8 & 255, n & 255));
        zone.push_str(&format!("_app-{n}._tcp.marathon.test. 60 IN SRV 0 1 {} {name}\n", 10_000 + n % 20_000));
    }
    let start = std::time::Instant::now();
    let mut running = Running::start(&[("file.toml", "zone_file = 'zone'\n"), ("zone", &zone)]);
    let told = running.told().await;
    println!("{} records in {:?}, {} KiB", told.records(), start.elapsed(), resident(Path::new("/proc/self/status")));
    running.end().await;
}

fn resident(status: &Path) -> String {
    let text = fs::read_to_string(status).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?").trim().to_owned()
}
