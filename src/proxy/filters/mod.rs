//! What a route does with its requests and answers beside choosing a service, and filters of the configuration. Pure, but
//! for the counts of rates.

pub mod cors;
pub mod fields;
pub mod instead;
pub mod named;
pub mod rate;
pub mod rewrite;
