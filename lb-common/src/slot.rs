//! Slot tables: who has which flows, also while that changes. docs/flows.md has the states of a slot.

/// The size of a slot table, as the number of a hash's top bits that choose a slot. All sizes divide each other, so that a table
/// can grow without moving a flow: a slot of a smaller one becomes as many neighbours in a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotBits(u32);

impl SlotBits {
    pub const MIN: Self = Self(10);
    pub const MAX: Self = Self(16);

    /// The size that has `bits`, or the nearest there is.
    #[must_use]
    #[inline(always)]
    pub const fn new(bits: u32) -> Self {
        if bits < Self::MIN.0 {
            Self::MIN
        } else if bits > Self::MAX.0 {
            Self::MAX
        } else {
            Self(bits)
        }
    }

    /// The size that shares evenly among `members` within 1 %: a hundred slots for each (NSDI'16 §5.3), as far as there are.
    #[must_use]
    pub const fn of(members: usize) -> Self {
        let mut bits = Self::MIN.0;
        while bits < Self::MAX.0 && (1 << bits) < 100 * members {
            bits += 1;
        }
        Self(bits)
    }

    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The number of slots.
    #[must_use]
    #[inline(always)]
    pub const fn slots(self) -> u32 {
        1 << self.0
    }

    /// The slot of a hash.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "at most 16 bits are left")]
    pub const fn slot(self, hash: u64) -> u32 {
        (hash >> (64 - self.0)) as u32
    }
}

/// Entry of a slot table: owner (24 bits), previous owner (24), the table's size (8) and flags (8) in one word, so that a slot
/// changes by one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot(pub u64);

const ID_BITS: u32 = 24;
const ID: u64 = (1 << ID_BITS) - 1;
const SIZE_AT: u32 = 48;
const YOUNG: u64 = 1 << 56;
const WRITTEN: u64 = 1 << 57;
/// What makes a slot unsettled.
const UNSETTLED: u64 = ID << ID_BITS | WRITTEN;

impl Slot {
    /// A settled slot.
    #[must_use]
    #[inline(always)]
    pub const fn settled(owner: u32, size: SlotBits) -> Self {
        Self(owner as u64 & ID | (size.bits() as u64) << SIZE_AT)
    }

    /// Who gets its new flows; 0 for nobody.
    #[must_use]
    #[inline(always)]
    pub const fn owner(self) -> u32 {
        (self.0 & ID) as u32
    }

    /// Whom the flows belong to that are not written down, if not the owner; 0 for nobody.
    #[must_use]
    #[inline(always)]
    pub const fn previous(self) -> u32 {
        ((self.0 >> ID_BITS) & ID) as u32
    }

    /// Whom the flows belong to that are not written down.
    #[must_use]
    #[inline(always)]
    pub const fn home(self) -> u32 {
        match self.previous() {
            0 => self.owner(),
            previous => previous,
        }
    }

    /// The size of its table.
    #[must_use]
    #[inline(always)]
    pub const fn size(self) -> SlotBits {
        SlotBits::new((self.0 >> SIZE_AT) as u32 & 0xff)
    }

    /// Whether every flow on it belongs to its owner.
    #[must_use]
    #[inline(always)]
    pub const fn is_settled(self) -> bool {
        self.0 & UNSETTLED == 0
    }

    /// Whether a datagram may be of a flow of the previous owner.
    #[must_use]
    #[inline(always)]
    pub const fn is_young(self) -> bool {
        self.0 & YOUNG != 0
    }

    /// Whether flows on it may be written down for others than the owner.
    #[must_use]
    #[inline(always)]
    pub const fn is_written(self) -> bool {
        self.0 & WRITTEN != 0
    }

    /// The slot after its pool has changed. `scattered` says that flows may be written down elsewhere whatever the slot says, as for
    /// a service that wrote down all.
    #[must_use]
    pub const fn passed_to(self, owner: u32, scattered: bool) -> Self {
        let mark = if scattered && self.home() != 0 { WRITTEN } else { 0 };
        if owner == self.owner() {
            return Self(self.0 | mark);
        }
        let home = self.home();
        let next = Self::settled(owner, self.size());
        if home == 0 {
            return next;
        }
        let next = next.0 | WRITTEN;
        if home == owner {
            return Self(next);
        }
        Self(next | (home as u64) << ID_BITS | YOUNG)
    }

    /// The slot when new flows are chosen another way, whoever owns it: its owner is the one before, too, so that what is not written
    /// down stays there and is then.
    #[must_use]
    pub const fn reopened(self) -> Self {
        let home = self.home();
        if home == 0 {
            return self;
        }
        Self(self.0 & !(ID << ID_BITS) | (home as u64) << ID_BITS | YOUNG)
    }

    /// The slot once no datagram of before the change can come.
    #[must_use]
    pub const fn aged(self) -> Self {
        Self(self.0 & !YOUNG)
    }

    /// The slot once no flow of the previous owner can live that is not written down, or that owner is gone.
    #[must_use]
    pub const fn without_previous(self) -> Self {
        Self(self.0 & !(ID << ID_BITS | YOUNG))
    }

    /// The slot once no flow on it is written down elsewhere.
    #[must_use]
    pub const fn without_written(self) -> Self {
        Self(self.0 & !WRITTEN)
    }

    /// The slot in a table of another size.
    #[must_use]
    pub const fn sized(self, size: SlotBits) -> Self {
        Self(self.0 & !(0xff << SIZE_AT) | (size.bits() as u64) << SIZE_AT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = 1;
    const B: u32 = 2;
    const C: u32 = 0x00ff_fffe;

    fn slot(owner: u32) -> Slot {
        Slot::settled(owner, SlotBits::MIN)
    }

    #[test]
    fn a_change_names_both_owners_until_it_is_over() {
        let changed = slot(A).passed_to(C, false);
        assert_eq!((changed.owner(), changed.previous(), changed.home()), (C, A, A));
        assert!(changed.is_young() && !changed.is_settled());
        let old = changed.aged();
        assert!(!old.is_young() && old.previous() == A);
        let written = old.without_previous();
        assert!(!written.is_settled() && written.home() == C);
        assert_eq!(written.without_written(), slot(C));
    }

    #[test]
    fn of_two_changes_in_a_row_the_first_owner_stays_the_home() {
        let twice = slot(A).passed_to(B, false).passed_to(C, false);
        assert_eq!((twice.owner(), twice.previous()), (C, A));
        let back = twice.passed_to(A, false);
        assert_eq!((back.owner(), back.previous()), (A, 0));
        assert!(!back.is_settled(), "flows of the two others are written down");
    }

    #[test]
    fn a_slot_that_keeps_its_owner_changes_in_nothing() {
        let changed = slot(A).passed_to(B, false);
        assert_eq!(changed.passed_to(B, false), changed);
        assert_eq!(slot(A).passed_to(A, false), slot(A));
        assert!(!slot(A).passed_to(A, true).is_settled());
    }

    #[test]
    fn a_slot_reopens_for_its_own_owner_and_passes_on_as_any_other() {
        let reopened = slot(A).reopened();
        assert_eq!(
            (reopened.owner(), reopened.previous(), reopened.home()),
            (A, A, A)
        );
        assert!(reopened.is_young() && !reopened.is_settled());
        assert_eq!(reopened.without_previous(), slot(A));
        assert_eq!(reopened.passed_to(B, false), slot(A).passed_to(B, false));
        let changed = slot(A).passed_to(B, false).aged();
        assert_eq!(
            (changed.reopened().owner(), changed.reopened().previous()),
            (B, A)
        );
        assert_eq!(slot(0).reopened(), slot(0));
    }

    #[test]
    fn the_first_owner_of_all_has_nobody_before_it() {
        assert_eq!(slot(0).passed_to(A, false), slot(A));
        assert_eq!(slot(0).passed_to(A, true), slot(A));
    }

    #[test]
    fn a_larger_table_gives_each_hash_the_slot_that_its_old_one_became() {
        for bits in SlotBits::MIN.bits()..SlotBits::MAX.bits() {
            let (small, large) = (SlotBits::new(bits), SlotBits::new(bits + 1));
            for hash in [0, 1 << 40, u64::MAX, 0x0123_4567_89ab_cdef] {
                assert_eq!(large.slot(hash) / 2, small.slot(hash));
            }
        }
    }

    #[test]
    fn a_table_has_a_hundred_slots_for_each_member() {
        assert_eq!(SlotBits::of(0), SlotBits::MIN);
        assert_eq!(SlotBits::of(20).slots(), 2048);
        assert_eq!(SlotBits::of(100_000), SlotBits::MAX);
    }
}
