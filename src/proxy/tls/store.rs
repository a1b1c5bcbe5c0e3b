//! Certificates in a folder: `NAME.crt` or `NAME.pem` with `NAME.key`, and perhaps an OCSP answer, `NAME.ocsp`.
//!
//! The names that a certificate serves are its own (subject alternative names); where it has none, the file's name is
//! taken as a host, `*.` written as such or as `_wildcard.`. A pair called `default` serves whoever asks for a name that
//! no certificate has, or for none; without it, the first pair in the order of names does.
//!
//! One bad pair harms only itself: it is reported, and what was loaded for it before goes on being served.

use std::collections::{BTreeMap, HashMap};
use std::error::Error as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tracing::{info, warn};

use super::der::Seconds;
use super::pair::{Pair, PairFault};
use crate::labels::host::HostPattern;

/// Pairs in a folder.
const MAX_PAIRS: usize = 100_000;
const DEFAULT: &str = "default";

/// A pair that is not served as it is on disk.
#[derive(Debug, thiserror::Error)]
#[error("the certificate pair {name} in {} is not used{}", folder.display(), if *kept { ", its former version is" } else { "" })]
pub struct BadPair {
    /// The pair.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// A version that was loaded before goes on being served.
    pub kept: bool,
    /// Why.
    #[source]
    pub fault: PairFault,
}

/// The certificates of one folder.
pub struct Certificates {
    folder: PathBuf,
    current: ArcSwap<Store>,
}

/// What is served at one time.
#[derive(Default)]
struct Store {
    pairs: BTreeMap<String, Arc<Pair>>,
    exact: HashMap<Arc<str>, Arc<Pair>>,
    wildcard: HashMap<Arc<str>, Arc<Pair>>,
    default: Option<Arc<Pair>>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs = self.current.load().pairs.len();
        f.debug_struct("Certificates").field("folder", &self.folder).field("pairs", &pairs).finish()
    }
}

impl Certificates {
    /// Reads a folder. Blocks.
    ///
    /// # Errors
    /// If the folder itself cannot be read.
    pub fn load(folder: &Path) -> io::Result<(Arc<Self>, Vec<BadPair>)> {
        let (store, bad) = Store::read(folder, &Store::default())?;
        Ok((Arc::new(Self { folder: folder.to_owned(), current: ArcSwap::from_pointee(store) }), bad))
    }

    /// Reads the folder again; connections keep what they have. Blocks.
    ///
    /// # Errors
    /// If the folder itself cannot be read; what was loaded before goes on being served.
    pub fn reload(&self) -> io::Result<Vec<BadPair>> {
        let (store, bad) = Store::read(&self.folder, &self.current.load())?;
        self.current.store(Arc::new(store));
        Ok(bad)
    }

    /// Reads the folder again whenever `changed` says so, until its sender is gone.
    pub async fn follow(self: Arc<Self>, mut changed: watch::Receiver<u64>) {
        while changed.changed().await.is_ok() {
            let certificates = self.clone();
            match tokio::task::spawn_blocking(move || certificates.reload()).await {
                Ok(Ok(bad)) => self.report(&bad),
                Ok(Err(error)) => warn!(folder = %self.folder.display(), %error, "certificates cannot be read"),
                Err(_) => warn!(folder = %self.folder.display(), "reading certificates failed"),
            }
        }
    }

    /// How many pairs are served.
    pub fn len(&self) -> usize {
        self.current.load().pairs.len()
    }

    /// Whether there is none: every handshake fails then.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When each certificate ends, by the pair's name.
    pub fn ends(&self) -> Vec<(String, Seconds)> {
        let store = self.current.load();
        store.pairs.iter().filter_map(|(name, pair)| Some((name.clone(), pair.ends()?))).collect()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The pair of this name.
    pub(super) fn named(&self, name: &str) -> Option<Arc<Pair>> {
        self.current.load().pairs.get(name).cloned()
    }

    /// The pair that serves a host, in lower case.
    pub(super) fn standing_for(&self, host: &str) -> Option<Arc<Pair>> {
        self.current.load().find(host).cloned()
    }

    /// The pair for whoever asks for no name that another serves.
    pub(super) fn default_pair(&self) -> Option<Arc<Pair>> {
        self.current.load().default.clone()
    }

    /// Whether the certificate that serves `name` stands for `host` too.
    pub fn is_same(&self, name: &str, host: &str) -> bool {
        let store = self.current.load();
        store.find(&name.to_ascii_lowercase()).is_some_and(|pair| pair.covers(host))
    }

    /// Logs what was read, and what is wrong with pairs that are not used.
    pub fn report(&self, bad: &[BadPair]) {
        info!(folder = %self.folder.display(), pairs = self.len(), bad = bad.len(), "certificates read");
        for pair in bad {
            let fault = &pair.fault;
            let cause = fault.source().map(ToString::to_string).unwrap_or_default();
            warn!(%pair, %fault, %cause, "certificate not used");
        }
        if self.is_empty() {
            warn!(folder = %self.folder.display(), "there is no certificate; every TLS handshake fails");
        }
    }
}

/// One pair of a folder for every connection, whatever name the client asks for.
#[derive(Debug)]
pub struct OnePair {
    certificates: Arc<Certificates>,
    name: Arc<str>,
}

impl OnePair {
    /// The pair called `name`; `None` if there is none now.
    pub fn new(certificates: Arc<Certificates>, name: Arc<str>) -> Option<Self> {
        let is_there = certificates.current.load().pairs.contains_key(&*name);
        is_there.then_some(Self { certificates, name })
    }
}

impl ResolvesServerCert for OnePair {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificates.current.load().pairs.get(&*self.name).map(|pair| pair.shown())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let store = self.current.load();
        let found = hello.server_name().and_then(|name| match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => store.find(&name.to_ascii_lowercase()),
            false => store.find(name),
        });
        found.or(store.default.as_ref()).map(|pair| pair.shown())
    }
}

impl Store {
    fn read(folder: &Path, former: &Self) -> io::Result<(Self, Vec<BadPair>)> {
        let mut store = Self::default();
        let mut bad = Vec::new();
        for (name, certificate) in certificate_files(folder)? {
            let key = certificate.with_extension("key");
            match Pair::read(&name, &certificate, &key) {
                Ok(pair) => store.add(name, Arc::new(pair)),
                Err(fault) => {
                    let kept = former.pairs.get(&name).cloned();
                    bad.push(BadPair { name: name.clone(), folder: folder.to_owned(), kept: kept.is_some(), fault });
                    if let Some(pair) = kept {
                        store.add(name, pair);
                    }
                }
            }
        }
        store.default = store.pairs.get(DEFAULT).or_else(|| store.pairs.values().next()).cloned();
        Ok((store, bad))
    }

    /// Of two pairs with one name, the first in the order of file names serves it.
    fn add(&mut self, name: String, pair: Arc<Pair>) {
        for host in pair.names() {
            match host {
                HostPattern::Exact(host) => self.exact.entry(host.clone()).or_insert_with(|| pair.clone()),
                HostPattern::Wildcard(base) => self.wildcard.entry(base.clone()).or_insert_with(|| pair.clone()),
                HostPattern::Any | HostPattern::Pattern(_) => continue,
            };
        }
        self.pairs.insert(name, pair);
    }

    fn find(&self, name: &str) -> Option<&Arc<Pair>> {
        // A certificate's wildcard stands for one label (RFC 9525 section 6.3).
        self.exact.get(name).or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }
}

/// The certificates of a folder by the pair's name. Hidden files are a config map's machinery and editors' leavings.
fn certificate_files(folder: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)?.take(MAX_PAIRS * 3) {
        let path = entry?.path();
        let is_certificate = path.extension().is_some_and(|extension| extension == "crt" || extension == "pem");
        let name = path.file_stem().and_then(|stem| stem.to_str()).filter(|name| !name.starts_with('.'));
        if let (true, Some(name)) = (is_certificate && files.len() < MAX_PAIRS, name) {
            files.insert(name.to_owned(), path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(folder: &Path, file: &str, names: &[&str]) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let pair = rcgen::generate_simple_self_signed(names).unwrap();
        fs::write(folder.join(format!("{file}.crt")), pair.cert.pem()).unwrap();
        fs::write(folder.join(format!("{file}.key")), pair.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn names_come_from_the_certificate_or_its_file() {
        let folder = tempfile::tempdir().unwrap();
        write_pair(folder.path(), "one", &["a.example", "*.b.example"]);
        write_pair(folder.path(), "_wildcard.c.example", &[]);
        let (certificates, bad) = Certificates::load(folder.path()).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        let store = certificates.current.load();
        for (name, found) in [
            ("a.example", true),
            ("x.b.example", true),
            ("b.example", false),
            ("y.x.b.example", false),
            ("x.c.example", true),
            ("d.example", false),
        ] {
            assert_eq!(store.find(name).is_some(), found, "{name}");
        }
        assert!(certificates.is_same("a.example", "x.b.example"));
        assert!(!certificates.is_same("a.example", "x.c.example"));
    }

    #[test]
    fn a_bad_pair_harms_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        write_pair(folder.path(), "good", &["good.example"]);
        write_pair(folder.path(), "later", &["later.example"]);
        fs::write(folder.path().join("bad.crt"), "nonsense").unwrap();
        let (certificates, bad) = Certificates::load(folder.path()).unwrap();
        assert_eq!((certificates.len(), bad.len(), &*bad[0].name), (2, 1, "bad"));
        assert!(bad[0].to_string().contains("bad"), "{}", bad[0]);
        // A pair that is being replaced goes on being served in its former version.
        fs::write(folder.path().join("later.key"), "half written").unwrap();
        let bad = certificates.reload().unwrap();
        assert!(bad.iter().any(|pair| pair.name == "later" && pair.kept), "{bad:?}");
        assert!(certificates.current.load().find("later.example").is_some());
        // A key of another certificate is noticed.
        fs::copy(folder.path().join("good.key"), folder.path().join("later.key")).unwrap();
        let bad = certificates.reload().unwrap();
        assert!(bad.iter().any(|pair| matches!(pair.fault, PairFault::Unusable(_))), "{bad:?}");
    }
}
