//! Active flows, counted where they are known: by backend and by service.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, btf_maps::Array, macros::btf_map};
use lb_common::{backend::BackendLimits, limits};

use crate::atomic;

const MAPPED: usize = BPF_F_MMAPABLE as usize;

/// Mapped into the agent's memory as well, which corrects what evictions have left uncounted.
#[btf_map]
static BACKEND_LOADS: Array<u64, { limits::BACKENDS as usize }, MAPPED> = Array::new();

#[btf_map]
static SERVICE_LOADS: Array<u64, { limits::SERVICES as usize }, MAPPED> = Array::new();

#[btf_map]
static BACKEND_LIMITS: Array<u64, { limits::BACKENDS as usize }, MAPPED> = Array::new();

/// Counts a flow that begins.
#[inline(always)]
pub fn opened(service: u32, backend: u32) {
    add(BACKEND_LOADS.get_ptr_mut(backend), 1);
    add(SERVICE_LOADS.get_ptr_mut(service), 1);
}

/// Counts a flow that is over.
#[inline(always)]
pub fn closed(service: u32, backend: u32) {
    add(BACKEND_LOADS.get_ptr_mut(backend), u64::MAX);
    add(SERVICE_LOADS.get_ptr_mut(service), u64::MAX);
}

#[inline(always)]
fn add(load: Option<*mut u64>, change: u64) {
    if let Some(load) = load {
        // SAFETY: an aligned element of a map, which others change by atomic additions, too.
        unsafe { atomic::add(load, change) };
    }
}

/// Active flows of a backend.
#[inline(always)]
pub fn of_backend(id: u32) -> u64 {
    read(BACKEND_LOADS.get_ptr(id))
}

/// Active flows of a service.
#[inline(always)]
pub fn of_service(id: u32) -> u64 {
    read(SERVICE_LOADS.get_ptr(id))
}

/// How many of them a backend may have, and its weight.
#[inline(always)]
pub fn limits_of(id: u32) -> BackendLimits {
    BackendLimits(read(BACKEND_LIMITS.get_ptr(id)))
}

/// One that was corrected below zero is zero.
#[inline(always)]
fn read(place: Option<*const u64>) -> u64 {
    // SAFETY: an aligned element of a map; a volatile read is one load of it.
    let value = place.map_or(0, |place| unsafe { core::ptr::read_volatile(place) });
    if value >> 63 == 0 { value } else { 0 }
}
