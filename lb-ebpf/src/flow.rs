//! Flows that are translated: remembered exactly, by the client's packets and by the backend's.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    btf_maps::LruHashMap,
    macros::btf_map,
};
use lb_common::{
    addr::Addr,
    backend::Backend,
    conn::{Claim, Flow, FlowState, REPLY_IDLE, Reply, Side, tcp},
    flow::{FlowKey, Protocol},
    limits,
    outcome::Outcome,
    service::{ForwardMode, service_flags},
};

use crate::{
    backend::{self, Chosen},
    board, config, copy,
    frame::Frame,
    line, loads, next_hop,
    parse::Packet,
    pick, sign, source,
    stage::{Stage, stages},
};

#[btf_map]
static FLOWS: LruHashMap<FlowKey, Flow, { limits::FLOWS as usize }> = LruHashMap::new();

#[btf_map]
static REPLIES: LruHashMap<FlowKey, Reply, { limits::FLOWS as usize }> = LruHashMap::new();

// Keys and values are handed to these as copies: what a stage was handed itself, helpers take for one since Linux 6.2 only
// (`map_key_value_types` in kernel/bpf/verifier.c).

/// What an insertion says where there is an entry already (`-EEXIST`).
const EXISTS: i32 = -17;

stages! {
    /// Follows a client's packet, if its flow goes on: with the backend that is then `stage.chosen` and the flow's state brought up to date.
    /// `stage.named` is the only backend that it may go on with, if there is one.
    ///
    /// When a VIP has moved to another service its connections stay where they are. UDP has none, and moves.
    ///
    /// # Errors
    /// [`Outcome::NotOurs`] for a packet that goes on with no flow.
    pub fn follow as xlb_follow = go_on;
}

#[inline(always)]
fn go_on(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    if goes_on(frame, stage) {
        Ok(())
    } else {
        Err(Outcome::NotOurs)
    }
}

#[inline(always)]
fn goes_on(frame: &mut Frame, stage: &mut Stage) -> bool {
    let packet = &stage.packet;
    let Some(flow) = find(&packet.flow) else {
        return false;
    };
    if !is_tcp(packet) && (flow.service != stage.service.id || moves_on(stage, flow)) {
        return false;
    }
    if flow.claim(packet.tcp_flags, stage.now, &config::timeouts()) == Claim::Starts
        || stage.named != limits::NO_BACKEND && stage.named != flow.backend
        || !choose_of(flow, &mut stage.chosen)
    {
        return false;
    }
    (stage.mode, stage.source_port) = (flow.mode, flow.source_port);
    copy::value(&mut stage.source, &flow.source);
    let (now, service) = (stage.now, flow.service);
    if now.saturating_sub(flow.reply_seen) > REPLY_IDLE {
        flow.reply_seen = now;
        if !keep_reply(stage, service) {
            return false;
        }
    }
    let came_by = next_hop::of_ingress(frame, &stage.packet);
    let comes_another_way = flow.client_hop != came_by;
    if comes_another_way {
        flow.client_hop = came_by;
    }
    sign::of_flow(flow, stage.packet.tcp_flags, now);
    flow.last_seen = now;
    let has_changed = stage.packet.has_ports() && step(flow, Side::Client, stage.packet.tcp_flags);
    if has_changed || comes_another_way {
        line::forget(pick::hash_of_flow(frame, stage));
    }
    true
}

/// Whether a datagram leaves its flow's backend because that takes no new ones.
#[inline(always)]
fn moves_on(stage: &Stage, flow: &Flow) -> bool {
    stage.service.flags & service_flags::UDP_MOVES != 0 && !backend::word(flow.backend).takes_new_flows()
}

/// Whether flows of the packet's service may be remembered here.
#[inline(always)]
pub fn may_be_known(stage: &Stage) -> bool {
    translates(stage.service.mode) || stage.service.flags & service_flags::LOOKS_BACK != 0
}

/// The backend of the flow that an ICMP error is about, if the flow is remembered. Errors change nothing of a flow.
#[inline(always)]
pub fn recall(stage: &mut Stage) -> bool {
    if !may_be_known(stage) {
        return false;
    }
    let Some(flow) = find(&stage.packet.flow) else {
        return false;
    };
    (stage.mode, stage.source_port) = (flow.mode, flow.source_port);
    copy::value(&mut stage.source, &flow.source);
    choose_of(flow, &mut stage.chosen)
}

/// Takes the backend of a flow, if that may keep it.
#[inline(always)]
fn choose_of(flow: &Flow, chosen: &mut Chosen) -> bool {
    let word = backend::word(flow.backend);
    word.keeps_flow_of(flow.generation) && backend::choose(chosen, flow.backend, word)
}

/// Whether `stage.chosen` could not tell the replies of this flow from those of another that is alive: same client address
/// and port, same backend address and port, another VIP. With a source of ours, whether that is another flow's.
#[inline(always)]
pub fn collides(stage: &mut Stage) -> bool {
    set_answered_as(stage);
    let Some(reply) = held(&stage.answered_as) else {
        return false;
    };
    if stage.source.is_none() && reply.flow == stage.packet.flow {
        return false;
    }
    let Some(holder) = find(&reply.flow) else {
        return false;
    };
    // One side's FIN ends nothing yet: the other may have much to send.
    holder.backend == reply.backend
        && holder.state() != FlowState::Closed
        && !holder.is_expired(stage.now, &config::timeouts())
}

/// Whether a packet without a flow opens one. A reset is sent on, but there is nothing to remember of it; a fragment without
/// ports belongs to no flow in particular.
#[inline(always)]
pub fn is_opened_by(packet: &Packet) -> bool {
    packet.tcp_flags & tcp::RST == 0 && packet.flow.destination_port != 0
}

stages! {
    /// Writes down that the packet's flow belongs to `stage.chosen` from now on.
    pub fn open as xlb_open = write;
}

#[inline(always)]
fn write(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    forget_reply(stage);
    let state = if is_tcp(&stage.packet) {
        FlowState::Syn
    } else {
        FlowState::Udp
    };
    set_answered_as(stage);
    set_reply(stage, stage.service.id);
    // What is there is this flow's own or a dead one's; what is not must not come meanwhile by another CPU.
    let flags = if let Some(before) = held(&stage.answered_as) {
        // Whose packets would still go by its line, as this flow's.
        line::forget(pick::hash_of(frame, stage, &before.flow));
        BPF_ANY
    } else {
        BPF_NOEXIST
    };
    board::note_answering(&stage.answered_as.source);
    REPLIES
        .insert(stage.answered_as, stage.reply, u64::from(flags))
        .map_err(|error| match error {
            EXISTS => Outcome::FlowCollision,
            _ => Outcome::FlowTableFull,
        })?;
    stage.flow.client_hop = next_hop::of_ingress(frame, &stage.packet);
    let flow = &mut stage.flow;
    (flow.last_seen, flow.reply_seen) = (stage.now, stage.now);
    (flow.backend, flow.generation) = (stage.chosen.id, stage.chosen.word.generation());
    (flow.service, flow.state) = (stage.service.id, u32::from(state.wire()));
    (flow.source, flow.source_port, flow.mode) = (stage.source, stage.source_port, stage.mode);
    FLOWS
        .insert(stage.packet.flow, stage.flow, u64::from(BPF_ANY))
        .map_err(|_| Outcome::FlowTableFull)?;
    line::forget(pick::hash_of_flow(frame, stage));
    loads::opened(stage.service.id, stage.chosen.id);
    Ok(())
}

/// Sets `stage.leaves_as`: what a client's packet leaves with for the backend that it is translated for. With the backend's
/// port, unless the backend keeps the client's, and from `stage.source`, if that is an address.
#[inline(always)]
pub fn set_leaves_as(stage: &mut Stage) {
    let flow = &mut stage.leaves_as;
    *flow = stage.packet.flow;
    flow.destination = stage.chosen.backend.addr;
    // A fragment that is not known to have ports has none.
    if stage.chosen.backend.port != 0 && flow.destination_port != 0 {
        flow.destination_port = stage.chosen.backend.port;
    }
    if !stage.source.is_none() {
        (flow.source, flow.source_port) = (stage.source, stage.source_port);
    }
}

/// Sets `stage.answered_as`: what the answers to that come with.
#[inline(always)]
fn set_answered_as(stage: &mut Stage) {
    let backend = stage.chosen.backend;
    set_answered_by(stage, &backend, stage.source, stage.source_port);
}

/// Sets `stage.answered_as`: what `backend` answers the flow with, when it knows it by this source.
#[inline(always)]
fn set_answered_by(stage: &mut Stage, backend: &Backend, source: Addr, source_port: u16) {
    let (flow, answer) = (&stage.packet.flow, &mut stage.answered_as);
    answer.source = backend.addr;
    answer.source_port = if backend.port == 0 {
        flow.destination_port
    } else {
        backend.port
    };
    (answer.destination, answer.destination_port) = if source.is_none() {
        (flow.source, flow.source_port)
    } else {
        (source, source_port)
    };
    answer.protocol = flow.protocol;
}

/// Sets `stage.reply`: the entry for those answers.
#[inline(always)]
fn set_reply(stage: &mut Stage, service: u32) {
    let reply = &mut stage.reply;
    reply.flow = stage.packet.flow;
    (reply.service, reply.backend) = (service, stage.chosen.id);
    reply.generation = stage.chosen.word.generation();
    reply.seal = reply.seal_of(&stage.answered_as);
}

/// Whether a new flow's replies could be taken for another's: not those to a source of ours, which no other flow has.
#[inline(always)]
pub fn may_collide(stage: &Stage) -> bool {
    stage.is_new != 0 && translates(stage.mode) && !source::is_needed(stage)
}

/// Whether flows of this mode are answered through us.
#[inline(always)]
pub fn translates(mode: u8) -> bool {
    ForwardMode::from_wire(mode).is_some_and(ForwardMode::translates)
}

#[inline(always)]
fn held(key: &FlowKey) -> Option<&'static Reply> {
    // SAFETY: as in `find`. It is only compared and followed: one that is recycled meanwhile is another flow's, and at worst
    // a backend or a port is passed over.
    unsafe { REPLIES.get(*key) }
}

/// Whether answers with this key are known to be those of a flow, by a backend under a generation. To look keeps their entry from being
/// evicted.
#[inline(always)]
pub fn is_answered_by(flow: &FlowKey, (backend, generation): (u32, u32), key: &FlowKey) -> bool {
    held(key).is_some_and(|reply| {
        (reply.backend, reply.generation) == (backend, generation) && reply.flow == *flow
    })
}

/// Finds the flow that the packet answers: `stage.reply`.
#[inline(always)]
pub fn answers(stage: &mut Stage) -> bool {
    match answered(&stage.packet.flow) {
        Some(reply) => {
            stage.reply = reply;
            true
        }
        None => false,
    }
}

/// The flow that a packet with this key answers.
#[inline(always)]
pub fn answered(key: &FlowKey) -> Option<Reply> {
    let reply = *held(key)?;
    // One that was recycled while it was copied is told by its seal.
    (reply.seal == reply.seal_of(key)).then_some(reply)
}

/// Follows a backend's packet, an answer in the flow of `stage.reply`; finds the way that the client's packets came:
/// `stage.came_by`.
///
/// A flow that was evicted is still answered: its reply entry says all that a rewrite needs.
#[inline(always)]
pub fn follow_reply(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let reply = &stage.reply;
    let Some(flow) = find(&reply.flow) else {
        copy::zeros(&mut stage.came_by);
        return Ok(());
    };
    if (flow.backend, flow.generation) != (reply.backend, reply.generation) {
        return Err(Outcome::StaleReply);
    }
    (flow.last_seen, flow.reply_seen) = (stage.now, stage.now);
    if stage.packet.has_ports() {
        sign::of_answer(flow, stage.packet.tcp_flags);
        if step(flow, Side::Backend, stage.packet.tcp_flags) {
            line::forget(pick::hash_of_answered(frame, stage));
        }
    }
    copy::value(&mut stage.came_by, &flow.client_hop);
    Ok(())
}

/// Finds the way that the client's packets came, for an ICMP error about the flow of `stage.reply`: `stage.came_by`.
#[inline(always)]
pub fn find_client_hop(stage: &mut Stage) {
    match find(&stage.reply.flow) {
        Some(flow) => copy::value(&mut stage.came_by, &flow.client_hop),
        None => copy::zeros(&mut stage.came_by),
    }
}

/// Brings a flow's state up to date. Written only when it changes: most packets change nothing, and what is not written
/// overwrites nothing that another CPU has just seen. Whether it has changed, but for the better: its line may be of before.
#[inline(always)]
fn step(flow: &mut Flow, side: Side, tcp_flags: u8) -> bool {
    let state = flow.state();
    let next = state.next(side, tcp_flags);
    if flow.state == u32::from(next.wire()) {
        return false;
    }
    flow.state = u32::from(next.wire());
    match (state.is_over(), next.is_over()) {
        (false, true) => loads::closed(flow.service, flow.backend),
        (true, false) => loads::opened(flow.service, flow.backend),
        _ => {}
    }
    next != FlowState::Established
}

/// Writes the reply entry again if it was evicted: the two tables evict on their own. To look at it keeps it from being next.
/// Whether the flow still has it: a source of ours that another flow has got meanwhile is lost.
#[inline(always)]
fn keep_reply(stage: &mut Stage, service: u32) -> bool {
    set_answered_as(stage);
    if let Some(reply) = held(&stage.answered_as) {
        return stage.source.is_none() || reply.flow == stage.packet.flow;
    }
    set_reply(stage, service);
    board::note_answering(&stage.answered_as.source);
    // Where the table takes no entry, a later packet of the flow tries again.
    let _full = REPLIES.insert(stage.answered_as, stage.reply, u64::from(BPF_NOEXIST));
    true
}

/// Removes the reply entry of the backend that the flow leaves, so that its late packets are not taken for the new one's.
#[inline(always)]
fn forget_reply(stage: &mut Stage) {
    let Some(flow) = find(&stage.packet.flow) else {
        return;
    };
    let word = backend::word(flow.backend);
    if word.generation() != flow.generation {
        return;
    }
    if !flow.state().is_over() {
        loads::closed(flow.service, flow.backend);
    }
    let Some(old) = backend::fixed(flow.backend) else {
        return;
    };
    set_answered_by(stage, old, flow.source, flow.source_port);
    // Another VIP's flow may have it by now.
    if held(&stage.answered_as).is_some_and(|reply| reply.flow == stage.packet.flow) {
        let _gone = REPLIES.remove(stage.answered_as);
    }
}

#[inline(always)]
fn is_tcp(packet: &Packet) -> bool {
    packet.flow.protocol == Protocol::Tcp.number()
}

#[inline(always)]
pub fn find(key: &FlowKey) -> Option<&'static mut Flow> {
    // SAFETY: table entries stay mapped while a program runs. Other CPUs may write the same fields: all but `client_hop` by
    // single aligned stores, and that one only when the client's way changes, when a packet with a mixed address is lost as
    // one in flight on the old way would be. An entry recycled by the LRU in between belongs to a flow that then has one
    // wrong time stamp or state, as with every LRU map.
    FLOWS.get_ptr_mut(*key).map(|flow| unsafe { &mut *flow })
}
