//! What is remembered of flows, and what that costs.

use anyhow::Result;
use lb_common::{
    maps,
    written::{WrittenCount, WrittenState},
};

use crate::{
    api::protocol,
    config::ServiceSpec,
    control::{CheckKey, Controller, clock, service_entry},
    datapath::Datapath,
};

impl<D: Datapath> Controller<D> {
    /// The table of written flows.
    pub(super) fn written(&self) -> Result<protocol::Written> {
        let counts = self.datapath.written_counts()?;
        let count = |count: WrittenCount| counts.get(usize::from(count.wire())).copied().unwrap_or(0);
        let census = &self.census.written;
        let entries = |state: WrittenState| census.by_state[usize::from(state.wire())];
        Ok(protocol::Written {
            room: census.room,
            opened: entries(WrittenState::Opened) + entries(WrittenState::Claimed),
            confirmed: entries(WrittenState::Confirmed),
            closing: entries(WrittenState::Closing) + entries(WrittenState::Reset),
            clients: entries(WrittenState::Client),
            inserted: count(WrittenCount::Inserted),
            displaced: count(WrittenCount::Displaced),
            refused: count(WrittenCount::Refused),
        })
    }

    /// The memory of each map, the slot tables counted with the map that names them.
    pub(super) fn memory(&self) -> Vec<protocol::MapMemory> {
        let services: Vec<u32> = self.settling.keys().copied().collect();
        let tables = self.datapath.table_memory(&services);
        let memory = self.census.memory.iter().map(|usage| protocol::MapMemory {
            map: usage.map.clone(),
            bytes: usage.bytes + if usage.map == maps::SLOTS { tables } else { 0 },
        });
        memory.collect()
    }

    /// Active flows of a backend and by how much the last census has corrected their number, where they are counted.
    pub(super) fn load(&self, service: &ServiceSpec, id: u32) -> (Option<u64>, Option<i64>) {
        if !service_entry::is_tracked(service) {
            return (None, None);
        }
        let drift = self.drift.get(&id).copied();
        (Some(self.datapath.backend_load(id)), drift)
    }

    /// Seconds until the drain of a backend ends, if it drains.
    pub(super) fn drain_left(&self, service: &ServiceSpec, key: CheckKey) -> Option<u64> {
        let end = self.drains.end(key, service.drain_timeout)?;
        Some(end.saturating_duration_since(clock::now()).as_secs())
    }
}
