//! The tables of a service's pool, as [`lb_common::pick`] reads them.

use aya_ebpf::{
    btf_maps::PerCpuArray,
    helpers::generated::{bpf_get_prandom_u32, bpf_get_smp_processor_id},
    macros::btf_map,
};
use lb_common::{
    backend::{BackendLimits, BackendWord},
    limits,
    pick::Pool,
    slot::{Slot, SlotBits},
};

use crate::{backend, loads, slots};

/// Where each service's round has come, on this CPU.
#[btf_map]
static TURNS: PerCpuArray<u32, { limits::SERVICES as usize }> = PerCpuArray::new();

/// Keeps the rounds of CPUs apart (2^32 divided by the golden ratio).
const APART: u32 = 0x9e37_79b9;

/// The pool of a service.
pub struct Tables {
    pub service: u32,
    pub size: SlotBits,
}

impl Pool for Tables {
    #[inline(always)]
    fn slot(&self, hash: u64) -> Slot {
        slots::at(self.service, self.size, hash)
    }

    #[inline(always)]
    fn member(&self, place: u32) -> u32 {
        slots::member(self.service, self.size, place)
    }

    #[inline(always)]
    fn word(&self, id: u32) -> BackendWord {
        backend::word(id)
    }

    #[inline(always)]
    fn limits(&self, id: u32) -> BackendLimits {
        loads::limits_of(id)
    }

    #[inline(always)]
    fn load(&self, id: u32) -> u64 {
        loads::of_backend(id)
    }

    #[inline(always)]
    fn service_load(&self) -> u64 {
        loads::of_service(self.service)
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn turn(&self) -> u32 {
        let Some(turn) = TURNS.get_ptr_mut(self.service) else {
            return 0;
        };
        // SAFETY: this CPU's own; XDP runs to completion on one CPU, so there is no other writer.
        let turn = unsafe { &mut *turn };
        *turn = turn.wrapping_add(1);
        // SAFETY: the helper takes nothing.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        turn.wrapping_add(cpu.wrapping_mul(APART) >> 16)
    }
}
