//! One certificate with its key, and what else clients are shown with it.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::der::{self, Seconds};
use super::faults::now;
use super::provider;
use crate::labels::host::HostPattern;

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Why a pair cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PairFault {
    /// A file cannot be read.
    #[error("{path} cannot be read; check that it exists and that this program may read it")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Larger than any certificate.
    #[error("{path} is larger than 1 MiB; it should hold one certificate and its chain, or one key")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not PEM, or nothing of the kind in it.
    #[error("{path} holds no {what} in PEM form")]
    NothingIn {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key do not work.
    #[error("certificate and key cannot be used; check that the key belongs to the first certificate of the file")]
    Unusable(#[source] rustls::Error),
    /// No answer of OCSP that could be shown.
    #[error("{path} holds no OCSP answer in DER form with a time it is good for; write one anew, or remove the file")]
    Ocsp {
        /// The file.
        path: PathBuf,
    },
}

/// A certificate with its key.
pub struct Pair {
    key: Arc<CertifiedKey>,
    /// With an OCSP answer, until that is out of date (RFC 6066 section 8).
    stapled: Option<(Arc<CertifiedKey>, Seconds)>,
    names: Vec<HostPattern>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Pair {
    /// Reads the files of a pair, which may be one file. Blocks.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub fn read(name: &str, certificate: &Path, key: &Path) -> Result<Self, PairFault> {
        let text = read(certificate)?;
        let nothing = |path: &Path, what| PairFault::NothingIn { path: path.to_owned(), what };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let chain = chain.map_err(|_| nothing(certificate, "certificate"))?;
        let first = chain.first().ok_or_else(|| nothing(certificate, "certificate"))?;
        let names = names(first, name);
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| nothing(key, "private key"))?;
        let key = CertifiedKey::from_der(chain, secret, &provider()).map_err(PairFault::Unusable)?;
        let answer = certificate.with_extension("ocsp");
        // Without it the pair is as good as most: a bad answer takes nothing else along.
        let stapled = stapled(&key, &answer).unwrap_or_else(|fault| {
            tracing::warn!(%fault, "OCSP answer not used");
            None
        });
        Ok(Self { key: Arc::new(key), stapled, names })
    }

    /// What a client is shown now.
    pub(super) fn shown(&self) -> Arc<CertifiedKey> {
        match &self.stapled {
            Some((stapled, until)) if now() < *until => stapled.clone(),
            _ => self.key.clone(),
        }
    }

    /// The names that it serves.
    pub(super) fn names(&self) -> &[HostPattern] {
        &self.names
    }

    /// Whether it stands for a host.
    pub fn covers(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name {
            HostPattern::Exact(exact) => **exact == *host,
            HostPattern::Wildcard(base) => host.split_once('.').is_some_and(|(_, rest)| *rest == **base),
            HostPattern::Any | HostPattern::Pattern(_) => false,
        })
    }

    /// When the certificate begins and ends.
    pub fn validity(&self) -> Option<(Seconds, Seconds)> {
        der::validity(self.key.cert.first()?)
    }

    /// When the certificate ends.
    pub(super) fn ends(&self) -> Option<Seconds> {
        der::not_after(self.key.cert.first()?)
    }
}

/// The pair with the OCSP answer beside it, if there is one.
fn stapled(key: &CertifiedKey, file: &Path) -> Result<Option<(Arc<CertifiedKey>, Seconds)>, PairFault> {
    if !file.exists() {
        return Ok(None);
    }
    let answer = read(file)?;
    let until = der::ocsp_until(&answer).ok_or_else(|| PairFault::Ocsp { path: file.to_owned() })?;
    if until <= now() {
        tracing::warn!(file = %file.display(), "the OCSP answer is out of date and is not shown");
    }
    let mut stapled = key.clone();
    stapled.ocsp = Some(answer);
    Ok(Some((Arc::new(stapled), until)))
}

/// The names of a certificate, else what its file's name says.
fn names(certificate: &CertificateDer<'_>, file: &str) -> Vec<HostPattern> {
    let own: Vec<_> = webpki::EndEntityCert::try_from(certificate)
        .map(|parsed| parsed.valid_dns_names().filter_map(|name| HostPattern::parse(name).ok()).collect())
        .unwrap_or_default();
    if !own.is_empty() {
        return own;
    }
    let text = file.strip_prefix("_wildcard.").map_or_else(|| file.to_owned(), |base| format!("*.{base}"));
    HostPattern::parse(&text).into_iter().collect()
}

fn read(path: &Path) -> Result<Vec<u8>, PairFault> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(source) => Err(PairFault::Read { path: path.to_owned(), source }),
        Ok(length) if length as u64 > MAX_FILE_BYTES => Err(PairFault::TooLarge { path: path.to_owned() }),
        Ok(_) => Ok(bytes),
    }
}
