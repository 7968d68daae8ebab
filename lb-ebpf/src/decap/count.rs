//! Counters, one set for each CPU.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use lb_common::{decap::Decap, traffic::Count};

#[btf_map]
static DECAP_COUNTS: PerCpuArray<Count, { Decap::ALL.len() }> = PerCpuArray::new();

/// Counts the one outcome of a packet of `bytes`.
#[inline(always)]
pub fn outcome(outcome: Decap, bytes: u64) {
    if let Some(count) = DECAP_COUNTS.get_ptr_mut(u32::from(outcome.wire())) {
        // SAFETY: this CPU's own slot; XDP runs to completion on one CPU, so there is no other writer.
        let count = unsafe { &mut *count };
        count.packets += 1;
        count.bytes += bytes;
    }
}
