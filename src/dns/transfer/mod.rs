//! Zone transfers: whole zones (AXFR, RFC 5936) and what changed in them (IXFR, RFC 1995), to those who may; and telling
//! them when there is something new (NOTIFY, RFC 1996).
//!
//! The zone is listed and written on a thread apart, a few messages ahead of what the client takes; a worker serves few
//! transfers at a time. One transfer shows one version of the table from its beginning to its end.

mod messages;
pub mod notify;

use std::sync::Arc;

use tokio::sync::mpsc;

use super::source::{NameSource, ZoneContents};
use super::tsig::Session;
use super::wire::query::{Header, Query};
use super::wire::{Rcode, record_type};
use crate::model::serial::is_later;
use crate::table::handle::TableHandle;
use messages::{Listing, Writer};

/// Transfers that one worker serves at a time.
pub(crate) const MOST_AT_A_TIME: usize = 4;

/// Messages that wait for the client to take them.
const AHEAD: usize = 4;

/// What a client asks to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) header: Header,
    /// As the client wrote it: name, type, class.
    pub(crate) question: Box<[u8]>,
    /// The zone, lower case.
    pub(crate) zone: Box<str>,
    /// Which version the client has, where it asks for what changed since.
    pub(crate) since: Option<u32>,
    /// To sign the messages with.
    pub(crate) session: Option<Session>,
}

/// Why a transfer does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTransfer {
    /// The client may not.
    Prohibited,
    /// The zone is none of ours.
    NotOurs,
}

impl NoTransfer {
    pub(crate) fn rcode(self) -> Rcode {
        match self {
            Self::Prohibited => Rcode::Refused,
            // RFC 5936 §2.2.1.
            Self::NotOurs => Rcode::NotAuth,
        }
    }
}

impl Request {
    /// The transfer that `query` asks for; its session, if it is signed, is added by who has checked it.
    pub(crate) fn new(query: &Query<'_>) -> Self {
        let is_incremental = query.question.record_type == record_type::IXFR;
        Self {
            header: query.header,
            question: query.question.wire.into(),
            zone: query.question.name.into(),
            since: query.known_serial.filter(|_| is_incremental),
            session: None,
        }
    }
}

/// How the messages of a transfer come, each as it is sent.
pub(crate) type Messages = mpsc::Receiver<Vec<u8>>;

/// Begins to write a transfer, on a thread apart. Within a runtime.
pub(crate) fn begin<N: NameSource + Send + Sync + 'static>(
    request: Request,
    names: Arc<N>,
    own_addresses: Arc<[std::net::IpAddr]>,
    history: Option<Arc<TableHandle>>,
) -> Messages {
    let (sender, messages) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let since = request.since;
        let zone = request.zone.clone();
        let mut writer = Writer::new(request, sender);
        let Some(contents) = names.contents(&zone) else { return writer.fail(Rcode::ServFail) };
        let new = Listing::new(contents, names.config(), &own_addresses);
        let Some(since) = since else { return writer.whole(&new) };
        // RFC 1995 §2: who has this version, or a later one, gets the SOA alone.
        if !is_later(new.serial(), since) {
            return writer.soa(&new);
        }
        match former(history.as_deref(), &zone, since) {
            Some(old) if old.is_set_as(&new) => writer.difference(&old, &new),
            _ => writer.whole(&new),
        }
    });
    messages
}

/// The zone as it was at a serial, where that version is still kept.
fn former(history: Option<&TableHandle>, zone: &str, serial: u32) -> Option<Listing> {
    let table = {
        let history = history?.history();
        // The lock is held while versions are compared, not while they are listed.
        let has_serial = |table: &crate::table::Table| {
            table.names.zones().any(|known| *known.name == *zone && known.serial == serial)
        };
        history.iter().find(|version| has_serial(&version.table)).map(|version| version.table.clone())?
    };
    let contents: ZoneContents = table.contents(zone)?;
    // The server's own addresses are no part of a version: they are the same before and after.
    Some(Listing::new(contents, &table.config.dns, &[]))
}
