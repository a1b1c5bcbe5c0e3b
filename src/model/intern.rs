//! One copy of what comes again and again: strings (label keys, framework ids, agent ids), labels of applications.

use std::collections::HashSet;
use std::sync::Arc;

use super::task::Label;

/// Bounded sets of what is shared. When they are full, what is new is simply not shared.
#[derive(Debug)]
pub struct Interner {
    strings: HashSet<Arc<str>>,
    labels: HashSet<Arc<[Label]>>,
    limit: usize,
}

impl Interner {
    /// An interner that keeps at most `limit` strings, and as many lists of labels.
    pub fn new(limit: usize) -> Self {
        Self { strings: HashSet::new(), labels: HashSet::new(), limit }
    }

    /// The shared copy of `text`.
    pub fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return known.clone();
        }
        let shared: Arc<str> = text.into();
        if self.strings.len() < self.limit {
            self.strings.insert(shared.clone());
        }
        shared
    }

    /// The shared copy of a task's labels.
    pub fn intern_labels(&mut self, labels: Arc<[Label]>) -> Arc<[Label]> {
        if let Some(known) = self.labels.get(&labels) {
            return known.clone();
        }
        if self.labels.len() < self.limit {
            self.labels.insert(labels.clone());
        }
        labels
    }
}

impl Default for Interner {
    fn default() -> Self {
        Self::new(1 << 16)
    }
}
