//! Flows that are translated, as long as their packets change nothing that is remembered of them.

use lb_common::{
    conn::{Flow, FlowState, REPLY_IDLE},
    flow::{FlowKey, Protocol},
    service::{Service, service_flags},
};

use crate::{
    backend, clock, config,
    count::Inward,
    express::{ethernet, plain::Plain, sent, way},
    flow,
    forward::{self, fix_l4_check, rewrite_v4, rewrite_v6, write_ports},
    frame::{Frame, Ipv4, Ipv6},
    next_hop,
    parse::eth,
};

#[inline(always)]
pub fn forward(frame: &mut Frame, plain: &Plain, service: &Service, len: u64) -> Option<u32> {
    if !plain.is_quiet {
        return None;
    }
    let flow = flow::find(&plain.flow)?;
    let word = backend::word(flow.backend);
    let now = clock::now();
    if !goes_on(flow, service, now)
        || !word.keeps_flow_of(flow.generation)
        || plain.flow.protocol == Protocol::Udp.number()
            && service.flags & service_flags::UDP_MOVES != 0
            && !word.takes_new_flows()
        || !flow::translates(flow.mode)
        || !next_hop::is_as_before(frame, &flow.client_hop)
    {
        return None;
    }
    let backend = backend::fixed(flow.backend)?;
    let egress = way(plain, service, word, 0)?;
    let mut leaves_as = plain.flow;
    leaves_as.destination = backend.addr;
    if backend.port != 0 {
        leaves_as.destination_port = backend.port;
    }
    if !flow.source.is_none() {
        (leaves_as.source, leaves_as.source_port) = (flow.source, flow.source_port);
    }
    if flow.last_seen != now {
        flow.last_seen = now;
    }
    let packet = Inward {
        service: service.id,
        backend: flow.backend,
        bytes: len,
        opens_flow: false,
    };
    write(frame, plain, &leaves_as)?;
    ethernet::write(frame, &egress.hop, plain.is_v4)?;
    Some(sent(frame, &packet, &leaves_as, egress))
}

/// Whether a packet that begins and ends nothing is one of this flow, and leaves it as it is.
#[inline(always)]
fn goes_on(flow: &Flow, service: &Service, now: u64) -> bool {
    let is_fresh = now.saturating_sub(flow.reply_seen) <= REPLY_IDLE;
    match flow.state() {
        // The client shows that it has got the answer.
        FlowState::Replied => false,
        FlowState::Udp => {
            is_fresh && flow.service == service.id && !flow.is_expired(now, &config::timeouts())
        }
        _ => is_fresh,
    }
}

/// Gives the packet other addresses and ports.
#[inline(always)]
pub fn write(frame: &mut Frame, plain: &Plain, new: &FlowKey) -> Option<()> {
    let old = &plain.flow;
    let l4 = if plain.is_v4 {
        rewrite_v4(frame.header_mut::<Ipv4>(eth::LEN)?, new.source, new.destination);
        eth::LEN + size_of::<Ipv4>()
    } else {
        rewrite_v6(frame.header_mut::<Ipv6>(eth::LEN)?, new.source, new.destination);
        eth::LEN + size_of::<Ipv6>()
    };
    let change = forward::addresses_change(old, new)
        .word(old.source_port, new.source_port)
        .word(old.destination_port, new.destination_port);
    write_ports(frame, l4, new).ok()?;
    fix_l4_check(frame, l4 + plain.check_at, old.protocol, change)?;
    Some(())
}
