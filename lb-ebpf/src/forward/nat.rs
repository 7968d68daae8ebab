//! Network address translation: a packet leaves with other addresses and ports than it came with.
//!
//! One rewrite serves both directions and both protocols: TCP and UDP differ in the place of their checksum only.

use lb_common::{
    checksum::Change,
    flow::{FlowKey, Protocol},
    outcome::Outcome,
};
use network_types::{ip::Ipv4Hdr, tcp::TcpHdr, udp::UdpHdr};

use crate::{frame::Frame, parse::Packet};

/// Checks that the packet may travel on and that [`rewrite`] will find what it needs.
#[inline(always)]
pub fn check(frame: &Frame, packet: &Packet) -> Result<(), Outcome> {
    if packet.ttl <= 1 {
        return Err(Outcome::TtlExpired);
    }
    let readable = frame.header::<Ipv4Hdr>(packet.ip).is_some()
        && if is_tcp(packet) {
            frame.header::<TcpHdr>(packet.l4).is_some()
        } else {
            frame.header::<UdpHdr>(packet.l4).is_some()
        };
    if readable { Ok(()) } else { Err(Outcome::Malformed) }
}

/// Gives the packet the addresses and ports of `new`, takes one from its TTL, and keeps its checksums true by RFC 1624.
#[inline(always)]
pub fn rewrite(frame: &mut Frame, packet: &Packet, new: &FlowKey) -> Result<(), Outcome> {
    let old = &packet.flow;
    let addresses = Change::new()
        .double_word(old.source.v4_word(), new.source.v4_word())
        .double_word(old.destination.v4_word(), new.destination.v4_word());
    let all = addresses
        .word(old.source_port, new.source_port)
        .word(old.destination_port, new.destination_port);

    let ip = frame.header_mut::<Ipv4Hdr>(packet.ip).ok_or(Outcome::Malformed)?;
    let travelled = addresses.word(ttl_word(ip.ttl, ip.proto), ttl_word(ip.ttl - 1, ip.proto));
    ip.check = travelled.apply(u16::from_ne_bytes(ip.check)).to_ne_bytes();
    ip.ttl -= 1;
    ip.src_addr = new.source.v4_word().to_ne_bytes();
    ip.dst_addr = new.destination.v4_word().to_ne_bytes();

    if is_tcp(packet) {
        let tcp = frame.header_mut::<TcpHdr>(packet.l4).ok_or(Outcome::Malformed)?;
        tcp.source = new.source_port.to_ne_bytes();
        tcp.dest = new.destination_port.to_ne_bytes();
        tcp.check = all.apply(u16::from_ne_bytes(tcp.check)).to_ne_bytes();
    } else {
        let udp = frame.header_mut::<UdpHdr>(packet.l4).ok_or(Outcome::Malformed)?;
        udp.src = new.source_port.to_ne_bytes();
        udp.dst = new.destination_port.to_ne_bytes();
        udp.check = all.apply_udp(u16::from_ne_bytes(udp.check)).to_ne_bytes();
    }
    Ok(())
}

/// The header's word that holds the TTL, as it stands in memory.
#[inline(always)]
fn ttl_word(ttl: u8, protocol: u8) -> u16 {
    u16::from_ne_bytes([ttl, protocol])
}

#[inline(always)]
fn is_tcp(packet: &Packet) -> bool {
    packet.flow.protocol == Protocol::Tcp.number()
}
