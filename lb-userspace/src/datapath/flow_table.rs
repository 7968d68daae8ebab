//! Ageing and counting of the remembered flows.
//!
//! A flow ends here. The program takes an expired one for none where its five-tuple or source port is asked for anew, but a reply,
//! or a TCP packet that is no SYN, goes on with what it finds: until this sweep has removed the entry, it revives the flow.
//! So a flow lasts for its timeout, [`GRACE`] and the pause between two sweeps at most, and while no agent runs, until the LRU
//! takes its entry.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData, MapError};
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
        let (census, ended) = self.sweep_flows(now)?;
        self.sweep_replies(&ended)?;
        Ok(census)
    }

    /// Counts the living flows and removes the others, which it gives.
    fn sweep_flows(&mut self, now: u64) -> Result<(Census, HashSet<FlowKey>)> {
        let mut census = Census::default();
        let mut ended = HashSet::new();
        for key in walk(self.flows.keys(), self.capacity)? {
            let Ok(flow) = self.flows.get(&key, 0) else {
                continue;
            };
            if self.is_over(&flow, now) {
                // An entry that the LRU has taken meanwhile is gone already.
                drop(self.flows.remove(&key));
                ended.insert(key);
            } else {
                census.total += 1;
                *census.by_backend.entry(flow.backend).or_default() += 1;
            }
        }
        Ok((census, ended))
    }

    /// Removes the reply entries of flows that have `ended`, and of those that have been gone for a sweep.
    fn sweep_replies(&mut self, ended: &HashSet<FlowKey>) -> Result<()> {
        let mut orphans = HashSet::new();
        for key in walk(self.replies.keys(), self.capacity)? {
            let Ok(reply) = self.replies.get(&key, 0) else {
                continue;
            };
            let flow = self.flows.get(&reply.flow, 0);
            if flow.is_ok_and(|flow| flow.backend == reply.backend) {
                continue;
            }
            if ended.contains(&reply.flow) || self.orphans.contains(&key) {
                drop(self.replies.remove(&key));
            } else {
                orphans.insert(key);
            }
        }
        self.orphans = orphans;
        Ok(())
    }

    fn is_over(&self, flow: &Flow, now: u64) -> bool {
        let grace = u64::try_from(GRACE.as_nanos()).unwrap_or(u64::MAX);
        flow.is_expired(now.saturating_sub(grace), &self.timeouts)
    }
}

/// All keys of a table. A walk that loses its place because an entry went away begins anew, so it needs an end of its own.
fn walk(
    keys: impl Iterator<Item = Result<FlowKey, MapError>>,
    capacity: usize,
) -> Result<HashSet<FlowKey>, MapError> {
    keys.take(2 * capacity).collect()
}

/// The clock that the program stamps flows with.
fn now() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).context("read the monotonic clock")?;
    Ok(u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX))
}
