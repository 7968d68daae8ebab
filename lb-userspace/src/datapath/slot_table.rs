//! A service's slot table as it is in its map: the slots, behind them the members' ids in their order, and a zero.

use lb_common::slot::{Slot, SlotBits};

/// The slots of a service, and its members in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotTable {
    bits: SlotBits,
    slots: Vec<Slot>,
    pub members: Vec<u32>,
}

impl SlotTable {
    /// A table in which nobody has a slot.
    #[must_use]
    pub fn empty(bits: SlotBits) -> Self {
        Self::filled(bits, Vec::new(), |_| Slot::settled(0, bits))
    }

    /// A table of settled slots. `owners` are as many as a size has slots, or are cut or filled with nobody to the next one.
    #[must_use]
    pub fn settled(owners: &[u32], members: Vec<u32>) -> Self {
        let bits = SlotBits::new(owners.len().max(1).ilog2());
        let owner = |slot| owners.get(slot as usize).copied().unwrap_or(0);
        Self::filled(bits, members, |slot| Slot::settled(owner(slot), bits))
    }

    /// A table with what `slot` gives for each.
    #[must_use]
    pub fn filled(bits: SlotBits, members: Vec<u32>, slot: impl FnMut(u32) -> Slot) -> Self {
        Self {
            bits,
            slots: (0..bits.slots()).map(slot).collect(),
            members,
        }
    }

    /// The table that a map of these words holds. What is no table is an empty one.
    #[must_use]
    pub fn of_words(words: impl IntoIterator<Item = u64>) -> Self {
        let mut words = words.into_iter().peekable();
        let bits = words.peek().map_or(SlotBits::MIN, |&first| Slot(first).size());
        let slots: Vec<_> = words.by_ref().take(bits.slots() as usize).map(Slot).collect();
        if slots.len() < bits.slots() as usize {
            return Self::empty(SlotBits::MIN);
        }
        let members = words.map_while(|word| u32::try_from(word).ok().filter(|&id| id != 0));
        Self {
            bits,
            slots,
            members: members.collect(),
        }
    }

    /// The words of its map.
    pub fn words(&self) -> impl Iterator<Item = u64> {
        let members = self.members.iter().map(|&id| id.into());
        let slots = self.slots.iter().map(|slot| slot.0);
        slots.chain(members).chain([0])
    }

    /// How many words that are.
    #[must_use]
    pub fn room(&self) -> usize {
        self.slots.len() + self.members.len() + 1
    }

    #[must_use]
    pub const fn bits(&self) -> SlotBits {
        self.bits
    }

    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot of a hash.
    #[must_use]
    pub fn slot(&self, hash: u64) -> Slot {
        self.slots[self.bits.slot(hash) as usize]
    }

    /// Takes single slots in.
    pub fn store(&mut self, changes: &[(u32, Slot)]) {
        for &(index, slot) in changes {
            if let Some(old) = self.slots.get_mut(index as usize) {
                *old = slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_back_as_it_was_written() {
        for table in [
            SlotTable::empty(SlotBits::MIN),
            SlotTable::settled(&[7; 2048], vec![7, 9, 8]),
            SlotTable::settled(&[0; 65_536], vec![]),
        ] {
            assert_eq!(table.words().count(), table.room());
            // A map may have room for more.
            let words = table.words().chain([0; 100]);
            assert_eq!(SlotTable::of_words(words), table);
        }
    }

    #[test]
    fn what_is_no_table_is_an_empty_one() {
        for words in [vec![], vec![0; 17], vec![Slot::settled(1, SlotBits::MAX).0; 1024]] {
            assert_eq!(SlotTable::of_words(words), SlotTable::empty(SlotBits::MIN));
        }
    }
}
