//! The real program as a process: how it starts and how it stops.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::ports;
use common::program::{Folder, PATIENCE, run, until};
use nix::sys::signal::Signal;

#[test]
fn a_request_in_flight_is_finished_after_sigterm() {
    let folder = Folder::new();
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = configure(&folder, backend.local_addr().unwrap());
    let mut program = folder.start();
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
    program.signal(Signal::SIGTERM);
    until("it stops accepting", || TcpStream::connect(proxy).is_err());
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").unwrap();
    let answer = asking.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    assert_eq!(program.ended().code(), Some(0));
}

#[test]
fn a_second_instance_names_the_address_that_is_taken() {
    let folder = Folder::new();
    let proxy = configure(&folder, "127.0.0.1:9".parse().unwrap());
    let _first = folder.start();
    until("the proxy answers", || TcpStream::connect(proxy).is_ok());
    let (code, _, said) = run(&mut folder.command());
    assert_eq!(code, 5, "{said}");
    let whole =
        format!("{proxy} is in use by another process (perhaps another instance of this program); stop it (`ss -ltnp`");
    assert!(said.contains(&whole) && said.contains("or configure another port"), "the address and both mends: {said}");
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let folder = Folder::new();
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = configure(&folder, backend.local_addr().unwrap());
    let mut program = folder.start();
    until("the proxy answers", || TcpStream::connect(proxy).is_ok());
    let mut open = Vec::new();
    until("the route is there", || {
        let mut stream = TcpStream::connect(proxy).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        // No answer in this time: the backend has the request, and never answers it.
        let hangs = stream.read(&mut [0]).is_err();
        open.extend(hangs.then_some(stream));
        hangs
    });
    program.signal(Signal::SIGTERM);
    until("it stops accepting", || TcpStream::connect(proxy).is_err());
    assert!(!program.has_ended(), "it waits for the request");
    program.signal(Signal::SIGTERM);
    // The drain time is far longer than this.
    let begun = Instant::now();
    program.ended();
    assert!(begun.elapsed() < PATIENCE / 4, "it did not end at once");
}

/// One service at `backend` for every request; returns where the proxy will be.
fn configure(folder: &Folder, backend: SocketAddr) -> SocketAddr {
    let proxy = ports::unused();
    // Without an admin socket: a second instance shall meet the proxy's address.
    folder.configure(&format!(
        "[server]\nworkers = 1\ndrain_time = \"1h\"\n[admin]\n[[sources.file]]\nname = \"static\"\n\
         path = \"services.toml\"\n[[proxy.listeners]]\nname = \"http\"\naddress = \"{proxy}\"\n"
    ));
    folder.serve_web(&[backend]);
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
    let mut accepted = None;
    until("somebody connects", || {
        accepted = listener.accept().ok().map(|(stream, _)| stream);
        accepted.is_some()
    });
    let stream = accepted.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}
