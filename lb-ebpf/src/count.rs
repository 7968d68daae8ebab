//! Counters, one set for each CPU.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use lb_common::{
    limits,
    outcome::Outcome,
    traffic::{Count, Traffic},
};

use crate::stage::Stage;

#[btf_map]
static OUTCOMES: PerCpuArray<Count, { Outcome::ALL.len() }> = PerCpuArray::new();

#[btf_map]
static SERVICE_TRAFFIC: PerCpuArray<Traffic, { limits::SERVICES as usize }> = PerCpuArray::new();

#[btf_map]
static BACKEND_TRAFFIC: PerCpuArray<Traffic, { limits::BACKENDS as usize }> = PerCpuArray::new();

/// Counts the one outcome of a packet of `bytes`.
#[inline(always)]
pub fn outcome(outcome: Outcome, bytes: u64) {
    if let Some(count) = OUTCOMES.get_ptr_mut(u32::from(outcome.wire())) {
        // SAFETY: this CPU's own slot; XDP runs to completion on one CPU, so there is no other writer.
        let count = unsafe { &mut *count };
        count.packets += 1;
        count.bytes += bytes;
    }
}

/// Counts a packet from client to backend.
#[inline(always)]
pub fn inward(stage: &Stage) {
    let (bytes, opened) = (u64::from(stage.packet.len), u64::from(stage.is_new));
    let add = |traffic: &mut Traffic| {
        traffic.packets_in += 1;
        traffic.bytes_in += bytes;
        traffic.flows_opened += opened;
    };
    of_service(stage.service.id, add);
    of_backend(stage.chosen.id, add);
}

/// Counts a packet from backend to client.
#[inline(always)]
pub fn outward(stage: &Stage) {
    let bytes = u64::from(stage.packet.len);
    let add = |traffic: &mut Traffic| {
        traffic.packets_out += 1;
        traffic.bytes_out += bytes;
    };
    of_service(stage.reply.service, add);
    of_backend(stage.reply.backend, add);
}

/// Counts a packet that was for a service and not forwarded.
#[inline(always)]
pub fn dropped(service: u32) {
    of_service(service, |traffic| traffic.packets_dropped += 1);
}

#[inline(always)]
fn of_service(service: u32, add: impl Fn(&mut Traffic)) {
    if let Some(traffic) = SERVICE_TRAFFIC.get_ptr_mut(service) {
        // SAFETY: this CPU's own slot; XDP runs to completion on one CPU, so there is no other writer.
        add(unsafe { &mut *traffic });
    }
}

#[inline(always)]
fn of_backend(backend: u32, add: impl Fn(&mut Traffic)) {
    if let Some(traffic) = BACKEND_TRAFFIC.get_ptr_mut(backend) {
        // SAFETY: this CPU's own slot; XDP runs to completion on one CPU, so there is no other writer.
        add(unsafe { &mut *traffic });
    }
}
