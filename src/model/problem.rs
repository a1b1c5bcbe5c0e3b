//! What is wrong with one task, service or source, said so that its owner can mend it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A fault that spoils its subject alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// A stable word for the kind of fault, from a closed set: `unknown-label`, `invalid-label`, `host-conflict`,
    /// `address-refused`, `missing-port`, `policy-refused`, `framework-address-unknown`, …
    pub code: ProblemCode,
    /// Whose fault it is: a task key, a service id, a source, a zone, a file.
    pub subject: Arc<str>,
    /// The label, field or claim that is at fault; empty if it is the whole subject.
    pub at: Arc<str>,
    /// What is wrong, in one sentence without secrets.
    pub message: Arc<str>,
    /// How to mend it.
    pub mend: Arc<str>,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// The kinds of faults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ProblemCode { $($(#[$doc])* #[serde(rename = $text)] $name),* }

        impl ProblemCode {
            /// Every kind, for metrics and documentation.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

codes! {
    /// A label of ours with a key that does not exist.
    UnknownLabel = "unknown-label",
    /// A label whose value cannot be understood.
    InvalidLabel = "invalid-label",
    /// A label that is understood elsewhere and refused here.
    UnsupportedLabel = "unsupported-label",
    /// A label names a port that the task does not have.
    MissingPort = "missing-port",
    /// No address is known for the task.
    MissingAddress = "missing-address",
    /// The address may not be served (see the tenants' rules).
    AddressRefused = "address-refused",
    /// The port does not lie in the task's port resources.
    PortRefused = "port-refused",
    /// Another service holds the host and path.
    RouteConflict = "route-conflict",
    /// Another service holds the port, or it is one of this program's own.
    PortConflict = "port-conflict",
    /// The port that a service holds cannot be listened on.
    PortUnavailable = "port-unavailable",
    /// A policy does not allow the claim.
    PolicyRefused = "policy-refused",
    /// A name cannot be made from what the task is called.
    InvalidName = "invalid-name",
    /// Another framework's tasks have the same names, which stand for the tasks of both.
    NameConflict = "name-conflict",
    /// The framework's address is not known, so its name has no address.
    FrameworkAddressUnknown = "framework-address-unknown",
    /// A task wants its certificate not to be verified.
    UnverifiedTls = "unverified-tls",
    /// An app joined a service that has other rules than it asks for.
    RulesConflict = "rules-conflict",
    /// A fact of a source could not be read.
    InvalidFact = "invalid-fact",
    /// Removals are held back by the guard.
    RemovalsHeld = "removals-held",
    /// A static record is wrong.
    InvalidRecord = "invalid-record",
    /// A certificate, its key or a file of authorities cannot be used.
    InvalidCertificate = "invalid-certificate",
    /// A list of revoked certificates cannot be read, or is out of date.
    InvalidRevocationList = "invalid-revocation-list",
}
