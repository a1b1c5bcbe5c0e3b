//! Tells when a file, or what is in a folder, or one of several of these has changed.
//!
//! Editors and mounted config maps do not write into a file, they put another one (or a symlink's new target) in its
//! place: so the folder around the path is watched, and a change is what gives the path another fingerprint. What
//! happens to other files of the folder wakes the thread and nobody else.
//!
//! Invariants: changes coalesce, so a slow receiver costs nothing; the thread ends with the [`Watch`]. Where the
//! system cannot watch, or the folder goes away, the path is looked at every [`POLL`] until it is watched again.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

/// Watched paths, by one thread. Dropping it ends the watching.
#[derive(Debug)]
pub struct Watch {
    changes: watch::Receiver<u64>,
    stopping: Arc<AtomicBool>,
    wake: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

/// The receiving end: waits for the next change.
#[derive(Clone, Debug)]
pub struct Changes(watch::Receiver<u64>);

impl Watch {
    /// Watches a file or a folder, which need not exist yet.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn start(path: &Path) -> io::Result<Self> {
        Self::start_all(&[path.to_owned()])
    }

    /// Watches several files or folders; a change of any of them is one.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn start_all(paths: &[PathBuf]) -> io::Result<Self> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| absolute(path)).collect();
        let (wake, woken) = sync_channel(1);
        let (changed, changes) = watch::channel(0);
        let stopping = Arc::new(AtomicBool::new(false));
        let mut watcher = PathWatcher {
            fingerprint: fingerprint(&paths),
            paths,
            woken,
            wake: wake.clone(),
            stopping: stopping.clone(),
            changed,
            complained: false,
        };
        // Before this returns, so that no change after it is missed.
        let watched = watcher.watch();
        let thread = std::thread::Builder::new().name("watch".into()).spawn(move || watcher.run(watched))?;
        Ok(Self { changes, stopping, wake, thread: Some(thread) })
    }

    /// A count that rises with each change, for those who want the channel itself.
    pub fn receiver(&self) -> watch::Receiver<u64> {
        let mut receiver = self.changes.clone();
        receiver.mark_unchanged();
        receiver
    }

    /// A receiver of the changes from now on.
    pub fn changes(&self) -> Changes {
        Changes(self.receiver())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // A full channel wakes the thread as well.
        let _ = self.wake.try_send(());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the thread itself; the watching is over either way.
            let _ = thread.join();
        }
    }
}

impl Changes {
    /// Waits until the path has changed since the last call; several changes count as one. `false`: the watching has
    /// ended. Cancel safe.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// The thread's state.
struct PathWatcher {
    paths: Vec<PathBuf>,
    fingerprint: u64,
    woken: Receiver<()>,
    wake: SyncSender<()>,
    stopping: Arc<AtomicBool>,
    changed: watch::Sender<u64>,
    complained: bool,
}

/// A watch of the system, and the folders that it was set on.
struct Watched {
    // Held for its Drop: the system forgets the watch with it.
    _watcher: RecommendedWatcher,
    folders: Vec<(PathBuf, u64)>,
}

impl PathWatcher {
    fn run(mut self, mut watched: Option<Watched>) {
        loop {
            match self.woken.recv_timeout(POLL) {
                Ok(()) => self.settle(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            if watched.as_ref().is_none_or(|watched| watched.folders != folders(&self.paths)) {
                watched = self.watch();
            }
            let now = fingerprint(&self.paths);
            if now != self.fingerprint {
                self.fingerprint = now;
                self.changed.send_modify(|count| *count += 1);
            }
        }
    }

    /// Waits until nothing has happened for [`QUIET`], at most [`LONGEST_SETTLING`]: a file is being written.
    fn settle(&self) {
        let begin = Instant::now();
        while begin.elapsed() < LONGEST_SETTLING && !self.stopping.load(Ordering::Acquire) {
            if self.woken.recv_timeout(QUIET).is_err() {
                return;
            }
        }
    }

    /// Sets watches on the folders around and under the paths.
    fn watch(&mut self) -> Option<Watched> {
        match self.try_watch() {
            Ok(watched) => {
                self.complained = false;
                watched
            }
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!(paths = ?self.paths, %error, "cannot watch, looking at the paths from time to time");
                }
                None
            }
        }
    }

    fn try_watch(&self) -> notify::Result<Option<Watched>> {
        let folders = folders(&self.paths);
        if folders.is_empty() {
            return Ok(None);
        }
        let wake = self.wake.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the path is no change; were it one, every reader would wake itself.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                let _ = wake.try_send(());
            }
        })?;
        for (folder, _) in &folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        Ok(Some(Watched { _watcher: watcher, folders }))
    }
}

/// The folders whose entries make the paths, with their inodes, each once. Those that do not exist are left out.
fn folders(paths: &[PathBuf]) -> Vec<(PathBuf, u64)> {
    let all = paths.iter().flat_map(|path| folders_of(path));
    let mut folders: Vec<_> = all.filter_map(|folder| Some((folder.canonicalize().ok()?, folder))).collect();
    folders.sort();
    folders.dedup_by(|one, other| one.0 == other.0);
    folders.into_iter().filter_map(|(real, _)| std::fs::metadata(&real).ok().map(|m| (real, m.ino()))).collect()
}

/// The folder that a path is in, the one where its symlink's target is, itself if it is one.
fn folders_of(path: &Path) -> Vec<PathBuf> {
    let real = path.canonicalize().ok();
    let itself = real.clone().filter(|real| real.is_dir());
    let around = [path.parent(), real.as_deref().and_then(Path::parent)];
    around.into_iter().flatten().map(Path::to_owned).chain(itself).collect()
}

/// What tells two states of the paths apart.
fn fingerprint(paths: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in paths {
        hash_file(path, &mut hasher);
        if let Ok(entries) = std::fs::read_dir(path) {
            let mut names: Vec<PathBuf> = entries.flatten().take(MOST_ENTRIES).map(|entry| entry.path()).collect();
            names.sort();
            for name in &names {
                name.hash(&mut hasher);
                hash_file(name, &mut hasher);
            }
        }
        // What is under one path is not under the next.
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

/// Follows symlinks: another target is another file.
fn hash_file(path: &Path, hasher: &mut DefaultHasher) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    (metadata.dev(), metadata.ino(), metadata.len()).hash(hasher);
    (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()).hash(hasher);
}

/// The parent of a relative path of one part is the folder of the process.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// How often the path is looked at whatever the system tells.
const POLL: Duration = Duration::from_secs(2);

/// A change counts once nothing has happened for so long.
const QUIET: Duration = Duration::from_millis(50);

/// … or after so long without a pause.
const LONGEST_SETTLING: Duration = Duration::from_secs(1);

/// Entries of a folder that are looked at.
const MOST_ENTRIES: usize = 10_000;
