//! Tables as UPDATEs: walked from the start, or what changed in them.

use std::collections::HashMap;
use std::sync::Arc;

use anycast_bgp::message::{Announcement, Nlri, Update};
use anycast_bgp::rib::{Cursor, Rib, Watched};
use anycast_bgp::{Attributes, Family};

use super::{PREFIXES_PER_UPDATE, Table};
use crate::peer::peer_id;

/// A table on its way to a station.
pub(super) struct Dump {
    pub(super) table: Table,
    cursor: Cursor,
}

impl Dump {
    pub(super) fn new(table: Table) -> Self {
        Self { table, cursor: Cursor::default() }
    }

    /// Whether it is of the neighbor at this index.
    pub(super) const fn is_of(&self, neighbor: usize) -> bool {
        match self.table {
            Table::Received(index) | Table::Accepted(index) | Table::Advertised(index) => {
                index == neighbor
            }
            Table::LocRib => false,
        }
    }

    /// Takes the next routes; whether they were the last.
    pub(super) fn step(&mut self, rib: &Rib, push: impl FnMut(Announcement)) -> bool {
        let watched = match self.table {
            Table::Received(index) => Watched::Received(peer_id(index)),
            Table::Accepted(index) => Watched::Accepted(peer_id(index)),
            Table::Advertised(index) => Watched::Advertised(peer_id(index)),
            Table::LocRib => Watched::Best,
        };
        let (found, next) = rib.walk(watched, self.cursor);
        found.into_iter().for_each(push);
        match next {
            Some(next) => {
                self.cursor = next;
                false
            }
            None => true,
        }
    }
}

/// What prefixes have now, as UPDATEs: those that have nothing first.
pub(super) fn updates<'a>(
    found: impl Iterator<Item = (Nlri, Option<&'a Arc<Attributes>>)>,
) -> Vec<Update> {
    let mut withdrawn = Vec::new();
    let mut announced: Vec<(&Arc<Attributes>, Vec<Nlri>)> = Vec::new();
    // The tables have one copy of equal attributes, so their place tells them apart.
    let mut places: HashMap<(Family, *const Attributes), usize> = HashMap::new();
    for (nlri, attributes) in found {
        let Some(attributes) = attributes else {
            withdrawn.push(nlri);
            continue;
        };
        let key = (nlri.family(), Arc::as_ptr(attributes));
        let place = *places.entry(key).or_insert_with(|| {
            announced.push((attributes, Vec::new()));
            announced.len() - 1
        });
        announced[place].1.push(nlri);
    }
    let mut updates: Vec<Update> = withdrawn
        .chunks(PREFIXES_PER_UPDATE)
        .map(|prefixes| Update::withdraw(prefixes.iter().copied()))
        .collect();
    for (attributes, prefixes) in announced {
        for prefixes in prefixes.chunks(PREFIXES_PER_UPDATE) {
            updates.push(Update::announce(Arc::clone(attributes), prefixes.iter().copied()));
        }
    }
    updates
}
