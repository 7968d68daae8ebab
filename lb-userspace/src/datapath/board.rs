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
        self.write_word_of(&address);
    }

    /// Removes an address that is a VIP no more.
    pub fn remove_vip(&mut self, address: &Addr) {
        self.vips.remove(address);
        self.write_word_of(address);
    }

    /// Adds an address that is about to be one of ours.
    pub fn add_local(&mut self, address: Addr) {
        self.locals.insert(address);
        self.write_word_of(&address);
    }

    /// Removes an address that is ours no more.
    pub fn remove_local(&mut self, address: &Addr) {
        self.locals.remove(address);
        self.write_word_of(address);
    }

    /// Writes the filter's word that has the address. Others may have the same bits.
    fn write_word_of(&self, address: &Addr) {
        let (word, _) = bit_of(address);
        let of_word = bits_of(&self.vips, &self.locals).filter(|&(of, _)| of == word);
        let bits = of_word.fold(0, |bits, (_, bit)| bits | bit);
        self.words.store((VIPS + word) as usize, bits);
    }
}

/// Words and bits of the filter.
fn bits_of(vips: &BTreeSet<Addr>, locals: &BTreeSet<Addr>) -> impl Iterator<Item = (u32, u64)> {
    let ours = locals.iter().map(bit_of).map(|(word, bit)| (word, local(bit)));
    vips.iter().map(bit_of).chain(ours)
}
