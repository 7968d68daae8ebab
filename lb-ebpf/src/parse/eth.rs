//! Ethernet, with up to two VLAN tags (IEEE 802.1Q, 802.1ad).

use lb_common::{next_hop::Vlans, outcome::Outcome};

use crate::frame::{Frame, Macs};

pub const IPV4: u16 = 0x0800_u16.to_be();
pub const IPV6: u16 = 0x86dd_u16.to_be();
/// What announces a tag: 802.1Q, 802.1ad, and what was used before the latter.
const TAG_PROTOCOLS: [u16; 3] = [0x8100_u16.to_be(), 0x88a8_u16.to_be(), 0x9100_u16.to_be()];
const ETHER_TYPE_LEN: usize = 2;
pub const TAG_LEN: usize = 4;

/// Length of an Ethernet header without tags.
pub const LEN: usize = size_of::<Macs>() + ETHER_TYPE_LEN;

/// Reads the EtherType of a unicast frame, and its tags. Frames to groups are never balanced: every host on the link has them.
#[inline(always)]
pub fn ether_type(frame: &Frame, vlans: &mut Vlans) -> Result<u16, Outcome> {
    let macs = frame.header::<Macs>(0).ok_or(Outcome::NotIp)?;
    if macs.destination[0] & 1 != 0 {
        return Err(Outcome::NotIp);
    }
    let mut kind = type_at(frame, size_of::<Macs>())?;
    // Also those that it does not have, as two of them are compared.
    (vlans.count, vlans.tags) = (0, [0; 2]);
    if !TAG_PROTOCOLS.contains(&kind) {
        return Ok(kind);
    }
    for tag in 0..vlans.tags.len() {
        let at = size_of::<Macs>() + tag * TAG_LEN;
        vlans.tags[tag] = u32::from_ne_bytes(*frame.header(at).ok_or(Outcome::NotIp)?);
        vlans.count += 1;
        kind = type_at(frame, at + TAG_LEN)?;
        if !TAG_PROTOCOLS.contains(&kind) {
            return Ok(kind);
        }
    }
    Err(Outcome::NotIp)
}

#[inline(always)]
fn type_at(frame: &Frame, at: usize) -> Result<u16, Outcome> {
    frame
        .header::<[u8; ETHER_TYPE_LEN]>(at)
        .map(|bytes| u16::from_ne_bytes(*bytes))
        .ok_or(Outcome::NotIp)
}
