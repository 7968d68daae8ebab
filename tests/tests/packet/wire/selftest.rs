//! The builder against the reader, and both against etherparse.

use std::net::{IpAddr, SocketAddr};

use etherparse::{Icmpv4Header, Icmpv6Header, NetHeaders, PacketHeaders, TransportHeader};
use proptest::prelude::*;

use crate::wire::{Body, Extension, Frame, Ip, SYN, echo, error, icmp, protocol, read, sctp, tcp, udp};

fn end(v4: bool, host: u8, port: u16) -> SocketAddr {
    let ip: IpAddr = if v4 {
        [198, 51, 100, host].into()
    } else {
        [0x2001, 0xdb8, 0xffff, 0, 0, 0, 0xabcd, u16::from(host)].into()
    };
    SocketAddr::new(ip, port)
}

fn plain() -> impl Strategy<Value = Frame> {
    let payload = prop::collection::vec(any::<u8>(), 0..60);
    (
        any::<bool>(),
        0_u8..6,
        any::<[u8; 2]>(),
        any::<[u16; 2]>(),
        payload,
    )
        .prop_map(|(v4, kind, hosts, ports, payload)| {
            let (from, to) = (end(v4, hosts[0], ports[0]), end(v4, hosts[1], ports[1] | 1));
            match kind {
                0 => tcp(from, to, SYN).payload(&payload),
                1 => udp(from, to, &payload),
                2 => udp(from, to, &payload).unchecked(),
                3 => sctp(from, to),
                4 => echo(from.ip(), to.ip(), &payload),
                _ => {
                    let quoted = udp(to, from, &payload).ip;
                    error(from.ip(), to.ip(), &icmp::PORT_UNREACHABLE, 0, quoted.quote(64))
                }
            }
        })
}

/// The same with everything around it that a frame may have.
fn decorated() -> impl Strategy<Value = Frame> {
    let tags = prop::sample::select(vec![
        vec![],
        vec![(0x8100, 100)],
        vec![(0x88a8, 0x6007), (0x9100, 5)],
    ]);
    let chains = prop::sample::select(vec![
        vec![],
        vec![Extension::hop_by_hop(), Extension::destination()],
        vec![Extension::routing(0), Extension::authentication()],
        vec![
            Extension::padding(protocol::DESTINATION, 30),
            Extension::fragment(7, 0, false),
        ],
    ]);
    let around = prop::sample::select(vec![0_u8, 1, 2, 3, 4]);
    (
        plain(),
        tags,
        chains,
        around,
        0_usize..11,
        0_usize..20,
        any::<[u8; 2]>(),
    )
        .prop_map(|(frame, tags, chain, around, words, padding, [tos, ttl])| {
            let v4 = frame.ip.is_v4();
            let frame = if v4 {
                frame.options(words)
            } else {
                frame.chain(&chain)
            };
            let mut frame = frame.tos(tos).ttl(ttl);
            frame.ip = inside(frame.ip, around);
            frame.tagged(&tags).padded(padding)
        })
}

fn inside(inner: Ip, around: u8) -> Ip {
    let outer_v4 = around.is_multiple_of(2);
    let (from, to) = (end(outer_v4, 250, 0).ip(), end(outer_v4, 251, 0).ip());
    let inner = Box::new(inner);
    match around {
        0 => *inner,
        1 | 2 => Ip::new(from, to, Body::Inner(inner)),
        _ => {
            let (from_port, checked) = (50_000, around == 3);
            let body = Body::Gue {
                from: from_port,
                checked,
                inner,
            };
            Ip::new(from, to, body)
        }
    }
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(frame in decorated()) {
        prop_assert_eq!(read::frame(&frame.bytes()), Ok(frame));
    }

    #[test]
    fn no_flipped_bit_goes_unseen(frame in plain(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = frame.bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert_ne!(read::frame(&bytes), Ok(frame));
    }

    #[test]
    fn etherparse_reads_the_same(frame in plain()) {
        let bytes = frame.bytes();
        let headers = PacketHeaders::from_ethernet_slice(&bytes).unwrap();
        let payload = headers.payload.slice();
        match headers.net.clone().unwrap() {
            NetHeaders::Ipv4(ip, _) => {
                prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                prop_assert_eq!((IpAddr::from(ip.source), IpAddr::from(ip.destination)), (frame.ip.from, frame.ip.to));
                prop_assert_eq!(v4_transport(headers.transport.clone(), &ip, payload), Ok(()));
            }
            NetHeaders::Ipv6(ip, _) => {
                prop_assert_eq!((IpAddr::from(ip.source), IpAddr::from(ip.destination)), (frame.ip.from, frame.ip.to));
                prop_assert_eq!(v6_transport(headers.transport.clone(), &ip, payload), Ok(()));
            }
            NetHeaders::Arp(_) => prop_assert!(false, "ARP"),
        }
    }

    #[test]
    fn the_fragments_of_a_packet_are_its_bytes(frame in plain(), units in 1_u16..4) {
        let body = frame.ip.body.bytes(frame.ip.from, frame.ip.to);
        prop_assume!(body.len() > usize::from(units) * 8);
        let (head, tail) = frame.cut(units * 8);
        let parts = [head, tail].map(|part| read::frame(&part.bytes()).unwrap());
        let joined = parts.iter().flat_map(|part| part.ip.body.bytes(part.ip.from, part.ip.to)).collect::<Vec<_>>();
        prop_assert_eq!(joined, body);
    }
}

type Wrong = (u16, u16);

fn same(have: u16, want: u16) -> Result<(), Wrong> {
    if have == want { Ok(()) } else { Err((have, want)) }
}

fn v4_transport(
    transport: Option<TransportHeader>,
    ip: &etherparse::Ipv4Header,
    payload: &[u8],
) -> Result<(), Wrong> {
    match transport {
        Some(TransportHeader::Tcp(tcp)) => same(tcp.checksum, tcp.calc_checksum_ipv4(ip, payload).unwrap()),
        Some(TransportHeader::Udp(udp)) if udp.checksum != 0 => {
            same(udp.checksum, udp.calc_checksum_ipv4(ip, payload).unwrap())
        }
        Some(TransportHeader::Icmpv4(Icmpv4Header { icmp_type, checksum })) => {
            same(checksum, icmp_type.calc_checksum(payload))
        }
        _ => Ok(()),
    }
}

fn v6_transport(
    transport: Option<TransportHeader>,
    ip: &etherparse::Ipv6Header,
    payload: &[u8],
) -> Result<(), Wrong> {
    match transport {
        Some(TransportHeader::Tcp(tcp)) => same(tcp.checksum, tcp.calc_checksum_ipv6(ip, payload).unwrap()),
        Some(TransportHeader::Udp(udp)) if udp.checksum != 0 => {
            same(udp.checksum, udp.calc_checksum_ipv6(ip, payload).unwrap())
        }
        Some(TransportHeader::Icmpv6(Icmpv6Header { icmp_type, checksum })) => same(
            checksum,
            icmp_type
                .calc_checksum(ip.source, ip.destination, payload)
                .unwrap(),
        ),
        _ => Ok(()),
    }
}
