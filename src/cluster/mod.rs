//! What is known of the clusters: facts by source, the events that change them, and the rules by which they age.

pub mod by_source;
pub mod change;
pub mod closing;
pub mod deadline;
pub mod deployments;
pub mod event;
pub mod guard;
pub mod ledger;
mod presentation;
pub mod records;
pub mod source;
pub mod sources;
pub mod state;
pub mod status;
pub mod store;
