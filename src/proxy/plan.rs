//! What is to be done with a request, decided from its head and one table.

use std::sync::Arc;

use http::HeaderValue;
use http::request::Parts;

use super::connection::Client;
use super::gate::{self, Admitted};
use super::headers;
use super::reason::Reason;
use super::route::{self, Destination};
use super::upgrade;
use crate::config::Config;

/// What is to be done with a request.
#[derive(Debug)]
pub struct Plan {
    /// Host and target, in canonical form.
    pub admitted: Admitted,
    /// Where it goes.
    pub destination: Destination,
    /// The configuration it is served with.
    pub config: Arc<Config>,
    /// The protocol it asks to be upgraded to.
    pub upgrade: Option<HeaderValue>,
}

/// Decides about request `number` of a client's connection.
///
/// # Errors
/// The reason of the answer, if it is not forwarded.
pub fn make(client: &Client, number: u32, head: &Parts, has_body: bool) -> Result<Plan, Reason> {
    if let Some(reason) = client.watch.violation(number) {
        return Err(reason);
    }
    let worker = &client.worker;
    let config = worker.config();
    let admitted = gate::admit(head, config.proxy.limits.head_fields)?;
    if headers::passes(&head.headers, &config.proxy.via) >= config.proxy.max_hops {
        return Err(Reason::Loop);
    }
    let upgrade = upgrade::requested(head, has_body)?;
    let host = admitted.host();
    if client.secured.as_ref().is_some_and(|secured| !secured.is_for(&host)) {
        return Err(Reason::WrongName);
    }
    let mut rng = worker.rng.borrow_mut();
    let destination = worker.with_table(|table| route::find(table, &host, admitted.path(), &head.headers, &mut rng))?;
    drop((host, rng));
    Ok(Plan { admitted, destination, config, upgrade })
}
