//! What the balancer under test is told: services, backends and the ways to them, in words that the rig writes into the maps
//! and the model reasons about.

pub mod lanes;
pub mod standard;

use std::{net::IpAddr, ops::RangeInclusive};

use lb_common::{
    limits::NO_BACKEND,
    next_hop::{Egress, NextHop, Vlans},
    service::{ForwardMode, Unserved},
    slot::SlotBits,
};

use crate::{
    wire::{
        Tag,
        frame::{BACKEND_MAC, LB_MAC},
        protocol, sum,
    },
    world::standard::INGRESS,
};

/// Everything that decides what becomes of a packet, but for the flows.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub vips: Vec<Vip>,
    /// By id.
    pub services: Vec<Service>,
    /// By id less one.
    pub backends: Vec<Backend>,
    /// By index less one.
    pub ways: Vec<Way>,
    /// Our own addresses, IPv4 and IPv6.
    pub own: Vec<IpAddr>,
    /// What the sources of tunnels are spread over, at most one of each family.
    pub tunnel_sources: Vec<Net>,
    /// Sources of translated flows; those of a family of which there is none come from the way's own address.
    pub sources: Vec<IpAddr>,
    pub partial_checksums: bool,
    /// Interfaces, by index, that the program is told to be on in generic mode.
    pub generic: Vec<u32>,
    /// Whether frames may be longer than one buffer.
    pub multi_buffer: bool,
    /// The load-time rate of answers.
    pub answers_per_second: u32,
}

/// An address with the whole of its length, or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    pub base: IpAddr,
    pub len: u8,
}

#[derive(Clone, Copy, Debug)]
pub struct Vip {
    pub net: Net,
    pub unserved: Unserved,
    pub ping: bool,
}

#[derive(Clone, Debug)]
pub struct Service {
    pub mode: ForwardMode,
    pub listeners: Vec<Listener>,
    /// 0 for none.
    pub mtu: u16,
    /// `fragments = "hash"`.
    pub by_addresses: bool,
    pub gue_checksum: bool,
    /// `udp = "move"`.
    pub udp_moves: bool,
    pub quic: Option<Quic>,
}

/// Config rotation bits, and the length of server IDs.
#[derive(Clone, Copy, Debug)]
pub struct Quic {
    pub config: u8,
    pub len: u8,
}

#[derive(Clone, Debug)]
pub struct Listener {
    pub net: Net,
    pub protocol: u8,
    pub ports: RangeInclusive<u16>,
}

#[derive(Clone, Debug)]
pub struct Backend {
    pub service: u32,
    pub addr: IpAddr,
    /// 0 keeps the client's.
    pub port: u16,
    /// 0 for one that nobody knows the way to.
    pub way: u32,
    pub server_id: Vec<u8>,
}

/// How frames leave for a backend.
#[derive(Clone, Debug)]
pub struct Way {
    pub ifindex: u32,
    /// `None` keeps those of the frame.
    pub tags: Option<Vec<Tag>>,
    /// 0 for unknown.
    pub mtu: u32,
    /// Our address on it, of the family that the way is for.
    pub source: IpAddr,
}

/// What becomes of checksums that senders have left unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// They are taken for finished ones.
    Unknown,
    Finished,
    /// Others finish them later.
    Left,
}

/// What happens to all slots of a service.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// Their new flows go to another backend.
    PassTo(u32),
    /// No datagram of before the change can come.
    Age,
    /// No flow of the owner before can live that is not written down.
    Part,
    /// No flow is written down elsewhere.
    Settle,
}

/// What every backend weighs.
pub const WEIGHT: u16 = 100;

/// Ports of a VIP, all of them.
pub const ALL_PORTS: RangeInclusive<u16> = 0..=u16::MAX;

impl Net {
    pub const fn new(base: IpAddr, len: u8) -> Self {
        Self { base, len }
    }

    pub fn host(ip: IpAddr) -> Self {
        Self::new(ip, if ip.is_ipv4() { 32 } else { 128 })
    }

    pub fn is_host(&self) -> bool {
        *self == Self::host(self.base)
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        let (base, ip) = (sum::address(self.base), sum::address(ip));
        let bit = |bytes: &[u8], at: u8| bytes[usize::from(at / 8)] >> (7 - at % 8) & 1;
        base.len() == ip.len() && (0..self.len).all(|at| bit(&base, at) == bit(&ip, at))
    }
}

impl Way {
    pub fn egress(&self) -> Egress {
        let vlans = match &self.tags {
            Some(tags) => Vlans::of(tags),
            None => Vlans::keep(),
        };
        Egress {
            hop: NextHop {
                ifindex: self.ifindex,
                destination_mac: BACKEND_MAC,
                source_mac: LB_MAC,
                vlans,
                ..NextHop::default()
            },
            mtu: self.mtu,
            source: self.source.into(),
            ..Egress::default()
        }
    }
}

impl World {
    /// The owners of a service's slots: its backends in turn.
    pub fn table(&self, service: u32) -> Vec<u32> {
        let (ids, slots) = (self.members(service), SlotBits::MIN.slots() as usize);
        if ids.is_empty() {
            return vec![NO_BACKEND; slots];
        }
        ids.iter().copied().cycle().take(slots).collect()
    }

    /// The backends of a service.
    pub fn members(&self, service: u32) -> Vec<u32> {
        let ids = (1..).zip(&self.backends);
        let ids = ids.filter(|(_, backend)| backend.service == service);
        ids.map(|(id, _)| id).collect()
    }

    pub fn backend(&self, id: u32) -> &Backend {
        &self.backends[id as usize - 1]
    }

    pub fn service(&self, id: u32) -> &Service {
        &self.services[id as usize]
    }

    /// The VIP that an address is, or the longest network that holds it.
    pub fn vip_of(&self, ip: IpAddr) -> Option<&Vip> {
        let holding = self.vips.iter().filter(|vip| vip.net.contains(ip));
        holding.max_by_key(|vip| vip.net.len)
    }

    /// The service of a VIP's port: the one port before the shortest range before all ports.
    pub fn service_of(&self, vip: &Vip, protocol: u8, port: u16) -> Option<u32> {
        let listeners = (0..)
            .zip(&self.services)
            .flat_map(|(id, service)| service.listeners.iter().map(move |listener| (id, listener)));
        listeners
            .filter(|(_, listener)| {
                listener.net == vip.net && listener.protocol == protocol && listener.ports.contains(&port)
            })
            .min_by_key(|(_, listener)| listener.ports.end() - listener.ports.start())
            .map(|(id, _)| id)
    }

    /// The service of a VIP that takes fragments without ports.
    pub fn service_by_addresses(&self, vip: &Vip, protocol: u8) -> Option<u32> {
        let mut by_addresses = (0..)
            .zip(&self.services)
            .filter(|(_, service)| service.by_addresses);
        by_addresses
            .find(|(_, service)| {
                service
                    .listeners
                    .iter()
                    .any(|listener| listener.net == vip.net && listener.protocol == protocol)
            })
            .map(|(id, _)| id)
    }

    /// Whether an address is a backend's whose service translates.
    pub fn is_hairpin(&self, ip: IpAddr) -> bool {
        let translates = |backend: &&Backend| self.service(backend.service).mode.translates();
        self.backends
            .iter()
            .filter(translates)
            .any(|backend| backend.addr == ip)
    }

    /// Whether an address is the balancer's own, which no client has.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.own.contains(&ip) || self.sources.contains(&ip)
    }

    /// What becomes of checksums that senders have left unfinished.
    pub fn unfinished(&self) -> Unfinished {
        match (self.partial_checksums, self.generic.contains(&INGRESS)) {
            (false, _) => Unfinished::Unknown,
            (true, false) => Unfinished::Finished,
            (true, true) => Unfinished::Left,
        }
    }

    /// Our own address of a family.
    pub fn own_of(&self, v4: bool) -> Option<IpAddr> {
        self.own.iter().copied().find(|ip| ip.is_ipv4() == v4)
    }
}

impl Service {
    pub fn new(mode: ForwardMode) -> Self {
        Self {
            mode,
            listeners: Vec::new(),
            mtu: 0,
            by_addresses: false,
            gue_checksum: false,
            udp_moves: false,
            quic: None,
        }
    }

    pub fn on(mut self, net: Net, protocol: u8, ports: RangeInclusive<u16>) -> Self {
        self.listeners.push(Listener { net, protocol, ports });
        self
    }

    /// TCP on one port of an address.
    pub fn tcp(self, vip: IpAddr, port: u16) -> Self {
        self.on(Net::host(vip), protocol::TCP, port..=port)
    }

    pub fn udp(self, vip: IpAddr, port: u16) -> Self {
        self.on(Net::host(vip), protocol::UDP, port..=port)
    }
}
