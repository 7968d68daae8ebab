//! Packets, the tunnels around them, and frames around these, built by etherparse.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, UdpHeader};

use crate::rig::PORT;

pub const CLIENT4: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 11);
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 11);
pub const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 10);
pub const BALANCER4: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 1);
pub const BALANCER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 1);
pub const BACKEND4: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 11);
pub const BACKEND6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 11);
/// An address of neither family's tests that this host does not have.
pub const STRANGER4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
pub const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);

pub const IP4: u8 = 4;
pub const IP6: u8 = 41;
pub const UDP: u8 = 17;
/// Lengths of headers.
pub const ETH: usize = 14;
pub const V4: usize = 20;
pub const V6: usize = 40;
pub const GUE: usize = 8;

const MACS: [[u8; 6]; 2] = [[2, 0, 10, 20, 0, 11], [2, 0, 10, 20, 0, 1]];
const PAYLOAD: &[u8] = b"a datagram of odd length!";
const TTL: u8 = 57;

/// A datagram to an IPv4 address, with this type of service.
pub fn packet4(to: Ipv4Addr, tos: u8) -> Vec<u8> {
    let mut ip = Ipv4Header::new(0, TTL, IpNumber::UDP, CLIENT4.octets(), to.octets()).unwrap();
    (ip.dscp, ip.ecn) = ((tos >> 2).try_into().unwrap(), (tos & 3).try_into().unwrap());
    datagram(etherparse::IpHeaders::Ipv4(ip, Default::default()))
}

/// A datagram to an IPv6 address, with this traffic class.
pub fn packet6(to: Ipv6Addr, class: u8) -> Vec<u8> {
    let ip = Ipv6Header {
        traffic_class: class,
        flow_label: 0xa_bcde.try_into().unwrap(),
        payload_length: 0,
        next_header: IpNumber::UDP,
        hop_limit: TTL,
        source: CLIENT6.octets(),
        destination: to.octets(),
    };
    datagram(etherparse::IpHeaders::Ipv6(ip, Default::default()))
}

fn datagram(ip: etherparse::IpHeaders) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ip(ip).udp(40_000, 53);
    builder.write(&mut bytes, PAYLOAD).unwrap();
    bytes
}

/// The IPv4 header that the balancer sends to the backend.
pub fn header4(protocol: u8, payload: &[u8]) -> Ipv4Header {
    let len = payload.len().try_into().unwrap();
    let (from, to) = (BALANCER4.octets(), BACKEND4.octets());
    Ipv4Header::new(len, 64, IpNumber(protocol), from, to).unwrap()
}

/// A packet of the balancer's over IPv4.
pub fn over4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    with_header4(header4(protocol, payload), payload)
}

pub fn with_header4(mut header: Ipv4Header, payload: &[u8]) -> Vec<u8> {
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes(), payload].concat()
}

/// One fragment of such a packet: its offset in units of eight bytes, and whether more follow.
pub fn fragment4(protocol: u8, payload: &[u8], (offset, more): (u16, bool)) -> Vec<u8> {
    let mut header = header4(protocol, payload);
    header.more_fragments = more;
    header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
    with_header4(header, payload)
}

/// A packet of the balancer's over IPv6.
pub fn over6(next: u8, payload: &[u8]) -> Vec<u8> {
    over6_as(next, payload, 0)
}

/// The same with a traffic class.
pub fn over6_as(next: u8, payload: &[u8], class: u8) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: class,
        flow_label: Default::default(),
        payload_length: payload.len().try_into().unwrap(),
        next_header: IpNumber(next),
        hop_limit: 64,
        source: BALANCER6.octets(),
        destination: BACKEND6.octets(),
    };
    [&header.to_bytes(), payload].concat()
}

/// One fragment of such a packet.
pub fn fragment6(next: u8, payload: &[u8], (offset, more): (u16, bool)) -> Vec<u8> {
    let place = (offset << 3 | u16::from(more)).to_be_bytes();
    let extension = [next, 0, place[0], place[1], 0, 0, 0, 7];
    over6(44, &[&extension, payload].concat())
}

/// The UDP datagram of a GUE tunnel, without checksum, around what is behind its UDP header.
pub fn gue(behind: &[u8]) -> Vec<u8> {
    gue_to(PORT, behind)
}

pub fn gue_to(port: u16, behind: &[u8]) -> Vec<u8> {
    let mut header = UdpHeader::without_ipv4_checksum(50_000, port, behind.len()).unwrap();
    header.checksum = 0;
    [&header.to_bytes(), behind].concat()
}

/// A GUE header of variant 0 that carries a protocol.
pub fn gue0(protocol: u8, packet: &[u8]) -> Vec<u8> {
    gue(&[&[0, protocol, 0, 0], packet].concat())
}

/// A frame with VLAN tags, each TPID and TCI, around an IP packet.
pub fn frame(tags: &[(u16, u16)], packet: &[u8]) -> Vec<u8> {
    let mut bytes = MACS.concat();
    for (protocol, control) in tags {
        bytes.extend(protocol.to_be_bytes());
        bytes.extend(control.to_be_bytes());
    }
    let kind: u16 = if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
    bytes.extend(kind.to_be_bytes());
    bytes.extend(packet);
    bytes
}
