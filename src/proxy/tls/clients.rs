//! Certificates of clients: which authorities must have signed them, and which of them these have revoked. The files are
//! followed.

use std::path::PathBuf;
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

use super::der::Seconds;
use super::faults::{FileFault, Told, now};
use super::provider;
use super::revocation::{ListEnd, ListFault, RevocationLists, ending};
use crate::config::checked::ClientDemand;
use crate::model::problem::ProblemCode;

/// Where it is written who is a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientFiles {
    /// The authorities, in PEM.
    pub authorities: PathBuf,
    /// Lists of what these have revoked, in PEM or DER; none: nothing is looked up.
    pub revoked: Vec<PathBuf>,
}

impl ClientFiles {
    /// All of them.
    pub fn all(&self) -> Vec<PathBuf> {
        [&self.authorities].into_iter().chain(&self.revoked).cloned().collect()
    }
}

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
    /// A list of what is revoked.
    #[error(transparent)]
    Revoked(#[from] ListFault),
}

impl AuthoritiesFault {
    /// The problem that it is while what was read before goes on.
    fn problem(&self) -> FileFault {
        let file = match self {
            Self::Revoked(fault) => return fault.problem(),
            Self::Read { path, .. } | Self::Unusable { path, .. } => path.clone(),
        };
        FileFault {
            code: ProblemCode::InvalidCertificate,
            file,
            message: format!("{self}; the former authorities of clients go on"),
            mend: "write the authorities' certificates into the file, in PEM form",
            from: None,
        }
    }
}

/// Who may have signed the certificates of a listener's clients.
#[derive(Debug)]
pub struct ClientAuthorities {
    files: ClientFiles,
    demand: ClientDemand,
    current: ArcSwap<Current>,
}

#[derive(Debug)]
struct Current {
    verifier: Arc<dyn ClientCertVerifier>,
    digest: [u8; 32],
    /// When the lists of what is revoked are out of date.
    ends: Vec<ListEnd>,
    first_end: Option<Seconds>,
}

impl ClientAuthorities {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(files: &ClientFiles, demand: ClientDemand) -> Result<Arc<Self>, AuthoritiesFault> {
        let current = ArcSwap::from_pointee(Current::read(files)?);
        Ok(Arc::new(Self { files: files.clone(), demand, current }))
    }

    /// Stands for the authorities and for what they have revoked: a session is resumed only under the same. Whose list has
    /// come out of date is asked again, as new clients are.
    pub fn digest(&self) -> [u8; 32] {
        let current = self.current.load();
        let mut digest = current.digest;
        if current.first_end.is_some_and(|end| end <= now()) {
            digest.iter_mut().for_each(|octet| *octet = !*octet);
        }
        digest
    }

    /// Tells what will be wrong with the lists.
    pub fn tell(&self, told: &Told) {
        told.say(ending(&self.current.load().ends).collect());
    }

    /// Reads the files again whenever `changed` says so, until its sender is gone. What cannot be used changes nothing, and
    /// is told.
    pub async fn follow(self: Arc<Self>, mut changed: watch::Receiver<u64>, told: Arc<Told>) {
        while changed.changed().await.is_ok() {
            let files = self.files.clone();
            match tokio::task::spawn_blocking(move || Current::read(&files)).await {
                Ok(Ok(current)) => {
                    self.current.store(Arc::new(current));
                    self.tell(&told);
                    info!(files = ?self.files, "authorities of clients read again");
                }
                Ok(Err(error)) => {
                    warn!(%error, "the former authorities of clients go on");
                    let ending = ending(&self.current.load().ends).collect::<Vec<_>>();
                    told.say(ending.into_iter().chain([error.problem()]).collect());
                }
                Err(_) => warn!(files = ?self.files, "reading authorities of clients failed"),
            }
        }
    }
}

impl Current {
    fn read(files: &ClientFiles) -> Result<Self, AuthoritiesFault> {
        let path = &files.authorities;
        let read = |source| AuthoritiesFault::Read { path: path.to_owned(), source };
        let unusable = |reason: String| AuthoritiesFault::Unusable { path: path.to_owned(), reason };
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(read)?.collect();
        let certificates = certificates.map_err(read)?;
        let lists = RevocationLists::read(&files.revoked)?;
        let mut octets: Vec<u8> = certificates.iter().flat_map(|der| der.to_vec()).collect();
        lists.ders().for_each(|list| octets.extend_from_slice(&list));
        let digest = digest(&SHA256, &octets);
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        // Without lists nothing of this holds. With them every certificate of a chain needs one, and one that is not past
        // its `nextUpdate`: what nobody can say is no "not revoked".
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier = builder.with_crls(lists.ders()).enforce_revocation_expiration().build();
        let verifier = verifier.map_err(|error| unusable(error.to_string()))?;
        let ends = lists.ends();
        let first_end = ends.iter().map(|(_, end)| *end).min();
        let digest = digest.as_ref().try_into().expect("SHA-256 has 32 octets");
        Ok(Self { verifier, digest, ends, first_end })
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
