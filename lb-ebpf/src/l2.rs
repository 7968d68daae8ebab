//! The Ethernet header that a frame leaves with.

use lb_common::{
    next_hop::{NextHop, Vlans},
    outcome::Outcome,
};

use crate::{
    frame::{Frame, Macs},
    parse::{Packet, eth},
};

/// Makes room before the packet for `outer` bytes of headers and for the tags that `hop` asks for, which `hop` then says. The
/// packet's offsets are those in the new frame.
///
/// # Errors
/// [`Outcome::NoHeadroom`]; the frame is then as it was.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "lengths of headers, and offsets that stay inside the frame"
)]
pub fn make_room(
    frame: &mut Frame,
    packet: &mut Packet,
    hop: &mut NextHop,
    outer: u32,
) -> Result<(), Outcome> {
    if hop.vlans.count == Vlans::KEEP {
        hop.vlans = packet.vlans;
    }
    let grows = outer as i32 + (hop.vlans.count as i32 - packet.vlans.count as i32) * eth::TAG_LEN as i32;
    if grows == 0 {
        return Ok(());
    }
    if !frame.grow_head(grows) {
        return Err(Outcome::NoHeadroom);
    }
    let moved = |offset: u16| (i32::from(offset) + grows) as u16;
    packet.l3 = moved(packet.l3);
    packet.l4 = moved(packet.l4);
    packet.quoted_l4 = moved(packet.quoted_l4);
    Ok(())
}

/// Offset of the IP header behind an Ethernet header with the tags of `hop`.
#[inline(always)]
pub fn len(hop: &NextHop) -> usize {
    eth::LEN + eth::TAG_LEN * hop.vlans.count as usize
}

/// Writes the header: addresses and tags of `hop`, and the EtherType.
#[inline(always)]
pub fn write(frame: &mut Frame, hop: &NextHop, ether_type: u16) -> Result<(), Outcome> {
    *frame.header_mut(0).ok_or(Outcome::Malformed)? = Macs::of(hop);
    let mut at = size_of::<Macs>();
    for (place, tag) in (0_u32..).zip(&hop.vlans.tags) {
        if place >= hop.vlans.count {
            break;
        }
        *frame.header_mut(at).ok_or(Outcome::Malformed)? = tag.to_ne_bytes();
        at += eth::TAG_LEN;
    }
    *frame.header_mut(at).ok_or(Outcome::Malformed)? = ether_type.to_ne_bytes();
    Ok(())
}

/// The EtherType of a family.
#[inline(always)]
pub const fn ether_type(is_v4: bool) -> u16 {
    if is_v4 { eth::IPV4 } else { eth::IPV6 }
}
