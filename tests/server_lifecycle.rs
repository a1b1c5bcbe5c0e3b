//! The real program as a process: how it starts and how it stops.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "common/ports.rs"]
mod ports;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_request_in_flight_is_finished_after_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = configure(folder.path(), backend.local_addr().unwrap());
    let mut program = start(folder.path());
    until("the proxy answers", || TcpStream::connect(proxy).is_ok());

    // Asks until the route is there: the backend's first connection proves that a request is in flight.
    let asking = std::thread::spawn(move || {
        let begun = Instant::now();
        loop {
            let answer = get(proxy);
            if !answer.starts_with("HTTP/1.1 503") && !answer.starts_with("HTTP/1.1 404") || begun.elapsed() > PATIENCE
            {
                return answer;
            }
        }
    });
    let mut upstream = accept(&backend);
    signal(&program.0, nix::sys::signal::Signal::SIGTERM);
    until("it stops accepting", || TcpStream::connect(proxy).is_err());
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").unwrap();
    let answer = asking.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    assert_eq!(program.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_instance_names_the_address_that_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = configure(folder.path(), "127.0.0.1:9".parse().unwrap());
    let _first = start(folder.path());
    until("the proxy answers", || TcpStream::connect(proxy).is_ok());
    let second = command(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains(&proxy.to_string()), "{said}");
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = configure(folder.path(), backend.local_addr().unwrap());
    let mut program = start(folder.path());
    until("the proxy answers", || TcpStream::connect(proxy).is_ok());
    let open = std::cell::RefCell::new(Vec::new());
    until("the route is there", || {
        let mut stream = TcpStream::connect(proxy).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        // No answer in this time: the backend has the request, and never answers it.
        let hangs = stream.read(&mut [0]).is_err();
        open.borrow_mut().extend(hangs.then_some(stream));
        hangs
    });
    signal(&program.0, nix::sys::signal::Signal::SIGTERM);
    until("it stops accepting", || TcpStream::connect(proxy).is_err());
    assert_eq!(program.0.try_wait().unwrap(), None, "it waits for the request");
    signal(&program.0, nix::sys::signal::Signal::SIGTERM);
    // The drain time is far longer than this.
    let begun = Instant::now();
    while program.0.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE / 2, "it did not end at once");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A process that ends with the test.
struct Program(Child, PathBuf);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        if std::thread::panicking() {
            println!("the program said:\n{}", std::fs::read_to_string(&self.1).unwrap_or_default());
        }
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.arg("serve").arg("--config").arg(folder.join("pointsman.toml")).stdin(Stdio::null());
    command
}

fn start(folder: &Path) -> Program {
    let log = folder.join("log");
    let output = std::fs::File::create(&log).unwrap();
    Program(command(folder).stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap(), log)
}

fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let id = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(id, signal).unwrap();
}

/// One service at `backend` for every request; returns where the proxy will be.
fn configure(folder: &Path, backend: SocketAddr) -> SocketAddr {
    let proxy = ports::unused();
    let config = format!(
        "[server]\nworkers = 1\ndrain_time = \"1h\"\n[[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n[[proxy.listeners]]\n\
         name = \"http\"\naddress = \"{proxy}\"\n[upstreams]\nallowed_networks = [\"127.0.0.0/8\"]\n"
    );
    std::fs::write(folder.join("pointsman.toml"), config).unwrap();
    let services = format!("[[services]]\nname = \"web\"\nhosts = [\"web.test\"]\nendpoints = [\"{backend}\"]\n");
    std::fs::write(folder.join("services.toml"), services).unwrap();
    proxy
}

fn get(proxy: SocketAddr) -> String {
    let mut answer = String::new();
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The next connection; a test that waits for one in vain fails.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return stream;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(begun.elapsed() < PATIENCE, "nobody connects");
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what}: did not come true");
        std::thread::sleep(Duration::from_millis(1));
    }
}
