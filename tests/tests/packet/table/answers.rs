//! Section 4: what we say ourselves. Refusals are in `services`.

use lb_common::outcome::Outcome;

use crate::{
    table::{Row, every, expect, modes::of_length, once, row, v4, v6},
    wire::{Extension, Frame, SYN, echo, icmp, sctp, tcp},
    world::lanes::{NARROW_MTU, NARROW_UDP_PORT, SCTP_PORT, TCP_PORT},
};

const TAGS: &[(u16, u16)] = &[(0x88a8, 6), (0x8100, 7)];

pub const ROWS: &[Row] = &[
    row("a ping", every, |s, l| {
        for len in [0, 1, 56, 1400] {
            for ttl in [0, 1, 64, 255] {
                let sent = echo(l.client(0).ip(), l.vip, &vec![0x61; len])
                    .ttl(ttl)
                    .tagged(TAGS);
                s.answers(&sent, Outcome::EchoAnswered, &pong(&sent));
            }
        }
    }),
    row("a ping with padding", once, |s, l| {
        let sent = echo(l.client(0).ip(), l.vip, b"x").padded(17);
        s.answers(&sent, Outcome::EchoAnswered, &pong(&sent));
    }),
    row("TTL 1 and 0", every, |s, l| {
        for ttl in [0, 1] {
            for tags in [&[][..], TAGS] {
                let sent = tcp(l.client(4000), l.at(TCP_PORT), SYN).ttl(ttl).tagged(tags);
                let from = s.world().own_of(l.is_v4()).unwrap();
                let answer = expect::error_about(&sent, from, &icmp::TIME_EXCEEDED, 0);
                s.answers(&sent, Outcome::TtlAnswered, &answer);
            }
        }
        assert_eq!(s.model.met().count(), 0);
    }),
    row("TTL 1 of packets of many lengths", once, |s, l| {
        let from = s.world().own_of(l.is_v4()).unwrap();
        for len in [48, 49, 50, 51, 547, 548, 549, 1231, 1232, 1233, 1500] {
            let sent = of_length(l, NARROW_UDP_PORT, len).ttl(1);
            let answer = expect::error_about(&sent, from, &icmp::TIME_EXCEEDED, 0);
            s.answers(&sent, Outcome::TtlAnswered, &answer);
        }
    }),
    row("TTL 1 with options", v4, |s, l| {
        let sent = tcp(l.client(4000), l.at(TCP_PORT), SYN).options(5).ttl(1);
        let from = s.world().own_of(true).unwrap();
        s.answers(
            &sent,
            Outcome::TtlAnswered,
            &expect::error_about(&sent, from, &icmp::TIME_EXCEEDED, 0),
        );
    }),
    row("TTL 1 with extension headers", v6, |s, l| {
        let sent = tcp(l.client(4000), l.at(TCP_PORT), SYN)
            .chain(&[Extension::hop_by_hop(), Extension::destination()])
            .ttl(1);
        let from = s.world().own_of(false).unwrap();
        s.answers(
            &sent,
            Outcome::TtlAnswered,
            &expect::error_about(&sent, from, &icmp::TIME_EXCEEDED, 0),
        );
    }),
    row(
        "TTL 1 of SCTP",
        |l| !l.mode.translates(),
        |s, l| {
            let sent = sctp(l.client(4000), l.at(SCTP_PORT)).ttl(1);
            let from = s.world().own_of(l.is_v4()).unwrap();
            s.answers(
                &sent,
                Outcome::TtlAnswered,
                &expect::error_about(&sent, from, &icmp::TIME_EXCEEDED, 0),
            );
        },
    ),
    row(
        "as long as the service allows, and a byte longer",
        every,
        |s, l| {
            let fits = u32::from(NARROW_MTU) - l.mode.overhead(l.backends_v4);
            // What every sender of IPv6 may send is sent.
            let fits = if l.is_v4() { fits } else { fits.max(1280) };
            let len = fits as usize;
            s.forwards(l.narrow, &of_length(l, NARROW_UDP_PORT, len));
            for long in [len + 1, 1400] {
                for sent in [
                    of_length(l, NARROW_UDP_PORT, long),
                    of_length(l, NARROW_UDP_PORT, long).may_fragment(),
                ] {
                    let answer = expect::error_about(&sent, l.vip, &icmp::TOO_BIG, fits);
                    s.answers(&sent, Outcome::TooBigAnswered, &answer);
                }
            }
        },
    ),
    row(
        "longer than the way takes, with no, one and two tags",
        every,
        |s, l| {
            let tags = [(0x88a8, 7), (0x8100, 9)];
            for (kept, way) in [(0, 1500), (1, 1500), (2, 1496)] {
                let fits = way - l.mode.overhead(l.backends_v4);
                let of_length = |len| of_length(l, 53, len).tagged(&tags[2 - kept..]);
                s.forwards(l.wide, &of_length(fits as usize));
                let sent = of_length(fits as usize + 1);
                let answer = expect::error_about(&sent, l.vip, &icmp::TOO_BIG, fits);
                s.answers(&sent, Outcome::TooBigAnswered, &answer);
            }
        },
    ),
];

/// The ping, turned round.
fn pong(sent: &Frame) -> Frame {
    let mut out = sent.clone();
    (out.to, out.from) = (sent.from, sent.to);
    (out.ip.from, out.ip.to) = (sent.ip.to, sent.ip.from);
    out.ip.ttl = 64;
    if let crate::wire::Body::Icmp { kind, .. } = &mut out.ip.body {
        *kind = icmp::ECHO_REPLY.of(sent.ip.is_v4()).0;
    }
    out
}
