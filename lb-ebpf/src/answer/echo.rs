//! The answer to a ping (RFC 792, RFC 4443 §4.2), in place: only addresses, type, TTL and checksums change.

use lb_common::{checksum::Change, outcome::Outcome};

use crate::{
    answer::{HOPS, Kind, may, way_back, write_l2},
    frame::{Frame, Icmp, Ipv4, Ipv6},
    stage::{Stage, stages},
};

const V4_REPLY: u8 = 0;
const V6_REPLY: u8 = 129;

stages! {
    /// Answers the ping in the frame.
    ///
    /// # Errors
    /// [`Outcome::EchoLimited`] beyond the rate.
    pub fn reply as xlb_echo = write;
}

#[inline(always)]
fn write(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    if !may(Kind::Echo, stage.now) {
        return Err(Outcome::EchoLimited);
    }
    let hop = way_back(frame, stage);
    let (l3, l4) = (usize::from(stage.packet.l3), usize::from(stage.packet.l4));
    let is_v4 = stage.packet.is_v4();
    if is_v4 {
        let ip = frame.header_mut::<Ipv4>(l3).ok_or(Outcome::Malformed)?;
        let word = |ttl: u8| u16::from_ne_bytes([ttl, ip.protocol[0]]);
        let change = Change::new().word(word(ip.ttl[0]), word(HOPS));
        (ip.ttl, ip.source, ip.destination) = ([HOPS], ip.destination, ip.source);
        ip.check = change.apply(u16::from_ne_bytes(ip.check)).to_ne_bytes();
    } else {
        let ip = frame.header_mut::<Ipv6>(l3).ok_or(Outcome::Malformed)?;
        (ip.hop_limit, ip.source, ip.destination) = ([HOPS], ip.destination, ip.source);
    }
    let icmp = frame.header_mut::<Icmp>(l4).ok_or(Outcome::Malformed)?;
    let word = |kind: u8| u16::from_ne_bytes([kind, icmp.code[0]]);
    let kind = if is_v4 { V4_REPLY } else { V6_REPLY };
    // The pseudo-header of ICMPv6 has the same sum both ways.
    let change = Change::new().word(word(icmp.kind[0]), word(kind));
    icmp.kind = [kind];
    icmp.check = change.apply(u16::from_ne_bytes(icmp.check)).to_ne_bytes();
    write_l2(frame, &hop, stage)
}
