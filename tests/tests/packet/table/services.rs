//! Section 2: which service, and what becomes of packets for none.

use lb_common::outcome::Outcome;

use crate::{
    table::{Row, expect, once, row, v6},
    wire::{ACK, Body, Frame, PSH, RST, SYN, SYN_ACK, echo, icmp, protocol, sctp, tcp, udp},
    world::{
        World,
        lanes::Lane,
        standard::{inside, special, vip},
    },
};

pub const ROWS: &[Row] = &[
    row("one port before its range before all ports", once, |s, l| {
        let to = vip(l.is_v4(), special::RANGES);
        let id = |port| service(s.world(), to, protocol::TCP, port);
        let (exact, range, all) = (id(8080), id(8000), id(1));
        assert!(exact != range && range != all);
        for (port, service) in [
            (8080, exact),
            (8000, range),
            (8999, range),
            (7999, all),
            (9000, all),
            (65_535, all),
        ] {
            s.forwards(service, &tcp(l.client(4000), (to, port), SYN));
        }
        let datagrams = service_of_udp(s.world(), to);
        s.forwards(datagrams, &udp(l.client(4000), (to, 1), b"?"));
    }),
    row("the longest network", once, |s, l| {
        let (wide, narrow) = (inside(l.is_v4(), true, 1), inside(l.is_v4(), false, 1));
        let ids = (
            service(s.world(), wide, protocol::TCP, 80),
            service(s.world(), narrow, protocol::TCP, 80),
        );
        s.forwards(ids.0, &tcp(l.client(4000), (wide, 80), SYN));
        s.forwards(ids.0, &tcp(l.client(4000), (wide, 443), SYN));
        s.forwards(ids.1, &tcp(l.client(4000), (narrow, 80), SYN));
        let unserved = tcp(l.client(4000), (narrow, 443), SYN);
        s.stays(&unserved.bytes(), Outcome::UnservedPassed);
    }),
    row(
        "a VIP in a network is not served by the network's service",
        once,
        |s, l| {
            let sent = tcp(l.client(4000), (inside(l.is_v4(), false, 9), 80), SYN);
            s.stays(&sent.bytes(), Outcome::UnservedPassed);
        },
    ),
    row("a port that no service has", once, |s, l| {
        for (host, outcome) in [
            (special::DROP, Outcome::Unserved),
            (special::PASS, Outcome::UnservedPassed),
            (special::LOST, Outcome::UnservedPassed),
        ] {
            for sent in strangers(l, host) {
                s.stays(&sent.bytes(), outcome);
            }
        }
    }),
    row("a SYN is refused", once, |s, l| {
        let sent = tcp(l.client(4000), (vip(l.is_v4(), special::RESET), 9), SYN).payload(b"early");
        s.answers(
            &sent,
            Outcome::UnservedReset,
            &expect::refusal(&sent, 0, 0x1000_0000 + 6, RST | ACK),
        );
    }),
    row("a segment with ACK is refused", once, |s, l| {
        for flags in [ACK, SYN_ACK, ACK | PSH] {
            let sent = tcp(l.client(4000), (vip(l.is_v4(), special::RESET), 9), flags);
            s.answers(&sent, Outcome::UnservedReset, &expect::refusal(&sent, 77, 0, RST));
        }
    }),
    row("a reset is not refused", once, |s, l| {
        for flags in [RST, RST | ACK] {
            let sent = tcp(l.client(4000), (vip(l.is_v4(), special::RESET), 9), flags);
            s.stays(&sent.bytes(), Outcome::Unserved);
        }
    }),
    row("a datagram is refused", once, |s, l| {
        let to = vip(l.is_v4(), special::RESET);
        for len in [0, 1, 2, 3, 700, 1400] {
            let sent = udp(l.client(4000), (to, 9), &vec![7; len]).tagged(&[(0x8100, 9)]);
            let answer = expect::error_about(&sent, to, &icmp::PORT_UNREACHABLE, 0);
            s.answers(&sent, Outcome::UnservedReset, &answer);
        }
    }),
    row("what cannot be refused is dropped", once, |s, l| {
        let to = (vip(l.is_v4(), special::RESET), 9);
        s.stays(&sctp(l.client(4000), to).bytes(), Outcome::Unserved);
        let (head, tail) = udp(l.client(4000), to, &[1; 40]).cut(16);
        s.stays(&head.bytes(), Outcome::Unserved);
        s.stays(&tail.bytes(), Outcome::Unserved);
        let mut other = udp(l.client(4000), to, b"").ip;
        other.body = Body::Raw {
            protocol: 47,
            bytes: vec![0; 8],
        };
        s.stays(&Frame::around(other).bytes(), Outcome::Unserved);
    }),
    row("a ping of a VIP without ping", once, |s, l| {
        let sent = echo(l.client(0).ip(), vip(l.is_v4(), special::DROP), b"ping");
        s.stays(&sent.bytes(), Outcome::Unserved);
    }),
    row("a ping in fragments", once, |s, l| {
        let (head, tail) = echo(l.client(0).ip(), l.vip, &[1; 40]).cut(24);
        s.stays(&head.bytes(), Outcome::UnservedPassed);
        s.stays(&tail.bytes(), Outcome::UnservedPassed);
    }),
    row("a message that is neither ping nor error", once, |s, l| {
        for (host, outcome) in [
            (special::DROP, Outcome::Unserved),
            (special::PASS, Outcome::UnservedPassed),
        ] {
            let kind = if l.is_v4() { 13 } else { 154 };
            let sent = message(l, vip(l.is_v4(), host), kind);
            s.stays(&sent.bytes(), outcome);
        }
    }),
    row(
        "neighbours and multicast listeners are the kernel's",
        v6,
        |s, l| {
            for kind in 130..=153 {
                s.stays(
                    &message(l, vip(false, special::DROP), kind).bytes(),
                    Outcome::NotOurs,
                );
                let mut local = message(l, vip(false, special::DROP), kind);
                local.ip.from = "fe80::1".parse().unwrap();
                s.stays(&local.bytes(), Outcome::NotOurs);
            }
        },
    ),
    row("no backend, and no way to it", once, |s, l| {
        let to = vip(l.is_v4(), special::LOST);
        s.stays(&tcp(l.client(4000), (to, 80), SYN).bytes(), Outcome::NoBackend);
        s.stays(&tcp(l.client(4000), (to, 81), SYN).bytes(), Outcome::NoRoute);
    }),
];

/// The service of a port.
pub fn service(world: &World, to: std::net::IpAddr, protocol: u8, port: u16) -> u32 {
    let vip = world.vip_of(to).unwrap();
    world.service_of(vip, protocol, port).unwrap()
}

fn service_of_udp(world: &World, to: std::net::IpAddr) -> u32 {
    service(world, to, protocol::UDP, 1)
}

/// Packets that no service of this VIP takes.
fn strangers(lane: &Lane, host: u8) -> Vec<Frame> {
    let to = vip(lane.is_v4(), host);
    let mut other = udp(lane.client(4000), (to, 9), b"").ip;
    other.body = Body::Raw {
        protocol: 47,
        bytes: Vec::new(),
    };
    vec![
        tcp(lane.client(4000), (to, 9), SYN),
        tcp(lane.client(4000), (to, 9), SYN).ttl(1),
        udp(lane.client(4000), (to, 9), b"?"),
        sctp(lane.client(4000), (to, 80)),
        Frame::around(other),
    ]
}

fn message(lane: &Lane, to: std::net::IpAddr, kind: u8) -> Frame {
    let mut sent = echo(lane.client(0).ip(), to, b"????????????????");
    if let Body::Icmp { kind: place, .. } = &mut sent.ip.body {
        *place = kind;
    }
    sent
}
