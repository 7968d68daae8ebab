//! Slot tables, one for each service. The agent fills a new one and puts it here by one update, which packets see whole or not at all;
//! that a slot has settled it stores in place.

use aya_ebpf::{
    bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE},
    btf_maps::{Array, ArrayOfMaps},
    macros::btf_map,
};
use lb_common::{
    limits,
    slot::{Slot, SlotBits},
};

/// Any number of slots, and behind them the members in their order.
type SlotTable =
    Array<u64, { SlotBits::MAX.slots() as usize }, { (BPF_F_MMAPABLE | BPF_F_INNER_MAP) as usize }>;

#[btf_map]
static SLOTS: ArrayOfMaps<SlotTable, { limits::SERVICES as usize }> = ArrayOfMaps::new();

#[inline(always)]
fn entry(table: u32, index: u32) -> Option<u64> {
    let entry: *const u64 = SLOTS.get_value(table, &index)?;
    // SAFETY: the agent stores entries with aligned 64-bit stores; a volatile read is one load of one.
    Some(unsafe { core::ptr::read_volatile(entry) })
}

/// The slot of a hash in a table that is thought to have so many bits. A table says itself how large it is: while one is swapped for a
/// larger, its service's entry may still be of before.
#[inline(always)]
pub fn find(table: u32, bits: u8, hash: u64) -> Slot {
    let thought = SlotBits::new(u32::from(bits));
    let slot = at(table, thought, hash);
    if slot.size() == thought {
        return slot;
    }
    let first = Slot(entry(table, 0).unwrap_or_default());
    at(table, first.size(), hash)
}

/// The slot of a hash in a table of this size.
#[inline(always)]
pub fn at(table: u32, size: SlotBits, hash: u64) -> Slot {
    Slot(entry(table, size.slot(hash)).unwrap_or_default())
}

/// The id of the member at a place of the order, in a table of this size.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an id")]
pub fn member(table: u32, size: SlotBits, place: u32) -> u32 {
    entry(table, size.slots() + place).unwrap_or_default() as u32
}
