//! The data plane as the agent sees it.
//!
//! [`Datapath`] is what the control loop needs: [`bpf`] is the kernel, `memory` a double for tests without one. Around the
//! kernel's: [`preflight`] (can this host do it at all?), [`cpus`] (how many it has), [`pins`] (what outlives the agent), [`interfaces`] (what they ask of the
//! program), [`nics`] (what devices do to its frames), [`load`] (program and maps), `shapes` (how large those are), [`attach`] (interfaces), [`generic`] (what the program knows of their modes), [`mapped`] (arrays in our memory), [`slot_table`] (who has which flows) [`flow_table`] and [`written_table`] (ageing and counting flows), [`sweep`] (both), [`recall`] (single flows), [`records`] (lists of them); [`probing`] (probes through it).

pub mod attach;
mod board;
pub mod bpf;
pub mod cpus;
pub mod flow_table;
pub mod generic;
pub mod interfaces;
pub mod lines;
pub mod load;
pub mod mapped;
#[cfg(test)]
pub mod memory;
pub mod nics;
pub mod pins;
pub mod preflight;
pub mod probing;
pub mod recall;
pub mod records;
mod shapes;
pub mod slot_table;
pub mod sweep;
pub mod usage;
pub mod written_table;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use lb_common::{
    addr::Addr,
    backend::{Backend, BackendLimits, BackendWord},
    next_hop::{Egress, VlanDevice},
    service::{PortKey, QuicServerKey, Service, ServiceKey, Vip},
    sign::Signs,
    slot::Slot,
    traffic::{Count, Traffic},
};

pub use recall::Recall;
pub use slot_table::SlotTable;

/// What the data plane holds of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub services: BTreeMap<ServiceKey, Service>,
    pub vips: BTreeMap<Addr, Vip>,
    /// By the length of the prefix and its first address.
    pub networks: BTreeMap<(u32, Addr), Vip>,
    /// By the length of the prefix and its first key.
    pub ports: BTreeMap<(u32, PortKey), Service>,
    /// Ids of the backends that have issued QUIC connection IDs.
    pub quic_servers: BTreeMap<QuicServerKey, u32>,
    /// How many backends of translating services have the address.
    pub hairpins: BTreeMap<Addr, u32>,
    /// Addresses of the balancer itself.
    pub locals: BTreeSet<Addr>,
    /// Source addresses of translated flows, by index.
    pub sources: BTreeMap<u32, Addr>,
    /// By the index of the VLAN device.
    pub vlan_devices: BTreeMap<u32, VlanDevice>,
    /// Bits of [`lb_common::maps::switches`].
    pub switches: u32,
    /// Backends in use (their word is not free), by id.
    pub backends: BTreeMap<u32, (Backend, BackendWord)>,
    /// Of the same backends.
    pub limits: BTreeMap<u32, BackendLimits>,
    /// Generations of all ids that have ever been given out, by id.
    pub generations: BTreeMap<u32, u32>,
    /// Next hops in use, by index.
    pub next_hops: BTreeMap<u32, Egress>,
}

/// The data plane's tables. One writer: the control loop.
pub trait Datapath: Recall {
    /// Reads everything back, as an agent does that finds pins of an earlier one.
    fn snapshot(&self) -> Result<Snapshot>;
    fn put_backend(&mut self, id: u32, backend: &Backend) -> Result<()>;
    /// One store; the next packet sees it.
    fn set_word(&mut self, id: u32, word: BackendWord);
    /// One store; the next new flow sees it.
    fn set_limits(&mut self, id: u32, limits: BackendLimits);
    fn put_next_hop(&mut self, index: u32, way: &Egress) -> Result<()>;
    /// The service's slot table; an empty one if it has none.
    fn table(&self, service: u32) -> Result<SlotTable>;
    /// Puts a whole slot table in place of the service's old one; packets see the one or the other.
    fn put_table(&mut self, service: u32, table: &SlotTable) -> Result<()>;
    /// Changes single slots of the service's table, each by one store.
    fn store_slots(&mut self, service: u32, changes: &[(u32, Slot)]) -> Result<()>;
    /// Frees the service's slot table.
    fn clear_table(&mut self, service: u32) -> Result<()>;
    fn put_service(&mut self, key: &ServiceKey, service: &Service) -> Result<()>;
    fn remove_service(&mut self, key: &ServiceKey) -> Result<()>;
    fn put_vip(&mut self, address: &Addr, vip: &Vip) -> Result<()>;
    fn remove_vip(&mut self, address: &Addr) -> Result<()>;
    /// A VIP that is a network: `prefix_len` bits of an address from `base` on.
    fn put_network(&mut self, prefix_len: u32, base: &Addr, vip: &Vip) -> Result<()>;
    fn remove_network(&mut self, prefix_len: u32, base: &Addr) -> Result<()>;
    /// Ports of a VIP: `prefix_len` bits of a key from `first` on.
    fn put_ports(&mut self, prefix_len: u32, first: &PortKey, service: &Service) -> Result<()>;
    fn remove_ports(&mut self, prefix_len: u32, first: &PortKey) -> Result<()>;
    fn put_quic_server(&mut self, server: &QuicServerKey, backend: u32) -> Result<()>;
    fn remove_quic_server(&mut self, server: &QuicServerKey) -> Result<()>;
    fn put_hairpin(&mut self, address: &Addr, backends: u32) -> Result<()>;
    fn remove_hairpin(&mut self, address: &Addr) -> Result<()>;
    /// An address of the balancer itself, which no client has.
    fn put_local(&mut self, address: &Addr) -> Result<()>;
    fn remove_local(&mut self, address: &Addr) -> Result<()>;
    fn put_source(&mut self, index: u32, address: &Addr) -> Result<()>;
    fn put_vlan_device(&mut self, ifindex: u32, device: &VlanDevice) -> Result<()>;
    fn remove_vlan_device(&mut self, ifindex: u32) -> Result<()>;
    /// One store; the next packet sees it.
    fn set_switches(&mut self, switches: u32);
    /// Sets the counters of a service that is new under its id to zero, its active flows and its rate too.
    fn reset_service(&mut self, id: u32) -> Result<()>;
    /// The same of a backend.
    fn reset_backend(&mut self, id: u32) -> Result<()>;
    /// Active flows of a backend, where they are counted.
    fn backend_load(&self, id: u32) -> u64;
    /// Corrects the count.
    fn add_backend_load(&mut self, id: u32, by: i64);
    /// Corrects the count of a service's active flows.
    fn add_service_load(&mut self, id: u32, by: i64);
    /// Forgets the flows and clients that are written down for backends.
    fn purge_written(&mut self, backends: &BTreeSet<u32>);
    /// Counts in the order of [`lb_common::written::WrittenCount::ALL`].
    fn written_counts(&self) -> Result<Vec<u64>>;
    /// Bytes of kernel memory that the slot tables of services take.
    fn table_memory(&self, services: &[u32]) -> u64;
    /// Counts by outcome, in the order of [`lb_common::outcome::Outcome::ALL`].
    fn outcomes(&self) -> Result<Vec<Count>>;
    fn service_traffic(&self, id: u32) -> Result<Traffic>;
    fn backend_traffic(&self, id: u32) -> Result<Traffic>;
    /// What clients have suffered of a backend, as far as the program has seen it, since the id was given out.
    fn backend_signs(&self, id: u32) -> Result<Signs>;
}
