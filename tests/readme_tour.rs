//! What the README tells people to type, typed: the tour through the demo, the first steps with a file.
//!
//! The demo hurries, but for `POINTSMAN_FULL=1`, where everything takes the time that people see.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use common::dns::over_udp;
use common::ports::unused;
use common::program::{Folder, PATIENCE, Program, get, listens, run, until};
use hickory_proto::rr::{RData, RecordType};
use nix::sys::signal::Signal;

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The lines of the fenced blocks of this language, in order.
fn block_lines(language: &str) -> Vec<String> {
    let (mut lines, mut is_inside) = (Vec::new(), false);
    for line in readme().lines() {
        match line.strip_prefix("```") {
            Some(rest) => is_inside = !is_inside && rest == language,
            None if is_inside => lines.push(line.to_owned()),
            None => {}
        }
    }
    lines
}

/// A demo on ports of its own.
struct Demo {
    program: Program,
    folder: Folder,
    dns: SocketAddr,
    proxy: SocketAddr,
    api: SocketAddr,
    control: SocketAddr,
    arguments: Vec<String>,
}

impl Demo {
    fn start() -> Self {
        let folder = Folder::new();
        let (dns, proxy, api, control) = (unused(), unused(), unused(), unused());
        let masters = [unused(), unused(), unused()].map(|master| master.to_string()).join(",");
        let arguments = [
            ("--dns", dns.to_string()),
            ("--proxy", proxy.to_string()),
            ("--api", api.to_string()),
            ("--control", control.to_string()),
            ("--masters", masters),
        ];
        let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        let arguments: Vec<String> = arguments;
        let mut command = common::program::pointsman();
        command.arg("demo").args(&arguments);
        if std::env::var_os("POINTSMAN_FULL").is_none() {
            command.arg("--fast");
        }
        let program = folder.start_by(command);
        Self { program, folder, dns, proxy, api, control, arguments }
    }

    /// A command of the README for this demo: its ports, its API, the program that is tested.
    fn here(&self, command: &str) -> String {
        let program = env!("CARGO_BIN_EXE_pointsman");
        command
            .replace("-p 15353", &format!("-p {}", self.dns.port()))
            .replace("127.0.0.1:18081", &self.proxy.to_string())
            .replace("/tmp/pointsman-demo-18080.sock", &self.orders().display().to_string())
            .replace("target/release/pointsman demo", &format!("{program} demo --control {}", self.control))
            .replace("target/release/pointsman", program)
    }

    /// The socket that takes orders.
    fn orders(&self) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("pointsman-demo-{}.sock", self.api.port()))
    }

    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(self.here(command)).stdin(Stdio::null());
        shell.env("POINTSMAN_ADMIN", format!("http://{}", self.api)).env("no_proxy", "*");
        shell
    }

    /// Waits until so many endpoints of a service may be chosen.
    fn until_served(&mut self, service: &str, count: usize) {
        let (api, wanted) = (self.api, format!("\"available\":{count}"));
        self.program.until(&format!("{count} of {service} are served"), |_| {
            let reply = get(api, &api.to_string(), &format!("/v1/services/{service}"));
            reply.is_some_and(|reply| reply.body.contains(&wanted))
        });
    }

    /// Waits until the story has these one after the other, with others between.
    fn until_told(&mut self, parts: &[&str]) {
        self.program.until(&format!("it is told: {parts:?}"), |program| {
            let log = program.log();
            let mut rest = log.as_str();
            parts.iter().all(|part| match rest.split_once(part) {
                Some((_, behind)) => {
                    rest = behind;
                    true
                }
                None => false,
            })
        });
    }

    /// Waits until a line of the story, of those behind its first `from` octets, has both of these.
    fn until_line(&mut self, from: usize, parts: [&str; 2]) {
        self.program.until(&format!("it is told: {parts:?}"), |program| {
            program.log()[from..].lines().any(|line| parts.iter().all(|part| line.contains(part)))
        });
    }

    /// What its control says of the cluster.
    fn overview(&self) -> serde_json::Value {
        let reply = get(self.control, &self.control.to_string(), "/demo").unwrap();
        serde_json::from_str(&reply.body).unwrap()
    }

    /// Types a command; what it printed, if it ended well.
    fn types(&self, command: &str) -> String {
        let (code, out, err) = run(&mut self.shell(command));
        assert_eq!(code, 0, "{command}: {out}{err}");
        out
    }
}

/// What the demo prints to try, with its own ports.
fn printed(log: &str) -> Vec<String> {
    let headings = ["Names:", "Traffic:", "Why:", "State:", "Deploys:", "Act:", "          "];
    let lines = log.lines().filter_map(|line| headings.iter().find_map(|heading| line.strip_prefix(heading)));
    let commands = lines.map(str::trim).filter(|line| line.starts_with("dig ") || line.starts_with("curl "));
    commands.map(str::to_owned).collect()
}

fn is_there(tool: &str) -> bool {
    let found = Command::new(tool).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("SKIP: {tool} is not installed");
    }
    found
}

#[test]
fn the_tour_shows_what_the_readme_says() {
    if !is_there("dig") || !is_there("curl") {
        return;
    }
    let mut demo = Demo::start();
    demo.until_served("web", 3);
    let tour: Vec<String> = block_lines("console");
    let tour: Vec<&str> = tour.iter().map(|line| line.strip_prefix("$ ").expect("a command")).collect();
    let command = |part: &str| -> String {
        let found: Vec<_> = tour.iter().filter(|command| command.contains(part)).collect();
        assert_eq!(found.len(), 1, "one command of the tour has {part:?}: {tour:?}");
        (*found[0]).to_owned()
    };
    let mut typed = Vec::new();
    let mut types = |demo: &Demo, part: &str| {
        let command = command(part);
        typed.push(command.clone());
        demo.types(&command)
    };

    let addresses = types(&demo, "+short web.marathon.mesos");
    assert!(
        addresses.lines().count() >= 1 && addresses.lines().all(|line| line.starts_with("127.0.0.")),
        "{addresses}"
    );
    let services = types(&demo, "SRV");
    assert!(services.lines().count() == 3 && services.lines().all(|line| line.split(' ').count() == 4), "{services}");
    let answer = types(&demo, "curl");
    assert!(answer.contains("\"app\":\"web\"") && answer.contains("\"version\":\"v1\""), "{answer}");
    assert!(types(&demo, "pointsman services").contains("/web/http"));
    assert!(types(&demo, "pointsman explain").contains("routed"));

    // "To see that nothing is lost meanwhile, keep asking from another terminal: … ends at the first request that fails; none does."
    let readme = readme();
    let from = readme.find("`while curl").unwrap() + 1;
    let keep_asking = &readme[from..from + readme[from..].find('`').unwrap()];
    let mut asking = demo.folder.start_by(demo.shell(keep_asking));
    types(&demo, "demo --deploy web");
    until("the new version answers", || {
        get(demo.proxy, "web.demo.localhost", "/").is_some_and(|reply| reply.body.contains("\"version\":\"v2\""))
    });
    assert!(!asking.has_ended(), "a request failed during the deploy");
    drop(asking);

    let deploys = || demo.program.log().lines().any(|line| line.contains("deploy of web from v1 to v2: finished"));
    until("the demo says that the deploy is over", deploys);
    let deploys = types(&demo, "pointsman deploys");
    assert!(deploys.contains("finished") && deploys.contains("lost: 0 of "), "{deploys}");

    let said = types(&demo, "pointsman drain agent");
    assert!(said.contains("is out of service, nothing is in flight"), "{said}");
    let names = || demo.types("dig @127.0.0.1 -p 15353 +short web.marathon.mesos");
    assert!(!names().contains("127.0.0.2\n"), "a drained agent's tasks are not named");
    assert!(types(&demo, "pointsman undrain agent").contains("is in service again"));

    types(&demo, "demo --do 'crash web'");
    types(&demo, "demo --do failover");
    let history = types(&demo, "table history");
    assert!(history.contains("CAUSES") && history.lines().count() > 5, "{history}");
    assert_eq!(typed.len(), tour.len(), "every command of the tour was typed: {tour:?}");

    // What the demo itself prints to try. What acts on the cluster is another test's.
    let log = demo.program.log();
    let mut tried = 0;
    for line in printed(&log).iter().filter(|line| !line.contains("-X POST")) {
        let (code, out, err) = run(&mut demo.shell(line));
        assert!(code == 0 && !out.is_empty(), "{line}: {out}{err}");
        tried += 1;
    }
    assert!(tried >= 7, "{log}");

    // "a taken port is an error that names it"
    let mut second = common::program::pointsman();
    second.arg("demo").args(&demo.arguments);
    let (code, _, said) = run(&mut second);
    assert!(code == 5 && said.contains("in use"), "{said}");
    // "Ctrl-C in the first terminal ends it all"
    demo.program.signal(Signal::SIGINT);
    assert_eq!(demo.program.ended().code(), Some(0));
    assert!(![demo.dns, demo.proxy, demo.api, demo.control].into_iter().any(listens), "it has left nothing");
    assert!(!demo.orders().exists(), "nor a socket");
}

#[test]
fn what_is_ordered_is_done_and_told() {
    if !is_there("curl") {
        return;
    }
    let mut demo = Demo::start();
    demo.until_served("web", 3);
    let log = demo.program.log();
    let orders: Vec<String> = printed(&log).into_iter().filter(|line| line.contains("-X POST")).collect();
    let mut given = Vec::new();
    let mut order = |demo: &Demo, verb: &str, done: &str| {
        let found: Vec<_> = orders.iter().filter(|line| line.contains(&format!("/demo/{verb}"))).collect();
        assert_eq!(found.len(), 1, "one order has {verb:?}: {orders:?}");
        given.push(found[0].clone());
        let said = demo.types(found[0]);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{verb}: {said}"));
        let text = said["done"].as_str().unwrap_or_else(|| panic!("{verb}: {said}")).to_owned();
        assert!(text.contains(done), "{verb}: {text}");
        text
    };

    order(&demo, "deploy", "web is rolled out");
    // The life of one instance of each version, as a newcomer reads it.
    demo.until_line(0, ["web v2 on agent-", " is launched"]);
    demo.until_line(0, ["web v1 on agent-", " is told to end and drains"]);
    let log = demo.program.log();
    let name = |version: &str, event: &str| {
        let line = log.lines().find(|line| line.contains(&format!("web {version} on ")) && line.contains(event));
        let line = line.unwrap_or_else(|| panic!("no {event:?} of {version} in {log}"));
        line.split_once("s  ").unwrap().1.split_once(event).unwrap().0.to_owned()
    };
    let (new, old) = (name("v2", " is launched"), name("v1", " is told to end and drains"));
    demo.until_told(&[&format!("{new} is launched"), &format!("{new} runs"), &format!("{new} is healthy")]);
    demo.until_told(&[&format!("{old} is told to end and drains"), &format!("{old} has ended")]);

    order(&demo, "scale", "web has 5 instances");
    demo.until_served("web", 5);
    let ports = over_udp(demo.dns, "_web._tcp.marathon.mesos.", RecordType::SRV).answers.len();
    assert_eq!(ports, 5, "names follow");

    order(&demo, "crash", "crashes");
    demo.until_line(0, ["web v2 on agent-", " has failed"]);
    demo.until_served("web", 5);

    let said = order(&demo, "kill-agent", " is given up; its tasks go on");
    let agent = said.split(' ').next().unwrap().to_owned();
    demo.until_line(0, [&format!("on {agent}:"), " is unreachable"]);
    let standing = |demo: &Demo, agent: &str| {
        let overview = demo.overview();
        let agents = overview["agents"].as_array().unwrap();
        agents.iter().find(|known| known["agent"] == agent).map(|known| known["standing"].as_str().unwrap().to_owned())
    };
    assert_eq!(standing(&demo, &agent).as_deref(), Some("unreachable"));
    assert_eq!(order(&demo, "revive-agent", "is back"), format!("{agent} is back"));
    demo.until_told(&[
        " is unreachable",
        &format!("on {agent}:"),
        " is known again: runs",
        &format!("{agent} is registered"),
    ]);
    assert_eq!(standing(&demo, &agent).as_deref(), Some("registered"));

    let from = demo.program.log().len();
    let before = demo.overview()["leader"].clone();
    let said = order(&demo, "failover", " leads and knows all agents again");
    let leader = demo.overview()["leader"].clone();
    assert!(leader != before && leader.as_str() == said.split(' ').next(), "{before} → {leader}: {said}");
    // The new leader hears of the scheduler, and of each agent with what runs there.
    demo.until_line(from, ["the scheduler is ", ""]);
    demo.until_line(from, ["web v2 on agent-", " is known again: runs"]);
    demo.until_line(from, ["agent-", " is registered"]);
    assert_eq!(given.len(), orders.len(), "every order that is printed was given: {orders:?}");

    typed_orders(&mut demo);

    // A line for each version of the table, in their order, with what led to it.
    let log = demo.program.log();
    let versions = log.lines().filter_map(|line| line.split_once("s  table ")?.1.split_once(": "));
    let versions: Vec<(u64, &str)> = versions.map(|(number, causes)| (number.parse().unwrap(), causes)).collect();
    assert!(versions.len() > 10 && versions.is_sorted_by(|one, next| one.0 < next.0), "{versions:?}");
    assert!(versions.iter().filter(|(_, causes)| !causes.is_empty()).count() > 10, "{versions:?}");
    demo.program.signal(Signal::SIGTERM);
    assert_eq!(demo.program.ended().code(), Some(0));
}

/// What the opening text does not show can be typed.
fn typed_orders(demo: &mut Demo) {
    let told = |demo: &Demo, order: &str| demo.types(&format!("target/release/pointsman demo --do '{order}'"));
    let from = demo.program.log().len();
    let said = told(demo, "sick api");
    assert!(said.contains("fails its health checks from now on"), "{said}");
    demo.until_line(from, ["api v1 on agent-", " is unhealthy"]);
    let from = demo.program.log().len();
    let sick = said.split(' ').next().unwrap().to_owned();
    let said = told(demo, &format!("heal {sick}"));
    assert!(said.contains("passes its health checks from now on"), "{said}");
    demo.until_line(from, ["api v1 on agent-", " is healthy"]);
    assert!(told(demo, "m agent-1").contains("agent-1 is given up, with its tasks"));
    assert!(told(demo, "r agent-1").contains("agent-1 is back"));
    assert!(told(demo, "x agent-2").contains("agent-2 is removed"));
    demo.until_told(&["agent-2 is removed"]);
    // What cannot be done is refused, with another exit code than a demo that is not there.
    for (order, part) in [("crash nobody", "nobody"), ("r agent-3", "agent-3"), ("s web 100000", "100000")] {
        let (code, out, err) = run(&mut demo.shell(&format!("target/release/pointsman demo --do '{order}'")));
        assert!(code == 4 && out.is_empty() && err.contains(part), "{order}: {code} {out}{err}");
    }
}

#[test]
fn the_tcp_app_is_found_by_its_name_and_sends_back_what_it_gets() {
    let mut demo = Demo::start();
    demo.until_served("echo", 1);
    let ask = |name: &str, record_type| over_udp(demo.dns, name, record_type).answers;
    let answers = ask("_echo._tcp.marathon.mesos.", RecordType::SRV);
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    let RData::SRV(service) = &answer.data else { panic!("{answer:?}") };
    let answers = ask(&service.target.to_ascii(), RecordType::A);
    let [RData::A(address)] = answers.iter().map(|answer| &answer.data).collect::<Vec<_>>()[..] else {
        panic!("{answers:?}")
    };
    let mut stream = TcpStream::connect((address.0, service.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for said in [&b"hello"[..], b"\0\xff and anything else"] {
        stream.write_all(said).unwrap();
        let mut back = vec![0; said.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, said);
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it ends when its client ends");
    demo.program.signal(Signal::SIGINT);
    assert_eq!(demo.program.ended().code(), Some(0));
}

#[test]
fn the_first_steps_with_a_file_can_be_taken() {
    let folder = Folder::new();
    let commands = block_lines("sh");
    let steps: Vec<&str> = commands.iter().filter_map(|line| line.strip_prefix("pointsman ")).collect();
    let [sample, check, serve] = steps.as_slice() else { panic!("three steps: {steps:?}") };
    let program = env!("CARGO_BIN_EXE_pointsman");
    let step = |step: &str| {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(format!("exec {program} {step}")).current_dir(folder.path(".")).stdin(Stdio::null());
        shell
    };
    assert_eq!(run(&mut step(sample)).0, 0);
    let (code, out, err) = run(&mut step(check));
    assert!(code == 0 && out.contains("valid"), "{out}{err}");
    // The same file on ports and in folders that a test may use.
    let text = std::fs::read_to_string(folder.path("pointsman.toml")).unwrap();
    let mut here = String::new();
    for line in text.lines() {
        let is_active = !line.starts_with('#');
        let port = is_active.then(|| line.find("\"127.0.0.1:").map(|at| (at, line[at + 1..].find('"')))).flatten();
        match port {
            Some((at, Some(end))) => here.push_str(&format!("{}{}{}", &line[..=at], unused(), &line[at + 1 + end..])),
            _ => here.push_str(&line.replace("/run/pointsman/", "").replace("/var/lib/pointsman/", "")),
        }
        here.push('\n');
    }
    folder.write("pointsman.toml", &here);
    let mut program = folder.start_by(step(serve));
    program.until("it serves", |program| program.log().contains(" serving "));
    program.stop();
}
