//! The name server's own name, which settings make and no table has: where it is, and what it hides.
//!
//! Pure.

use super::answer::Authority;
use super::source::NameSource;
use crate::table::names::{Found, Node, Record};

impl<'a, N: NameSource> Authority<'a, N> {
    /// Finds a name (lower case, absolute, without the final dot), the name server's own included.
    pub(crate) fn find(&self, name: &str) -> Found<'a> {
        let found = self.names.find(name);
        let zone = match &found {
            Found::Outside | Found::Unready(_) | Found::Delegated(..) => return found,
            Found::Missing(zone) | Found::Node(zone, _) => *zone,
        };
        let Some(nameserver) = nameserver_below(&self.names.config().nameserver, &zone.name) else { return found };
        let wildcard = match &found {
            Found::Node(_, node) => node.wildcard,
            _ => None,
        };
        match labels_below(name, &zone.name).unwrap_or_default() {
            // The name is the program's own: it takes no additions from tasks.
            below if below == nameserver => Found::Node(zone, self.nameserver_node(below.is_empty())),
            // RFC 8020: what lies above an existing name exists.
            below if is_below(nameserver, below) && (wildcard.is_some() || matches!(found, Found::Missing(_))) => {
                Found::Node(zone, Node::default())
            }
            // RFC 4592 §3.3.1: below a name that exists no wildcard further up counts.
            below if wildcard.is_some_and(|encloser| is_nearer(nameserver, below, encloser)) => Found::Missing(zone),
            _ => found,
        }
    }

    fn nameserver_node(&self, is_apex: bool) -> Node {
        let configured = &self.names.config().nameserver_addresses;
        let addresses = if configured.is_empty() { self.own_addresses } else { configured };
        let records = addresses.iter().map(|address| Record { data: (*address).into(), ttl: None });
        Node::new(is_apex, records.collect::<Vec<_>>())
    }
}

/// A name as the settings have those of name server and contact: labels below the zone, or absolute with a final dot, which
/// is left out here.
pub(crate) fn absolute(below: &str, zone: &str) -> String {
    match below.strip_suffix('.') {
        Some(absolute) => absolute.to_owned(),
        None if zone.is_empty() => below.to_owned(),
        None => format!("{below}.{zone}"),
    }
}

/// The name server's labels below the zone, empty where it is the zone's own name; `None`: it lies elsewhere.
fn nameserver_below<'n>(nameserver: &'n str, zone: &str) -> Option<&'n str> {
    match nameserver.strip_suffix('.') {
        Some(absolute) if absolute == zone => Some(""),
        Some(absolute) => labels_below(absolute, zone),
        None => Some(nameserver),
    }
}

/// The labels of `name` below `zone`; `None`: it is the zone itself, or elsewhere.
fn labels_below<'n>(name: &'n str, zone: &str) -> Option<&'n str> {
    if zone.is_empty() {
        return (!name.is_empty()).then_some(name);
    }
    name.strip_suffix(zone)?.strip_suffix('.')
}

/// Whether `name` lies below `above`.
fn is_below(name: &str, above: &str) -> bool {
    name.strip_suffix(above).is_some_and(|labels| labels.ends_with('.'))
}

/// Whether the name server's name, or one above it, lies between `below` and the ancestor of it that begins at `encloser`.
fn is_nearer(nameserver: &str, below: &str, encloser: usize) -> bool {
    let ancestors = below.match_indices('.').map(|(dot, _)| dot + 1).take_while(|at| *at < encloser);
    ancestors.map(|at| &below[at..]).any(|above| above == nameserver || is_below(nameserver, above))
}
