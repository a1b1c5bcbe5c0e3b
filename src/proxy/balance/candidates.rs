//! The endpoints that one is chosen from: all of a service, or those at some places of the list.

use std::sync::Arc;

use crate::model::endpoint::Endpoint;
use crate::model::sorted::SortedList;

/// Endpoints by position.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    all: &'a SortedList<Arc<Endpoint>>,
    positions: Option<&'a [usize]>,
}

impl<'a> Candidates<'a> {
    /// All of a list.
    pub fn all(all: &'a SortedList<Arc<Endpoint>>) -> Self {
        Self { all, positions: None }
    }

    /// Those at these positions of a list.
    pub fn some(all: &'a SortedList<Arc<Endpoint>>, positions: &'a [usize]) -> Self {
        Self { all, positions: Some(positions) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.positions.map_or_else(|| self.all.len(), <[usize]>::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one at a position.
    pub fn at(&self, position: usize) -> Option<&'a Arc<Endpoint>> {
        match self.positions {
            None => self.all.at(position),
            Some(positions) => self.all.at(*positions.get(position)?),
        }
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = &'a Arc<Endpoint>> {
        (0..self.len()).filter_map(move |position| self.at(position))
    }
}
