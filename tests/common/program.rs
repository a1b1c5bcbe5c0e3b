//! The real program as a process: its folder, its life, its answers. What it said is shown when a test fails.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

/// Longer than anything takes on a busy machine; a test that waits so long fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of one instance: its configuration, its state, its socket, its log.
pub struct Folder(tempfile::TempDir);

/// A running instance; killed when it is dropped.
pub struct Program {
    child: Child,
    log: PathBuf,
    socket: PathBuf,
}

/// An answer of HTTP/1.1 as it came.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: String,
}

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file in place the way editors and config maps do: another one is renamed over it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let beside = self.path(&format!(".{name}.new"));
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.path(name)).unwrap();
    }

    /// Writes `pointsman.toml`: one worker, an admin socket, `text`, and loopback endpoints allowed.
    pub fn configure(&self, text: &str) {
        let server = if text.contains("[server]") { "" } else { "[server]\nworkers = 1\n" };
        let admin = if text.contains("[admin]") { "" } else { "[admin]\nsocket = \"admin.sock\"\n" };
        let upstreams = match text.contains("[upstreams]") {
            true => "",
            false => "[upstreams]\nallowed_networks = [\"127.0.0.0/8\"]\n",
        };
        self.write("pointsman.toml", format!("{server}{admin}{upstreams}{text}"));
    }

    /// Writes `services.toml`: one service `web` for every host.
    pub fn serve_web(&self, endpoints: &[SocketAddr]) {
        let endpoints: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
        self.write(
            "services.toml",
            format!("[[services]]\nname = \"web\"\nhosts = [\"*\"]\nendpoints = {endpoints:?}\n"),
        );
    }

    /// `pointsman serve` on this folder, not started yet.
    pub fn command(&self) -> Command {
        let mut command = pointsman();
        command.arg("serve").arg("--config").arg(self.path("pointsman.toml"));
        command
    }

    pub fn start(&self) -> Program {
        self.start_by(self.command())
    }

    /// Starts a command as an instance on this folder; its output is added to the log.
    pub fn start_by(&self, mut command: Command) -> Program {
        let log = self.path("log");
        let output = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
        self.adopt(child)
    }

    /// A process on this folder that somebody else has started; it writes to `log` by itself.
    pub fn adopt(&self, child: Child) -> Program {
        Program { child, log: self.path("log"), socket: self.path("admin.sock") }
    }
}

/// The program without arguments, and without what the test's environment would tell it.
pub fn pointsman() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    for variable in ["POINTSMAN_ADMIN", "POINTSMAN_TOKEN_FILE", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end: exit code, standard output, standard error.
pub fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

impl Program {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had so far, in KiB; what it shares with files is in it.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM is told");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        let id = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(id, signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the program does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.ended().code(), Some(0));
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A call of its API over the Unix socket; `None`: nobody answers.
    pub fn try_api(&self, method: &str, path: &str, body: &str) -> Option<Reply> {
        let stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        exchange(stream, method, path, &["Host: localhost"], body)
    }

    /// A GET of its API over the Unix socket: status and JSON.
    pub fn api(&self, path: &str) -> (u16, Value) {
        let reply = self.try_api("GET", path, "").unwrap_or_else(|| panic!("{path}: the API does not answer"));
        (reply.status, serde_json::from_str(&reply.body).unwrap_or_default())
    }

    /// The value of the metric with this name and these labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = self.try_api("GET", "/metrics", "")?.body;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Runs a subcommand against it: exit code, standard output, standard error.
    pub fn ask(&self, arguments: &[&str]) -> (i32, String, String) {
        run(pointsman().arg("--admin").arg(&self.socket).args(arguments))
    }

    /// Waits until its API says that it is ready.
    pub fn until_ready(&mut self) {
        self.until("it is ready", |program| {
            program.try_api("GET", "/readyz", "").is_some_and(|reply| reply.status == 200)
        });
    }

    /// Waits until the last reload is as said and newer than `after`; the whole status.
    pub fn until_reload(&mut self, outcome: &str, after: u64) -> Value {
        let status = |program: &Self| program.api("/v1/config").1["last_reload"].clone();
        self.until(&format!("a reload is {outcome}"), |program| {
            let status = status(program);
            status["outcome"] == outcome && status["at"].as_u64().is_some_and(|at| at > after)
        });
        status(self)
    }

    /// Waits for a condition, as long as the program runs.
    pub fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !condition(self) {
            assert!(!self.has_ended(), "{what}: the program has ended");
            assert!(begun.elapsed() < PATIENCE, "{what}: did not come true");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("the program said:\n{}", self.log());
        }
    }
}

/// Waits for a condition.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what}: did not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One request on a stream, which the answer closes; `None`: the stream ended before a whole head.
pub fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> Option<Reply> {
    let headers = headers.iter().map(|header| format!("{header}\r\n")).collect::<String>();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut octets = Vec::new();
    let read = stream.read_to_end(&mut octets);
    let text = String::from_utf8_lossy(&octets).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    assert!(read.is_ok() || !head.is_empty());
    Some(Reply { status: head.get(9..12)?.parse().ok()?, head: head.to_lowercase(), body: body.to_owned() })
}

/// A GET over TCP; `None`: nobody listens, or the connection ended without an answer.
pub fn get(address: SocketAddr, host: &str, path: &str) -> Option<Reply> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(stream, "GET", path, &[&format!("Host: {host}")], "")
}

/// Whether somebody listens.
pub fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

/// The mode of a file.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
