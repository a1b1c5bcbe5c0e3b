//! Questions for names: many by dnsperf, for the time they take, and some by hand, whose records are looked at.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::rr::{RData, RecordType};

use super::super::common::dns::over_udp;
use super::cluster::Cluster;
use super::http::Asked;

fn name(app: usize) -> String {
    format!("app-{app}.marathon.mesos")
}

/// Asks `rate` times a second for the names of the first `apps` apps by dnsperf. `None`: it is not installed.
pub fn by_dnsperf(server: SocketAddr, folder: &Path, apps: usize, rate: u32, duration: Duration) -> Option<Asked> {
    let queries = folder.join("queries");
    let mut text = String::new();
    for app in 0..apps {
        writeln!(text, "{} A", name(app)).unwrap();
    }
    std::fs::write(&queries, text).unwrap();
    let mut command = std::process::Command::new("dnsperf");
    command.args(["-v", "-W", "-s", "127.0.0.1", "-p", &server.port().to_string(), "-Q", &rate.to_string()]);
    command.args(["-l", &duration.as_secs().max(1).to_string(), "-t", "5", "-d"]).arg(&queries);
    let output = command.output().inspect_err(|error| println!("SKIP: dnsperf cannot be run: {error}")).ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "dnsperf: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    let mut asked = Asked::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("> ")) {
        // The code, the question and how long it took. What was under way at the end is no answer and no fault.
        match line.split_once(' ').unwrap_or((line, "")) {
            ("NOERROR", rest) => {
                let seconds = rest.rsplit(' ').next().and_then(|word| word.parse::<f64>().ok());
                asked.took.push(Duration::from_secs_f64(seconds.unwrap_or_else(|| panic!("dnsperf says {line}"))));
            }
            ("I", _) => {}
            _ => asked.faults.push(line.to_owned()),
        }
    }
    assert!(!asked.took.is_empty(), "dnsperf says {text}");
    Some(asked)
}

/// Asks for one name after the other for a while; how many, and what was wrong.
pub fn by_hand(cluster: &Arc<Cluster>, server: SocketAddr, apps: usize, duration: Duration) -> (usize, Vec<String>) {
    let begun = Instant::now();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut count, mut faults) = (0, Vec::new());
    while begun.elapsed() < duration {
        let (app, asked) = (random.usize(..apps), Instant::now());
        let message = over_udp(server, &format!("{}.", name(app)), RecordType::A);
        count += 1;
        if message.answers.is_empty() {
            faults.push(format!("app {app} has no address: {}", message.metadata.response_code));
        }
        for record in &message.answers {
            let RData::A(address) = &record.data else { continue };
            if !cluster.is_right(app, address.0.into(), None, asked) {
                faults.push(format!("app {app} was asked for, and {address} is not its"));
            }
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    (count, faults)
}
