//! Frames, built and read by etherparse, which shares no code with the program.

use std::net::Ipv4Addr;

use etherparse::{EtherType, Ipv4Header, NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};

use crate::rig::{TCP, UDP};

pub const CLIENT_MAC: [u8; 6] = [2, 0, 10, 10, 0, 11];
pub const LB_MAC: [u8; 6] = [2, 0, 10, 10, 0, 1];
pub const BACKEND_MAC: [u8; 6] = [2, 0, 10, 20, 0, 11];
pub const TTL: u8 = 57;
/// Length of an Ethernet header, and with an IPv4 header without options behind it.
pub const ETH: usize = 14;
pub const ETH_IP: usize = 34;

/// Flags of TCP segments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
}

pub const SYN: Flags = Flags {
    syn: true,
    ack: false,
    fin: false,
    rst: false,
};
pub const SYN_ACK: Flags = Flags { ack: true, ..SYN };
pub const ACK: Flags = Flags {
    syn: false,
    ..SYN_ACK
};
pub const FIN: Flags = Flags { fin: true, ..ACK };
pub const RST: Flags = Flags {
    rst: true,
    syn: false,
    ack: false,
    fin: false,
};

/// An address and a port.
pub type End = (Ipv4Addr, u16);

/// A TCP segment with options in its header and a payload of odd length.
pub fn tcp(from: End, to: End, flags: Flags) -> Vec<u8> {
    tcp_in(
        ipv4(from.0, to.0),
        from.1,
        to.1,
        flags,
        b"GET / HTTP/1.1\r\n\r\n!",
    )
}

pub fn tcp_in(ip: Ipv4Header, from: u16, to: u16, flags: Flags, payload: &[u8]) -> Vec<u8> {
    let mut builder = PacketBuilder::ethernet2(CLIENT_MAC, LB_MAC)
        .ip(etherparse::IpHeaders::Ipv4(ip, Default::default()))
        .tcp(from, to, 1000, 64240);
    if flags.syn {
        builder = builder.syn();
    }
    if flags.ack {
        builder = builder.ack(77);
    }
    if flags.fin {
        builder = builder.fin();
    }
    if flags.rst {
        builder = builder.rst();
    }
    let builder = builder.options_raw(&[2, 4, 5, 180]).unwrap();
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// A UDP datagram.
pub fn udp(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(CLIENT_MAC, LB_MAC)
        .ip(etherparse::IpHeaders::Ipv4(
            ipv4(from.0, to.0),
            Default::default(),
        ))
        .udp(from.1, to.1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// A header with a TTL, a type of service and an identification of its own.
pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr) -> Ipv4Header {
    let mut ip = Ipv4Header::new(0, TTL, etherparse::IpNumber::TCP, from.octets(), to.octets()).unwrap();
    ip.identification = 0x1234;
    ip.dont_fragment = true;
    ip
}

/// What a frame says, with all its checksums verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    pub macs: ([u8; 6], [u8; 6]),
    pub from: End,
    pub to: End,
    pub ttl: u8,
    pub protocol: u8,
    /// Everything that a rewrite must not touch: the rest of the IP header, the rest of the transport header, the payload.
    pub rest: (Ipv4Header, Vec<u8>, Vec<u8>),
}

/// Reads a frame; panics if it is no whole TCP or UDP packet over IPv4 or if a checksum is wrong.
pub fn parse(frame: &[u8]) -> Parsed {
    let headers = PacketHeaders::from_ethernet_slice(frame).unwrap();
    let Some(etherparse::LinkHeader::Ethernet2(eth)) = &headers.link else {
        panic!("no Ethernet: {headers:?}")
    };
    assert_eq!(eth.ether_type, EtherType::IPV4);
    let Some(NetHeaders::Ipv4(ip, _)) = &headers.net else {
        panic!("no IPv4: {headers:?}")
    };
    assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "IPv4 checksum");
    let payload = headers.payload.slice().to_vec();
    let (from, to, protocol, transport) = match headers.transport.clone().unwrap() {
        TransportHeader::Tcp(mut tcp) => {
            assert_eq!(
                tcp.checksum,
                tcp.calc_checksum_ipv4(ip, &payload).unwrap(),
                "TCP checksum"
            );
            let ports = (tcp.source_port, tcp.destination_port);
            (tcp.source_port, tcp.destination_port, tcp.checksum) = (0, 0, 0);
            (ports.0, ports.1, TCP, tcp.to_bytes().to_vec())
        }
        TransportHeader::Udp(udp) => {
            if udp.checksum != 0 {
                assert_eq!(
                    udp.checksum,
                    udp.calc_checksum_ipv4(ip, &payload).unwrap(),
                    "UDP checksum"
                );
            }
            (
                udp.source_port,
                udp.destination_port,
                UDP,
                udp.length.to_be_bytes().to_vec(),
            )
        }
        other => panic!("no TCP or UDP: {other:?}"),
    };
    let rest = Ipv4Header {
        source: [0; 4],
        destination: [0; 4],
        time_to_live: 0,
        header_checksum: 0,
        ..ip.clone()
    };
    Parsed {
        macs: (eth.destination, eth.source),
        from: (ip.source.into(), from),
        to: (ip.destination.into(), to),
        ttl: ip.time_to_live,
        protocol,
        rest: (rest, transport, payload),
    }
}

/// Makes the IPv4 checksum right again after bytes of the header were changed.
pub fn fix_ip_checksum(frame: &mut [u8]) {
    let header_len = usize::from(frame[ETH] & 0xf) * 4;
    frame[ETH + 10..ETH + 12].fill(0);
    let sum: u32 = frame[ETH..ETH + header_len]
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let check = !u16::try_from(folded).unwrap();
    frame[ETH + 10..ETH + 12].copy_from_slice(&check.to_be_bytes());
}
