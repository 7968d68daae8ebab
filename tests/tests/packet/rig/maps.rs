//! Writes a [`World`] into the maps.

use std::net::IpAddr;

use anyhow::Result;
use lb_common::{
    backend::{Backend, BackendLimits, BackendState, BackendWord},
    limits,
    maps::switches,
    service::{Picker, PortKey, QuicServerKey, Service, ServiceKey, Vip, service_flags, vip_flags},
    slot::SlotBits,
};
use xlb::datapath::{Datapath, SlotTable, bpf::BpfDatapath};

use crate::world::{self, Listener, Net, WEIGHT, World};

pub fn fill(datapath: &mut BpfDatapath, world: &World) -> Result<()> {
    for (index, way) in (1..).zip(&world.ways) {
        datapath.put_next_hop(index, &way.egress())?;
    }
    for (id, backend) in (1..).zip(&world.backends) {
        datapath.put_backend(id, &self::backend(backend.service, backend.addr, backend.port))?;
        datapath.set_word(id, BackendWord::new(BackendState::Up, backend.way, 1));
        datapath.set_limits(id, BackendLimits::new(0, WEIGHT));
        if !backend.server_id.is_empty() {
            datapath.put_quic_server(&quic_server(backend), id)?;
        }
        if world.is_hairpin(backend.addr) {
            datapath.put_hairpin(&backend.addr.into(), 1)?;
        }
    }
    for (id, service) in (0..).zip(&world.services) {
        datapath.put_table(id, &table(world, id))?;
        listen(datapath, service, &entry(world, id))?;
    }
    for vip in &world.vips {
        put_vip(datapath, world, vip)?;
    }
    for ip in world.own.iter().chain(&world.sources) {
        datapath.put_local(&(*ip).into())?;
    }
    let mut next = [0, limits::SOURCES];
    for ip in &world.sources {
        let index = &mut next[usize::from(ip.is_ipv6())];
        datapath.put_source(*index, &(*ip).into())?;
        *index += 1;
    }
    datapath.set_switches(switches_of(world));
    Ok(())
}

pub fn backend(service: u32, addr: IpAddr, port: u16) -> Backend {
    Backend {
        addr: addr.into(),
        port: port.to_be(),
        service,
        ..Backend::default()
    }
}

fn quic_server(backend: &world::Backend) -> QuicServerKey {
    let mut bytes = [0; 8];
    bytes[..backend.server_id.len()].copy_from_slice(&backend.server_id);
    QuicServerKey {
        service: backend.service,
        len: u32::try_from(backend.server_id.len()).unwrap(),
        server_id: u64::from_le_bytes(bytes),
    }
}

/// The settled table of a service.
pub fn table(world: &World, service: u32) -> SlotTable {
    SlotTable::settled(&world.table(service), world.members(service))
}

/// Has packets for all that a service listens on find this entry.
pub fn listen(datapath: &mut BpfDatapath, service: &world::Service, entry: &Service) -> Result<()> {
    let mut listeners = service.listeners.iter();
    listeners.try_for_each(|listener| listen_on(datapath, service, listener, entry))
}

/// Exact ports of addresses go into `SERVICES`, all else into `PORTS`; a service by addresses has port 0, too.
fn listen_on(
    datapath: &mut BpfDatapath,
    service: &world::Service,
    listener: &Listener,
    entry: &Service,
) -> Result<()> {
    let (first, last) = (*listener.ports.start(), *listener.ports.end());
    if first == last && listener.net.is_host() {
        datapath.put_service(&exact(listener, first), entry)?;
        if service.by_addresses {
            datapath.put_service(&exact(listener, 0), entry)?;
        }
        return Ok(());
    }
    for (port, bits) in prefixes(first, last) {
        put_ports(datapath, listener, port, bits, entry)?;
    }
    if service.by_addresses && first > 0 {
        put_ports(datapath, listener, 0, 16, entry)?;
    }
    Ok(())
}

fn exact(listener: &Listener, port: u16) -> ServiceKey {
    ServiceKey {
        vip: listener.net.base.into(),
        port: port.to_be(),
        protocol: u16::from(listener.protocol),
        ..ServiceKey::default()
    }
}

fn put_ports(
    datapath: &mut BpfDatapath,
    listener: &Listener,
    port: u16,
    bits: u32,
    entry: &Service,
) -> Result<()> {
    let key = PortKey {
        base: listener.net.base.into(),
        prefix_len: u16::try_from(bits_of(&listener.net)).unwrap(),
        protocol: u16::from(listener.protocol),
        port: port.to_be(),
        ..PortKey::default()
    };
    datapath.put_ports(PortKey::BITS_BEFORE_PORT + bits, &key, entry)
}

/// A network's length among the 128 bits of an address in the maps.
fn bits_of(net: &Net) -> u32 {
    u32::from(net.len) + if net.base.is_ipv4() { 96 } else { 0 }
}

/// The fewest prefixes (first port, bits) that are these ports.
fn prefixes(first: u16, last: u16) -> Vec<(u16, u32)> {
    let (mut at, end) = (u32::from(first), u32::from(last) + 1);
    let mut prefixes = Vec::new();
    while at < end {
        let aligned = if at == 0 { 16 } else { at.trailing_zeros() };
        let fitting = (end - at).ilog2();
        let size = aligned.min(fitting);
        prefixes.push((u16::try_from(at).unwrap(), 16 - size));
        at += 1 << size;
    }
    prefixes
}

/// Which tables are looked at: networks only where there are some.
pub fn switches_of(world: &World) -> u32 {
    let all = switches::NETWORKS | switches::REPLIES | switches::HAIRPINS;
    if world.vips.iter().all(|vip| vip.net.is_host()) {
        return all & !switches::NETWORKS;
    }
    all
}

fn put_vip(datapath: &mut BpfDatapath, world: &World, vip: &world::Vip) -> Result<()> {
    let has_ports = world
        .services
        .iter()
        .flat_map(|service| &service.listeners)
        .any(|listener| {
            let is_range = listener.ports.start() != listener.ports.end();
            listener.net == vip.net && (is_range || !vip.net.is_host())
        });
    let mut flags = if vip.ping { vip_flags::ECHO } else { 0 };
    if has_ports {
        flags |= vip_flags::PORTS;
    }
    let bits = bits_of(&vip.net);
    let base = vip.net.base.into();
    let entry = Vip {
        base,
        prefix_len: u16::try_from(bits).unwrap(),
        unserved: vip.unserved.wire(),
        flags,
        ..Vip::default()
    };
    if vip.net.is_host() {
        datapath.put_vip(&base, &entry)
    } else {
        datapath.put_network(bits, &base, &entry)
    }
}

/// The entry of a service: what the world says, by `maglev`.
pub fn entry(world: &World, id: u32) -> Service {
    let service = world.service(id);
    let members = u32::try_from(world.members(id).len()).unwrap();
    let flag = |set, bit| if set { bit } else { 0 };
    let (quic_config, quic_server_id_len) = service.quic.map_or((0, 0), |quic| (quic.config, quic.len));
    Service {
        id,
        mode: service.mode.wire(),
        picker: Picker::Maglev.wire(),
        home: Picker::Maglev.wire(),
        flags: flag(service.by_addresses, service_flags::BY_ADDRESSES)
            | flag(service.gue_checksum, service_flags::GUE_CHECKSUM)
            | flag(service.udp_moves, service_flags::UDP_MOVES),
        quic_server_id_len,
        mtu: service.mtu,
        quic_config,
        slot_bits: u8::try_from(SlotBits::MIN.bits()).unwrap(),
        source_v4: 32,
        source_v6: 128,
        members,
        weight: members * u32::from(WEIGHT),
        load_factor: 125,
        replicas: 1,
        ..Service::default()
    }
}
