//! What is asked: what browsers, libraries and tools send on a good day.

use super::backend::{ANSWERS, PROBE};

/// One connection.
pub struct Case {
    pub name: String,
    /// What is sent at once; what follows the first part is sent when an interim answer has come.
    pub parts: Vec<String>,
    /// A method for each answer that is to come.
    pub methods: Vec<String>,
}

/// A request whose fields are complete but for the host.
fn request(line: &str, fields: &[&str], content: &str) -> String {
    let has_host = fields.iter().any(|field| field.starts_with("Host:"));
    let host = if has_host { "" } else { "Host: a.example\r\n" };
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("{line}\r\n{host}{fields}\r\n{content}")
}

fn get(path: &str, fields: &[&str]) -> String {
    request(&format!("GET {path} HTTP/1.1"), fields, "")
}

/// The request by which is found whether a connection goes on.
pub fn probe() -> String {
    get(PROBE, &["Connection: close"])
}

fn method(request: &str) -> String {
    request.trim_start().split(' ').next().unwrap_or_default().to_owned()
}

impl Case {
    fn one(name: impl Into<String>, request: String) -> Self {
        Self { name: name.into(), methods: vec![method(&request)], parts: vec![request] }
    }

    /// Several requests at once.
    fn pipelined(name: &str, requests: &[String]) -> Self {
        let methods = requests.iter().map(|request| method(request)).collect();
        Self { name: name.to_owned(), parts: vec![requests.concat()], methods }
    }

    /// A body that waits for an interim answer.
    fn waiting(name: &str, head: String, body: &str) -> Self {
        let case = Self::one(name, head);
        Self { parts: vec![case.parts.concat(), body.to_owned()], ..case }
    }
}

const CHUNKS: &str = "3\r\nabc\r\n2;a=b\r\nde\r\n0\r\n\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked";

/// Everything.
pub fn all() -> Vec<Case> {
    let mut cases: Vec<Case> =
        SIMPLE.iter().map(|(name, line, fields)| Case::one(*name, request(line, fields, ""))).collect();
    cases.extend(TARGETS.iter().map(|target| Case::one(format!("target {target}"), get(target, &[]))));
    cases.extend(ANSWERS.iter().map(|path| Case::one(format!("answer {path}"), get(path, &[]))));
    cases.extend(bodies());
    cases.extend(long());
    cases.extend(several());
    cases.extend(expecting());
    cases
}

/// Name, request line, and fields beside the host.
const SIMPLE: &[(&str, &str, &[&str])] = &[
    ("get", "GET / HTTP/1.1", &[]),
    (
        "the fields of browsers",
        "GET /a/b HTTP/1.1",
        &[
            "User-Agent: test/1",
            "Accept: text/html, */*;q=0.1",
            "Accept-Encoding: gzip, br",
            "Accept-Language: de",
            "Referer: http://a.example/x",
            "Authorization: Basic YTpi",
            "Origin: http://b.example",
            "Cache-Control: no-cache",
            "Pragma: no-cache",
            "DNT: 1",
            "Upgrade-Insecure-Requests: 1",
            "Priority: u=1",
        ],
    ),
    ("head", "HEAD /length HTTP/1.1", &[]),
    ("head of chunks", "HEAD /chunks HTTP/1.1", &[]),
    ("delete", "DELETE /x HTTP/1.1", &[]),
    ("options", "OPTIONS /x HTTP/1.1", &[]),
    ("options of the server", "OPTIONS * HTTP/1.1", &[]),
    ("a method of its own", "PURGE /x HTTP/1.1", &[]),
    ("trace", "TRACE /x HTTP/1.1", &[]),
    ("post without content", "POST /x HTTP/1.1", &["Content-Length: 0"]),
    ("post without length", "POST /x HTTP/1.1", &[]),
    ("conditional", "GET /304 HTTP/1.1", &["If-None-Match: \"x\"", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"]),
    ("a range", "GET /206 HTTP/1.1", &["Range: bytes=0-1", "If-Range: \"x\""]),
    ("a range that is answered whole", "GET /length HTTP/1.1", &["Range: bytes=0-1"]),
    ("trailers are wanted", "GET /trailers HTTP/1.1", &["TE: trailers", "Connection: TE"]),
    ("absolute", "GET http://a.example/p?q=1 HTTP/1.1", &[]),
    ("absolute without path", "GET http://a.example HTTP/1.1", &[]),
    ("absolute and another host", "GET http://b.example/p HTTP/1.1", &[]),
    ("absolute in capitals", "GET HTTP://A.Example/p HTTP/1.1", &[]),
    ("several values", "GET / HTTP/1.1", &["X-A: 1", "x-a: 2", "X-B: 3", "X-A: 4, 5"]),
    ("several values of Accept", "GET / HTTP/1.1", &["Accept: a/b", "Accept: c/d"]),
    ("cookies", "GET / HTTP/1.1", &["Cookie: a=1; b=2"]),
    ("cookies in two lines", "GET / HTTP/1.1", &["Cookie: a=1", "Cookie: b=2"]),
    ("empty values", "GET / HTTP/1.1", &["X-Empty:", "X-Blank:   "]),
    ("white space around a value", "GET / HTTP/1.1", &["X-A:\t  b  c \t"]),
    ("a value beyond ASCII", "GET / HTTP/1.1", &["X-A: \u{e4}"]),
    ("every sign of a name", "GET / HTTP/1.1", &["X.A!#$&'*+^`|~: b"]),
    ("an underscore", "GET / HTTP/1.1", &["X_Custom: 1"]),
    ("a host with a port", "GET / HTTP/1.1", &["Host: a.example:8080"]),
    ("a host in capitals", "GET / HTTP/1.1", &["Host: A.Example"]),
    ("an address", "GET / HTTP/1.1", &["Host: 127.0.0.1"]),
    ("an address of IPv6", "GET / HTTP/1.1", &["Host: [::1]:80"]),
    ("keep-alive", "GET / HTTP/1.1", &["Connection: keep-alive", "Keep-Alive: timeout=5"]),
    ("close", "GET / HTTP/1.1", &["Connection: close"]),
    ("close in capitals", "GET / HTTP/1.1", &["Connection: Close"]),
    ("a field of this hop", "GET / HTTP/1.1", &["Connection: x-hop", "X-Hop: 1"]),
    ("a field of old proxies", "GET / HTTP/1.1", &["Proxy-Connection: keep-alive"]),
    ("a coding that is known", "GET / HTTP/1.1", &["TE: gzip"]),
    (
        "an upgrade to HTTP/2",
        "GET / HTTP/1.1",
        &["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
    ),
    ("how far it may go", "GET / HTTP/1.1", &["Max-Forwards: 5"]),
    ("HTTP/1.0", "GET / HTTP/1.0", &[]),
    ("HTTP/1.0 keep-alive", "GET / HTTP/1.0", &["Connection: keep-alive"]),
    ("HTTP/1.0 and chunks", "GET /chunks HTTP/1.0", &[]),
    ("HTTP/1.0 head", "HEAD /length HTTP/1.0", &[]),
];

/// What stands in request lines (RFC 3986).
const TARGETS: &[&str] = &[
    "/%41%7e%2d",
    "/a%20b",
    "/%C3%A4",
    "/%e4%BD%a0",
    "/a%2Fb",
    "/a%25b",
    "/a%3Fb",
    "/a%5cb",
    "/a;b=c",
    "/~a_b-c.d",
    "/!$&'()*+,;=:@",
    "/a|b",
    "/a//b",
    "/a/./b/../c",
    "/a/%2e%2e/b",
    "/?",
    "/a?",
    "/a?b=%41%20c",
    "/a?b=c+d&e=%2F/?x",
    "/a?b=/../c",
    "/a?q=%",
    "/a?[x]={y}",
];

fn bodies() -> Vec<Case> {
    let mut cases = Vec::new();
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
        let line = format!("{method} /x HTTP/1.1");
        let text = request(&line, &["Content-Type: text/plain", "Content-Length: 5"], "hello");
        cases.push(Case::one(format!("{method} with a length"), text));
    }
    let post = |fields: &[&str], content: &str| request("POST /x HTTP/1.1", fields, content);
    let sum = "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    cases.push(Case::one("chunks", post(&[CHUNKED], CHUNKS)));
    cases.push(Case::one("chunks of nothing", post(&[CHUNKED], "0\r\n\r\n")));
    cases.push(Case::one("chunks and trailers", post(&[CHUNKED, "Trailer: X-Sum", "TE: trailers"], sum)));
    cases.push(Case::one("a large body", post(&["Content-Length: 3000000"], &"x".repeat(3_000_000))));
    let chunk = format!("10000\r\n{}\r\n", "y".repeat(0x10000));
    cases.push(Case::one("large chunks", post(&[CHUNKED], &(chunk.repeat(30) + "0\r\n\r\n"))));
    let old = request("POST /x HTTP/1.0", &["Content-Length: 3"], "abc");
    cases.push(Case::one("HTTP/1.0 with a body", old));
    cases.push(Case::one("HTTP/1.0 without host", "GET / HTTP/1.0\r\n\r\n".to_owned()));
    cases
}

/// Long things, within what HAProxy has room for (15 KiB).
fn long() -> Vec<Case> {
    let target = format!("/{}?{}", "a".repeat(4000), "b".repeat(2000));
    let field = format!("X-Long: {}", "c".repeat(6000));
    let names: Vec<String> = (0..60).map(|number| format!("X-F{number}: {number}")).collect();
    let values: Vec<String> = (0..6).map(|number| format!("X-Long-{number}: {}", "d".repeat(1500))).collect();
    let many = |fields: &[String]| get("/", &fields.iter().map(String::as_str).collect::<Vec<_>>());
    vec![
        Case::one("a long target", get(&target, &[])),
        Case::one("a long value", get("/", &[&field])),
        Case::one("long values", many(&values)),
        Case::one("many fields", many(&names)),
    ]
}

/// RFC 9112 section 9.3.2.
fn several() -> Vec<Case> {
    let gets = |paths: &[&str]| paths.iter().map(|path| get(path, &[])).collect::<Vec<_>>();
    let head = request("HEAD /length HTTP/1.1", &[], "");
    let bodies = [
        request("POST /a HTTP/1.1", &["Content-Length: 5"], "hello"),
        request("POST /b HTTP/1.1", &[CHUNKED], CHUNKS),
        get("/c", &[]),
    ];
    vec![
        Case::pipelined("pipelined", &gets(&["/one", "/chunks", "/204", "/length", "/last"])),
        Case::pipelined("pipelined behind HEAD", &[vec![head], gets(&["/304", "/x"])].concat()),
        Case::pipelined("pipelined behind bodies", &bodies),
        Case::pipelined("pipelined and the last one closes", &[get("/one", &[]), get("/two", &["Connection: close"])]),
        Case::pipelined("pipelined behind an answer that ends with its connection", &gets(&["/close", "/two"])),
        Case::one("behind an empty line", format!("\r\n{}", get("/", &[]))),
        Case::one("behind a bare line feed", format!("\n{}", get("/", &[]))),
    ]
}

/// RFC 9110 section 10.1.1.
fn expecting() -> Vec<Case> {
    const EXPECT: &str = "Expect: 100-continue";
    let post = |fields: &[&str], content: &str| request("POST /x HTTP/1.1", fields, content);
    vec![
        Case::waiting("a body that waits", post(&["Content-Length: 3", EXPECT], ""), "abc"),
        Case::waiting("chunks that wait", post(&[CHUNKED, EXPECT], ""), CHUNKS),
        Case::one("a body that does not wait", post(&["Content-Length: 3", EXPECT], "abc")),
        Case::one("no body to wait with", get("/x", &[EXPECT])),
        Case::one("an empty body to wait with", post(&["Content-Length: 0", EXPECT], "")),
    ]
}
