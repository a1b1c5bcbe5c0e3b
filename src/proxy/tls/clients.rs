//! Certificates of clients: which authorities must have signed them. The file is followed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ring::digest::{SHA256, digest};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;
use tracing::{info, warn};

use super::provider;
use crate::config::checked::ClientDemand;

/// Why a file of authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesFault {
    /// Not to be read as PEM.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// Nothing in it, or nothing of use.
    #[error("{path} holds no certificate of an authority: {reason}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Who may have signed the certificates of a listener's clients.
#[derive(Debug)]
pub struct ClientAuthorities {
    file: PathBuf,
    demand: ClientDemand,
    current: ArcSwap<Current>,
}

#[derive(Debug)]
struct Current {
    verifier: Arc<dyn ClientCertVerifier>,
    digest: [u8; 32],
}

impl ClientAuthorities {
    /// Reads the file. Blocks.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn load(file: &Path, demand: ClientDemand) -> Result<Arc<Self>, AuthoritiesFault> {
        let current = ArcSwap::from_pointee(Current::read(file)?);
        Ok(Arc::new(Self { file: file.to_owned(), demand, current }))
    }

    /// Stands for the authorities: a session is resumed only under the same ones.
    pub fn digest(&self) -> [u8; 32] {
        self.current.load().digest
    }

    /// Reads the file again whenever `changed` says so, until its sender is gone. One that cannot be used changes nothing.
    pub async fn follow(self: Arc<Self>, mut changed: watch::Receiver<u64>) {
        while changed.changed().await.is_ok() {
            let file = self.file.clone();
            match tokio::task::spawn_blocking(move || Current::read(&file)).await {
                Ok(Ok(current)) => {
                    self.current.store(Arc::new(current));
                    info!(file = %self.file.display(), "authorities of clients read again");
                }
                Ok(Err(error)) => warn!(%error, "the former authorities of clients go on"),
                Err(_) => warn!(file = %self.file.display(), "reading authorities of clients failed"),
            }
        }
    }
}

impl Current {
    fn read(path: &Path) -> Result<Self, AuthoritiesFault> {
        let read = |source| AuthoritiesFault::Read { path: path.to_owned(), source };
        let unusable = |reason: String| AuthoritiesFault::Unusable { path: path.to_owned(), reason };
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(read)?.collect();
        let certificates = certificates.map_err(read)?;
        let digest = digest(&SHA256, &certificates.iter().flat_map(|der| der.to_vec()).collect::<Vec<_>>());
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let verifier = verifier.map_err(|error| unusable(error.to_string()))?;
        Ok(Self { verifier, digest: digest.as_ref().try_into().expect("SHA-256 has 32 octets") })
    }
}

impl ClientCertVerifier for ClientAuthorities {
    fn client_auth_mandatory(&self) -> bool {
        self.demand == ClientDemand::Required
    }

    /// None are named: they may change while this is borrowed, and clients with one certificate show it anyway.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.current.load().verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current.load().verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current.load().verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current.load().verifier.supported_verify_schemes()
    }
}
