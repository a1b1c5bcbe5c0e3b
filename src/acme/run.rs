//! Keeps certificates: for each authority of the configuration a task that looks at its folder, answers what other instances
//! ask there, and orders what is due. On the control runtime.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::fault::OrderFault;
use super::folder::{Folder, Held, Lock, Record};
use super::metrics::AcmeMetrics;
use super::order::{Orders, blocking};
use super::schedule::{Seconds, due, pause, seconds};
use super::status::{AuthorityStatus, CertificateStatus, SharedStatus};
use super::wanted::{self, Choice, Wanted};
use crate::config::acme::AcmeConfig;
use crate::config::format_duration;
use crate::proxy::challenges::Challenges;
use crate::table::handle::TableHandle;

/// How often a folder's challenges and the routes are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the pairs are looked at, where nothing tells of a change.
const CHECK: Duration = Duration::from_secs(30);
/// How soon again, while another instance orders.
const OTHERS: Duration = Duration::from_secs(3);
/// The record of an authority as a whole; no host is called so.
const WHOLE: &str = "@authority";

/// What it is made of.
#[derive(Clone, Debug)]
pub struct AcmeParts {
    /// The tables: configuration and routes.
    pub table: Arc<TableHandle>,
    /// Where challenges are opened.
    pub challenges: Arc<Challenges>,
    /// What is counted.
    pub metrics: AcmeMetrics,
    /// What is seen.
    pub status: SharedStatus,
    /// Ends it.
    pub stop: CancellationToken,
}

/// Follows the configuration until it is told to stop.
pub async fn follow(parts: AcmeParts) {
    let (mut running, mut tasks) = (HashMap::new(), JoinSet::new());
    let (mut generations, stop) = (parts.table.watch(), parts.stop.clone());
    let run = async {
        let mut is_first = true;
        loop {
            let config = parts.table.load().config.clone();
            adopt(&parts, &config.proxy.acme, is_first, &mut running, &mut tasks);
            is_first = false;
            if generations.changed().await.is_err() {
                return;
            }
            // Tables come in storms; certificates do not.
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = run => {}
    }
    // Closes what is open: the next instance finds nothing left over.
    tasks.shutdown().await;
}

/// An authority that is followed, and how.
type Running = HashMap<Arc<str>, (AcmeConfig, AbortHandle)>;

/// Ends what is not wanted as it was, and begins what is new.
fn adopt(parts: &AcmeParts, wanted: &[AcmeConfig], is_first: bool, running: &mut Running, tasks: &mut JoinSet<()>) {
    running.retain(|name, (config, task)| {
        let stays = wanted.contains(config);
        if !stays {
            task.abort();
            parts.challenges.share(&Arc::from(config.folder.as_path()), Vec::new());
            if let Some(last) = parts.status.forget(name) {
                parts.metrics.forget(&last);
            }
        }
        stays
    });
    for config in wanted {
        if !running.contains_key(&config.name) {
            parts.metrics.begin(&config.name);
            // What an operator has changed is tried at once; what a restart changes is nothing.
            let since = if is_first { Seconds::MIN } else { now() };
            let task = tasks.spawn(Authority::new(parts, config, since).run());
            running.insert(config.name.clone(), (config.clone(), task));
        }
    }
}

/// An authority at work.
struct Authority {
    parts: AcmeParts,
    orders: Orders,
    place: Arc<Path>,
    /// Pauses that are older do not count.
    since: Seconds,
    running: JoinSet<Done>,
    ordered: BTreeSet<Arc<str>>,
    /// The right to order, while there is something to.
    lock: Option<Lock>,
    route_hosts: Vec<Arc<str>>,
    check_at: Instant,
    is_prepared: bool,
    /// What was complained of last: once, until it works again.
    complaint: Option<String>,
    left_out: usize,
}

/// An order that has ended.
struct Done {
    name: Arc<str>,
    ended: Result<(), (OrderFault, Option<Duration>)>,
}

/// What is in the folder, and what comes of it.
struct Survey {
    choice: Choice,
    certificates: Vec<Surveyed>,
    whole: Record,
}

struct Surveyed {
    wanted: Wanted,
    held: Option<Held>,
    record: Option<Record>,
    due: Seconds,
}

impl Authority {
    fn new(parts: &AcmeParts, config: &AcmeConfig, since: Seconds) -> Self {
        let orders = Orders {
            config: Arc::new(config.clone()),
            folder: Folder::new(&config.folder),
            challenges: parts.challenges.clone(),
            account: Arc::default(),
        };
        Self {
            parts: parts.clone(),
            orders,
            place: config.folder.as_path().into(),
            since,
            running: JoinSet::new(),
            ordered: BTreeSet::new(),
            lock: None,
            route_hosts: Vec::new(),
            check_at: Instant::now(),
            is_prepared: false,
            complaint: None,
            left_out: 0,
        }
    }

    async fn run(mut self) {
        loop {
            match self.look().await {
                Ok(()) => self.complaint = None,
                Err(error) => {
                    self.is_prepared = false;
                    self.complain(&error);
                }
            }
            // Both are cancel safe: an order that is not taken here is taken at the next look.
            tokio::select! {
                () = sleep(LOOK) => {}
                Some(done) = self.running.join_next() => {
                    if let Ok(done) = done {
                        self.has_ended(done).await;
                    }
                }
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        let (authority, folder) = (&self.orders.config.name, self.place.display());
        let text = error.to_string();
        if self.complaint.as_ref() != Some(&text) {
            warn!(%authority, %folder, %error, "the folder of certificates cannot be used; let this program read and write there, on a file system that has locks");
            self.complaint = Some(text);
        }
    }

    /// One look at everything.
    async fn look(&mut self) -> io::Result<()> {
        let folder = self.orders.folder.clone();
        if !self.is_prepared {
            let folder = folder.clone();
            blocking(move || folder.prepare()).await?;
            self.is_prepared = true;
        }
        let open = blocking({
            let folder = folder.clone();
            move || folder.challenges()
        });
        // Our own are among them: they are open as long as their order has them so.
        let open = open.await?.into_iter().filter(|_| self.ordered.is_empty()).collect();
        self.parts.challenges.share(&self.place, open);
        if !self.orders.config.route_hosts.is_empty() {
            let table = self.parts.table.load();
            let hosts = wanted::route_hosts(&self.orders.config, table.routes.exact.keys());
            if hosts != self.route_hosts {
                self.route_hosts = hosts;
                self.check_at = Instant::now();
            }
        }
        match Instant::now() < self.check_at {
            true => Ok(()),
            false => self.check().await,
        }
    }

    /// Looks at the pairs, and orders what is due if it is our turn.
    async fn check(&mut self) -> io::Result<()> {
        self.check_at = Instant::now() + CHECK;
        let mut survey = self.survey().await?;
        let mut other_orders = false;
        if self.lock.is_none() && survey.due(now()).next().is_some() {
            let folder = self.orders.folder.clone();
            let locked = blocking(move || match folder.lock()? {
                Some(lock) => folder.clean(&lock).map(|()| Some(lock)),
                None => Ok(None),
            });
            self.lock = locked.await?;
            other_orders = self.lock.is_none();
            if self.lock.is_some() {
                // Another instance may have ordered it just now.
                survey = self.survey().await?;
            }
        }
        if other_orders {
            self.check_at = Instant::now() + OTHERS;
        } else if self.lock.is_some() {
            self.forget(&survey.choice.over).await?;
            self.start(&survey);
            if self.ordered.is_empty() {
                self.lock = None;
            }
        }
        self.show(&survey, other_orders);
        // What becomes due before the next look at everything is not late for it.
        let next = survey.certificates.iter().map(|one| one.due).filter(|due| *due > now()).min();
        if let Some(wait) = next.and_then(|next| u64::try_from(next - now()).ok()) {
            self.check_at = self.check_at.min(Instant::now() + Duration::from_secs(wait).clamp(LOOK, CHECK));
        }
        Ok(())
    }

    async fn survey(&self) -> io::Result<Survey> {
        let (folder, config) = (self.orders.folder.clone(), self.orders.config.clone());
        let (route_hosts, since) = (self.route_hosts.clone(), self.since);
        blocking(move || Survey::of(&folder, &config, &route_hosts, since)).await
    }

    /// Removes pairs of hosts that have no route any more and whose certificate has ended.
    async fn forget(&self, names: &[Arc<str>]) -> io::Result<()> {
        let (folder, names) = (self.orders.folder.clone(), names.to_vec());
        blocking(move || names.iter().try_for_each(|name| folder.forget(name))).await
    }

    /// Begins what is due, as far as there is room.
    fn start(&mut self, survey: &Survey) {
        let now = now();
        for one in survey.due(now) {
            // Where the authority could not be asked, one order finds out whether it can be now.
            let most = if survey.whole.failures > 0 { 1 } else { self.orders.config.max_orders };
            if self.ordered.len() >= most {
                return;
            }
            if !self.ordered.insert(one.wanted.name.clone()) {
                continue;
            }
            let is_same =
                |known: &Record| known.directory == self.orders.config.directory && known.hosts == one.wanted.hosts;
            let before = match one.record.clone() {
                Some(known) if is_same(&known) => Record { changes: 0, ..known },
                Some(other) => Record { changes: other.changes.saturating_add(1), ..Record::default() },
                None => Record::default(),
            };
            self.running.spawn(attempt(self.orders.clone(), one.wanted.clone(), before));
        }
    }

    /// Takes note of an order that ended; the record of its certificate it has written itself.
    async fn has_ended(&mut self, done: Done) {
        self.ordered.remove(&done.name);
        self.check_at = Instant::now();
        let authority = self.orders.config.name.clone();
        self.parts.metrics.ended(&authority, done.ended.is_ok());
        let noted = match done.ended {
            Ok(()) => self.note_whole(None).await,
            Err((fault, told)) if fault.is_of_authority() => {
                if matches!(fault, OrderFault::Account(_)) {
                    let (folder, directory) = (self.orders.folder.clone(), self.orders.config.directory.clone());
                    let put = blocking(move || folder.put_account_aside(&directory)).await;
                    // Of orders that fail together the first one does it.
                    if let Err(error) = put.or_else(not_found) {
                        warn!(%authority, %error, "the account that the authority does not know cannot be put aside");
                    }
                }
                self.note_whole(Some((fault.to_string(), told))).await
            }
            Err(_) => Ok(()),
        };
        if let Err(error) = noted {
            self.complain(&error);
        }
    }

    /// Writes down whether the authority can be asked. Orders that failed together count once.
    async fn note_whole(&self, fault: Option<(String, Option<Duration>)>) -> io::Result<()> {
        let (folder, config) = (self.orders.folder.clone(), self.orders.config.clone());
        blocking(move || {
            let found = whole(folder.records()?.into_iter(), &config);
            let now = now();
            let record = match fault {
                None if found.failures == 0 => return Ok(()),
                Some(_) if now < found.next => return Ok(()),
                None => Record { directory: config.directory.clone(), tried: now, ..Record::default() },
                Some((error, told)) => {
                    let failures = found.failures.saturating_add(1);
                    let wait = pause(failures, &config, told, &mut fastrand::Rng::new());
                    let next = after(wait);
                    let (directory, error) = (config.directory.clone(), Some(error));
                    Record { directory, failures, tried: now, next, error, ..Record::default() }
                }
            };
            folder.note(WHOLE, &record)
        })
        .await
    }

    fn show(&mut self, survey: &Survey, other_orders: bool) {
        let config = &self.orders.config;
        let left_out = survey.choice.left_out.len();
        if left_out > 0 && left_out != self.left_out {
            let (authority, most) = (&config.name, config.max_route_hosts);
            warn!(%authority, left_out, most, first = %survey.choice.left_out[0], "hosts of routes get no certificate; raise `max_route_hosts`, or let `route_hosts` stand for fewer");
        }
        self.left_out = left_out;
        let certificates = survey.certificates.iter().map(|one| one.status(&self.ordered));
        let status = AuthorityStatus {
            name: config.name.clone(),
            directory: config.directory.clone(),
            folder: self.place.display().to_string(),
            other_orders,
            error: survey.whole.error.clone(),
            certificates: certificates.collect(),
            left_out: survey.choice.left_out.clone(),
        };
        let former = self.parts.status.show(status.clone());
        self.parts.metrics.show(former.as_ref(), &status);
    }
}

/// The record of the authority as a whole, if it is of this directory.
fn whole(mut records: impl Iterator<Item = (Arc<str>, Record)>, config: &AcmeConfig) -> Record {
    let found = records.find(|(name, record)| **name == *WHOLE && record.directory == config.directory);
    found.map(|(_, record)| record).unwrap_or_default()
}

impl Survey {
    /// Looks. Blocks.
    fn of(folder: &Folder, config: &AcmeConfig, route_hosts: &[Arc<str>], since: Seconds) -> io::Result<Self> {
        let mut records: BTreeMap<_, _> = folder.records()?.into_iter().collect();
        // An operator has changed something since.
        for record in records.values_mut().filter(|record| record.tried < since) {
            record.next = 0;
        }
        let whole = whole(records.remove_entry(WHOLE).into_iter(), config);
        let choice = wanted::choose(config, route_hosts, &records, |name| folder.held(name, &[]), now());
        let survey = |wanted: &Wanted| {
            let held = folder.held(&wanted.name, &wanted.hosts);
            let record = records.get(&wanted.name).cloned();
            let due = due(wanted, held.as_ref(), record.as_ref(), config).max(whole.next);
            Surveyed { wanted: wanted.clone(), held, record, due }
        };
        let certificates = choice.wanted.iter().map(survey).collect();
        Ok(Self { choice, certificates, whole })
    }

    /// What is due, the longest first.
    fn due(&self, now: Seconds) -> impl Iterator<Item = &Surveyed> {
        let mut due: Vec<_> = self.certificates.iter().filter(|one| one.due <= now).collect();
        due.sort_by_key(|one| one.due);
        due.into_iter()
    }
}

impl Surveyed {
    fn status(&self, ordered: &BTreeSet<Arc<str>>) -> CertificateStatus {
        let state = match &self.held {
            _ if ordered.contains(&self.wanted.name) => "ordering",
            None => "missing",
            Some(held) if held.ends <= now() => "ended",
            Some(_) => "valid",
        };
        let record = self.record.clone().unwrap_or_default();
        CertificateStatus {
            name: self.wanted.name.clone(),
            hosts: self.wanted.hosts.clone(),
            of_route: self.wanted.of_route,
            state: state.into(),
            ends: self.held.as_ref().map(|held| held.ends),
            next_order: self.due,
            failures: record.failures,
            error: record.error,
        }
    }
}

/// One order, with what is written down before and after it.
async fn attempt(orders: Orders, wanted: Wanted, before: Record) -> Done {
    let name = wanted.name.clone();
    let ended = attempt_noted(&orders, &wanted, before).await;
    Done { name, ended }
}

async fn attempt_noted(orders: &Orders, wanted: &Wanted, before: Record) -> Result<(), (OrderFault, Option<Duration>)> {
    let config = &orders.config;
    let (authority, pair) = (&config.name, &wanted.name);
    let begun = Record {
        directory: config.directory.clone(),
        hosts: wanted.hosts.clone(),
        of_route: wanted.of_route,
        tried: now(),
        // Whatever becomes of this program meanwhile.
        next: after(config.retry),
        ..before
    };
    let noted = |record: Record| {
        let (folder, pair) = (orders.folder.clone(), pair.clone());
        blocking(move || folder.note(&pair, &record))
    };
    noted(begun.clone()).await.map_err(|error| (OrderFault::Keep(error), None))?;
    info!(%authority, %pair, hosts = ?wanted.hosts, challenge = config.challenge.as_str(), "a certificate is ordered");
    match orders.run(wanted).await {
        Ok(held) => {
            info!(%authority, %pair, hosts = ?wanted.hosts, ends = %date(held.ends), "a certificate is issued");
            let record = Record { failures: 0, error: None, ..begun };
            noted(record).await.map_err(|error| (OrderFault::Keep(error), None))
        }
        Err((fault, told)) => {
            // What is the authority's counts there: when it is back, no order waits for longer than need be.
            let failures = if fault.is_of_authority() { begun.failures } else { begun.failures.saturating_add(1) };
            let wait = match fault.is_of_authority() {
                true => config.retry,
                false => pause(failures, config, told, &mut fastrand::Rng::new()),
            };
            let again = format_duration(Duration::from_secs(wait.as_secs()));
            warn!(%authority, %pair, %fault, failures, %again, "no certificate is issued; the one that is there is served until it ends");
            let next = after(wait);
            let record = Record { failures, next, error: Some(fault.to_string()), ..begun };
            match noted(record).await {
                Ok(()) => Err((fault, told)),
                Err(error) => Err((OrderFault::Keep(error), None)),
            }
        }
    }
}

fn not_found(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn date(at: Seconds) -> httpdate::HttpDate {
    (UNIX_EPOCH + Duration::from_secs(u64::try_from(at).unwrap_or_default())).into()
}

fn now() -> Seconds {
    Seconds::try_from(present().as_secs()).unwrap_or(Seconds::MAX)
}

/// The first whole second after a pause from now.
fn after(pause: Duration) -> Seconds {
    seconds(present().saturating_add(pause))
}

fn present() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
