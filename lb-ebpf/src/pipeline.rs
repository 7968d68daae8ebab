//! The whole packet path.

use lb_common::{
    conn::Reply,
    outcome::Outcome,
    service::{ForwardMode, Service},
};

use crate::{
    clock, count,
    flow::{self, Known},
    forward::nat,
    frame::Frame,
    next_hop, parse,
    parse::Packet,
    pick, service,
};

/// A packet on its way out.
pub struct Sent {
    pub outcome: Outcome,
    /// `XDP_TX` or `XDP_REDIRECT`.
    pub action: u32,
}

/// Sends a packet to its backend or back to its client, or says why not.
///
/// # Errors
/// The outcome; the frame is then as it came.
#[inline(always)]
pub fn run(frame: &mut Frame) -> Result<Sent, Outcome> {
    let packet = parse::packet(frame)?;
    if let Some(service) = service::lookup(&packet.flow) {
        return to_backend(frame, &packet, &service).inspect_err(|_| count::dropped(service.id));
    }
    match flow::reply(&packet.flow) {
        Some(reply) => to_client(frame, &packet, &reply),
        None => Err(Outcome::NotOurs),
    }
}

#[inline(always)]
fn to_backend(frame: &mut Frame, packet: &Packet, service: &Service) -> Result<Sent, Outcome> {
    let Some(ForwardMode::Nat) = ForwardMode::from_wire(service.mode) else {
        return Err(Outcome::BadConfig);
    };
    nat::check(frame, packet)?;
    let now = clock::now();
    let came_by = next_hop::of_ingress(frame);
    let (chosen, opened) = match flow::follow(packet, service.id, came_by, now) {
        Known::Goes(chosen) => (chosen, false),
        Known::Picks => (pick::backend(service, packet, now)?, flow::is_opened_by(packet)),
    };
    let hop = next_hop::to_backend(frame, packet, &chosen)?;
    if opened {
        flow::open(packet, service.id, &chosen, came_by, now)?;
    }
    nat::rewrite(frame, packet, &chosen.rewritten(packet))?;
    count::inward(service.id, chosen.id, packet.len, opened);
    Ok(Sent {
        outcome: Outcome::Forwarded,
        action: next_hop::send(frame, &hop),
    })
}

#[inline(always)]
fn to_client(frame: &mut Frame, packet: &Packet, reply: &Reply) -> Result<Sent, Outcome> {
    nat::check(frame, packet)?;
    let came_by = flow::follow_reply(reply, packet.tcp_flags, clock::now())?;
    let client = reply.flow.source;
    let hop = next_hop::to_client(frame, packet, reply.flow.destination, client, came_by)?;
    nat::rewrite(frame, packet, &reply.flow.reversed())?;
    count::outward(reply.service, reply.backend, packet.len);
    Ok(Sent {
        outcome: Outcome::Returned,
        action: next_hop::send(frame, &hop),
    })
}
