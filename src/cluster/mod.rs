//! What is known of the clusters: facts by source, the events that change them, and the rules by which they age.

pub mod event;
pub mod sources;
