//! What a route does with its requests and their answers, beside leading to a service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::Version;
use super::template::Template;

/// What one route does. The default: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actions {
    /// What is answered in place of passing requests on.
    pub instead: Option<Instead>,
    /// The path, and perhaps the query, that requests are passed on with.
    pub path: Option<Template>,
    /// The host that they are passed on with.
    pub host: Option<Arc<str>>,
    /// Changes of requests' header fields, in this order.
    pub request: Box<[FieldChange]>,
    /// … and of their answers'.
    pub answer: Box<[FieldChange]>,
    /// Filters of the configuration, by name, beside the service's own.
    pub filters: Box<[Arc<str>]>,
    /// The time for the beginning of an answer, all attempts together.
    pub timeout: Option<Duration>,
    /// Versions of the service and their shares; empty: as the service has it.
    pub split: Box<[(Version, u32)]>,
}

/// An answer in place of a forwarded request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Instead {
    /// Go there.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Where.
        location: Template,
    },
    /// Always the same.
    Answer {
        /// 200 to 599.
        status: u16,
        /// `Content-Type`.
        content_type: Arc<str>,
        /// The body.
        body: Arc<str>,
    },
}

/// A change of one header field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its name, in lower case.
    pub name: Arc<str>,
    /// What becomes of it.
    pub change: Change,
}

/// What becomes of a header field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// It has this value and no other.
    Set(Arc<str>),
    /// It has this value too.
    Add(Arc<str>),
    /// It is not there.
    Remove,
}

impl Actions {
    /// The actions, if there are any.
    pub fn shared(self) -> Option<Arc<Self>> {
        (self != Self::default()).then(|| Arc::new(self))
    }

    /// What is done, one thing each, for people.
    pub fn describe(&self) -> Vec<String> {
        let path = self.path.as_ref().map(|path| format!("path becomes {path}"));
        let host = self.host.as_ref().map(|host| format!("host becomes {host}"));
        let changes = |of: &'static str, changes: &[FieldChange]| {
            changes.iter().map(move |change| format!("{of} {change}")).collect::<Vec<_>>()
        };
        let timeout = self.timeout.map(|time| format!("answer within {time:?}"));
        let instead = self.instead.as_ref().map(ToString::to_string);
        let split = self.split.iter().map(|(version, weight)| format!("version {version} gets {weight}"));
        instead
            .into_iter()
            .chain(split)
            .chain(self.filters.iter().map(|name| format!("filter {name}")))
            .chain(timeout)
            .chain(path)
            .chain(host)
            .chain(changes("request", &self.request))
            .chain(changes("answer", &self.answer))
            .collect()
    }
}

impl Instead {
    /// The status.
    pub fn status(&self) -> u16 {
        let (Self::Redirect { status, .. } | Self::Answer { status, .. }) = self;
        *status
    }
}

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redirect { status, location } => write!(f, "redirect {status} to {location}"),
            Self::Answer { status, .. } => write!(f, "answer {status}"),
        }
    }
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.change {
            // Values may be secrets.
            Change::Set(_) => write!(f, "sets {name}"),
            Change::Add(_) => write!(f, "adds {name}"),
            Change::Remove => write!(f, "removes {name}"),
        }
    }
}
