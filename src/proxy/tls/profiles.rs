//! What is trusted and shown where TLS is spoken with endpoints: one profile for each entry of `upstreams.tls`, beside the
//! default one and the one that verifies nothing.
//!
//! A profile whose files cannot be read is not taken up: what was read before goes on being used.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tracing::{info, warn};

use super::faults::FileFault;
use super::provider;
use super::revocation::{ListEnd, ListFault, RevocationLists};
use crate::cluster::sources::mesos::tls::{TlsError, authorities, client_config, shown};
use crate::config::checked::{ClientTls, EndpointTlsConfig};
use crate::model::endpoint_tls::{DEFAULT, INSECURE};
use crate::model::problem::ProblemCode;

/// What is spoken within TLS, as ALPN names it (RFC 7301 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Whatever the endpoint likes: a health check looks at the handshake alone.
    Anything,
}

/// How TLS is spoken with the endpoints of one profile.
#[derive(Clone, Debug)]
pub struct Profile {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    anything: Arc<ClientConfig>,
    /// The name that certificates must be for, where a task says none.
    pub server_name: Option<Arc<str>>,
    /// When the lists of what is revoked are out of date.
    ends: Arc<[ListEnd]>,
}

/// Why an entry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileFault {
    /// Authorities, certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A list of what is revoked.
    #[error(transparent)]
    Revoked(#[from] ListFault),
    /// The library takes no list together with these authorities.
    #[error("the authorities cannot be used: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// An entry of the configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the entry {name:?} of upstreams.tls cannot be used: {fault}")]
pub struct BadProfile {
    /// The entry.
    pub name: Arc<str>,
    /// The file of it that stands for the others in a problem: the list at fault, else the authorities.
    pub file: Option<PathBuf>,
    /// Why.
    #[source]
    pub fault: ProfileFault,
}

impl BadProfile {
    fn of(entry: &EndpointTlsConfig, fault: ProfileFault) -> Self {
        let file = match &fault {
            ProfileFault::Revoked(fault) => Some(fault.path().to_owned()),
            ProfileFault::Tls(TlsError::Pem { path, .. } | TlsError::Empty(path)) => Some(path.clone()),
            ProfileFault::Tls(_) | ProfileFault::Verifier(_) => entry.ca.clone(),
        };
        Self { name: entry.name.clone(), file, fault }
    }

    /// The problem that it is while what was read before goes on.
    pub fn problem(&self) -> FileFault {
        let code = match self.fault {
            ProfileFault::Revoked(_) => ProblemCode::InvalidRevocationList,
            ProfileFault::Tls(_) | ProfileFault::Verifier(_) => ProblemCode::InvalidCertificate,
        };
        FileFault {
            code,
            file: self.file.clone().unwrap_or_else(|| format!("upstreams.tls {}", self.name).into()),
            message: format!("{self}; what was read before goes on being used"),
            mend: "write the file anew, whole and in PEM form (lists of what is revoked: PEM or DER)",
            from: None,
        }
    }
}

/// All profiles at one time.
#[derive(Clone, Debug, Default)]
pub struct Profiles(HashMap<Arc<str>, Profile>);

/// The profiles in force, and the entries that they are made of.
#[derive(Debug, Default)]
pub struct TlsProfiles {
    current: ArcSwap<Profiles>,
    version: AtomicU64,
    entries: Mutex<Vec<EndpointTlsConfig>>,
}

impl Profiles {
    /// Reads the files of all entries. Blocks.
    ///
    /// # Errors
    /// The first entry that cannot be used.
    pub fn read(entries: &[EndpointTlsConfig]) -> Result<Self, BadProfile> {
        let mut profiles = Self::bare();
        for entry in entries {
            profiles.0.insert(entry.name.clone(), Profile::read(entry)?);
        }
        Ok(profiles)
    }

    /// What there is without any entry. A system without authorities has no default: connecting then says so.
    fn bare() -> Self {
        let mut profiles = Self::default();
        if let Ok(profile) = Profile::read(&EndpointTlsConfig { name: DEFAULT.into(), ..Default::default() }) {
            profiles.0.insert(DEFAULT.into(), profile);
        }
        if let Ok(config) = unverified() {
            profiles.0.insert(INSECURE.into(), Profile::new(&config, None, Vec::new()));
        }
        profiles
    }
}

impl TlsProfiles {
    /// The profile called `name`.
    pub fn find(&self, name: &str) -> Option<Profile> {
        self.current.load().0.get(name).cloned()
    }

    /// A number that rises with every change: connections that were made before it are not used again.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn store(&self, profiles: Profiles) {
        self.current.store(Arc::new(profiles));
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Puts profiles in force that were read of `entries`.
    pub fn replace(&self, profiles: Profiles, entries: &[EndpointTlsConfig]) {
        entries.clone_into(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner));
        self.store(profiles);
    }

    /// When the lists of what is revoked are out of date.
    pub fn ends(&self) -> Vec<ListEnd> {
        self.current.load().0.values().flat_map(|profile| profile.ends.iter().cloned()).collect()
    }

    /// Reads the files again; the entries that cannot be used as they are now. Blocks.
    pub fn reload(&self) -> Vec<BadProfile> {
        let mut bad = Vec::new();
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut profiles = Profiles::clone(&self.current.load());
        for entry in entries.iter() {
            match Profile::read(entry) {
                Ok(profile) => {
                    info!(name = %entry.name, "TLS towards endpoints: files read");
                    profiles.0.insert(entry.name.clone(), profile);
                }
                Err(error) => {
                    warn!(%error, "TLS towards endpoints: what was read before goes on being used");
                    bad.push(error);
                }
            }
        }
        self.store(profiles);
        bad
    }
}

impl Profile {
    fn read(entry: &EndpointTlsConfig) -> Result<Self, BadProfile> {
        let tls = ClientTls {
            ca: entry.ca.clone(),
            certificate: entry.certificate.clone(),
            key: entry.key.clone(),
            server_name: None,
        };
        let (config, ends) = match entry.crl.is_empty() {
            true => client_config(&tls).map(|config| (config, Vec::new())).map_err(ProfileFault::from),
            false => with_lists(&tls, &entry.crl),
        }
        .map_err(|fault| BadProfile::of(entry, fault))?;
        Ok(Self::new(&config, entry.server_name.clone(), ends))
    }

    fn new(config: &ClientConfig, server_name: Option<Arc<str>>, ends: Vec<ListEnd>) -> Self {
        let with = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Arc::new(config)
        };
        let (http1, http2, anything) = (with(&[b"http/1.1"]), with(&[b"h2"]), with(&[b"h2", b"http/1.1"]));
        Self { http1, http2, anything, server_name, ends: ends.into() }
    }

    /// What connections are made with.
    pub fn config(&self, within: Within) -> Arc<ClientConfig> {
        match within {
            Within::Http1 => self.http1.clone(),
            Within::Http2 => self.http2.clone(),
            Within::Anything => self.anything.clone(),
        }
    }
}

/// What an entry with lists of what is revoked comes to, and when these end: each certificate of a chain needs a list that is
/// not past its `nextUpdate`.
fn with_lists(tls: &ClientTls, files: &[PathBuf]) -> Result<(Arc<ClientConfig>, Vec<ListEnd>), ProfileFault> {
    let lists = RevocationLists::read(files)?;
    let roots = Arc::new(authorities(tls)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .with_crls(lists.ders())
        .enforce_revocation_expiration()
        .build()?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::from)?
        .with_webpki_verifier(verifier);
    Ok((Arc::new(shown(builder, tls)?), lists.ends()))
}

/// For tasks that say that nobody is to look at their certificate.
fn unverified() -> Result<ClientConfig, rustls::Error> {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        .with_no_client_auth();
    Ok(config)
}

/// Takes any certificate; that the other end has its key is still seen.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_goes_bad_leaves_what_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let pair = rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap();
        std::fs::write(&ca, pair.cert.pem()).unwrap();
        let entries = [EndpointTlsConfig { name: "own".into(), ca: Some(ca.clone()), ..Default::default() }];
        let profiles = TlsProfiles::default();
        profiles.replace(Profiles::read(&entries).unwrap(), &entries);
        let before = profiles.find("own").unwrap();
        std::fs::write(&ca, "half written").unwrap();
        profiles.reload();
        assert!(Arc::ptr_eq(&before.http1, &profiles.find("own").unwrap().http1));
        let error = Profiles::read(&entries).unwrap_err().to_string();
        assert!(error.contains("own") && error.contains("ca.pem"), "{error}");
        std::fs::write(&ca, pair.cert.pem()).unwrap();
        let version = profiles.version();
        profiles.reload();
        assert!(!Arc::ptr_eq(&before.http1, &profiles.find("own").unwrap().http1));
        assert_ne!(version, profiles.version());
        assert!(profiles.find(INSECURE).is_some() && profiles.find("other").is_none());
    }
}
