//! Section 4: what we say ourselves.

use std::net::IpAddr;

use lb_common::outcome::Outcome;

use crate::{
    model::{
        Model, Sent, Step,
        bytes::{u8_at, u16_at, u32_at, updated},
        forward::Hop,
        packet::Packet,
    },
    wire::{ACK, Body, FIN, Ip, Quote, RST, SYN, icmp},
};

/// Bytes of a packet that are quoted, so that the whole is no longer than every host takes (RFC 1812 §4.3.2.3, RFC 4443 §2.4).
const QUOTE_V4: usize = 548;
const QUOTE_V6: usize = 1232;
/// The precedence of ICMP errors (RFC 1812 §4.3.2.5).
const CONTROL: u8 = 0xc0;

impl Model {
    /// To the sender of a packet whose hops end here; `vip` is whom it was for.
    pub(super) fn time_exceeded(&self, packet: &Packet, vip: IpAddr) -> Step {
        if packet.is_icmp_error() || packet.is_later_piece() {
            return Err(Outcome::TtlExpired);
        }
        let from = self.world.own_of(packet.v4).unwrap_or(vip);
        Ok(error(packet, Outcome::TtlAnswered, from, &icmp::TIME_EXCEEDED, 0))
    }

    pub(super) fn too_big(&self, packet: &Packet, fits: u32) -> Step {
        if packet.is_icmp_error() || packet.is_later_piece() {
            return Err(Outcome::TooBig);
        }
        Ok(error(
            packet,
            Outcome::TooBigAnswered,
            packet.to,
            &icmp::TOO_BIG,
            fits,
        ))
    }
}

/// Port unreachable.
pub fn unreachable(packet: &Packet) -> Sent {
    error(
        packet,
        Outcome::UnservedReset,
        packet.to,
        &icmp::PORT_UNREACHABLE,
        0,
    )
}

fn error(packet: &Packet, outcome: Outcome, from: IpAddr, kind: &icmp::Kind, word: u32) -> Sent {
    let limit = if packet.v4 { QUOTE_V4 } else { QUOTE_V6 };
    let len = packet.ip.len().min(limit) & !3;
    let (kind, code) = kind.of(packet.v4);
    let quote = Quote(packet.ip[..len].to_vec());
    let body = Body::Error {
        kind,
        code,
        word,
        quote,
    };
    answer(packet, outcome, from, CONTROL, body)
}

/// RFC 9293 §3.10.7.1: what a host says to a segment for a connection that does not exist.
pub fn reset(packet: &Packet) -> Sent {
    let (tcp, flags) = (&packet.ip[packet.l4..], packet.flags());
    let header_len = usize::from(u8_at(tcp, 12) >> 4) * 4;
    let data_len = u32::try_from(tcp.len() - header_len).unwrap();
    let controls = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let (sequence, acknowledged, flags) = if flags & ACK != 0 {
        (u32_at(tcp, 8), 0, RST)
    } else {
        let next = u32_at(tcp, 4).wrapping_add(data_len).wrapping_add(controls);
        (0, next, RST | ACK)
    };
    let body = Body::Tcp {
        from: u16_at(tcp, 2),
        to: u16_at(tcp, 0),
        sequence,
        acknowledged,
        flags,
        window: 0,
        options: Vec::new(),
        payload: Vec::new(),
    };
    answer(packet, Outcome::UnservedReset, packet.to, 0, body)
}

fn answer(packet: &Packet, outcome: Outcome, from: IpAddr, tos: u8, body: Body) -> Sent {
    let ip = Ip {
        tos,
        ttl: 64,
        id: 0,
        dont_fragment: packet.v4,
        ..Ip::new(from, packet.from, body)
    };
    let hop = Hop::back(packet);
    Sent {
        outcome,
        ifindex: hop.ifindex,
        frame: hop.frame(&ip.bytes(), &[]),
    }
}

/// The request itself, turned round.
pub fn echo(packet: &Packet) -> Sent {
    let mut ip = packet.ip.to_vec();
    let (addresses, len) = if packet.v4 { (12, 4) } else { (8, 16) };
    for at in addresses..addresses + len {
        ip.swap(at, at + len);
    }
    let old_ttl = [packet.ttl, 0];
    if packet.v4 {
        ip[8] = 64;
        let check = updated(u16_at(&ip, 10), &old_ttl, &[64, 0]);
        ip[10..12].copy_from_slice(&check.to_be_bytes());
    } else {
        ip[7] = 64;
    }
    let at = packet.l4;
    let old = [ip[at], 0];
    ip[at] = icmp::ECHO_REPLY.of(packet.v4).0;
    let check = updated(u16_at(&ip, at + 2), &old, &[ip[at], 0]);
    ip[at + 2..at + 4].copy_from_slice(&check.to_be_bytes());
    let hop = Hop::back(packet);
    Sent {
        outcome: Outcome::EchoAnswered,
        ifindex: hop.ifindex,
        frame: hop.frame(&ip, packet.padding()),
    }
}
