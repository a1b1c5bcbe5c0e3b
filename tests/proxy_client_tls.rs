//! TLS towards clients, by `openssl`: certificates of theirs, resumed sessions, OCSP answers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

#[path = "common/authority.rs"]
mod authority;
mod proxy_common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use authority::Authority;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use pointsman::config::checked::ClientDemand;
use pointsman::model::service::Protocol;
use pointsman::proxy::tls::clients::{ClientAuthorities, ClientFiles};
use pointsman::proxy::tls::store::Certificates;
use pointsman::proxy::tls::tickets::Tickets;
use pointsman::proxy::tls::{TlsListener, TlsOptions, provider};
use proxy_common::*;
use rustls::HandshakeKind;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

const PERIOD: Duration = Duration::from_secs(3600);

/// Sends a request by `openssl s_client`: what it wrote, answer and all; `None`, said as a skip, where there is no such tool.
fn ask(address: SocketAddr, arguments: &[&str], fields: &str) -> Option<String> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string(), "-servername", "web.test", "-ign_eof"]);
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("SKIP: openssl is not installed");
        return None;
    };
    let request = format!("GET / HTTP/1.1\r\nHost: web.test\r\n{fields}Connection: close\r\n\r\n");
    // A handshake that failed reads nothing.
    let _ = std::io::Write::write_all(child.stdin.as_mut().unwrap(), request.as_bytes());
    let output = child.wait_with_output().unwrap();
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// A proxy with a certificate for `web.test`, and an endpoint that tells what it was sent.
struct World {
    proxy: Proxy,
    folder: tempfile::TempDir,
    certificates: Arc<Certificates>,
    authority: Authority,
    _backend: Backend,
}

impl World {
    async fn start(prepare: impl FnOnce(&Path, &Authority), options: &TlsOptions) -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        authority.issue(&["web.test"]).write(folder.path(), "web");
        prepare(folder.path(), &authority);
        let (certificates, bad) = Certificates::load(folder.path()).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        let backend = Backend::echoing_heads().await;
        let cluster = Cluster::everything(Protocol::Http, &[backend.address]);
        let tls = TlsListener::new(certificates.clone(), options).unwrap();
        let proxy = Proxy::start(cluster.0, Some(tls));
        Self { proxy, folder, certificates, authority, _backend: backend }
    }

    async fn ask(&self, arguments: &[&str], fields: &'static str) -> Option<String> {
        let address = self.proxy.address;
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let ask = move || ask(address, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), fields);
        soon(tokio::task::spawn_blocking(ask)).await.unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

fn clients(file: &Path, demand: ClientDemand) -> TlsOptions {
    let files = ClientFiles { authorities: file.to_owned(), revoked: Vec::new() };
    TlsOptions { clients: Some(ClientAuthorities::load(&files, demand).unwrap()), ..TlsOptions::default() }
}

/// What the endpoint was told of the certificate.
fn told(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix("client-cert: "))
}

#[tokio::test]
async fn certificates_of_clients_are_verified_and_told_rfc9440() {
    let of_clients = Authority::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let ca = of_clients.write(&elsewhere.path().join("clients.pem"));
    let issued = of_clients.issue(&["ann.test"]);
    issued.write(elsewhere.path(), "ann");
    Authority::new().issue(&["ann.test"]).write(elsewhere.path(), "stranger");
    let shown = |name: &str| {
        ["-cert", "-key"].map(|what| {
            let ending = if what == "-cert" { "crt" } else { "key" };
            [what.to_owned(), elsewhere.path().join(format!("{name}.{ending}")).to_str().unwrap().to_owned()]
        })
    };
    let forged = "Client-Cert: :Zm9yZ2Vk:\r\nClient-Cert-Chain: :Zm9yZ2Vk:\r\n";
    for demand in [ClientDemand::Required, ClientDemand::Optional] {
        let world = World::start(|_, _| {}, &clients(&ca, demand)).await;
        for version in ["-tls1_2", "-tls1_3"] {
            let with = async |name: &str| {
                let shown = shown(name).concat();
                let arguments: Vec<&str> = shown.iter().map(String::as_str).chain([version]).collect();
                world.ask(&arguments, forged).await
            };
            let Some(said) = with("ann").await else { return };
            let expected = format!(":{}:", BASE64_STANDARD.encode(issued.certificate.der()));
            assert_eq!(told(&said), Some(&*expected), "{said}");
            assert!(!said.contains("Zm9yZ2Vk"), "{said}");
            let said = with("stranger").await.unwrap();
            assert!(!said.contains("HTTP/1.1 200"), "an authority of others: {said}");
            let said = world.ask(&[version], forged).await.unwrap();
            assert_eq!(said.contains("HTTP/1.1 200"), demand == ClientDemand::Optional, "{said}");
            assert!(told(&said).is_none() && !said.contains("Zm9yZ2Vk"), "{said}");
        }
    }
    // In the clear nobody has shown any.
    let backend = Backend::echoing_heads().await;
    let proxy = Cluster::everything(Protocol::Http, &[backend.address]).serve();
    let answer = proxy.raw(&format!("GET / HTTP/1.1\r\nHost: a\r\n{forged}Connection: close\r\n\r\n")).await;
    assert!(status(&answer) == 200 && !answer.contains("Zm9yZ2Vk"), "{answer}");
}

#[tokio::test]
async fn sessions_are_resumed_until_their_key_is_forgotten() {
    let tickets: Arc<Tickets> = Arc::default();
    tickets.rotate(PERIOD);
    let options = TlsOptions { name: "https".into(), tickets: tickets.clone(), ..TlsOptions::default() };
    let world = World::start(|_, _| {}, &options).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let session = world.path("session");
        let Some(said) = world.ask(&[version, "-sess_out", &session], "").await else { return };
        assert!(said.contains("\nNew, TLSv1."), "{said}");
        let resumed = async || {
            let said = world.ask(&[version, "-sess_in", &session], "").await.unwrap();
            assert!(said.contains("HTTP/1.1 200"), "{said}");
            said.contains("\nReused, TLSv1.")
        };
        assert!(resumed().await, "{version}");
        tickets.rotate(PERIOD);
        assert!(resumed().await, "{version}: a former key still decrypts");
        tickets.rotate(PERIOD);
        assert!(!resumed().await, "{version}: the key is forgotten");
        // Another instance with the same keys takes it, one without tickets does not.
        let keys = vec![[7; 32]];
        tickets.replace(keys.clone(), PERIOD);
        world.ask(&[version, "-sess_out", &session], "").await;
        let other: Arc<Tickets> = Arc::default();
        other.replace(keys, PERIOD);
        let options = TlsOptions { name: "https".into(), tickets: other.clone(), ..TlsOptions::default() };
        let (certificates, _) = Certificates::load(world.folder.path()).unwrap();
        let cluster = Cluster::everything(Protocol::Http, &[world._backend.address]);
        let second = Proxy::start(cluster.0, Some(TlsListener::new(certificates, &options).unwrap()));
        let address = second.address;
        let ask_second = || {
            let (session, version) = (session.clone(), version.to_owned());
            tokio::task::spawn_blocking(move || ask(address, &[&version, "-sess_in", &session], "").unwrap())
        };
        let said = ask_second().await.unwrap();
        assert!(said.contains("\nReused, TLSv1."), "{said}");
        other.clear();
        let said = ask_second().await.unwrap();
        assert!(said.contains("\nNew, TLSv1.") && said.contains("HTTP/1.1 200"), "{said}");
        tickets.rotate(PERIOD);
    }
}

#[tokio::test]
async fn a_session_of_a_known_client_is_resumed_only_where_its_authorities_are() {
    let of_clients = Authority::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let ca = of_clients.write(&elsewhere.path().join("clients.pem"));
    let (certificate, key) = of_clients.issue(&["ann.test"]).write(elsewhere.path(), "ann");
    let tickets: Arc<Tickets> = Arc::default();
    tickets.rotate(PERIOD);
    let options = |file: &Path| TlsOptions { tickets: tickets.clone(), ..clients(file, ClientDemand::Required) };
    let world = World::start(|_, _| {}, &options(&ca)).await;
    let session = world.path("session");
    let shown = ["-cert", certificate.to_str().unwrap(), "-key", key.to_str().unwrap(), "-sess_out", &session];
    let Some(said) = world.ask(&shown, "").await else { return };
    assert!(told(&said).is_some(), "{said}");
    // The certificate stays with the session.
    let said = world.ask(&["-sess_in", &session], "").await.unwrap();
    assert!(said.contains("\nReused, ") && told(&said).is_some(), "{said}");
    let others = Authority::new().write(&elsewhere.path().join("others.pem"));
    let world = World::start(|_, _| {}, &options(&others)).await;
    let said = world.ask(&["-sess_in", &session], "").await.unwrap();
    assert!(!said.contains("\nReused, ") && !said.contains("HTTP/1.1 200"), "{said}");
}

/// Lets `openssl ocsp` answer for a certificate; `false`, said as a skip, where it cannot.
fn write_ocsp(folder: &Path, authority: &Authority, serial: u64, days: &str) -> bool {
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    std::fs::write(file("ca.txt"), authority.certificate.pem()).unwrap();
    std::fs::write(file("ca-key.txt"), authority.key_pem()).unwrap();
    std::fs::write(file("index.txt"), format!("V\t350101000000Z\t\t{serial:02X}\tunknown\t/CN=web.test\n")).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").arg("ocsp").args(arguments).stdin(Stdio::null()).output();
        output.inspect(|output| assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)))
    };
    let asked = run(&["-issuer", &file("ca.txt"), "-cert", &file("web.crt"), "-reqout", &file("request.der")]);
    if asked.is_err() {
        println!("SKIP: openssl is not installed");
        return false;
    }
    let (index, ca, key) = (file("index.txt"), file("ca.txt"), file("ca-key.txt"));
    let signed = ["-index", &index, "-rsigner", &ca, "-rkey", &key, "-CA", &ca, "-ndays", days];
    let files = ["-reqin".to_owned(), file("request.der"), "-respout".to_owned(), file("web.ocsp")];
    run(&signed.into_iter().chain(files.iter().map(String::as_str)).collect::<Vec<_>>()).unwrap();
    true
}

#[tokio::test]
async fn an_ocsp_answer_is_shown_while_it_is_good() {
    let prepare = |folder: &Path, authority: &Authority| {
        authority.issue_with(&["web.test"], |params| params.serial_number = Some(77_u64.into())).write(folder, "web");
        write_ocsp(folder, authority, 77, "7");
    };
    let world = World::start(prepare, &TlsOptions::default()).await;
    if !world.folder.path().join("web.ocsp").exists() {
        return;
    }
    let shown = async || world.ask(&["-status"], "").await.unwrap().contains("OCSP Response Status: successful");
    assert!(shown().await);
    let reload = async || {
        let certificates = world.certificates.clone();
        tokio::task::spawn_blocking(move || certificates.reload()).await.unwrap()
    };
    // One that is none takes nothing else along, and one that is gone is not shown.
    std::fs::write(world.path("web.ocsp"), "nonsense").unwrap();
    assert!(reload().await.is_empty());
    assert!(!shown().await && world.certificates.len() == 1);
    assert!(write_ocsp(world.folder.path(), &world.authority, 77, "7"));
    reload().await;
    assert!(shown().await);
    std::fs::remove_file(world.path("web.ocsp")).unwrap();
    reload().await;
    assert!(!shown().await);
}

/// Has an OCSP answer say another time that it is good until, whole seconds; nobody here looks at its signature.
fn make_good_until(file: &Path, until: SystemTime) {
    // RFC 6960 section 4.2.1: `nextUpdate [0] EXPLICIT GeneralizedTime OPTIONAL`.
    const NEXT_UPDATE: [u8; 4] = [0xa0, 17, 0x18, 15];
    let mut answer = std::fs::read(file).unwrap();
    let at = answer.windows(NEXT_UPDATE.len()).position(|octets| octets == NEXT_UPDATE).unwrap() + NEXT_UPDATE.len();
    answer[at..at + 15].copy_from_slice(generalized_time(until).as_bytes());
    std::fs::write(file, answer).unwrap();
}

/// `20261128001046Z` (RFC 5280 section 4.1.2.5.2).
fn generalized_time(time: SystemTime) -> String {
    let text = httpdate::fmt_http_date(time);
    let [_, day, month, year, clock, _] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(month).unwrap() / 3 + 1;
    format!("{year}{month:02}{day}{}Z", clock.replace(':', ""))
}

/// RFC 6960 section 4.2.2.1: "Responses whose nextUpdate value is earlier than the local system time value SHOULD be considered
/// unreliable": a client that is shown one may refuse the certificate.
#[tokio::test]
async fn an_ocsp_answer_past_its_time_is_not_shown() {
    let prepare = |folder: &Path, authority: &Authority| {
        authority.issue_with(&["web.test"], |params| params.serial_number = Some(77_u64.into())).write(folder, "web");
        write_ocsp(folder, authority, 77, "7");
    };
    let world = World::start(prepare, &TlsOptions::default()).await;
    let file = world.folder.path().join("web.ocsp");
    if !file.exists() {
        return;
    }
    let is_shown = async || {
        let said = world.ask(&["-status"], "").await.unwrap();
        assert!(said.contains("HTTP/1.1 200"), "without an answer it is as good a certificate: {said}");
        said.contains("OCSP Response Status: successful")
    };
    let renew = async |until: SystemTime| {
        make_good_until(&file, until);
        let certificates = world.certificates.clone();
        assert!(tokio::task::spawn_blocking(move || certificates.reload()).await.unwrap().is_empty());
    };
    let whole = |time: SystemTime| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
    };
    renew(whole(SystemTime::now()) - Duration::from_secs(60)).await;
    assert!(!is_shown().await, "it was too old when it was read");
    // One whose time ends while it is shown, and no file changes. A machine that is too slow to see it needs more time.
    for seconds in [3, 10, 60] {
        let until = whole(SystemTime::now()) + Duration::from_secs(seconds);
        renew(until).await;
        let was_shown = is_shown().await;
        if SystemTime::now() >= until {
            continue;
        }
        assert!(was_shown, "it is good for {seconds} s");
        while SystemTime::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!is_shown().await, "its time is over");
        return;
    }
    panic!("a handshake takes longer than a minute here");
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older_rfc8996() {
    let world = World::start(|_, _| {}, &TlsOptions::default()).await;
    for (version, is_spoken) in [("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)] {
        // Without this `openssl` itself would offer nothing so old.
        let Some(said) = world.ask(&[version, "-cipher", "DEFAULT@SECLEVEL=0"], "").await else { return };
        assert_eq!(said.contains("HTTP/1.1 200"), is_spoken, "{version}: {said}");
        assert!(is_spoken || said.contains("alert"), "{version}: the proxy has refused it: {said}");
    }
}

/// RFC 8446 section 8, RFC 8470: what is sent before the handshake is over may be sent again by whoever has recorded it.
/// Tickets allow none of it, so that a client has nothing to send it by, and 425 is never needed.
#[tokio::test]
async fn no_early_data_is_taken_rfc8470() {
    let tickets: Arc<Tickets> = Arc::default();
    tickets.rotate(PERIOD);
    let options = TlsOptions { name: "https".into(), tickets, ..TlsOptions::default() };
    let world = World::start(|_, _| {}, &options).await;
    let config = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let mut config = config.unwrap().with_root_certificates(world.authority.roots()).with_no_client_auth();
    config.enable_early_data = true;
    let config = Arc::new(config);
    let name = || ServerName::try_from("web.test").unwrap();
    let ask = async || {
        let connector = TlsConnector::from(config.clone());
        let mut stream = soon(connector.connect(name(), world.proxy.connect().await)).await.unwrap();
        let request = "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        soon(stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        stream.get_ref().1.handshake_kind()
    };
    assert_eq!(ask().await, Some(HandshakeKind::Full));
    let mut second = rustls::ClientConnection::new(config.clone(), name()).unwrap();
    assert!(second.early_data().is_none(), "the ticket allows early data");
    assert_eq!(ask().await, Some(HandshakeKind::Resumed), "there is a ticket");
}

#[tokio::test]
async fn a_handshake_that_is_left_open_is_closed_at_its_deadline() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(&["web.test"]).write(folder.path(), "web");
    let (certificates, _) = Certificates::load(folder.path()).unwrap();
    let backend = Backend::saying("x").await;
    let cluster = Cluster::with(|config| config.proxy.limits.header = Duration::from_millis(300))
        .service("web", Protocol::Http, &[backend.address])
        .route("*", "/", "web");
    let tls = TlsListener::new(certificates, &TlsOptions::default()).unwrap();
    let proxy = Proxy::start(cluster.0, Some(tls));
    // Nothing, the head of a record, and the beginning of a first message.
    for (number, begun) in [&b""[..], &[22, 3, 1], &[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]].into_iter().enumerate() {
        let mut stream = proxy.connect().await;
        stream.write_all(begun).await.unwrap();
        assert_eq!(read_all(&mut stream).await, "");
        let name = "pointsman_proxy_timeouts_total{kind=\"head\"}";
        until("it is counted", || proxy.metric(name) == number as f64 + 1.0).await;
    }
    until("nobody is left", || proxy.metric("pointsman_proxy_client_connections ") == 0.0).await;
}

/// Whoever is cut off over TLS is not told that it was the end: no `close_notify` (RFC 8446 section 6.1).
#[tokio::test]
async fn a_tunnel_whose_task_is_gone_ends_without_a_farewell() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(&["web.test"]).write(folder.path(), "web");
    let (certificates, _) = Certificates::load(folder.path()).unwrap();
    let backend = Backend::start(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        let accept = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: custom\r\n\r\npart";
        stream.write_all(accept.as_bytes()).await.unwrap();
        let _ = stream.read_u8().await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let tls = TlsListener::new(certificates, &TlsOptions::default()).unwrap();
    let proxy = Proxy::start(Cluster::everything(Protocol::Http, &[backend.address]).0, Some(tls));
    let config = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = config.unwrap().with_root_certificates(authority.roots()).with_no_client_auth();
    let name = ServerName::try_from("web.test").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = soon(connector.connect(name, proxy.connect().await)).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: custom\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\npart") {
        assert_ne!(soon(stream.read_buf(&mut said)).await.unwrap(), 0);
    }
    stream.write_all(b"x").await.unwrap();
    assert!(soon(stream.read_to_end(&mut said)).await.is_err(), "the client takes the part for the whole");
}
