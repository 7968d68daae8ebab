//! A data plane without a kernel, for tests of the control loop.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use lb_common::{
    addr::Addr,
    backend::{Backend, BackendLimits, BackendState, BackendWord},
    conn::{Flow, Reply},
    flow::FlowKey,
    next_hop::{Egress, VlanDevice},
    outcome::Outcome,
    rate::SourceKey,
    service::{PortKey, QuicServerKey, Service, ServiceKey, Vip},
    sign::Signs,
    slot::{Slot, SlotBits},
    traffic::{Count, Traffic},
    written::{Entry, WAYS, WrittenCount},
};

use crate::datapath::{Datapath, Recall, SlotTable, Snapshot};

/// Keeps what it is told.
#[derive(Clone, Debug, Default)]
pub struct MemoryDatapath {
    pub snapshot: Snapshot,
    pub words: BTreeMap<u32, BackendWord>,
    pub tables: BTreeMap<u32, SlotTable>,
    pub tables_written: u32,
    /// Stores of single slots.
    pub slots_written: usize,
    /// Active flows, by backend and by service.
    pub loads: BTreeMap<u32, i64>,
    pub service_loads: BTreeMap<u32, i64>,
    /// What clients have suffered, by backend.
    pub signs: BTreeMap<u32, Signs>,
    /// Backends whose written flows have been forgotten, in order.
    pub purged: Vec<u32>,
    /// What the program would remember, for [`Recall`].
    pub flows: BTreeMap<FlowKey, Flow>,
    /// When packets last went by lines, by the hashes of their flows.
    pub lines: BTreeMap<u64, u64>,
    pub replies: BTreeMap<FlowKey, Reply>,
    pub written: BTreeMap<u64, Entry>,
    pub now: u64,
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
        let backends = &snapshot.backends;
        snapshot.limits.retain(|id, _| backends.contains_key(id));
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

    fn set_limits(&mut self, id: u32, limits: BackendLimits) {
        self.snapshot.limits.insert(id, limits);
    }

    fn put_next_hop(&mut self, index: u32, way: &Egress) -> Result<()> {
        self.snapshot.next_hops.insert(index, *way);
        Ok(())
    }

    fn table(&self, service: u32) -> Result<SlotTable> {
        let table = self.tables.get(&service).cloned();
        Ok(table.unwrap_or_else(|| SlotTable::empty(SlotBits::MIN)))
    }

    fn put_table(&mut self, service: u32, table: &SlotTable) -> Result<()> {
        if self.out_of_memory {
            bail!("make a slot table: out of memory");
        }
        self.tables.insert(service, table.clone());
        self.tables_written += 1;
        Ok(())
    }

    fn store_slots(&mut self, service: u32, changes: &[(u32, Slot)]) -> Result<()> {
        if let Some(table) = self.tables.get_mut(&service) {
            table.store(changes);
            self.slots_written += changes.len();
        }
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

    fn put_local(&mut self, address: &Addr) -> Result<()> {
        self.snapshot.locals.insert(*address);
        Ok(())
    }

    fn remove_local(&mut self, address: &Addr) -> Result<()> {
        self.snapshot.locals.remove(address);
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

    fn reset_service(&mut self, id: u32) -> Result<()> {
        self.service_loads.remove(&id);
        Ok(())
    }

    fn reset_backend(&mut self, id: u32) -> Result<()> {
        self.loads.remove(&id);
        self.signs.remove(&id);
        Ok(())
    }

    fn backend_load(&self, id: u32) -> u64 {
        let load = self.loads.get(&id).copied().unwrap_or(0);
        u64::try_from(load).unwrap_or(0)
    }

    fn add_backend_load(&mut self, id: u32, by: i64) {
        *self.loads.entry(id).or_default() += by;
    }

    fn add_service_load(&mut self, id: u32, by: i64) {
        *self.service_loads.entry(id).or_default() += by;
    }

    fn purge_written(&mut self, backends: &BTreeSet<u32>) {
        self.purged.extend(backends);
    }

    fn written_counts(&self) -> Result<Vec<u64>> {
        Ok(vec![0; WrittenCount::ALL.len()])
    }

    fn table_memory(&self, services: &[u32]) -> u64 {
        let tables = services.iter().filter_map(|id| self.tables.get(id));
        tables.map(|table| 8 * table.room() as u64).sum()
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

    fn backend_signs(&self, id: u32) -> Result<Signs> {
        Ok(self.signs.get(&id).copied().unwrap_or_default())
    }
}

impl Recall for MemoryDatapath {
    fn clock(&self) -> Result<u64> {
        Ok(self.now)
    }

    fn flow(&self, client: &FlowKey) -> Result<Option<Flow>> {
        Ok(self.flows.get(client).copied())
    }

    fn line_seen(&self, hash: u64) -> Result<u64> {
        Ok(self.lines.get(&hash).copied().unwrap_or(0))
    }

    fn reply(&self, backend: &FlowKey) -> Result<Option<Reply>> {
        Ok(self.replies.get(backend).copied())
    }

    fn bucket(&self, hash: u64) -> [Entry; WAYS] {
        let mut bucket = [Entry::default(); WAYS];
        bucket[0] = self.written.get(&hash).copied().unwrap_or_default();
        bucket
    }

    fn service_load(&self, id: u32) -> u64 {
        let load = self.service_loads.get(&id).copied().unwrap_or(0);
        u64::try_from(load).unwrap_or(0)
    }

    fn service_rate(&self, _: u32) -> Result<u64> {
        Ok(0)
    }

    fn source_rate(&self, _: &SourceKey) -> Result<Option<u64>> {
        Ok(None)
    }
}
