//! The admin API and the command line against a running program: answers and exit codes, who may do what, what is
//! shown to nobody.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;

use common::openapi::validate;
use common::ports::unused;
use common::program::{Folder, PATIENCE, Program, exchange, get, pointsman, run};
use pointsman::demo::app::AppSpec;
use pointsman::demo::{DemoCluster, DemoOptions};
use serde_json::Value;

/// What must never be seen; each hidden label has it.
const HUNTER: &str = "hunter2";
const TOKEN: &str = "correct horse battery staple";

/// The embedded cluster with labels that hold secrets, one of them wrong, and the program that serves it.
struct World {
    program: Program,
    folder: Folder,
    cluster: DemoCluster,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn start(admin: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let web = [
            ("HAPROXY_GROUP", "external"),
            ("HAPROXY_0_VHOST", "web.test"),
            ("HAPROXY_0_AUTH", "realm:user:hunter2"),
            ("MY_TOKEN", HUNTER),
            ("db.Password", HUNTER),
            ("CLIENT_SECRET", HUNTER),
            ("pointsman.authh", HUNTER),
            ("pointsman.http.secret", HUNTER),
            ("HAPROXY_0_BACKEND_HTTP_OPTIONS_AUTH", HUNTER),
            ("pointsman.weight", "heavy"),
        ];
        let apps = vec![AppSpec::http("web", 2, &web), AppSpec::http("api", 1, &[("pointsman.host", "api.test")])];
        let cluster = runtime.block_on(DemoCluster::start(DemoOptions { apps, ..DemoOptions::fast() })).unwrap();
        runtime.block_on(cluster.ready()).unwrap();
        let folder = Folder::new();
        let masters: Vec<_> = cluster.masters().iter().map(ToString::to_string).collect();
        folder.write("token", format!("{TOKEN}\n"));
        folder.configure(&format!(
            "[admin]\nsocket = \"admin.sock\"\ntoken_file = \"token\"\n{admin}[log]\nlevel = \"trace\"\nformat = \"json\"\n\
             [[sources.mesos]]\nname = \"demo\"\nzone = \"mesos\"\nmasters = {masters:?}\nprincipal = \"ops\"\nsecret = \"{HUNTER}\"\n"
        ));
        let mut program = folder.start();
        program.until_ready();
        program.until("all is served", |program| {
            let counts = &program.api("/v1/table").1["counts"];
            counts["tasks"] == 3 && program.api("/v1/services/web").1["service"]["available"] == 2
        });
        Self { program, folder, cluster, runtime }
    }

    fn stop(mut self) {
        self.program.stop();
        self.runtime.block_on(self.cluster.stop());
    }
}

#[test]
fn every_command_answers_people_and_machines_with_its_exit_code() {
    let mut world = World::start("");
    // Another version, to have something to compare.
    world.cluster.scheduler().crash("api").unwrap();
    world.program.until("a new version is published and all is served again", |program| {
        let versions = program.api("/v1/table/history").1["versions"].as_array().map_or(0, Vec::len);
        let counts = &program.api("/v1/table").1["counts"];
        versions >= 2 && counts["tasks"] == 3 && program.api("/v1/services/api").1["service"]["available"] == 1
    });
    let (task, own_name) = {
        let (_, tasks) = world.program.api("/v1/tasks?service=api");
        let said = |what: &str| tasks["tasks"][0][what].as_str().unwrap().to_owned();
        (said("key"), said("dns_name"))
    };
    assert!(own_name.ends_with(".id.marathon.mesos"), "{own_name}");
    let history = world.program.api("/v1/table/history").1;
    let version = |at: usize| history["versions"][at]["generation"].to_string();
    let (from, to) = (version(1), version(0));
    let document: Value = serde_json::from_str(pointsman::admin::OPENAPI).unwrap();
    let program = &world.program;
    // What is asked, its exit code, what people read, and the schema of what machines read.
    let cases: [(&[&str], i32, &str, &str); 31] = [
        (&["services"], 0, "AVAILABLE", "ServiceList"),
        (&["services", "web"], 0, "web.test", "ServiceDetails"),
        (&["services", "wob"], 1, "did you mean", ""),
        (&["tasks"], 0, "SERVED AS", "TaskList"),
        (&["tasks", "--service", "api"], 0, "api", "TaskList"),
        (&["tasks", &task], 0, "state running", "TaskDetails"),
        (&["tasks", &task], 0, &format!("DNS name {own_name}"), "TaskDetails"),
        (&["resolve", &own_name, "A"], 0, "127.0.0.", "Explanation"),
        (&["explain", &format!("x.{own_name}")], 1, "nxdomain", "Explanation"),
        (&["tasks", "web"], 1, "stands for 2 tasks", ""),
        (&["tasks", "--state", "sleeping"], 2, "there is no state", ""),
        (&["resolve", "web.marathon.mesos"], 0, "TTL", "Explanation"),
        (&["resolve", "web.marathon.mesos", "SRV"], 1, "it has records of type A", "Explanation"),
        (&["resolve", "mesos", "SOA"], 0, "ns1.mesos. root.ns1.mesos. ", "Explanation"),
        (&["resolve", "mesos", "ns"], 0, "ns1.mesos.", "Explanation"),
        (&["resolve", "mesos", "TXT"], 1, "it has SOA and NS", "Explanation"),
        (&["resolve", "web.marathon.mesos", "SOA"], 1, "nodata", "Explanation"),
        // The name server's name is in no table; without listeners it has no addresses.
        (&["resolve", "ns1.mesos", "A"], 1, "nodata", "Explanation"),
        (&["resolve", "nobody.marathon.mesos", "A"], 1, "nxdomain", "Explanation"),
        // Its label has no user whose password is a hash: nobody is let in.
        (&["explain", "http://web.test/x", "-H", "Authorization: Basic YTpi"], 1, "password-required", "Explanation"),
        (&["explain", "http://nobody.test/"], 1, "no-route", "Explanation"),
        (&["explain", "web.marathon.mesos", "--type", "A"], 0, "answer", "Explanation"),
        (&["problems"], 1, "pointsman.weight", "ProblemList"),
        (&["problems", "nobody"], 0, "no problems", "ProblemList"),
        (&["sources"], 0, "live", "SourceList"),
        (&["sources", "accept-removals", "demo"], 1, "has no removals held back", ""),
        (&["table"], 0, "epoch", "Table"),
        (&["table", "history"], 0, "CAUSES", "TableHistory"),
        (&["table", "show", &to], 0, "web.test", "TableContent"),
        (&["table", "diff", &from, &to], 0, "version", "TableDiff"),
        (&["table", "show", "999999"], 1, "is not kept", ""),
    ];
    for (arguments, code, part, schema) in cases {
        let (found, out, err) = program.ask(arguments);
        assert_eq!(found, code, "{arguments:?}: {out}{err}");
        assert!(format!("{out}{err}").contains(part), "{arguments:?} lacks {part:?}: {out}{err}");
        let (found, out, err) = program.ask(&[&["--json"], arguments].concat());
        assert_eq!(found, code, "--json {arguments:?}: {out}{err}");
        if !schema.is_empty() {
            let schema = serde_json::json!({"$ref": format!("#/components/schemas/{schema}")});
            validate(&document, &schema, &serde_json::from_str(&out).unwrap(), &format!("{arguments:?}"));
        }
    }
    let (code, out, _) = program.ask(&["version", "--json"]);
    assert_eq!(
        (code, serde_json::from_str::<Value>(&out).unwrap()["version"].as_str()),
        (0, Some(env!("CARGO_PKG_VERSION")))
    );

    // `check` looks at a file, without an instance.
    let file = world.folder.path("pointsman.toml");
    let file = file.to_str().unwrap();
    assert_eq!(program.ask(&["check", file]).0, 0);
    world.folder.write("bad.toml", "[dns]\nlisten = 5\n[nonsense]\n");
    let bad = world.folder.path("bad.toml");
    let (code, _, err) = program.ask(&["check", bad.to_str().unwrap()]);
    assert!(
        code == 2 && err.contains("bad.toml:2:10: dns.listen: ") && err.contains("bad.toml:3:2: nonsense: "),
        "{err}"
    );
    let (code, out, _) = program.ask(&["check", "--json", bad.to_str().unwrap()]);
    let json: Value = serde_json::from_str(&out).unwrap();
    let faults = json["errors"]["errors"].as_array().unwrap();
    assert!(code == 2 && json["valid"] == false, "{out}");
    assert!(
        faults.iter().any(|fault| fault["key"] == "dns.listen" && fault["line"] == 2 && fault["column"] == 10),
        "{out}"
    );

    // The files that a configuration names are looked at too: at every fault, with its place and mend.
    let mesos = "[[sources.mesos]]\nname = \"m\"\nzone = \"mesos\"\nmasters = [\"127.0.0.1:5050\"]\n";
    let source = |name: &str| format!("[[sources.file]]\nname = \"{name}\"\npath = \"{name}.toml\"\n");
    world.folder.write("with-files.toml", format!("{mesos}{}{}", source("bent"), source("gone")));
    world.folder.write(
        "bent.toml",
        "[[services]]\nnane = \"shop\"\n\n[[services]]\nname = \"web\"\nendpoints = [\"nowhere\"]\n",
    );
    let whole = world.folder.path("with-files.toml");
    let whole = whole.to_str().unwrap();
    let (code, out, err) = program.ask(&["check", whole]);
    let bent = world.folder.path("bent.toml").display().to_string();
    let gone = world.folder.path("gone.toml").display().to_string();
    assert!(code == 2 && out.is_empty(), "{out}{err}");
    for part in [&*format!("{bent}:2:"), "did you mean", &format!("{bent}:6:"), &format!("{gone}: cannot be read")] {
        assert!(err.contains(part), "{part} is not in {err}");
    }
    let (code, out, _) = program.ask(&["check", "--json", whole]);
    let json: Value = serde_json::from_str(&out).unwrap();
    let files: Vec<&str> = json["files"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(code == 2 && json["valid"] == false && files.len() == 2, "{out}");
    assert!(files[0].starts_with(&bent) && files[1].starts_with(&gone), "{out}");
    world.folder.write("bent.toml", "[[services]]\nname = \"shop\"\n");
    world.folder.write("gone.toml", "[[services]]\nname = \"other\"\n");
    let (code, out, _) = program.ask(&["check", "--json", whole]);
    assert_eq!((code, serde_json::from_str::<Value>(&out).unwrap()["valid"].as_bool()), (0, Some(true)), "{out}");

    // Nobody there, refused by a program that fails to start.
    let nowhere = world.folder.path("nowhere.sock");
    assert_eq!(run(pointsman().arg("--admin").arg(nowhere).arg("table")).0, 3);
    assert_eq!(run(pointsman().args(["serve", "--config"]).arg(bad)).0, 2);
    assert_eq!(run(&mut world.folder.command()).0, 5, "its socket is taken");

    // `watch`, as it happens.
    let mut watch = pointsman();
    watch.arg("--admin").arg(world.folder.path("admin.sock")).args(["watch", "--count", "1"]);
    let mut watching = watch.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "watching; Ctrl-C ends");
    world.cluster.scheduler().crash("api").unwrap();
    let change = lines.next().unwrap().unwrap();
    assert!(change.contains(" version "), "{change}");
    lines.by_ref().for_each(drop);
    assert_eq!(watching.wait().unwrap().code(), Some(0));
    world.program.until("it is replaced", |program| program.api("/v1/services/api").1["service"]["available"] == 1);
    // For machines: an object a line, and nothing else.
    let mut watch = pointsman();
    watch.arg("--admin").arg(world.folder.path("admin.sock")).args(["watch", "--json", "--count", "1"]);
    let watching = watch.stdout(std::process::Stdio::piped()).spawn().unwrap();
    world.program.until("it watches", |program| program.metric("pointsman_admin_event_streams") == Some(1.0));
    world.cluster.scheduler().crash("api").unwrap();
    let said = watching.wait_with_output().unwrap();
    assert_eq!(said.status.code(), Some(0));
    let schema = serde_json::json!({"$ref": "#/components/schemas/TableChanged"});
    validate(&document, &schema, &serde_json::from_slice(&said.stdout).unwrap(), "watch --json");
    world.program.until("it is replaced", |program| program.api("/v1/services/api").1["service"]["available"] == 1);
    world.stop();
}

#[test]
fn secrets_are_shown_nowhere() {
    let world = World::start("");
    let mut stream = UnixStream::connect(world.folder.path("admin.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut events = Events(BufReader::new(stream));
    let document: Value = serde_json::from_str(pointsman::admin::OPENAPI).unwrap();
    let schema = |name: &str| serde_json::json!({"$ref": format!("#/components/schemas/{name}")});
    let (name, data) = events.next();
    assert_eq!(name, "hello");
    validate(&document, &schema("Table"), &data, "hello");
    // A new task with such labels.
    world.runtime.block_on(world.cluster.scheduler().deploy("web")).unwrap();
    let mut told = String::new();
    while !told.contains("v2") && !told.contains("unknown-label") {
        let (name, data) = events.next();
        assert_eq!(name, "table");
        validate(&document, &schema("TableChanged"), &data, "table");
        told.push_str(&data.to_string());
    }
    drop(events);

    let mut everything = vec![("events".to_owned(), told)];
    let generation = world.program.api("/v1/table").1["generation"].as_u64().unwrap();
    let tasks = world.program.api("/v1/tasks").1;
    let keys =
        tasks["tasks"].as_array().unwrap().iter().map(|task| format!("/v1/tasks/{}", task["key"].as_str().unwrap()));
    let paths = [
        "/v1/tasks",
        "/v1/services",
        "/v1/services/web",
        "/v1/problems",
        "/v1/sources",
        "/v1/config",
        "/v1/table/history",
        "/v1/explain?url=http://web.test/",
        "/v1/explain?name=web.marathon.mesos",
        "/v1/prometheus/targets",
        "/metrics",
    ];
    let versions =
        [format!("/v1/table/{generation}"), format!("/v1/table/diff?from={}&to={generation}", generation - 1)];
    for path in paths.map(str::to_owned).into_iter().chain(keys).chain(versions) {
        let reply = world.program.try_api("GET", &path, "").unwrap();
        // What has been deployed away may go before it is asked for.
        assert!(matches!(reply.status, 200 | 404), "{path}: {}", reply.body);
        everything.push((path, reply.body));
    }
    let (_, config) = world.program.api("/v1/config");
    assert_eq!(config["config"]["admin"]["token"], "[hidden]");
    assert_eq!(config["config"]["sources"]["mesos"][0]["secret"], "[hidden]");
    assert!(everything.iter().any(|(_, text)| text.contains(r#""key":"HAPROXY_0_AUTH","value":"[hidden]""#)));
    assert!(everything.iter().any(|(_, text)| text.contains("pointsman.http.secret")), "the problem names the label");
    for arguments in
        [&["tasks"][..], &["services", "web"], &["problems"], &["table", "history"], &["explain", "http://web.test/"]]
    {
        let (_, out, err) = world.program.ask(arguments);
        everything.push((format!("{arguments:?}"), out + &err));
    }
    everything.push(("the log at level trace".to_owned(), world.program.log()));
    for (place, text) in &everything {
        for secret in [HUNTER, TOKEN] {
            assert!(!text.contains(secret), "{place} shows a secret: {}", around(text, secret));
        }
    }
    world.stop();
}

fn around(text: &str, part: &str) -> String {
    let at = text.find(part).unwrap();
    text[..at + part.len()].chars().rev().take(400).collect::<String>().chars().rev().collect()
}

/// A stream of server-sent events.
struct Events<S>(BufReader<S>);

impl<S: Read> Events<S> {
    /// The next event's name and data. Every line is of the format; lengths of chunks are passed over.
    fn next(&mut self) -> (String, Value) {
        let mut name = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended");
            let line = line.trim_end();
            match line.split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => return (name, serde_json::from_str(value).unwrap()),
                Some(("id", value)) => assert!(value.contains('-'), "EPOCH-GENERATION: {line}"),
                _ => {}
            }
        }
    }
}

/// Asks over TCP with a header.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> common::program::Reply {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(stream, method, path, headers, body).unwrap()
}

#[test]
fn the_api_trusts_the_socket_and_the_token_and_no_web_page() {
    let api = unused();
    let world = World::start(&format!("listen = \"{api}\"\nhosts = [\"ops.test\"]\n"));
    let host = format!("Host: {api}");
    let log = "/v1/log";
    let level = r#"{"level":"info"}"#;
    assert_eq!(ask(api, "PUT", log, &[&host], level).status, 401);
    let wrong = ask(api, "PUT", log, &[&host, "Authorization: Bearer guess"], level);
    assert_eq!(wrong.status, 401);
    assert!(wrong.head.contains("www-authenticate: bearer"), "{}", wrong.head);
    let token = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(ask(api, "PUT", log, &[&host, &token], level).status, 200);
    assert!(world.program.log().contains("an operator changes the log level"), "it is logged");
    assert!(world.program.log().contains("the token from 127.0.0.1"), "with who did it");
    assert_eq!(world.program.try_api("PUT", log, level).unwrap().status, 200, "the socket needs none");

    // Another name leads to us (DNS rebinding), and a page of another origin asks.
    for path in ["/v1/table", "/healthz", "/metrics"] {
        assert_eq!(get(api, "evil.test", path).unwrap().status, 421, "{path}");
    }
    assert_eq!(get(api, "ops.test", "/v1/table").unwrap().status, 200);
    let page = ["Origin: http://evil.test", "Access-Control-Request-Method: PUT"];
    for (method, path) in [("GET", "/v1/table"), ("OPTIONS", "/v1/log")] {
        let reply = ask(api, method, path, &[&host, page[0], page[1]], "");
        assert!(!reply.head.contains("access-control-"), "{method}: {}", reply.head);
    }
    world.stop();
}

#[test]
fn over_tls_the_command_line_sends_its_token_to_whom_it_trusts() {
    let api = unused();
    let folder = Folder::new();
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    folder.write("api.crt", pair.cert.pem());
    folder.write("api.key", pair.signing_key.serialize_pem());
    let (certificate, key) = (folder.path("api.crt"), folder.path("api.key"));
    let world = World::start(&format!("listen = \"{api}\"\ncertificate = {certificate:?}\nkey = {key:?}\n"));
    let url = format!("https://localhost:{}", api.port());
    let ask =
        |more: &[&str]| run(pointsman().args(["--admin", &url, "--ca", certificate.to_str().unwrap()]).args(more));
    let accept = ["sources", "accept-removals", "demo"];
    let (code, out, err) = ask(&["services"]);
    assert!(code == 0 && out.contains("web"), "{out}{err}");
    let (code, _, err) = ask(&accept);
    assert!(code == 4 && err.contains("needs a token"), "{err}");
    folder.write("wrong", "guess");
    let (code, _, err) = ask(&[&accept[..], &["--token-file", folder.path("wrong").to_str().unwrap()]].concat());
    assert!(code == 4 && err.contains("the token is wrong"), "{err}");
    let right = world.folder.path("token");
    let (code, _, err) = ask(&[&accept[..], &["--token-file", right.to_str().unwrap()]].concat());
    assert!(code == 1 && err.contains("no removals held back"), "understood, and nothing to accept: {err}");
    // Another authority: it says nothing to whoever answers.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    folder.write("other.crt", other.cert.pem());
    let (code, _, err) = run(pointsman().args(["--admin", &url, "--ca"]).arg(folder.path("other.crt")).arg("services"));
    assert!(code == 3 && err.contains("certificate"), "{err}");
    // In clear text nobody answers.
    let (code, _, _) = run(pointsman().args(["--admin", &format!("http://{api}"), "services"]));
    assert_eq!(code, 3);
    // The same by a client that is not ours.
    let authorization = format!("Authorization: Bearer {TOKEN}");
    let curl = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--cacert"])
        .arg(&certificate)
        .args(["-X", "PUT", "-H", &authorization, "-d", r#"{"level":"info"}"#, "-w", " %{http_code}"])
        .args(["-H", "Content-Type: application/json", &format!("{url}/v1/log")])
        .output();
    match curl {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"level\":\"info\"} 200"),
        Err(_) => println!("SKIP: curl is not installed"),
    }
    world.stop();
}

#[test]
fn connections_beyond_the_limit_wait_for_a_place() {
    let api = unused();
    let world = World::start(&format!("listen = \"{api}\"\n"));
    let mut held: Vec<TcpStream> = (0..128).map(|_| TcpStream::connect(api).unwrap()).collect();
    let limited = |program: &Program| program.metric("pointsman_admin_connections_limited_total").unwrap_or_default();
    let mut world = world;
    world.program.until("the limit bites", |program| limited(program) >= 1.0);
    let waiting = std::thread::spawn(move || get(api, &api.to_string(), "/healthz").unwrap().status);
    // The socket has places of its own.
    assert_eq!(world.program.api("/healthz").0, 200);
    assert!(!waiting.is_finished(), "there is no place for it");
    held.pop();
    assert_eq!(waiting.join().unwrap(), 200);
    drop(held);
    world.stop();
}
