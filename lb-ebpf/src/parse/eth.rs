//! Ethernet.

use lb_common::outcome::Outcome;
use network_types::eth::{EthHdr, EtherType};

use crate::frame::{Frame, Macs};

/// Offset of the IPv4 header of a unicast frame. Frames to groups are never balanced: every host on the link has them.
#[inline(always)]
pub fn ipv4_offset(frame: &Frame) -> Result<usize, Outcome> {
    let macs = frame.header::<Macs>(0).ok_or(Outcome::NotIpv4)?;
    let ether_type = frame
        .header::<[u8; 2]>(size_of::<Macs>())
        .ok_or(Outcome::NotIpv4)?;
    let is_group = macs.destination[0] & 1 != 0;
    if is_group || u16::from_ne_bytes(*ether_type) != u16::from(EtherType::Ipv4) {
        return Err(Outcome::NotIpv4);
    }
    Ok(EthHdr::LEN)
}
