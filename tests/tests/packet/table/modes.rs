//! Section 4: what is written in each mode.

use lb_common::{outcome::Outcome, service::ForwardMode};

use crate::{
    table::{Row, every, row, v4},
    wire::{ACK, Body, Frame, SYN, sctp, sum, tcp, udp},
    world::{
        lanes::{Lane, NARROW_TCP_PORT, NARROW_UDP_PORT, SCTP_PORT, TCP_PORT, UDP_PORT},
        standard::{backend, special, vip},
    },
};

pub const ROWS: &[Row] = &[
    row("TCP", every, |s, l| {
        for port in 4000..4020 {
            let first = s
                .forwards(l.wide, &tcp(l.client(port), l.at(TCP_PORT), SYN))
                .backend;
            let second = s
                .forwards(l.wide, &tcp(l.client(port), l.at(TCP_PORT), ACK))
                .backend;
            assert_eq!(first, second);
        }
    }),
    row("UDP of every length", every, |s, l| {
        for len in [0, 1, 2, 3, 19, 20, 1000, 1201] {
            s.forwards(l.wide, &udp(l.client(4000), l.at(UDP_PORT), &vec![0x5a; len]));
        }
    }),
    row("UDP without checksum", every, |s, l| {
        s.forwards(
            l.wide,
            &udp(l.client(4000), l.at(UDP_PORT), b"no sum").unchecked(),
        );
        s.forwards(
            l.narrow,
            &udp(l.client(4000), l.at(NARROW_UDP_PORT), b"no sum").unchecked(),
        );
    }),
    row("a datagram that is shorter than its packet", every, |s, l| {
        let whole = udp(l.client(4000), l.at(NARROW_UDP_PORT), b"all of it");
        for (trailer, told) in [(0, true), (1, false), (4, false)] {
            let got = s.run(&trailed(&whole, trailer).bytes());
            assert_eq!(got.outcome, Outcome::Forwarded);
            if l.mode == ForwardMode::Gue {
                // Behind a tag and the outer header.
                let at = 14 + 4 + if l.backends_v4 { 20 } else { 40 } + 6;
                assert_eq!(got.frame[at..at + 2] != [0, 0], told);
            }
        }
    }),
    row(
        "SCTP",
        |l| !l.mode.translates(),
        |s, l| {
            let first = s.forwards(l.wide, &sctp(l.client(4000), l.at(SCTP_PORT))).backend;
            let second = s.forwards(l.wide, &sctp(l.client(4001), l.at(SCTP_PORT))).backend;
            if l.mode != ForwardMode::Dsr {
                assert_eq!(first, second);
            }
        },
    ),
    row(
        "another interface, tags of its own, ports that stay",
        every,
        |s, l| {
            for tags in [&[][..], &[(0x8100, 5)], &[(0x88a8, 6), (0x8100, 7)]] {
                s.forwards(
                    l.narrow,
                    &tcp(l.client(4000), l.at(NARROW_TCP_PORT), SYN).tagged(tags),
                );
                s.forwards(
                    l.narrow,
                    &udp(l.client(4000), l.at(NARROW_UDP_PORT), b"odd").tagged(tags),
                );
            }
        },
    ),
    row("DSCP and ECN", every, |s, l| {
        for tos in [0, 1, 2, 3, 0xb8, 0xff] {
            s.forwards(l.wide, &tcp(l.client(4000), l.at(TCP_PORT), ACK).tos(tos));
        }
    }),
    row("a packet that may be fragmented", v4, |s, l| {
        s.forwards(l.wide, &tcp(l.client(4000), l.at(TCP_PORT), ACK).may_fragment());
    }),
    row("TTL 2", every, |s, l| {
        s.forwards(l.wide, &tcp(l.client(4000), l.at(TCP_PORT), ACK).ttl(2));
    }),
    row("TTL 255", every, |s, l| {
        s.forwards(l.wide, &tcp(l.client(4000), l.at(TCP_PORT), ACK).ttl(255));
    }),
    row(
        "a tunnel of which one flow has one port and source",
        |l| l.mode == ForwardMode::Gue,
        |s, l| {
            let first = s
                .forwards(l.wide, &tcp(l.client(4000), l.at(TCP_PORT), SYN))
                .frame;
            let second = s
                .forwards(l.wide, &tcp(l.client(4000), l.at(TCP_PORT), ACK))
                .frame;
            assert_eq!(gue_port(&first), gue_port(&second));
        },
    ),
    row(
        "a UDP checksum that becomes zero is sent as ones",
        |l| l.mode == ForwardMode::Nat,
        |s, l| {
            // Start with zero in the payload, and add what is missing once the backend is known.
            let probe = udp(l.client(4000), l.at(UDP_PORT), &[0, 0]);
            let mut at_backend = s.forwards(l.wide, &probe).frame;
            at_backend = at_backend.payload(&[0, 0]);
            let bytes = at_backend.ip.body.bytes(at_backend.ip.from, at_backend.ip.to);
            let missing = [bytes[6], bytes[7]];
            let arrived = s.forwards(l.wide, &probe.payload(&missing)).frame;
            let bytes = arrived.ip.body.bytes(arrived.ip.from, arrived.ip.to);
            assert_eq!(sum::sum(&[&bytes[6..8]]), 0xffff);
        },
    ),
    row(
        "a client that is a backend, by nat",
        |l| l.mode == ForwardMode::Nat,
        |s, l| {
            let client = (backend(l.is_v4(), 0, 11), 4000);
            let client = if l.is_v4() {
                client
            } else {
                (backend(false, 1, 11), 4000)
            };
            let arrived = s.forwards(l.wide, &tcp(client, l.at(TCP_PORT), SYN)).frame;
            assert_ne!(arrived.ip.from, client.0);
            let again = s.forwards(l.wide, &tcp(client, l.at(TCP_PORT), ACK)).frame;
            assert_eq!(arrived.source(), again.source());
        },
    ),
    row(
        "a client that is a backend, on three VIPs of one pool",
        |l| l.mode == ForwardMode::Nat,
        |s, l| {
            let service = super::services::service(s.world(), vip(l.is_v4(), special::PASS), 6, 80);
            let client = (backend(l.is_v4(), u8::from(!l.is_v4()), 11), 4000);
            for host in [special::DROP, special::PASS, special::RESET] {
                let arrived = s.forwards(service, &tcp(client, (vip(l.is_v4(), host), 80), SYN));
                assert_ne!(arrived.frame.ip.from, client.0);
            }
        },
    ),
    row(
        "one client port on two VIPs of one pool",
        |l| l.mode == ForwardMode::Nat,
        |s, l| {
            let service = super::services::service(s.world(), vip(l.is_v4(), special::PASS), 6, 80);
            let syn = |host| tcp(l.client(4000), (vip(l.is_v4(), host), 80), SYN);
            let first = s.forwards(service, &syn(special::DROP)).backend;
            let second = s.forwards(service, &syn(special::PASS)).backend;
            assert_ne!(first, second);
            s.stays(&syn(special::RESET).bytes(), Outcome::FlowCollision);
        },
    ),
];

/// A packet that goes on behind the datagram in it.
fn trailed(datagram: &Frame, len: usize) -> Frame {
    let mut frame = datagram.clone();
    let ip = &mut frame.ip;
    let mut bytes = ip.body.bytes(ip.from, ip.to);
    bytes.extend(vec![0x77; len]);
    let protocol = ip.body.protocol(ip.is_v4());
    ip.body = Body::Raw { protocol, bytes };
    frame
}

fn gue_port(frame: &Frame) -> Option<u16> {
    match frame.ip.body {
        Body::Gue { from, .. } => Some(from),
        _ => None,
    }
}

/// A packet of exactly so many bytes.
pub fn of_length(lane: &Lane, port: u16, len: usize) -> Frame {
    let empty = udp(lane.client(4000), lane.at(port), b"");
    let payload = vec![0x33; len - empty.ip.len()];
    empty.payload(&payload)
}
