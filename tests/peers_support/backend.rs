//! The server behind: notes each request, and answers as its path says.

use std::io::{BufReader, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::message::{Message, Unframed};

/// Asked after each case, to see whether the connection goes on; not noted.
pub const PROBE: &str = "/probe";
/// Octets of the large answers.
const LARGE: usize = 2_000_000;

pub struct Backend {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Backend {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
        let noted = seen.clone();
        // Ends with the process: it waits for connections that nobody makes any more.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = noted.clone();
                std::thread::spawn(move || {
                    let _ = serve(&stream, &seen);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, seen }
    }

    /// What it was asked since the last look. A request is noted before it is answered.
    pub fn take_seen(&self) -> Vec<Message> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn serve(mut stream: &TcpStream, seen: &Mutex<Vec<Message>>) -> Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = Message::read_head(&mut input)?;
        if !request.field("expect").is_empty() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        request.read_content(&mut input, Unframed::Empty)?;
        let (method, path) = (request.word(0).to_owned(), path(request.word(1)).to_owned());
        if path != PROBE {
            seen.lock().unwrap().push(request);
        }
        let mut answer = answer(&path);
        let head = answer.find("\r\n\r\n").unwrap() + 4;
        let closes =
            answer[..head].contains("Connection: close") || answer.starts_with("HTTP/1.0 200 OK\r\nContent-Type");
        if method == "HEAD" {
            answer.truncate(head);
        }
        stream.write_all(answer.as_bytes())?;
        if closes {
            return Ok(());
        }
    }
}

/// The path of a target in either form.
fn path(target: &str) -> &str {
    let target = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    target.split('?').next().unwrap_or_default()
}

/// The paths that are answered otherwise than with a short text.
pub const ANSWERS: &[&str] = &[
    "/length",
    "/empty",
    "/chunks",
    "/trailers",
    "/large",
    "/large-chunks",
    "/close",
    "/http10",
    "/old",
    "/204",
    "/206",
    "/304",
    "/redirect",
    "/elsewhere",
    "/gzip",
    "/cookies",
    "/values",
    "/404",
    "/500",
    "/reason",
    "/status",
    "/early",
    "/continue",
    "/hop",
    "/own",
    "/charset",
    "/under_score",
];

fn answer(path: &str) -> String {
    let text = match path {
        "/length" => {
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nETag: \"x\"\r\n\
             Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nwhole"
        }
        "/empty" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: text/html\r\n\r\n",
        "/chunks" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n\
             3;a=b\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        }
        "/trailers" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: y\r\n\r\n"
        }
        "/large" => return format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n{}", "z".repeat(LARGE)),
        "/large-chunks" => {
            let chunk = format!("8000\r\n{}\r\n", "w".repeat(0x8000));
            let chunks = chunk.repeat(LARGE / 0x8000);
            return format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
        }
        "/close" => "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\nuntil the end",
        "/http10" => "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end",
        "/old" => "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold",
        "/204" => "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
        "/206" => {
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/5\r\nContent-Length: 2\r\n\
             Accept-Ranges: bytes\r\n\r\nwh"
        }
        "/304" => {
            "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nCache-Control: max-age=1\r\n\
             Expires: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
        }
        "/redirect" => "HTTP/1.1 302 Found\r\nLocation: /elsewhere?a=b\r\nContent-Length: 0\r\n\r\n",
        "/elsewhere" => {
            "HTTP/1.1 301 Moved Permanently\r\nLocation: http://a.example/x\r\nContent-Length: 4\r\n\r\ngone"
        }
        "/gzip" => {
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\nContent-Length: 3\r\n\r\n\u{1f}\u{1}\u{8}"
        }
        "/cookies" => {
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2; HttpOnly\r\nContent-Length: 0\r\n\r\n"
        }
        "/values" => {
            "HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B: 2\r\nx-a: 3\r\nCache-Control: no-store\r\nCache-Control: private\r\n\
             Link: </a>\r\nLink: </b>\r\nContent-Length: 0\r\n\r\n"
        }
        "/404" => "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone",
        "/500" => "HTTP/1.1 500 Internal Server Error\r\nRetry-After: 3\r\nContent-Length: 5\r\n\r\nsorry",
        "/reason" => "HTTP/1.1 200 Splendid\r\nContent-Length: 1\r\n\r\nx",
        "/status" => "HTTP/1.1 299 Odd\r\nContent-Length: 1\r\n\r\nx",
        "/early" => "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        "/continue" => "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        "/hop" => {
            "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 1\r\n\r\nx"
        }
        "/own" => "HTTP/1.1 200 OK\r\nServer: own\r\nX-Powered-By: x\r\nAge: 3\r\nContent-Length: 1\r\n\r\nx",
        "/charset" => {
            "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=iso-8859-1\r\nX-L: \u{e4}\r\nX-Empty:\r\n\
             Content-Length: 1\r\n\r\nx"
        }
        "/under_score" => "HTTP/1.1 200 OK\r\nX_Custom: 1\r\nContent-Length: 1\r\n\r\nx",
        _ => "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nplain",
    };
    text.to_owned()
}
