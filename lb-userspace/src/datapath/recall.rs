//! What the program remembers of flows, to be read one by one.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, MapData, MapError},
};
use lb_common::{
    addr::Addr,
    backend::Backend,
    conn::{Flow, Reply},
    flow::FlowKey,
    line::Line,
    maps,
    rate::SourceKey,
    written::{Entry, WAYS},
};

use crate::datapath::{
    bpf::{self, BpfDatapath},
    lines::places,
};

/// The program's memory. Reading it changes nothing, not even what is thrown out next: the kernel marks entries of its LRU hashes as
/// used for programs alone (`htab_lru_map_lookup_elem_sys` in kernel/bpf/hashtab.c).
pub trait Recall {
    /// The clock that the program stamps flows with.
    fn clock(&self) -> Result<u64>;
    /// A flow that is translated, by the client's packets.
    fn flow(&self, client: &FlowKey) -> Result<Option<Flow>>;
    /// When a packet last went by the line of a flow with this hash, of which the flow's entry may know nothing; 0 without a line.
    fn line_seen(&self, hash: u64) -> Result<u64>;
    /// The same by the backend's.
    fn reply(&self, backend: &FlowKey) -> Result<Option<Reply>>;
    /// All that is written down in the place of a hash.
    fn bucket(&self, hash: u64) -> [Entry; WAYS];
    /// Active flows of a service.
    fn service_load(&self, id: u32) -> u64;
    /// What a service has left of its new flows.
    fn service_rate(&self, id: u32) -> Result<u64>;
    /// What a source has left of its; nothing for one that has had none.
    fn source_rate(&self, source: &SourceKey) -> Result<Option<u64>>;

    /// The entry of a hash; an empty one if there is none.
    fn written(&self, hash: u64) -> Entry {
        let entries = self.bucket(hash);
        let found = entries.into_iter().find(|entry| entry.is_of(hash));
        found.unwrap_or_default()
    }
}

/// The kernel's tables of it.
pub struct Memory {
    flows: HashMap<MapData, FlowKey, Flow>,
    replies: HashMap<MapData, FlowKey, Reply>,
    /// Asked once in a while: not in our memory, where it would count a second time.
    lines: Array<MapData, Line>,
    source_rates: HashMap<MapData, SourceKey, u64>,
}

impl Memory {
    /// Takes the tables of a loaded object.
    ///
    /// # Errors
    /// When it lacks one of them or has it in another shape.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            lines: bpf::take(ebpf, maps::LINES)?,
            flows: bpf::take(ebpf, maps::FLOWS)?,
            replies: bpf::take(ebpf, maps::REPLIES)?,
            source_rates: bpf::take(ebpf, maps::SOURCE_RATES)?,
        })
    }
}

impl Recall for BpfDatapath {
    fn clock(&self) -> Result<u64> {
        super::sweep::now()
    }

    fn flow(&self, client: &FlowKey) -> Result<Option<Flow>> {
        found(&self.memory.flows, client).context("read the flows")
    }

    fn line_seen(&self, hash: u64) -> Result<u64> {
        let (lines, mut seen) = (&self.memory.lines, 0);
        for place in places(hash, lines.len()) {
            let line = lines.get(&place, 0).context("read the lines")?;
            if line.hash == hash {
                seen = seen.max(line.seen);
            }
        }
        Ok(seen)
    }

    fn reply(&self, backend: &FlowKey) -> Result<Option<Reply>> {
        found(&self.memory.replies, backend).context("read the replies")
    }

    fn bucket(&self, hash: u64) -> [Entry; WAYS] {
        self.written.bucket(hash)
    }

    fn service_load(&self, id: u32) -> u64 {
        bpf::counted(self.written.loads().1.load(id as usize))
    }

    fn service_rate(&self, id: u32) -> Result<u64> {
        self.service_rates.get(&id, 0).context("read a service's rate")
    }

    fn source_rate(&self, source: &SourceKey) -> Result<Option<u64>> {
        found(&self.memory.source_rates, source).context("read the rates of sources")
    }
}

/// The entry of a key, if there is one.
pub(super) fn found<K: Pod, V: Pod>(map: &HashMap<MapData, K, V>, key: &K) -> Result<Option<V>, MapError> {
    match map.get(key, 0) {
        Err(error) if bpf::is_missing(&error) => Ok(None),
        found => found.map(Some),
    }
}

/// What `backend` answers a flow with, when it knows it by this source.
#[must_use]
pub fn answered_as(flow: &FlowKey, backend: &Backend, source: Addr, source_port: u16) -> FlowKey {
    let (destination, destination_port) = if source.is_none() {
        (flow.source, flow.source_port)
    } else {
        (source, source_port)
    };
    FlowKey {
        source: backend.addr,
        destination,
        source_port: if backend.port == 0 {
            flow.destination_port
        } else {
            backend.port
        },
        destination_port,
        protocol: flow.protocol,
    }
}
