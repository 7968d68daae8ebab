//! Flows whose slot decides, in the modes that do not translate.

use lb_common::{
    addr::Addr,
    flow::Protocol,
    next_hop::Egress,
    outcome::Outcome,
    pick::Opens,
    service::{ForwardMode, Service, service_flags},
    slot::SlotBits,
};

use crate::{
    backend,
    count::Inward,
    express::{ethernet, plain::Plain, sent, way},
    forward::{
        gue,
        outer::{self, Content},
    },
    frame::{Frame, Ipv4, Ipv6, Udp},
    parse::eth,
    service::Found,
    sign, slots,
};

/// How a packet gets to its backend.
struct Way<'a> {
    service: &'a Service,
    destination: Addr,
    egress: &'a Egress,
    hash: u64,
}

#[inline(always)]
pub fn forward(frame: &mut Frame, plain: &Plain, found: &Found, len: u64) -> Option<u32> {
    let (service, hash) = (&found.service, plain.flow.hash_from(found.begun));
    let size = SlotBits::new(u32::from(service.slot_bits));
    let slot = slots::at(service.id, size, hash);
    if !slot.is_settled() || slot.size() != size {
        return None;
    }
    let id = slot.owner();
    let word = backend::word(id);
    if !word.is_plain() {
        return None;
    }
    let mode = ForwardMode::from_wire(service.mode)?;
    let destination = backend::fixed(id)?.addr;
    let egress = way(plain, service, word, mode.overhead(destination.is_v4()))?;
    if plain.opens == Opens::First {
        sign::syn(frame, plain.l4(), hash, (id, word));
    }
    let way = Way {
        service,
        destination,
        egress,
        hash,
    };
    write(frame, plain, &way, mode, len)?;
    let packet = Inward {
        service: service.id,
        backend: id,
        bytes: len,
        opens_flow: plain.opens == Opens::First,
    };
    let outcome = if plain.is_error {
        Outcome::ErrorForwarded
    } else {
        Outcome::Forwarded
    };
    Some(sent(frame, &packet, &plain.flow, egress, outcome))
}

/// Writes a packet of a frame of `len` bytes. Where there is no room for it, the frame is as it came; nothing else fails, since the headers
/// have been read.
#[inline(always)]
fn write(frame: &mut Frame, plain: &Plain, way: &Way<'_>, mode: ForwardMode, len: u64) -> Option<()> {
    match mode {
        ForwardMode::Dsr => {
            ethernet::take_hop(frame, plain, eth::LEN)?;
            ethernet::write(frame, &way.egress.hop, plain.is_v4)
        }
        ForwardMode::Ipip => tunnel(frame, plain, way, len, false),
        ForwardMode::Gue => tunnel(frame, plain, way, len, true),
        ForwardMode::Nat | ForwardMode::FullNat => None,
    }
}

#[inline(always)]
fn tunnel(frame: &mut Frame, plain: &Plain, way: &Way<'_>, len: u64, is_gue: bool) -> Option<()> {
    let is_v4 = way.destination.is_v4();
    let (protocol, more) = if is_gue {
        (Protocol::Udp.wire(), Udp::LEN)
    } else {
        (outer::protocol(plain.is_v4), 0)
    };
    let content = Content {
        source: outer::source(way.egress, is_v4, way.hash)?,
        destination: way.destination,
        protocol,
        len: plain.ip_len + more,
        tos: plain.tos,
    };
    if is_v4 {
        make_room(frame, plain, Ipv4::LEN + more, len)?;
        inside(frame, plain, way, &content, Ipv4::LEN, is_gue)?;
        *frame.header_mut(eth::LEN)? = outer::ipv4(&content, plain.is_whole);
    } else {
        make_room(frame, plain, Ipv6::LEN + more, len)?;
        inside(frame, plain, way, &content, Ipv6::LEN, is_gue)?;
        *frame.header_mut(eth::LEN)? = outer::ipv6(&content, way.hash);
    }
    Some(())
}

/// Makes room before the packet, and cuts off what the frame has behind it.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the length of a frame")]
fn make_room(frame: &mut Frame, plain: &Plain, room: u16, len: u64) -> Option<()> {
    if !frame.grow_head(i32::from(room)) {
        return None;
    }
    let padding = len as i32 - eth::LEN as i32 - i32::from(plain.ip_len);
    if padding > 0 {
        let _kept = frame.cut_tail(padding);
    }
    Some(())
}

/// Writes all but the outer IP header, which has `ip_len` bytes.
#[inline(always)]
fn inside(
    frame: &mut Frame,
    plain: &Plain,
    way: &Way<'_>,
    content: &Content,
    ip_len: u16,
    is_gue: bool,
) -> Option<()> {
    let behind = eth::LEN + usize::from(ip_len);
    let inner = behind + if is_gue { size_of::<Udp>() } else { 0 };
    ethernet::take_hop(frame, plain, inner)?;
    if is_gue {
        let mut udp = gue::header(way.hash, plain.ip_len);
        if way.service.flags & service_flags::GUE_CHECKSUM != 0
            && let Some(sum) = told_sum(frame, plain, inner)
        {
            udp.check = gue::check(&udp, &content.source, &content.destination, sum).to_ne_bytes();
        }
        *frame.header_mut(behind)? = udp;
    }
    ethernet::write(frame, &way.egress.hop, content.destination.is_v4())
}

/// Sum of the packet's bytes, as far as its own checksums tell it ([`outer::told_sum`]).
#[inline(always)]
fn told_sum(frame: &Frame, plain: &Plain, l3: usize) -> Option<u64> {
    if plain.check == 0 || !plain.is_covered {
        return None;
    }
    let transport = outer::transport_sum(&plain.flow, plain.l4_len);
    if plain.is_v4 {
        return Some(transport);
    }
    Some(transport + outer::header_sum(frame.header::<Ipv6>(l3)?, &plain.flow))
}
