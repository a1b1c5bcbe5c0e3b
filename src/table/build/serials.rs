//! Serials of zones: which zones may have changed, and the next serial of those that did.

use std::net::IpAddr;
use std::sync::Arc;

use crate::cluster::ledger::ZoneVersion;
use crate::cluster::state::ClusterState;
use crate::model::time::Timestamp;
use crate::model::{reverse, serial};
use crate::table::Table;
use crate::table::names::{Content, Names, below};

/// Gives each zone whose content changed its next serial (`model::serial`). It rises with the content, and never falls. What is
/// not ready has not been said to anybody.
pub(super) fn stamp(table: &mut Table, state: &mut ClusterState, now: Timestamp) {
    let names = &table.names;
    let looked_at: Vec<(usize, u64)> = names
        .zones
        .iter()
        .enumerate()
        .filter(|(_, zone)| zone.changed && zone.ready)
        .map(|(at, zone)| (at, names.content(zone)))
        .collect();
    for (at, content) in looked_at {
        let zone = &mut table.names.zones[at];
        zone.changed = false;
        let former = state.ledger.serials.get(&zone.zone.name).copied();
        if former.is_some_and(|former| former.content == Some(content)) {
            continue;
        }
        let serial = former.map_or_else(|| serial::first(now), |former| serial::next(former.serial, now));
        state.ledger.serials.insert(zone.zone.name.clone(), ZoneVersion { serial, content: Some(content) });
        zone.zone = Arc::new(zone.zone.at(serial));
    }
}

/// Changes what the reverse zones say of these addresses, each with a number for where it leads: tasks that come, or go.
pub(super) fn point(names: &mut Names, pointers: &[(IpAddr, u64)], add: bool) {
    for (address, number) in pointers {
        let name = reverse::name_of(*address);
        for zone in &mut names.zones {
            if let Content::Reverse(sums) = &mut zone.content
                && below(&name, &zone.zone.name).is_some()
            {
                zone.changed = true;
                sums.tasks = match add {
                    true => sums.tasks.wrapping_add(*number),
                    false => sums.tasks.wrapping_sub(*number),
                };
            }
        }
    }
}

/// Notes what the reverse zones say of all agents.
pub(super) fn point_to_agents(names: &mut Names) {
    let mut pointers: Vec<(String, u64)> = Vec::new();
    for zone in &names.zones {
        if let Content::Cluster(names) = &zone.content {
            pointers.extend(names.agent_pointers().map(|(address, number)| (reverse::name_of(address), number)));
        }
    }
    for zone in &mut names.zones {
        if let Content::Reverse(sums) = &mut zone.content {
            zone.changed = true;
            let ours = pointers.iter().filter(|(name, _)| below(name, &zone.zone.name).is_some());
            sums.agents = ours.fold(0, |sum, (_, number)| sum.wrapping_add(*number));
        }
    }
}
