//! Every command that the README shows outside its tour is one: those that ask an instance are typed, in the README's order,
//! and do what is wanted; of the others the options exist. And the tests that it names are there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "common/facts.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod facts;
mod marathon_common;
mod proxy_common;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use facts::{CLUSTER, framework};
use marathon_common::Running;
use pointsman::cluster::event::Fact;
use pointsman::config::checked::MesosConfig;
use pointsman::model::agent::AgentFacts;
use pointsman::model::task::TaskFacts;
use proxy_common::Backend;

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The commands of the README in its order: lines of blocks of text, and what prose has between backquotes. The tour's are
/// typed by `readme_tour`.
fn commands() -> Vec<String> {
    let (mut found, mut block) = (Vec::new(), None);
    for line in readme().lines() {
        match (line.strip_prefix("```"), block.as_deref()) {
            (Some(_), Some(_)) => block = None,
            (Some(language), None) => block = Some(language.to_owned()),
            (None, Some("text")) => found.extend(line.strip_prefix("$ ").map(str::to_owned)),
            (None, Some(_)) => {}
            (None, None) => {
                let between = line.split('`').skip(1).step_by(2);
                found.extend(between.filter(|text| text.starts_with("pointsman ")).map(str::to_owned));
            }
        }
    }
    found
}

/// An agent `node7.example` with a service `shop` in two versions, and a source that holds removals back.
async fn cluster(blue: &Backend, green: &Backend, socket: &Path) -> Running {
    let server = Running::start(|config| {
        // Nobody is there: the facts come from the test.
        config.mesos.push(MesosConfig::with_masters(CLUSTER, "mesos", &["127.0.0.1:1"]));
        config.admin.socket = Some(socket.to_owned());
    });
    let task = |id: &str, name: &str, address: SocketAddr, labels: &[(&str, &str)]| {
        let facts = facts::task(id, name, 7, address.port(), labels);
        Fact::Task(Box::new(TaskFacts { addresses: [address.ip()].into_iter().collect(), ..facts }))
    };
    let shop = |id: &str, address: SocketAddr, version: &str| {
        let labels =
            [("pointsman.service", "shop"), ("pointsman.version", version), ("pointsman.host", "shop.example.com")];
        task(id, "shop", address, &labels)
    };
    let around = || {
        let agent = AgentFacts {
            hostname: "node7.example".into(),
            address: Some(IpAddr::from([127, 0, 0, 1])),
            ..facts::agent(7)
        };
        vec![Fact::SnapshotStarted, Fact::Framework(Box::new(framework("marathon"))), Fact::Agent(Box::new(agent))]
    };
    let end = || [Fact::SnapshotFinished(Default::default()), Fact::Live];
    let mut all = around();
    all.push(shop("shop.v1-3", blue.address, "blue"));
    all.extend((0..20).map(|number| task(&format!("batch.{number}"), "batch", blue.address, &[])));
    all.extend(end());
    server.say(CLUSTER, all).await;
    server.table_until("the snapshot", |table| table.tasks.len() == 21).await;
    // Another version: a deploy begins. And twenty tasks that are not listed any more.
    let mut few = around();
    few.extend([shop("shop.v1-3", blue.address, "blue"), shop("shop.v2-1", green.address, "green")]);
    few.extend(end());
    server.say(CLUSTER, few).await;
    server
        .table_until("removals are held", |table| table.sources[0].held.as_ref().is_some_and(|h| h.tasks == 20))
        .await;
    server
}

/// What stands for a place in a command.
fn filled_in(command: &str) -> String {
    let name = if command.contains("accept-removals") { CLUSTER } else { "shop.marathon.mesos" };
    let mut words: Vec<&str> = command.split(' ').collect();
    for word in &mut words {
        *word = match *word {
            "NAME" => name,
            "TASK" => "shop.v1-3",
            "URL" => "http://shop.example.com/",
            "SERVICE" => "shop",
            other => other,
        };
    }
    words.join(" ")
}

/// Types a line at a shell, for this instance: its exit code and what it said.
fn typed(line: &str, socket: &Path) -> (i32, String) {
    let line = line.replacen("pointsman", env!("CARGO_BIN_EXE_pointsman"), 1);
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(line).env("POINTSMAN_ADMIN", socket).env_remove("POINTSMAN_TOKEN_FILE").stdin(Stdio::null());
    let output = shell.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// What starts a program of its own or reads files: there its options exist.
fn is_there(command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    // Without anything else it is named, not shown.
    let (code, help) = typed(&format!("pointsman {} --help", words[1].trim_start_matches("--help")), Path::new("none"));
    assert_eq!(code, 0, "{command}: {help}");
    for option in words[2..].iter().filter(|word| word.starts_with("--") && **word != "--") {
        assert!(help.contains(*option), "{command}: there is no {option}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_do_what_the_readme_says() {
    let (blue, green) = (Backend::saying("blue").await, Backend::saying("green").await);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let server = cluster(&blue, &green, &socket).await;
    let begun = Instant::now();
    while !typed("pointsman deploys", &socket).1.contains("blue") {
        assert!(begun.elapsed() < proxy_common::PATIENCE, "no deploy is told");
    }
    let (mut ran, mut said) = (Vec::new(), Vec::new());
    for command in commands() {
        let verb = command.split(' ').nth(1).unwrap();
        if command.split(' ').count() == 2 || ["serve", "demo", "migrate", "--help"].contains(&verb) {
            is_there(&command);
            continue;
        }
        let (code, text) = typed(&filled_in(&command), &socket);
        assert_eq!(code, 0, "{command}: {text}");
        ran.push(command);
        said.push(text);
    }
    let said = |part: &str| {
        let at = ran.iter().rposition(|command| command.starts_with(part));
        &*said[at.unwrap_or_else(|| panic!("the README has no {part}: {ran:?}"))]
    };
    assert!(said("pointsman deploys 1").contains("blue → green"), "{}", said("pointsman deploys 1"));
    assert!(said("pointsman sources accept-removals").contains("20 removals"));
    let cleared = said("pointsman weight shop --clear");
    assert!(cleared.contains("/shop/") && !cleared.contains("ordered"), "{cleared}");
    assert!(said("pointsman weight shop blue=100 green=0").contains("ordered"));
    assert!(said("pointsman drain task").contains("is out of service, nothing is in flight"));
    assert!(said("pointsman drain agent").contains("is out of service, nothing is in flight"));
    assert!(said("pointsman undrain agent").contains("is in service again"));
    assert!(said("pointsman explain URL -H").contains("routed"));
    assert!(said("pointsman resolve").contains("127.0.0.1"));
    // What was accepted has happened.
    assert_eq!(server.table().tasks.len(), 2);
    assert!(ran.len() >= 18, "{ran:?}");
}

#[test]
fn the_tests_that_it_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for file in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "benches/README.md"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        for (at, _) in text.match_indices("tests/") {
            let rest = &text[at..];
            let is_of_path = |c: char| c.is_ascii_alphanumeric() || "/_.-".contains(c);
            let path = rest.split(|c: char| !is_of_path(c)).next().unwrap().trim_end_matches(['.', '/']);
            let exists = [path.to_owned(), format!("{path}.rs")].iter().any(|path| root.join(path).exists());
            assert!(exists, "{file} names {path}, which is not there");
            named += 1;
        }
    }
    assert!(named >= 10, "{named}");
}
