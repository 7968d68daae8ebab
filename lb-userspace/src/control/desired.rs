//! From what people want to the entries that the data plane looks packets up in. Pure.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use lb_common::{
    addr::Addr,
    next_hop::VlanDevice,
    service::{self, QuicServerKey, Service, vip_flags},
};

use crate::{
    config::{Fragments, Network, Ports, ServiceSpec, Setup, Unserved, Vip, VipPolicy},
    control::{
        entries::{Entries, Entry},
        ids::Ids,
        key::{self, Place},
        service_entry::{self, Given},
    },
};

/// What the data plane has to know of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// What the data path's own lookups of routes may name, by index.
    pub vlan_devices: BTreeMap<u32, VlanDevice>,
    /// Addresses that no client has.
    pub locals: BTreeSet<Addr>,
}

/// The entries for what is set up, as far as it has ids, and for what this host has. `given` is what the services' entries have of their
/// pools.
#[must_use]
pub fn entries(setup: &Setup, ids: &Ids, host: &Host, given: &BTreeMap<u32, Given>) -> Entries {
    let mut entries = Entries::default();
    for (&ifindex, &device) in &host.vlan_devices {
        entries.put(Entry::VlanDevice(ifindex, device));
    }
    for &address in &host.locals {
        entries.put(Entry::Local(address));
    }
    let services: Vec<_> = setup
        .services
        .iter()
        .filter_map(|service| Some((service, ids.service(&service.name)?)))
        .collect();
    for (address, backends) in hairpins(&setup.services) {
        entries.put(Entry::Hairpin(address, backends));
    }
    for &(service, id) in &services {
        for server in quic_servers(service, id, ids) {
            entries.put(server);
        }
    }
    let entry = |service: &ServiceSpec, id: u32| {
        let given = given.get(&id).copied();
        service_entry::entry(service, id, &given.unwrap_or_else(|| Given::new(service)))
    };
    for (vip, service) in by_precision(&services, entry) {
        for place in key::places(vip) {
            entries.put(at(place, service));
        }
    }
    for &(service, id) in &services {
        if service.fragments == Fragments::Hash {
            for vip in &service.vips {
                entries.put(at(key::without_ports(vip), entry(service, id)));
            }
        }
    }
    for vip in vips(setup, &services) {
        entries.put(vip);
    }
    entries
}

const fn at(place: Place, service: Service) -> Entry {
    match place {
        Place::Exact(key) => Entry::Service(key, service),
        Place::Ports(bits, key) => Entry::Ports(bits, key, service),
    }
}

/// Every VIP with its service, those of one port last: where such a port is a prefix of a range too, it is its own service's.
fn by_precision<'a>(
    services: &[(&'a ServiceSpec, u32)],
    entry: impl Fn(&ServiceSpec, u32) -> Service,
) -> Vec<(&'a Vip, Service)> {
    let with_entries = services.iter().flat_map(|&(service, id)| {
        let entry = entry(service, id);
        service.vips.iter().map(move |vip| (vip, entry))
    });
    let mut vips: Vec<_> = with_entries.collect();
    vips.sort_by_key(|(vip, _)| matches!(vip.ports, Ports::One(_)));
    vips
}

/// The addresses that replies to have to come back through us, when they are clients.
fn hairpins(services: &[ServiceSpec]) -> BTreeMap<Addr, u32> {
    let mut backends = BTreeMap::new();
    for service in services {
        if service.mode.forward().translates() {
            for backend in &service.backends {
                *backends.entry(backend.address.into()).or_default() += 1;
            }
        }
    }
    backends
}

fn quic_servers(service: &ServiceSpec, id: u32, ids: &Ids) -> impl Iterator<Item = Entry> {
    let quic = service.quic.iter();
    quic.flat_map(move |_| &service.backends)
        .filter_map(move |backend| {
            let (server_id, granted) = (backend.server_id?, ids.backend(id, backend)?);
            let key = QuicServerKey {
                service: id,
                len: server_id.length().into(),
                server_id: server_id.word(),
            };
            Some(Entry::QuicServer(key, granted.id))
        })
}

/// What a VIP does with packets that no service takes.
#[must_use]
pub fn policy(vip: &service::Vip) -> Option<Unserved> {
    let known = [Unserved::Auto, Unserved::Drop, Unserved::Pass, Unserved::Reset];
    known.into_iter().find(|one| one.in_maps().wire() == vip.unserved)
}

fn vips(setup: &Setup, services: &[(&ServiceSpec, u32)]) -> impl Iterator<Item = Entry> {
    let mut flags: BTreeMap<Network, u8> = BTreeMap::new();
    for (service, _) in services {
        for vip in &service.vips {
            let is_exact = matches!(vip.ports, Ports::One(_)) && vip.network.address().is_some();
            let flag = if is_exact { 0 } else { vip_flags::PORTS };
            *flags.entry(vip.network).or_default() |= flag;
        }
    }
    flags.into_iter().map(|(network, flags)| {
        let VipPolicy {
            address: _,
            unserved,
            ping,
        } = setup.policy(network);
        let (bits, base) = key::network(network);
        let vip = service::Vip {
            base,
            prefix_len: network.prefix_len().into(),
            unserved: unserved.in_maps().wire(),
            flags: flags | if ping { vip_flags::ECHO } else { 0 },
            ..service::Vip::default()
        };
        match network.address() {
            Some(_) => Entry::Vip(base, vip),
            None => Entry::Network(bits, base, vip),
        }
    })
}
