//! What `deploy/` has fits together, and fits the program: paths, options, ports, what the manuals promise.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::program::{pointsman, run};
use serde_json::Value;

const BINARY: &str = "/usr/local/bin/pointsman";
const CONFIGURATION: &str = "/etc/pointsman/pointsman.toml";

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The values of a key in a section of a unit.
fn values<'t>(unit: &'t str, section: &str, key: &str) -> Vec<&'t str> {
    let (mut here, mut found) = ("", Vec::new());
    for line in unit.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => here = name,
            None => {
                let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("no setting of a unit: {line}"));
                found.extend((here == section && name == key).then_some(value));
            }
        }
    }
    found
}

fn value<'t>(unit: &'t str, section: &str, key: &str) -> &'t str {
    let found = values(unit, section, key);
    assert_eq!(found.len(), 1, "{section}.{key}: {found:?}");
    found[0]
}

/// That a command line starts the program as it can be started: it exists where the image and the unit put it, and has these
/// options.
fn is_understood(command: &str) {
    let words: Vec<&str> = command.strip_prefix("exec ").unwrap_or(command).split(' ').collect();
    assert_eq!(words[0], BINARY, "{command}");
    assert!(words.contains(&CONFIGURATION), "{command}");
    let nowhere = "/nonexistent/pointsman.toml";
    let words = words[1..].iter().map(|word| if *word == CONFIGURATION { nowhere } else { word });
    let (code, out, said) = run(pointsman().args(words));
    // It was the file that was not there, and nothing else was wrong.
    assert!(code == 2 && said.contains(nowhere) && !said.contains("Usage"), "{command}: {code} {out}{said}");
}

#[test]
fn the_unit_starts_the_program_and_lets_it_write_where_the_readme_does() {
    let unit = read("deploy/pointsman.service");
    is_understood(value(&unit, "Service", "ExecStart"));
    // The program says that it is ready, and reads its file again at SIGHUP.
    assert_eq!(value(&unit, "Service", "Type"), "notify");
    assert!(value(&unit, "Service", "ExecReload").ends_with("-HUP $MAINPID"));
    let folders: Vec<PathBuf> = [
        ("/etc", "ConfigurationDirectory"),
        ("/var/lib", "StateDirectory"),
        ("/run", "RuntimeDirectory"),
        ("/var/log", "LogsDirectory"),
    ]
    .map(|(above, key)| Path::new(above).join(value(&unit, "Service", key)))
    .into();
    assert!(folders.iter().any(|folder| Path::new(CONFIGURATION).starts_with(folder)));
    // Every path that the README's configurations have and that may be written lies there; others' sockets are others', and
    // what is in /etc is read, which the unit lets it do everywhere.
    let mut seen = 0;
    for line in read("README.md").lines() {
        let Some((key, rest)) = line.split_once(" = \"/") else { continue };
        let path = format!("/{}", rest.split('"').next().unwrap());
        let is_ours = ["/var/", "/run/"].iter().any(|above| path.starts_with(above)) && key != "dnstap";
        if is_ours {
            seen += 1;
            assert!(folders.iter().any(|folder| Path::new(&path).starts_with(folder)), "{line}: the unit forbids that");
        }
    }
    assert!(seen >= 4, "the README's paths were not found: {seen}");
}

#[test]
fn sockets_have_the_names_that_the_program_looks_for() {
    let unit = |name: &str| read(&format!("deploy/{name}"));
    for (name, called, streams) in [("pointsman.socket", "http", 1), ("pointsman-dns.socket", "dns", 1)] {
        let socket = unit(name);
        assert_eq!(value(&socket, "Socket", "FileDescriptorName"), called, "{name}");
        assert_eq!(values(&socket, "Socket", "ListenStream").len(), streams, "{name}");
        assert!(read("README.md").contains(&format!("deploy/{name}")), "{name}");
    }
    // DNS needs both on one port.
    let dns = unit("pointsman-dns.socket");
    assert_eq!(value(&dns, "Socket", "ListenDatagram"), value(&dns, "Socket", "ListenStream"));
    assert_eq!(value(&dns, "Socket", "Service"), "pointsman.service");
}

#[test]
fn systemd_understands_every_word_of_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return println!("SKIP: systemd-analyze is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]);
    for name in ["pointsman.service", "pointsman.socket", "pointsman-dns.socket"] {
        // It looks whether the program is there.
        let text = read(&format!("deploy/{name}")).replace(BINARY, env!("CARGO_BIN_EXE_pointsman"));
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        command.arg(path);
    }
    let (code, out, said) = run(&mut command);
    // Words that it does not know are told, and ignored.
    assert!(code == 0 && !format!("{out}{said}").contains("pointsman"), "{code}: {out}{said}");
}

#[test]
fn the_image_is_made_of_what_is_there() {
    let file = read("deploy/Dockerfile").replace("\\\n", " ");
    let instructions: Vec<(&str, Vec<&str>)> = file
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, rest)| (name, rest.split_whitespace().collect()))
        .collect();
    let mut copied = 0;
    for (_, words) in instructions.iter().filter(|(name, _)| *name == "COPY") {
        let (target, sources) = words.split_last().unwrap();
        if let Some(stage) = sources.iter().find_map(|word| word.strip_prefix("--from=")) {
            assert!(file.contains(&format!(" AS {stage}\n")), "{words:?}");
            assert_eq!((sources.last(), *target), (Some(&"/src/target/release/pointsman"), BINARY));
            continue;
        }
        for source in sources {
            assert!(at(source).exists(), "{source} is copied and is not there");
            copied += 1;
        }
    }
    assert!(copied >= 5, "{file}");
    // What the manifest names has to be there, or cargo builds nothing.
    for line in read("Cargo.toml").lines() {
        if let Some(path) = line.strip_prefix("path = \"") {
            let folder = path.split('/').next().unwrap();
            assert!(file.contains(&format!("COPY {folder} ./{folder}\n")), "the image has no {folder}, for {line}");
        }
    }
    let list = |name: &str| {
        let (_, words) = instructions.iter().find(|(known, _)| *known == name).unwrap();
        serde_json::from_str::<Vec<String>>(&words.join(" ")).unwrap().join(" ")
    };
    is_understood(&format!("{} {}", list("ENTRYPOINT"), list("CMD")));
    assert!(file.contains(&format!("COPY config/pointsman.toml {CONFIGURATION}\n")));
    // Without authorities nobody is trusted: masters, issuers of tokens, those of certificates.
    let (system, _) = file.split_once("ca-certificates").expect("authorities are installed");
    assert!(system.contains("FROM debian"), "in the last stage, not where it is built");
}

#[test]
fn the_app_for_marathon_is_checked_by_what_outlives_a_dead_cluster() {
    let app: Value = serde_json::from_str(&read("deploy/marathon.json")).unwrap();
    is_understood(app["cmd"].as_str().unwrap());
    let ports = app["portDefinitions"].as_array().unwrap();
    let check = &app["healthChecks"][0];
    // `/readyz` is 503 before the first table: with the cluster away, Marathon would end one instance after the other.
    assert_eq!(check["path"], "/healthz");
    assert_eq!(ports[usize::try_from(check["portIndex"].as_u64().unwrap()).unwrap()]["name"], "metrics");
    // A roll-out waits for it all the same.
    let readiness = &app["readinessChecks"][0];
    assert_eq!((readiness["path"].as_str(), readiness["portName"].as_str()), (Some("/readyz"), Some("metrics")));
    // The time it has to end is longer than what it takes by default.
    let drain = pointsman::config::Config::default().server.drain_time.as_secs();
    assert!(app["taskKillGracePeriodSeconds"].as_u64().unwrap() > drain);
    let stop: u64 = value(&read("deploy/pointsman.service"), "Service", "TimeoutStopSec").parse().unwrap();
    assert!(stop > drain);
}

#[test]
fn the_readme_names_all_of_it() {
    let readme = read("README.md");
    for entry in std::fs::read_dir(at("deploy")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(readme.contains(&format!("`deploy/{name}`")), "the README does not say what deploy/{name} is for");
    }
}
