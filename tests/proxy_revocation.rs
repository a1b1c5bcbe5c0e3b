//! Certificates that were revoked, and pairs in files, by the whole program: what clients are told, what is seen from outside,
//! and what holds while a file is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "common/authority.rs"]
mod authority;
mod proxy_common;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use authority::{Authority, Issued};
use pointsman::config::{self, Environment};
use pointsman::proxy::tls::provider;
use pointsman::server::{Options, Server};
use proxy_common::{Backend, soon, until};
use rustls::client::Resumption;
use rustls::{AlertDescription, ClientConfig, HandshakeKind, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Years that a list is good for: now, and in the past.
const NOW: (i32, i32) = (2020, 2099);
const PAST: (i32, i32) = (2020, 2021);
const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A program with a listener, whose files are in a folder.
struct World {
    server: Option<Server>,
    folder: tempfile::TempDir,
    backend: Backend,
    authority: Authority,
}

/// What a client saw.
#[derive(Debug, PartialEq)]
enum Seen {
    /// An answer, and whether the session was resumed.
    Answer(bool),
    /// The alert that ended the handshake.
    Alert(AlertDescription),
    /// Anything else.
    Broken(String),
}

impl World {
    /// A listener with `web.crt` for `web.test`, and what `listener` says; `prepare` writes files before the start.
    async fn start(listener: &str, prepare: impl FnOnce(&Path, &Authority)) -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        authority.issue(&["web.test"]).write(folder.path(), "web");
        prepare(folder.path(), &authority);
        let backend = Backend::saying("good").await;
        let services =
            format!("[[services]]\nname = \"web\"\nhosts = [\"web.test\"]\nendpoints = [\"{}\"]\n", backend.address);
        std::fs::write(folder.path().join("services.toml"), services).unwrap();
        let mut world = Self { server: None, folder, backend, authority };
        let config = world.config(listener);
        let server = tokio::task::spawn_blocking(move || Server::start(config, Options::default()).unwrap());
        world.server = Some(server.await.unwrap());
        until("the file is read", || world.server().table().load().ready).await;
        world
    }

    fn config(&self, listener: &str) -> config::Config {
        let text = format!(
            "[server]\nworkers = 1\n[[sources.file]]\nname = \"file\"\npath = \"services.toml\"\n\
             [upstreams]\nallowed_networks = [\"127.0.0.0/8\"]\n\
             [[proxy.listeners]]\nname = \"https\"\naddress = \"127.0.0.1:0\"\n{listener}"
        );
        let path = self.folder.path().join("pointsman.toml");
        config::check(&text, &path, Environment::empty()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn address(&self) -> SocketAddr {
        self.server().addresses().proxy[0]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file, as a secret that is mounted would be.
    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let written = self.path("written");
        std::fs::write(&written, content).unwrap();
        std::fs::rename(&written, self.path(name)).unwrap();
    }

    /// The kinds of problems with a file.
    fn problems(&self, file: &str) -> Vec<&'static str> {
        let table = self.server().table().load();
        let of_file = table.problems.get(self.path(file).to_str().unwrap()).cloned();
        of_file.iter().flat_map(|problems| problems.iter()).map(|problem| problem.code.as_str()).collect()
    }

    /// A number from the metrics: the line that begins with `name`.
    fn metric(&self, name: &str) -> Option<f64> {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.server().registry().gather()).unwrap();
        text.lines().find(|line| line.starts_with(name))?.rsplit(' ').next()?.parse().ok()
    }

    fn refused(&self, reason: &str) -> f64 {
        self.metric(&format!("pointsman_proxy_client_certificates_refused_total{{reason=\"{reason}\"}}")).unwrap()
    }

    /// What a client speaks TLS with.
    fn client(&self, version: &'static SupportedProtocolVersion, shows: Option<&Issued>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
        let builder = builder.with_root_certificates(self.authority.roots());
        let mut config = match shows {
            Some(shown) => builder.with_client_auth_cert(vec![shown.certificate.der().clone()], shown.der()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(8);
        config.into()
    }

    async fn connect(
        &self,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address()).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        soon(TlsConnector::from(config.clone()).connect(name, stream)).await
    }

    /// The first certificate that a client is shown for a name.
    async fn shown(&self, name: &str) -> Option<CertificateDer<'static>> {
        let stream = self.connect(&self.client(&rustls::version::TLS13, None), name).await.ok()?;
        Some(stream.get_ref().1.peer_certificates()?.first()?.clone())
    }

    /// Asks for a page. With TLS 1.3 a client learns what became of its certificate only when it reads.
    async fn ask(&self, config: &Arc<ClientConfig>) -> Seen {
        let exchange = async {
            let mut stream = self.connect(config, "web.test").await?;
            // Whoever was refused may find the connection closed already; why is to be read still.
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n").await;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("good"), "{answer}");
            Ok::<_, std::io::Error>(Seen::Answer(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)))
        };
        soon(exchange).await.unwrap_or_else(|error| {
            match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
                Some(rustls::Error::AlertReceived(alert)) => Seen::Alert(*alert),
                _ => Seen::Broken(format!("{error:?}")),
            }
        })
    }

    async fn stop(mut self) {
        let server = self.server.take().unwrap();
        tokio::task::spawn_blocking(move || server.stop(Duration::ZERO)).await.unwrap();
    }
}

/// A listener that asks clients for certificates of `of_clients`, of which `ann` (1) is good and `bob` (2) revoked.
struct Clients {
    world: World,
    of_clients: Authority,
    ann: Issued,
    bob: Issued,
}

impl Clients {
    async fn start() -> Self {
        let of_clients = Authority::new();
        let (ann, bob) = (of_clients.issue_number(1, &["ann.test"]), of_clients.issue_number(2, &["bob.test"]));
        let listener = "pairs = [{ certificate = \"web.crt\", key = \"web.key\" }]\n\
                        client_ca = \"clients.pem\"\nclient_crl = [\"clients.crl\"]\nclient_certificate = \"optional\"\n";
        let prepare = |folder: &Path, _: &Authority| {
            of_clients.write(&folder.join("clients.pem"));
            // DER at first, and PEM later on.
            std::fs::write(folder.join("clients.crl"), of_clients.revoking(&[2], NOW).der()).unwrap();
        };
        let world = World::start(listener, prepare).await;
        Self { world, of_clients, ann, bob }
    }

    fn revoke(&self, serials: &[u64], years: (i32, i32)) {
        self.world.put("clients.crl", self.of_clients.revoking(serials, years).pem().unwrap());
    }

    /// Asks with a new session each time until it is seen.
    async fn sees(&self, shown: &Issued, expected: Seen) {
        let asks = async {
            while self.world.ask(&self.world.client(&rustls::version::TLS13, Some(shown))).await != expected {}
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), asks).await.is_ok(), "{expected:?} did not come");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_certificate_is_revoked_gets_an_alert_and_is_counted_rfc5280_5() {
    let clients = Clients::start().await;
    let world = &clients.world;
    let stranger = Authority::called("somebody else").issue(&["eve.test"]);
    for version in VERSIONS {
        assert_eq!(world.ask(&world.client(version, Some(&clients.ann))).await, Seen::Answer(false));
        assert_eq!(world.ask(&world.client(version, None)).await, Seen::Answer(false), "it is optional");
        let revoked = world.ask(&world.client(version, Some(&clients.bob))).await;
        assert_eq!(revoked, Seen::Alert(AlertDescription::CertificateRevoked));
        // The alert's own word, whoever of the two libraries says it.
        let unknown = world.ask(&world.client(version, Some(&stranger))).await;
        assert_eq!(unknown, Seen::Alert(AlertDescription::UnknownCA));
    }
    until("they are counted", || world.refused("revoked") == 2.0 && world.refused("unknown-authority") == 2.0).await;
    assert_eq!(world.metric("pointsman_proxy_tls_failures_total"), Some(4.0));
    let ends = world.metric("pointsman_proxy_revocation_list_ends_seconds");
    assert_eq!(ends, Some(rcgen::date_time_ymd(NOW.1, 1, 1).unix_timestamp() as f64));
    clients.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_list_counts_without_a_restart_and_ends_sessions_that_could_be_resumed() {
    let clients = Clients::start().await;
    let world = &clients.world;
    for version in VERSIONS {
        clients.revoke(&[2], NOW);
        clients.sees(&clients.ann, Seen::Answer(false)).await;
        let config = world.client(version, Some(&clients.ann));
        assert_eq!(world.ask(&config).await, Seen::Answer(false));
        assert_eq!(world.ask(&config).await, Seen::Answer(true), "{version:?}: the session is resumed");
        clients.revoke(&[1, 2], NOW);
        clients.sees(&clients.ann, Seen::Alert(AlertDescription::CertificateRevoked)).await;
        let seen = world.ask(&config).await;
        assert_eq!(seen, Seen::Alert(AlertDescription::CertificateRevoked), "{version:?}: not by its session either");
    }
    // Whoever was revoked by mistake comes in again.
    clients.revoke(&[], NOW);
    clients.sees(&clients.bob, Seen::Answer(false)).await;
    clients.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_read_leaves_the_former_one_and_is_a_problem() {
    let clients = Clients::start().await;
    let world = &clients.world;
    for wrong in [Vec::new(), b"half written".to_vec(), clients.of_clients.certificate.pem().into_bytes()] {
        world.put("clients.crl", wrong);
        until("it is told", || world.problems("clients.crl") == ["invalid-revocation-list"]).await;
        clients.sees(&clients.bob, Seen::Alert(AlertDescription::CertificateRevoked)).await;
        assert_eq!(world.ask(&world.client(&rustls::version::TLS13, Some(&clients.ann))).await, Seen::Answer(false));
        clients.revoke(&[2], NOW);
        until("it is mended", || world.problems("clients.crl").is_empty()).await;
    }
    std::fs::remove_file(world.path("clients.crl")).unwrap();
    until("it is told", || world.problems("clients.crl") == ["invalid-revocation-list"]).await;
    clients.sees(&clients.bob, Seen::Alert(AlertDescription::CertificateRevoked)).await;
    // A configuration that asks for what cannot be read is refused; nothing has changed then.
    let config = world.config(
        "certificates = \".\"\nclient_ca = \"clients.pem\"\nclient_crl = [\"none.crl\"]\nclient_certificate = \"optional\"\n",
    );
    let errors = world.server().reloader().apply(config).await.unwrap_err().join(" ");
    assert!(errors.contains("none.crl"), "{errors}");
    clients.world.stop().await;
}

/// What nobody can say is no "not revoked": whose list is out of date, or missing, is not let in.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_out_of_date_or_of_another_authority_lets_nobody_in() {
    let clients = Clients::start().await;
    let world = &clients.world;
    let config = world.client(&rustls::version::TLS13, Some(&clients.ann));
    assert_eq!(world.ask(&config).await, Seen::Answer(false));
    clients.revoke(&[], PAST);
    clients.sees(&clients.ann, Seen::Alert(AlertDescription::UnknownCA)).await;
    assert_eq!(world.ask(&config).await, Seen::Alert(AlertDescription::UnknownCA), "not by its session either");
    until("it is told", || world.problems("clients.crl") == ["invalid-revocation-list"]).await;
    until("both are counted", || world.refused("revocation-list-outdated") >= 2.0).await;
    // Those who show none are asked for none.
    assert_eq!(world.ask(&world.client(&rustls::version::TLS13, None)).await, Seen::Answer(false));
    world.put("clients.crl", Authority::called("somebody else").revoking(&[], NOW).pem().unwrap());
    until("its problem is over", || world.problems("clients.crl").is_empty()).await;
    clients.sees(&clients.ann, Seen::Alert(AlertDescription::UnknownCA)).await;
    until("it is counted", || world.refused("no-revocation-list") >= 1.0).await;
    clients.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_in_files_are_taken_up_without_a_restart_and_a_bad_one_harms_only_itself() {
    let listener = "certificates = \"folder\"\n\
                    [[proxy.listeners.pairs]]\ncertificate = \"web.crt\"\nkey = \"web.key\"\n\
                    [[proxy.listeners.pairs]]\ncertificate = \"whole.pem\"\n\
                    [[proxy.listeners.pairs]]\ncertificate = \"later.crt\"\nkey = \"later.key\"\n";
    let whole = |issued: &Issued| format!("{}{}", issued.certificate.pem(), issued.key.serialize_pem());
    let (mut in_folder, mut in_file) = (None, None);
    let prepare = |folder: &Path, authority: &Authority| {
        std::fs::create_dir(folder.join("folder")).unwrap();
        let both = authority.issue(&["web.test", "folder.test"]);
        both.write(&folder.join("folder"), "both");
        let file = authority.issue(&["whole.test"]);
        std::fs::write(folder.join("whole.pem"), whole(&file)).unwrap();
        (in_folder, in_file) = (Some(both), Some(file));
    };
    let world = World::start(listener, prepare).await;
    let (in_folder, in_file) = (in_folder.unwrap(), in_file.unwrap());
    let shows = async |name: &str, issued: &Issued| world.shown(name).await.as_ref() == Some(issued.certificate.der());
    // One pair is missing; the others are served, those in files first.
    assert!(shows("folder.test", &in_folder).await && shows("whole.test", &in_file).await);
    let web = world.shown("web.test").await.unwrap();
    assert_ne!(web, *in_folder.certificate.der(), "the file goes before the folder");
    until("the missing pair is told", || world.problems("later.crt") == ["invalid-certificate"]).await;
    let later = world.authority.issue(&["later.test"]);
    world.put("later.key", later.key.serialize_pem());
    world.put("later.crt", later.certificate.pem());
    soon(async { while !shows("later.test", &later).await {} }).await;
    until("nothing is wrong", || world.problems("later.crt").is_empty()).await;
    // One that is being replaced is served as it was.
    world.put("whole.pem", "half written");
    until("it is told", || world.problems("whole.pem") == ["invalid-certificate"]).await;
    assert!(shows("whole.test", &in_file).await && shows("later.test", &later).await);
    let next = world.authority.issue(&["whole.test"]);
    world.put("whole.pem", whole(&next));
    soon(async { while !shows("whole.test", &next).await {} }).await;
    // A reload that names other files takes along what it can and tells what it cannot.
    world.put("web.key", "half written");
    world.put("whole.pem", "half written");
    let told = |file: &str| world.problems(file) == ["invalid-certificate"];
    until("both are told", || told("web.crt") && told("whole.pem")).await;
    let fewer = "[[proxy.listeners.pairs]]\ncertificate = \"web.crt\"\nkey = \"web.key\"\n";
    world.server().reloader().apply(world.config(fewer)).await.unwrap();
    soon(async { while world.shown("later.test").await.is_some() {} }).await;
    assert_eq!(world.shown("web.test").await, Some(web), "as it was before");
    until("what is not used any more is nobody's problem", || world.problems("whole.pem").is_empty()).await;
    assert_eq!(world.problems("web.crt"), ["invalid-certificate"]);
    assert!(world.backend.connections() == 0, "nobody has asked for a page");
    world.stop().await;
}
