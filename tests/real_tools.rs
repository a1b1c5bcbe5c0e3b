//! Real clients through the running program: curl, h2load, a WebSocket, dig, kdig, a Prometheus. The tasks are real, the
//! cluster is the embedded one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::ports::unused;
use common::program::{Folder, PATIENCE, Program, get, until};
use pointsman::demo::app::AppSpec;
use pointsman::demo::{DemoCluster, DemoOptions};
use serde_json::Value;
use sha1::{Digest, Sha1};

const INSTANCES: usize = 3;

/// The cluster, and the program that serves it as `web.test`.
struct World {
    program: Program,
    folder: Folder,
    http: SocketAddr,
    https: SocketAddr,
    dns: SocketAddr,
    api: SocketAddr,
    cluster: DemoCluster,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let labels = [
            ("HAPROXY_GROUP", "external"),
            ("HAPROXY_0_VHOST", "web.test,a.test,b.test"),
            ("pointsman.scrape", "true"),
        ];
        let options = DemoOptions { apps: vec![AppSpec::http("web", INSTANCES, &labels)], ..DemoOptions::fast() };
        let cluster = runtime.block_on(DemoCluster::start(options)).unwrap();
        runtime.block_on(cluster.ready()).unwrap();
        let folder = Folder::new();
        std::fs::create_dir(folder.path("certificates")).unwrap();
        for name in ["a.test", "b.test"] {
            let pair = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
            let file = folder.path("certificates").join(name);
            std::fs::write(file.with_extension("test.crt"), pair.cert.pem()).unwrap();
            std::fs::write(file.with_extension("test.key"), pair.signing_key.serialize_pem()).unwrap();
        }
        folder
            .write("records.toml", "[[records]]\nname = \"six.corp.test\"\ntype = \"AAAA\"\nvalue = \"2001:db8::1\"\n");
        let (http, https, dns, api) = (unused(), unused(), unused(), unused());
        let masters: Vec<_> = cluster.masters().iter().map(ToString::to_string).collect();
        let text = configuration(&masters, http, https, dns, api);
        folder.configure(&text);
        let mut program = folder.start();
        program.until_ready();
        program.until("all instances are served", |program| {
            program.api("/v1/services").1["services"][0]["available"] == INSTANCES
        });
        Self { program, folder, http, https, dns, api, cluster, runtime }
    }

    fn stop(mut self) {
        self.program.stop();
        self.runtime.block_on(self.cluster.stop());
    }
}

fn configuration(masters: &[String], http: SocketAddr, https: SocketAddr, dns: SocketAddr, api: SocketAddr) -> String {
    format!(
        "[admin]\nsocket = \"admin.sock\"\nlisten = \"{api}\"\n\
         [[sources.mesos]]\nname = \"demo\"\nzone = \"mesos\"\nmasters = {masters:?}\nmax_backoff = \"200ms\"\n\
         [[sources.file]]\nname = \"static\"\npath = \"records.toml\"\nzones = [\"corp.test\"]\n\
         [dns]\nlisten = [\"{dns}\"]\n\
         [[proxy.listeners]]\nname = \"http\"\naddress = \"{http}\"\n\
         [[proxy.listeners]]\nname = \"https\"\naddress = \"{https}\"\ncertificates = \"certificates\"\n"
    )
}

/// Runs a tool: whether it ended well, and what it wrote; `None`, said as a skip, where it is not installed.
fn tool(name: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let output = match Command::new(name).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIP: {name} is not installed");
            return None;
        }
        Err(error) => panic!("{name}: {error}"),
    };
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn curl_in_every_version_of_http_and_by_server_name() {
    let world = World::start();
    let curl = |arguments: &[&str]| {
        let common =
            ["-sS", "--max-time", "30", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
        tool("curl", &[&common, arguments].concat())
    };
    let url = format!("http://{}/", world.http);
    let Some((true, said)) = curl(&["--http1.1", "-H", "Host: web.test", &url]) else { return world.stop() };
    assert_eq!(said, "1.1 200");
    let (_, said) = curl(&["--http2-prior-knowledge", "-H", "Host: web.test", &url]).unwrap();
    assert_eq!(said, "2 200");
    let (_, said) = curl(&["--http1.1", "-H", "Host: nobody.test", &url]).unwrap();
    assert_eq!(said, "1.1 404");
    // Each trusts one certificate alone: it succeeds only if the server chose that one by the name.
    for name in ["a.test", "b.test"] {
        let url = format!("https://{name}:{}/", world.https.port());
        let to = format!("{name}:{}:127.0.0.1", world.https.port());
        let ask = |version: &str, trusted: &str| {
            let ca = world.folder.path("certificates").join(format!("{trusted}.crt"));
            curl(&[version, "--cacert", ca.to_str().unwrap(), "--resolve", &to, &url]).unwrap()
        };
        assert_eq!(ask("--http2", name), (true, "2 200".to_owned()));
        assert_eq!(ask("--http1.1", name), (true, "1.1 200".to_owned()));
        let other = if name == "a.test" { "b.test" } else { "a.test" };
        let (is_ok, said) = ask("--http2", other);
        assert!(!is_ok && said.contains("certificate"), "{said}");
    }
    world.stop();
}

#[test]
fn h2load_loses_nothing() {
    let world = World::start();
    let load = |url: &str, name: &str| {
        let host = format!(":authority: {name}");
        tool("h2load", &["-n", "400", "-c", "4", "-m", "10", "-H", &host, "--connect-to", &authority(url), url])
    };
    for (url, name) in
        [(format!("http://{}/", world.http), "web.test"), (format!("https://a.test:{}/", world.https.port()), "a.test")]
    {
        let Some((_, said)) = load(&url, name) else { break };
        assert!(said.contains("400 total, 400 started, 400 done, 400 succeeded, 0 failed, 0 errored"), "{url}\n{said}");
        assert!(said.contains("400 2xx, 0 3xx, 0 4xx, 0 5xx"), "{url}\n{said}");
    }
    world.stop();
}

/// Where to connect for a URL whose name nobody resolves.
fn authority(url: &str) -> String {
    let port = url.trim_end_matches('/').rsplit(':').next().unwrap();
    format!("127.0.0.1:{port}")
}

#[test]
fn a_websocket_passes() {
    let world = World::start();
    let mut stream = TcpStream::connect(world.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let key = BASE64_STANDARD.encode(b"sixteen octets!!");
    write!(
        stream,
        "GET /socket HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
        head.push(octet[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    // RFC 6455 section 4.2.2: the proof that the server understood.
    let proof = BASE64_STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains(&format!("sec-websocket-accept: {}", proof.to_ascii_lowercase())), "{head}");
    let long = "x".repeat(40_000);
    for text in ["hello", "", &long] {
        write_frame(&mut stream, 1, text.as_bytes());
        assert_eq!(read_frame(&mut stream), (1, text.as_bytes().to_vec()));
    }
    write_frame(&mut stream, 9, b"are you there");
    assert_eq!(read_frame(&mut stream), (10, b"are you there".to_vec()));
    write_frame(&mut stream, 8, &1000_u16.to_be_bytes());
    assert_eq!(read_frame(&mut stream).0, 8);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "closed after the closing handshake");
    drop(stream);
    world.stop();
}

/// A whole frame of a client (RFC 6455 section 5.2): masked.
fn write_frame(stream: &mut TcpStream, opcode: u8, payload: &[u8]) {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(octet, mask)| octet ^ mask));
    stream.write_all(&frame).unwrap();
}

/// A whole frame of a server: not masked, final.
fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!((head[0] & 0x80, head[1] & 0x80), (0x80, 0));
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            usize::from(u16::from_be_bytes(length))
        }
        length => usize::from(length),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).unwrap();
    (head[0] & 0x0f, payload)
}

#[test]
fn dig_and_kdig_ask_for_everything() {
    let world = World::start();
    let port = world.dns.port().to_string();
    for (client, short) in [("dig", "+short"), ("kdig", "+short")] {
        let ask = |arguments: &[&str]| tool(client, &[&["@127.0.0.1", "-p", &port], arguments].concat());
        let Some((true, addresses)) = ask(&["web.marathon.mesos", "A", short]) else { continue };
        assert!(
            addresses.lines().count() >= 1 && addresses.lines().all(|line| line.starts_with("127.0.0.")),
            "{addresses}"
        );
        let (_, over_tcp) = ask(&["+tcp", "web.marathon.mesos", "A", short]).unwrap();
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&over_tcp), sorted(&addresses), "{client}");
        let (_, services) = ask(&["_web._tcp.marathon.mesos", "SRV", short]).unwrap();
        assert_eq!(services.lines().count(), INSTANCES, "{client}: {services}");
        assert!(services.lines().all(|line| line.split(' ').count() == 4 && line.ends_with(".mesos.")), "{services}");
        let (_, six) = ask(&["six.corp.test", "AAAA", short]).unwrap();
        assert_eq!(six.trim(), "2001:db8::1");
        let (_, nodata) = ask(&["web.marathon.mesos", "AAAA"]).unwrap();
        let is_status = |text: &str, status: &str| text.contains(&format!("status: {status}"));
        assert!(is_status(&nodata, "NOERROR") && nodata.contains("ANSWER: 0") && nodata.contains("SOA"), "{nodata}");
        let (_, unknown) = ask(&["nobody.marathon.mesos", "A"]).unwrap();
        assert!(is_status(&unknown, "NXDOMAIN") && unknown.contains("SOA"), "{unknown}");
        let (_, foreign) = ask(&["example.org", "A"]).unwrap();
        assert!(is_status(&foreign, "REFUSED"), "{foreign}");
    }
    world.stop();
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_prometheus_scrapes_the_tasks_and_keeps_its_targets_when_in_doubt() {
    let mut world = World::start();
    let web = unused();
    world.folder.write(
        "prometheus.yml",
        format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n- job_name: tasks\n  http_sd_configs:\n  \
             - url: http://{}/v1/prometheus/targets\n    refresh_interval: 200ms\n  relabel_configs:\n\
             {}",
            world.api,
            ["service", "version", "cluster", "agent", "framework"].map(|name| format!(
                "  - {{source_labels: [__meta_pointsman_{name}], target_label: {name}}}\n"
            )).concat()
        ),
    );
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", world.folder.path("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", world.folder.path("prometheus").display()));
    command.arg(format!("--web.listen-address={web}")).arg("--log.level=warn").stdin(Stdio::null());
    let log = std::fs::File::create(world.folder.path("prometheus.log")).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log);
    let Ok(child) = command.spawn() else {
        println!("SKIP: prometheus is not installed");
        return world.stop();
    };
    let _running = Running(child);
    let ask = |path: &str| -> Value {
        get(web, "localhost", path)
            .map(|reply| serde_json::from_str(&unchunked(&reply)).unwrap_or_default())
            .unwrap_or_default()
    };
    let targets =
        || ask("/api/v1/targets?state=active")["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
    until("the tasks are scraped", || {
        let targets = targets();
        targets.len() == INSTANCES && targets.iter().all(|target| target["health"] == "up")
    });
    for target in targets() {
        let labels = &target["labels"];
        assert_eq!(
            (&labels["service"], &labels["version"], &labels["cluster"]),
            (&"web".into(), &"v1".into(), &"demo".into())
        );
        assert!(labels["agent"].as_str().is_some_and(|agent| !agent.is_empty()), "{labels}");
        assert_eq!(labels["framework"], "marathon");
    }
    until("what the tasks say is stored", || {
        ask("/api/v1/query?query=demo_task_requests_total")["data"]["result"]
            .as_array()
            .is_some_and(|list| list.len() == INSTANCES)
    });

    // Another instance that knows nothing answers an error: the targets stay.
    world.program.stop();
    world.folder.configure(&configuration(&["127.0.0.1:1".to_owned()], world.http, world.https, world.dns, world.api));
    world.program = world.folder.start();
    world.program.until("the API answers", |program| program.try_api("GET", "/healthz", "").is_some());
    let failures = || {
        let text = get(web, "localhost", "/metrics").map(|reply| unchunked(&reply)).unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix("prometheus_sd_http_failures_total ")?.parse::<f64>().ok())
            .unwrap_or_default()
    };
    let before = failures();
    until("it was refused the list", || failures() >= before + 3.0);
    assert_eq!(targets().len(), INSTANCES);
    assert!(targets().iter().all(|target| target["health"] == "up"), "they are still scraped");
    drop(_running);
    world.program.stop();
    world.runtime.block_on(world.cluster.stop());
}

/// A body without the marks of its chunks.
fn unchunked(reply: &common::program::Reply) -> String {
    if !reply.head.contains("transfer-encoding: chunked") {
        return reply.body.clone();
    }
    let (mut rest, mut body) = (reply.body.as_str(), String::new());
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        body.push_str(&after[..length]);
        rest = after[length..].trim_start_matches("\r\n");
        if length == 0 {
            break;
        }
    }
    body
}
