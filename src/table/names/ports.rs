//! What is kept of the ports of a group's tasks, beside the group like all in [`super::kept`]: SRV by RFC 2782's names, SVCB and
//! HTTPS (RFC 9460).
//!
//! What may be asked for is known with the first question, so that a port which no task has costs no look at the tasks.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use super::bindings::Use;
use super::kept::MOST_SERVICES;
use super::records::KeptRecords;

/// A port as it is asked for: its label and its protocol, without underscores.
pub(super) type AskedPort = (String, String);

/// What is kept of a group's ports.
#[derive(Debug)]
pub(super) struct GroupPorts {
    /// Of the group's own name: all ports.
    own: Bindings,
    /// Sorted by what they are asked for by; `None`: there are too many, and what they have is made each time.
    ports: Option<Box<[Port]>>,
}

#[derive(Debug)]
struct Port {
    asked: AskedPort,
    services: OnceLock<KeptRecords>,
    bindings: Bindings,
}

#[derive(Debug, Default)]
struct Bindings {
    svcb: OnceLock<KeptRecords>,
    https: OnceLock<KeptRecords>,
}

impl Bindings {
    fn of(&self, wanted: Use) -> &OnceLock<KeptRecords> {
        match wanted {
            Use::Any => &self.svcb,
            Use::Https => &self.https,
        }
    }
}

/// Where records are kept.
#[derive(Debug)]
pub(super) enum Place<'k> {
    /// Here, once they are made.
    Here(&'k OnceLock<KeptRecords>),
    /// There are none.
    Nowhere,
    /// They are not kept.
    Unkept,
}

impl GroupPorts {
    /// Room for what these ports have.
    pub(super) fn of(asked: BTreeSet<AskedPort>) -> Self {
        let port = |asked| Port { asked, services: OnceLock::new(), bindings: Bindings::default() };
        let ports = (asked.len() <= MOST_SERVICES).then(|| asked.into_iter().map(port).collect());
        Self { own: Bindings::default(), ports }
    }

    /// Where the SRV records of a port are kept.
    pub(super) fn services(&self, label: &str, protocol: &str) -> Place<'_> {
        self.place(label, protocol, |port| &port.services)
    }

    /// Where the records of a port are kept that say how it is used, or those of all ports.
    pub(super) fn bindings(&self, port: Option<(&str, &str)>, wanted: Use) -> Place<'_> {
        match port {
            Some((label, protocol)) => self.place(label, protocol, |port| port.bindings.of(wanted)),
            None => Place::Here(self.own.of(wanted)),
        }
    }

    /// Whether a port is over this protocol; `None`: that is not known here.
    pub(super) fn has_protocol(&self, protocol: &str) -> Option<bool> {
        let ports = self.ports.as_ref()?;
        Some(ports.iter().any(|port| port.asked.1 == protocol))
    }

    fn place(&self, label: &str, protocol: &str, of: impl FnOnce(&Port) -> &OnceLock<KeptRecords>) -> Place<'_> {
        let Some(ports) = &self.ports else { return Place::Unkept };
        let found = ports.binary_search_by(|port| (&*port.asked.0, &*port.asked.1).cmp(&(label, protocol)));
        found.map_or(Place::Nowhere, |at| Place::Here(of(&ports[at])))
    }
}
