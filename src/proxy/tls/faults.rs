//! What is wrong with files of TLS, for whoever shows problems.
//!
//! Whoever reads files has a [`Told`]: what is said by it stands until it says something else, or is dropped. A fault may
//! lie in the future: a list that will be out of date. Nothing here reads a clock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts, Registry};
use tokio::sync::watch;

use super::der::Seconds;
use crate::model::problem::{Problem, ProblemCode};

/// Problems and numbers that are shown at most.
const MOST: usize = 1000;
/// A clock may be set while somebody waits for it.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What is wrong with a file, or will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// What kind of fault it is.
    pub code: ProblemCode,
    /// The file.
    pub file: PathBuf,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub mend: &'static str,
    /// From when on; `None`: it is now.
    pub from: Option<Seconds>,
}

/// All that was told.
#[derive(Clone, Debug, Default)]
pub struct FileFaults(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    told: Mutex<(u64, BTreeMap<u64, Vec<FileFault>>)>,
    version: watch::Sender<u64>,
}

/// What one reader of files tells; taken back with its end.
#[derive(Debug)]
pub struct Told {
    board: FileFaults,
    number: u64,
}

impl FileFaults {
    /// For one more reader of files.
    pub fn reader(&self) -> Told {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.0 += 1;
        Told { board: self.clone(), number: told.0 }
    }

    /// A count that rises with each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// The problems that there are at `now`, each once, and when there will be more.
    pub fn problems(&self, now: Seconds) -> (Vec<Problem>, Option<Seconds>) {
        let faults = self.all();
        let (due, later): (Vec<_>, Vec<_>) =
            faults.into_iter().partition(|fault| fault.from.is_none_or(|at| at <= now));
        let mut problems: Vec<Problem> = due.iter().map(FileFault::problem).collect();
        problems.sort();
        problems.dedup();
        problems.truncate(MOST);
        (problems, later.iter().filter_map(|fault| fault.from).min())
    }

    /// Shows when lists of revoked certificates end.
    ///
    /// # Errors
    /// If it is shown already.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let help = "When a list of revoked certificates is out of date, since 1970.";
        let gauge = IntGaugeVec::new(Opts::new("pointsman_proxy_revocation_list_ends_seconds", help), &["file"])?;
        registry.register(Box::new(ListEnds { faults: self.clone(), gauge }))
    }

    fn all(&self) -> Vec<FileFault> {
        let told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.1.values().flatten().cloned().collect()
    }
}

impl Told {
    /// Takes the place of whatever was said before.
    pub fn say(&self, faults: Vec<FileFault>) {
        self.put(faults);
    }

    fn put(&self, faults: Vec<FileFault>) {
        let mut told = self.board.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let has_changed = told.1.remove(&self.number).unwrap_or_default() != faults;
        if !faults.is_empty() {
            told.1.insert(self.number, faults);
        }
        drop(told);
        if has_changed {
            self.board.0.version.send_modify(|version| *version += 1);
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.put(Vec::new());
    }
}

impl FileFault {
    fn problem(&self) -> Problem {
        Problem {
            code: self.code,
            subject: self.file.display().to_string().into(),
            at: "".into(),
            message: self.message.as_str().into(),
            mend: self.mend.into(),
        }
    }
}

/// The time, as certificates have it.
pub fn now() -> Seconds {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Seconds::try_from(now).unwrap_or(Seconds::MAX)
}

/// Waits until the clock on the wall shows that time; without one, for ever. Cancel safe.
pub async fn reached(at: Option<Seconds>) {
    let Some(at) = at else { return std::future::pending().await };
    loop {
        let Ok(left) = u64::try_from(at - now()) else { return };
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(left).min(LOOK_AGAIN)).await;
    }
}

struct ListEnds {
    faults: FileFaults,
    gauge: IntGaugeVec,
}

impl Collector for ListEnds {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Held to the end: another scrape at the same time would find half of it.
        let told = self.faults.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ends: BTreeMap<&Path, Seconds> = BTreeMap::new();
        for fault in told.1.values().flatten() {
            if let (ProblemCode::InvalidRevocationList, Some(at)) = (fault.code, fault.from) {
                // Of several lists in one file the first that ends.
                let known = ends.entry(&fault.file).or_insert(at);
                *known = at.min(*known);
            }
        }
        self.gauge.reset();
        for (file, at) in ends.into_iter().take(MOST) {
            self.gauge.with_label_values(&[&*file.display().to_string()]).set(at);
        }
        self.gauge.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(file: &str, from: Option<Seconds>) -> FileFault {
        let message = "it is wrong".to_owned();
        FileFault { code: ProblemCode::InvalidRevocationList, file: file.into(), message, mend: "mend it", from }
    }

    #[test]
    fn what_was_told_stands_until_its_reader_says_otherwise_or_is_gone() {
        let faults = FileFaults::default();
        let changes = faults.changes();
        let (one, two) = (faults.reader(), faults.reader());
        one.say(vec![fault("b", None), fault("a", Some(100))]);
        two.say(vec![fault("b", None)]);
        let subjects = |now| {
            let (problems, next) = faults.problems(now);
            (problems.iter().map(|problem| problem.subject.to_string()).collect::<Vec<_>>(), next)
        };
        assert_eq!(subjects(99), (vec!["b".to_owned()], Some(100)), "two readers of one file say it once");
        assert_eq!(subjects(100), (vec!["a".to_owned(), "b".to_owned()], None));
        let seen = *changes.borrow();
        one.say(vec![fault("b", None), fault("a", Some(100))]);
        assert_eq!(*changes.borrow(), seen, "nothing new was said");
        one.say(Vec::new());
        assert_eq!(subjects(100).0, ["b"]);
        drop(two);
        assert_eq!(subjects(100), (Vec::new(), None));
        assert_eq!(*changes.borrow(), seen + 2);
    }

    #[test]
    fn the_end_of_a_list_is_a_number_for_as_long_as_it_is_used() {
        let (faults, registry) = (FileFaults::default(), Registry::new());
        faults.register(&registry).unwrap();
        let text = || prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let reader = faults.reader();
        reader.say(vec![fault("/a.crl", Some(200)), fault("/a.crl", Some(100)), fault("/b.crl", None)]);
        assert!(text().contains("revocation_list_ends_seconds{file=\"/a.crl\"} 100"), "{}", text());
        assert!(!text().contains("/b.crl"), "{}", text());
        drop(reader);
        assert!(!text().contains("file="), "{}", text());
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_has_come_is_not_waited_for() {
        reached(Some(now() - 5)).await;
        let waits = tokio::time::timeout(Duration::from_secs(3600), reached(None)).await;
        assert!(waits.is_err());
    }
}
