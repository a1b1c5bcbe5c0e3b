//! Reads the answer to `GET /master/state` as it arrives: gzip or not, its parts put together, whether it may be
//! believed.
//!
//! Memory: one element, one framework without its tasks, and what was listed as hashes of identities. A task is handed
//! on before the rest is read; whether the list is complete and whose it is shows at the end only.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::SocketAddr;

use flate2::write::MultiGzDecoder;
use thiserror::Error;

use super::address::pid_address;
use super::decode::DecodeError;
use super::json::JsonDecoder;
use super::legacy::{FrameworkField, Scalar, StatePart};
use super::schema::{Element, Item, MasterField, Node, UnreadableElement};
use super::wire;
use crate::model::id::TWIN;

/// Compressed bytes that are unpacked at once: bounds what lies unpacked (deflate reaches a thousandfold).
const GZIP_SLICE_BYTES: usize = 1 << 10;

/// Tasks that ended which are remembered to the end of the document: Mesos keeps a thousand a framework.
const MAX_ENDED: usize = 100_000;

/// A master that was elected so lately may not have read its registry: it gives up when that takes a minute
/// (`--registry_fetch_timeout`).
const RECOVERY_SECONDS: f64 = 60.0;

/// A state document is of no use.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StateError {
    /// It is not JSON, or ends too early.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// It is not gzip, although it says so.
    #[error("its answer is not the gzip that it says: {0}")]
    Gzip(String),
    /// It is packed in a way that was not asked for.
    #[error("its answer is encoded with {0:?}, which was not asked for: a proxy in between seems to change it")]
    Encoding(String),
    /// It does not list what a state lists.
    #[error("its state has no list of {0}: it is not a Mesos master's state")]
    Missing(&'static str),
    /// The master does not lead.
    #[error("it does not lead{}", leader.as_deref().map(|leader| format!(": {leader} does")).unwrap_or_default())]
    NotLeading {
        /// The pid of the master that leads, if it says so.
        leader: Option<String>,
    },
    /// The master has just been elected and knows nothing.
    #[error("it was elected {seconds} s ago and its state is empty: it may not have finished its recovery")]
    Unrecovered {
        /// Since when.
        seconds: u64,
    },
}

/// Reads one document.
#[derive(Debug)]
pub struct StateReader {
    gunzip: Option<MultiGzDecoder<Vec<u8>>>,
    json: JsonDecoder,
    parts: Vec<Item>,
    framework: Framework,
    master: Master,
    has_agents: bool,
    has_frameworks: bool,
    /// Something is there that an empty cluster has not.
    has_content: bool,
    hasher: RandomState,
    listed: Listed,
    frameworks: HashSet<u64>,
    ended: Vec<(String, String)>,
    ended_frameworks: Vec<String>,
}

/// The tasks of a document, as hashes of their identities.
#[derive(Debug, Default)]
struct Listed {
    tasks: HashSet<u64>,
    /// The number that the next task of an id gets, by the identity that is there more than once.
    twins: HashMap<u64, u32>,
}

/// What the document said of its master.
#[derive(Debug, Default)]
struct Master {
    pid: Option<String>,
    leader: Option<String>,
    elected: Option<f64>,
}

/// What is known of the framework that is being read.
#[derive(Debug, Default)]
struct Framework {
    message: wire::FrameworkInfo,
    pid: Option<String>,
    active: Option<bool>,
    connected: Option<bool>,
    is_broken: bool,
}

/// What a complete document says beside its tasks, agents and frameworks.
#[derive(Debug, Default)]
pub struct Ended {
    /// Where the master that leads, which made the document, says that it is; `None` where it says the name of a host.
    pub leader: Option<SocketAddr>,
    /// Tasks that ended: framework and id.
    pub tasks: Vec<(String, String)>,
    /// Frameworks that ended.
    pub frameworks: Vec<String>,
}

impl StateReader {
    /// A reader for an answer with this `Content-Encoding`. Identities are hashed with `hasher`, so that
    /// [`StateReader::listed`] can be compared from one document to the next.
    ///
    /// # Errors
    /// The encoding was not asked for.
    pub fn new(encoding: Option<&str>, hasher: RandomState) -> Result<Self, StateError> {
        let gunzip = match encoding.map(str::trim) {
            None | Some("") => None,
            Some(name) if name.eq_ignore_ascii_case("identity") => None,
            Some(name) if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                Some(MultiGzDecoder::new(Vec::new()))
            }
            Some(other) => return Err(StateError::Encoding(other.chars().take(100).collect())),
        };
        Ok(Self {
            gunzip,
            json: JsonDecoder::new(Node::State),
            parts: Vec::new(),
            framework: Framework::default(),
            master: Master::default(),
            has_agents: false,
            has_frameworks: false,
            has_content: false,
            hasher,
            listed: Listed::default(),
            frameworks: HashSet::new(),
            ended: Vec::new(),
            ended_frameworks: Vec::new(),
        })
    }

    /// Takes in more bytes and appends what they complete.
    ///
    /// # Errors
    /// The rest is of no use.
    pub fn push(&mut self, bytes: &[u8], items: &mut Vec<Item>) -> Result<(), StateError> {
        let Some(mut gunzip) = self.gunzip.take() else { return self.plain(bytes, items) };
        for slice in bytes.chunks(GZIP_SLICE_BYTES) {
            gunzip.write_all(slice).map_err(|error| StateError::Gzip(error.to_string()))?;
            self.plain(gunzip.get_ref(), items)?;
            gunzip.get_mut().clear();
        }
        self.gunzip = Some(gunzip);
        Ok(())
    }

    /// The answer is complete: who leads and what ended, if it is a whole state of a leading, recovered master. `now` is
    /// that master's own clock (`Date`), seconds since 1970.
    ///
    /// # Errors
    /// It is not; what was read of it is no complete list.
    pub fn finish(&mut self, now: Option<u64>, items: &mut Vec<Item>) -> Result<Ended, StateError> {
        if let Some(gunzip) = self.gunzip.take() {
            let rest = gunzip.finish().map_err(|error| StateError::Gzip(error.to_string()))?;
            self.plain(&rest, items)?;
        }
        self.json.finish()?;
        for (is_there, list) in [(self.has_agents, "slaves"), (self.has_frameworks, "frameworks")] {
            if !is_there {
                return Err(StateError::Missing(list));
            }
        }
        self.check_leader()?;
        self.check_recovery(now)?;
        let mut ended = std::mem::take(&mut self.ended);
        // An id may be used again: a task that runs did not end.
        ended.retain(|(framework, task)| !self.listed.tasks.contains(&self.hash(framework, task)));
        let mut frameworks = std::mem::take(&mut self.ended_frameworks);
        frameworks.retain(|id| !self.frameworks.contains(&self.hasher.hash_one(id)));
        let leader = self.master.leader.as_deref().and_then(pid_address);
        Ok(Ended { leader, tasks: ended, frameworks })
    }

    /// Hashes of the tasks that the document listed as not ended.
    pub fn into_listed(self) -> HashSet<u64> {
        self.listed.tasks
    }

    /// The hash of a task's identity.
    pub fn hash(&self, framework: &str, task: &str) -> u64 {
        self.hasher.hash_one((framework, task))
    }

    fn plain(&mut self, bytes: &[u8], items: &mut Vec<Item>) -> Result<(), StateError> {
        let mut parts = std::mem::take(&mut self.parts);
        let result = self.json.push(bytes, &mut parts);
        for part in parts.drain(..) {
            self.part(part, items);
        }
        self.parts = parts;
        Ok(result?)
    }

    fn part(&mut self, part: Item, items: &mut Vec<Item>) {
        match part {
            Item::State(part) => return self.own_part(part, items),
            Item::Task(mut task) => {
                // A task is its framework's, whatever it says; orphans have none around them.
                task.framework_id = self.framework.message.id.clone().or(task.framework_id.take());
                let framework = task.framework_id.as_ref().and_then(|id| id.value.as_deref());
                if let (Some(framework), Some(id)) = (framework, &mut task.task_id) {
                    list(&mut self.listed, &self.hasher, framework, id.value.get_or_insert_default());
                }
                items.push(Item::Task(task));
            }
            Item::Unreadable { element, task, error } => {
                self.framework.is_broken |= matches!(element, Element::StateFramework(_));
                let error = self.framework.named(element, error);
                let task = task.and_then(|mut task| {
                    task.framework = self.framework.id().value.unwrap_or(task.framework);
                    list(&mut self.listed, &self.hasher, &task.framework, &mut task.task);
                    Some(task).filter(|task| !task.framework.is_empty())
                });
                items.push(Item::Unreadable { element, task, error });
            }
            item => items.push(item),
        }
        self.has_content = true;
    }

    fn own_part(&mut self, part: StatePart, items: &mut Vec<Item>) {
        match part {
            StatePart::Agents => self.has_agents = true,
            StatePart::Frameworks => self.has_frameworks = true,
            StatePart::FrameworkBegins => {
                self.has_content = true;
                self.framework = Framework::default();
            }
            StatePart::Framework(field, value) => self.framework.set(field, value),
            StatePart::FrameworkEnds => {
                let framework = std::mem::take(&mut self.framework);
                if let Some(id) = framework.id().value {
                    self.frameworks.insert(self.hasher.hash_one(id));
                }
                items.extend(framework.item());
            }
            StatePart::CompletedFramework(id) => self.ended_frameworks.push(id),
            StatePart::CompletedTask(framework, task) => {
                let framework = self.framework.id().value.or(framework);
                if let Some(framework) = framework.filter(|_| !task.is_empty() && self.ended.len() < MAX_ENDED) {
                    self.ended.push((framework, task));
                }
            }
            StatePart::Master(field, value) => self.master.set(field, value),
        }
    }

    /// Before they redirected, masters that did not lead answered with a state of their own: an empty one.
    fn check_leader(&self) -> Result<(), StateError> {
        let master = &self.master;
        let leads = match (&master.pid, &master.leader) {
            (Some(pid), Some(leader)) => pid == leader,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if leads { Ok(()) } else { Err(StateError::NotLeading { leader: master.leader.clone() }) }
    }

    fn check_recovery(&self, now: Option<u64>) -> Result<(), StateError> {
        let (Some(now), Some(elected)) = (now, self.master.elected) else { return Ok(()) };
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
        let since = (now as f64 - elected).max(0.0);
        if self.has_content || since >= RECOVERY_SECONDS {
            return Ok(());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 60")]
        Err(StateError::Unrecovered { seconds: since as u64 })
    }
}

/// Notes a task; a second one of one id gets a number, so that both are served as their document says.
fn list(listed: &mut Listed, hasher: &RandomState, framework: &str, id: &mut String) {
    let hash = hasher.hash_one((framework, id.as_str()));
    if listed.tasks.insert(hash) {
        return;
    }
    let said = id.len();
    // Counting goes on where it stopped: a document may well repeat one id a million times.
    let number = listed.twins.entry(hash).or_insert(2);
    loop {
        id.truncate(said);
        id.push(TWIN);
        id.push_str(&number.to_string());
        *number += 1;
        if listed.tasks.insert(hasher.hash_one((framework, id.as_str()))) {
            return;
        }
    }
}

impl Master {
    fn set(&mut self, field: MasterField, value: Scalar) {
        match (field, value) {
            (MasterField::Pid, Scalar::Text(text)) => self.pid = Some(text),
            (MasterField::Leader, Scalar::Text(text)) => self.leader = Some(text).filter(|text| !text.is_empty()),
            (MasterField::ElectedTime, Scalar::Number(number)) => self.elected = Some(number),
            _ => {}
        }
    }
}

impl Framework {
    fn id(&self) -> wire::Id {
        self.message.id.clone().unwrap_or_default()
    }

    fn set(&mut self, field: FrameworkField, value: Scalar) {
        match (field, value) {
            (FrameworkField::Id, Scalar::Text(text)) => self.message.id = Some(wire::Id { value: Some(text) }),
            (FrameworkField::Name, Scalar::Text(text)) => self.message.name = Some(text),
            (FrameworkField::Pid, Scalar::Text(text)) => self.pid = Some(text),
            (FrameworkField::Hostname, Scalar::Text(text)) => self.message.hostname = Some(text),
            (FrameworkField::Principal, Scalar::Text(text)) => self.message.principal = Some(text),
            (FrameworkField::Role, Scalar::Text(text)) => self.message.roles.push(text),
            (FrameworkField::Active, Scalar::Truth(truth)) => self.active = Some(truth),
            (FrameworkField::Connected, Scalar::Truth(truth)) => self.connected = Some(truth),
            _ => {}
        }
    }

    /// An error inside the framework, with the framework's name where it has one.
    fn named(&self, element: Element, error: UnreadableElement) -> UnreadableElement {
        let id = self.message.id.as_ref().and_then(|id| id.value.as_deref()).or(self.message.name.as_deref());
        match (element, id) {
            (Element::StateTask | Element::StateCompletedTask | Element::StateFramework(_), Some(id)) => {
                UnreadableElement::Malformed(format!("framework {id}: {error}"))
            }
            _ => error,
        }
    }

    /// The framework, unless something in it could not be read: that was told.
    fn item(self) -> Option<Item> {
        if self.is_broken {
            return None;
        }
        let framework = wire::Framework {
            framework_info: Some(self.message),
            active: self.active,
            connected: self.connected.or(self.active),
            recovered: None,
        };
        Some(Item::StateFramework(Box::new(framework), self.pid))
    }
}

/// Reads arbitrary bytes as a state document, plain and packed: must neither panic nor loop.
#[doc(hidden)]
pub fn fuzz_state_document(data: &[u8]) {
    for encoding in [None, Some("gzip")] {
        let Ok(mut reader) = StateReader::new(encoding, RandomState::new()) else { continue };
        let mut items = Vec::new();
        let _ = reader.push(data, &mut items).and_then(|()| reader.finish(Some(0), &mut items));
    }
}
