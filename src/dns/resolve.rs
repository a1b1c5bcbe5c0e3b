//! What a name's answer consists of: records, aliases and their ends, proofs of absence, addresses on top.
//!
//! Pure. Invariants: a record set that does not fit is cut to a random choice of whole records and flagged; what is
//! merely additional never flags; chains of aliases end after `MAX_ALIASES` or at the first repetition.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::answer::Authority;
use super::lots::Lots;
use super::nameserver;
use super::set::RecordSet;
use super::source::NameSource;
use super::wire::query::Question;
use super::wire::record::{Data, Owner, Soa, type_of};
use super::wire::response::{Response, Section, Written};
use super::wire::{Rcode, flags, record_type};
use crate::cluster::event::{Binding, RecordData};
use crate::config::checked::{DnsConfig, Place};
use crate::model::zone_slot::ZoneSlot;
use crate::table::names::further::RareType;
use crate::table::names::records::Records;
use crate::table::names::{Delegation, Found, Node, Record, Zone};

/// Aliases followed for one query.
const MAX_ALIASES: usize = 8;

/// Targets whose addresses are looked up for one answer.
const MAX_ADDITIONAL_TARGETS: usize = 64;

/// How the look-up ended.
#[derive(Clone, Copy, Debug)]
pub struct Resolution {
    /// The response code.
    pub rcode: Rcode,
    /// Whether something that was asked for did not fit.
    pub truncated: bool,
    /// Records left out because no message can express them.
    pub impossible_records: u32,
    /// The name lies in none of our zones.
    pub is_outside: bool,
    /// An alias of ours leads to a name outside our zones: others may know it.
    pub leads_outside: bool,
    /// The name lies in a zone of others, whose servers are named.
    pub is_delegated: bool,
    /// The zone of the name asked for.
    pub zone: ZoneSlot,
    /// Where in the name asked for the one begins whose wildcard answered.
    pub wildcard: Option<usize>,
    is_authoritative: bool,
    /// Whether an order was drawn by lot.
    is_drawn: bool,
}

impl Resolution {
    /// Looks the question up and writes what is found.
    pub fn resolve<N: NameSource>(
        authority: &Authority<'_, N>,
        question: &Question<'_>,
        place: Option<&Place>,
        random: &mut fastrand::Rng,
        response: &mut Response<'_>,
    ) -> Self {
        Self::resolve_by(authority, question, None, place, random, response)
    }

    /// The same, as if the name were an alias of `alias`, with its time to live, where one is given.
    pub(super) fn resolve_by<N: NameSource>(
        authority: &Authority<'_, N>,
        question: &Question<'_>,
        alias: Option<(Arc<str>, u32)>,
        place: Option<&Place>,
        random: &mut fastrand::Rng,
        response: &mut Response<'_>,
    ) -> Self {
        let resolution = Self {
            rcode: Rcode::NoError,
            truncated: false,
            impossible_records: 0,
            is_outside: false,
            leads_outside: false,
            is_delegated: false,
            zone: ZoneSlot::OUTSIDE,
            wildcard: None,
            is_authoritative: true,
            is_drawn: false,
        };
        let mut resolver = Resolver {
            authority,
            record_type: question.record_type,
            place,
            random,
            response,
            resolution,
            targets: smallvec![],
        };
        resolver.resolution.rcode = resolver.follow(question.name, alias);
        // RFC 2181 §9: what is missing from the additional section is no truncation, and a truncated answer is asked
        // for again anyway.
        if !resolver.resolution.truncated {
            resolver.write_addresses_of_targets();
        }
        resolver.resolution
    }

    /// Whether it is the same each time: nothing was drawn or cut, and it says something of our names.
    pub fn is_repeatable(self) -> bool {
        self.is_authoritative && !self.is_drawn && !self.truncated && self.impossible_records == 0
    }

    /// The header's flags that follow from it.
    pub fn flags(self) -> u16 {
        let authoritative = if self.is_authoritative { flags::AA } else { 0 };
        let truncated = if self.truncated { flags::TC } else { 0 };
        authoritative | truncated
    }
}

struct Resolver<'a, 'r, 'b, N> {
    authority: &'a Authority<'a, N>,
    record_type: u16,
    /// Where the client is, if that is known.
    place: Option<&'a Place>,
    random: &'r mut fastrand::Rng,
    response: &'r mut Response<'b>,
    resolution: Resolution,
    /// Hosts that the answer names, each once.
    targets: SmallVec<[Arc<str>; 4]>,
}

impl<'a, N: NameSource> Resolver<'a, '_, '_, N> {
    /// Follows aliases within our zones from the name asked for to the answer.
    fn follow(&mut self, asked: &str, alias: Option<(Arc<str>, u32)>) -> Rcode {
        let mut visited: SmallVec<[Arc<str>; 2]> = smallvec![];
        if let Some((target, ttl)) = alias {
            if !self.write_answer(Owner::Question, ttl, Data::Record(&RecordData::Cname(target.clone()))) {
                return Rcode::NoError;
            }
            visited.push(target);
        }
        loop {
            let name = visited.last().map_or(asked, |name| name);
            let owner = if visited.is_empty() { Owner::Question } else { Owner::Name(name) };
            let found = self.authority.find(name);
            if visited.is_empty() {
                self.resolution.zone = found.zone().map_or(ZoneSlot::OUTSIDE, |zone| zone.slot);
            }
            let (zone, node) = match found {
                Found::Outside if visited.is_empty() => {
                    self.resolution.is_outside = true;
                    self.resolution.is_authoritative = false;
                    return Rcode::Refused;
                }
                // The source of these names has not spoken yet: silence is no absence.
                Found::Unready(_) => {
                    self.resolution.is_authoritative = false;
                    return Rcode::ServFail;
                }
                // The asker goes on from here by itself, unless others are asked for it.
                Found::Outside => {
                    self.resolution.leads_outside = true;
                    return Rcode::NoError;
                }
                // RFC 6604 §3: the response code is that of the chain's end.
                Found::Missing(zone) => {
                    self.write_absence(owner, zone);
                    return Rcode::NxDomain;
                }
                // RFC 4035 §3.1.4.1: what DS says of a zone is the zone's above it.
                Found::Delegated(zone, delegation) if self.is_of_zone_above(name, &delegation) => {
                    (zone, Node::new(false, delegation.above))
                }
                Found::Delegated(_, delegation) => {
                    match visited.is_empty() {
                        true => {
                            self.resolution.is_delegated = true;
                            self.resolution.is_authoritative = false;
                        }
                        false => self.resolution.leads_outside = true,
                    }
                    self.write_referral(&delegation);
                    return Rcode::NoError;
                }
                Found::Node(zone, node) => (zone, node),
            };
            if visited.is_empty() {
                self.resolution.wildcard = node.wildcard;
            }
            let node = self.with_rare(name, node);
            let Some((target, ttl)) = self.alias_to_follow(&node) else {
                self.write_node((name, owner), zone, &node);
                return Rcode::NoError;
            };
            let alias = RecordData::Cname(target.clone());
            let written = self.write_answer(owner, ttl, Data::Record(&alias));
            let target = lower(&target);
            let repeats = *target == *asked || visited.contains(&target);
            if !written || repeats || visited.len() >= MAX_ALIASES {
                return Rcode::NoError;
            }
            visited.push(target);
        }
    }

    /// The name with its records of the type asked for, where that is one that only those who ask for it get.
    fn with_rare(&self, name: &str, mut node: Node) -> Node {
        let rare = match self.record_type {
            record_type::TXT => RareType::Text,
            record_type::SVCB => RareType::Svcb,
            record_type::HTTPS => RareType::Https,
            _ => return node,
        };
        let rare = self.authority.names.rare(name, rare);
        match &mut node.records {
            _ if rare.is_empty() => {}
            // Neither aliases nor records of this type are among them, and nothing else is asked for: to put them together would
            // copy both.
            kept @ Records::Kept(_) => *kept = rare,
            Records::Made(records) => records.extend(rare.into_vec()),
        }
        node
    }

    fn alias_to_follow(&self, node: &Node) -> Option<(Arc<str>, u32)> {
        // What is kept has none.
        if matches!(self.record_type, record_type::CNAME | record_type::ANY) || matches!(node.records, Records::Kept(_))
        {
            return None;
        }
        node.records.iter().find_map(|record| match &record.data {
            RecordData::Cname(target) => Some((target.clone(), self.ttl(record))),
            _ => None,
        })
    }

    /// The answer of a name that exists and is no alias to be followed.
    fn write_node(&mut self, (name, owner): (&str, Owner<'_>), zone: &Zone, node: &Node) {
        let wanted = match self.record_type {
            record_type::ANY => one_type_of(node),
            other => Some(other),
        };
        match wanted {
            Some(record_type::SOA) if node.is_apex => {
                let ttl = self.config().ttl_seconds;
                self.write_soa(Section::Answer, owner, zone, ttl);
            }
            Some(record_type::NS) if node.is_apex => self.write_ns(owner, zone),
            Some(wanted) => self.write_record_set((name, owner), zone, node, wanted),
            None => self.write_absence(owner, zone),
        }
    }

    fn write_record_set(&mut self, (name, owner): (&str, Owner<'_>), zone: &Zone, node: &Node, wanted: u16) {
        let set = RecordSet::of(&node.records, wanted);
        let Some(ttl) = set.ttl(self.config().ttl_seconds) else {
            return self.write_absence(owner, zone);
        };
        let names = self.authority.names;
        let is_weighted = set.len() > 1 && names.has_weights(name);
        if self.place.is_some() || is_weighted {
            let records = set.records();
            let distances = self.place.and_then(|place| names.distances(name, &records, place));
            let weights = if is_weighted { names.weights(name, &records) } else { None };
            if distances.is_some() || weights.is_some() {
                return self.write_in_order(owner, ttl, &records, distances.as_deref(), weights.as_deref());
            }
        }
        if set.len() == 1 {
            self.write_record(owner, ttl, &set.at(0).data);
            return;
        }
        self.resolution.is_drawn = true;
        // Drawing ends with the first record that does not fit: what is there is a random choice.
        let mut lots = Lots::new(set.len(), RecordSet::most_in(self.response.room()));
        while let Some(position) = lots.draw(self.random) {
            if !self.write_record(owner, ttl, &set.at(position).data) {
                return;
            }
        }
    }

    /// What is near comes first, those of one distance in an order that is drawn by their weights; what says a priority says
    /// its distance too.
    fn write_in_order(
        &mut self,
        owner: Owner<'_>,
        ttl: u32,
        records: &[&Record],
        distances: Option<&[u8]>,
        weights: Option<&[u32]>,
    ) {
        let distance = |at: usize| distances.and_then(|all| all.get(at)).copied().unwrap_or(0);
        let weight = |at: usize| weights.and_then(|all| all.get(at)).copied().unwrap_or(1);
        let drawn =
            records.iter().enumerate().map(|(at, record)| (distance(at), lot(self.random, weight(at)), *record));
        let mut order: Vec<(u8, f64, &Record)> = drawn.collect();
        order.sort_unstable_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
        self.resolution.is_drawn = true;
        for (distance, _, record) in order {
            if !self.write_record(owner, ttl, &at_distance(&record.data, distance)) {
                return;
            }
        }
    }

    /// Writes a record of the answer and notes the host it leads to; `false`: nothing more fits.
    fn write_record(&mut self, owner: Owner<'_>, ttl: u32, data: &RecordData) -> bool {
        if !self.write_answer(owner, ttl, Data::Record(data)) {
            return false;
        }
        match data {
            // RFC 1035 §3.3.9, RFC 2782.
            RecordData::Srv { target, .. } | RecordData::Mx { exchange: target, .. } => self.add_target(target),
            // RFC 9460 §4.1.
            RecordData::Svcb(binding) | RecordData::Https(binding) => self.add_target(&binding.target),
            _ => {}
        }
        true
    }

    fn write_ns(&mut self, owner: Owner<'_>, zone: &Zone) {
        let config = self.config();
        let (below, ttl) = (&*config.nameserver, config.ttl_seconds);
        if self.write_answer(owner, ttl, Data::Ns(below, &zone.name)) {
            self.targets.push(nameserver::absolute(below, &zone.name).into());
        }
    }

    fn is_of_zone_above(&self, name: &str, delegation: &Delegation) -> bool {
        self.record_type == record_type::DS && *delegation.name == *name
    }

    /// RFC 1034 §4.3.2, 3b: the servers of a zone of others, and the addresses of those that lie within it. Without one of
    /// either the referral is none (RFC 9471 §3.1), so what does not fit is a truncation.
    fn write_referral(&mut self, delegation: &Delegation) {
        let ttl = delegation.servers.iter().map(|record| self.ttl(record)).min().unwrap_or_default();
        for record in &delegation.servers {
            let (owner, data) = (Owner::Name(&delegation.name), Data::Record(&record.data));
            let written = self.response.record(Section::Authority, owner, ttl, data);
            self.note(written);
            if written == Written::NoRoom {
                return;
            }
        }
        for (host, records) in &delegation.glue {
            let node = Node::new(false, records.clone());
            for wanted in [record_type::A, record_type::AAAA] {
                if !self.write_additional_set(host, &node, wanted) {
                    self.resolution.truncated = true;
                    return;
                }
            }
        }
        for record in &delegation.servers {
            if let RecordData::Ns(host) = &record.data
                && delegation.glue.iter().all(|(known, _)| known != host)
            {
                self.add_target(host);
            }
        }
    }

    /// RFC 2308 §3: the zone's SOA, living no longer than absence may be believed. `owner` is whose absence it is.
    fn write_absence(&mut self, owner: Owner<'_>, zone: &Zone) {
        let config = self.config();
        // Nearly always: the name asked for lies in the zone.
        if matches!(owner, Owner::Question)
            && let Some(denial) = zone.denial(config)
            && self.response.denial(denial, &zone.name)
        {
            return;
        }
        let ttl = config.ttl_seconds.min(config.negative_ttl_seconds);
        self.write_soa(Section::Authority, Owner::Name(&zone.name), zone, ttl);
    }

    fn write_soa(&mut self, section: Section, owner: Owner<'_>, zone: &Zone, ttl: u32) {
        let config = self.config();
        let soa = Soa::of(zone, config);
        let written = self.response.record(section, owner, ttl, Data::Soa(&soa));
        self.note(written);
    }

    /// Writes a record of the answer; `false`: nothing more fits.
    fn write_answer(&mut self, owner: Owner<'_>, ttl: u32, data: Data<'_>) -> bool {
        let written = self.response.record(Section::Answer, owner, ttl, data);
        self.note(written);
        written != Written::NoRoom
    }

    fn note(&mut self, written: Written) {
        match written {
            Written::Whole => {}
            Written::NoRoom => self.resolution.truncated = true,
            Written::Impossible => self.resolution.impossible_records += 1,
        }
    }

    fn add_target(&mut self, target: &Arc<str>) {
        if self.targets.len() < MAX_ADDITIONAL_TARGETS && !self.targets.contains(target) {
            self.targets.push(target.clone());
        }
    }

    /// Addresses of the hosts that the answer names, as room allows: whole sets only.
    fn write_addresses_of_targets(&mut self) {
        for target in std::mem::take(&mut self.targets) {
            let Found::Node(_, node) = self.authority.find(&lower(&target)) else { continue };
            for wanted in [record_type::A, record_type::AAAA] {
                if !self.write_additional_set(&target, &node, wanted) {
                    return;
                }
            }
        }
    }

    fn write_additional_set(&mut self, owner: &str, node: &Node, wanted: u16) -> bool {
        let set = RecordSet::of(&node.records, wanted);
        let Some(ttl) = set.ttl(self.config().ttl_seconds) else { return true };
        let mark = self.response.mark();
        for position in 0..set.len() {
            let data = Data::Record(&set.at(position).data);
            if self.response.record(Section::Additional, Owner::Name(owner), ttl, data) == Written::NoRoom {
                self.response.return_to(&mark);
                return false;
            }
        }
        true
    }

    fn config(&self) -> &'a DnsConfig {
        self.authority.names.config()
    }

    fn ttl(&self, record: &Record) -> u32 {
        record.ttl.unwrap_or(self.config().ttl_seconds)
    }
}

/// A number that is the least of several as often as its weight is of the sum of theirs (Efraimidis and Spirakis, 2006).
fn lot(random: &mut fastrand::Rng, weight: u32) -> f64 {
    match weight {
        0 => f64::INFINITY,
        weight => -(1.0 - random.f64()).ln() / f64::from(weight),
    }
}

/// A record as it is for somebody so far away: lower priorities are tried first (RFC 2782, RFC 9460 §2.4.1).
fn at_distance(data: &RecordData, distance: u8) -> Cow<'_, RecordData> {
    let further = u16::from(distance);
    let binding =
        |binding: &Binding| Box::new(Binding { priority: binding.priority.saturating_add(further), ..binding.clone() });
    Cow::Owned(match data {
        RecordData::Srv { priority, weight, port, target } => RecordData::Srv {
            priority: priority.saturating_add(further),
            weight: *weight,
            port: *port,
            target: target.clone(),
        },
        RecordData::Svcb(bound) => RecordData::Svcb(binding(bound)),
        RecordData::Https(bound) => RecordData::Https(binding(bound)),
        _ => return Cow::Borrowed(data),
    })
}

/// RFC 8482 §4.1: to "whatever there is", one record set is answer enough.
fn one_type_of(node: &Node) -> Option<u16> {
    if node.is_apex { Some(record_type::SOA) } else { node.records.first().map(|record| type_of(&record.data)) }
}

fn lower(name: &Arc<str>) -> Arc<str> {
    if name.bytes().any(|octet| octet.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.clone() }
}
