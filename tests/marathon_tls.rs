//! Marathon behind TLS and DC/OS' login: over real TLS, with certificates that are right and wrong.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod marathon_common;
mod proxy_common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use marathon_common::server::{Marathon, answers, web};
use marathon_common::*;
use pointsman::config::checked::{ClientTls, MarathonConfig, MarathonCredentials};
use pointsman::table::Table;
use proxy_common::{Backend, body};
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The key of an account that exists in this test alone.
const ACCOUNT_KEY: &str = include_str!("data/service-account.pem");

/// DC/OS' Admin Router: TLS, the login, and Marathon below `/service/marathon`.
struct Router {
    address: SocketAddr,
    /// PEM.
    authority: String,
    logins: Arc<AtomicUsize>,
    /// The number in tokens that are given now.
    round: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Router {
    /// `name`: who its certificate is for.
    async fn start(marathon: SocketAddr, name: &str) -> Self {
        let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let logins = Arc::new(AtomicUsize::new(0));
        let round = Arc::new(AtomicUsize::new(1));
        let counters = [logins.clone(), round.clone()];
        let task = tokio::spawn(async move {
            let mut conversations = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                conversations.spawn(converse(acceptor.clone(), stream, marathon, counters.clone()));
            }
        });
        Self { address, authority: pair.cert.pem(), logins, round, task }
    }

    fn logins(&self) -> usize {
        self.logins.load(Ordering::SeqCst)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(acceptor: TlsAcceptor, stream: TcpStream, marathon: SocketAddr, counters: [Arc<AtomicUsize>; 2]) {
    let Ok(mut client) = acceptor.accept(stream).await else { return };
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let text = String::from_utf8(head).unwrap();
    if text.starts_with("POST /acs/api/v1/auth/login ") {
        let length = text.to_ascii_lowercase();
        let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap();
        let mut body = vec![0; length];
        client.read_exact(&mut body).await.unwrap();
        let [logins, round] = counters;
        logins.fetch_add(1, Ordering::SeqCst);
        let number = round.load(Ordering::SeqCst);
        let answer = match is_account(&serde_json::from_slice(&body).unwrap()) {
            true => {
                let token = json!({ "token": format!("login-{number}") }).to_string();
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{token}", token.len())
            }
            false => "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
        };
        client.write_all(answer.as_bytes()).await.unwrap();
        let _ = client.shutdown().await;
        return;
    }
    let mut marathon = TcpStream::connect(marathon).await.unwrap();
    marathon.write_all(text.replacen(" /service/marathon", " ", 1).as_bytes()).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut client, &mut marathon).await;
}

/// Whether the body of a login is the account's, signed by its key, and of this minute.
fn is_account(login: &Value) -> bool {
    let token = login["token"].as_str().unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let key = PrivateKeyDer::from_pem_slice(ACCOUNT_KEY.as_bytes()).unwrap();
    let PrivateKeyDer::Pkcs8(key) = key else { panic!("another form of key") };
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
    let is_signed = public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).is_ok();
    let claims = signed.split_once('.').unwrap().1;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    is_signed && login["uid"] == "pointsman" && claims["uid"] == "pointsman" && claims["exp"].as_u64().is_some()
}

/// A server that follows Marathon by the router, with an account's file and an authority's in its folder.
fn following(router: &Router, folder: &tempfile::TempDir, authority: &str) -> Running {
    let login = format!("https://localhost:{}/acs/api/v1/auth/login", router.address.port());
    let account = json!({ "uid": "pointsman", "private_key": ACCOUNT_KEY, "login_endpoint": login, "scheme": "RS256" });
    std::fs::write(folder.path().join("account.json"), account.to_string()).unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority).unwrap();
    Running::start(|config| {
        let url = format!("https://localhost:{}/service/marathon", router.address.port());
        let mut source = MarathonConfig::with_urls("marathon", &[&url]);
        source.max_backoff = std::time::Duration::from_millis(50);
        source.tls = ClientTls { ca: Some(folder.path().join("ca.pem")), ..ClientTls::default() };
        source.credentials = Some(MarathonCredentials::ServiceAccount(folder.path().join("account.json")));
        config.marathon.push(source);
    })
}

fn error_has(table: &Table, words: &str) -> bool {
    table.sources.iter().any(|source| source.error.as_ref().is_some_and(|error| error.contains(words)))
}

#[tokio::test]
async fn an_account_of_dcos_logs_in_over_tls_and_again_when_its_token_is_taken_back() {
    let backend = Backend::saying("web").await;
    let marathon = Marathon::start().await;
    marathon.put(web("/web", "web.test", &[&backend]));
    marathon.state().wants = Some("token=login-1".into());
    let router = Router::start(marathon.address, "localhost").await;
    let folder = tempfile::tempdir().unwrap();
    let server = following(&router, &folder, &router.authority);
    answers(&server, "web.test", "web").await;
    assert!(router.logins() >= 1);
    // The stream goes by TLS too, and what it tells is read.
    marathon.put(web("/more", "more.test", &[&backend]));
    marathon.changed("/more");
    answers(&server, "more.test", "web").await;
    let logins = router.logins();
    // Taken back: the next request is refused, and another token is had.
    router.round.store(2, Ordering::SeqCst);
    marathon.state().wants = Some("token=login-2".into());
    marathon.cut();
    marathon.put(web("/last", "last.test", &[&backend]));
    answers(&server, "last.test", "web").await;
    assert!(router.logins() > logins);
}

#[tokio::test]
async fn a_router_with_another_certificate_gets_neither_account_nor_token() {
    let marathon = Marathon::start().await;
    let folder = tempfile::tempdir().unwrap();
    // For another name.
    let router = Router::start(marathon.address, "elsewhere.test").await;
    let server = following(&router, &folder, &router.authority);
    server.table_until("it is refused", |table| error_has(table, "cannot be reached")).await;
    assert_eq!(router.logins(), 0);
    drop(server);
    // By another authority.
    let router = Router::start(marathon.address, "localhost").await;
    let other = Router::start(marathon.address, "localhost").await;
    let server = following(&router, &folder, &other.authority);
    server.table_until("it is refused", |table| error_has(table, "cannot be reached")).await;
    assert_eq!((router.logins(), marathon.asked("/")), (0, 0));
    assert_eq!(body(&get(server.http, "web.test", "/").await).lines().count(), 1);
}

#[tokio::test]
async fn a_redirect_to_clear_text_is_not_followed_and_gets_no_token() {
    let (marathon, elsewhere) = (Marathon::start().await, Marathon::start().await);
    marathon.state().leader = Some(elsewhere.address);
    let router = Router::start(marathon.address, "localhost").await;
    let folder = tempfile::tempdir().unwrap();
    let server = following(&router, &folder, &router.authority);
    server.table_until("it is refused", |table| error_has(table, "from TLS to clear text")).await;
    assert!(marathon.state().credentials.iter().any(Option::is_some));
    assert_eq!(elsewhere.asked("/"), 0);
}
