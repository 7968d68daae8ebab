//! Ageing and counting of the remembered flows.
//!
//! The program takes an expired flow for none, and the LRU reuses its entry, so nothing depends on this sweep but the numbers
//! that people see and the room that the table keeps.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData};
use lb_common::{
    conn::{Flow, Reply, Timeouts},
    flow::FlowKey,
    maps,
};
use nix::time::{ClockId, clock_gettime};

use crate::datapath::pins::Pins;

/// How long after its end a flow is removed: a packet on its way through the program at that moment must not lose the entry
/// that it has just found alive.
const GRACE: Duration = Duration::from_secs(5);

/// The flow tables, opened a second time: sweeping takes long and runs beside the control loop.
#[derive(Debug)]
pub struct FlowTable {
    flows: HashMap<MapData, FlowKey, Flow>,
    replies: HashMap<MapData, FlowKey, Reply>,
    timeouts: Timeouts,
    capacity: usize,
    /// Reply entries without a flow in the last sweep. A flow is written after its reply entry, so one sighting may be just
    /// that moment.
    orphans: HashSet<FlowKey>,
}

/// How many flows are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub total: u64,
    /// By backend id.
    pub by_backend: BTreeMap<u32, u64>,
}

impl FlowTable {
    /// Opens the pinned tables.
    ///
    /// # Errors
    /// When they are not there.
    pub fn open(pins: &Pins, timeouts: Timeouts) -> Result<Self> {
        let open = |name| {
            let path = pins.map(name);
            MapData::from_pin(&path)
                .map(Map::LruHashMap)
                .with_context(|| format!("open {}", path.display()))
        };
        let flows = open(maps::FLOWS)?;
        let capacity = match &flows {
            Map::LruHashMap(data) => data.info()?.max_entries() as usize,
            _ => 0,
        };
        Ok(Self {
            flows: flows.try_into()?,
            replies: open(maps::REPLIES)?.try_into()?,
            timeouts,
            capacity,
            orphans: HashSet::new(),
        })
    }

    /// Counts the living flows and removes the others.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn sweep(&mut self) -> Result<Census> {
        let now = now()?;
        let mut census = Census::default();
        let mut orphans = HashSet::new();
        // A walk that loses its place because an entry went away begins anew, so it needs an end of its own.
        let keys: HashSet<FlowKey> = self
            .replies
            .keys()
            .take(2 * self.capacity)
            .collect::<Result<_, _>>()?;
        for key in keys {
            let Ok(reply) = self.replies.get(&key, 0) else {
                continue;
            };
            match self.flows.get(&reply.flow, 0) {
                Ok(flow) if flow.backend == reply.backend => {
                    if self.is_over(&flow, now) {
                        self.remove(&key, &reply.flow);
                    } else {
                        census.total += 1;
                        *census.by_backend.entry(flow.backend).or_default() += 1;
                    }
                }
                _ if self.orphans.contains(&key) => drop(self.replies.remove(&key)),
                _ => drop(orphans.insert(key)),
            }
        }
        self.orphans = orphans;
        Ok(census)
    }

    fn is_over(&self, flow: &Flow, now: u64) -> bool {
        let grace = u64::try_from(GRACE.as_nanos()).unwrap_or(u64::MAX);
        flow.is_expired(now.saturating_sub(grace), &self.timeouts)
    }

    /// An entry that the LRU has taken meanwhile is gone already.
    fn remove(&mut self, reply: &FlowKey, flow: &FlowKey) {
        drop(self.flows.remove(flow));
        drop(self.replies.remove(reply));
    }
}

/// The clock that the program stamps flows with.
fn now() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).context("read the monotonic clock")?;
    Ok(u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX))
}
