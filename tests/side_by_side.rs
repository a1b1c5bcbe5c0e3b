//! `benches/side-by-side` runs: tiny counts, since what is tested is the script and not the figures.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;

fn has(command: &str) -> bool {
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    std::env::split_paths(&path).any(|folder| folder.join(command).is_file())
}

/// Runs one half and checks that every peer answered everything of every load rightly.
fn check(half: &str, needed: &[&str], peers: &[&str], answers: u64) {
    if let Some(missing) = ["python3"].iter().chain(needed).find(|command| !has(command)) {
        return println!("SKIP side-by-side {half}: {missing} is not installed");
    }
    let figures = tempfile::NamedTempFile::new().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/side-by-side");
    let output = Command::new("timeout")
        .args(["120", "python3"])
        .arg(script)
        .args(["--only", half, "--rounds", "1", "--requests", "64", "--connections", "20", "--hosts", "10"])
        .args(["--queries", "200", "--names", "50", "--json"])
        .arg(figures.path())
        .env("POINTSMAN_BIN", env!("CARGO_BIN_EXE_pointsman"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let figures: serde_json::Value = serde_json::from_slice(&std::fs::read(figures.path()).unwrap()).unwrap();
    let loads = figures["figures"][half].as_object().unwrap_or_else(|| panic!("no figures: {said}"));
    assert_eq!(loads.len(), 3, "{said}");
    for (load, rounds) in loads {
        for peer in peers.iter().filter(|peer| **peer == "pointsman" || has(peer)) {
            let good = rounds[0][*peer]["good"].as_u64();
            assert!(good.is_some_and(|good| good >= answers), "{peer}, {load}: {good:?}\n{said}");
        }
    }
}

/// Every case of the strictness tests, sent to the program as it runs and to whoever else is installed.
#[test]
fn every_case_of_strictness_passes_as_the_readme_says() {
    if !has("python3") {
        return println!("SKIP strictness: python3 is not installed");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = root.join("benches/strictness");
    let mut command = Command::new("timeout");
    command.args(["240", "python3"]).arg(script).env("POINTSMAN_BIN", env!("CARGO_BIN_EXE_pointsman"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    for group in ["refused", "chunks", "answers", "canonical"] {
        let row = said.lines().find(|line| line.starts_with(&format!("| {group} | ")) && line.contains(" of "));
        // The peers' columns depend on what is installed; ours does not.
        let ours: Vec<&str> = row.unwrap().split('|').take(3).collect();
        assert!(readme.contains(&ours.join("|")), "the README does not say {ours:?}: run benches/strictness");
    }
}

#[test]
fn http_peers_answer_every_load() {
    check("http", &["nginx", "h2load"], &["nginx", "haproxy", "pointsman"], 20);
}

#[test]
fn dns_peers_answer_every_load() {
    // Datagrams may be lost where the machine is busy.
    check("dns", &["dnsperf"], &["nsd", "pointsman"], 180);
}
