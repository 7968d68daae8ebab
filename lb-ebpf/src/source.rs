//! Source ports and addresses of our own, for flows whose backend is to answer us.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, PerCpuArray},
    helpers::generated::bpf_get_smp_processor_id,
    macros::btf_map,
};
use lb_common::{addr::Addr, limits, maps::switches, outcome::Outcome, service::ForwardMode};

use crate::{
    board, config, flow,
    frame::Frame,
    stage::{Stage, stages},
};

#[btf_map]
static SOURCES: Array<Addr, { limits::SOURCES as usize * 2 }> = Array::new();

/// Backends of services whose replies come through us.
#[btf_map]
static HAIRPINS: HashMap<Addr, u32, { limits::BACKENDS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// How many ports this CPU has tried so far: the next one is the one that has rested longest.
#[btf_map]
static TRIED: PerCpuArray<u32, 1> = PerCpuArray::new();

/// Whether a new flow needs a source of ours: in full-nat, and where the client is itself a backend. That one would be
/// answered directly by a neighbour, from an address that it did not ask.
#[inline(always)]
pub fn is_needed(stage: &Stage) -> bool {
    if stage.mode == ForwardMode::FullNat.wire() {
        return true;
    }
    stage.mode == ForwardMode::Nat.wire()
        && board::switches() & switches::HAIRPINS != 0
        // SAFETY: only the presence of the entry is looked at.
        && unsafe { HAIRPINS.get(stage.packet.flow.source) }.is_some()
}

stages! {
    /// Finds a source that no live flow to the same backend has: `stage.source` and `stage.source_port`.
    ///
    /// Each CPU has ports of its own, so that no other can take the same one at the same time.
    ///
    /// # Errors
    /// [`Outcome::NoSourcePort`] when the ports that were tried are all in use.
    pub fn find as xlb_source = search;
}

#[inline(always)]
fn search(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    let ports = config::translation();
    let is_v4 = stage.chosen.backend.addr.is_v4();
    let (first, count) = if is_v4 {
        (0, ports.v4_sources)
    } else {
        (limits::SOURCES, ports.v6_sources)
    };
    let per_cpu = u32::from(ports.ports_per_cpu);
    // SAFETY: the helper takes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let low = u32::from(ports.first_port) + cpu * per_cpu;
    // A CPU that came after the agent's start has no ports.
    if per_cpu == 0 || low + per_cpu - 1 > u32::from(ports.last_port) {
        return Err(Outcome::NoSourcePort);
    }
    for _ in 0..limits::SOURCE_PORT_TRIES {
        let turn = next_turn()?;
        let (round, offset) = (turn / per_cpu, turn % per_cpu);
        let address = match count {
            0 => stage.egress.source,
            count => *SOURCES
                .get(first + round % u32::from(count))
                .ok_or(Outcome::NoSourcePort)?,
        };
        if address.is_none() {
            return Err(Outcome::NoSourcePort);
        }
        stage.source = address;
        stage.source_port = port(low + offset);
        if !flow::collides(stage) {
            return Ok(());
        }
    }
    Err(Outcome::NoSourcePort)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the caller has checked the range")]
const fn port(number: u32) -> u16 {
    (number as u16).to_be()
}

#[inline(always)]
fn next_turn() -> Result<u32, Outcome> {
    let tried = TRIED.get_ptr_mut(0).ok_or(Outcome::NoSourcePort)?;
    // SAFETY: this CPU's own; XDP runs to completion on one CPU, so there is no other writer.
    let tried = unsafe { &mut *tried };
    *tried = tried.wrapping_add(1);
    Ok(*tried)
}
