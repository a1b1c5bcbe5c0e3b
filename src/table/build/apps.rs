//! Apps that exist with or without tasks, and the services that live by them.

use std::collections::BTreeMap;

use crate::model::hash::{HashMap, HashSet};

use super::task::{ClaimDraft, DeclaredPort};
use crate::model::id::{ServiceId, TaskKey};

/// What apps claim now.
#[derive(Debug, Default)]
pub(super) struct Apps {
    claims: HashMap<TaskKey, Vec<ClaimDraft>>,
    /// By service, what each of its apps says of it: the first one's word counts, on every instance the same.
    services: HashMap<ServiceId, BTreeMap<TaskKey, DeclaredPort>>,
}

impl Apps {
    /// What an app says takes the place of what it said; returns its former claims.
    pub(super) fn replace(
        &mut self,
        key: &TaskKey,
        claims: Vec<ClaimDraft>,
        ports: Vec<DeclaredPort>,
        touched: &mut HashSet<ServiceId>,
    ) -> Vec<ClaimDraft> {
        let is_empty = claims.is_empty();
        let former = self.claims.remove(key).unwrap_or_default();
        if !is_empty {
            self.claims.insert(key.clone(), claims);
        }
        for claim in &former {
            if let Some(apps) = self.services.get_mut(&claim.service) {
                apps.remove(key);
                if apps.is_empty() {
                    self.services.remove(&claim.service);
                }
                touched.insert(claim.service.clone());
            }
        }
        for port in ports {
            touched.insert(port.service.clone());
            self.services.entry(port.service.clone()).or_default().insert(key.clone(), port);
        }
        former
    }

    /// What is said of a service that lives by an app.
    pub(super) fn of_service(&self, id: &ServiceId) -> Option<&DeclaredPort> {
        self.services.get(id)?.values().next()
    }
}
