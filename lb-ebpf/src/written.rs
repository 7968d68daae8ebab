//! Flows that are written down: what their slot does not say (docs/flows.md).

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    limits,
    outcome::Outcome,
    written::{self, Bucket, CONFIRMED, Entry, ForBucket, WAYS, WrittenCount, WrittenFor},
};

use crate::{
    atomic, config,
    frame::Frame,
    loads,
    stage::{Stage, stages},
};

const BUCKETS: usize = limits::WRITTEN as usize / WAYS;

#[btf_map]
static WRITTEN: Array<Bucket, BUCKETS, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
static WRITTEN_FOR: Array<ForBucket, BUCKETS, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
static WRITTEN_COUNTS: PerCpuArray<u64, { WrittenCount::ALL.len() }> = PerCpuArray::new();

const WAY_BITS: u32 = WAYS.ilog2();
/// The highest way, all ones.
const WAY: u32 = (1 << WAY_BITS) - 1;

/// How often an entry is tried to be written that other CPUs write as well.
const TRIES: usize = 2;

/// What is asked of the table, and what it says.
#[repr(C)]
pub struct Asked {
    pub hash: u64,
    /// The entry of the hash; an empty one if there is none.
    pub found: Entry,
    /// Where it is in its bucket.
    way: u32,
    /// What `note` is for.
    pub what: WrittenFor,
    /// What is to be written down.
    pub note: Entry,
}

stages! {
    /// Finds the entry of `stage.asked.hash`.
    fn seek as xlb_written = search;

    /// Writes `stage.asked.note` down, in the place of the least dear entry of its bucket.
    ///
    /// # Errors
    /// [`Outcome::FlowTableFull`]: none takes the place of a confirmed one.
    fn make as xlb_write_down = insert;
}

/// The entry of a hash; an empty one if there is none.
#[inline(always)]
pub fn find(frame: &mut Frame, stage: &mut Stage, hash: u64) -> Entry {
    stage.asked.hash = hash;
    stage.asked.found = Entry::default();
    let _done = seek(frame, stage);
    stage.asked.found
}

/// Writes down `note` for the hash that was last looked for, and for which there is nothing. Whether it found a place.
#[inline(always)]
pub fn put(frame: &mut Frame, stage: &mut Stage, note: Entry, what: WrittenFor) -> bool {
    (stage.asked.note, stage.asked.what) = (note, what);
    make(frame, stage).is_ok()
}

/// Puts `new` in the place of the entry that was last found, if that is still there.
#[inline(always)]
pub fn replace(stage: &Stage, new: Entry) -> bool {
    let asked = &stage.asked;
    match WRITTEN.get_ptr_mut(index(asked.hash)) {
        Some(bucket) => swap(bucket, asked.way, asked.found, new),
        None => false,
    }
}

/// The same for a flow that may have been another service's: counts it as over there.
#[inline(always)]
pub fn take_over(stage: &Stage, new: Entry, what: WrittenFor) -> bool {
    if !replace(stage, new) {
        return false;
    }
    let (index, old) = (index(stage.asked.hash), stage.asked.found);
    if old.state().is_active() {
        loads::closed(service_of(index, stage.asked.way), old.backend());
    }
    name(index, stage.asked.way, what);
    true
}

#[inline(always)]
fn index(hash: u64) -> u32 {
    written::bucket(hash, config::bucket_mask())
}

#[inline(always)]
fn search(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    let hash = stage.asked.hash;
    let Some(bucket) = WRITTEN.get_ptr(index(hash)) else {
        return Ok(());
    };
    for way in 0..=WAY {
        let entry = read(bucket, way);
        if entry.is_of(hash) {
            (stage.asked.found, stage.asked.way) = (entry, way);
            return Ok(());
        }
    }
    Ok(())
}

#[inline(always)]
fn insert(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    let (note, index) = (stage.asked.note, index(stage.asked.hash));
    let bucket = WRITTEN.get_ptr_mut(index).ok_or(Outcome::BadConfig)?;
    for _ in 0..TRIES {
        let mut least = u64::MAX;
        for way in 0..=WAY {
            let entry = read(bucket, way);
            let worth = written::worth(entry, config::written_timeout(entry.state_number()), stage.now);
            // The way in the lowest bits: one number says who is least, and where.
            least = least.min(worth << WAY_BITS | u64::from(way));
        }
        let worth = least >> WAY_BITS;
        #[expect(clippy::cast_possible_truncation, reason = "the lowest bits")]
        let way = least as u32 & WAY;
        if worth >= CONFIRMED {
            break;
        }
        let old = read(bucket, way);
        // It may have been confirmed meanwhile.
        let is_same = written::worth(old, config::written_timeout(old.state_number()), stage.now) == worth;
        if is_same && swap(bucket, way, old, note) {
            make_room(index, way, old, worth);
            name(index, way, stage.asked.what);
            count(WrittenCount::Inserted);
            return Ok(());
        }
    }
    count(WrittenCount::Refused);
    Err(Outcome::FlowTableFull)
}

/// Counts what has made room.
#[inline(always)]
fn make_room(index: u32, way: u32, old: Entry, worth: u64) {
    if old.state().is_active() {
        loads::closed(service_of(index, way), old.backend());
    }
    if worth != 0 {
        count(WrittenCount::Displaced);
    }
}

#[inline(always)]
fn read(bucket: *const Bucket, way: u32) -> Entry {
    // SAFETY: `bucket` is an element of the map, and the way is below its entries.
    let place = unsafe { bucket.cast::<u64>().add((way & WAY) as usize) };
    // SAFETY: an aligned word that is written as a whole; a volatile read is one load of it.
    Entry(unsafe { core::ptr::read_volatile(place) })
}

#[inline(always)]
fn swap(bucket: *mut Bucket, way: u32, old: Entry, new: Entry) -> bool {
    // SAFETY: as in `read`.
    let place = unsafe { bucket.cast::<u64>().add((way & WAY) as usize) };
    // SAFETY: an aligned word that all write atomically.
    unsafe { atomic::replace(place, old.0, new.0) }
}

/// Says beside an entry what it is for. The agent takes it for the entry before for a moment, and looks twice before it acts.
#[inline(always)]
fn name(index: u32, way: u32, what: WrittenFor) {
    if let Some(bucket) = WRITTEN_FOR.get_ptr_mut(index) {
        // SAFETY: as in `read`.
        let place = unsafe { bucket.cast::<u32>().add((way & WAY) as usize) };
        // SAFETY: a word that is written as a whole.
        unsafe { core::ptr::write_volatile(place, what.0) };
    }
}

#[inline(always)]
fn service_of(index: u32, way: u32) -> u32 {
    WRITTEN_FOR.get_ptr(index).map_or(0, |bucket| {
        // SAFETY: as in `read`.
        let place = unsafe { bucket.cast::<u32>().add((way & WAY) as usize) };
        // SAFETY: as in `name`.
        WrittenFor(unsafe { core::ptr::read_volatile(place) }).service()
    })
}

#[inline(always)]
fn count(what: WrittenCount) {
    if let Some(count) = WRITTEN_COUNTS.get_ptr_mut(u32::from(what.wire())) {
        // SAFETY: this CPU's own slot; XDP runs to completion on one CPU, so there is no other writer.
        unsafe { *count += 1 };
    }
}
