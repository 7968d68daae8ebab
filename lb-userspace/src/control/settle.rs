//! From one slot table to the next without losing a flow, and from there back to settled slots. Pure; docs/flows.md has the states.
//!
//! Times are those of a whole table: a further change of any slot begins them anew for all.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use lb_common::slot::{Slot, SlotBits};

use crate::datapath::{SlotTable, written_table::Places};

/// The table after a change of its pool: `owners` of the slots, of as many as this pool needs. The table itself never shrinks, so
/// that each slot has one before it; what is meant for fewer slots is then repeated.
///
/// What is `reopened` or `scattered` is so whoever owns the slots.
#[must_use]
pub fn passed(old: &SlotTable, owners: &[u32], members: Vec<u32>, turn: Turn) -> SlotTable {
    let wanted = SlotBits::new(owners.len().max(1).ilog2());
    let bits = wanted.max(old.bits());
    let (grown, repeated) = (bits.bits() - old.bits().bits(), bits.bits() - wanted.bits());
    SlotTable::filled(bits, members, |slot| {
        let before = old.slots()[(slot >> grown) as usize];
        let owner = owners.get((slot >> repeated) as usize).copied().unwrap_or(0);
        let after = before.sized(bits).passed_to(owner, turn.scattered);
        // Back at the owner before, it must still tell datagrams of old flows.
        if turn.reopened || turn.unsettled && before.is_young() {
            after.reopened()
        } else if turn.all_written {
            after.aged()
        } else {
            after
        }
    })
}

/// What a change does to all slots of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// New flows are chosen another way than those of before, which no SYN tells from them if they are of datagrams.
    pub reopened: bool,
    /// New flows do not all go to their slots' owners.
    pub unsettled: bool,
    /// All flows were written down, and will be: a datagram of none of them begins a new one.
    pub all_written: bool,
    /// Flows may be written down elsewhere whatever the old slots say.
    pub scattered: bool,
}

/// How long the states last.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Until no datagram of before a change can come.
    pub udp: Duration,
    /// Until no flow of before a change can live that is not written down.
    pub settle: Duration,
}

/// Changes of single slots.
pub type Stores = Vec<(u32, Slot)>;

/// How far a service's table has settled.
#[derive(Clone, Debug)]
pub struct Settling {
    bits: SlotBits,
    /// When slots changed last.
    changed: Instant,
    /// Since when whatever is written down elsewhere shows in a census: one that began earlier does not count.
    quiet: Instant,
    has_young: bool,
    has_previous: bool,
    has_written: bool,
    /// Flows may be written down by the slot of another home.
    mixed: bool,
    /// By slot: the last census found nobody elsewhere.
    clean: Vec<bool>,
    /// The last census found nothing written down at all.
    bare: bool,
}

/// Who is not where the slots say.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// By slot: whether flows on it are written down for others than its owner.
    slots: Vec<bool>,
    /// The owners of those slots.
    pub owners: BTreeSet<u32>,
    is_bare: bool,
}

impl Elsewhere {
    #[must_use]
    pub fn of(table: &SlotTable, places: &Places) -> Self {
        let mut found = Self {
            slots: vec![false; table.slots().len()],
            owners: BTreeSet::new(),
            is_bare: places.is_empty(),
        };
        for (hash, backend) in places.iter() {
            let slot = table.slot(hash);
            if slot.owner() != backend {
                found.slots[table.bits().slot(hash) as usize] = true;
                found.owners.insert(slot.owner());
            }
        }
        found
    }
}

impl Settling {
    /// Of a table as it is found, whose times begin now. All slots written is what a change of homes leaves behind, so that one
    /// may be the reason.
    #[must_use]
    pub fn adopt(table: &SlotTable, now: Instant) -> Self {
        let mut owned = table.slots().iter().filter(|slot| slot.home() != 0).peekable();
        let mixed = owned.peek().is_some() && owned.all(|slot| slot.is_written());
        let mut settling = Self {
            bits: table.bits(),
            changed: now,
            quiet: now,
            has_young: false,
            has_previous: false,
            has_written: false,
            mixed,
            clean: Vec::new(),
            bare: false,
        };
        settling.look(table);
        settling
    }

    /// Takes in that `old` has become `new`; with `other_home` flows are found by other slots than they were.
    pub fn passed(&mut self, old: &SlotTable, new: &SlotTable, other_home: bool, now: Instant) {
        let grown = new.bits().bits().saturating_sub(old.bits().bits());
        let same = (0..)
            .zip(new.slots())
            .all(|(slot, after)| old.slots()[slot >> grown].sized(new.bits()) == *after);
        if !same {
            self.changed = now;
        }
        if !same || grown > 0 || other_home {
            self.doubt(now);
        }
        self.mixed |= other_home;
        self.bits = new.bits();
        self.look(new);
    }

    /// The size of the table.
    #[must_use]
    pub const fn bits(&self) -> SlotBits {
        self.bits
    }

    /// Whether all slots are settled.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        !(self.has_young || self.has_previous || self.has_written)
    }

    /// Whether [`by_time`](Self::by_time) has something to do.
    #[must_use]
    pub fn is_due(&self, now: Instant, times: Times) -> bool {
        let has_lasted = |time| now >= self.changed + time;
        self.has_young && has_lasted(times.udp) || self.has_previous && has_lasted(times.settle)
    }

    /// What the time since the last change lets go.
    #[must_use]
    pub fn by_time(&self, table: &SlotTable, now: Instant, times: Times) -> Stores {
        let is_old = now >= self.changed + times.udp;
        let is_over = now >= self.changed + times.settle;
        stores(table, |slot| match (is_old, is_over) {
            (_, true) => slot.without_previous(),
            (true, false) => slot.aged(),
            (false, false) => slot,
        })
    }

    /// What a census that `began` then lets go: a slot on which it and the one before found nobody elsewhere is not written any
    /// more.
    #[must_use]
    pub fn by_census(&mut self, table: &SlotTable, found: &Elsewhere, began: Instant) -> Stores {
        if began < self.quiet || found.slots.len() != table.slots().len() {
            return Stores::new();
        }
        let before = std::mem::take(&mut self.clean);
        let was_bare = std::mem::replace(&mut self.bare, found.is_bare);
        self.mixed &= !(was_bare && found.is_bare);
        self.clean = found.slots.iter().map(|elsewhere| !elsewhere).collect();
        if self.mixed {
            return Stores::new();
        }
        let mut index = 0;
        stores(table, |slot| {
            let is_clean = self.clean[index] && before.get(index).is_some_and(|clean| *clean);
            index += 1;
            if is_clean && slot.previous() == 0 {
                slot.without_written()
            } else {
                slot
            }
        })
    }

    /// What a backend that is gone lets go; with `other_home` whatever comes must still be written down.
    #[must_use]
    pub fn by_end_of(table: &SlotTable, backend: u32, other_home: bool) -> Stores {
        stores(table, |slot| match slot.previous() == backend {
            true if other_home => slot.without_previous().reopened(),
            true => slot.without_previous(),
            false => slot,
        })
    }

    /// Takes in that `table` has become what it is by single stores.
    pub fn stored(&mut self, table: &SlotTable, now: Instant) {
        let had_previous = self.has_previous;
        self.look(table);
        if had_previous && !self.has_previous {
            self.doubt(now);
        }
    }

    /// Takes in that slots have let go of owners before: flows of those may have been written down until now.
    pub fn let_go(&mut self, table: &SlotTable, now: Instant) {
        self.look(table);
        self.doubt(now);
    }

    /// What censuses have found so far says nothing any more.
    fn doubt(&mut self, now: Instant) {
        self.quiet = now;
        self.clean.clear();
        self.bare = false;
    }

    fn look(&mut self, table: &SlotTable) {
        self.has_young = table.slots().iter().any(|slot| slot.is_young());
        self.has_previous = table.slots().iter().any(|slot| slot.previous() != 0);
        self.has_written = table.slots().iter().any(|slot| slot.is_written());
    }
}

/// The slots that `next` changes.
fn stores(table: &SlotTable, mut next: impl FnMut(Slot) -> Slot) -> Stores {
    let slots = (0..).zip(table.slots());
    let changed = slots.filter_map(|(index, &slot)| {
        let after = next(slot);
        (after != slot).then_some((index, after))
    });
    changed.collect()
}
