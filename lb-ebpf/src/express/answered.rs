//! Answers in translated flows, as long as they change nothing that is remembered of their flow.

use lb_common::{
    conn::{Flow, FlowState},
    next_hop::Vlans,
    outcome::Outcome,
};

use crate::{
    clock,
    count::{self, Outward},
    express::{ethernet, plain::Plain, translated},
    flow,
    frame::Frame,
    next_hop, stage, trace,
};

#[inline(always)]
pub fn forward(frame: &mut Frame, plain: &Plain, len: u64) -> Option<u32> {
    if !plain.is_quiet {
        return None;
    }
    let reply = flow::answered(&plain.flow)?;
    let flow = flow::find(&reply.flow)?;
    if (flow.backend, flow.generation) != (reply.backend, reply.generation) || !stays(flow) {
        return None;
    }
    // The kernel's route is asked for as by any answer.
    let stage = stage::of_this_cpu()?;
    stage.packet.flow.protocol = plain.flow.protocol;
    (stage.packet.ip_len, stage.packet.tos, stage.packet.vlans.count) = (plain.ip_len, plain.tos, 0);
    (stage.leaves_as, stage.came_by) = (reply.flow.reversed(), flow.client_hop);
    next_hop::to_client(frame, stage).ok()?;
    let hop = &stage.egress.hop;
    if !matches!(hop.vlans.count, 0 | Vlans::KEEP) {
        return None;
    }
    let now = clock::now();
    if flow.last_seen != now || flow.reply_seen != now {
        (flow.last_seen, flow.reply_seen) = (now, now);
    }
    translated::write(frame, plain, &stage.leaves_as)?;
    ethernet::write(frame, hop, plain.is_v4)?;
    count::outcome(Outcome::Returned, len);
    count::outward(&Outward {
        service: reply.service,
        backend: reply.backend,
        bytes: len,
    });
    let (leaves_as, ifindex) = (stage.leaves_as, hop.ifindex);
    trace::note(Outcome::Returned, &leaves_as);
    Some(next_hop::send(frame, ifindex))
}

/// Whether an answer that begins and ends nothing leaves the flow as it is.
#[inline(always)]
fn stays(flow: &Flow) -> bool {
    !matches!(flow.state(), FlowState::Syn | FlowState::Reset)
}
