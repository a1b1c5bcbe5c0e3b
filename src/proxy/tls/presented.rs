//! Which certificate a listener shows, by the name that its client asks for (SNI). In this order:
//!
//! 1. of those that services name whose routes are for the host, the first that stands for the name;
//! 2. one of the listener's own folder that stands for the name;
//! 3. the first that services name, though it stands for another name: they asked for it, and there is no better one;
//! 4. the listener's default.
//!
//! What services name are keys into one folder of the operator's, never files; a name that is not there counts as none.

use std::borrow::Cow;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::Pair;
use super::store::Certificates;
use crate::table::handle::TableHandle;

/// Certificates that services name for their hosts.
#[derive(Clone, Debug)]
pub struct OfServices {
    table: Arc<TableHandle>,
    certificates: Arc<Certificates>,
}

impl OfServices {
    /// Names in tables are those of pairs among `certificates`.
    pub fn new(table: Arc<TableHandle>, certificates: Arc<Certificates>) -> Self {
        Self { table, certificates }
    }

    /// The first pair that stands for `host`, and the first of all. Nobody but who shakes hands asks: a table is taken
    /// for just this.
    fn pairs(&self, host: &str) -> (Option<Arc<Pair>>, Option<Arc<Pair>>) {
        let table = self.table.load();
        let mut first = None;
        for pair in table.certificates_of(host).filter_map(|name| self.certificates.named(name)) {
            if pair.covers(host) {
                return (Some(pair), first);
            }
            first.get_or_insert(pair);
        }
        (None, first)
    }
}

/// The certificates of a listener.
#[derive(Debug)]
pub struct Presented {
    own: Arc<Certificates>,
    of_services: Option<OfServices>,
}

impl Presented {
    /// Those of a folder, and of services where they may name some.
    pub fn new(own: Arc<Certificates>, of_services: Option<OfServices>) -> Self {
        Self { own, of_services }
    }

    /// Whether the certificate that is shown for `name` stands for `host` too.
    pub fn is_same(&self, name: &str, host: &str) -> bool {
        match &self.of_services {
            None => self.own.is_same(name, host),
            Some(services) => self.of_name(services, &name.to_ascii_lowercase()).is_some_and(|pair| pair.covers(host)),
        }
    }

    /// The pair for a name, in lower case; `None`: the default is shown.
    fn of_name(&self, services: &OfServices, name: &str) -> Option<Arc<Pair>> {
        let (fitting, first) = services.pairs(name);
        fitting.or_else(|| self.own.standing_for(name)).or(first)
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some((services, name)) = self.of_services.as_ref().zip(hello.server_name()) else {
            return self.own.resolve(hello);
        };
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        self.of_name(services, &name).or_else(|| self.own.default_pair()).map(|pair| pair.shown())
    }
}
