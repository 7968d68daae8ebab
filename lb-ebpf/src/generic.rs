//! Interfaces that the program is on in generic mode.

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, macros::btf_map};
use lb_common::limits;

/// The mode is each interface's own, and known only once the program is on it: no setting of the program's can tell.
#[btf_map]
static GENERIC: HashMap<u32, u32, { limits::GENERIC as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Whether frames that come in by an interface are the stack's, and stay so.
#[inline(always)]
pub fn has(ifindex: u32) -> bool {
    // SAFETY: what is there is not looked at.
    unsafe { GENERIC.get(ifindex) }.is_some()
}
