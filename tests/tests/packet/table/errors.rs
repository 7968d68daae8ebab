//! Section 5: ICMP errors.

use std::net::IpAddr;

use lb_common::{outcome::Outcome, service::ForwardMode};

use crate::{
    table::{
        Row, every, expect, once, row,
        stage::{Arrived, Stage},
        translating,
    },
    wire::{
        Body, Frame, SYN, SYN_ACK, error,
        frame::{BACKEND_MAC, CLIENT_MAC, LB_MAC},
        icmp, read, tcp, udp,
    },
    world::{
        lanes::{Lane, TCP_PORT, UDP_PORT},
        standard::{self, special},
    },
};

const KINDS: &[(&icmp::Kind, u32)] = &[
    (&icmp::TOO_BIG, 1400),
    (&icmp::TIME_EXCEEDED, 0),
    (&icmp::PORT_UNREACHABLE, 0),
    (&icmp::PARAMETER_PROBLEM, 0x0800_0000),
];

pub const ROWS: &[Row] = &[
    row(
        "an error about a reply goes to the flow's backend",
        every,
        |s, l| {
            for (kind, word) in KINDS {
                for len in [usize::MAX, 8, 16, 20] {
                    to_backend(s, l, kind, *word, len);
                }
            }
        },
    ),
    row(
        "an error about a datagram, with and without checksum",
        every,
        |s, l| {
            let arrived = s.forwards(l.wide, &udp(l.client(4000), l.at(UDP_PORT), b"?"));
            for seen in [
                udp(l.at(UDP_PORT), l.client(4000), b"answer"),
                udp(l.at(UDP_PORT), l.client(4000), b"").unchecked(),
            ] {
                let sent = about(l, router(l), &seen, &icmp::PORT_UNREACHABLE, 0, usize::MAX);
                forwarded(s, l, &sent, &seen, &arrived, usize::MAX);
            }
        },
    ),
    row(
        "an error about no flow goes where the hash says",
        |l| l.mode != ForwardMode::FullNat,
        |s, l| {
            let seen = tcp(l.at(TCP_PORT), l.client(4000), SYN_ACK);
            let sent = about(l, router(l), &seen, &icmp::TOO_BIG, 1300, usize::MAX);
            let got = s.run(&sent.bytes());
            assert_eq!(got.outcome, Outcome::ErrorForwarded);
            let before = read::frame(&got.frame).unwrap();
            let arrived = s.forwards(l.wide, &tcp(l.client(4000), l.at(TCP_PORT), SYN));
            assert_eq!(before.ip.to, arrived.frame.ip.to);
        },
    ),
    row(
        "an error about no service, or about another VIP's packet",
        every,
        |s, l| {
            for (vip, outcome) in unserved(l) {
                for seen in [
                    tcp((vip, 9), l.client(4000), SYN_ACK),
                    tcp(
                        (standard::vip(l.is_v4(), special::LOST), 80),
                        l.client(4000),
                        SYN_ACK,
                    ),
                ] {
                    let sent = error(router(l), vip, &icmp::TOO_BIG, 1300, seen.ip.quote(64));
                    s.stays(&sent.bytes(), outcome);
                }
            }
        },
    ),
    row("an error about no service, whatever its TTL", once, |s, l| {
        for (vip, outcome) in unserved(l) {
            let seen = tcp((vip, 9), l.client(4000), SYN_ACK);
            let sent = error(router(l), vip, &icmp::TOO_BIG, 1300, seen.ip.quote(64)).ttl(1);
            s.stays(&sent.bytes(), outcome);
        }
    }),
    row("an error that quotes too little", every, |s, l| {
        for (vip, outcome) in unserved(l) {
            let seen = tcp((vip, TCP_PORT), l.client(4000), SYN_ACK);
            for len in 0..if l.is_v4() { 28 } else { 48 } {
                let sent = error(router(l), vip, &icmp::TOO_BIG, 1300, seen.ip.quote(len));
                s.stays(&sent.bytes(), outcome);
            }
        }
    }),
    row("an error with TTL 1 is not answered", every, |s, l| {
        let seen = tcp(l.at(TCP_PORT), l.client(4000), SYN_ACK);
        let sent = about(l, router(l), &seen, &icmp::TOO_BIG, 1300, usize::MAX).ttl(1);
        s.stays(&sent.bytes(), Outcome::TtlExpired);
    }),
    row("an error that is too big is not answered", every, |s, l| {
        s.forwards(l.wide, &udp(l.client(4000), l.at(UDP_PORT), b"?"));
        let seen = udp(l.at(UDP_PORT), l.client(4000), &[7; 1450]);
        let sent = about(l, router(l), &seen, &icmp::TOO_BIG, 1300, usize::MAX).padded(0);
        let outcome = if sent.ip.len() + l.mode.overhead(l.backends_v4) as usize > 1500 {
            s.stays(&sent.bytes(), Outcome::TooBig);
            return;
        } else {
            Outcome::ErrorForwarded
        };
        assert_eq!(s.run(&sent.bytes()).outcome, outcome);
    }),
    row(
        "an error about a client's packet goes to the client",
        translating,
        |s, l| {
            for (kind, word) in KINDS {
                for len in [usize::MAX, 8, 16, 20] {
                    let arrived = s.forwards(l.wide, &tcp(l.client(4000), l.at(TCP_PORT), SYN));
                    to_client(
                        s,
                        l,
                        &arrived,
                        &tcp(l.client(4000), l.at(TCP_PORT), SYN),
                        kind,
                        *word,
                        len,
                    );
                }
            }
        },
    ),
    row("an error about a client's datagram", translating, |s, l| {
        for sent in [
            udp(l.client(4000), l.at(UDP_PORT), b"?"),
            udp(l.client(4000), l.at(UDP_PORT), b"").unchecked(),
        ] {
            let arrived = s.forwards(l.wide, &sent);
            to_client(s, l, &arrived, &sent, &icmp::PORT_UNREACHABLE, 0, usize::MAX);
        }
    }),
    row("an error about nobody's packet", every, |s, l| {
        let seen = tcp(
            (standard::client(l.is_v4(), 50), 4000),
            (standard::client(l.is_v4(), 51), 80),
            SYN,
        );
        let sent = error(router(l), seen.ip.from, &icmp::TOO_BIG, 1300, seen.ip.quote(64));
        s.stays(&sent.bytes(), Outcome::NotOurs);
    }),
];

/// A router between us and the client, or the backend.
fn router(lane: &Lane) -> IpAddr {
    standard::client(lane.is_v4(), 254)
}

/// VIPs of every policy, and what becomes of an error about no service of theirs: the kernel may have one.
fn unserved(lane: &Lane) -> [(IpAddr, Outcome); 4] {
    let special = |host| standard::vip(lane.is_v4(), host);
    [
        (lane.vip, Outcome::UnservedPassed),
        (special(special::PASS), Outcome::UnservedPassed),
        (special(special::DROP), Outcome::ErrorUnknown),
        (special(special::RESET), Outcome::ErrorUnknown),
    ]
}

/// An error about a packet of which the header and so many bytes behind it are quoted.
fn about(lane: &Lane, from: IpAddr, seen: &Frame, kind: &icmp::Kind, word: u32, len: usize) -> Frame {
    let header = if lane.is_v4() { 20 } else { 40 };
    let quote = seen.ip.quote(len.saturating_add(header));
    error(from, seen.ip.from, kind, word, quote)
}

/// A backend's answer as the client's router sees it has a TTL of its own.
fn to_backend(stage: &mut Stage, lane: &Lane, kind: &icmp::Kind, word: u32, len: usize) {
    let arrived = stage.forwards(lane.wide, &tcp(lane.client(4000), lane.at(TCP_PORT), SYN));
    let seen = tcp(lane.at(TCP_PORT), lane.client(4000), SYN_ACK).ttl(40);
    let sent = about(lane, router(lane), &seen, kind, word, len);
    forwarded(stage, lane, &sent, &seen, &arrived, len);
}

fn forwarded(stage: &mut Stage, lane: &Lane, sent: &Frame, seen: &Frame, arrived: &Arrived, len: usize) {
    let mut expected = expect::forwarded(stage.world(), sent, arrived.backend, None);
    if lane.mode.translates() {
        let (source, server) = (arrived.frame.source(), arrived.frame.destination());
        if lane.mode == ForwardMode::FullNat {
            expected.ip.from = source.ip();
        }
        let mut quoted = seen.clone();
        (quoted.ip.from, quoted.ip.to) = (server.ip(), source.ip());
        if let Some((from, to)) = quoted.ip.body.ports_mut() {
            (*from, *to) = (server.port(), source.port());
        }
        put_quote(&mut expected, lane, &quoted, len);
    }
    let got = stage.run(&sent.bytes());
    assert_eq!(got.outcome, Outcome::ErrorForwarded, "{}", stage.playing);
    let got = read::frame(&got.frame).unwrap_or_else(|wrong| panic!("{}: {wrong}", stage.playing));
    assert_eq!(
        expect::settled(got),
        expect::settled(expected),
        "{}",
        stage.playing
    );
}

fn to_client(
    stage: &mut Stage,
    lane: &Lane,
    arrived: &Arrived,
    sent: &Frame,
    kind: &icmp::Kind,
    word: u32,
    len: usize,
) {
    let mut report = about(lane, router(lane), &arrived.frame, kind, word, len);
    report.from = BACKEND_MAC;
    let mut expected = report.clone();
    (expected.to, expected.from) = (CLIENT_MAC, LB_MAC);
    (expected.ip.from, expected.ip.to) = (lane.vip, sent.ip.from);
    expected.ip.ttl -= 1;
    let mut quoted = sent.clone();
    quoted.ip.ttl = arrived.frame.ip.ttl;
    put_quote(&mut expected, lane, &quoted, len);
    stage.answers(&report, Outcome::ErrorReturned, &expected);
}

fn put_quote(frame: &mut Frame, lane: &Lane, quoted: &Frame, len: usize) {
    let header = if lane.is_v4() { 20 } else { 40 };
    if let Body::Error { quote, .. } = &mut frame.ip.body {
        *quote = quoted.ip.quote(len.saturating_add(header));
    }
}
