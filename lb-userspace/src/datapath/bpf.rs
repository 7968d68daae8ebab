//! The kernel's side of [`Datapath`]: typed handles on the maps.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{
        Array, ArrayOfMaps, HashMap, IterableMap as _, Map, MapData, MapError, PerCpuArray, PerCpuValues,
    },
    util::nr_cpus,
};
use lb_common::{
    addr::Addr,
    backend::{Backend, BackendState, BackendWord},
    limits::SLOTS,
    maps,
    next_hop::NextHop,
    outcome::Outcome,
    service::{Service, ServiceKey},
    traffic::{Count, Traffic},
};

use crate::datapath::{Datapath, Snapshot, mapped::MappedArray};

/// `BPF_F_MMAPABLE` (include/uapi/linux/bpf.h).
const MMAPABLE: u32 = 1 << 10;

type SlotTable = Array<MapData, u32>;

/// The maps of a loaded program.
pub struct BpfDatapath {
    services: HashMap<MapData, ServiceKey, Service>,
    vips: HashMap<MapData, Addr, u32>,
    slots: ArrayOfMaps<MapData, SlotTable>,
    /// Stands in for the table of a service that is gone: names no backend.
    empty: SlotTable,
    backends: Array<MapData, Backend>,
    words: MappedArray,
    next_hops: Array<MapData, NextHop>,
    outcomes: PerCpuArray<MapData, Count>,
    service_traffic: PerCpuArray<MapData, Traffic>,
    backend_traffic: PerCpuArray<MapData, Traffic>,
}

impl BpfDatapath {
    /// Takes the maps out of a loaded object.
    ///
    /// # Errors
    /// When the object lacks one of them or has it in another shape.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let words: Array<MapData, u64> = take(ebpf, maps::BACKEND_WORDS)?;
        Ok(Self {
            services: take(ebpf, maps::SERVICES)?,
            vips: take(ebpf, maps::VIPS)?,
            slots: take(ebpf, maps::SLOTS)?,
            empty: SlotTable::create(SLOTS, MMAPABLE).context("make a slot table")?,
            backends: take(ebpf, maps::BACKENDS)?,
            words: MappedArray::new(words.map().fd(), words.len())?,
            next_hops: take(ebpf, maps::NEXT_HOPS)?,
            outcomes: take(ebpf, maps::OUTCOMES)?,
            service_traffic: take(ebpf, maps::SERVICE_TRAFFIC)?,
            backend_traffic: take(ebpf, maps::BACKEND_TRAFFIC)?,
        })
    }
}

impl Datapath for BpfDatapath {
    fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        for entry in self.services.iter() {
            let (key, service) = entry.context("read the services")?;
            snapshot.services.insert(key.into(), service);
        }
        for vip in self.vips.keys() {
            snapshot.vips.insert(vip.context("read the VIPs")?.words());
        }
        for id in 1..self.backends.len() {
            let word = BackendWord(self.words.load(id));
            if word.generation() != 0 {
                snapshot.generations.insert(id, word.generation());
            }
            if word.state() != BackendState::Free {
                let backend = self.backends.get(&id, 0).context("read the backends")?;
                snapshot.backends.insert(id, (backend, word));
            }
        }
        for index in 1..self.next_hops.len() {
            let hop = self.next_hops.get(&index, 0).context("read the next hops")?;
            if hop.ifindex != 0 {
                snapshot.next_hops.insert(index, hop);
            }
        }
        Ok(snapshot)
    }

    fn put_backend(&mut self, id: u32, backend: &Backend) -> Result<()> {
        self.backends
            .set(id, backend, 0)
            .with_context(|| format!("write backend {id}"))
    }

    fn set_word(&mut self, id: u32, word: BackendWord) {
        self.words.store(id, word.0);
    }

    fn put_next_hop(&mut self, index: u32, hop: &NextHop) -> Result<()> {
        self.next_hops
            .set(index, hop, 0)
            .with_context(|| format!("write next hop {index}"))
    }

    fn has_table(&self, service: u32, slots: &[u32]) -> bool {
        // One that cannot be read, or is none yet, is simply written.
        let table = self.slots.get(&service, 0).ok();
        let mapped = table.and_then(|table| MappedArray::new(table.map().fd(), SLOTS).ok());
        mapped.is_some_and(|mapped| mapped.holds(slots))
    }

    fn put_table(&mut self, service: u32, slots: &[u32]) -> Result<()> {
        let table = SlotTable::create(SLOTS, MMAPABLE).context("make a slot table")?;
        MappedArray::new(table.map().fd(), SLOTS)?.fill(slots);
        self.slots
            .set(service, &table, 0)
            .with_context(|| format!("swap the slot table of service {service}"))
    }

    fn clear_table(&mut self, service: u32) -> Result<()> {
        self.slots
            .set(service, &self.empty, 0)
            .with_context(|| format!("clear the slot table of service {service}"))
    }

    fn put_service(&mut self, key: &ServiceKey, service: &Service) -> Result<()> {
        self.services
            .insert(key, service, 0)
            .with_context(|| format!("write service {}", service.id))
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<()> {
        gone(self.services.remove(key)).context("remove a service")
    }

    fn put_vip(&mut self, vip: &Addr) -> Result<()> {
        self.vips.insert(vip, 1, 0).context("write a VIP")
    }

    fn remove_vip(&mut self, vip: &Addr) -> Result<()> {
        gone(self.vips.remove(vip)).context("remove a VIP")
    }

    fn reset_service_traffic(&mut self, id: u32) -> Result<()> {
        self.service_traffic
            .set(id, zeros()?, 0)
            .context("reset a service's counters")
    }

    fn reset_backend_traffic(&mut self, id: u32) -> Result<()> {
        self.backend_traffic
            .set(id, zeros()?, 0)
            .context("reset a backend's counters")
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
}

fn traffic(map: &PerCpuArray<MapData, Traffic>, id: u32) -> Result<Traffic, MapError> {
    Ok(map
        .get(&id, 0)?
        .iter()
        .fold(Traffic::default(), |sum, one| sum.plus(*one)))
}

fn zeros() -> Result<PerCpuValues<Traffic>> {
    let cpus = nr_cpus().map_err(|(file, error)| anyhow::anyhow!("{file}: {error}"))?;
    PerCpuValues::try_from(vec![Traffic::default(); cpus]).context("make a zero for each CPU")
}

/// An entry that is not there is removed already.
fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(MapError::KeyNotFound) => Ok(()),
        other => other,
    }
}

fn take<M: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<M> {
    let map = ebpf
        .take_map(name)
        .with_context(|| format!("the BPF object has no map {name}"))?;
    M::try_from(map).with_context(|| format!("the map {name} is of another kind"))
}
