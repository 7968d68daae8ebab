//! Signs that clients do not get what they want of a backend ([`lb_common::sign`]). What looks for them is where a SYN, a reset or an
//! error is handled anyway; no other packet pays for it.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use lb_common::{
    backend::BackendWord,
    conn::{Flow, FlowState},
    limits,
    sign::{self, Signs, Syn},
};

use crate::{
    backend, clock, flow,
    frame::{Frame, Icmp, Tcp},
    stage::{Stage, stages},
};

#[btf_map]
static BACKEND_SIGNS: PerCpuArray<Signs, { limits::BACKENDS as usize }> = PerCpuArray::new();

/// The last SYNs of flows that are not remembered. A client's SYNs come to one CPU, as the NIC has it.
#[btf_map]
static SYNS: PerCpuArray<u64, { sign::SYNS as usize }> = PerCpuArray::new();

stages! {
    /// Looks whether a SYN that is about to be sent to `stage.chosen` is a repetition.
    fn look as xlb_sign = look_at;
}

/// Looks at a packet that is about to be sent to `stage.chosen`, in a mode that does not translate.
#[inline(always)]
pub fn of_client(frame: &mut Frame, stage: &mut Stage) {
    if sign::is_syn(stage.packet.tcp_flags) && !flow::translates(stage.mode) {
        let _looked = look(frame, stage);
    }
}

#[inline(always)]
fn look_at(frame: &mut Frame, stage: &mut Stage) -> Result<(), lb_common::outcome::Outcome> {
    let (id, word) = (stage.chosen.id, stage.chosen.word);
    syn(frame, usize::from(stage.packet.l4), stage.hash, (id, word));
    Ok(())
}

/// Looks whether the SYN with its TCP header at `l4`, of a flow with this hash, is a repetition of one that went to the same backend: then
/// it counts for that.
#[inline(always)]
pub fn syn(frame: &Frame, l4: usize, hash: u64, (backend, word): (u32, BackendWord)) {
    let Some(tcp) = frame.header::<Tcp>(l4) else {
        return;
    };
    let sequence = u32::from_ne_bytes(tcp.sequence);
    if xlb_syn(sign::print(hash, sequence, (backend, word.generation()))) != 0 {
        add(backend, |signs| signs.repeated_syns += 1);
    }
}

/// A function of its own, so that nobody else has the ways through it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn xlb_syn(print: u64) -> u32 {
    let Some(entry) = SYNS.get_ptr_mut(Syn::index(print)) else {
        return 0;
    };
    // SAFETY: this CPU's own; XDP runs to completion on one CPU, so there is no other writer.
    let entry = unsafe { &mut *entry };
    let (next, repeats) = Syn(*entry).next(print, clock::now());
    if let Some(next) = next {
        *entry = next.0;
    }
    u32::from(repeats)
}

/// Looks at a client's packet in a translated flow, before the flow takes it: what is remembered of that tells a repetition.
#[inline(always)]
pub fn of_flow(flow: &Flow, tcp_flags: u8, now: u64) {
    if sign::is_syn(tcp_flags)
        && flow.state() == FlowState::Syn
        && sign::is_repetition(now.saturating_sub(flow.last_seen))
    {
        add(flow.backend, |signs| signs.repeated_syns += 1);
    }
}

/// Looks at a backend's packet in a translated flow, before the flow takes it.
#[inline(always)]
pub fn of_answer(flow: &Flow, tcp_flags: u8) {
    if sign::is_refusal(flow.state(), tcp_flags) && is_same(flow.backend, flow.generation) {
        add(flow.backend, |signs| signs.resets += 1);
    }
}

/// Looks at an ICMP error that answers the flow of `stage.reply`.
#[inline(always)]
pub fn of_error(frame: &Frame, stage: &Stage) {
    let reply = &stage.reply;
    let Some(icmp) = frame.header::<Icmp>(usize::from(stage.packet.l4)) else {
        return;
    };
    if sign::is_unreachable(stage.packet.is_v4(), icmp.kind[0], icmp.code[0])
        && is_same(reply.backend, reply.generation)
    {
        add(reply.backend, |signs| signs.unreachables += 1);
    }
}

/// Whether an id is still the backend's that it was under this generation.
#[inline(always)]
fn is_same(backend: u32, generation: u32) -> bool {
    backend::word(backend).generation() == generation
}

#[inline(always)]
fn add(backend: u32, add: impl Fn(&mut Signs)) {
    if let Some(signs) = BACKEND_SIGNS.get_ptr_mut(backend) {
        // SAFETY: this CPU's own slot; XDP runs to completion on one CPU, so there is no other writer.
        add(unsafe { &mut *signs });
    }
}
