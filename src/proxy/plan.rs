//! What is to be done with a request, decided from its head and one table.

use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderValue, Method, Version};

use super::balance::hashing;
use super::balance::local::ServiceLocal;
use super::client_address::client_address;
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
    /// What the worker keeps of the service.
    pub local: Rc<ServiceLocal>,
    /// By which the request finds its endpoint, if requests are spread by hashing.
    pub key: Option<u64>,
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
    if worker.shard.held() > config.proxy.limits.buffer_bytes as u64 {
        return Err(Reason::Overloaded);
    }
    // RFC 9110 section 4.2.2: what is asked for by `https` has to come over a secured connection.
    if head.version < Version::HTTP_2 && head.uri.scheme() == Some(&Scheme::HTTPS) && client.secured.is_none() {
        return Err(Reason::BadTarget);
    }
    let admitted = gate::admit(head, config.proxy.limits.head_fields)?;
    if headers::passes(&head.headers, &config.proxy.via) >= config.proxy.max_hops {
        return Err(Reason::Loop);
    }
    if head.method == Method::OPTIONS && headers::max_forwards(&head.headers) == Some(0) {
        return Err(Reason::MaxForwards);
    }
    let upgrade = upgrade::requested(head, has_body)?;
    let host = admitted.host();
    if client.secured.as_ref().is_some_and(|secured| !secured.is_for(&host)) {
        return Err(Reason::WrongName);
    }
    let mut rng = worker.rng.borrow_mut();
    let destination = worker.with_table(|table| route::find(table, &host, admitted.path(), &head.headers, &mut rng))?;
    drop((host, rng));
    let local = worker.local(&destination.service.id);
    let algorithm = destination.service.algorithm(&config.proxy.balance.algorithm);
    let peer = client.peer.ip();
    let address = || client_address(peer, &head.headers, &config.proxy.trusted_proxies);
    let key = hashing::key(algorithm, &head.headers, address);
    Ok(Plan { admitted, destination, config, upgrade, local, key })
}
