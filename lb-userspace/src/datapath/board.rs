//! The agent's side of [`lb_common::board`]: switches, epoch and the filter of VIPs and of our own addresses.

use std::collections::BTreeSet;

use lb_common::{
    addr::Addr,
    board::{FILTER_WORDS, HEAD, Head, VIPS, bit_of, local},
};

use crate::datapath::mapped::MappedArray;

/// What every packet asks first.
///
/// Changes of the tables are told in this order: a VIP is in the filter before it is in its table, and out of it after; the epoch goes on
/// after each change. An agent that dies between leaves at most a look too many, or packets that go where they went before.
pub struct Board {
    words: MappedArray,
    vips: BTreeSet<Addr>,
    locals: BTreeSet<Addr>,
}

impl Board {
    /// The board of tables that hold these VIPs and addresses of ours: those of a program that has just been loaded, or of one that runs.
    pub fn new(words: MappedArray, vips: BTreeSet<Addr>, locals: BTreeSet<Addr>) -> Self {
        let mut filter = vec![0; FILTER_WORDS as usize];
        for (word, bit) in bits_of(&vips, &locals) {
            filter[word as usize] |= bit;
        }
        for (word, bits) in (VIPS..).zip(filter) {
            words.store(word as usize, bits);
        }
        let board = Self { words, vips, locals };
        board.changed();
        board
    }

    pub fn switches(&self) -> u32 {
        self.head().switches()
    }

    pub fn set_switches(&self, switches: u32) {
        self.set_head(Head::new(switches, self.head().epoch()));
    }

    /// Tells that a table has changed: what was found in it is looked up again.
    pub fn changed(&self) {
        let head = self.head();
        let next = head.epoch().checked_add(1).unwrap_or(1);
        self.set_head(Head::new(head.switches(), next));
    }

    fn head(&self) -> Head {
        Head(self.words.load(HEAD as usize))
    }

    fn set_head(&self, head: Head) {
        self.words.store(HEAD as usize, head.0);
    }

    /// Adds an address that is about to be a VIP.
    pub fn add_vip(&mut self, address: Addr) {
        self.vips.insert(address);
        self.add(bit_of(&address));
    }

    /// Removes an address that is a VIP no more.
    pub fn remove_vip(&mut self, address: &Addr) {
        self.vips.remove(address);
        self.write_word_of(address);
    }

    /// Adds an address that is about to be one of ours.
    pub fn add_local(&mut self, address: Addr) {
        self.locals.insert(address);
        let (word, bit) = bit_of(&address);
        self.add((word, local(bit)));
    }

    /// Removes an address that is ours no more.
    pub fn remove_local(&mut self, address: &Addr) {
        self.locals.remove(address);
        self.write_word_of(address);
    }

    fn add(&self, (word, bit): (u32, u64)) {
        let place = (VIPS + word) as usize;
        self.words.store(place, self.words.load(place) | bit);
    }

    /// Writes the filter's word that has had the address.
    fn write_word_of(&self, address: &Addr) {
        let (word, _) = bit_of(address);
        let bits = bits_of_word(word, &self.vips, &self.locals);
        self.words.store((VIPS + word) as usize, bits);
    }
}

/// A word of the filter. Several addresses may have the same bit.
fn bits_of_word(word: u32, vips: &BTreeSet<Addr>, locals: &BTreeSet<Addr>) -> u64 {
    let of_word = bits_of(vips, locals).filter(|&(of, _)| of == word);
    of_word.fold(0, |bits, (_, bit)| bits | bit)
}

/// Words and bits of the filter.
fn bits_of(vips: &BTreeSet<Addr>, locals: &BTreeSet<Addr>) -> impl Iterator<Item = (u32, u64)> {
    let ours = locals.iter().map(bit_of).map(|(word, bit)| (word, local(bit)));
    vips.iter().map(bit_of).chain(ours)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn who_leaves_a_word_takes_no_other_s_bit_along() {
        let all =
            (0_u32..40_000).map(|number| Addr::from(IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number))));
        let of_first = |address: &Addr| bit_of(address).0 == 0;
        let in_word: Vec<Addr> = all.filter(of_first).collect();
        let bit = |address: &Addr| bit_of(address).1;
        let twin = in_word[1..]
            .iter()
            .find(|other| bit(other) == bit(&in_word[0]))
            .unwrap();
        let both: BTreeSet<_> = [in_word[0], *twin].into();
        let (one, none): (BTreeSet<_>, BTreeSet<_>) = ([*twin].into(), BTreeSet::new());
        let (vip, ours) = (bit(twin), local(bit(twin)));
        assert_eq!(bits_of_word(0, &both, &both), vip | ours);
        assert_eq!(
            bits_of_word(0, &one, &both),
            vip | ours,
            "the twin is a VIP still"
        );
        assert_eq!(bits_of_word(0, &none, &one), ours);
        assert_eq!(bits_of_word(0, &one, &none), vip);
        assert_eq!(bits_of_word(1, &both, &both), 0);
    }
}
