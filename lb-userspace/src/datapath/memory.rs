//! A data plane without a kernel, for tests of the control loop.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use lb_common::{
    addr::Addr,
    backend::{Backend, BackendState, BackendWord},
    next_hop::{Egress, VlanDevice},
    outcome::Outcome,
    service::{PortKey, QuicServerKey, Service, ServiceKey, Vip},
    traffic::{Count, Traffic},
};

use crate::datapath::{Datapath, Snapshot};

/// Keeps what it is told.
#[derive(Clone, Debug, Default)]
pub struct MemoryDatapath {
    pub snapshot: Snapshot,
    pub words: BTreeMap<u32, BackendWord>,
    pub tables: BTreeMap<u32, Vec<u32>>,
    pub tables_written: u32,
    /// Fails the write of a slot table, as a kernel without memory does.
    pub out_of_memory: bool,
}

impl Datapath for MemoryDatapath {
    fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = self.snapshot.clone();
        for (&id, &word) in &self.words {
            snapshot.generations.insert(id, word.generation());
            match snapshot.backends.get_mut(&id) {
                Some(entry) if word.state() != BackendState::Free => entry.1 = word,
                _ => drop(snapshot.backends.remove(&id)),
            }
        }
        Ok(snapshot)
    }

    fn put_backend(&mut self, id: u32, backend: &Backend) -> Result<()> {
        self.snapshot
            .backends
            .insert(id, (*backend, BackendWord::default()));
        Ok(())
    }

    fn set_word(&mut self, id: u32, word: BackendWord) {
        self.words.insert(id, word);
    }

    fn put_next_hop(&mut self, index: u32, way: &Egress) -> Result<()> {
        self.snapshot.next_hops.insert(index, *way);
        Ok(())
    }

    fn has_table(&self, service: u32, slots: &[u32]) -> bool {
        self.tables.get(&service).is_some_and(|table| table == slots)
    }

    fn put_table(&mut self, service: u32, slots: &[u32]) -> Result<()> {
        if self.out_of_memory {
            bail!("make a slot table: out of memory");
        }
        self.tables.insert(service, slots.to_vec());
        self.tables_written += 1;
        Ok(())
    }

    fn clear_table(&mut self, service: u32) -> Result<()> {
        self.tables.remove(&service);
        Ok(())
    }

    fn put_service(&mut self, key: &ServiceKey, service: &Service) -> Result<()> {
        self.snapshot.services.insert(*key, *service);
        Ok(())
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<()> {
        self.snapshot.services.remove(key);
        Ok(())
    }

    fn put_vip(&mut self, address: &Addr, vip: &Vip) -> Result<()> {
        self.snapshot.vips.insert(*address, *vip);
        Ok(())
    }

    fn remove_vip(&mut self, address: &Addr) -> Result<()> {
        self.snapshot.vips.remove(address);
        Ok(())
    }

    fn put_network(&mut self, prefix_len: u32, base: &Addr, vip: &Vip) -> Result<()> {
        self.snapshot.networks.insert((prefix_len, *base), *vip);
        Ok(())
    }

    fn remove_network(&mut self, prefix_len: u32, base: &Addr) -> Result<()> {
        self.snapshot.networks.remove(&(prefix_len, *base));
        Ok(())
    }

    fn put_ports(&mut self, prefix_len: u32, first: &PortKey, service: &Service) -> Result<()> {
        self.snapshot.ports.insert((prefix_len, *first), *service);
        Ok(())
    }

    fn remove_ports(&mut self, prefix_len: u32, first: &PortKey) -> Result<()> {
        self.snapshot.ports.remove(&(prefix_len, *first));
        Ok(())
    }

    fn put_quic_server(&mut self, server: &QuicServerKey, backend: u32) -> Result<()> {
        self.snapshot.quic_servers.insert(*server, backend);
        Ok(())
    }

    fn remove_quic_server(&mut self, server: &QuicServerKey) -> Result<()> {
        self.snapshot.quic_servers.remove(server);
        Ok(())
    }

    fn put_hairpin(&mut self, address: &Addr, backends: u32) -> Result<()> {
        self.snapshot.hairpins.insert(*address, backends);
        Ok(())
    }

    fn remove_hairpin(&mut self, address: &Addr) -> Result<()> {
        self.snapshot.hairpins.remove(address);
        Ok(())
    }

    fn put_source(&mut self, index: u32, address: &Addr) -> Result<()> {
        match address.is_none() {
            true => self.snapshot.sources.remove(&index),
            false => self.snapshot.sources.insert(index, *address),
        };
        Ok(())
    }

    fn put_vlan_device(&mut self, ifindex: u32, device: &VlanDevice) -> Result<()> {
        self.snapshot.vlan_devices.insert(ifindex, *device);
        Ok(())
    }

    fn remove_vlan_device(&mut self, ifindex: u32) -> Result<()> {
        self.snapshot.vlan_devices.remove(&ifindex);
        Ok(())
    }

    fn set_switches(&mut self, switches: u32) {
        self.snapshot.switches = switches;
    }

    fn reset_service_traffic(&mut self, _: u32) -> Result<()> {
        Ok(())
    }

    fn reset_backend_traffic(&mut self, _: u32) -> Result<()> {
        Ok(())
    }

    fn outcomes(&self) -> Result<Vec<Count>> {
        Ok(vec![Count::default(); Outcome::ALL.len()])
    }

    fn service_traffic(&self, _: u32) -> Result<Traffic> {
        Ok(Traffic::default())
    }

    fn backend_traffic(&self, _: u32) -> Result<Traffic> {
        Ok(Traffic::default())
    }
}
