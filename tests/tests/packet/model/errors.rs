//! Section 5: ICMP errors, which belong to the flow of the packet that they quote.

use std::net::{IpAddr, SocketAddr};

use lb_common::{outcome::Outcome, service::Unserved};

use crate::{
    model::{
        Got, Model, Sent, Step,
        bytes::{Rewrite, u16_at, updated},
        flows::Key,
        packet::Packet,
    },
    world::{Unfinished, Vip},
};

/// Bytes of the ICMP header, and of the transport header that every quote has.
const ICMP: usize = 8;
const QUOTED: usize = 8;

/// The quoted packet's ends, as it was sent.
struct Quoted {
    from: SocketAddr,
    to: SocketAddr,
    protocol: u8,
    l4: usize,
}

impl Model {
    /// To a VIP, about what a backend has sent to a client.
    pub(super) fn forwarded_error(&mut self, packet: &Packet, vip: &Vip, got: Option<&Got>) -> Step {
        let quoted = quoted(packet).ok_or(about_no_service(vip))?;
        let key = Key {
            from: quoted.to,
            to: quoted.from,
            protocol: quoted.protocol,
        };
        let service = self
            .world
            .service_of(vip, key.protocol, key.to.port())
            .ok_or(about_no_service(vip))?;
        if packet.ttl <= 1 {
            return Err(Outcome::TtlExpired);
        }
        let flow = self.flows.get(&key).filter(|flow| self.keeps(flow.backend));
        let source = flow.and_then(|flow| flow.source);
        let mode = self.world.service(service).mode;
        if flow.is_none() && self.hides_client(mode, &key) {
            return Err(Outcome::ErrorUnknown);
        }
        let backend = match flow {
            Some(flow) => flow.backend,
            None => self.of_quoted(service, &key)?,
        };
        if let Some(obstacle) = self.obstacle(packet, service, backend) {
            return obstacle;
        }
        let mut ip = packet.hopped(Unfinished::Unknown).ip;
        if mode.translates() {
            let seen = self.seen_by_backend(&key, backend, source);
            let from = source.map_or(packet.from, |source| source.ip());
            let ends = (from, seen.to.ip());
            translate(packet, &mut ip, &quoted, ends, (seen.to, seen.from));
        }
        Ok(Sent {
            outcome: Outcome::ErrorForwarded,
            ..self.wrap(packet, &ip, (service, backend), key, got)
        })
    }

    /// From the backends' side, about what a client has sent.
    pub(super) fn returned_error(&mut self, packet: &Packet) -> Step {
        if !packet.is_icmp_error() {
            return Err(Outcome::NotOurs);
        }
        let quoted = quoted(packet).ok_or(Outcome::NotOurs)?;
        let reply = Key {
            from: quoted.to,
            to: quoted.from,
            protocol: quoted.protocol,
        };
        let client = *self.replies.get(&reply).ok_or(Outcome::NotOurs)?;
        let hop = self.flows.get(&client).ok_or(Outcome::NotOurs)?.came_by.clone();
        if packet.ttl <= 1 {
            return Err(Outcome::TtlExpired);
        }
        let mut ip = packet.hopped(Unfinished::Unknown).ip;
        let ends = (client.to.ip(), client.from.ip());
        translate(packet, &mut ip, &quoted, ends, (client.from, client.to));
        Ok(Sent {
            outcome: Outcome::ErrorReturned,
            ifindex: hop.ifindex,
            frame: hop.frame(&ip, packet.padding()),
        })
    }
}

/// What becomes of an error about no service of its VIP: it may be about what the kernel serves there.
fn about_no_service(vip: &Vip) -> Outcome {
    match vip.unserved {
        // The rig's host has no VIP and does not forward.
        Unserved::Auto | Unserved::Pass => Outcome::UnservedPassed,
        Unserved::Drop | Unserved::Reset => Outcome::ErrorUnknown,
    }
}

/// The packet that an error quotes, if it says whose it was, and that is whom the error is sent to.
fn quoted(packet: &Packet) -> Option<Quoted> {
    let bytes = &packet.ip[packet.l4 + ICMP..];
    let inner = Packet::quoted(bytes, packet.v4)?;
    let readable = inner.has_ports() && !inner.is_later_piece() && bytes.len() >= inner.l4 + QUOTED;
    let (from, to) = inner.ports();
    (readable && inner.from == packet.to).then_some(Quoted {
        from: SocketAddr::new(inner.from, from),
        to: SocketAddr::new(inner.to, to),
        protocol: inner.protocol,
        l4: inner.l4,
    })
}

/// Writes other ends into an error and into the packet that it quotes.
fn translate(
    packet: &Packet,
    ip: &mut Vec<u8>,
    quoted: &Quoted,
    (from, to): (IpAddr, IpAddr),
    (quoted_from, quoted_to): (SocketAddr, SocketAddr),
) {
    let at = packet.l4 + ICMP;
    let before = ip[at..].to_vec();
    let mut inner = Rewrite {
        ip: before.clone(),
        v4: packet.v4,
        protocol: quoted.protocol,
        l4: Some(quoted.l4),
        is_unfinished: false,
    };
    inner.set_source(quoted_from.ip());
    inner.set_source_port(quoted_from.port());
    inner.set_destination(quoted_to.ip());
    inner.set_destination_port(quoted_to.port());
    let mut outer = Rewrite {
        ip: std::mem::take(ip),
        v4: packet.v4,
        protocol: 0,
        l4: None,
        is_unfinished: false,
    };
    outer.set_source(from);
    outer.set_destination(to);
    *ip = outer.ip;
    let mut check = updated(u16_at(ip, packet.l4 + 2), &before, &inner.ip);
    if !packet.v4 {
        // ICMPv6 has a pseudo-header.
        check = updated(check, &packet.ip[8..40], &ip[8..40]);
    }
    ip[packet.l4 + 2..packet.l4 + 4].copy_from_slice(&check.to_be_bytes());
    ip[at..].copy_from_slice(&inner.ip);
}
