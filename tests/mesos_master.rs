//! The real source against masters that refuse, redirect, hang or speak TLS.

mod mesos_support;
#[path = "common/ports.rs"]
mod ports;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use mesos_support::facts::{Model, Source, config};
use mesos_support::master::{Answer, Body, End, Master, recorded};
use mesos_support::recordings::{bytes, records};
use pointsman::cluster::event::Fact;
use pointsman::config::checked::{ClientTls, MesosConfig, MesosCredentials, MesosEncoding, MesosMode, Secret};

fn stream(recording: &str, end: End) -> Answer {
    Answer::Stream(Body::by_record(&bytes(recording), true, end))
}

fn populated() -> Answer {
    stream("zookeeper/kill9-subscribe-new-leader.recordio", End::Hold)
}

fn credentials() -> Option<MesosCredentials> {
    Some(MesosCredentials::Basic { principal: "operator".into(), secret: Secret("s3cret".into()) })
}

/// Why the source of a master that always answers so has no stream.
fn refused(answer: Answer, change: impl Fn(&mut MesosConfig)) -> String {
    let master = Master::start(vec![answer], None);
    let mut config = config(&[&master.address.to_string()], MesosEncoding::Json);
    change(&mut config);
    let mut source = Source::start(config);
    let loss = source.next_loss();
    source.stop();
    loss.replace(&master.address.to_string(), "MASTER")
}

fn redirect_to(place: &str) -> Answer {
    let Answer::Bytes(bytes) = recorded("zookeeper/subscribe-to-B") else { unreachable!() };
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("Location: //127.0.0.1:5050/master/api/v1"));
    Answer::Bytes(text.replace("//127.0.0.1:5050/master/api/v1", place).into_bytes())
}

#[test]
fn refusals_are_told_with_their_mend() {
    let sent = |config: &mut MesosConfig| config.credentials = credentials();
    let none = |_: &mut MesosConfig| {};
    for (recording, change, expected) in [
        ("errors-auth/auth-subscribe-none", &none as &dyn Fn(&mut MesosConfig), "MASTER asks for credentials (401)"),
        ("errors-auth/auth-subscribe-wrong-secret", &sent, "MASTER does not accept the credentials (401)"),
        (
            "zookeeper/leader-not-recovered-subscribe",
            &none,
            "MASTER is not ready (503, Master has not finished recovery)",
        ),
        ("zookeeper/no-zookeeper-subscribe", &none, "MASTER is not ready (503, No leader elected)"),
        ("errors-auth/err-ctype-json-charset", &none, "MASTER does not accept application/json (415, Expecting"),
        ("errors-auth/err-accept-recordio", &none, "MASTER does not accept application/json (406, Expecting"),
        ("errors-auth/err-path-not-found", &none, "MASTER does not know the operator API (404"),
        ("errors-auth/err-method-get", &none, "MASTER does not know the operator API (405"),
    ] {
        let loss = refused(recorded(recording), change);
        assert!(loss.starts_with(expected), "{recording}: {loss}");
    }
}

#[test]
fn what_is_no_master_is_told() {
    let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    let loss = refused(Answer::Bytes(page.to_vec()), |_| {});
    assert!(loss.contains("\"text/html\"") && loss.contains("not a Mesos master"), "{loss}");
    let garbage = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\n<html>";
    let loss = refused(Answer::Bytes(garbage.to_vec()), |_| {});
    assert!(loss.contains("not RecordIO"), "{loss}");
    let loss = refused(Answer::Bytes(Vec::new()), |_| {});
    assert!(loss.contains("if the master speaks TLS, configure tls"), "{loss}");
}

#[test]
fn a_master_that_is_not_ready_is_asked_again() {
    let script = vec![
        recorded("zookeeper/leader-not-recovered-subscribe"),
        recorded("zookeeper/no-zookeeper-subscribe"),
        populated(),
    ];
    let master = Master::start(script, None);
    let mut source = Source::start(config(&[&master.address.to_string()], MesosEncoding::Json));
    let facts = source.until(|fact| matches!(fact, Fact::Live));
    assert_eq!(Model::of(&facts).tasks.len(), 6);
    assert!(master.requests().iter().all(|request| request.starts_with("POST /api/v1 HTTP/1.1\r\n")));
    source.stop();
}

#[test]
fn redirects_lead_to_the_leader_by_its_changed_path() {
    let leader = Master::start(vec![populated()], None);
    let place = format!("//{}/master/api/v1", leader.address);
    let follower = Master::start(vec![redirect_to(&place)], None);
    let mut source = Source::start(config(&[&follower.address.to_string()], MesosEncoding::Json));
    let facts = source.until(|fact| matches!(fact, Fact::Live));
    let masters = facts.iter().find_map(|fact| match fact {
        Fact::Masters(masters) => Some(masters),
        _ => None,
    });
    let masters = masters.expect("the leader is told");
    assert_eq!(masters.leader, Some(leader.address));
    assert_eq!(masters.masters, [follower.address, leader.address]);
    assert!(leader.requests()[0].starts_with("POST /master/api/v1 HTTP/1.1\r\n"), "{:?}", leader.requests());
    source.stop();
}

#[test]
fn credentials_go_to_configured_masters_only() {
    for is_configured in [true, false] {
        let leader = Master::start(vec![populated(), populated()], None);
        let place = format!("//{}/master/api/v1", leader.address);
        let follower = Master::start(vec![redirect_to(&place)], None);
        let mut masters = vec![follower.address.to_string()];
        masters.extend(is_configured.then(|| leader.address.to_string()));
        let masters: Vec<_> = masters.iter().map(String::as_str).collect();
        let mut config = config(&masters, MesosEncoding::Json);
        config.credentials = credentials();
        let mut source = Source::start(config);
        source.until(|fact| matches!(fact, Fact::Live));
        let has = |request: &String| request.to_ascii_lowercase().contains("authorization: basic b3blcmf0b3i6cznjcmv0");
        assert!(follower.requests().iter().all(has));
        assert_eq!(has(&leader.requests()[0]), is_configured);
        source.stop();
    }
}

#[test]
fn a_token_goes_to_configured_masters_only_whatever_is_asked() {
    // What DC/OS's own components write: the scheme is `token`, with an equals sign (no `Bearer`).
    let token = |request: &String| {
        let line = |line: &str| line.to_ascii_lowercase().starts_with("authorization: ").then(|| line[15..].to_owned());
        request.lines().find_map(line)
    };
    let sent = Some("token=abc.DEF-123".to_owned());
    for is_configured in [true, false] {
        let agents = bytes("scenario/calls-agent2-unreachable/GET_AGENTS.json");
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", agents.len());
        let leader = Master::start(vec![populated()], Some([head.as_bytes(), &agents].concat()));
        let place = format!("//{}/master/api/v1", leader.address);
        let follower = Master::start(vec![redirect_to(&place)], None);
        let mut masters = vec![follower.address.to_string()];
        masters.extend(is_configured.then(|| leader.address.to_string()));
        let masters: Vec<_> = masters.iter().map(String::as_str).collect();
        let mut config = config(&masters, MesosEncoding::Json);
        config.credentials = Some(MesosCredentials::Token(Secret("abc.DEF-123".into())));
        config.agents_interval = Duration::from_millis(1);
        let mut source = Source::start(config);
        source.until(|fact| matches!(fact, Fact::AgentsListed(_)));
        source.stop();
        assert!(!follower.requests().is_empty() && follower.requests().iter().all(|request| token(request) == sent));
        // SUBSCRIBE and GET_AGENTS.
        let asked = leader.requests();
        assert!(asked.len() >= 2 && asked[1].contains("GET_AGENTS"), "{asked:?}");
        let expected = if is_configured { sent.clone() } else { None };
        assert!(asked.iter().all(|request| token(request) == expected), "{asked:?}");
    }
    // A state that is polled is asked for with it too.
    let master = Master::start(
        vec![Answer::Bytes(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec())],
        None,
    );
    let mut config = config(&[&master.address.to_string()], MesosEncoding::Json);
    config.credentials = Some(MesosCredentials::Token(Secret("abc.DEF-123".into())));
    config.mode = MesosMode::State;
    let mut source = Source::start(config);
    source.next_loss();
    source.stop();
    let asked = master.requests();
    assert!(asked[0].starts_with("GET /") && token(&asked[0]) == sent, "{asked:?}");
}

#[test]
fn a_token_that_no_header_can_have_is_not_sent() {
    let loss = refused(recorded("errors-auth/auth-subscribe-none"), |config| {
        config.credentials = Some(MesosCredentials::Token(Secret("two\nlines".into())));
    });
    assert!(loss.starts_with("MASTER does not accept the credentials (401)"), "{loss}");
}

#[test]
fn redirects_in_a_circle_end() {
    let masters = [redirect_to("/master/api/v1"); 1];
    let script = vec![masters[0].clone(); 6];
    let master = Master::start(script, None);
    let mut source = Source::start(config(&[&master.address.to_string()], MesosEncoding::Json));
    let loss = source.next_loss();
    assert!(loss.contains("after 5 redirects"), "{loss}");
    assert_eq!(master.requests().len(), 6);
    source.stop();
}

#[test]
fn a_leader_that_is_dead_does_not_stop_the_round() {
    let dead = ports::unused();
    let follower = Master::start(vec![redirect_to(&format!("//{dead}/master/api/v1"))], None);
    let leader = Master::start(vec![populated()], None);
    let masters = [dead.to_string(), follower.address.to_string(), leader.address.to_string()];
    let mut source = Source::start(config(&masters.each_ref().map(String::as_str), MesosEncoding::Json));
    source.until(|fact| matches!(fact, Fact::Live));
    source.stop();
}

#[test]
fn a_leader_that_hangs_is_given_up_after_missed_heartbeats() {
    let silent = br#"{"type":"SUBSCRIBED","subscribed":{"get_state":{},"heartbeat_interval_seconds":0.02}}"#;
    let silent = [format!("{}\n", silent.len()).as_bytes(), silent].concat();
    let hanging = Body::by_record(&silent, true, End::Hold);
    let master = Master::start(vec![Answer::Stream(hanging), populated()], None);
    let mut source = Source::start(config(&[&master.address.to_string()], MesosEncoding::Json));
    let loss = source.next_loss();
    assert!(loss.contains("5 heartbeats"), "{loss}");
    let facts = source.until(|fact| matches!(fact, Fact::Live));
    assert_eq!(Model::of(&facts).tasks.len(), 6);
    source.stop();
}

#[test]
fn a_second_read_is_made_on_request() {
    let master = Master::start(vec![populated(), populated()], None);
    let mut source = Source::start(config(&[&master.address.to_string()], MesosEncoding::Json));
    source.until(|fact| matches!(fact, Fact::Live));
    source.request_snapshot();
    let facts = source.until(|fact| matches!(fact, Fact::Live));
    assert!(facts.contains(&Fact::SnapshotStarted));
    assert!(!facts.iter().any(|fact| matches!(fact, Fact::Lost { .. })), "it was not lost: {facts:?}");
    source.stop();
}

#[test]
fn agents_that_vanished_in_silence_are_missing_from_the_list() {
    for (encoding, agents, kind) in [
        (MesosEncoding::Json, bytes("scenario/calls-agent2-unreachable/GET_AGENTS.json"), "json"),
        (MesosEncoding::Protobuf, bytes("scenario/calls/GET_AGENTS.protobuf.bin"), "x-protobuf"),
    ] {
        let body = bytes(&format!("scenario/subscribe-populated.{}.recordio", kind.trim_start_matches("x-")));
        // The snapshot alone: what the stream tells while the list is asked for, as that an agent is gone, goes before it.
        let body = Body::by_record(records(&body)[0], encoding == MesosEncoding::Json, End::Hold);
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/{kind}\r\nContent-Length: {}\r\n\r\n", agents.len());
        let master = Master::start(vec![Answer::Stream(body)], Some([head.as_bytes(), &agents].concat()));
        let mut config = config(&[&master.address.to_string()], encoding);
        config.agents_interval = Duration::from_millis(1);
        let mut source = Source::start(config);
        let facts = source.until(|fact| matches!(fact, Fact::AgentsListed(_)));
        let listed = facts.iter().rev().find_map(|fact| match fact {
            Fact::AgentsListed(agents) => Some(agents),
            _ => None,
        });
        let mut names: Vec<_> = listed.unwrap().iter().map(|agent| &*agent.hostname).collect();
        names.sort_unstable();
        let expected: &[&str] = if kind == "json" { &["agent-1"] } else { &["agent-1", "agent-2"] };
        assert_eq!(names, expected, "{kind}");
        source.stop();
    }
}

#[test]
fn a_master_with_old_ciphers_only_is_told_how_to_be_mended() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 4096]);
        // A TLS alert: fatal, handshake_failure (RFC 8446 section 6.2), as OpenSSL sends it.
        let _ = socket.write_all(&[0x15, 3, 3, 0, 2, 2, 40]);
    });
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.certificate.pem()).unwrap();
    let mut config = config(&[&address.to_string()], MesosEncoding::Json);
    config.tls = Some(ClientTls { ca: Some(ca), ..ClientTls::default() });
    let mut source = Source::start(config);
    let loss = source.next_loss();
    assert!(loss.contains("LIBPROCESS_SSL_CIPHERS") && loss.contains("LIBPROCESS_SSL_ENABLE_TLS_V1_3"), "{loss}");
    source.stop();
    server.join().unwrap();
}

#[test]
fn a_master_with_tls_and_required_client_certificates_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = authority.issue("pointsman");
    let tls = ClientTls {
        ca: Some(write("ca.pem", &authority.certificate.pem())),
        certificate: Some(write("client.pem", &certificate.pem())),
        key: Some(write("client.key", &key.serialize_pem())),
        server_name: Some("master.example".into()),
    };
    let address = authority.serve(bytes("zookeeper/kill9-subscribe-new-leader.recordio"));
    let mut config = config(&[&address.to_string()], MesosEncoding::Json);
    config.tls = Some(tls);
    let mut source = Source::start(config);
    let facts = source.until(|fact| matches!(fact, Fact::Live));
    assert_eq!(Model::of(&facts).tasks.len(), 6);
    source.stop();
}

/// A certificate authority of this test.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Answers one connection with the stream, and then ends.
    fn serve(&self, body: Vec<u8>) -> std::net::SocketAddr {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let (certificate, key) = self.issue("master.example");
        let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut connection = rustls::ServerConnection::new(config.into()).unwrap();
            let mut tls = rustls::Stream::new(&mut connection, &mut socket);
            let _ = tls.read(&mut [0; 4096]).unwrap();
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n";
            let chunk = format!("{:x}\r\n", body.len());
            tls.write_all(&[head, chunk.as_bytes(), &body, b"\r\n"].concat()).unwrap();
            // The stream stays open until the source goes.
            let _ = tls.read(&mut [0; 16]);
        });
        address
    }
}
