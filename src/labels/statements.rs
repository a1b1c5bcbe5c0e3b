//! What labels state, by place and field, before it is assembled into a specification.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::complaint::{Complaints, quoted};
use super::keys::Field;
use super::value::Value;
use crate::model::problem::ProblemCode;

/// What a label speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The task.
    Task,
    /// Every port that does not say it itself.
    EveryPort,
    /// One port.
    Port(usize),
    /// One route of a port.
    Route(usize, Arc<str>),
}

/// One statement.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub value: Value,
    /// The label that said it.
    pub label: Arc<str>,
    /// Its value as written.
    pub text: Arc<str>,
}

/// The name of the route that labels without a route's name speak of.
pub(super) const DEFAULT_ROUTE: &str = "default";

/// The one copy of [`DEFAULT_ROUTE`] for all tasks.
pub(super) fn default_route() -> Arc<str> {
    static NAME: LazyLock<Arc<str>> = LazyLock::new(|| DEFAULT_ROUTE.into());
    NAME.clone()
}

/// All statements of a task's labels, and what was wrong with the labels.
#[derive(Debug, Default)]
pub(super) struct Statements {
    said: BTreeMap<(Place, Field), Said>,
    pub complaints: Complaints,
}

impl Statements {
    /// Adds a statement. What was said first counts; a contradiction is a problem.
    pub(crate) fn say(&mut self, place: Place, field: Field, said: Said) {
        let Some(first) = self.said.get(&(place.clone(), field)) else {
            self.said.insert((place, field), said);
            return;
        };
        if first.value != said.value {
            let message = format!(
                "the value {} contradicts `{}`, which says {} and counts",
                quoted(&said.label, &said.text),
                first.label,
                quoted(&first.label, &first.text),
            );
            self.complaints.add(ProblemCode::InvalidLabel, &said.label, message, "remove one of the two labels");
        }
    }

    /// Adds a statement unless something is said already: how labels of marathon-lb give way to native ones.
    pub(crate) fn say_if_silent(&mut self, place: Place, field: Field, said: Said) {
        self.said.entry((place, field)).or_insert(said);
    }

    /// Takes a statement back if this label has made it.
    pub(crate) fn unsay(&mut self, place: &Place, field: Field, label: &str) {
        let key = (place.clone(), field);
        if self.said.get(&key).is_some_and(|said| &*said.label == label) {
            self.said.remove(&key);
        }
    }

    /// What is said at a place.
    pub(crate) fn at(&self, place: Place, field: Field) -> Option<&Said> {
        self.said.get(&(place, field))
    }

    /// What is said of a port: its own statement, else that of every port.
    pub(crate) fn of_port(&self, port: usize, field: Field) -> Option<&Said> {
        self.at(Place::Port(port), field).or_else(|| self.at(Place::EveryPort, field))
    }

    /// Whether anything is said of a port or its routes.
    pub(crate) fn mention(&self, port: usize) -> bool {
        self.said.keys().any(|(place, _)| match place {
            Place::EveryPort => true,
            Place::Port(at) | Place::Route(at, _) => *at == port,
            Place::Task => false,
        })
    }

    /// The names of a port's routes: the default one first, the others sorted.
    pub(crate) fn routes(&self, port: usize) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = Vec::new();
        for (place, _) in self.said.keys() {
            if let Place::Route(at, name) = place
                && *at == port
                && names.last() != Some(name)
            {
                names.push(name.clone());
            }
        }
        names.sort_by_key(|name| **name != *DEFAULT_ROUTE);
        names
    }
}
