//! Certificates in files and folders: pairs that are named by their files, and in a folder `NAME.crt` or `NAME.pem` with
//! `NAME.key`; beside each perhaps an OCSP answer, `NAME.ocsp`.
//!
//! The names that a certificate serves are its own (subject alternative names); where it has none, the file's name is
//! taken as a host, `*.` written as such or as `_wildcard.`. Of several for one name the exact one goes before the wildcard,
//! then files before the folder, in the order in which they are listed, then the folder's in the order of their names: who
//! lists a file has said more than who put one into a folder. A pair whose file is called `default` serves whoever asks for
//! a name that no certificate has, or for none; without it, the first pair does.
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
use super::faults::{FileFault, Told};
use super::pair::{Pair, PairFault};
use crate::config::checked::PairFiles;
use crate::labels::host::HostPattern;
use crate::model::problem::ProblemCode;

/// Pairs in a folder.
const MAX_PAIRS: usize = 100_000;
const DEFAULT: &str = "default";

/// Where certificates are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Places {
    /// Pairs by their files, the first one first.
    pub files: Vec<PairFiles>,
    /// A folder of pairs.
    pub folder: Option<PathBuf>,
}

impl Places {
    /// A folder alone.
    pub fn folder(folder: &Path) -> Self {
        Self { files: Vec::new(), folder: Some(folder.to_owned()) }
    }

    /// What is to be followed: files, OCSP answers beside them, the folder.
    pub fn paths(&self) -> Vec<PathBuf> {
        let of_pair =
            |pair: &PairFiles| [pair.certificate.clone(), pair.key.clone(), pair.certificate.with_extension("ocsp")];
        self.files.iter().flat_map(of_pair).chain(self.folder.clone()).collect()
    }
}

/// A pair that is not served as it is on disk, or a folder that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the certificate {} is not used{}", file.display(), if *kept { ", its former version is" } else { "" })]
pub struct BadPair {
    /// Its file, or the folder.
    pub file: PathBuf,
    /// A version that was loaded before goes on being served.
    pub kept: bool,
    /// Why.
    #[source]
    pub fault: PairFault,
}

impl BadPair {
    fn problem(&self) -> FileFault {
        let cause = self.fault.source().map(|cause| format!(" ({cause})")).unwrap_or_default();
        FileFault {
            code: ProblemCode::InvalidCertificate,
            file: self.file.clone(),
            message: format!("{self}: {}{cause}", self.fault),
            mend: "write certificate and key anew, or take the pair away",
            from: None,
        }
    }
}

/// The certificates of some places.
pub struct Certificates {
    places: Places,
    current: ArcSwap<Store>,
}

/// What is served at one time.
#[derive(Default)]
struct Store {
    /// By the file of the certificate.
    pairs: BTreeMap<PathBuf, Arc<Pair>>,
    /// Those of the folder by their names.
    named: HashMap<String, Arc<Pair>>,
    exact: HashMap<Arc<str>, Arc<Pair>>,
    wildcard: HashMap<Arc<str>, Arc<Pair>>,
    default: Option<Arc<Pair>>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("places", &self.places).field("pairs", &self.len()).finish()
    }
}

impl Certificates {
    /// Reads a folder. Blocks.
    ///
    /// # Errors
    /// If the folder itself cannot be read.
    pub fn load(folder: &Path) -> io::Result<(Arc<Self>, Vec<BadPair>)> {
        Self::load_all(Places::folder(folder), None)
    }

    /// Reads files and a folder. A pair that `former` has from the same file stands in for one that cannot be used.
    /// Blocks.
    ///
    /// # Errors
    /// If the folder itself cannot be read.
    pub fn load_all(places: Places, former: Option<&Self>) -> io::Result<(Arc<Self>, Vec<BadPair>)> {
        let former = former.map(|former| former.current.load_full()).unwrap_or_default();
        let folder = places.folder.as_deref().map(certificate_files).transpose()?.unwrap_or_default();
        let (store, bad) = Store::read(&places, folder, &former);
        Ok((Arc::new(Self { places, current: ArcSwap::from_pointee(store) }), bad))
    }

    /// Reads everything again; connections keep what they have. Blocks.
    pub fn reload(&self) -> Vec<BadPair> {
        let former = self.current.load_full();
        let (folder, unreadable) = match self.places.folder.as_deref().map(|folder| (folder, certificate_files(folder)))
        {
            None => (BTreeMap::new(), None),
            Some((_, Ok(files))) => (files, None),
            Some((path, Err(source))) => {
                // What it held before goes on being served, whether or not its files can be read one by one.
                let held = former.pairs.keys().filter(|file| file.parent() == Some(path));
                let held = held.filter_map(|file| Some((stem(file)?.to_owned(), file.clone()))).collect();
                let fault = PairFault::Read { path: path.to_owned(), source };
                (held, Some(BadPair { file: path.to_owned(), kept: true, fault }))
            }
        };
        let (store, mut bad) = Store::read(&self.places, folder, &former);
        bad.extend(unreadable);
        self.current.store(Arc::new(store));
        bad
    }

    /// Reads everything again whenever `changed` says so, until its sender is gone, and tells what is wrong.
    pub async fn follow(self: Arc<Self>, mut changed: watch::Receiver<u64>, told: Arc<Told>) {
        while changed.changed().await.is_ok() {
            let certificates = self.clone();
            match tokio::task::spawn_blocking(move || certificates.reload()).await {
                Ok(bad) => self.report(&bad, &told),
                Err(_) => warn!(places = ?self.places, "reading certificates failed"),
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

    /// When each certificate ends, by its file.
    pub fn ends(&self) -> Vec<(PathBuf, Seconds)> {
        let store = self.current.load();
        store.pairs.iter().filter_map(|(file, pair)| Some((file.clone(), pair.ends()?))).collect()
    }

    /// The pair of the folder that has this name.
    pub(super) fn named(&self, name: &str) -> Option<Arc<Pair>> {
        self.current.load().named.get(name).cloned()
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

    /// Logs what was read, and tells what is wrong with pairs that are not used.
    pub fn report(&self, bad: &[BadPair], told: &Told) {
        info!(places = ?self.places, pairs = self.len(), bad = bad.len(), "certificates read");
        for pair in bad {
            let fault = &pair.fault;
            let cause = fault.source().map(ToString::to_string).unwrap_or_default();
            warn!(%pair, %fault, %cause, "certificate not used");
        }
        told.say(bad.iter().map(BadPair::problem).collect());
        if self.is_empty() {
            warn!(places = ?self.places, "there is no certificate; every TLS handshake fails");
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
        let is_there = certificates.current.load().named.contains_key(&*name);
        is_there.then_some(Self { certificates, name })
    }
}

impl ResolvesServerCert for OnePair {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificates.current.load().named.get(&*self.name).map(|pair| pair.shown())
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
    /// Reads the files of `places`, then those of its `folder` by their names; what cannot be used is as it is in `former`.
    fn read(places: &Places, folder: BTreeMap<String, PathBuf>, former: &Self) -> (Self, Vec<BadPair>) {
        let mut reading = Reading { store: Self::default(), first: None, bad: Vec::new(), former };
        for pair in &places.files {
            reading.take(&pair.certificate, &pair.key);
        }
        for (name, certificate) in folder {
            if let Some(pair) = reading.take(&certificate, &certificate.with_extension("key")) {
                reading.store.named.insert(name, pair);
            }
        }
        let Reading { mut store, first, bad, former: _ } = reading;
        store.default = store.default.or(first);
        (store, bad)
    }

    /// Of two pairs with one name, the first one serves it.
    fn add(&mut self, certificate: &Path, pair: &Arc<Pair>) {
        for host in pair.names() {
            match host {
                HostPattern::Exact(host) => self.exact.entry(host.clone()).or_insert_with(|| pair.clone()),
                HostPattern::Wildcard(base) => self.wildcard.entry(base.clone()).or_insert_with(|| pair.clone()),
                HostPattern::Any | HostPattern::Pattern(_) => continue,
            };
        }
        if stem(certificate) == Some(DEFAULT) {
            self.default.get_or_insert_with(|| pair.clone());
        }
        self.pairs.insert(certificate.to_owned(), pair.clone());
    }

    fn find(&self, name: &str) -> Option<&Arc<Pair>> {
        // A certificate's wildcard stands for one label (RFC 9525 section 6.3).
        self.exact.get(name).or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }
}

/// A store that is being read.
struct Reading<'a> {
    store: Store,
    /// The first pair of all.
    first: Option<Arc<Pair>>,
    bad: Vec<BadPair>,
    former: &'a Store,
}

impl Reading<'_> {
    /// Reads a pair and adds it, or its former version.
    fn take(&mut self, certificate: &Path, key: &Path) -> Option<Arc<Pair>> {
        // A file of the folder that is listed as well is listed.
        if let Some(known) = self.store.pairs.get(certificate) {
            return Some(known.clone());
        }
        let pair = match Pair::read(stem(certificate).unwrap_or_default(), certificate, key) {
            Ok(pair) => Arc::new(pair),
            Err(fault) => {
                let former = self.former.pairs.get(certificate).cloned();
                self.bad.push(BadPair { file: certificate.to_owned(), kept: former.is_some(), fault });
                former?
            }
        };
        self.store.add(certificate, &pair);
        self.first.get_or_insert_with(|| pair.clone());
        Some(pair)
    }
}

/// The name of a pair.
pub(super) fn stem(certificate: &Path) -> Option<&str> {
    certificate.file_stem().and_then(|stem| stem.to_str())
}

/// The certificates of a folder by the pair's name. Hidden files are a config map's machinery and editors' leavings.
fn certificate_files(folder: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)?.take(MAX_PAIRS * 3) {
        let path = entry?.path();
        let is_certificate = path.extension().is_some_and(|extension| extension == "crt" || extension == "pem");
        let name = stem(&path).filter(|name| !name.starts_with('.')).map(str::to_owned);
        if let (true, Some(name)) = (is_certificate && files.len() < MAX_PAIRS, name) {
            files.insert(name, path);
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
        assert_eq!((certificates.len(), bad.len()), (2, 1));
        assert!(bad[0].to_string().contains("bad.crt"), "{}", bad[0]);
        // A pair that is being replaced goes on being served in its former version.
        fs::write(folder.path().join("later.key"), "half written").unwrap();
        let bad = certificates.reload();
        assert!(bad.iter().any(|pair| pair.file.ends_with("later.crt") && pair.kept), "{bad:?}");
        assert!(certificates.current.load().find("later.example").is_some());
        // A key of another certificate is noticed.
        fs::copy(folder.path().join("good.key"), folder.path().join("later.key")).unwrap();
        let bad = certificates.reload();
        assert!(bad.iter().any(|pair| matches!(pair.fault, PairFault::Unusable(_))), "{bad:?}");
    }

    fn files(folder: &Path, certificate: &str, key: &str) -> PairFiles {
        PairFiles { certificate: folder.join(certificate), key: folder.join(key) }
    }

    /// The file of the certificate that serves a name.
    fn serving(certificates: &Certificates, name: &str) -> String {
        let store = certificates.current.load();
        let pair = store.find(name).or(store.default.as_ref()).unwrap();
        let (file, _) = store.pairs.iter().find(|(_, known)| Arc::ptr_eq(known, pair)).unwrap();
        file.file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn the_exact_name_goes_first_then_files_in_their_order_then_the_folder() {
        let (folder, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_pair(folder.path(), "a", &["a.test", "www.wild.test", "folder.test"]);
        write_pair(folder.path(), "b", &["folder.test"]);
        write_pair(beside.path(), "one", &["a.test", "*.wild.test"]);
        write_pair(beside.path(), "two", &["a.test", "two.test"]);
        let listed = |names: &[&str]| Places {
            files: names
                .iter()
                .map(|name| files(beside.path(), &format!("{name}.crt"), &format!("{name}.key")))
                .collect(),
            folder: Some(folder.path().to_owned()),
        };
        let serves = |names: &[&str], expected: &[(&str, &str)]| {
            let (certificates, bad) = Certificates::load_all(listed(names), None).unwrap();
            assert!(bad.is_empty(), "{bad:?}");
            for (name, file) in expected {
                assert_eq!(serving(&certificates, name), *file, "{name} of {names:?}");
            }
        };
        let ever = [("www.wild.test", "a.crt"), ("other.wild.test", "one.crt"), ("folder.test", "a.crt")];
        serves(&["one", "two"], &ever);
        serves(&["one", "two"], &[("a.test", "one.crt"), ("two.test", "two.crt"), ("unknown.test", "one.crt")]);
        serves(&["two", "one"], &ever);
        serves(&["two", "one"], &[("a.test", "two.crt"), ("unknown.test", "two.crt")]);
        // Who is called so serves all others, wherever it is.
        write_pair(folder.path(), "default", &["z.test"]);
        serves(&["one"], &[("unknown.test", "default.crt"), ("a.test", "one.crt")]);
    }

    #[test]
    fn one_file_may_hold_certificate_and_key_and_bad_ones_harm_only_themselves() {
        let folder = tempfile::tempdir().unwrap();
        write_pair(folder.path(), "good", &["good.test"]);
        let whole = rcgen::generate_simple_self_signed(["whole.test".to_owned()]).unwrap();
        let pem = format!("{}{}", whole.cert.pem(), whole.signing_key.serialize_pem());
        fs::write(folder.path().join("whole.pem"), &pem).unwrap();
        let places = Places {
            files: vec![
                files(folder.path(), "missing.crt", "missing.key"),
                files(folder.path(), "whole.pem", "whole.pem"),
                files(folder.path(), "good.crt", "good.key"),
            ],
            folder: None,
        };
        let (certificates, bad) = Certificates::load_all(places.clone(), None).unwrap();
        assert_eq!((certificates.len(), bad.len()), (2, 1));
        assert_eq!(serving(&certificates, "whole.test"), "whole.pem");
        assert_eq!(serving(&certificates, "good.test"), "good.crt");
        fs::write(folder.path().join("whole.pem"), "half written").unwrap();
        write_pair(folder.path(), "missing", &["late.test"]);
        let bad = certificates.reload();
        assert!(bad.len() == 1 && bad[0].kept, "{bad:?}");
        let problem = bad[0].problem();
        assert!(problem.file.ends_with("whole.pem") && problem.message.contains("no certificate"), "{problem:?}");
        assert_eq!(serving(&certificates, "late.test"), "missing.crt");
        assert_eq!(serving(&certificates, "whole.test"), "whole.pem", "as it was");
        // Whoever takes over from it takes that along.
        let (next, bad) = Certificates::load_all(places, Some(&certificates)).unwrap();
        assert!(bad[0].kept && serving(&next, "whole.test") == "whole.pem", "{bad:?}");
    }

    #[test]
    fn a_folder_that_goes_away_takes_no_file_along() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("folder");
        fs::create_dir(&folder).unwrap();
        write_pair(&folder, "inside", &["inside.test"]);
        write_pair(around.path(), "file", &["old.test"]);
        let places = Places { files: vec![files(around.path(), "file.crt", "file.key")], folder: Some(folder.clone()) };
        let (certificates, _) = Certificates::load_all(places, None).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        write_pair(around.path(), "file", &["new.test"]);
        let bad = certificates.reload();
        assert!(bad.iter().any(|pair| pair.file == folder), "{bad:?}");
        assert_eq!(serving(&certificates, "inside.test"), "inside.crt");
        assert_eq!(serving(&certificates, "new.test"), "file.crt");
    }
}
