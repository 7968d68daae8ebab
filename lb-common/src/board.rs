//! What every packet asks first: which tables have entries, how often they have changed, and which addresses may be VIPs.
//!
//! The map [`SWITCHES`](crate::maps::SWITCHES) is a row of words. The agent has it in its memory as well, and changes each by one store.

use crate::addr::Addr;

/// The word that has the switches, and the epoch above them.
pub const HEAD: u32 = 0;
/// The first word of the filter of VIPs (Bloom: "Space/time trade-offs in hash coding with allowable errors", CACM 1970, with one
/// hash): an address whose bit is not set is no VIP of its own. Beside each bit is the one of an address of the balancer itself
/// ([`local`]), so that one look at a source tells that it is neither.
pub const VIPS: u32 = 1;
/// The first word of the filter of backends that have flows to answer through us. The program sets its bits, before it remembers
/// such a flow; they stay.
pub const ANSWERING: u32 = VIPS + FILTER_WORDS;
pub const FILTER_WORDS: u32 = 1024;
pub const ENTRIES: u32 = ANSWERING + FILTER_WORDS;

/// The first word of the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head(pub u64);

impl Head {
    #[must_use]
    pub const fn new(switches: u32, epoch: u32) -> Self {
        Self((epoch as u64) << 32 | switches as u64)
    }

    /// Bits of [`switches`](crate::maps::switches).
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub const fn switches(self) -> u32 {
        self.0 as u32
    }

    /// A number that changes with every change of VIPs and services, after it: what was looked up under another is looked up
    /// again. Zero before the first.
    #[must_use]
    #[inline(always)]
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Bits of an address that are spread well, from the highest on.
///
/// Not keyed: who finds addresses that share a filter's bit with a VIP makes us look them up, as all would be without the filter.
#[must_use]
#[inline(always)]
pub const fn spread(address: &Addr) -> u64 {
    let [a, b, c, d] = address.words();
    let high = (a as u64) << 32 | b as u64;
    let low = (c as u64) << 32 | d as u64;
    // Odd constants without structure: the fractional parts of the golden ratio and of the square root of three.
    (high.wrapping_mul(0xbb67_ae85_84ca_a73b) ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The place of an address in a filter: the word, from the filter's first on, and the bit in it. Every other bit is such a place.
#[must_use]
#[inline(always)]
pub const fn bit_of(address: &Addr) -> (u32, u64) {
    let spread = spread(address);
    ((spread >> 54) as u32, 1 << (spread >> 48 & 62))
}

/// The bit of an address of the balancer itself, where a VIP would have this one.
#[must_use]
#[inline(always)]
pub const fn local(bit: u64) -> u64 {
    bit << 1
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_parts_of_the_head_do_not_touch() {
        let head = Head::new(5, u32::MAX);
        assert_eq!((head.switches(), head.epoch()), (5, u32::MAX));
        assert_eq!(Head::new(u32::MAX, 0).epoch(), 0);
    }

    #[test]
    fn neighbours_have_bits_of_their_own() {
        let bits: BTreeSet<_> = (0..=255)
            .map(|host| bit_of(&Addr::from(IpAddr::from(Ipv4Addr::new(192, 0, 2, host)))))
            .collect();
        assert!(bits.len() > 250, "{}", bits.len());
        assert!(bits.iter().all(|&(word, _)| word < FILTER_WORDS));
        let locals: BTreeSet<_> = bits.iter().map(|&(word, bit)| (word, local(bit))).collect();
        assert!(locals.iter().all(|&(_, bit)| bit.is_power_of_two()));
        assert!(locals.is_disjoint(&bits));
    }

    #[test]
    fn every_part_of_an_address_counts() {
        let base = Addr::from_words([1, 2, 3, 4]);
        for place in 0..4 {
            let mut words = base.words();
            words[place] ^= 1 << 24;
            assert_ne!(bit_of(&Addr::from_words(words)), bit_of(&base), "{place}");
        }
    }
}
