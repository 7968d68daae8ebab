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
    conn::{Flow, FlowState, Reply, Timeouts},
    flow::FlowKey,
    maps,
};

use crate::datapath::{pins::Pins, written_table::WrittenTable};

/// How long after its end a flow is removed: a packet on its way through the program at that moment must not lose the entry
/// that it has just found alive.
const GRACE: Duration = Duration::from_secs(5);

/// How long a backend may take to answer a SYN: until the client repeats it (RFC 6298 §2.1).
const ANSWER: Duration = Duration::from_secs(1);

/// The flow tables, opened a second time: sweeping takes long and runs beside the control loop.
#[derive(Debug)]
pub struct FlowTable {
    flows: HashMap<MapData, FlowKey, Flow>,
    replies: HashMap<MapData, FlowKey, Reply>,
    timeouts: Timeouts,
    capacity: usize,
    /// Flows whose last packet is not after this have been counted where they were unanswered; none before the first sweep.
    judged: Option<u64>,
    /// Reply entries without a flow in the last sweep. A flow is written after its reply entry, so one sighting may be just
    /// that moment.
    orphans: HashSet<FlowKey>,
}

/// How many flows are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowCensus {
    /// By backend id.
    pub by_backend: BTreeMap<u32, u64>,
    /// Those that are not over, by backend id.
    pub active: BTreeMap<u32, u64>,
    /// The same by service id.
    pub active_of_services: BTreeMap<u32, u64>,
    /// Those that have become late since the sweep before: of which the backend has not answered a packet for [`ANSWER`]. By backend
    /// id.
    pub unanswered: BTreeMap<u32, u64>,
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
            judged: None,
            orphans: HashSet::new(),
        })
    }

    /// Counts the living flows and removes the others, which are then no load any more.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn sweep(&mut self, now: u64, written: &WrittenTable) -> Result<FlowCensus> {
        let (census, ended) = self.sweep_flows(now, written)?;
        self.sweep_replies(&ended)?;
        Ok(census)
    }

    /// Counts the living flows and removes the others, which it gives.
    fn sweep_flows(&mut self, now: u64, written: &WrittenTable) -> Result<(FlowCensus, HashSet<FlowKey>)> {
        let mut census = FlowCensus::default();
        let late = now.saturating_sub(nanoseconds(ANSWER));
        let judged = self.judged.replace(late).unwrap_or(late);
        let mut ended = HashSet::new();
        for key in walk(self.flows.keys(), self.capacity)? {
            let Ok(flow) = self.flows.get(&key, 0) else {
                continue;
            };
            census.judge(&flow, judged, late);
            if self.is_over(&flow, now) {
                // An entry that the LRU has taken meanwhile is gone already.
                if self.flows.remove(&key).is_ok() && is_active(&flow) {
                    written.unload(flow.backend, flow.service);
                }
                ended.insert(key);
            } else {
                census.count(&flow);
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
        flow.is_expired(now.saturating_sub(nanoseconds(GRACE)), &self.timeouts)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl FlowCensus {
    /// Counts a flow that the backend has not answered, and whose last packet is of after `judged` and until `late`.
    fn judge(&mut self, flow: &Flow, judged: u64, late: u64) {
        if flow.state() == FlowState::Syn && flow.last_seen > judged && flow.last_seen <= late {
            *self.unanswered.entry(flow.backend).or_default() += 1;
        }
    }

    fn count(&mut self, flow: &Flow) {
        *self.by_backend.entry(flow.backend).or_default() += 1;
        if is_active(flow) {
            *self.active.entry(flow.backend).or_default() += 1;
            *self.active_of_services.entry(flow.service).or_default() += 1;
        }
    }
}

/// Whether the counters of active flows count it.
pub(super) fn is_active(flow: &Flow) -> bool {
    let state = u8::try_from(flow.state).ok().and_then(FlowState::from_wire);
    state.is_some_and(|state| !state.is_over())
}

/// All keys of a table. A walk that loses its place because an entry went away begins anew, so it needs an end of its own.
pub(super) fn walk(
    keys: impl Iterator<Item = Result<FlowKey, MapError>>,
    capacity: usize,
) -> Result<HashSet<FlowKey>, MapError> {
    keys.take(2 * capacity).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_without_an_answer_is_counted_in_one_sweep() {
        let flow = |state: FlowState, last_seen| Flow {
            backend: 7,
            state: u32::from(state.wire()),
            last_seen,
            ..Flow::default()
        };
        let counted = |flow: Flow| {
            let sweeps = [(0, 100), (100, 200), (200, 300)].map(|(judged, late)| {
                let mut census = FlowCensus::default();
                census.judge(&flow, judged, late);
                census.unanswered.get(&7).copied().unwrap_or(0)
            });
            sweeps.to_vec()
        };
        assert_eq!(counted(flow(FlowState::Syn, 100)), [1, 0, 0]);
        assert_eq!(counted(flow(FlowState::Syn, 101)), [0, 1, 0]);
        assert_eq!(counted(flow(FlowState::Syn, 301)), [0, 0, 0], "not late yet");
        for &state in FlowState::ALL.iter().filter(|state| **state != FlowState::Syn) {
            assert_eq!(counted(flow(state, 150)), [0, 0, 0], "{state:?}");
        }
    }
}
