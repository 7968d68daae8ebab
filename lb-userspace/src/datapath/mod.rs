//! The data plane as the agent sees it.
//!
//! [`Datapath`] is what the control loop needs: [`bpf`] is the kernel, `memory` a double for tests without one. Around the
//! kernel's: [`preflight`] (can this host do it at all?), [`pins`] (what outlives the agent), [`load`] (program and maps),
//! [`attach`] (interfaces), [`mapped`] (arrays in our memory) and [`flow_table`] (ageing and counting flows).

pub mod attach;
pub mod bpf;
pub mod flow_table;
pub mod load;
pub mod mapped;
#[cfg(test)]
pub mod memory;
pub mod pins;
pub mod preflight;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use lb_common::{
    addr::Addr,
    backend::{Backend, BackendWord},
    next_hop::NextHop,
    service::{Service, ServiceKey},
    traffic::{Count, Traffic},
};

/// What the data plane holds of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub services: BTreeMap<KeyOrd, Service>,
    pub vips: BTreeSet<[u32; 4]>,
    /// Backends in use (their word is not free), by id.
    pub backends: BTreeMap<u32, (Backend, BackendWord)>,
    /// Generations of all ids that have ever been given out, by id.
    pub generations: BTreeMap<u32, u32>,
    /// Next hops in use, by index.
    pub next_hops: BTreeMap<u32, NextHop>,
}

/// A [`ServiceKey`] with an order, so that plans are the same each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyOrd {
    vip: [u32; 4],
    port: u16,
    protocol: u16,
}

impl From<ServiceKey> for KeyOrd {
    fn from(key: ServiceKey) -> Self {
        Self {
            vip: key.vip.words(),
            port: key.port,
            protocol: key.protocol,
        }
    }
}

impl From<KeyOrd> for ServiceKey {
    fn from(key: KeyOrd) -> Self {
        Self {
            vip: Addr::from_words(key.vip),
            port: key.port,
            protocol: key.protocol,
        }
    }
}

/// The data plane's tables. One writer: the control loop.
pub trait Datapath {
    /// Reads everything back, as an agent does that finds pins of an earlier one.
    fn snapshot(&self) -> Result<Snapshot>;
    fn put_backend(&mut self, id: u32, backend: &Backend) -> Result<()>;
    /// One store; the next packet sees it.
    fn set_word(&mut self, id: u32, word: BackendWord);
    fn put_next_hop(&mut self, index: u32, hop: &NextHop) -> Result<()>;
    /// Whether the service's slot table is this one already.
    fn has_table(&self, service: u32, slots: &[u32]) -> bool;
    /// Puts a whole slot table in place of the service's old one; packets see the one or the other.
    fn put_table(&mut self, service: u32, slots: &[u32]) -> Result<()>;
    /// Frees the service's slot table.
    fn clear_table(&mut self, service: u32) -> Result<()>;
    fn put_service(&mut self, key: &ServiceKey, service: &Service) -> Result<()>;
    fn remove_service(&mut self, key: &ServiceKey) -> Result<()>;
    fn put_vip(&mut self, vip: &Addr) -> Result<()>;
    fn remove_vip(&mut self, vip: &Addr) -> Result<()>;
    /// Sets the counters of a service that is new under its id to zero.
    fn reset_service_traffic(&mut self, id: u32) -> Result<()>;
    fn reset_backend_traffic(&mut self, id: u32) -> Result<()>;
    /// Counts by outcome, in the order of [`lb_common::outcome::Outcome::ALL`].
    fn outcomes(&self) -> Result<Vec<Count>>;
    fn service_traffic(&self, id: u32) -> Result<Traffic>;
    fn backend_traffic(&self, id: u32) -> Result<Traffic>;
}
