//! TCP (RFC 9293), UDP (RFC 768) and SCTP (RFC 9260), as far as the ports and flags; ICMP's kinds.

use lb_common::{
    conn::tcp::{ACK, FIN, RST, SYN},
    flow::{Protocol, icmp},
    outcome::Outcome,
};

use crate::{
    frame::{Frame, Icmp, Tcp, Udp},
    parse::{Kind, Packet, flag},
};

const SCTP_HEADER: u16 = 12;

/// Reads what the IP header carries: what kind of packet it is, and the ports of a flow's.
#[inline(always)]
pub fn read(frame: &Frame, packet: &mut Packet, protocol: u8) -> Kind {
    packet.flow.protocol = u32::from(protocol);
    if packet.flags & flag::LATER_FRAGMENT != 0 {
        if packet.flags & flag::AT_EIGHT != 0 && protocol == Protocol::Tcp.wire() {
            packet.reject(Outcome::Malformed);
        }
        return Kind::LaterFragment;
    }
    match Protocol::from_wire(protocol) {
        Some(Protocol::Tcp) => tcp(frame, packet),
        Some(Protocol::Udp) => udp(frame, packet),
        Some(Protocol::Sctp) => sctp(frame, packet),
        None if protocol == icmp::V4 && packet.is_v4() => return icmp_kind(frame, packet),
        None if protocol == icmp::V6 && !packet.is_v4() => return icmp_kind(frame, packet),
        None => return Kind::Other,
    }
    Kind::Flow
}

#[inline(always)]
fn tcp(frame: &Frame, packet: &mut Packet) {
    let header = frame.header::<Tcp>(usize::from(packet.l4));
    let Some(tcp) = header.filter(|_| packet.l4_len() >= 20) else {
        return packet.reject(Outcome::Malformed);
    };
    let header_len = u16::from(tcp.offset[0] >> 4) * 4;
    if header_len < 20 || header_len > packet.l4_len() {
        return packet.reject(Outcome::Malformed);
    }
    packet.tcp_flags = tcp.flags[0] & (FIN | SYN | RST | ACK);
    ports(packet, tcp.source, tcp.destination);
}

#[inline(always)]
fn udp(frame: &Frame, packet: &mut Packet) {
    let header = frame.header::<Udp>(usize::from(packet.l4));
    let Some(udp) = header.filter(|_| packet.l4_len() >= 8) else {
        return packet.reject(Outcome::Malformed);
    };
    let len = u16::from_be_bytes(udp.len);
    // The length is that of the whole datagram, also in its first fragment.
    let is_whole = packet.flags & flag::FIRST_FRAGMENT == 0;
    if len < 8 || (is_whole && len > packet.l4_len()) {
        return packet.reject(Outcome::Malformed);
    }
    ports(packet, udp.source, udp.destination);
}

#[inline(always)]
fn sctp(frame: &Frame, packet: &mut Packet) {
    let header = frame.header::<[u8; SCTP_HEADER as usize]>(usize::from(packet.l4));
    match header.filter(|_| packet.l4_len() >= SCTP_HEADER) {
        Some(&[s0, s1, d0, d1, ..]) => ports(packet, [s0, s1], [d0, d1]),
        None => packet.reject(Outcome::Malformed),
    }
}

#[inline(always)]
fn ports(packet: &mut Packet, source: [u8; 2], destination: [u8; 2]) {
    packet.flow.source_port = u16::from_ne_bytes(source);
    packet.flow.destination_port = u16::from_ne_bytes(destination);
    if packet.flow.source_port == 0 || packet.flow.destination_port == 0 {
        packet.doubt(Outcome::BadPort);
    }
}

#[inline(always)]
fn icmp_kind(frame: &Frame, packet: &mut Packet) -> Kind {
    let header = frame.header::<Icmp>(usize::from(packet.l4));
    let Some(icmp) = header.filter(|_| packet.l4_len() >= 8) else {
        packet.reject(Outcome::Malformed);
        return Kind::Other;
    };
    if packet.flags & flag::FIRST_FRAGMENT != 0 {
        return Kind::Other;
    }
    match (packet.is_v4(), icmp.kind[0]) {
        (true, 8) | (false, 128) => Kind::Echo,
        // Destination unreachable, time exceeded, parameter problem, packet too big.
        (true, 3 | 11 | 12) | (false, 1..=4) => Kind::Error,
        // Listeners of groups, neighbour and router discovery: between us and our link.
        (false, 130..=153) => Kind::Kernel,
        _ => Kind::Other,
    }
}
