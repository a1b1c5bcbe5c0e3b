//! Tasks as processes of their own, agents that can be cut off, and the program in front of them.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod namespace;
pub mod task;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use pointsman::proxy::tls::provider;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsConnector;

use super::common::ports;
use super::common::program::{Folder, Program};
use super::load::Target;
use task::Task;

/// The host of the tasks by HTTP/1.1, and by HTTP/2.
pub const HOST: &str = "web.test";
pub const HOST2: &str = "rpc.test";

/// Requests that have to begin while a trouble lasts, of each kind.
pub fn least() -> u64 {
    if std::env::var_os("POINTSMAN_FULL").is_some() { 100_000 } else { 400 }
}

/// The program, and tasks behind it.
pub struct World {
    pub folder: Folder,
    pub program: Program,
    pub tasks: Vec<Task>,
    pub target: Target,
    pub authority: Authority,
}

impl World {
    /// So many tasks on this machine, and these beside.
    pub fn start(count: usize, beside: Vec<Task>) -> Self {
        let mut tasks: Vec<Task> = (0..count).map(|number| Task::start(&format!("task-{number}"))).collect();
        tasks.extend(beside);
        let folder = Folder::new();
        let authority = Authority::new();
        std::fs::create_dir(folder.path("certificates")).unwrap();
        authority.write_pair(&folder.path("certificates"));
        let (http, https) = (ports::unused(), ports::unused());
        folder.configure(&format!(
            "[server]\nworkers = 2\n\
             [upstreams]\nallowed_networks = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n\
             [[sources.file]]\nname = \"static\"\npath = \"services.toml\"\n\
             [[proxy.listeners]]\nname = \"http\"\naddress = \"{http}\"\n\
             [[proxy.listeners]]\nname = \"https\"\naddress = \"{https}\"\ncertificates = \"certificates\"\n\
             [proxy.limits]\nper_try = \"2s\"\nresponse = \"20s\"\nidle = \"20s\"\n"
        ));
        let world = Self {
            program: folder.start(),
            folder,
            tasks,
            target: Target { http, https, host: HOST, host2: HOST2, tls: authority.connectors() },
            authority,
        };
        world.serve_tasks();
        world.ready()
    }

    /// Writes the tasks down as endpoints of two services.
    pub fn serve_tasks(&self) {
        let endpoints: Vec<_> = self.tasks.iter().map(|task| task.address.to_string()).collect();
        let service = |name: &str, protocol: &str, host: &str| {
            format!(
                "[[services]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nhosts = [\"{host}\"]\n\
                 endpoints = {endpoints:?}\n"
            )
        };
        self.folder.write("services.toml", service("web", "http", HOST) + &service("rpc", "h2c", HOST2));
    }

    fn ready(mut self) -> Self {
        let count = self.tasks.len();
        self.program.until_ready();
        self.program.until("all tasks are served", |program| {
            let services = program.api("/v1/services").1;
            let services = services["services"].as_array().cloned().unwrap_or_default();
            services.len() == 2 && services.iter().all(|service| service["available"] == count)
        });
        self
    }

    /// Requests that were asked again at another endpoint, so far.
    pub fn retries(&self) -> f64 {
        self.program.metric("pointsman_proxy_retries_total{kind=\"other_endpoint\"}").unwrap()
    }
}

/// A certificate authority of the tests.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Another certificate for the host, as `host.crt` and `host.key`; the certificate.
    pub fn write_pair(&self, folder: &Path) -> rustls_pki_types::CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(folder.join("host.crt"), leaf.pem()).unwrap();
        std::fs::write(folder.join("host.key"), key.serialize_pem()).unwrap();
        leaf.der().clone()
    }

    /// Clients that believe it, of HTTP/1.1 and of HTTP/2.
    pub fn connectors(&self) -> [TlsConnector; 2] {
        ["http/1.1", "h2"].map(|protocol| {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.certificate.der().clone()).unwrap();
            let mut config = rustls::ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
            TlsConnector::from(Arc::new(config))
        })
    }

    /// The certificate that is served now.
    pub async fn served(&self, https: SocketAddr) -> rustls_pki_types::CertificateDer<'static> {
        let stream = tokio::net::TcpStream::connect(https).await.unwrap();
        let name = rustls_pki_types::ServerName::try_from(HOST).unwrap();
        let stream = self.connectors()[0].connect(name, stream).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    }
}
