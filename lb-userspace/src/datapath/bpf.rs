//! The kernel's side of [`Datapath`]: typed handles on the maps.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, Pod,
    maps::{
        Array, ArrayOfMaps, HashMap, IterableMap as _, LpmTrie, Map, MapData, MapError, PerCpuArray,
        PerCpuValues, lpm_trie,
    },
};
use lb_common::{
    addr::Addr,
    backend::{Backend, BackendLimits, BackendState, BackendWord},
    maps,
    next_hop::{Egress, VlanDevice},
    outcome::Outcome,
    service::{PortKey, QuicServerKey, Service, ServiceKey, Vip},
    sign::Signs,
    slot::{Slot, SlotBits},
    traffic::{Count, Traffic},
    written::WrittenCount,
};

use crate::datapath::{
    Datapath, SlotTable, Snapshot, board::Board, cpus, mapped::MappedArray, recall::Memory, usage,
    written_table::WrittenTable,
};

/// `BPF_F_MMAPABLE` and `BPF_F_INNER_MAP`, which lets slot tables differ in size (include/uapi/linux/bpf.h).
const TABLE_FLAGS: u32 = 1 << 10 | 1 << 12;

type TableMap = Array<MapData, u64>;

/// The maps of a loaded program.
pub struct BpfDatapath {
    services: HashMap<MapData, ServiceKey, Service>,
    vips: HashMap<MapData, Addr, Vip>,
    networks: LpmTrie<MapData, Addr, Vip>,
    ports: LpmTrie<MapData, PortKey, Service>,
    quic_servers: HashMap<MapData, QuicServerKey, u32>,
    hairpins: HashMap<MapData, Addr, u32>,
    locals: HashMap<MapData, Addr, u32>,
    sources: Array<MapData, Addr>,
    vlan_devices: HashMap<MapData, u32, VlanDevice>,
    board: Board,
    slots: ArrayOfMaps<MapData, TableMap>,
    backends: Array<MapData, Backend>,
    words: MappedArray,
    limits: MappedArray,
    pub(super) written: WrittenTable,
    pub(super) memory: Memory,
    written_counts: PerCpuArray<MapData, u64>,
    pub(super) service_rates: Array<MapData, u64>,
    next_hops: Array<MapData, Egress>,
    outcomes: PerCpuArray<MapData, Count>,
    service_traffic: PerCpuArray<MapData, Traffic>,
    backend_traffic: PerCpuArray<MapData, Traffic>,
    backend_signs: PerCpuArray<MapData, Signs>,
}

impl BpfDatapath {
    /// Takes the maps out of a loaded object.
    ///
    /// # Errors
    /// When the object lacks one of them or has it in another shape.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let words: Array<MapData, u64> = take(ebpf, maps::BACKEND_WORDS)?;
        let limits: Array<MapData, u64> = take(ebpf, maps::BACKEND_LIMITS)?;
        let board: Array<MapData, u64> = take(ebpf, maps::SWITCHES)?;
        let board = MappedArray::new(board.map().fd(), board.len())?;
        let vips: HashMap<MapData, Addr, Vip> = take(ebpf, maps::VIPS)?;
        let locals: HashMap<MapData, Addr, u32> = take(ebpf, maps::LOCALS)?;
        let known: Result<_, MapError> = vips.keys().collect();
        let ours: Result<_, MapError> = locals.keys().collect();
        Ok(Self {
            board: Board::new(
                board,
                known.context("read the VIPs")?,
                ours.context("read our own addresses")?,
            ),
            vips,
            locals,
            services: take(ebpf, maps::SERVICES)?,
            networks: take(ebpf, maps::NETWORKS)?,
            ports: take(ebpf, maps::PORTS)?,
            quic_servers: take(ebpf, maps::QUIC_SERVERS)?,
            hairpins: take(ebpf, maps::HAIRPINS)?,
            sources: take(ebpf, maps::SOURCES)?,
            vlan_devices: take(ebpf, maps::VLAN_DEVICES)?,
            slots: take(ebpf, maps::SLOTS)?,
            backends: take(ebpf, maps::BACKENDS)?,
            words: MappedArray::new(words.map().fd(), words.len())?,
            limits: MappedArray::new(limits.map().fd(), limits.len())?,
            written: WrittenTable::of(
                &take(ebpf, maps::WRITTEN)?,
                &take(ebpf, maps::WRITTEN_FOR)?,
                [
                    &take(ebpf, maps::BACKEND_LOADS)?,
                    &take(ebpf, maps::SERVICE_LOADS)?,
                ],
            )?,
            memory: Memory::new(ebpf)?,
            written_counts: take(ebpf, maps::WRITTEN_COUNTS)?,
            service_rates: take(ebpf, maps::SERVICE_RATES)?,
            next_hops: take(ebpf, maps::NEXT_HOPS)?,
            outcomes: take(ebpf, maps::OUTCOMES)?,
            service_traffic: take(ebpf, maps::SERVICE_TRAFFIC)?,
            backend_traffic: take(ebpf, maps::BACKEND_TRAFFIC)?,
            backend_signs: take(ebpf, maps::BACKEND_SIGNS)?,
        })
    }

    fn read_backends(&self, snapshot: &mut Snapshot) -> Result<()> {
        for id in 1..self.backends.len() {
            let word = BackendWord(self.words.load(id as usize));
            if word.generation() != 0 {
                snapshot.generations.insert(id, word.generation());
            }
            if word.state() != BackendState::Free {
                let backend = self.backends.get(&id, 0).context("read the backends")?;
                snapshot.backends.insert(id, (backend, word));
                let limits = BackendLimits(self.limits.load(id as usize));
                snapshot.limits.insert(id, limits);
            }
        }
        for index in 1..self.next_hops.len() {
            let way = self.next_hops.get(&index, 0).context("read the next hops")?;
            if way.hop.ifindex != 0 {
                snapshot.next_hops.insert(index, way);
            }
        }
        Ok(())
    }

    /// The map of a service's slot table, and its words.
    fn table_map(&self, service: u32) -> Result<Option<(TableMap, MappedArray)>> {
        let map = match self.slots.get(&service, 0) {
            // No service has had the id before.
            Err(error) if is_missing(&error) => return Ok(None),
            map => map.with_context(|| format!("open the slot table of service {service}"))?,
        };
        let mapped = MappedArray::new(map.map().fd(), map.len())?;
        Ok(Some((map, mapped)))
    }

    fn read_sources(&self) -> Result<BTreeMap<u32, Addr>> {
        let mut sources = BTreeMap::new();
        for index in 0..self.sources.len() {
            let address = self.sources.get(&index, 0).context("read the sources")?;
            if !address.is_none() {
                sources.insert(index, address);
            }
        }
        Ok(sources)
    }
}

impl Datapath for BpfDatapath {
    fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot {
            services: all(self.services.iter()).context("read the services")?,
            vips: all(self.vips.iter()).context("read the VIPs")?,
            networks: prefixes(self.networks.iter()).context("read the networks")?,
            ports: prefixes(self.ports.iter()).context("read the ports")?,
            quic_servers: all(self.quic_servers.iter()).context("read the QUIC server IDs")?,
            hairpins: all(self.hairpins.iter()).context("read the hairpins")?,
            locals: all::<_, u32>(self.locals.iter())
                .context("read our own addresses")?
                .into_keys()
                .collect(),
            sources: self.read_sources()?,
            vlan_devices: all(self.vlan_devices.iter()).context("read the VLAN devices")?,
            switches: self.board.switches(),
            ..Snapshot::default()
        };
        self.read_backends(&mut snapshot)?;
        Ok(snapshot)
    }

    fn put_backend(&mut self, id: u32, backend: &Backend) -> Result<()> {
        self.backends
            .set(id, backend, 0)
            .with_context(|| format!("write backend {id}"))
    }

    fn set_word(&mut self, id: u32, word: BackendWord) {
        self.words.store(id as usize, word.0);
    }

    fn set_limits(&mut self, id: u32, limits: BackendLimits) {
        self.limits.store(id as usize, limits.0);
    }

    fn put_next_hop(&mut self, index: u32, way: &Egress) -> Result<()> {
        self.next_hops
            .set(index, way, 0)
            .with_context(|| format!("write next hop {index}"))
    }

    fn table(&self, service: u32) -> Result<SlotTable> {
        match self.table_map(service)? {
            Some((_, mapped)) => Ok(SlotTable::of_words(mapped.all())),
            None => Ok(SlotTable::empty(SlotBits::MIN)),
        }
    }

    fn put_table(&mut self, service: u32, table: &SlotTable) -> Result<()> {
        let room = u32::try_from(table.room()).context("make a slot table")?;
        let map = TableMap::create(room, TABLE_FLAGS).context("make a slot table")?;
        MappedArray::new(map.map().fd(), room)?.fill(table.words());
        self.slots
            .set(service, &map, 0)
            .with_context(|| format!("swap the slot table of service {service}"))
    }

    fn store_slots(&mut self, service: u32, changes: &[(u32, Slot)]) -> Result<()> {
        if let Some((_, mapped)) = self.table_map(service)? {
            for &(index, slot) in changes {
                mapped.store(index as usize, slot.0);
            }
        }
        Ok(())
    }

    fn clear_table(&mut self, service: u32) -> Result<()> {
        self.put_table(service, &SlotTable::empty(SlotBits::MIN))
            .with_context(|| format!("clear the slot table of service {service}"))
    }

    fn put_service(&mut self, key: &ServiceKey, service: &Service) -> Result<()> {
        self.services
            .insert(key, service, 0)
            .with_context(|| format!("write service {}", service.id))?;
        self.board.changed();
        Ok(())
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<()> {
        gone(self.services.remove(key)).context("remove a service")?;
        self.board.changed();
        Ok(())
    }

    fn put_vip(&mut self, address: &Addr, vip: &Vip) -> Result<()> {
        self.board.add_vip(*address);
        self.vips.insert(address, vip, 0).context("write a VIP")?;
        self.board.changed();
        Ok(())
    }

    fn remove_vip(&mut self, address: &Addr) -> Result<()> {
        gone(self.vips.remove(address)).context("remove a VIP")?;
        self.board.remove_vip(address);
        self.board.changed();
        Ok(())
    }

    fn put_network(&mut self, prefix_len: u32, base: &Addr, vip: &Vip) -> Result<()> {
        let key = lpm_trie::Key::new(prefix_len, *base);
        self.networks.insert(&key, vip, 0).context("write a network")?;
        self.board.changed();
        Ok(())
    }

    fn remove_network(&mut self, prefix_len: u32, base: &Addr) -> Result<()> {
        let key = lpm_trie::Key::new(prefix_len, *base);
        gone(self.networks.remove(&key)).context("remove a network")?;
        self.board.changed();
        Ok(())
    }

    fn put_ports(&mut self, prefix_len: u32, first: &PortKey, service: &Service) -> Result<()> {
        let key = lpm_trie::Key::new(prefix_len, *first);
        self.ports
            .insert(&key, service, 0)
            .with_context(|| format!("write ports of service {}", service.id))?;
        self.board.changed();
        Ok(())
    }

    fn remove_ports(&mut self, prefix_len: u32, first: &PortKey) -> Result<()> {
        let key = lpm_trie::Key::new(prefix_len, *first);
        gone(self.ports.remove(&key)).context("remove ports")?;
        self.board.changed();
        Ok(())
    }

    fn put_quic_server(&mut self, server: &QuicServerKey, backend: u32) -> Result<()> {
        self.quic_servers
            .insert(server, backend, 0)
            .with_context(|| format!("write the QUIC server ID of backend {backend}"))
    }

    fn remove_quic_server(&mut self, server: &QuicServerKey) -> Result<()> {
        gone(self.quic_servers.remove(server)).context("remove a QUIC server ID")
    }

    fn put_hairpin(&mut self, address: &Addr, backends: u32) -> Result<()> {
        self.hairpins
            .insert(address, backends, 0)
            .context("write a hairpin")
    }

    fn remove_hairpin(&mut self, address: &Addr) -> Result<()> {
        gone(self.hairpins.remove(address)).context("remove a hairpin")
    }

    fn put_local(&mut self, address: &Addr) -> Result<()> {
        self.board.add_local(*address);
        self.locals
            .insert(address, 0, 0)
            .context("write an address of ours")
    }

    fn remove_local(&mut self, address: &Addr) -> Result<()> {
        gone(self.locals.remove(address)).context("remove an address of ours")?;
        self.board.remove_local(address);
        Ok(())
    }

    fn put_source(&mut self, index: u32, address: &Addr) -> Result<()> {
        self.sources
            .set(index, address, 0)
            .with_context(|| format!("write source {index}"))
    }

    fn put_vlan_device(&mut self, ifindex: u32, device: &VlanDevice) -> Result<()> {
        self.vlan_devices
            .insert(ifindex, device, 0)
            .with_context(|| format!("write VLAN device {ifindex}"))
    }

    fn remove_vlan_device(&mut self, ifindex: u32) -> Result<()> {
        gone(self.vlan_devices.remove(&ifindex)).context("remove a VLAN device")
    }

    fn set_switches(&mut self, switches: u32) {
        self.board.set_switches(switches);
    }

    fn reset_service(&mut self, id: u32) -> Result<()> {
        self.written.loads().1.store(id as usize, 0);
        self.service_rates
            .set(id, 0, 0)
            .context("reset a service's rate")?;
        self.service_traffic
            .set(id, zeros()?, 0)
            .context("reset a service's counters")
    }

    fn reset_backend(&mut self, id: u32) -> Result<()> {
        self.written.loads().0.store(id as usize, 0);
        self.backend_signs
            .set(id, zeros()?, 0)
            .context("reset a backend's signs")?;
        self.backend_traffic
            .set(id, zeros()?, 0)
            .context("reset a backend's counters")
    }

    fn backend_load(&self, id: u32) -> u64 {
        counted(self.written.loads().0.load(id as usize))
    }

    fn add_backend_load(&mut self, id: u32, by: i64) {
        self.written.loads().0.add(id as usize, by);
    }

    fn add_service_load(&mut self, id: u32, by: i64) {
        self.written.loads().1.add(id as usize, by);
    }

    fn purge_written(&mut self, backends: &BTreeSet<u32>) {
        self.written.purge(backends);
    }

    fn written_counts(&self) -> Result<Vec<u64>> {
        let sum = |count: &WrittenCount| {
            let values = self.written_counts.get(&count.wire().into(), 0)?;
            Ok(values.iter().fold(0, |sum: u64, count| sum.wrapping_add(*count)))
        };
        let counts: Result<_, MapError> = WrittenCount::ALL.iter().map(sum).collect();
        counts.context("read the counts of written flows")
    }

    fn table_memory(&self, services: &[u32]) -> u64 {
        let tables = services.iter().filter_map(|&id| self.slots.get(&id, 0).ok());
        tables.filter_map(|table| usage::of(table.map().fd()).ok()).sum()
    }

    fn outcomes(&self) -> Result<Vec<Count>> {
        let sum = |index| {
            let values = self.outcomes.get(&index, 0).context("read the outcomes")?;
            Ok(values.iter().fold(Count::default(), |sum, count| Count {
                packets: sum.packets.wrapping_add(count.packets),
                bytes: sum.bytes.wrapping_add(count.bytes),
            }))
        };
        Outcome::ALL
            .iter()
            .map(|outcome| sum(u32::from(outcome.wire())))
            .collect()
    }

    fn service_traffic(&self, id: u32) -> Result<Traffic> {
        traffic(&self.service_traffic, id).context("read a service's counters")
    }

    fn backend_traffic(&self, id: u32) -> Result<Traffic> {
        traffic(&self.backend_traffic, id).context("read a backend's counters")
    }

    fn backend_signs(&self, id: u32) -> Result<Signs> {
        let values = self.backend_signs.get(&id, 0).context("read a backend's signs")?;
        Ok(values.iter().fold(Signs::default(), |sum, one| sum.plus(*one)))
    }
}

fn traffic(map: &PerCpuArray<MapData, Traffic>, id: u32) -> Result<Traffic, MapError> {
    Ok(map
        .get(&id, 0)?
        .iter()
        .fold(Traffic::default(), |sum, one| sum.plus(*one)))
}

fn zeros<T: Pod + Default>() -> Result<PerCpuValues<T>> {
    let cpus = cpus::possible()? as usize;
    PerCpuValues::try_from(vec![T::default(); cpus]).context("make a zero for each CPU")
}

/// The entries of a map.
fn all<K: Ord, V>(
    entries: impl Iterator<Item = Result<(K, V), MapError>>,
) -> Result<BTreeMap<K, V>, MapError> {
    entries.collect()
}

/// The entries of a trie, by the length of the prefix and its first key.
fn prefixes<K: Ord + Pod, V>(
    entries: impl Iterator<Item = Result<(lpm_trie::Key<K>, V), MapError>>,
) -> Result<BTreeMap<(u32, K), V>, MapError> {
    entries
        .map(|entry| entry.map(|(key, value)| ((key.prefix_len(), key.data()), value)))
        .collect()
}

/// An entry that is not there is removed already.
pub(super) fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(error) if is_missing(&error) => Ok(()),
        other => other,
    }
}

pub(super) fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::SyscallError(error) => error.io_error.kind() == std::io::ErrorKind::NotFound,
        MapError::KeyNotFound => true,
        _ => false,
    }
}

/// A count that was taken off more often than put on, if only for a moment, is none.
pub(super) fn counted(load: u64) -> u64 {
    if load >> 63 == 0 { load } else { 0 }
}

pub(super) fn take<M: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<M> {
    let map = ebpf
        .take_map(name)
        .with_context(|| format!("the BPF object has no map {name}"))?;
    M::try_from(map).with_context(|| format!("the map {name} is of another kind"))
}
