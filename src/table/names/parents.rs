//! Names that exist only because others exist below them (empty non-terminals, RFC 8020).

use std::sync::Arc;

use crate::model::persistent::PersistentMap;

/// Counts, for each name, the names below it that were added.
#[derive(Clone, Debug, Default)]
pub struct Parents {
    counts: PersistentMap<Arc<str>, u32>,
}

impl Parents {
    /// Whether something exists below `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.counts.contains_key(name)
    }

    /// Every such name with its count, sorted.
    pub fn sorted(&self) -> Vec<(Arc<str>, u32)> {
        let mut all: Vec<_> = self.counts.iter().map(|(name, count)| (name.clone(), *count)).collect();
        all.sort();
        all
    }

    /// Adds one name, not its ancestors.
    pub fn add(&mut self, name: &str) {
        match self.counts.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(name.into(), 1)),
        }
    }

    /// Takes one back.
    pub fn remove(&mut self, name: &str) {
        match self.counts.get_mut(name) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.counts.remove(name)),
        }
    }

    /// Adds every proper ancestor of `name`.
    pub fn add_ancestors(&mut self, name: &str) {
        for ancestor in ancestors(name) {
            self.add(ancestor);
        }
    }

    /// Takes every proper ancestor of `name` back.
    pub fn remove_ancestors(&mut self, name: &str) {
        for ancestor in ancestors(name) {
            self.remove(ancestor);
        }
    }
}

fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(dot, _)| &name[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_exist_as_long_as_a_name_below_them_does() {
        let mut parents = Parents::default();
        parents.add_ancestors("a.b.c");
        parents.add_ancestors("x.b.c");
        assert!(parents.contains("b.c") && parents.contains("c") && !parents.contains("a.b.c"));
        parents.remove_ancestors("a.b.c");
        assert!(parents.contains("b.c"));
        parents.remove_ancestors("x.b.c");
        assert!(!parents.contains("b.c") && !parents.contains("c"));
    }
}
