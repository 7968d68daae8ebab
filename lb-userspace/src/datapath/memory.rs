//! A data plane without a kernel, for tests of the control loop.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use lb_common::{
    addr::Addr,
    backend::{Backend, BackendState, BackendWord},
    next_hop::NextHop,
    outcome::Outcome,
    service::{Service, ServiceKey},
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

    fn put_next_hop(&mut self, index: u32, hop: &NextHop) -> Result<()> {
        self.snapshot.next_hops.insert(index, *hop);
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
        self.snapshot.services.insert((*key).into(), *service);
        Ok(())
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<()> {
        self.snapshot.services.remove(&(*key).into());
        Ok(())
    }

    fn put_vip(&mut self, vip: &Addr) -> Result<()> {
        self.snapshot.vips.insert(vip.words());
        Ok(())
    }

    fn remove_vip(&mut self, vip: &Addr) -> Result<()> {
        self.snapshot.vips.remove(&vip.words());
        Ok(())
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
