//! Section 3: fragments.

use lb_common::outcome::Outcome;

use crate::{
    table::{Row, every, once, row, services::service, v6},
    wire::{Body, Extension, Frame, SYN, protocol, read, tcp, udp},
    world::{
        lanes::{Lane, NARROW_UDP_PORT, TCP_PORT, UDP_PORT},
        standard::{client, special, vip},
    },
};

pub const ROWS: &[Row] = &[
    row("both fragments go to one backend", every, |s, l| {
        for port in 4000..4010 {
            let whole = datagram(l, UDP_PORT, port);
            let first = s.forwards_piece(l.wide, &whole, 16, true).backend;
            let second = s.forwards_piece(l.wide, &whole, 16, false).backend;
            assert_eq!(first, second);
        }
    }),
    row("a TCP segment in two", every, |s, l| {
        let whole = tcp(l.client(4000), l.at(TCP_PORT), SYN).payload(&[9; 33]);
        s.forwards_piece(l.wide, &whole, 32, true);
        s.forwards_piece(l.wide, &whole, 32, false);
    }),
    row("fragments behind another interface", every, |s, l| {
        let whole = datagram(l, NARROW_UDP_PORT, 4000);
        s.forwards_piece(l.narrow, &whole, 24, true);
        s.forwards_piece(l.narrow, &whole, 24, false);
    }),
    row("a fragment whose first one is not known", every, |s, l| {
        let whole = datagram(l, UDP_PORT, 4000);
        s.stays(&whole.cut(16).1.bytes(), Outcome::Fragment);
        s.forwards_piece(l.wide, &whole, 16, true);
        s.forwards_piece(l.wide, &whole, 16, false);
        let mut other = whole.cut(16).1;
        other.ip.id ^= 1;
        other.ip.chain.clear();
        if !l.is_v4() {
            other.ip.chain.push(Extension::fragment(8, 16, false));
        }
        s.stays(&other.bytes(), Outcome::Fragment);
    }),
    row("TTL 1 of a later fragment", every, |s, l| {
        let whole = datagram(l, UDP_PORT, 4000);
        s.forwards_piece(l.wide, &whole, 16, true);
        let (_, tail) = whole.ttl(1).cut(16);
        s.stays(&tail.bytes(), Outcome::TtlExpired);
    }),
    row("a later fragment that is too big", every, |s, l| {
        let whole = udp(l.client(4000), l.at(NARROW_UDP_PORT), &[1; 1400]);
        s.forwards_piece(l.narrow, &whole, 16, true);
        s.stays(&whole.cut(16).1.bytes(), Outcome::TooBig);
    }),
    row("fragments by addresses need no first one", once, |s, l| {
        let to = vip(l.is_v4(), special::BY_ADDRESSES);
        let datagrams = service(s.world(), to, protocol::UDP, 1);
        let segments = service(s.world(), to, protocol::TCP, 80);
        let whole = udp(l.client(4000), (to, 99), &[1; 60]);
        let later = s.forwards_piece(datagrams, &whole, 16, false).backend;
        assert_eq!(s.forwards_piece(datagrams, &whole, 16, true).backend, later);
        assert_eq!(
            s.forwards(datagrams, &udp(l.client(4001), (to, 98), b"?"))
                .backend,
            later
        );
        // Another client: the identification is not to be used twice (RFC 8200 §4.5).
        let whole = tcp((client(l.is_v4(), 8), 4000), (to, 80), SYN).payload(&[9; 33]);
        let later = s.forwards_piece(segments, &whole, 32, false).backend;
        assert_eq!(s.forwards_piece(segments, &whole, 32, true).backend, later);
    }),
    row("what a later fragment says it goes on with", v6, |s, l| {
        let whole = datagram(l, UDP_PORT, 4000);
        let tails = [protocol::ICMPV6, protocol::TCP, protocol::DESTINATION]
            .map(|number| continued(&whole, number).bytes());
        // Its own word is taken only for what nothing else is known of.
        s.stays(&tails[0], Outcome::UnservedPassed);
        s.stays(&tails[1], Outcome::Fragment);
        s.stays(&tails[2], Outcome::Fragment);
        let first = s.forwards_piece(l.wide, &whole, 16, true);
        for tail in tails {
            let got = s.run(&tail);
            assert_eq!(got.outcome, Outcome::Forwarded);
            assert_eq!(read::frame(&got.frame).unwrap().ip.to, first.frame.ip.to);
        }
    }),
    row("a whole packet with a fragment header", v6, |s, l| {
        let sent = datagram(l, UDP_PORT, 4000).chain(&[Extension::fragment(77, 0, false)]);
        s.forwards(l.wide, &sent);
    }),
    row("a first fragment with headers before and behind", v6, |s, l| {
        let mut whole = datagram(l, UDP_PORT, 4000);
        whole.ip.chain = vec![Extension::hop_by_hop()];
        s.forwards_piece(l.wide, &whole, 16, true);
        s.forwards_piece(l.wide, &whole, 16, false);
    }),
    row("a fragment that ends in its transport header", every, |s, l| {
        let (head, _) = tcp(l.client(4000), l.at(TCP_PORT), SYN).cut(16);
        s.stays(&head.bytes(), Outcome::Malformed);
    }),
];

/// The later fragment of a packet, with another next header.
fn continued(whole: &Frame, number: u8) -> Frame {
    let (_, mut tail) = whole.cut(16);
    if let Body::Raw { protocol, .. } = &mut tail.ip.body {
        *protocol = number;
    }
    tail
}

fn datagram(lane: &Lane, port: u16, client_port: u16) -> Frame {
    udp(
        lane.client(client_port),
        lane.at(port),
        b"a datagram that takes two fragments",
    )
}
