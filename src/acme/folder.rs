//! The folder of an authority: pairs as listeners read them, and in `.acme` what belongs to ordering them. Everything here
//! waits for the disk.
//!
//! ```text
//! NAME.crt, NAME.key        the pairs
//! .acme/account-….json      the account and its key, by directory
//! .acme/records/NAME.json   what is known of the orders for a pair
//! .acme/challenges/TOKEN    challenges that are open, for every instance to answer
//! .acme/new/NAME.crt        a certificate whose key is being put in place
//! .acme/lock                who orders (flock)
//! ```
//!
//! Files are written beside and renamed over: nobody reads half of one. Of a pair, the key is first; until the certificate
//! follows, readers keep what they have, and if this program ends just there, the next one finishes the step.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::proxy::challenges::{Challenge, is_token};
use crate::proxy::tls::pair::Pair;

/// The largest file of ours that is read.
const LARGEST: u64 = 256 * 1024;
/// Challenges of other instances that are answered at most.
const MOST_CHALLENGES: usize = 10_000;
/// Folders within `.acme`.
const PARTS: [&str; 3] = ["records", "challenges", "new"];
/// Modes: keys and what they are got by belong to this program alone.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// The folder of an authority.
#[derive(Clone, Debug)]
pub struct Folder(Arc<Path>);

/// That this instance orders, and no other, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// What is known of the orders for a pair, or of an authority as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who was asked.
    pub directory: Arc<str>,
    /// For what.
    pub hosts: Vec<Arc<str>>,
    /// It is a route's host, not one of the configuration.
    pub of_route: bool,
    /// Orders that failed since the last one that did not.
    pub failures: u32,
    /// Orders in a row for other hosts, or at another directory, than the one before.
    #[serde(default)]
    pub changes: u32,
    /// When the last order began, in seconds since 1970.
    pub tried: i64,
    /// Not before this the next one begins.
    pub next: i64,
    /// Why the last one failed, and the mend.
    pub error: Option<String>,
}

/// A pair on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// When it begins, in seconds since 1970.
    pub begins: i64,
    /// When it ends.
    pub ends: i64,
    /// It is for every host that was asked about.
    pub covers: bool,
}

impl Folder {
    /// A folder; nothing is looked at yet.
    pub fn new(path: &Path) -> Self {
        Self(path.into())
    }

    /// Makes what is not there yet.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn prepare(&self) -> io::Result<()> {
        let mut private = DirBuilder::new();
        let private = private.recursive(true).mode(0o700);
        private.create(&self.0)?;
        for part in PARTS {
            private.create(self.own(part))?;
        }
        Ok(())
    }

    /// What [`Folder::prepare`] would make, innermost first.
    pub fn missing(&self) -> Vec<PathBuf> {
        let parts = PARTS.map(|part| self.own(part));
        let above = self.own("").ancestors().map(Path::to_owned).collect::<Vec<_>>();
        let is_missing = |folder: &PathBuf| !folder.as_os_str().is_empty() && !folder.exists();
        parts.into_iter().chain(above).filter(is_missing).collect()
    }

    /// The right to order, if no other instance has it.
    ///
    /// # Errors
    /// The file system has no locks, or the folder cannot be written to.
    pub fn lock(&self) -> io::Result<Option<Lock>> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(PRIVATE).open(self.own("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Finishes what an instance that ended midway has begun, and closes the challenges that it left open. Only with the lock.
    ///
    /// # Errors
    /// The folder cannot be read or written to.
    pub fn clean(&self, _lock: &Lock) -> io::Result<()> {
        for entry in fs::read_dir(self.own("challenges"))? {
            fs::remove_file(entry?.path())?;
        }
        for entry in fs::read_dir(self.own("new"))? {
            let path = entry?.path();
            let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            // Its key is in place, or it belongs to none.
            match Pair::read(name, &path, &self.pair(name).1) {
                Ok(_) => fs::rename(&path, self.pair(name).0)?,
                Err(_) => fs::remove_file(&path)?,
            }
        }
        Ok(())
    }

    /// The pair called `name`, as far as it can be used; whether it is for `hosts`.
    pub fn held(&self, name: &str, hosts: &[Arc<str>]) -> Option<Held> {
        let (certificate, key) = self.pair(name);
        let pair = Pair::read(name, &certificate, &key).ok()?;
        let (begins, ends) = pair.validity()?;
        Some(Held { begins, ends, covers: hosts.iter().all(|host| pair.covers(host)) })
    }

    /// Keeps a pair in place of the last one.
    ///
    /// # Errors
    /// They do not belong together or are for other hosts, or cannot be written.
    pub fn keep(&self, name: &str, hosts: &[Arc<str>], certificate: &str, key: &str) -> io::Result<Held> {
        let (chain, secret) = self.pair(name);
        let (new, new_key) = (self.own("new").join(format!("{name}.crt")), self.own("new").join(format!("{name}.key")));
        write(&new, certificate.as_bytes(), PUBLIC)?;
        write(&new_key, key.as_bytes(), PRIVATE)?;
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let checked = Pair::read(name, &new, &new_key).map_err(|error| wrong(error.to_string())).and_then(|pair| {
            let (begins, ends) = pair.validity().ok_or_else(|| wrong("the certificate has no times".into()))?;
            let missing = hosts.iter().find(|host| !pair.covers(host));
            match missing {
                Some(host) => Err(wrong(format!("the certificate is not for {host}"))),
                None => Ok(Held { begins, ends, covers: true }),
            }
        });
        if checked.is_err() {
            fs::remove_file(&new)?;
            fs::remove_file(&new_key)?;
            return checked;
        }
        fs::rename(new_key, secret)?;
        fs::rename(new, chain)?;
        sync(&self.0)?;
        checked
    }

    /// Removes a pair and what is known of it.
    ///
    /// # Errors
    /// A file is there and cannot be removed.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        let (certificate, key) = self.pair(name);
        for path in [certificate, key, self.record_path(name)] {
            remove(&path)?;
        }
        Ok(())
    }

    /// What is known of orders, by the pair's name.
    ///
    /// # Errors
    /// The folder cannot be read. Files that cannot be are left out: what they knew is found out anew.
    pub fn records(&self) -> io::Result<Vec<(Arc<str>, Record)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.own("records"))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
            if let Some(name) = name.filter(|name| !name.starts_with('.'))
                && let Some(record) = read(&path)?
            {
                all.push((name.into(), record));
            }
        }
        Ok(all)
    }

    /// Writes down what is known of the orders for a pair.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(&self, name: &str, record: &Record) -> io::Result<()> {
        write(&self.record_path(name), &serde_json::to_vec_pretty(record)?, PRIVATE)
    }

    /// The account at a directory.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn account<T: DeserializeOwned>(&self, directory: &str) -> io::Result<Option<T>> {
        read(&self.account_path(directory))
    }

    /// Keeps the account at a directory.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_account(&self, directory: &str, account: &impl Serialize) -> io::Result<()> {
        write(&self.account_path(directory), &serde_json::to_vec_pretty(account)?, PRIVATE)
    }

    /// Puts an account aside that the authority does not know any more.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn put_account_aside(&self, directory: &str) -> io::Result<()> {
        let path = self.account_path(directory);
        fs::rename(&path, path.with_extension("refused"))
    }

    /// Writes a challenge down for every instance.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(&self, challenge: &Challenge) -> io::Result<()> {
        write(&self.challenge_path(challenge), &serde_json::to_vec(challenge)?, PRIVATE)
    }

    /// Takes it back.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn close(&self, challenge: &Challenge) -> io::Result<()> {
        remove(&self.challenge_path(challenge))
    }

    /// The challenges that are open, whoever opened them.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn challenges(&self) -> io::Result<Vec<Challenge>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.own("challenges"))?.take(MOST_CHALLENGES) {
            let path = entry?.path();
            let is_one = path.file_name().and_then(|name| name.to_str()).is_some_and(is_token);
            // One that is closed just now is gone.
            if is_one && let Some(challenge) = read::<Challenge>(&path)? {
                all.push(challenge);
            }
        }
        Ok(all)
    }

    /// The files of a pair.
    fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.0.join(format!("{name}.crt")), self.0.join(format!("{name}.key")))
    }

    fn own(&self, part: &str) -> PathBuf {
        self.0.join(".acme").join(part)
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.own("records").join(format!("{name}.json"))
    }

    /// Tokens are checked to be of base64url before they come here.
    fn challenge_path(&self, challenge: &Challenge) -> PathBuf {
        self.own("challenges").join(&*challenge.token)
    }

    fn account_path(&self, directory: &str) -> PathBuf {
        let told = digest(&SHA256, directory.as_bytes());
        let short: String = told.as_ref().iter().take(8).map(|octet| format!("{octet:02x}")).collect();
        self.own(&format!("account-{short}.json"))
    }
}

/// What a file says; `None`: it is not there, or no longer what we write.
fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes)) {
        Ok(_) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file whole, with this mode from the first octet on.
fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        // The file may have been left by a process that was cut off.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().inspect_err(|_| drop(fs::remove_file(&beside)))?;
    path.parent().map_or(Ok(()), sync)
}

/// A rename is on disk once its folder is.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::acme::ChallengeKind;

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(&place.path().join("certificates"));
        folder.prepare().unwrap();
        (place, folder)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn issued(hosts: &[&str]) -> (String, String) {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(hosts).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn pairs_are_kept_whole_and_their_keys_private() {
        let (_place, folder) = folder();
        let hosts: Vec<Arc<str>> = vec!["a.test".into(), "b.test".into()];
        assert_eq!(folder.held("a.test", &hosts), None);
        let (certificate, key) = issued(&["a.test", "b.test"]);
        let held = folder.keep("a.test", &hosts, &certificate, &key).unwrap();
        assert_eq!(folder.held("a.test", &hosts), Some(held));
        assert_eq!((mode(&folder.pair("a.test").1), mode(&folder.0)), (0o600, 0o700));
        // What does not fit leaves what is there as it is.
        let (_, other) = issued(&["a.test"]);
        assert!(folder.keep("a.test", &hosts, &certificate, &other).is_err());
        let (narrow, its) = issued(&["a.test"]);
        let fault = folder.keep("a.test", &hosts, &narrow, &its).unwrap_err();
        assert!(fault.to_string().contains("b.test"), "{fault}");
        assert!(folder.held("a.test", &hosts).unwrap().covers);
        assert_eq!(fs::read_dir(folder.own("new")).unwrap().count(), 0);
        folder.forget("a.test").unwrap();
        assert_eq!(folder.held("a.test", &hosts), None);
    }

    #[test]
    fn one_instance_has_the_lock_and_cleans_up_after_another() {
        let (_place, folder) = folder();
        let lock = folder.lock().unwrap().unwrap();
        assert!(folder.lock().unwrap().is_none());
        // It ended between the two renames of a pair, and with a challenge open.
        let (certificate, key) = issued(&["a.test"]);
        fs::write(folder.own("new").join("a.test.crt"), certificate).unwrap();
        fs::write(folder.pair("a.test").1, key).unwrap();
        fs::write(folder.own("new").join("b.test.crt"), issued(&["b.test"]).0).unwrap();
        let challenge = Challenge {
            kind: ChallengeKind::Http01,
            host: "a.test".into(),
            token: "one".into(),
            authorization: "one.two".into(),
        };
        folder.open(&challenge).unwrap();
        assert_eq!(folder.challenges().unwrap(), [challenge]);
        drop(lock);
        folder.clean(&folder.lock().unwrap().unwrap()).unwrap();
        assert!(folder.held("a.test", &["a.test".into()]).is_some());
        assert_eq!((folder.held("b.test", &[]), folder.challenges().unwrap()), (None, Vec::new()));
    }

    #[test]
    fn records_and_accounts_are_read_back() {
        let (_place, folder) = folder();
        let record = Record { failures: 3, hosts: vec!["a.test".into()], ..Record::default() };
        folder.note("a.test", &record).unwrap();
        fs::write(folder.record_path("b.test"), "nonsense").unwrap();
        assert_eq!(folder.records().unwrap(), [("a.test".into(), record)]);
        assert_eq!(folder.account::<String>("https://one").unwrap(), None);
        folder.keep_account("https://one", &"secret").unwrap();
        assert_eq!(folder.account::<String>("https://one").unwrap().as_deref(), Some("secret"));
        assert_eq!(folder.account::<String>("https://two").unwrap(), None);
        assert_eq!(mode(&folder.account_path("https://one")), 0o600);
        folder.put_account_aside("https://one").unwrap();
        assert_eq!(folder.account::<String>("https://one").unwrap(), None);
    }
}
