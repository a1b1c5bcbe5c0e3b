//! Shares of versions that an operator orders: by the real program, its API and its command line, through a restart.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;

use common::backend::Backend;
use common::ports::unused;
use common::program::{Folder, get, until};
use nix::sys::signal::Signal;

#[test]
fn shares_are_ordered_shown_kept_through_a_restart_and_taken_back() {
    let (proxy, folder) = (unused(), Folder::new());
    let backends = [Backend::start("blue"), Backend::start("green")];
    let endpoint = |at: usize, version: &str, weight: u32| {
        let address = backends[at].address;
        format!("{{ address = \"{address}\", version = \"{version}\", version_weight = {weight} }}")
    };
    folder.write(
        "services.toml",
        format!(
            "[[services]]\nname = \"web\"\nhosts = [\"web.test\"]\nendpoints = [{}, {}]\n",
            endpoint(0, "blue", 100),
            endpoint(1, "green", 0)
        ),
    );
    folder.configure(&format!(
        "[state]\npath = \"state\"\ninterval = \"1s\"\n\
         [[sources.file]]\nname = \"file\"\npath = \"services.toml\"\n\
         [[proxy.listeners]]\nname = \"http\"\naddress = \"{proxy}\"\n",
    ));
    let mut program = folder.start();
    program.until_ready();
    let seen = |count: usize| {
        let mut names: Vec<String> = (0..count).map(|_| get(proxy, "web.test", "/").unwrap().body).collect();
        names.sort();
        names.dedup();
        names
    };
    until("the labels' version serves", || get(proxy, "web.test", "/").is_some_and(|reply| reply.body == "blue"));
    assert_eq!(seen(20), ["blue"]);
    let (code, out, err) = program.ask(&["weight", "web"]);
    assert!(code == 0 && out.contains("as labels say"), "{out}{err}");

    let (code, out, err) = program.ask(&["weight", "web", "green=1", "red=5"]);
    assert!(code == 0 && out.contains("as ") && out.contains("ordered"), "{out}{err}");
    assert_eq!(seen(20), ["green"], "from the answer on; a version that is not there gets nothing");
    until("it is told who said so", || {
        let log = program.log();
        let mut told = log.lines().filter(|line| line.contains("an operator orders shares of versions"));
        told.any(|line| line.contains("actor") && line.contains("user "))
    });
    let (_, view) = program.api("/v1/weights/web");
    assert_eq!((view["by"].as_str(), view["versions"][0]["weight"].as_u64()), (Some("operator"), Some(0)), "{view}");
    let (code, out, err) = program.ask(&["weight", "web", "green=much"]);
    assert!(code != 0 && (out + &err).contains("is no version with a share"));
    let reply = program.try_api("PUT", "/v1/weights/nobody?versions=a=1", "").unwrap();
    assert_eq!(reply.status, 404);

    // Versions that nobody named serve where none of the named ones can: an order does not take a service down.
    program.ask(&["weight", "web", "red=5"]);
    let served = seen(20);
    assert!(served.iter().all(|name| ["blue", "green"].contains(&name.as_str())), "{served:?}");
    program.ask(&["weight", "web", "green=1"]);

    // The order is part of the stored state.
    program.signal(Signal::SIGTERM);
    program.ended();
    let mut program = folder.start();
    program.until_ready();
    until("it serves again", || get(proxy, "web.test", "/").is_some_and(|reply| reply.status == 200));
    assert_eq!(seen(20), ["green"]);
    let (code, out, err) = program.ask(&["weight", "web", "--clear"]);
    assert!(code == 0 && out.contains("as labels say"), "{out}{err}");
    assert_eq!(seen(20), ["blue"]);
}
