//! Section 6: replies.

use lb_common::outcome::Outcome;

use crate::{
    table::{Row, expect, row, translating},
    wire::{
        ACK, FIN, Frame, SYN, SYN_ACK,
        frame::{CLIENT_MAC, LB_MAC},
        icmp, read, tcp, udp,
    },
    world::lanes::{Lane, NARROW_TCP_PORT, TCP_PORT, UDP_PORT},
};

const TAGS: &[(u16, u16)] = &[(0x88a8, 6), (0x8100, 7)];

/// An answer to port 4000 of the lane's client as that gets it.
fn returned(lane: &Lane, reply: &Frame) -> Frame {
    let (mut returned, client) = (reply.clone(), lane.client(4000));
    (returned.to, returned.from) = (CLIENT_MAC, LB_MAC);
    (returned.ip.from, returned.ip.to) = (lane.vip, client.ip());
    if let Some((from, to)) = returned.ip.body.ports_mut() {
        (*from, *to) = (UDP_PORT, client.port());
    }
    returned.ip.ttl -= 1;
    returned
}

pub const ROWS: &[Row] = &[
    row(
        "a connection from its first packet to its last",
        translating,
        |s, l| {
            let client = l.client(4000);
            let arrived = s.forwards(l.wide, &tcp(client, l.at(TCP_PORT), SYN));
            s.returns(l, &arrived.reply(SYN_ACK), client, TCP_PORT);
            for flags in [ACK, ACK | FIN] {
                let again = s.forwards(l.wide, &tcp(client, l.at(TCP_PORT), flags));
                assert_eq!(again.backend, arrived.backend);
                s.returns(l, &arrived.reply(flags), client, TCP_PORT);
            }
        },
    ),
    row("a datagram's answer", translating, |s, l| {
        let client = l.client(4000);
        let arrived = s.forwards(l.wide, &udp(client, l.at(UDP_PORT), b"?"));
        s.returns(l, &arrived.reply(0), client, UDP_PORT);
        s.returns(l, &arrived.reply(0).unchecked(), client, UDP_PORT);
        s.returns(l, &arrived.reply(0).padded(11), client, UDP_PORT);
    }),
    row(
        "a reply leaves with the tags that the client's packets have",
        translating,
        |s, l| {
            let client = l.client(4000);
            let arrived = s.forwards(l.narrow, &tcp(client, l.at(NARROW_TCP_PORT), SYN).tagged(TAGS));
            let reply = arrived.reply(SYN_ACK);
            assert_eq!(reply.tags, &[]);
            let got = s.run(&reply.bytes());
            assert_eq!(got.outcome, Outcome::Returned);
            assert_eq!(read::frame(&got.frame).unwrap().tags, TAGS);
            let tagged = s.run(&reply.tagged(&[(0x8100, 200)]).bytes());
            assert_eq!(tagged.frame, got.frame);
        },
    ),
    row("a reply in two fragments", translating, |s, l| {
        let client = l.client(4000);
        let arrived = s.forwards(l.wide, &udp(client, l.at(UDP_PORT), b"?"));
        let reply = arrived.reply(0).payload(&[3; 50]);
        let (head, tail) = reply.cut(24);
        let late = s.run(&tail.bytes());
        assert_eq!(late.outcome, Outcome::NotOurs);
        let expected = returned(l, &reply).cut(24);
        s.answers(&head, Outcome::Returned, &expected.0);
        s.answers(&tail, Outcome::Returned, &expected.1);
    }),
    row(
        "a reply's first fragment is remembered whatever becomes of it",
        translating,
        |s, l| {
            let arrived = s.forwards(l.wide, &udp(l.client(4000), l.at(UDP_PORT), b"?"));
            let reply = arrived.reply(0).payload(&[3; 50]);
            let (head, tail) = reply.cut(24);
            let head = head.ttl(1);
            let from = s.world().own_of(l.is_v4()).unwrap();
            let answer = expect::error_about(&head, from, &icmp::TIME_EXCEEDED, 0);
            s.answers(&head, Outcome::TtlAnswered, &answer);
            s.answers(&tail, Outcome::Returned, &returned(l, &reply).cut(24).1);
        },
    ),
    row("fragments of no reply are not remembered", translating, |s, l| {
        let arrived = s.forwards(l.wide, &udp(l.client(4000), l.at(UDP_PORT), b"?"));
        let reply = arrived.reply(0).payload(&[3; 50]);
        let (head, tail) = reply.cut(24);
        s.clear(s.playing.clone());
        s.stays(&head.bytes(), Outcome::NotOurs);
        s.forwards(l.wide, &udp(l.client(4000), l.at(UDP_PORT), b"?"));
        s.stays(&tail.bytes(), Outcome::NotOurs);
    }),
    row("a reply with TTL 1", translating, |s, l| {
        let arrived = s.forwards(l.wide, &tcp(l.client(4000), l.at(TCP_PORT), SYN));
        let reply = arrived.reply(SYN_ACK).ttl(1);
        let from = s.world().own_of(l.is_v4()).unwrap();
        let answer = expect::error_about(&reply, from, &icmp::TIME_EXCEEDED, 0);
        s.answers(&reply, Outcome::TtlAnswered, &answer);
    }),
    row("what is wrong and no reply", translating, |s, l| {
        let arrived = s.forwards(l.wide, &tcp(l.client(4000), l.at(TCP_PORT), SYN));
        let reply = arrived.reply(SYN_ACK);
        let mut short = reply.bytes();
        short.truncate(60);
        s.stays(&short, Outcome::NotOurs);
        let mut stranger = reply.clone();
        if let Some((from, _)) = stranger.ip.body.ports_mut() {
            *from += 1;
        }
        s.stays(&stranger.bytes(), Outcome::NotOurs);
        if l.is_v4() {
            let mut broken = reply.bytes();
            broken[24] ^= 1;
            s.stays(&broken, Outcome::NotOurs);
        }
    }),
    row(
        "a flow of a mode that does not translate has no replies",
        super::direct,
        |s, l| {
            s.forwards(l.wide, &tcp(l.client(4000), l.at(TCP_PORT), SYN));
            let backend = s.world().backends[usize::from(l.number) * 5].addr;
            if backend.is_ipv4() == l.is_v4() {
                let reply = tcp((backend, TCP_PORT), l.client(4000), SYN_ACK);
                s.stays(&reply.bytes(), Outcome::NotOurs);
            }
        },
    ),
];
