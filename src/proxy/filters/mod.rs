//! What a route does with its requests and answers beside choosing a service. Pure.

pub mod fields;
pub mod instead;
pub mod rewrite;
