//! Questions for names: many by dnsperf, for the time they take, and some by hand, whose records are looked at.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::rr::{RData, RecordType};

use super::super::common::dns::over_udp;
use super::cluster::{Cluster, GRACE};
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

/// Asks for one name after the other until the round is over: as long as the cluster changes somebody looks, so that a
/// program that falls behind is seen doing so. How many, and what was wrong.
pub fn by_hand(cluster: &Cluster, server: SocketAddr, apps: usize, is_over: &AtomicBool) -> (usize, Vec<String>) {
    let begun = Instant::now();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut count, mut faults) = (0, Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        let (app, asked) = (random.usize(..apps), Instant::now());
        let message = over_udp(server, &format!("{}.", name(app)), RecordType::A);
        count += 1;
        if message.answers.is_empty() {
            faults.push(format!("app {app} has no address: {}", message.metadata.response_code));
        }
        for record in &message.answers {
            let RData::A(address) = &record.data else { continue };
            if !cluster.is_right(app, address.0.into(), None, asked) {
                let whose = cluster.whose(address.0.into());
                let since = begun.elapsed();
                faults.push(format!("app {app} was asked for, and {address} is not its, {since:?} on; {whose}"));
            }
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    (count, faults)
}

/// Waits until the program knows everything that the master has said so far; how long that took.
///
/// A task is the last that the master says: first that it is there, then that it has ended. Events have one order, and a
/// program that has to read the whole cluster again forgets what it does not find there at the end of that: whoever knows
/// that the task has come *and* gone knows all that was said before. It must do so within the time in which an address that
/// was given up may still be told.
pub fn catch_up(cluster: &Cluster, server: SocketAddr) -> Duration {
    let begun = Instant::now();
    let app = cluster.add_app();
    for is_there in [true, false] {
        if !is_there {
            cluster.end_app(app);
        }
        while over_udp(server, &format!("{}.", name(app)), RecordType::A).answers.is_empty() == is_there {
            assert!(begun.elapsed() < GRACE, "the program is {:?} behind (task there: {is_there})", begun.elapsed());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    begun.elapsed()
}
