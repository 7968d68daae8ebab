//! The entries of the tables that packets are looked up in, and the order that keeps them true.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use lb_common::{
    addr::Addr,
    maps::switches,
    next_hop::VlanDevice,
    service::{ForwardMode, PortKey, QuicServerKey, Service, ServiceKey, Vip},
};

use crate::datapath::{Datapath, Snapshot};

/// Where an entry is. In the order in which entries are made, and taken away the other way round: what a service needs, its
/// ports, and last the address that packets find them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    VlanDevice(u32),
    Local(Addr),
    Hairpin(Addr),
    QuicServer(QuicServerKey),
    Service(ServiceKey),
    /// Behind the bits that count.
    Ports(u32, PortKey),
    Vip(Addr),
    /// Behind the bits that count.
    Network(u32, Addr),
}

/// An entry with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    VlanDevice(u32, VlanDevice),
    /// An address of the balancer itself.
    Local(Addr),
    /// With the number of backends that have the address.
    Hairpin(Addr, u32),
    /// With the backend's id.
    QuicServer(QuicServerKey, u32),
    Service(ServiceKey, Service),
    Ports(u32, PortKey, Service),
    Vip(Addr, Vip),
    Network(u32, Addr, Vip),
}

/// All entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    all: BTreeMap<Key, Entry>,
    /// Where services are, by id.
    places: BTreeMap<u32, BTreeSet<Key>>,
}

impl Entries {
    /// Those that the data plane has.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut entries = Self::default();
        let mut add = |entry| entries.put(entry);
        for (&ifindex, &device) in &snapshot.vlan_devices {
            add(Entry::VlanDevice(ifindex, device));
        }
        for &address in &snapshot.locals {
            add(Entry::Local(address));
        }
        for (&address, &backends) in &snapshot.hairpins {
            add(Entry::Hairpin(address, backends));
        }
        for (&server, &backend) in &snapshot.quic_servers {
            add(Entry::QuicServer(server, backend));
        }
        for (&key, &service) in &snapshot.services {
            add(Entry::Service(key, service));
        }
        for (&(bits, key), &service) in &snapshot.ports {
            add(Entry::Ports(bits, key, service));
        }
        for (&address, &vip) in &snapshot.vips {
            add(Entry::Vip(address, vip));
        }
        for (&(bits, base), &vip) in &snapshot.networks {
            add(Entry::Network(bits, base, vip));
        }
        entries
    }

    /// Adds an entry, or takes the place of the one with its key.
    pub fn put(&mut self, entry: Entry) {
        self.remove(entry.key());
        self.all.insert(entry.key(), entry);
        if let Some(service) = entry.service() {
            self.places.entry(service.id).or_default().insert(entry.key());
        }
    }

    /// The entry of a key.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&Entry> {
        self.all.get(&key)
    }

    pub fn remove(&mut self, key: Key) {
        let Some(service) = self.all.remove(&key).and_then(|entry| entry.service()) else {
            return;
        };
        if let Some(places) = self.places.get_mut(&service.id) {
            places.remove(&key);
            if places.is_empty() {
                self.places.remove(&service.id);
            }
        }
    }

    /// What packets for a service find.
    #[must_use]
    pub fn service(&self, id: u32) -> Option<Service> {
        let first = self.places.get(&id)?.first()?;
        self.all.get(first)?.service()
    }

    /// Those that are missing or other ones in `applied`, in the order in which they are to be written.
    pub fn missing_in(&self, applied: &Self) -> impl Iterator<Item = Entry> {
        self.all
            .iter()
            .filter(|(key, entry)| applied.all.get(key) != Some(*entry))
            .map(|(_, entry)| *entry)
    }

    /// Those that only `self` has, in the order in which they are to go.
    pub fn not_in(&self, desired: &Self) -> impl Iterator<Item = Key> {
        self.all
            .keys()
            .rev()
            .filter(|key| !desired.all.contains_key(key))
            .copied()
    }

    /// The ids of the services that packets are given to.
    pub fn services(&self) -> impl Iterator<Item = u32> {
        self.places.keys().copied()
    }

    /// Bits of [`switches`]: which tables have to be looked at for these entries.
    #[must_use]
    pub fn switches(&self) -> u32 {
        self.all
            .values()
            .map(|entry| match entry {
                Entry::VlanDevice(..) => switches::VLAN_DEVICES,
                Entry::Hairpin(..) => switches::HAIRPINS,
                Entry::Network(..) => switches::NETWORKS,
                Entry::Service(_, service) | Entry::Ports(_, _, service) if translates(service) => {
                    switches::REPLIES
                }
                Entry::Service(..)
                | Entry::Ports(..)
                | Entry::QuicServer(..)
                | Entry::Vip(..)
                | Entry::Local(..) => 0,
            })
            .fold(0, |all, one| all | one)
    }
}

impl Entry {
    #[must_use]
    pub const fn key(&self) -> Key {
        match *self {
            Self::VlanDevice(ifindex, _) => Key::VlanDevice(ifindex),
            Self::Local(address) => Key::Local(address),
            Self::Hairpin(address, _) => Key::Hairpin(address),
            Self::QuicServer(server, _) => Key::QuicServer(server),
            Self::Service(key, _) => Key::Service(key),
            Self::Ports(bits, key, _) => Key::Ports(bits, key),
            Self::Vip(address, _) => Key::Vip(address),
            Self::Network(bits, base, _) => Key::Network(bits, base),
        }
    }

    /// The service that it leads to.
    #[must_use]
    pub const fn service(&self) -> Option<Service> {
        match *self {
            Self::Service(_, service) | Self::Ports(_, _, service) => Some(service),
            Self::VlanDevice(..)
            | Self::Local(..)
            | Self::Hairpin(..)
            | Self::QuicServer(..)
            | Self::Vip(..)
            | Self::Network(..) => None,
        }
    }

    /// Writes the entry to the data plane.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, datapath: &mut impl Datapath) -> Result<()> {
        match self {
            Self::VlanDevice(ifindex, device) => datapath.put_vlan_device(*ifindex, device),
            Self::Local(address) => datapath.put_local(address),
            Self::Hairpin(address, backends) => datapath.put_hairpin(address, *backends),
            Self::QuicServer(server, backend) => datapath.put_quic_server(server, *backend),
            Self::Service(key, service) => datapath.put_service(key, service),
            Self::Ports(bits, key, service) => datapath.put_ports(*bits, key, service),
            Self::Vip(address, vip) => datapath.put_vip(address, vip),
            Self::Network(bits, base, vip) => datapath.put_network(*bits, base, vip),
        }
    }
}

impl Key {
    /// Takes the entry out of the data plane.
    ///
    /// # Errors
    /// When it cannot be taken out.
    pub fn erase(&self, datapath: &mut impl Datapath) -> Result<()> {
        match self {
            Self::VlanDevice(ifindex) => datapath.remove_vlan_device(*ifindex),
            Self::Local(address) => datapath.remove_local(address),
            Self::Hairpin(address) => datapath.remove_hairpin(address),
            Self::QuicServer(server) => datapath.remove_quic_server(server),
            Self::Service(key) => datapath.remove_service(key),
            Self::Ports(bits, key) => datapath.remove_ports(*bits, key),
            Self::Vip(address) => datapath.remove_vip(address),
            Self::Network(bits, base) => datapath.remove_network(*bits, base),
        }
    }
}

fn translates(service: &Service) -> bool {
    ForwardMode::from_wire(service.mode).is_some_and(ForwardMode::translates)
}
