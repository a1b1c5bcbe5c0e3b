//! The state on disk: facts, claims and deadlines, not the table. After a restart the table is derived from it with
//! the configuration of the day.
//!
//! Format: an 8-byte magic, a version, then records, each with its length and checksum, and a last record that
//! counts them. A file is written whole beside the old one, synced and renamed over it; a file that is damaged,
//! foreign or of another version is refused, and the start goes on without it.

use crate::model::hash::{HashMap, HashSet};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use serde::{Deserialize, Serialize};

use super::by_source::{BySource, SourceRank};
use super::deadline::Deadline;
use super::event::{DeclaredApp, DeclaredService, HostAddresses, StaticRecord};
use super::guard::{Doubt, Held};
use super::ledger::{Claim, Ledger, Place, ServiceRecord, ZoneVersion};
use super::records::{RecordsBuilder, StaticRecords};
use super::source::SourceKind;
use super::state::ClusterState;
use crate::config::Config;
use crate::model::actions::Actions;
use crate::model::agent::AgentFacts;
use crate::model::check::Verdicts;
use crate::model::drain::{DrainOrder, DrainSubject, Drains};
use crate::model::framework::FrameworkFacts;
use crate::model::id::{AgentId, ClusterName, FrameworkId, ServiceId, SourceName, TaskKey};
use crate::model::intern::Interner;
use crate::model::network::MastersFacts;
use crate::model::persistent::PersistentMap;
use crate::model::rules::Rules;
use crate::model::task::{TaskDefinition, TaskFacts, TaskNetworks};
use crate::model::time::Timestamp;
use crate::model::weights::{WeightOrder, Weights};

const MAGIC: &[u8; 8] = b"PNTSMAN\0";
const VERSION: u32 = 6;
/// A record is one thing (a task, an agent, some DNS records): none is larger than this.
const MAX_RECORD: u32 = 256 << 20;

/// Why a stored state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no state of ours.
    #[error("{0}: not a stored state (the first bytes are others)")]
    Foreign(PathBuf),
    /// It was written by another version.
    #[error("{path}: written in format {found}, this version reads format {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// The format it is in.
        found: u32,
    },
    /// A record's checksum or content is wrong, or the end is missing.
    #[error("{path}: damaged at byte {at}: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// How it shows.
        why: String,
    },
}

/// An immutable view of the state, cheap to take: whoever writes it to disk holds nobody up.
#[derive(Debug)]
pub struct StateView {
    taken_at: Timestamp,
    sources: Vec<StoredSource>,
    tasks: PersistentMap<TaskKey, BySource<TaskFacts>>,
    agents: PersistentMap<(ClusterName, AgentId), BySource<AgentFacts>>,
    frameworks: PersistentMap<(ClusterName, FrameworkId), BySource<FrameworkFacts>>,
    declared: PersistentMap<ServiceId, BySource<DeclaredService>>,
    apps: PersistentMap<TaskKey, BySource<DeclaredApp>>,
    records: Vec<(SourceName, StaticRecords)>,
    hosts: Arc<HostAddresses>,
    ledger: Ledger,
    deadlines: Vec<(Timestamp, Deadline)>,
    verdicts: PersistentMap<TaskKey, Arc<Verdicts>>,
    drains: Drains,
    weights: Weights,
}

/// What is stored of a source; its place in the list is its rank.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredSource {
    name: SourceName,
    kind: SourceKind,
    cluster: ClusterName,
    complete: bool,
    masters: MastersFacts,
    recovered: Vec<AgentId>,
    unconfirmed: Vec<TaskKey>,
    held: Option<StoredHeld>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredHeld {
    tasks: Vec<TaskKey>,
    of: usize,
    since: Timestamp,
    filtered: bool,
}

#[derive(Serialize, Deserialize)]
enum Record {
    Header {
        taken_at: Timestamp,
        sources: Vec<StoredSource>,
    },
    Task(Vec<(SourceRank, TaskFacts)>),
    Agent(Vec<(SourceRank, AgentFacts)>),
    Framework(Vec<(SourceRank, FrameworkFacts)>),
    Declared(Vec<(SourceRank, DeclaredService)>),
    Records(SourceName, Vec<StaticRecord>),
    Service(ServiceId, ServiceRecord),
    Name(ClusterName, Arc<str>, Timestamp),
    Serial(Arc<str>, u32),
    Deadline(Timestamp, Deadline),
    End {
        records: u64,
    },
    /// Since 0.2. At the end: records are told apart by their place here.
    Verdicts(TaskKey, Verdicts),
    /// What an operator took out of service.
    Drain(DrainSubject, DrainOrder),
    /// What routes of a service do. After its service.
    Actions(ServiceId, Vec<(Place, Actions)>),
    /// Shares of versions that an operator ordered.
    Weights(ServiceId, WeightOrder),
    /// Filters of a service without tasks, by name. After its service.
    Filters(ServiceId, Box<[Arc<str>]>),
    /// A number for what a zone has. After its serial.
    Content(Arc<str>, u64),
    /// An app that exists with or without tasks.
    App(Vec<(SourceRank, DeclaredApp)>),
    /// More records of a source. After those that come first.
    MoreRecords(SourceName, Vec<StaticRecord>),
    /// Addresses of hosts that schedulers are known by alone.
    Hosts(HostAddresses),
}

impl ClusterState {
    /// A view of everything that is stored.
    pub fn view(&self, now: Timestamp) -> StateView {
        let stored = |name: &SourceName| {
            let source = self.sources.get(name)?;
            // Doubt of an empty view is not kept: the next view is judged by itself.
            let held = source.held.as_ref().filter(|held| held.doubt != Doubt::Empty).map(|held| StoredHeld {
                tasks: held.tasks.iter().cloned().collect(),
                of: held.of,
                since: held.since,
                filtered: held.doubt == Doubt::Filtered,
            });
            Some(StoredSource {
                name: name.clone(),
                kind: source.kind,
                cluster: source.cluster.clone(),
                complete: source.complete,
                masters: source.masters.clone(),
                recovered: source.recovered.iter().cloned().collect(),
                unconfirmed: source.unconfirmed.iter().cloned().collect(),
                held,
            })
        };
        StateView {
            taken_at: now,
            sources: self.ranks().iter().filter_map(stored).collect(),
            tasks: self.tasks.clone(),
            agents: self.agents.clone(),
            frameworks: self.frameworks.clone(),
            declared: self.declared.clone(),
            apps: self.apps.clone(),
            records: self.sources.iter().map(|(name, source)| (name.clone(), source.records.clone())).collect(),
            hosts: self.hosts.clone(),
            ledger: self.ledger.clone(),
            deadlines: self.deadlines.iter().cloned().collect(),
            verdicts: self.verdicts.clone(),
            drains: self.drains.clone(),
            weights: self.weights.clone(),
        }
    }
}

impl StateView {
    /// When it was taken.
    pub fn taken_at(&self) -> Timestamp {
        self.taken_at
    }

    /// Writes the view to `path`, atomically, readable by its owner alone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), StoreError> {
        let error = |source| StoreError::Io { path: path.to_owned(), source };
        let beside = path.with_extension("tmp");
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(error)?;
        // A file that was left there keeps the mode it had.
        file.set_permissions(Permissions::from_mode(0o600)).map_err(error)?;
        let written = self.write(BufWriter::with_capacity(1 << 20, file)).and_then(|mut out| {
            out.flush()?;
            out.get_ref().sync_all()
        });
        if let Err(source) = written.and_then(|()| std::fs::rename(&beside, path)) {
            let _ = std::fs::remove_file(&beside);
            return Err(error(source));
        }
        // The rename itself is on disk once its directory is.
        if let Some(Ok(directory)) = path.parent().filter(|p| !p.as_os_str().is_empty()).map(File::open) {
            directory.sync_all().map_err(error)?;
        }
        Ok(())
    }

    /// Writes the view in the stored format.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write<W: Write>(&self, out: W) -> std::io::Result<W> {
        let mut writer = RecordWriter { out, records: 0 };
        writer.out.write_all(MAGIC)?;
        writer.out.write_all(&VERSION.to_le_bytes())?;
        writer.put(&Record::Header { taken_at: self.taken_at, sources: self.sources.clone() })?;
        for entry in self.tasks.values() {
            writer.put(&Record::Task(owned(entry)))?;
        }
        for entry in self.agents.values() {
            writer.put(&Record::Agent(owned(entry)))?;
        }
        for entry in self.frameworks.values() {
            writer.put(&Record::Framework(owned(entry)))?;
        }
        for entry in self.declared.values() {
            writer.put(&Record::Declared(owned(entry)))?;
        }
        for entry in self.apps.values() {
            writer.put(&Record::App(owned(entry)))?;
        }
        for (name, records) in &self.records {
            writer.put_records(name, records)?;
        }
        for (id, record) in self.ledger.services.iter() {
            writer.put(&Record::Service(id.clone(), (**record).clone()))?;
            let acts = |claim: &Claim| Some((claim.place.clone(), (**claim.actions.as_ref()?).clone()));
            let actions: Vec<_> = record.claims.iter().filter_map(acts).collect();
            if !actions.is_empty() {
                writer.put(&Record::Actions(id.clone(), actions))?;
            }
            if let Some(rules) = record.rules.as_ref().filter(|rules| !rules.filters.is_empty()) {
                writer.put(&Record::Filters(id.clone(), rules.filters.clone()))?;
            }
        }
        for ((cluster, text), until) in self.ledger.names.iter() {
            writer.put(&Record::Name(cluster.clone(), text.clone(), *until))?;
        }
        for (zone, version) in self.ledger.serials.iter() {
            writer.put(&Record::Serial(zone.clone(), version.serial))?;
            if let Some(content) = version.content {
                writer.put(&Record::Content(zone.clone(), content))?;
            }
        }
        for (at, deadline) in &self.deadlines {
            writer.put(&Record::Deadline(*at, deadline.clone()))?;
        }
        for (task, verdicts) in self.verdicts.iter() {
            writer.put(&Record::Verdicts(task.clone(), (**verdicts).clone()))?;
        }
        for (subject, order) in self.drains.iter() {
            writer.put(&Record::Drain(subject.clone(), order.clone()))?;
        }
        for (service, order) in self.weights.iter() {
            writer.put(&Record::Weights(service.clone(), order.clone()))?;
        }
        if !self.hosts.is_empty() {
            writer.put(&Record::Hosts((*self.hosts).clone()))?;
        }
        let records = writer.records;
        writer.put(&Record::End { records })?;
        Ok(writer.out)
    }
}

/// Reads a stored state and gives it the configuration of the day.
///
/// # Errors
/// The file is absent, damaged, foreign or of another version.
pub fn load(path: &Path, config: Arc<Config>, now: Timestamp) -> Result<ClusterState, StoreError> {
    let file = File::open(path).map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
    read(BufReader::with_capacity(1 << 20, file), path, config, now)
}

/// Reads a state in the stored format.
///
/// # Errors
/// It is damaged, foreign or of another version.
pub fn read(
    input: impl Read + Send,
    path: &Path,
    config: Arc<Config>,
    now: Timestamp,
) -> Result<ClusterState, StoreError> {
    let mut reader = RecordReader { input, path, at: 0, buffer: Vec::new() };
    reader.preamble()?;
    let Record::Header { taken_at, sources } = reader.next()? else {
        return Err(reader.damaged("the first record is not the header"));
    };
    let mut loading = Loading::new(&sources, config, now);
    loading.state.taken_at = Some(taken_at);
    // One thread reads and decodes, this one takes over: each is about half of the work.
    std::thread::scope(|scope| {
        let (sender, batches) = sync_channel(WAITING);
        scope.spawn(move || reader.read_all(&sender));
        for batch in batches {
            batch?.into_iter().for_each(|record| loading.add(record));
        }
        Ok::<(), StoreError>(())
    })?;
    Ok(loading.finish(&sources))
}

/// Records in a batch between the two threads, and batches that wait.
const BATCH: usize = 256;
const WAITING: usize = 8;

/// DNS records of a source in one record of the file. Many batches of these wait at a time.
const RECORDS_AT_ONCE: usize = 256;

/// Some records, or why there are no more.
type Batch = Result<Vec<Record>, StoreError>;

/// A state that is being read.
struct Loading {
    state: ClusterState,
    /// Tasks that the state does not have yet: a map is built at once.
    tasks: Vec<(TaskKey, BySource<TaskFacts>)>,
    /// The rank in today's configuration of each stored rank.
    ranks: Vec<Option<SourceRank>>,
    interner: Interner,
    definitions: HashMap<Arc<TaskDefinition>, ()>,
    networks: HashSet<Arc<TaskNetworks>>,
    /// Records of sources: they come in several pieces.
    records: HashMap<SourceName, RecordsBuilder>,
}

impl Loading {
    fn new(sources: &[StoredSource], config: Arc<Config>, now: Timestamp) -> Self {
        let state = ClusterState::new(config, now);
        // A source that changed its kind or its cluster is another one.
        let rank = |stored: &StoredSource| {
            let same = |s: &super::source::Source| s.kind == stored.kind && s.cluster == stored.cluster;
            state.sources.get(&stored.name).filter(|s| same(s)).and_then(|_| state.rank(&stored.name))
        };
        let ranks = sources.iter().map(rank).collect();
        Self {
            state,
            tasks: Vec::new(),
            ranks,
            interner: Interner::new(1 << 20),
            definitions: HashMap::default(),
            networks: HashSet::default(),
            records: HashMap::default(),
        }
    }

    fn add(&mut self, record: Record) {
        // What follows tasks asks for them.
        if !matches!(record, Record::Task(_)) {
            self.place_tasks();
        }
        match record {
            Record::Task(facts) => self.add_task(facts),
            Record::Agent(facts) => {
                if let Some(entry) = self.entry(facts)
                    && let Some(agent) = entry.first()
                {
                    let place = (agent.cluster.clone(), agent.id.clone());
                    self.state.agents.insert(place, entry);
                }
            }
            Record::Framework(facts) => {
                if let Some(entry) = self.entry(facts)
                    && let Some(framework) = entry.first()
                {
                    let place = (framework.cluster.clone(), framework.id.clone());
                    self.state.frameworks.insert(place, entry);
                }
            }
            Record::Declared(facts) => {
                if let Some(entry) = self.entry(facts)
                    && let Some(declared) = entry.first()
                {
                    self.state.declared.insert(declared.id.clone(), entry);
                }
            }
            Record::App(facts) => {
                if let Some(entry) = self.entry(facts)
                    && let Some(app) = entry.first()
                {
                    self.state.apps.insert(app.key.clone(), entry);
                }
            }
            Record::Records(name, records) => {
                self.records.insert(name.clone(), RecordsBuilder::default());
                self.add_records(&name, &records);
            }
            Record::Hosts(hosts) => self.state.hosts = Arc::new(hosts),
            Record::MoreRecords(name, records) => self.add_records(&name, &records),
            Record::Service(id, record) => {
                self.state.ledger.retained += usize::from(record.empty_since.is_some());
                self.state.ledger.services.insert(id, Arc::new(record));
            }
            Record::Actions(id, actions) => self.add_actions(&id, actions),
            Record::Weights(id, order) => self.state.weights.set(id, order),
            Record::Filters(id, filters) => self.add_filters(&id, filters),
            Record::Name(cluster, text, until) => drop(self.state.ledger.names.insert((cluster, text), until)),
            Record::Serial(zone, serial) => {
                self.state.ledger.serials.insert(zone, ZoneVersion { serial, content: None });
            }
            Record::Content(zone, content) => {
                if let Some(version) = self.state.ledger.serials.get_mut(&zone) {
                    version.content = Some(content);
                }
            }
            Record::Deadline(at, deadline) => self.state.deadlines.set(at, deadline),
            Record::Verdicts(task, verdicts) => {
                if self.state.tasks.get(&task).is_some() {
                    self.state.verdicts.insert(task, Arc::new(verdicts));
                }
            }
            Record::Drain(subject, order) => {
                let is_gone = matches!(&subject, DrainSubject::Task(key) if self.state.tasks.get(key).is_none());
                if !is_gone {
                    self.state.drains.add(subject, order);
                }
            }
            Record::Header { .. } | Record::End { .. } => {}
        }
    }

    fn place_tasks(&mut self) {
        let tasks = std::mem::take(&mut self.tasks).into_iter();
        if self.state.tasks.is_empty() {
            self.state.tasks = tasks.collect();
        } else {
            tasks.for_each(|(key, entry)| drop(self.state.tasks.insert(key, entry)));
        }
    }

    fn add_actions(&mut self, id: &ServiceId, actions: Vec<(Place, Actions)>) {
        let Some(known) = self.state.ledger.services.get(id) else { return };
        let mut record = (**known).clone();
        for (place, actions) in actions {
            if let Some(claim) = record.claims.iter_mut().find(|claim| claim.place == place) {
                claim.actions = Some(Arc::new(actions));
            }
        }
        self.state.ledger.services.insert(id.clone(), Arc::new(record));
    }

    fn add_filters(&mut self, id: &ServiceId, filters: Box<[Arc<str>]>) {
        let Some(known) = self.state.ledger.services.get(id) else { return };
        let rules = known.rules.as_deref().cloned().unwrap_or_default();
        let record = ServiceRecord { rules: Rules { filters, ..rules }.shared(), ..(**known).clone() };
        self.state.ledger.services.insert(id.clone(), Arc::new(record));
    }

    fn add_task(&mut self, facts: Vec<(SourceRank, TaskFacts)>) {
        let share = |loading: &mut Self, (rank, mut facts): (SourceRank, TaskFacts)| {
            let cluster = loading.interner.intern(facts.key.cluster().as_str());
            let framework = loading.interner.intern(facts.key.framework().as_str());
            facts.key = TaskKey::new(cluster.into(), framework.into(), facts.key.task());
            facts.agent = facts.agent.map(|agent| loading.interner.intern(agent.as_str()).into());
            facts.definition = loading.definition(facts.definition);
            facts.networks = facts.networks.map(|networks| loading.networks.get_or_insert(networks).clone());
            (rank, facts)
        };
        let facts = facts.into_iter().map(|one| share(self, one)).collect();
        if let Some(entry) = self.entry(facts)
            && let Some(first) = entry.first()
        {
            self.tasks.push((first.key.clone(), entry));
        }
    }

    /// One copy of definitions that are equal, as the sources have them.
    fn definition(&mut self, definition: Arc<TaskDefinition>) -> Arc<TaskDefinition> {
        if let Some((known, ())) = self.definitions.get_key_value(&definition) {
            return known.clone();
        }
        let mut definition = definition;
        if let Some(own) = Arc::get_mut(&mut definition) {
            self.share(own);
        }
        if self.definitions.len() < 1 << 16 {
            self.definitions.insert(definition.clone(), ());
        }
        definition
    }

    /// Lets a definition use the copies of labels and names that are there already.
    fn share(&mut self, definition: &mut TaskDefinition) {
        definition.labels = self.interner.intern_labels(definition.labels.clone());
        if let Some(discovery) = &mut definition.discovery
            && discovery.name == definition.name
        {
            discovery.name = definition.name.clone();
        }
    }

    fn add_records(&mut self, source: &SourceName, records: &[StaticRecord]) {
        if let Some(known) = self.records.get_mut(source) {
            records.iter().for_each(|record| known.push(&record.name, &record.data, record.ttl));
        }
    }

    fn entry<T: PartialEq>(&self, facts: Vec<(SourceRank, T)>) -> Option<BySource<T>> {
        let mut entry = BySource::default();
        for (rank, facts) in facts {
            if let Some(rank) = self.ranks.get(usize::from(rank)).copied().flatten() {
                entry.set(rank, Arc::new(facts));
            }
        }
        (!entry.is_empty()).then_some(entry)
    }

    fn finish(mut self, sources: &[StoredSource]) -> ClusterState {
        self.place_tasks();
        for (at, stored) in sources.iter().enumerate() {
            if self.ranks[at].is_none() {
                continue;
            }
            let Some(source) = self.state.sources.get_mut(&stored.name) else { continue };
            source.complete = stored.complete;
            source.masters = stored.masters.clone();
            source.recovered = stored.recovered.iter().cloned().collect();
            source.unconfirmed = stored.unconfirmed.iter().cloned().collect::<HashSet<_>>();
            source.held = stored.held.as_ref().map(|held| Held {
                tasks: held.tasks.iter().cloned().collect(),
                of: held.of,
                since: held.since,
                doubt: if held.filtered { Doubt::Filtered } else { Doubt::Many },
            });
        }
        for (name, records) in self.records {
            if let Some(source) = self.state.sources.get_mut(&name) {
                source.records = records.finish();
            }
        }
        self.state.index();
        self.state
    }
}

fn owned<T: Clone + PartialEq>(entry: &BySource<T>) -> Vec<(SourceRank, T)> {
    entry.iter().map(|(rank, facts)| (rank, (**facts).clone())).collect()
}

struct RecordWriter<W> {
    out: W,
    records: u64,
}

impl<W: Write> RecordWriter<W> {
    /// Writes a source's DNS records, some at a time: millions at once would take as much memory again.
    fn put_records(&mut self, source: &SourceName, records: &StaticRecords) -> std::io::Result<()> {
        let mut records = records.iter().peekable();
        let mut is_first = true;
        while records.peek().is_some() {
            let some = records.by_ref().take(RECORDS_AT_ONCE).collect();
            self.put(&match is_first {
                true => Record::Records(source.clone(), some),
                false => Record::MoreRecords(source.clone(), some),
            })?;
            is_first = false;
        }
        Ok(())
    }

    fn put(&mut self, record: &Record) -> std::io::Result<()> {
        let bytes = postcard::to_stdvec(record).map_err(std::io::Error::other)?;
        let length = u32::try_from(bytes.len()).map_err(std::io::Error::other)?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&crc32fast::hash(&bytes).to_le_bytes())?;
        self.out.write_all(&bytes)?;
        self.records += 1;
        Ok(())
    }
}

struct RecordReader<'a, R> {
    input: R,
    path: &'a Path,
    at: u64,
    buffer: Vec<u8>,
}

impl<R: Read> RecordReader<'_, R> {
    /// Reads the records after the header and sends them on, until the last one or a fault.
    fn read_all(&mut self, batches: &SyncSender<Batch>) {
        let mut records = 1u64;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            match self.next() {
                Ok(Record::End { records: counted }) if counted == records => break,
                Ok(Record::End { .. }) => return drop(batches.send(Err(self.damaged("records are missing")))),
                Ok(record) => batch.push(record),
                Err(error) => return drop(batches.send(Err(error))),
            }
            records += 1;
            // Whoever stopped listening has met a fault before.
            if batch.len() == BATCH
                && batches.send(Ok(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)))).is_err()
            {
                return;
            }
        }
        drop(batches.send(Ok(batch)));
    }

    fn preamble(&mut self) -> Result<(), StoreError> {
        let mut magic = [0; 8];
        if self.input.read_exact(&mut magic).is_err() || magic != *MAGIC {
            return Err(StoreError::Foreign(self.path.to_owned()));
        }
        self.at = 8;
        let found = self.number()?;
        if found == VERSION { Ok(()) } else { Err(StoreError::Version { path: self.path.to_owned(), found }) }
    }

    fn next(&mut self) -> Result<Record, StoreError> {
        let length = self.number()?;
        let checksum = self.number()?;
        if length > MAX_RECORD {
            return Err(self.damaged("a record is longer than any can be"));
        }
        self.buffer.clear();
        // Grows with what is there: a wrong length must not allocate what the file does not hold.
        let taken = (&mut self.input).take(u64::from(length)).read_to_end(&mut self.buffer);
        match taken {
            Ok(read) if read == length as usize => {}
            Ok(_) => return Err(self.damaged("the file ends within a record")),
            Err(source) => return Err(StoreError::Io { path: self.path.to_owned(), source }),
        }
        if crc32fast::hash(&self.buffer) != checksum {
            return Err(self.damaged("the checksum is wrong"));
        }
        self.at += u64::from(length);
        postcard::from_bytes(&self.buffer).map_err(|error| self.damaged(&error.to_string()))
    }

    fn number(&mut self) -> Result<u32, StoreError> {
        let mut bytes = [0; 4];
        if self.input.read_exact(&mut bytes).is_err() {
            return Err(self.damaged("the file ends before its last record"));
        }
        self.at += 4;
        Ok(u32::from_le_bytes(bytes))
    }

    fn damaged(&self, why: &str) -> StoreError {
        StoreError::Damaged { path: self.path.to_owned(), at: self.at, why: why.to_owned() }
    }
}

/// Reads arbitrary bytes as a stored state, as they are and behind checksums that are right: nothing panics, and what is
/// accepted can be stored and read again.
#[doc(hidden)]
pub fn fuzz_state(data: &[u8]) {
    use crate::config::checked::MesosConfig;
    let mesos = vec![MesosConfig::with_masters("mesos", "mesos", &["127.0.0.1:5050"])];
    let config = Arc::new(Config { mesos, ..Config::default() });
    let read = |bytes: &[u8]| read(bytes, Path::new("state"), config.clone(), Timestamp(0));
    let _ = read(data);
    if let Ok(state) = read(&with_right_checksums(data)) {
        let stored = state.view(Timestamp(0)).write(Vec::new()).expect("a vector takes everything");
        assert!(read(&stored).is_ok(), "what was stored is read");
    }
}

/// The same records with the checksums that they should have: a fuzzer finds no checksum by itself.
fn with_right_checksums(data: &[u8]) -> Vec<u8> {
    let (preamble, mut rest) = data.split_at(data.len().min(MAGIC.len() + size_of::<u32>()));
    let mut out = preamble.to_vec();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let behind = behind.get(4..).unwrap_or_default();
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX).min(behind.len());
        let (record, others) = behind.split_at(length);
        out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(crc32fast::hash(record).to_le_bytes());
        out.extend_from_slice(record);
        rest = others;
    }
    out
}
