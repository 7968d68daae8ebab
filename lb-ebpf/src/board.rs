//! What every packet asks first: [`lb_common::board`].

use aya_ebpf::{bindings::BPF_F_MMAPABLE, btf_maps::Array, macros::btf_map};
use lb_common::{
    addr::Addr,
    board::{self, Head},
};

use crate::atomic;

/// Mapped into the agent's memory as well.
#[btf_map]
static SWITCHES: Array<u64, { board::ENTRIES as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();

#[inline(always)]
fn word(index: u32) -> u64 {
    match SWITCHES.get_ptr(index) {
        // SAFETY: words are stored with aligned stores; a volatile read is one load of it.
        Some(word) => unsafe { core::ptr::read_volatile(word) },
        None => 0,
    }
}

/// Switches and epoch; to be read before what they are about.
#[inline(always)]
pub fn head() -> Head {
    Head(word(board::HEAD))
}

/// Which of the tables that most deployments do not use have entries: bits of [`switches`](lb_common::maps::switches).
#[inline(always)]
pub fn switches() -> u32 {
    head().switches()
}

/// Whether an address may be a VIP, if no network is one.
#[inline(always)]
pub fn may_be_vip(address: &Addr) -> bool {
    let (index, bit) = board::bit_of(address);
    word(board::VIPS + index) & bit != 0
}

/// Whether an address may be such a VIP, or the balancer's own.
#[inline(always)]
pub fn may_be_no_client(address: &Addr) -> bool {
    let (index, bit) = board::bit_of(address);
    word(board::VIPS + index) & (bit | board::local(bit)) != 0
}

/// Whether a backend of this address may have flows to answer through us.
#[inline(always)]
pub fn may_answer(address: &Addr) -> bool {
    let (index, bit) = board::bit_of(address);
    word(board::ANSWERING + index) & bit != 0
}

/// Notes that a backend of this address is about to have such a flow.
#[inline(always)]
pub fn note_answering(address: &Addr) {
    let (index, bit) = board::bit_of(address);
    if let Some(place) = SWITCHES.get_ptr_mut(board::ANSWERING + index) {
        // SAFETY: an aligned word of the map; a volatile read is one load of it.
        let bits = unsafe { core::ptr::read_volatile(place) };
        if bits & bit == 0 {
            // SAFETY: as above.
            unsafe { atomic::set(place, bit) };
        }
    }
}
