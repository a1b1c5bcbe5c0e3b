//! The configuration as the file has it: what the settings table fills in before combinations are checked.
//!
//! Sections whose values the program uses as they are stand in a [`Config`] already; those that several keys make
//! together (credentials, TLS) or that must be given have a form of their own here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::acme::AcmeConfig;
use super::checked::{
    ClientDemand, ClientTls, Config, EndpointTlsConfig, FileConfig, ForwardZone, ListenerConfig, MarathonConfig,
    MarathonCredentials, Masters, MesosConfig, MesosCredentials, PairFiles, Place, PolicyConfig, RouteBy, Secret,
};
use super::filter::FilterConfig;
use super::kind::masters::{MastersValue, Scheme};
use super::section::Entry;

/// The whole file.
#[derive(Clone, Default)]
pub(crate) struct Raw {
    /// Sections that are used as they are; its lists, and `admin.tls`, are empty.
    pub(crate) config: Config,
    pub(crate) mesos: Vec<RawMesos>,
    pub(crate) marathon: Vec<RawMarathon>,
    pub(crate) files: Vec<RawFile>,
    pub(crate) listeners: Vec<RawListener>,
    pub(crate) admin_tls: RawPair,
}

/// `[[sources.mesos]]`.
#[derive(Clone)]
pub(crate) struct RawMesos {
    /// Everything that is used as it is.
    pub(crate) config: MesosConfig,
    pub(crate) name: Arc<str>,
    pub(crate) cluster: Option<Arc<str>>,
    pub(crate) masters: Option<MastersValue>,
    pub(crate) zookeeper_auth: Option<Secret>,
    pub(crate) principal: Option<Arc<str>>,
    pub(crate) secret: Option<Secret>,
    pub(crate) token: Option<Secret>,
    pub(crate) service_account: Option<PathBuf>,
    /// Whether there is a section for TLS.
    pub(crate) has_tls: bool,
    pub(crate) tls_ca: Option<PathBuf>,
    pub(crate) tls: RawPair,
    pub(crate) tls_server_name: Option<Arc<str>>,
}

/// `[[sources.marathon]]`.
#[derive(Clone)]
pub(crate) struct RawMarathon {
    /// Everything that is used as it is.
    pub(crate) config: MarathonConfig,
    pub(crate) name: Arc<str>,
    pub(crate) cluster: Option<Arc<str>>,
    pub(crate) credentials: Option<Secret>,
    pub(crate) token: Option<Secret>,
    pub(crate) service_account: Option<PathBuf>,
    pub(crate) tls: RawPair,
    pub(crate) tls_server_name: Option<Arc<str>>,
}

impl Default for RawMarathon {
    fn default() -> Self {
        Self {
            config: MarathonConfig::with_urls("", &[]),
            name: "".into(),
            cluster: None,
            credentials: None,
            token: None,
            service_account: None,
            tls: RawPair::default(),
            tls_server_name: None,
        }
    }
}

/// `[[sources.file]]`.
#[derive(Clone, Default)]
pub(crate) struct RawFile {
    pub(crate) name: Arc<str>,
    pub(crate) path: PathBuf,
    pub(crate) zones: Vec<Arc<str>>,
}

/// `[[proxy.listeners]]`.
#[derive(Clone, Default)]
pub(crate) struct RawListener {
    pub(crate) name: Arc<str>,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) certificates: Option<PathBuf>,
    pub(crate) pairs: Vec<RawFilePair>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) client_crl: Vec<PathBuf>,
    pub(crate) client_certificate: ClientDemand,
    pub(crate) route_by: RouteBy,
    pub(crate) proxy_protocol: Vec<IpNet>,
    pub(crate) passthrough: bool,
}

/// `[[proxy.listeners.pairs]]`.
#[derive(Clone, Default)]
pub(crate) struct RawFilePair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: Option<PathBuf>,
}

/// A certificate and its key.
#[derive(Clone, Default)]
pub(crate) struct RawPair {
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl Default for RawMesos {
    fn default() -> Self {
        Self {
            config: MesosConfig::with_masters("", "", &[]),
            name: "".into(),
            cluster: None,
            masters: None,
            zookeeper_auth: None,
            principal: None,
            secret: None,
            token: None,
            service_account: None,
            has_tls: false,
            tls_ca: None,
            tls: RawPair::default(),
            tls_server_name: None,
        }
    }
}

impl Raw {
    /// The form that the program runs on. Only for a file without faults.
    pub(crate) fn into_config(self) -> Config {
        let mut config = self.config;
        config.mesos = self.mesos.into_iter().map(RawMesos::into_config).collect();
        config.marathon = self.marathon.into_iter().map(RawMarathon::into_config).collect();
        config.files = self.files.into_iter().map(RawFile::into_config).collect();
        config.proxy.listeners = self.listeners.into_iter().map(RawListener::into_config).collect();
        config.admin.tls = self.admin_tls.certificate.zip(self.admin_tls.key);
        config
    }
}

impl From<&Config> for Raw {
    fn from(config: &Config) -> Self {
        let tls = config.admin.tls.clone().unzip();
        Self {
            mesos: config.mesos.iter().map(RawMesos::from).collect(),
            marathon: config.marathon.iter().map(RawMarathon::from).collect(),
            files: config.files.iter().map(RawFile::from).collect(),
            listeners: config.proxy.listeners.iter().map(RawListener::from).collect(),
            admin_tls: RawPair { certificate: tls.0, key: tls.1 },
            config: config.clone(),
        }
    }
}

impl RawMesos {
    /// Whether the masters are spoken to over TLS.
    pub(crate) fn uses_tls(&self) -> bool {
        self.has_tls || self.masters.as_ref().is_some_and(|masters| masters.scheme == Some(Scheme::Https))
    }

    fn into_config(self) -> MesosConfig {
        let tls = self.uses_tls().then(|| ClientTls {
            ca: self.tls_ca,
            certificate: self.tls.certificate,
            key: self.tls.key,
            server_name: self.tls_server_name.map(|name| name.to_string()),
        });
        let credentials = match (self.service_account, self.token, self.principal, self.secret) {
            (Some(path), ..) => Some(MesosCredentials::ServiceAccount(path)),
            (None, Some(token), _, _) => Some(MesosCredentials::Token(token)),
            (None, None, Some(principal), Some(secret)) => {
                Some(MesosCredentials::Basic { principal: principal.to_string(), secret })
            }
            _ => None,
        };
        let mut masters = self.masters.expect("a source without masters is at fault").masters;
        if let (Masters::ZooKeeper { auth, .. }, Some(given)) = (&mut masters, self.zookeeper_auth) {
            *auth = Some(given);
        }
        let cluster = self.cluster.unwrap_or_else(|| self.name.clone()).into();
        MesosConfig { name: self.name.into(), cluster, masters, credentials, tls, ..self.config }
    }
}

impl From<&MesosConfig> for RawMesos {
    fn from(config: &MesosConfig) -> Self {
        let (mut principal, mut secret, mut token, mut service_account) = (None, None, None, None);
        match config.credentials.clone() {
            Some(MesosCredentials::Basic { principal: name, secret: given }) => {
                (principal, secret) = (Some(name.into()), Some(given));
            }
            Some(MesosCredentials::Token(given)) => token = Some(given),
            Some(MesosCredentials::ServiceAccount(path)) => service_account = Some(path),
            None => {}
        }
        let mut masters = config.masters.clone();
        let zookeeper_auth = match &mut masters {
            Masters::ZooKeeper { auth, .. } => auth.take(),
            Masters::List(_) => None,
        };
        let tls = config.tls.clone().unwrap_or_default();
        Self {
            config: config.clone(),
            name: config.name.shared(),
            cluster: Some(config.cluster.shared()),
            masters: Some(MastersValue { masters, scheme: None }),
            zookeeper_auth,
            principal,
            secret,
            token,
            service_account,
            has_tls: config.tls.is_some(),
            tls_ca: tls.ca,
            tls: RawPair { certificate: tls.certificate, key: tls.key },
            tls_server_name: tls.server_name.map(Into::into),
        }
    }
}

impl RawMarathon {
    fn into_config(self) -> MarathonConfig {
        let credentials = match (self.service_account, self.token, self.credentials) {
            (Some(path), _, _) => Some(MarathonCredentials::ServiceAccount(path)),
            (None, Some(token), _) => Some(MarathonCredentials::Token(token)),
            (None, None, Some(pair)) => pair.0.split_once(':').map(|(user, password)| MarathonCredentials::Basic {
                user: user.to_owned(),
                password: Secret(password.to_owned()),
            }),
            (None, None, None) => None,
        };
        let tls = ClientTls {
            certificate: self.tls.certificate,
            key: self.tls.key,
            server_name: self.tls_server_name.map(|name| name.to_string()),
            ..self.config.tls
        };
        let cluster = self.cluster.unwrap_or_else(|| self.name.clone()).into();
        MarathonConfig { name: self.name.into(), cluster, credentials, tls, ..self.config }
    }
}

impl From<&MarathonConfig> for RawMarathon {
    fn from(config: &MarathonConfig) -> Self {
        let (credentials, token, service_account) = match config.credentials.clone() {
            None => (None, None, None),
            Some(MarathonCredentials::Basic { user, password }) => {
                (Some(Secret(format!("{user}:{}", password.0))), None, None)
            }
            Some(MarathonCredentials::Token(token)) => (None, Some(token), None),
            Some(MarathonCredentials::ServiceAccount(path)) => (None, None, Some(path)),
        };
        Self {
            config: config.clone(),
            name: config.name.shared(),
            cluster: Some(config.cluster.shared()),
            credentials,
            token,
            service_account,
            tls: RawPair { certificate: config.tls.certificate.clone(), key: config.tls.key.clone() },
            tls_server_name: config.tls.server_name.clone().map(Into::into),
        }
    }
}

impl RawFile {
    fn into_config(self) -> FileConfig {
        FileConfig { name: self.name.into(), path: self.path, zones: self.zones }
    }
}

impl From<&FileConfig> for RawFile {
    fn from(config: &FileConfig) -> Self {
        Self { name: config.name.shared(), path: config.path.clone(), zones: config.zones.clone() }
    }
}

impl RawListener {
    fn into_config(self) -> ListenerConfig {
        let address = self.address.expect("a listener without address is at fault");
        ListenerConfig {
            name: self.name,
            address,
            certificates: self.certificates,
            pairs: self.pairs.into_iter().map(RawFilePair::into_config).collect(),
            client_ca: self.client_ca,
            client_crl: self.client_crl,
            client_certificate: self.client_certificate,
            route_by: self.route_by,
            proxy_protocol: self.proxy_protocol,
            passthrough: self.passthrough,
        }
    }
}

impl From<&ListenerConfig> for RawListener {
    fn from(config: &ListenerConfig) -> Self {
        Self {
            name: config.name.clone(),
            address: Some(config.address),
            certificates: config.certificates.clone(),
            pairs: config.pairs.iter().map(RawFilePair::from).collect(),
            client_ca: config.client_ca.clone(),
            client_crl: config.client_crl.clone(),
            client_certificate: config.client_certificate,
            route_by: config.route_by,
            proxy_protocol: config.proxy_protocol.clone(),
            passthrough: config.passthrough,
        }
    }
}

impl RawFilePair {
    fn into_config(self) -> PairFiles {
        PairFiles { key: self.key.unwrap_or_else(|| self.certificate.clone()), certificate: self.certificate }
    }
}

impl From<&PairFiles> for RawFilePair {
    fn from(config: &PairFiles) -> Self {
        let key = Some(&config.key).filter(|key| **key != config.certificate).cloned();
        Self { certificate: config.certificate.clone(), key }
    }
}

impl Entry for RawMesos {
    fn name(&self) -> Option<String> {
        Some(self.name.to_string())
    }
}

impl Entry for RawMarathon {
    fn name(&self) -> Option<String> {
        Some(self.name.to_string())
    }
}

impl Entry for RawFile {
    fn name(&self) -> Option<String> {
        Some(self.name.to_string())
    }
}

impl Entry for RawListener {
    fn name(&self) -> Option<String> {
        Some(self.name.to_string())
    }
}

impl Entry for RawFilePair {
    fn name(&self) -> Option<String> {
        None
    }
}

impl Entry for ForwardZone {
    fn name(&self) -> Option<String> {
        Some(self.zone.to_string())
    }
}

impl Entry for Place {
    fn name(&self) -> Option<String> {
        None
    }
}

impl Entry for FilterConfig {
    fn name(&self) -> Option<String> {
        Some(self.name.to_string())
    }
}

impl Entry for AcmeConfig {
    fn name(&self) -> Option<String> {
        Some(self.name.to_string())
    }
}

impl Entry for EndpointTlsConfig {
    fn name(&self) -> Option<String> {
        Some(self.name.to_string())
    }
}

impl Entry for PolicyConfig {
    fn name(&self) -> Option<String> {
        None
    }
}
