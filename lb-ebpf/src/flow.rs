//! Flows that are remembered, by the client's packets and by the backend's.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    btf_maps::LruHashMap,
    macros::btf_map,
};
use lb_common::{
    conn::{Claim, Flow, FlowState, Reply, Side, tcp},
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

/// Nanoseconds after which a flow's reply entry is looked after: eviction takes what is not used.
const REPLY_IDLE: u64 = 100_000_000;

/// What the flow table says about a client's packet.
pub enum Known {
    /// The flow goes on with its backend.
    Goes(Chosen),
    /// There is no such flow, or it has to pick again.
    Picks,
}

/// Follows a client's packet: the backend of its flow, if that may have it, with the flow's state brought up to date.
///
/// When a VIP has moved to another service its connections stay where they are. UDP has none, and moves.
#[inline(always)]
pub fn follow(packet: &Packet, service: u32, came_by: NextHop, now: u64) -> Known {
    let Some(flow) = find(&packet.flow) else {
        return Known::Picks;
    };
    if is_udp(packet) && flow.service != service {
        return Known::Picks;
    }
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
    if now.saturating_sub(flow.reply_seen) > REPLY_IDLE {
        flow.reply_seen = now;
        keep_reply(packet, &chosen, flow.service);
    }
    flow.last_seen = now;
    step(flow, Side::Client, packet.tcp_flags);
    if flow.client_hop != came_by {
        flow.client_hop = came_by;
    }
    Known::Goes(chosen)
}

/// Whether `chosen` could not tell the replies of this flow from those of another that is alive: same client address and
/// port, same backend address and port, another VIP.
#[inline(always)]
pub fn collides(packet: &Packet, chosen: &Chosen, now: u64) -> bool {
    let Some(reply) = held(&chosen.rewritten(packet).reversed()) else {
        return false;
    };
    if reply.flow == packet.flow {
        return false;
    }
    let Some(holder) = find(&reply.flow) else {
        return false;
    };
    // One side's FIN ends nothing yet: the other may have much to send.
    holder.backend == reply.backend
        && holder.state() != FlowState::Closed
        && !holder.is_expired(now, &config::timeouts())
}

/// Whether a packet without a flow opens one. A reset is sent on, but there is nothing to remember of it.
#[inline(always)]
pub fn is_opened_by(packet: &Packet) -> bool {
    packet.tcp_flags & tcp::RST == 0
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
    REPLIES
        .insert(
            chosen.rewritten(packet).reversed(),
            reply_of(packet, chosen, service),
            u64::from(BPF_ANY),
        )
        .map_err(|_| Outcome::FlowTableFull)?;
    let state = if is_udp(packet) {
        FlowState::Udp
    } else {
        FlowState::Syn
    };
    let flow = Flow {
        last_seen: now,
        reply_seen: now,
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

/// The entry for a backend's packets, in place: a copy of it is more than the stack has room for (512 bytes, of which kernels
/// before 6.7 count every function in steps of 32).
#[inline(always)]
fn held(key: &FlowKey) -> Option<&'static Reply> {
    // SAFETY: as in `find`. It is only compared and followed: one that is recycled meanwhile is another flow's, and at worst
    // a backend is passed over.
    unsafe { REPLIES.get(key) }
}

/// The flow that a packet with these addresses and ports answers.
#[inline(always)]
pub fn reply(key: &FlowKey) -> Option<Reply> {
    // SAFETY: the value is copied at once. An entry that is recycled meanwhile yields another flow's, in parts even, so what
    // decides who gets the packet is compared with the packet.
    let reply = unsafe { REPLIES.get(key) }.copied()?;
    let client = &reply.flow;
    (client.source == key.destination && client.source_port == key.destination_port).then_some(reply)
}

/// Follows a backend's packet; gives the way that the client's packets came.
///
/// A flow that was evicted is still answered: its reply entry says all that a rewrite needs.
#[inline(always)]
pub fn follow_reply(reply: &Reply, tcp_flags: u8, now: u64) -> Result<NextHop, Outcome> {
    let Some(flow) = find(&reply.flow) else {
        return Ok(NextHop::default());
    };
    if (flow.backend, flow.generation) != (reply.backend, reply.generation) {
        return Err(Outcome::StaleReply);
    }
    (flow.last_seen, flow.reply_seen) = (now, now);
    step(flow, Side::Backend, tcp_flags);
    Ok(flow.client_hop)
}

/// Brings a flow's state up to date. Written only when it changes: most packets change nothing, and what is not written
/// overwrites nothing that another CPU has just seen.
#[inline(always)]
fn step(flow: &mut Flow, side: Side, tcp_flags: u8) {
    let next = u32::from(flow.state().next(side, tcp_flags).wire());
    if flow.state != next {
        flow.state = next;
    }
}

#[inline(always)]
fn reply_of(packet: &Packet, chosen: &Chosen, service: u32) -> Reply {
    Reply {
        flow: packet.flow,
        service,
        backend: chosen.id,
        generation: chosen.word.generation(),
    }
}

/// Writes the reply entry again if it was evicted: the two tables evict on their own. To look at it keeps it from being next.
#[inline(always)]
fn keep_reply(packet: &Packet, chosen: &Chosen, service: u32) {
    let key = chosen.rewritten(packet).reversed();
    if held(&key).is_none() {
        // Where the table takes no entry, a later packet of the flow tries again.
        let _full = REPLIES.insert(key, reply_of(packet, chosen, service), u64::from(BPF_NOEXIST));
    }
}

/// Removes the reply entry of the backend that the flow leaves, so that its late packets are not taken for the new one's.
#[inline(always)]
fn forget_reply(packet: &Packet) {
    let Some(flow) = find(&packet.flow) else { return };
    let word = backend::word(flow.backend);
    if word.generation() != flow.generation {
        return;
    }
    let Some(old) = backend::chosen(flow.backend, word) else {
        return;
    };
    let key = old.rewritten(packet).reversed();
    // Another VIP's flow may have it by now.
    if held(&key).is_some_and(|reply| reply.flow == packet.flow) {
        let _gone = REPLIES.remove(key);
    }
}

#[inline(always)]
fn is_udp(packet: &Packet) -> bool {
    packet.flow.protocol == Protocol::Udp.number()
}

#[inline(always)]
fn find(key: &FlowKey) -> Option<&'static mut Flow> {
    // SAFETY: table entries stay mapped while a program runs. Other CPUs may write the same fields: all but `client_hop` by
    // single aligned stores, and that one only when the client's way changes, when a packet with a mixed address is lost as
    // one in flight on the old way would be. An entry recycled by the LRU in between belongs to a flow that then has one
    // wrong time stamp or state, as with every LRU map.
    FLOWS.get_ptr_mut(key).map(|flow| unsafe { &mut *flow })
}
