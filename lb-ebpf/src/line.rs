//! Lines of translated flows: [`lb_common::line`]. Other CPUs may write the one in hand: it is read and written word by word, and is
//! of a flow when its seal says so.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, btf_maps::Array, macros::btf_map};
use lb_common::{
    limits,
    line::{
        self, Line, WORDS, hop_print,
        word::{HASH, SEEN, UNTIL},
    },
};

use crate::{
    config,
    frame::{Frame, Macs},
};

/// Mapped into the agent's memory as well, and so aligned to cache lines.
#[btf_map]
static LINES: Array<[u64; WORDS], { limits::FLOWS as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Where a flow's line is, or may be.
#[derive(Clone, Copy)]
pub struct Place(*mut u64);

/// The place of the line of a flow with this hash; without one, that of its two whose line is believed for less long.
#[inline(always)]
pub fn place(hash: u64) -> Option<Place> {
    let [first, second] = line::places(hash, config::lines());
    let first = at(first)?;
    if first.load(HASH) == hash {
        return Some(first);
    }
    let Some(second) = at(second) else {
        return Some(first);
    };
    let is_second = second.load(HASH) == hash || second.load(UNTIL) < first.load(UNTIL);
    Some(if is_second { second } else { first })
}

#[inline(always)]
fn at(index: u32) -> Option<Place> {
    LINES.get_ptr_mut(index).map(|line| Place(line.cast()))
}

impl Place {
    /// The line that is there, if it is that of the hash.
    #[inline(always)]
    pub fn read(self, hash: u64) -> Option<Line> {
        if self.load(HASH) != hash {
            return None;
        }
        // SAFETY: an element of the map, whose words are integers. What other CPUs write meanwhile the seal tells.
        let line = unsafe { self.0.cast::<Line>().read_volatile() };
        line.is_of(hash).then_some(line)
    }

    /// Notes that a packet went by it. In another flow's line, which came meanwhile, that does no harm.
    #[inline(always)]
    pub fn touch(self, now: u64) {
        self.store(SEEN, now);
    }

    /// Writes a line that has just been made, unless it would be in the place of another's that is believed: of several flows in one place
    /// the first keeps it for that long. Whether it has.
    #[inline(always)]
    pub fn write(self, line: &Line, now: u64) -> bool {
        let is_anothers = self.load(HASH) != line.hash;
        if line.until <= now || is_anothers && self.load(UNTIL) >= now {
            return false;
        }
        // SAFETY: as in `read`.
        unsafe { self.0.cast::<Line>().write_volatile(*line) };
        true
    }

    /// Forgets the flow whose line is there.
    #[inline(always)]
    pub fn forget(self) {
        forget(self.load(HASH));
    }

    #[inline(always)]
    fn clear(self) {
        self.store(HASH, 0);
        self.store(UNTIL, 0);
    }

    #[inline(always)]
    fn load(self, word: usize) -> u64 {
        // SAFETY: one of the element's words.
        let place = unsafe { self.0.add(word) };
        // SAFETY: an aligned word that is written as a whole; a volatile read is one load of it.
        unsafe { place.read_volatile() }
    }

    #[inline(always)]
    fn store(self, word: usize, value: u64) {
        // SAFETY: one of the element's words.
        let place = unsafe { self.0.add(word) };
        // SAFETY: an aligned word of the map; a volatile write is one store of it.
        unsafe { place.write_volatile(value) };
    }
}

/// Forgets the line of a flow with this hash: its flow begins anew, with another backend perhaps.
#[inline(always)]
pub fn forget(hash: u64) {
    // Two CPUs may have written one each.
    for index in line::places(hash, config::lines()) {
        if let Some(place) = at(index)
            && place.load(HASH) == hash
        {
            place.clear();
        }
    }
}

/// Of how a frame without tags came.
#[inline(always)]
pub fn came_by(frame: &Frame) -> Option<u32> {
    let macs = frame.header::<Macs>(0)?;
    Some(hop_print(macs.destination, macs.source, frame.ingress()))
}
