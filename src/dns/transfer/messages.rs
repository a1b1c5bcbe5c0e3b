//! A zone as a sequence of messages.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Request;
use crate::cluster::event::RecordData;
use crate::config::checked::DnsConfig;
use crate::dns::nameserver::absolute;
use crate::dns::source::ZoneContents;
use crate::dns::tsig::Session;
use crate::dns::wire::query::Question;
use crate::dns::wire::record::{Data, Owner, Soa, type_of};
use crate::dns::wire::response::{Response, Section, Written};
use crate::dns::wire::{CLASS_IN, Rcode, flags, record_type};

/// Octets of one message: pointers to names reach 16 KiB far, and a larger message is no better compressed.
const MESSAGE: usize = 16 * 1024;

/// A record of a zone, its apex' SOA and NS apart.
type Line = (String, u32, RecordData);

/// Everything in a zone, sorted.
pub(super) struct Listing {
    zone: Arc<crate::table::names::Zone>,
    config: DnsConfig,
    lines: Vec<Line>,
}

impl Listing {
    /// A zone's records, the name server's addresses among them.
    pub(super) fn new(contents: ZoneContents, config: &DnsConfig, own_addresses: &[IpAddr]) -> Self {
        let ZoneContents { zone, names } = contents;
        let config = config.clone();
        let nameserver = absolute(&config.nameserver, &zone.name);
        let mut lines: Vec<Line> = Vec::new();
        for (name, records) in names.into_iter().filter(|(name, _)| *name != nameserver) {
            for record in &records {
                // RFC 2181 §5.2: all records of a set have one time to live.
                let is_of_set = |other: &&crate::table::names::Record| type_of(&other.data) == type_of(&record.data);
                let ttls = records.iter().filter(is_of_set).map(|other| other.ttl.unwrap_or(config.ttl_seconds));
                lines.push((name.clone(), ttls.min().unwrap_or(config.ttl_seconds), record.data.clone()));
            }
        }
        let configured = &config.nameserver_addresses;
        let addresses = if configured.is_empty() { own_addresses } else { configured };
        if crate::table::names::below(&nameserver, &zone.name).is_some() {
            let addresses = addresses.iter().map(|address| RecordData::from(*address));
            lines.extend(addresses.map(|data| (nameserver.clone(), config.ttl_seconds, data)));
        }
        lines.sort_unstable();
        lines.dedup();
        Self { zone, config, lines }
    }

    pub(super) fn serial(&self) -> u32 {
        self.zone.serial
    }

    /// Whether the settings put the same into both: the name server with its addresses, and the time that NS records live. What
    /// they put into a zone is in no difference.
    pub(super) fn is_set_as(&self, other: &Self) -> bool {
        let (one, other) = (&self.config, &other.config);
        one.nameserver == other.nameserver
            && one.nameserver_addresses == other.nameserver_addresses
            && one.listen == other.listen
            && one.ttl_seconds == other.ttl_seconds
    }

    fn soa(&self) -> Soa<'_> {
        Soa::of(&self.zone, &self.config)
    }
}

/// Writes records into messages and gives these away as they fill.
pub(super) struct Writer {
    request: Request,
    sender: mpsc::Sender<Vec<u8>>,
    /// Whether no message has been written yet.
    is_first: bool,
}

/// What is written next.
enum Item<'a> {
    Soa(&'a Listing),
    Ns(&'a Listing),
    Line(&'a Line),
}

impl Writer {
    pub(super) fn new(request: Request, sender: mpsc::Sender<Vec<u8>>) -> Self {
        Self { request, sender, is_first: true }
    }

    /// One message that says nothing but a code.
    pub(super) fn fail(&mut self, rcode: Rcode) {
        let mut items = std::iter::empty().peekable();
        let _ = self.message(&mut items, rcode);
    }

    /// RFC 5936 §2.2: SOA, everything else, SOA.
    pub(super) fn whole(&mut self, zone: &Listing) {
        let lines = zone.lines.iter().map(Item::Line);
        self.write([Item::Soa(zone), Item::Ns(zone)].into_iter().chain(lines).chain([Item::Soa(zone)]));
    }

    /// RFC 1995 §4: the SOA alone.
    pub(super) fn soa(&mut self, zone: &Listing) {
        self.write([Item::Soa(zone)].into_iter());
    }

    /// RFC 1995 §4: the new SOA; the old one and what is gone; the new one and what has come; the new one.
    pub(super) fn difference(&mut self, old: &Listing, new: &Listing) {
        let nameserver = absolute(&new.config.nameserver, &new.zone.name);
        // The server's own addresses are known of now alone.
        let is_own = |line: &&Line| line.0 != nameserver;
        let old_lines: Vec<&Line> = old.lines.iter().filter(is_own).collect();
        let new_lines: Vec<&Line> = new.lines.iter().filter(is_own).collect();
        let (gone, come) = difference(&old_lines, &new_lines);
        let head = [Item::Soa(new), Item::Soa(old)];
        let items = head.into_iter().chain(gone.into_iter().map(Item::Line));
        let items = items.chain([Item::Soa(new)]).chain(come.into_iter().map(Item::Line));
        self.write(items.chain([Item::Soa(new)]));
    }

    fn write<'a>(&mut self, items: impl Iterator<Item = Item<'a>>) {
        let mut items = items.peekable();
        while items.peek().is_some() {
            if self.message(&mut items, Rcode::NoError).is_none() {
                // The client is gone.
                return;
            }
        }
    }

    /// Writes as many items as one message has room for, and gives it away.
    fn message<'a>(
        &mut self,
        items: &mut std::iter::Peekable<impl Iterator<Item = Item<'a>>>,
        rcode: Rcode,
    ) -> Option<()> {
        let mut out = Vec::new();
        // Only the first message repeats the question (RFC 5936 §2.2.1 leaves the choice).
        let question = self.is_first.then(|| self.question());
        let room = MESSAGE - self.request.session.as_ref().map_or(0, Session::octets);
        let mut response = Response::begin(&mut out, self.request.header, question.as_ref(), None, room);
        let mut count = 0;
        while let Some(item) = items.peek() {
            if write_item(&mut response, item) == Written::NoRoom && count > 0 {
                break;
            }
            // What no message can express is left out here as in answers.
            count += 1;
            items.next();
        }
        let authoritative = if rcode == Rcode::NoError { flags::AA } else { 0 };
        response.finish(rcode, authoritative);
        self.is_first = false;
        if let Some(session) = &mut self.request.session {
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
            session.sign(now, 0, &mut out);
        }
        self.sender.blocking_send(out).ok()
    }

    /// As it was asked: the name of the zone.
    fn question(&self) -> Question<'_> {
        let (wire, name) = (&*self.request.question, &*self.request.zone);
        Question { wire, name, record_type: record_type::AXFR, class: CLASS_IN }
    }
}

fn write_item(response: &mut Response<'_>, item: &Item<'_>) -> Written {
    match item {
        Item::Soa(listing) => {
            let (owner, ttl) = (Owner::Name(&listing.zone.name), listing.config.ttl_seconds);
            response.record(Section::Answer, owner, ttl, Data::Soa(&listing.soa()))
        }
        Item::Ns(listing) => {
            let (owner, ttl) = (Owner::Name(&listing.zone.name), listing.config.ttl_seconds);
            response.record(Section::Answer, owner, ttl, Data::Ns(&listing.config.nameserver, &listing.zone.name))
        }
        Item::Line((name, ttl, data)) => response.record(Section::Answer, Owner::Name(name), *ttl, Data::Record(data)),
    }
}

/// What is in the one sorted list only, and what in the other.
fn difference<'a>(old: &[&'a Line], new: &[&'a Line]) -> (Vec<&'a Line>, Vec<&'a Line>) {
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return (gone, come),
            (Some(_), None) => gone.extend(old.next()),
            (None, Some(_)) => come.extend(new.next()),
            (Some(one), Some(other)) => match one.cmp(other) {
                Ordering::Less => gone.extend(old.next()),
                Ordering::Greater => come.extend(new.next()),
                Ordering::Equal => {
                    old.next();
                    new.next();
                }
            },
        }
    }
}
