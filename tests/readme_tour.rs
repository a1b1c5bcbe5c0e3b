//! What the README tells people to type, typed: the tour through the demo, the first steps with a file.
//!
//! The demo hurries, but for `POINTSMAN_FULL=1`, where everything takes the time that people see.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use common::ports::unused;
use common::program::{Folder, Program, get, listens, run, until};
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

    /// Types a command; what it printed, if it ended well.
    fn types(&self, command: &str) -> String {
        let (code, out, err) = run(&mut self.shell(command));
        assert_eq!(code, 0, "{command}: {out}{err}");
        out
    }
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
    let api = demo.api;
    demo.program.until("the demo is up", |_| {
        get(api, &api.to_string(), "/v1/services/web").is_some_and(|reply| reply.body.contains("\"available\":3"))
    });
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

    // What the demo itself prints to try, with its own ports.
    let log = demo.program.log();
    let headings = ["Names:", "Traffic:", "Why:", "State:", "Deploys:", "          "];
    let printed = log.lines().filter_map(|line| headings.iter().find_map(|head| line.strip_prefix(head)));
    let mut tried = 0;
    for line in printed.map(str::trim).filter(|line| line.starts_with("dig ") || line.starts_with("curl ")) {
        // What acts on the cluster has been done above; killing agents takes its time.
        if line.contains("-X POST") {
            continue;
        }
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
