//! Flows that are remembered, by the client's packets and by the backend's.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    btf_maps::LruHashMap,
    macros::btf_map,
};
use lb_common::{
    conn::{Claim, Flow, FlowState, Reply, Side},
    flow::{FlowKey, Protocol},
    limits,
    next_hop::NextHop,
    outcome::Outcome,
};

use crate::{
    backend::{self, Chosen},
    config,
    parse::Packet,
};

#[btf_map]
static FLOWS: LruHashMap<FlowKey, Flow, { limits::FLOWS as usize }> = LruHashMap::new();

#[btf_map]
static REPLIES: LruHashMap<FlowKey, Reply, { limits::FLOWS as usize }> = LruHashMap::new();

/// Nanoseconds of silence after which a flow's reply entry is looked after: eviction takes what is not used.
const IDLE: u64 = 100_000_000;

/// What the flow table says about a client's packet.
pub enum Known {
    /// The flow goes on with its backend.
    Goes(Chosen),
    /// There is no such flow, or it has to pick again.
    Picks,
}

/// Follows a client's packet: the backend of its flow, if that may have it, with the flow's state brought up to date.
#[inline(always)]
pub fn follow(packet: &Packet, came_by: NextHop, now: u64) -> Known {
    let Some(flow) = find(&packet.flow) else {
        return Known::Picks;
    };
    if flow.claim(packet.tcp_flags, now, &config::timeouts()) == Claim::Starts {
        return Known::Picks;
    }
    let word = backend::word(flow.backend);
    if !word.keeps_flow_of(flow.generation) {
        return Known::Picks;
    }
    let Some(chosen) = backend::chosen(flow.backend, word) else {
        return Known::Picks;
    };
    if now.saturating_sub(flow.last_seen) > IDLE {
        keep_reply(packet, &chosen, flow.service);
    }
    flow.last_seen = now;
    flow.state = u32::from(flow.state().next(Side::Client, packet.tcp_flags).wire());
    flow.client_hop = came_by;
    Known::Goes(chosen)
}

/// Whether `chosen` could not tell the replies of this flow from those of another that is alive: same client address and
/// port, same backend address and port, another VIP.
#[inline(always)]
pub fn collides(packet: &Packet, chosen: &Chosen, now: u64) -> bool {
    // SAFETY: the value is copied at once; an entry recycled meanwhile yields another flow's reply, which then collides.
    let Some(reply) = (unsafe { REPLIES.get(chosen.rewritten(packet).reversed()) }).copied() else {
        return false;
    };
    if reply.flow == packet.flow {
        return false;
    }
    let Some(holder) = find(&reply.flow) else {
        return false;
    };
    holder.backend == reply.backend
        && !holder.state().is_over()
        && !holder.is_expired(now, &config::timeouts())
}

/// Writes down that the packet's flow belongs to `chosen` from now on.
#[inline(always)]
pub fn open(
    packet: &Packet,
    service: u32,
    chosen: &Chosen,
    came_by: NextHop,
    now: u64,
) -> Result<(), Outcome> {
    forget_reply(packet);
    let reply = Reply {
        flow: packet.flow,
        service,
        backend: chosen.id,
    };
    REPLIES
        .insert(chosen.rewritten(packet).reversed(), reply, u64::from(BPF_ANY))
        .map_err(|_| Outcome::FlowTableFull)?;
    let state = match packet.flow.protocol {
        protocol if protocol == Protocol::Udp.number() => FlowState::Udp,
        _ => FlowState::Syn.next(Side::Client, packet.tcp_flags),
    };
    let flow = Flow {
        last_seen: now,
        backend: chosen.id,
        generation: chosen.word.generation(),
        service,
        state: u32::from(state.wire()),
        client_hop: came_by,
    };
    FLOWS
        .insert(packet.flow, flow, u64::from(BPF_ANY))
        .map_err(|_| Outcome::FlowTableFull)
}

/// The flow that a backend's packet answers.
#[inline(always)]
pub fn reply(key: &FlowKey) -> Option<Reply> {
    // SAFETY: the value is copied at once.
    unsafe { REPLIES.get(key) }.copied()
}

/// Follows a backend's packet; gives the way that the client's packets came.
///
/// A flow that was evicted is still answered: its reply entry says all that a rewrite needs.
#[inline(always)]
pub fn follow_reply(reply: &Reply, tcp_flags: u8, now: u64) -> Result<NextHop, Outcome> {
    let Some(flow) = find(&reply.flow) else {
        return Ok(NextHop::default());
    };
    if flow.backend != reply.backend {
        return Err(Outcome::StaleReply);
    }
    flow.last_seen = now;
    flow.state = u32::from(flow.state().next(Side::Backend, tcp_flags).wire());
    Ok(flow.client_hop)
}

/// Writes the reply entry again if it was evicted: the two tables evict on their own.
#[inline(always)]
fn keep_reply(packet: &Packet, chosen: &Chosen, service: u32) {
    let reply = Reply {
        flow: packet.flow,
        service,
        backend: chosen.id,
    };
    // It is usually there. Where the table takes no entry, the flow's next packet tries again.
    let _there = REPLIES.insert(chosen.rewritten(packet).reversed(), reply, u64::from(BPF_NOEXIST));
}

/// Removes the reply entry of the backend that the flow leaves, so that its late packets are not taken for the new one's.
#[inline(always)]
fn forget_reply(packet: &Packet) {
    let Some(flow) = find(&packet.flow) else { return };
    let word = backend::word(flow.backend);
    if word.generation() != flow.generation {
        return;
    }
    if let Some(old) = backend::chosen(flow.backend, word) {
        // Not there means evicted: nothing to forget.
        let _gone = REPLIES.remove(old.rewritten(packet).reversed());
    }
}

#[inline(always)]
fn find(key: &FlowKey) -> Option<&'static mut Flow> {
    // SAFETY: table entries stay mapped while a program runs. Other CPUs may write the same fields, each by single aligned
    // stores of values that are right for the flow at that moment; an entry recycled by the LRU in between belongs to a flow
    // that then has one wrong time stamp or state, as with every LRU map.
    FLOWS.get_ptr_mut(key).map(|flow| unsafe { &mut *flow })
}
