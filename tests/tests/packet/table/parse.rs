//! Section 1: parsing.

use lb_common::outcome::Outcome;

use crate::{
    table::{Row, every, once, row, stage::Stage, v4, v6},
    wire::{ACK, Extension, Frame, SYN, protocol, sctp, sum, tcp, udp},
    world::{
        lanes::{Lane, SCTP_PORT, TCP_PORT, UDP_PORT},
        standard,
    },
};

const TAG: (u16, u16) = (0x8100, 0x2064);

pub const ROWS: &[Row] = &[
    row("to a group", once, |s, l| {
        s.stays(&edited(l, |b, _| b[0] |= 1), Outcome::NotIp);
    }),
    row("broadcast", once, |s, l| {
        s.stays(&edited(l, |b, _| b[..6].fill(0xff)), Outcome::NotIp);
    }),
    row("ARP", once, |s, l| {
        s.stays(
            &edited(l, |b, _| b[12..14].copy_from_slice(&[8, 6])),
            Outcome::NotIp,
        );
    }),
    row("no, one and two tags", every, |s, l| {
        for tags in [&[][..], &[TAG], &[(0x88a8, 5), TAG], &[(0x9100, 7), TAG]] {
            s.forwards(l.wide, &syn(l).tagged(tags));
        }
    }),
    row("three tags", once, |s, l| {
        s.stays(&syn(l).tagged(&[TAG, TAG, TAG]).bytes(), Outcome::NotIp);
    }),
    row("the other version", once, |s, l| {
        s.stays(&edited(l, |b, ip| b[ip] ^= 0x20), Outcome::NotIp);
    }),
    row("a frame that ends anywhere", every, cut_anywhere),
    row("a frame that ends anywhere, with tags", once, |s, l| {
        let bytes = syn(l).tagged(&[TAG, TAG]).bytes();
        for len in 14..22 + ip_header(l) {
            s.stays(&bytes[..len], Outcome::NotIp);
        }
    }),
    row("to an IPv4-mapped address", v6, |s, l| {
        let bytes = edited(l, |b, ip| {
            b[ip + 24..ip + 36].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        });
        s.stays(&bytes, Outcome::NotOurs);
    }),
    row("for others, whatever is wrong", once, |s, l| {
        let other = standard::client(l.is_v4(), 99);
        let sent = tcp(l.client(4000), (other, TCP_PORT), SYN);
        s.stays(&sent.bytes(), Outcome::NotOurs);
        s.stays(&sent.clone().ttl(0).bytes(), Outcome::NotOurs);
        s.stays(&tcp(l.client(0), (other, 0), SYN).bytes(), Outcome::NotOurs);
        s.stays(&sent.bytes()[..14 + ip_header(l)], Outcome::NotOurs);
    }),
    row("IHL below 5", v4, |s, l| {
        s.stays(&fixed(l, |b| b[14] = 0x44), Outcome::Malformed);
    }),
    row("IHL beyond the packet", v4, |s, l| {
        s.stays(
            &edited(l, |b, ip| (b[ip], b[ip + 2], b[ip + 3]) = (0x4f, 0, 59)),
            Outcome::Malformed,
        );
    }),
    row("total length below the header's", v4, |s, l| {
        s.stays(&fixed(l, |b| b[17] = 19), Outcome::Malformed);
    }),
    row("a length beyond the frame", every, |s, l| {
        s.stays(
            &edited(l, |b, ip| b[ip + length_at(l) + 1] += 1),
            Outcome::Malformed,
        );
    }),
    row("TCP data offset below 5", every, |s, l| {
        s.stays(&edited_l4(l, |b| b[12] = 0x40), Outcome::Malformed);
    }),
    row("TCP data offset beyond the packet", every, |s, l| {
        s.stays(&edited_l4(l, |b| b[12] = 0xf0), Outcome::Malformed);
    }),
    row("UDP lengths", every, |s, l| {
        let sent = udp(l.client(4000), l.at(UDP_PORT), b"four").bytes();
        let at = 14 + ip_header(l) + 5;
        for len in [0, 7, 13] {
            let mut bytes = sent.clone();
            bytes[at] = len;
            s.stays(&bytes, Outcome::Malformed);
        }
    }),
    row("a packet that ends in its transport header", every, |s, l| {
        for (whole, least) in [
            (syn(l), 24),
            (udp(l.client(1), l.at(UDP_PORT), b""), 8),
            (sctp(l.client(1), l.at(SCTP_PORT)), 12),
        ] {
            for len in 0..least {
                s.stays(&shortened(&whole, len).bytes(), Outcome::Malformed);
            }
        }
    }),
    row("a header that is not taken from the padding", every, |s, l| {
        s.stays(&shortened(&syn(l), 8).padded(60).bytes(), Outcome::Malformed);
    }),
    row("padding", every, |s, l| {
        s.forwards(l.wide, &udp(l.client(1), l.at(UDP_PORT), b"x").padded(17));
    }),
    row("a TCP fragment at offset 8", every, |s, l| {
        s.stays(&syn(l).cut(8).1.bytes(), Outcome::Malformed);
    }),
    row("IPv4 header checksum", v4, |s, l| {
        s.stays(&edited(l, |b, ip| b[ip + 10] ^= 1), Outcome::BadChecksum);
    }),
    row("malformed before the checksum", v4, |s, l| {
        s.stays(
            &edited(l, |b, ip| (b[ip + 10], b[ip + 32]) = (b[ip + 10] ^ 1, 0x40)),
            Outcome::Malformed,
        );
    }),
    row("sources that no client has, IPv4", v4, |s, l| {
        for from in [
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            s.stays(
                &tcp((ip(from), 4000), l.at(TCP_PORT), SYN).bytes(),
                Outcome::BadSource,
            );
        }
        s.forwards(l.wide, &tcp((ip("223.255.255.255"), 4000), l.at(TCP_PORT), SYN));
    }),
    row("sources that no client has, IPv6", v6, |s, l| {
        for from in [
            "::",
            "::1",
            "ff02::1",
            "fe80::1",
            "febf::1",
            "::ffff:198.51.100.7",
        ] {
            s.stays(
                &tcp((ip(from), 4000), l.at(TCP_PORT), SYN).bytes(),
                Outcome::BadSource,
            );
        }
        s.forwards(l.wide, &tcp((ip("fec0::1"), 4000), l.at(TCP_PORT), SYN));
    }),
    row("from the VIP to itself", every, |s, l| {
        s.stays(&tcp(l.at(4000), l.at(TCP_PORT), SYN).bytes(), Outcome::BadSource);
    }),
    row("from another VIP, and from an address of ours", every, |s, l| {
        for from in [
            standard::vip(l.is_v4(), 100),
            standard::inside(l.is_v4(), true, 77),
            standard::own(l.is_v4()),
        ] {
            for first in [
                tcp((from, 4000), l.at(TCP_PORT), SYN),
                udp((from, 4000), l.at(UDP_PORT), b"?"),
            ] {
                s.stays(&first.bytes(), Outcome::BadSource);
            }
            // What begins no flow goes round between no balancers, and is not asked where no flow is remembered.
            let later = tcp((from, 4000), l.at(TCP_PORT), ACK);
            if l.mode.translates() {
                s.stays(&later.bytes(), Outcome::BadSource);
            } else {
                s.forwards(l.wide, &later);
            }
        }
    }),
    row("bad sources before ports", every, |s, l| {
        s.stays(&tcp(l.at(0), l.at(0), SYN).bytes(), Outcome::BadSource);
    }),
    row("port 0", every, |s, l| {
        let client = l.client(4000);
        for (from, to) in [(l.client(0), TCP_PORT), (client, 0)] {
            s.stays(&tcp(from, l.at(to), SYN).bytes(), Outcome::BadPort);
            s.stays(&udp(from, l.at(to), b"?").bytes(), Outcome::BadPort);
            s.stays(&sctp(from, l.at(to)).bytes(), Outcome::BadPort);
        }
    }),
    row("IPv4 options", v4, |s, l| {
        for words in 1..=10 {
            s.forwards(l.wide, &syn(l).options(words));
        }
    }),
    row("extension headers", v6, |s, l| {
        for chain in CHAINS {
            let chain: Vec<_> = chain.iter().map(|extension| extension()).collect();
            s.forwards(l.wide, &syn(l).chain(&chain));
        }
    }),
    row("chains that are not followed", v6, |s, l| {
        let seven = vec![Extension::destination(); 7];
        let long = [Extension::padding(protocol::DESTINATION, 60)];
        let late = [Extension::destination(), Extension::hop_by_hop()];
        let routed = [Extension::routing(1)];
        for chain in [&seven[..], &long, &late, &routed] {
            s.stays(&syn(l).chain(chain).bytes(), Outcome::HeaderChain);
        }
        let most = [Extension::padding(protocol::DESTINATION, 59)];
        s.forwards(l.wide, &syn(l).chain(&most));
    }),
    row("a bad source before a bad chain", v6, |s, l| {
        let sent = tcp(l.at(4000), l.at(TCP_PORT), SYN).chain(&[Extension::routing(1)]);
        s.stays(&sent.bytes(), Outcome::BadSource);
    }),
    row("a packet that ends in its chain", v6, |s, l| {
        let chained = syn(l).chain(&[Extension::destination(), Extension::hop_by_hop()]);
        for len in 0..16 {
            let mut bytes = chained.bytes();
            bytes.truncate(14 + 40 + len);
            bytes[14 + 5] = u8::try_from(len).unwrap();
            bytes[14 + 4] = 0;
            s.stays(&bytes, Outcome::Malformed);
        }
    }),
];

const CHAINS: &[&[fn() -> Extension]] = &[
    &[Extension::hop_by_hop],
    &[Extension::destination],
    &[|| Extension::routing(0)],
    &[Extension::authentication],
    &[|| Extension::fragment(9, 0, false)],
    &[
        Extension::hop_by_hop,
        Extension::destination,
        || Extension::routing(0),
        || Extension::fragment(9, 0, false),
        Extension::authentication,
        Extension::destination,
    ],
];

fn syn(lane: &Lane) -> Frame {
    tcp(lane.client(4000), lane.at(TCP_PORT), SYN)
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

fn ip_header(lane: &Lane) -> usize {
    if lane.is_v4() { 20 } else { 40 }
}

fn length_at(lane: &Lane) -> usize {
    if lane.is_v4() { 2 } else { 4 }
}

/// A SYN whose bytes are changed; the IP header begins at the second argument.
fn edited(lane: &Lane, edit: impl FnOnce(&mut [u8], usize)) -> Vec<u8> {
    let mut bytes = syn(lane).bytes();
    edit(&mut bytes, 14);
    bytes
}

/// The same with an IPv4 checksum that is right again.
fn fixed(lane: &Lane, edit: fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = syn(lane).bytes();
    edit(&mut bytes);
    let len = usize::from(bytes[14] & 0xf) * 4;
    bytes[24..26].fill(0);
    let check = sum::checksum(&[&bytes[14..14 + len]]);
    bytes[24..26].copy_from_slice(&check.to_be_bytes());
    bytes
}

/// A SYN whose TCP header is changed.
fn edited_l4(lane: &Lane, edit: fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = syn(lane).bytes();
    edit(&mut bytes[14 + ip_header(lane)..]);
    bytes
}

/// The packet with only so many bytes of its body.
fn shortened(frame: &Frame, len: usize) -> Frame {
    let mut short = frame.clone();
    let protocol = frame.ip.body.protocol(frame.ip.is_v4());
    let mut bytes = frame.ip.body.bytes(frame.ip.from, frame.ip.to);
    bytes.truncate(len);
    short.ip.body = crate::wire::Body::Raw { protocol, bytes };
    short
}

fn cut_anywhere(stage: &mut Stage, lane: &Lane) {
    let bytes = syn(lane).bytes();
    // The kernel takes no test frame shorter than an Ethernet header.
    for len in 14..bytes.len() {
        let outcome = if len < 14 + ip_header(lane) {
            Outcome::NotIp
        } else {
            Outcome::Malformed
        };
        stage.stays(&bytes[..len], outcome);
    }
}
