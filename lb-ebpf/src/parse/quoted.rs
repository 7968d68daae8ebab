//! The packet that an ICMP error is about, as far as it is quoted (RFC 792, RFC 1812 §4.3.2.3, RFC 4443 §2.4).

use lb_common::{
    addr::Addr,
    flow::{FlowKey, Protocol},
    outcome::Outcome,
};

use crate::{
    frame::{Frame, Icmp, Ipv4, Ipv6},
    parse::{Packet, ipv6},
    stage::{Stage, stages},
};

/// Bytes of a transport header that every error quotes.
const QUOTED: u16 = 8;

stages! {
    /// Reads the quoted packet of an ICMP error: `stage.packet.flow` is then that of a packet which would answer it, and which
    /// so takes the error's way.
    ///
    /// # Errors
    /// [`Outcome::ErrorUnknown`] where no flow can be read, or the error does not go to who sent the packet.
    pub fn flow as xlb_quoted = read;
}

/// Offset of the quoted IP header.
#[inline(always)]
pub fn l3(packet: &Packet) -> u16 {
    packet.l4 + Icmp::LEN
}

#[inline(always)]
fn read(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let packet = &mut stage.packet;
    (packet.error_from, packet.error_to) = (packet.flow.source, packet.flow.destination);
    let quoted = if packet.is_v4() {
        ipv4(frame, packet)
    } else {
        ipv6(frame, packet)
    };
    let (source, destination, protocol, l4) = quoted.ok_or(Outcome::ErrorUnknown)?;
    if source != packet.error_to || Protocol::from_wire(protocol).is_none() {
        return Err(Outcome::ErrorUnknown);
    }
    // All of it in the packet, and not in what pads the frame.
    if l4 + QUOTED > packet.l3 + packet.ip_len {
        return Err(Outcome::ErrorUnknown);
    }
    let ports = frame
        .header::<[u8; QUOTED as usize]>(usize::from(l4))
        .ok_or(Outcome::ErrorUnknown)?;
    let &[s0, s1, d0, d1, ..] = ports;
    packet.quoted_l4 = l4;
    packet.flow = FlowKey {
        source: destination,
        destination: source,
        source_port: u16::from_ne_bytes([d0, d1]),
        destination_port: u16::from_ne_bytes([s0, s1]),
        protocol: u32::from(protocol),
    };
    Ok(())
}

type Quoted = (Addr, Addr, u8, u16);

#[inline(always)]
fn ipv4(frame: &Frame, packet: &Packet) -> Option<Quoted> {
    let l3 = l3(packet);
    let ip = frame.header::<Ipv4>(usize::from(l3))?;
    let [version_len, _] = ip.version_tos;
    let header_len = u16::from(version_len & 0xf) * 4;
    let is_later = u16::from_be_bytes(ip.fragment) & 0x1fff != 0;
    if version_len >> 4 != 4 || header_len < 20 || is_later {
        return None;
    }
    let address = |bytes| Addr::from_v4_word(u32::from_ne_bytes(bytes));
    Some((
        address(ip.source),
        address(ip.destination),
        ip.protocol[0],
        l3 + header_len,
    ))
}

#[inline(always)]
fn ipv6(frame: &Frame, packet: &Packet) -> Option<Quoted> {
    let l3 = l3(packet);
    let ip = frame.header::<Ipv6>(usize::from(l3))?;
    if ip.version_class[0] >> 4 != 6 {
        return None;
    }
    let chain = ipv6::chain(frame, ip.next_header[0], l3, packet.l3 + packet.ip_len);
    let is_later = chain.fragment.is_some_and(|fragment| fragment.offset != 0);
    if chain.fault.is_some() || is_later {
        return None;
    }
    Some((
        ipv6::address(&ip.source),
        ipv6::address(&ip.destination),
        chain.protocol,
        chain.end,
    ))
}
