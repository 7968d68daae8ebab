//! What is written down of flows, and how many are counted.

use anyhow::Result;
use lb_common::written::{Entry, WAYS, WrittenCount, WrittenState, bucket};
use xlb::datapath::{Datapath as _, sweep};

use crate::rig::Rig;

/// Nanoseconds of a step of an entry's age, as a power of two.
const STEP_BITS: u32 = 31;

impl Rig {
    /// All that is written down.
    pub fn written(&self) -> impl Iterator<Item = Entry> {
        let entries = self.written.all().map(Entry);
        entries.filter(|entry| entry.state() != WrittenState::Empty)
    }

    /// What is written down under a hash.
    pub fn written_for(&self, hash: u64) -> Option<Entry> {
        let mut entries = self.bucket(hash).map(|at| Entry(self.written.load(at)));
        entries.find(|entry| entry.is_of(hash))
    }

    /// The places of a hash's bucket.
    fn bucket(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let mask = u32::try_from(self.written.words() / WAYS - 1).unwrap();
        let first = bucket(hash, mask) as usize * WAYS;
        first..first + WAYS
    }

    /// Active flows of a backend.
    pub fn load(&self, backend: u32) -> u64 {
        self.loads[0].load(backend as usize)
    }

    /// Active flows of a service.
    pub fn service_load(&self, service: u32) -> u64 {
        self.loads[1].load(service as usize)
    }

    /// Makes what is written down under a hash older, by steps of 2.1 seconds.
    pub fn age(&self, hash: u64, steps: u64) {
        for at in self.bucket(hash) {
            let entry = Entry(self.written.load(at));
            if entry.is_of(hash) {
                // By the clock that it was stamped with: to any other it may seem to be ahead.
                let now = sweep::now().unwrap();
                let silence = entry.silence(now) + (steps << STEP_BITS);
                let earlier = now.wrapping_sub(silence);
                self.written.store(at, entry.refreshed(entry.state(), earlier).0);
            }
        }
    }

    /// How often something has happened to the table.
    pub fn written_count(&self, what: WrittenCount) -> Result<u64> {
        Ok(self.datapath.written_counts()?[usize::from(what.wire())])
    }
}
