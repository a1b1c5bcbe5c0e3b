//! What a new configuration changes, and whether that is possible without a restart.

use std::fmt;

use serde::Serialize;

use super::checked::{Config, MesosConfig};
use super::raw::Raw;
use super::setting::Reload;
use super::settings;
use crate::model::id::SourceName;

/// What changes, by setting; entries of lists are named: `proxy.listeners[https].address`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReloadPlan {
    /// Takes effect with the next table and the next requests.
    pub live: Vec<String>,
    /// Takes effect when its listener is opened anew.
    pub listeners: Vec<String>,
    /// Sources that were added or removed, or whose stream must be opened anew, by name.
    pub sources: Vec<SourceName>,
}

/// A changed setting that takes effect only at a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestartNeeded {
    /// The setting.
    pub key: String,
}

impl ReloadPlan {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.listeners.is_empty()
    }
}

impl fmt::Display for RestartNeeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: a change takes effect only when the program starts; restart it, or take the change back",
            self.key
        )
    }
}

/// Compares the configuration that runs with a new one.
///
/// # Errors
/// Every changed setting that needs a restart; the new configuration is then refused as a whole.
pub fn reload(old: &Config, new: &Config) -> Result<ReloadPlan, Vec<RestartNeeded>> {
    let mut changes = Vec::new();
    settings::root().changes(&Raw::from(old), &Raw::from(new), "", &mut changes);
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    let (mut plan, mut refused) =
        (ReloadPlan { sources: changed_sources(old, new), ..ReloadPlan::default() }, Vec::new());
    for change in changes {
        match change.reload {
            Reload::Live => plan.live.push(change.key),
            Reload::Listener => plan.listeners.push(change.key),
            Reload::Restart => refused.push(RestartNeeded { key: change.key }),
        }
    }
    if refused.is_empty() { Ok(plan) } else { Err(refused) }
}

/// Sources whose task must be started, stopped or replaced. What only the derivation reads (zones, the guard) leaves
/// the stream alone.
fn changed_sources(old: &Config, new: &Config) -> Vec<SourceName> {
    let mesos = differing(&old.mesos, &new.mesos, MesosConfig::has_same_stream, |mesos| &mesos.name);
    let marathon = differing(&old.marathon, &new.marathon, PartialEq::eq, |marathon| &marathon.name);
    let files = differing(&old.files, &new.files, PartialEq::eq, |file| &file.name);
    let mut changed = [mesos, marathon, files].concat();
    changed.sort();
    changed.dedup();
    changed
}

/// Names of the entries that only one of the lists has.
fn differing<T>(old: &[T], new: &[T], same: fn(&T, &T) -> bool, name: fn(&T) -> &SourceName) -> Vec<SourceName> {
    let is_in = |entry: &T, list: &[T]| list.iter().any(|other| same(entry, other));
    let gone = old.iter().filter(|entry| !is_in(entry, new));
    let added = new.iter().filter(|entry| !is_in(entry, old));
    gone.chain(added).map(|entry| name(entry).clone()).collect()
}
