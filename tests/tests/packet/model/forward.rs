//! Section 4: what is written on the way to a backend.

use std::net::{IpAddr, SocketAddr};

use lb_common::{outcome::Outcome, service::ForwardMode};

use crate::{
    model::{
        Got, Model, Sent, Step,
        bytes::{checksum_of, u8_at, u16_at, u32_at},
        flows::Key,
        packet::Packet,
    },
    rig::SOURCE_PORTS,
    wire::{Body, Ip, Mac, frame, protocol, sum},
    world::{Backend, Unfinished, Way, standard::INGRESS},
};

/// The least MTU of IPv6 (RFC 8200 §5).
const MIN_MTU_V6: u32 = 1280;

/// How a frame leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    pub ifindex: u32,
    to: Mac,
    from: Mac,
    /// As they stand in the frame.
    tags: Vec<u8>,
}

/// What is made of a flow's hash.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    port: u16,
    source: IpAddr,
    /// IPv6.
    label: u32,
}

impl Hop {
    /// To where a packet came from.
    pub fn back(packet: &Packet) -> Self {
        Self {
            ifindex: INGRESS,
            to: packet.frame[6..12].try_into().unwrap(),
            from: packet.frame[..6].try_into().unwrap(),
            tags: packet.frame[12..packet.link - 2].to_vec(),
        }
    }

    fn on(way: &Way, packet: &Packet) -> Self {
        let kept = packet.frame[12..packet.link - 2].to_vec();
        let tags = way.tags.as_ref().map_or(kept, |tags| {
            let bytes = tags
                .iter()
                .flat_map(|tag| [tag.0.to_be_bytes(), tag.1.to_be_bytes()]);
            bytes.flatten().collect()
        });
        Self {
            ifindex: way.ifindex,
            to: frame::BACKEND_MAC,
            from: frame::LB_MAC,
            tags,
        }
    }

    pub fn frame(&self, ip: &[u8], padding: &[u8]) -> Vec<u8> {
        let ether_type: [u8; 2] = if ip[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
        [&self.to, &self.from, &self.tags[..], &ether_type, ip, padding].concat()
    }
}

impl Model {
    /// What keeps a packet from its backend; `None` where nothing does.
    pub(super) fn obstacle(&self, packet: &Packet, service: u32, backend: u32) -> Option<Step> {
        // The rig's host has no routes.
        if self.world.backend(backend).way == 0 {
            return Some(Err(Outcome::NoRoute));
        }
        let unfinishable = self.world.unfinished() == Unfinished::Finished && packet.is_unfinishable();
        self.check_size(packet, service, backend)
            .or_else(|| unfinishable.then_some(Err(Outcome::PartialChecksum)))
    }

    fn way(&self, backend: &Backend) -> &Way {
        &self.world.ways[backend.way as usize - 1]
    }

    /// What becomes of a packet that the way to its backend does not take; `None` for one that it takes.
    fn check_size(&self, packet: &Packet, service: u32, backend: u32) -> Option<Step> {
        let (service, backend) = (self.world.service(service), self.world.backend(backend));
        let way = self.way(backend);
        // An interface has room for one tag.
        let kept = match way.tags {
            None if packet.link > 14 + 4 => 4,
            _ => 0,
        };
        let limits = [u32::from(service.mtu), way.mtu.saturating_sub(kept)];
        let limit = limits.into_iter().filter(|&limit| limit > 0).min()?;
        let fits = limit - service.mode.overhead(backend.addr.is_ipv4());
        // What every sender of IPv6 may send is sent.
        let fits = if packet.v4 { fits } else { fits.max(MIN_MTU_V6) };
        if packet.ip.len() <= fits as usize {
            return None;
        }
        Some(self.too_big(packet, fits))
    }

    /// Whether the backend of a client's flow sees another source.
    pub(super) fn hides_client(&self, mode: ForwardMode, key: &Key) -> bool {
        mode == ForwardMode::FullNat || mode == ForwardMode::Nat && self.world.is_hairpin(key.from.ip())
    }

    /// The source that the program has chosen for a new flow, if it may be that.
    pub(super) fn new_source(
        &self,
        key: &Key,
        (service, backend): (u32, u32),
        got: Option<&Got>,
    ) -> Option<SocketAddr> {
        if !self.hides_client(self.world.service(service).mode, key) {
            return None;
        }
        let way = self.way(self.world.backend(backend));
        let of_family = |ip: &&IpAddr| ip.is_ipv4() == key.from.is_ipv4();
        let mut allowed: Vec<IpAddr> = self.world.sources.iter().filter(of_family).copied().collect();
        if allowed.is_empty() {
            allowed.push(way.source);
        }
        // On its own the model counts up.
        let counted = *SOURCE_PORTS.start() + u16::try_from(self.replies.len()).unwrap();
        let source = match got {
            Some(got) => (got.source)(key)?,
            None => SocketAddr::new(allowed[0], counted),
        };
        let seen = self.seen_by_backend(key, backend, Some(source));
        let is_free = self
            .replies
            .get(&seen.reversed())
            .is_none_or(|holder| holder == key);
        let is_allowed = allowed.contains(&source.ip()) && SOURCE_PORTS.contains(&source.port());
        let nowhere = SocketAddr::new(allowed[0], 0);
        Some(if is_allowed && is_free { source } else { nowhere })
    }

    /// A client's packet in the form that its backend gets it in.
    pub(super) fn deliver(
        &mut self,
        packet: &Packet,
        (service, backend): (u32, u32),
        key: Key,
        source: Option<SocketAddr>,
        got: Option<&Got>,
    ) -> Step {
        self.met.insert(key);
        let mut out = packet.hopped(self.world.unfinished());
        if self.world.service(service).mode.translates() {
            let seen = self.seen_by_backend(&key, backend, source);
            out.set_destination(seen.to.ip());
            out.set_destination_port(seen.to.port());
            if let Some(source) = source {
                out.set_source(source.ip());
                out.set_source_port(source.port());
            }
        }
        let frame = self.wrap(packet, &out.ip, (service, backend), key, got);
        Ok(Sent {
            outcome: Outcome::Forwarded,
            ..frame
        })
    }

    /// Puts the frame around a packet, and the tunnel where the mode has one.
    pub(super) fn wrap(
        &mut self,
        packet: &Packet,
        inner: &[u8],
        (service, backend): (u32, u32),
        key: Key,
        got: Option<&Got>,
    ) -> Sent {
        let service = self.world.service(service).clone();
        let backend = self.world.backend(backend).clone();
        let way = self.way(&backend).clone();
        let hop = Hop::on(&way, packet);
        let frame = if service.mode.encapsulates() {
            let spread = self.spread(key, &backend, &way, got);
            let check = service.gue_checksum && has_checksum(packet);
            let outer = outer(
                packet,
                inner,
                &service.mode,
                (spread, backend.addr),
                check,
                random_id(got),
            );
            hop.frame(&outer, &[])
        } else {
            hop.frame(inner, packet.padding())
        };
        Sent {
            outcome: Outcome::Forwarded,
            ifindex: hop.ifindex,
            frame,
        }
    }

    /// What the program has made of the flow's hash, which must stay the same.
    fn spread(&mut self, key: Key, backend: &Backend, way: &Way, got: Option<&Got>) -> Spread {
        if let Some(&spread) = self.spread.get(&key) {
            return spread;
        }
        let v4 = backend.addr.is_ipv4();
        let network = self
            .world
            .tunnel_sources
            .iter()
            .find(|net| net.base.is_ipv4() == v4);
        let mut spread = Spread {
            port: 49_152,
            source: network.map_or(way.source, |net| net.base),
            label: 0,
        };
        if let Some(chosen) = got.and_then(|got| Packet::read(got.frame).ok()) {
            spread.port = spread.port.max(chosen.ports().0);
            spread.label = u32_at(chosen.ip, 0) & 0xf_ffff;
            if network.is_some_and(|net| net.contains(chosen.from)) {
                spread.source = chosen.from;
            }
        }
        self.spread.insert(key, spread);
        spread
    }
}

/// The identification of an IPv4 packet without DF may be anything.
fn random_id(got: Option<&Got>) -> u32 {
    match got.map(|got| Packet::read(got.frame)) {
        Some(Ok(packet)) if packet.v4 => u32::from(u16_at(packet.ip, 4)),
        _ => 0,
    }
}

/// An IP packet with its outer header.
fn outer(
    packet: &Packet,
    inner: &[u8],
    mode: &ForwardMode,
    (spread, backend): (Spread, IpAddr),
    check: bool,
    random_id: u32,
) -> Vec<u8> {
    let v4 = backend.is_ipv4();
    let dont_fragment = v4 && packet.v4 && u8_at(packet.ip, 6) & 0x40 != 0;
    let (number, bytes) = match mode {
        ForwardMode::Gue => (protocol::UDP, gue(packet, inner, (spread, backend), check)),
        _ if packet.v4 => (protocol::IPIP, inner.to_vec()),
        _ => (protocol::IPV6, inner.to_vec()),
    };
    let body = Body::Raw {
        protocol: number,
        bytes,
    };
    Ip {
        tos: packet.tos,
        ttl: 64,
        id: match (v4, dont_fragment) {
            (true, true) => 0,
            (true, false) => random_id,
            (false, _) => spread.label,
        },
        dont_fragment,
        ..Ip::new(spread.source, backend, body)
    }
    .bytes()
}

fn gue(packet: &Packet, inner: &[u8], (spread, backend): (Spread, IpAddr), check: bool) -> Vec<u8> {
    let len = 8 + inner.len();
    let mut udp = [spread.port.to_be_bytes(), crate::wire::GUE_PORT.to_be_bytes()].concat();
    udp.extend(u16::try_from(len).unwrap().to_be_bytes());
    udp.extend([0, 0]);
    if check {
        // A transport that is sound sums to the complement of its pseudo-header. One that is not leaves a wrong sum outside,
        // too, and is found out by whoever looks first.
        let pseudo = sum::pseudo(
            packet.from,
            packet.to,
            packet.protocol,
            packet.ip.len() - packet.l4,
        );
        let transport = (!sum::sum(&[&pseudo])).to_be_bytes();
        let outer = sum::pseudo(spread.source, backend, protocol::UDP, len);
        let check = sum::udp_checksum(&[&outer, &udp, &inner[..packet.l4], &transport]);
        udp[6..8].copy_from_slice(&check.to_be_bytes());
    }
    [&udp, inner].concat()
}

/// Whether an outer checksum can be computed from the inner ones alone.
fn has_checksum(packet: &Packet) -> bool {
    // Extension headers have none.
    if packet.piece.is_some() || !packet.v4 && packet.l4 > 40 {
        return false;
    }
    // What is behind a datagram that is shorter than its packet has none either.
    let rest = packet.ip.len() - packet.l4;
    if packet.protocol == protocol::UDP && usize::from(u16_at(packet.ip, packet.l4 + 4)) != rest {
        return false;
    }
    checksum_of(packet.protocol).is_some_and(|(at, _)| u16_at(packet.ip, packet.l4 + at) != 0)
}
