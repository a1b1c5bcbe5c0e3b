//! By which rules names are made from what tasks and frameworks are called, and who is named.

use std::sync::Arc;

use super::label::{LABEL, NAME, domain_frag, shorten, spec};
use crate::config::checked::{DnsConfig, ExtraName, LabelRule, NameUnhealthy};

/// The rules of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamingRules {
    /// How labels are made.
    pub labels: LabelRule,
    /// Who is named.
    pub unhealthy: NameUnhealthy,
    /// Whether names exist while none of their tasks runs.
    pub hold: bool,
    /// Names that Mesos-DNS does not have.
    pub extra: ExtraNames,
    /// Octets that a framework's part may have, so that what stands around it and the zone fit.
    room: usize,
}

/// Which names there are that Mesos-DNS does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtraNames(u8);

impl ExtraNames {
    /// These.
    pub fn new(names: &[ExtraName]) -> Self {
        Self(names.iter().fold(0, |all, name| all | 1 << (*name as u8)))
    }

    /// Whether there are such names.
    pub fn has(self, name: ExtraName) -> bool {
        self.0 & 1 << (name as u8) != 0
    }
}

/// Octets of what may stand around a framework's part: a port's, a task's and a protocol's label, `slave`.
const AROUND_FRAMEWORK: usize = 64 + 64 + "._sctp.".len() + ".slave.".len();

impl NamingRules {
    /// The rules that the configuration gives `zone`.
    pub fn new(config: &DnsConfig, zone: &str) -> Self {
        Self {
            labels: config.label_rule,
            unhealthy: config.name_unhealthy,
            hold: config.hold_names,
            extra: ExtraNames::new(&config.extra_names),
            room: NAME.saturating_sub(AROUND_FRAMEWORK + zone.len()).max(16),
        }
    }

    /// Octets that a framework's part may have.
    pub fn room(&self) -> usize {
        self.room
    }

    /// The label of a task, a port or a protocol.
    pub fn label(&self, text: &str) -> String {
        spec(text, self.labels)
    }

    /// The part that a framework's name is in its names.
    pub fn framework(&self, name: &str) -> String {
        domain_frag(name, self.labels)
    }

    /// A framework's part as it is in names that would be too long with it: the same where it is short enough.
    pub fn short_framework<'a>(&self, part: &'a str) -> std::borrow::Cow<'a, str> {
        shorten(part, self.room)
    }

    /// The label that a framework's part is in the zones of DC/OS: dots are hyphens there, and what has no room in a label
    /// ends in a hash.
    pub fn dcos_label(part: &str) -> String {
        shorten(&part.replace('.', "-"), LABEL).into_owned()
    }

    /// A framework's parts: as it is, and the shortened one where that is another.
    pub fn framework_parts(&self, name: &str) -> Vec<Arc<str>> {
        let part = self.framework(name);
        let short = self.short_framework(&part);
        match &*short == part.as_str() {
            _ if part.is_empty() => Vec::new(),
            true => vec![part.into()],
            false => vec![Arc::from(&*short), part.into()],
        }
    }
}

impl Default for NamingRules {
    fn default() -> Self {
        Self::new(&DnsConfig::default(), "")
    }
}
