//! The lines of translated flows ([`lb_common::line`]), for who lists and forgets flows.

use anyhow::{Context as _, Result};
use aya::maps::{Array, IterableMap as _, Map, MapData};
use lb_common::{
    conn::Flow,
    flow::FlowKey,
    line::{
        self, Line, WORDS,
        word::{HASH, SEEN},
    },
    maps,
};

use crate::datapath::{mapped::MappedArray, pins::Pins};

/// The lines, in our memory.
#[derive(Debug)]
pub struct Lines {
    words: MappedArray,
    /// How many there are.
    len: u32,
    hash_key: [u64; 2],
}

impl Lines {
    /// Opens the pinned map, of a program whose flows are hashed under `hash_key`.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open(pins: &Pins, hash_key: [u64; 2]) -> Result<Self> {
        let path = pins.map(maps::LINES);
        let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
        let lines: Array<_, Line> = Map::Array(data).try_into()?;
        Ok(Self {
            words: MappedArray::of(lines.map().fd(), lines.len(), size_of::<Line>())?,
            len: lines.len(),
            hash_key,
        })
    }

    /// The last packet of a flow may be known to its line alone.
    pub fn tell(&self, client: &FlowKey, flow: &mut Flow) {
        for first in self.find(client) {
            flow.last_seen = flow.last_seen.max(self.words.load(first + SEEN));
        }
    }

    /// Forgets the line of a flow that is forgotten: the next packet finds none.
    pub fn forget(&self, client: &FlowKey) {
        for first in self.find(client) {
            (0..WORDS).for_each(|word| self.words.store(first + word, 0));
        }
    }

    /// The first words of a flow's lines: at most one, unless two CPUs have written one each.
    fn find(&self, client: &FlowKey) -> impl Iterator<Item = usize> {
        let hash = client.hash(self.hash_key);
        let places = line::places(hash, self.len).into_iter();
        places
            .filter(|place| *place < self.len)
            .map(|place| place as usize * WORDS)
            .filter(move |first| self.words.load(first + HASH) == hash)
    }
}
