//! Shares of versions that an operator ordered.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::id::{ServiceId, Version};
use super::time::Timestamp;

/// Versions of a service and their shares.
pub type Shares = Box<[(Version, u32)]>;

/// An order: versions of one service and their shares. Versions that it does not name have none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightOrder {
    /// Versions and their shares.
    pub versions: Shares,
    /// Since when it holds.
    pub since: Timestamp,
    /// Who gave it.
    pub actor: Arc<str>,
}

/// The orders in force. They are few, and cheap to share between tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weights(Arc<BTreeMap<ServiceId, WeightOrder>>);

impl Weights {
    /// The order for a service.
    pub fn get(&self, service: &ServiceId) -> Option<&WeightOrder> {
        if self.0.is_empty() { None } else { self.0.get(service) }
    }

    /// Puts an order in place of an earlier one.
    pub fn set(&mut self, service: ServiceId, order: WeightOrder) {
        Arc::make_mut(&mut self.0).insert(service, order);
    }

    /// Takes an order back; whether there was one.
    pub fn remove(&mut self, service: &ServiceId) -> bool {
        self.get(service).is_some() && Arc::make_mut(&mut self.0).remove(service).is_some()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceId, &WeightOrder)> {
        self.0.iter()
    }
}
