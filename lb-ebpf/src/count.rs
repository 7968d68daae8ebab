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

/// A packet from client to backend.
pub struct Inward {
    pub service: u32,
    pub backend: u32,
    pub bytes: u64,
    pub opens_flow: bool,
}

impl Inward {
    #[inline(always)]
    pub fn of(stage: &Stage) -> Self {
        Self {
            service: stage.service.id,
            backend: stage.chosen.id,
            bytes: u64::from(stage.packet.len),
            opens_flow: stage.is_new != 0,
        }
    }
}

/// Counts a packet from client to backend.
#[inline(always)]
pub fn inward(packet: &Inward) {
    let add = |traffic: &mut Traffic| {
        traffic.packets_in += 1;
        traffic.bytes_in += packet.bytes;
        traffic.flows_opened += u64::from(packet.opens_flow);
    };
    of_service(packet.service, add);
    of_backend(packet.backend, add);
}

/// A packet from backend to client.
pub struct Outward {
    pub service: u32,
    pub backend: u32,
    pub bytes: u64,
}

impl Outward {
    #[inline(always)]
    pub fn of(stage: &Stage) -> Self {
        Self {
            service: stage.reply.service,
            backend: stage.reply.backend,
            bytes: u64::from(stage.packet.len),
        }
    }
}

/// Counts a packet from backend to client.
#[inline(always)]
pub fn outward(packet: &Outward) {
    let add = |traffic: &mut Traffic| {
        traffic.packets_out += 1;
        traffic.bytes_out += packet.bytes;
    };
    of_service(packet.service, add);
    of_backend(packet.backend, add);
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
