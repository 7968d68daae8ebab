//! The lines of translated flows ([`lb_common::line`]), for who lists and forgets flows, and where they are for who looks one up.

use anyhow::Result;
use aya::maps::{Array, IterableMap as _, MapData};
use lb_common::line::{
    self, Line, WORDS,
    word::{HASH, SEEN},
};

use crate::datapath::mapped::MappedArray;

/// The lines, in our memory. A flow's is found by the keyed hash of the client's five-tuple.
#[derive(Debug)]
pub struct Lines {
    words: MappedArray,
    /// How many there are.
    len: u32,
}

impl Lines {
    /// Maps the map.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn of(lines: &Array<MapData, Line>) -> Result<Self> {
        Ok(Self {
            words: MappedArray::of(lines.map().fd(), lines.len(), size_of::<Line>())?,
            len: lines.len(),
        })
    }

    /// When a packet last went by a flow's line: its entry may know less. 0 without a line.
    pub fn last_seen(&self, hash: u64) -> u64 {
        let seen = self.find(hash).map(|first| self.words.load(first + SEEN));
        seen.max().unwrap_or(0)
    }

    /// Forgets the line of a flow that is forgotten: the next packet finds none.
    pub fn forget(&self, hash: u64) {
        for first in self.find(hash) {
            (0..WORDS).for_each(|word| self.words.store(first + word, 0));
        }
    }

    /// The first words of a flow's lines: at most one, unless two CPUs have written one each.
    fn find(&self, hash: u64) -> impl Iterator<Item = usize> {
        places(hash, self.len)
            .map(|place| place as usize * WORDS)
            .filter(move |first| self.words.load(first + HASH) == hash)
    }
}

/// Where, of `len` lines, that of a flow with this hash may be.
pub(super) fn places(hash: u64, len: u32) -> impl Iterator<Item = u32> {
    let places = line::places(hash, len).into_iter();
    places.filter(move |place| *place < len)
}
