//! An authority that answers what a test wants: as far as a refusal, which needs no signatures to be read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};

use crate::authority::Authority;
use crate::common::program::Folder;

/// What it answers to a request: status, further fields, body.
pub type Answer = (u16, String, String);

/// It, and the paths that it was asked for.
pub struct Fake {
    pub address: SocketAddr,
    pub asked: Arc<Mutex<Vec<String>>>,
    folder: Folder,
}

impl Fake {
    /// `answer` is given the path and its own address; `None`: what an authority in good order says.
    pub fn start(answer: impl Fn(&str, SocketAddr) -> Option<Answer> + Send + 'static) -> Self {
        let (folder, authority) = (Folder::new(), Authority::new());
        authority.write(&folder.path("ca.pem"));
        let config = authority.server(&authority.issue(&["127.0.0.1"]), &[], false);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = asked.clone();
        // Ends with the process: it waits for connections that nobody makes any more.
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let tls = ServerConnection::new(config.clone()).unwrap();
                serve(StreamOwned::new(tls, socket), |path| {
                    kept.lock().unwrap().push(path.to_owned());
                    answer(path, address).unwrap_or_else(|| usual(path, address))
                });
            }
        });
        Self { address, asked, folder }
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }

    /// The part of an entry that says whom to ask.
    pub fn entry(&self) -> String {
        super::entry(&format!("https://{}/dir", self.address), &self.folder.path("ca.pem"))
    }
}

/// A problem document.
pub fn problem(status: u16, kind: &str, fields: &str) -> Answer {
    let body =
        serde_json::json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "as the test wants it" });
    (status, format!("Content-Type: application/problem+json\r\n{fields}"), body.to_string())
}

fn usual(path: &str, address: SocketAddr) -> Answer {
    let own = |path: &str| format!("https://{address}{path}");
    match path {
        "/dir" => {
            let directory = serde_json::json!({
                "newNonce": own("/nonce"), "newAccount": own("/account"), "newOrder": own("/order"),
            });
            (200, "Content-Type: application/json\r\n".to_owned(), directory.to_string())
        }
        "/account" => (201, format!("Location: {}\r\n", own("/account/1")), "{}".to_owned()),
        _ => (200, String::new(), String::new()),
    }
}

fn serve(mut stream: StreamOwned<ServerConnection, TcpStream>, answer: impl Fn(&str) -> Answer) {
    stream.sock.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut octet) {
            Ok(1) => head.push(octet[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if stream.read_exact(&mut body).is_err() {
        return;
    }
    let (status, fields, body) = answer(head.split(' ').nth(1).unwrap_or_default());
    let length = if head.starts_with("HEAD") { 0 } else { body.len() };
    let text = format!(
        "HTTP/1.1 {status} Said\r\nReplay-Nonce: nonce\r\nContent-Length: {length}\r\n{fields}Connection: close\r\n\r\n{}",
        &body[..length]
    );
    let _ = stream.write_all(text.as_bytes());
    stream.conn.send_close_notify();
    let _ = stream.flush();
}
