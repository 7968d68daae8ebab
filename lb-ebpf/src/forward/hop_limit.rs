//! The TTL or hop limit of a packet that goes on.

use lb_common::{checksum::Change, outcome::Outcome};

use crate::{
    frame::{Frame, Ipv4, Ipv6},
    parse::Packet,
};

/// Takes one. The packet has more than one.
#[inline(always)]
pub fn take(frame: &mut Frame, packet: &Packet) -> Result<(), Outcome> {
    let l3 = usize::from(packet.l3);
    if packet.is_v4() {
        take_v4(frame.header_mut(l3).ok_or(Outcome::Malformed)?);
    } else {
        take_v6(frame.header_mut(l3).ok_or(Outcome::Malformed)?);
    }
    Ok(())
}

#[inline(always)]
pub fn take_v4(ip: &mut Ipv4) {
    let change = of(ip);
    ip.ttl[0] = ip.ttl[0].wrapping_sub(1);
    ip.check = change.apply(u16::from_ne_bytes(ip.check)).to_ne_bytes();
}

#[inline(always)]
pub fn take_v6(ip: &mut Ipv6) {
    ip.hop_limit[0] = ip.hop_limit[0].wrapping_sub(1);
}

/// What that does to the header's checksum.
#[inline(always)]
pub fn of(ip: &Ipv4) -> Change {
    let word = |ttl: u8| u16::from_ne_bytes([ttl, ip.protocol[0]]);
    Change::new().word(word(ip.ttl[0]), word(ip.ttl[0].wrapping_sub(1)))
}
