//! An authority of a test's own, what it issues, and files of it.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pointsman::proxy::tls::provider;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;

pub struct Authority {
    pub certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

/// A certificate with its key.
pub struct Issued {
    pub certificate: rcgen::Certificate,
    pub key: rcgen::KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        Self::called("an authority of tests")
    }

    /// With a name of its own: one that has another's is told from it by its key alone.
    pub fn called(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    /// For names and addresses, by which its subject is called too.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut rcgen::CertificateParams)) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names.clone()).unwrap();
        if let Some(name) = names.first().filter(|name| name.parse::<IpAddr>().is_err()) {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, name.as_str());
        }
        change(&mut params);
        let key = rcgen::KeyPair::generate().unwrap();
        Issued { certificate: params.signed_by(&key, &self.issuer).unwrap(), key }
    }

    /// A list of what it has revoked, by serial number, good from one year to another.
    pub fn revoking(&self, serials: &[u64], (from, to): (i32, i32)) -> rcgen::CertificateRevocationList {
        let revoked = |serial: &u64| rcgen::RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: rcgen::date_time_ymd(from, 1, 1),
            reason_code: Some(rcgen::RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(from, 1, 1),
            next_update: rcgen::date_time_ymd(to, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap()
    }

    /// With this serial number.
    pub fn issue_number(&self, serial: u64, names: &[&str]) -> Issued {
        self.issue_with(names, |params| params.serial_number = Some(serial.into()))
    }

    /// Its own key.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// What trusts it.
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots.into()
    }

    pub fn write(&self, file: &Path) -> PathBuf {
        std::fs::write(file, self.certificate.pem()).unwrap();
        file.to_owned()
    }

    /// A server with this certificate; with `asks` it wants one of this authority of its clients.
    pub fn server(&self, issued: &Issued, alpn: &[&str], asks: bool) -> Arc<rustls::ServerConfig> {
        let builder = rustls::ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.unwrap();
        let builder = if asks {
            let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider()).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(vec![issued.certificate.der().clone()], issued.der()).unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config.into()
    }
}

impl Issued {
    pub fn der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }

    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        std::fs::write(&key, self.key.serialize_pem()).unwrap();
        std::fs::write(&certificate, self.certificate.pem()).unwrap();
        (certificate, key)
    }
}
