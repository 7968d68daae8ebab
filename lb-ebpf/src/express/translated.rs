//! Flows that are translated, as long as their packets change nothing that is remembered of them.

use lb_common::{
    addr::Addr,
    conn::{Flow, FlowState, REPLY_IDLE},
    flow::{FlowKey, Protocol},
    line::Line,
    outcome::Outcome,
    service::{Service, service_flags},
};

use crate::{
    backend, clock, config,
    count::Inward,
    express::{ethernet, plain::Plain, sent, way},
    flow,
    forward::{self, fix_l4_check, rewrite_v4, rewrite_v6, write_ports},
    frame::{Frame, Ipv4, Ipv6},
    line::{self, Place},
    next_hop,
    parse::eth,
    service::Found,
};

/// What of a flow says where its packets go.
struct Known {
    backend: u32,
    /// The backend's generation when the flow was opened.
    generation: u32,
    /// The source that the backend sees, if it is not the client's.
    source: Addr,
    source_port: u16,
    /// Where this is from, unless it is from the flow's line.
    entry: Option<Looked>,
}

/// An entry that was looked at, and whether a line was made of it.
struct Looked {
    flow: &'static mut Flow,
    now: u64,
    place: Place,
    has_line: bool,
}

#[inline(always)]
pub fn forward(frame: &mut Frame, plain: &Plain, found: &Found, len: u64) -> Option<u32> {
    if !plain.is_quiet {
        return None;
    }
    let service = &found.service;
    let known = know(frame, plain, found)?;
    let word = backend::word(known.backend);
    if !word.keeps_flow_of(known.generation)
        || plain.flow.protocol == Protocol::Udp.number()
            && service.flags & service_flags::UDP_MOVES != 0
            && !word.takes_new_flows()
    {
        return None;
    }
    let backend = backend::fixed(known.backend)?;
    let egress = way(plain, service, word, 0)?;
    let mut leaves_as = plain.flow;
    leaves_as.destination = backend.addr;
    if backend.port != 0 {
        leaves_as.destination_port = backend.port;
    }
    if !known.source.is_none() {
        (leaves_as.source, leaves_as.source_port) = (known.source, known.source_port);
    }
    if let Some(looked) = known.entry {
        let backend = (known.backend, known.generation);
        refresh(looked, backend, plain, &leaves_as)?;
    }
    let packet = Inward {
        service: service.id,
        backend: known.backend,
        bytes: len,
        opens_flow: false,
    };
    write(frame, plain, &leaves_as)?;
    ethernet::write(frame, &egress.hop, plain.is_v4)?;
    Some(sent(frame, &packet, &leaves_as, egress, Outcome::Forwarded))
}

/// Finds the packet's flow: by its line, as long as that is believed, else by its entry.
#[inline(always)]
fn know(frame: &Frame, plain: &Plain, found: &Found) -> Option<Known> {
    let (now, hop) = (clock::now(), line::came_by(frame)?);
    let (service, hash) = (&found.service, plain.flow.hash_from(found.begun));
    let place = line::place(hash)?;
    let line = place.read(hash);
    if let Some(line) = line
        && now <= line.until
    {
        let is_tcp = plain.flow.protocol == Protocol::Tcp.number();
        if line.hop != hop || !is_tcp && u32::from(line.service) != service.id {
            return None;
        }
        if line.seen != now {
            place.touch(now);
        }
        return Some(Known {
            backend: line.backend,
            generation: line.generation,
            source: line.source,
            source_port: line.source_port,
            entry: None,
        });
    }
    let flow = flow::find(&plain.flow)?;
    // Packets that went by the line have told the entry nothing.
    if let Some(line) = line
        && line.seen > flow.last_seen
    {
        flow.last_seen = line.seen;
    }
    if !goes_on(flow, service, now)
        || !flow::translates(flow.mode)
        || !next_hop::is_as_before(frame, &flow.client_hop)
    {
        return None;
    }
    let line = Line::new(hash, flow, hop, now, &config::timeouts());
    Some(Known {
        backend: line.backend,
        generation: line.generation,
        source: line.source,
        source_port: line.source_port,
        entry: Some(Looked {
            has_line: place.write(&line, now),
            flow,
            now,
            place,
        }),
    })
}

/// Whether a packet that begins and ends nothing is one of this flow, and leaves it as it is.
#[inline(always)]
fn goes_on(flow: &Flow, service: &Service, now: u64) -> bool {
    match flow.state() {
        // The client shows that it has got the answer.
        FlowState::Replied => false,
        FlowState::Udp => flow.service == service.id && !flow.is_expired(now, &config::timeouts()),
        _ => true,
    }
}

/// Brings the entry of a flow up to date that a packet goes on with. None where the reply entry is not its own: to make another one is left to
/// the long way.
///
/// The line is there by now, since the stack has no room to keep it for so long. It is taken back where the entry has become another flow's
/// while it was looked at, which the reply entry tells, or where another CPU has ended the flow and found no line to forget.
#[inline(always)]
fn refresh(looked: Looked, backend: (u32, u32), plain: &Plain, leaves_as: &FlowKey) -> Option<()> {
    let Looked {
        flow,
        now,
        place,
        has_line,
    } = looked;
    let is_idle = now.saturating_sub(flow.reply_seen) > REPLY_IDLE;
    if (is_idle || has_line) && !flow::is_answered_by(&plain.flow, backend, &leaves_as.reversed()) {
        if has_line {
            place.forget();
        }
        return None;
    }
    if has_line && !matches!(flow.state(), FlowState::Established | FlowState::Udp) {
        place.forget();
    }
    if is_idle {
        flow.reply_seen = now;
    }
    flow.last_seen = now;
    Some(())
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
