//! Identities, equal on every instance that sees the same cluster.
//!
//! An address alone is never an identity: a task keeps its [`TaskKey`] whatever its address, and two tasks that
//! follow one another on one address are two tasks.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::hash::process_hash;

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identity as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The shared text itself, for those who keep it.
            pub fn shared(&self) -> Arc<str> {
                self.0.clone()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl From<Arc<str>> for $name {
            fn from(text: Arc<str>) -> Self {
                Self(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

string_id! {
    /// A cluster: the name that the configuration gives to what a source watches.
    ClusterName
}
string_id! {
    /// A source of facts, by its name in the configuration. Several sources may watch one cluster.
    SourceName
}
string_id! {
    /// An agent (Mesos: agent id), unique within its cluster.
    AgentId
}
string_id! {
    /// A framework (Mesos: framework id), unique within its cluster.
    FrameworkId
}
string_id! {
    /// The version of a service that a task runs.
    Version
}

/// Names one task: task ids are unique only within their framework, framework ids only within their cluster.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "TaskKeyParts", into = "TaskKeyParts")]
pub struct TaskKey(Arc<Hashed<TaskKeyParts>>);

/// What a [`TaskKey`] consists of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskKeyParts {
    /// The cluster the task runs in.
    pub cluster: ClusterName,
    /// The framework that launched it.
    pub framework: FrameworkId,
    /// Its id within the framework.
    pub task: Box<str>,
}

impl TaskKey {
    /// Makes the key of a task.
    pub fn new(cluster: ClusterName, framework: FrameworkId, task: impl Into<Box<str>>) -> Self {
        TaskKeyParts { cluster, framework, task: task.into() }.into()
    }

    /// The cluster the task runs in.
    pub fn cluster(&self) -> &ClusterName {
        &self.0.parts.cluster
    }

    /// The framework that launched the task.
    pub fn framework(&self) -> &FrameworkId {
        &self.0.parts.framework
    }

    /// The task's id within its framework, with [`TWIN`] and a number where it is not the only one of that id.
    pub fn task(&self) -> &str {
        &self.0.parts.task
    }

    /// A hash that every instance has of this key.
    pub fn stable_hash(&self) -> u64 {
        stable_hash(&self.0.parts)
    }

    /// The task's id as the cluster says it, which names are made of.
    pub fn said_id(&self) -> &str {
        let task = self.task();
        task.split_once(TWIN).map_or(task, |(id, _)| id)
    }
}

/// Stands before the number of a task whose id another task of its framework has, too: no cluster should say so, and
/// state documents of old masters do. No id contains a control character.
pub const TWIN: char = '\u{1f}';

impl From<TaskKeyParts> for TaskKey {
    fn from(parts: TaskKeyParts) -> Self {
        Self(Arc::new(Hashed::new(parts)))
    }
}

impl From<TaskKey> for TaskKeyParts {
    fn from(key: TaskKey) -> Self {
        key.0.parts.clone()
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster(), self.framework(), self.task())
    }
}

/// Names one service: tasks that answer for the same thing on the same port.
///
/// Services of different namespaces or clusters join only where a label or the configuration says so; equal names
/// alone never join.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "ServiceIdParts", into = "ServiceIdParts")]
pub struct ServiceId(Arc<Hashed<ServiceIdParts>>);

/// What a [`ServiceId`] consists of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceIdParts {
    /// The cluster.
    pub cluster: ClusterName,
    /// The framework id or the tenant.
    pub namespace: Arc<str>,
    /// The service's name.
    pub name: Arc<str>,
    /// The port's name, or its index where it has none.
    pub port: Arc<str>,
}

impl ServiceId {
    /// Makes the id of a service.
    pub fn new(
        cluster: ClusterName,
        namespace: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
        port: impl Into<Arc<str>>,
    ) -> Self {
        ServiceIdParts { cluster, namespace: namespace.into(), name: name.into(), port: port.into() }.into()
    }

    /// Reads `cluster/namespace/name/port`, where none of the first three holds a slash.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '/');
        let (cluster, namespace, name, port) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(Self::new(cluster.into(), namespace, name, port))
    }

    /// The cluster.
    pub fn cluster(&self) -> &ClusterName {
        &self.0.parts.cluster
    }

    /// The framework id or the tenant.
    pub fn namespace(&self) -> &str {
        &self.0.parts.namespace
    }

    /// The service's name.
    pub fn name(&self) -> &str {
        &self.0.parts.name
    }

    /// The port's name, or its index where it has none.
    pub fn port(&self) -> &str {
        &self.0.parts.port
    }

    /// The port's shared text, for those who keep it.
    pub fn shared_port(&self) -> Arc<str> {
        self.0.parts.port.clone()
    }
}

impl From<ServiceIdParts> for ServiceId {
    fn from(parts: ServiceIdParts) -> Self {
        Self(Arc::new(Hashed::new(parts)))
    }
}

impl From<ServiceId> for ServiceIdParts {
    fn from(id: ServiceId) -> Self {
        id.0.parts.clone()
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.cluster(), self.namespace(), self.name(), self.port())
    }
}

/// Parts with their hash beside them: look-ups compare pointers first and never hash strings again.
#[derive(Clone)]
struct Hashed<P> {
    hash: u64,
    parts: P,
}

impl<P: Hash> Hashed<P> {
    fn new(parts: P) -> Self {
        Self { hash: process_hash(&parts), parts }
    }
}

macro_rules! hashed_key {
    ($name:ident) => {
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0) || (self.0.hash == other.0.hash && self.0.parts == other.0.parts)
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                if Arc::ptr_eq(&self.0, &other.0) {
                    return std::cmp::Ordering::Equal;
                }
                self.0.parts.cmp(&other.0.parts)
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                state.write_u64(self.0.hash);
            }
        }

        impl $name {
            /// The hash of the parts, seeded anew in every process.
            pub fn process_hash(&self) -> u64 {
                self.0.hash
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

hashed_key!(TaskKey);
hashed_key!(ServiceId);

/// A hash that is the same in every process of this version (FNV-1a with a final mix): for content digests. Not for
/// maps: their keys are chosen by strangers, see [`process_hash`].
pub fn stable_hash<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    value.hash(&mut hasher);
    hasher.finish()
}

struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        // The final mix of MurmurHash3: FNV's high bits depend on few input bits, and tries index by them.
        let mut h = self.0;
        h ^= h >> 33;
        h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
        h ^= h >> 33;
        h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        h ^ (h >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_equal_parts_are_equal() {
        let make = || TaskKey::new("mesos".into(), "f-1".into(), "web.1");
        assert_eq!(make(), make());
        assert_ne!(make(), TaskKey::new("mesos".into(), "f-2".into(), "web.1"));
        assert_eq!(make().to_string(), "mesos/f-1/web.1");
    }

    #[test]
    fn keys_survive_serialisation() {
        let id = ServiceId::new("mesos".into(), "f-1", "web", "http");
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<ServiceId>(&text).unwrap(), id);
    }
}
