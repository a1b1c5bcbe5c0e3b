//! One copy of each string that comes again and again (label keys, framework ids, agent ids).

use std::collections::HashSet;
use std::sync::Arc;

/// A bounded set of shared strings. When it is full, new strings are simply not shared.
#[derive(Debug)]
pub struct Interner {
    strings: HashSet<Arc<str>>,
    limit: usize,
}

impl Interner {
    /// An interner that keeps at most `limit` strings.
    pub fn new(limit: usize) -> Self {
        Self { strings: HashSet::new(), limit }
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
}

impl Default for Interner {
    fn default() -> Self {
        Self::new(1 << 16)
    }
}
