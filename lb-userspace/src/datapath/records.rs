//! What is remembered of flows, to be listed and to be forgotten at somebody's wish.

use std::{collections::BTreeSet, fmt};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData};
use lb_common::{
    backend::Backend,
    conn::{Flow, Reply},
    flow::FlowKey,
    maps,
    written::{Entry, WrittenFor, WrittenState},
};

use crate::datapath::{flow_table, lines::Lines, pins::Pins, recall, sweep, written_table::WrittenTable};

/// The tables, opened a second time: to walk them takes long and is done beside the control loop. Like a sweep, what is taken out here is
/// only what nobody has changed meanwhile.
pub struct Records {
    flows: HashMap<MapData, FlowKey, Flow>,
    replies: HashMap<MapData, FlowKey, Reply>,
    backends: Array<MapData, Backend>,
    written: WrittenTable,
    lines: Lines,
    hash_key: [u64; 2],
    capacity: usize,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// Which flows are meant: those that are all of this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Select {
    pub service: Option<u32>,
    /// With its generation.
    pub backend: Option<(u32, u32)>,
    /// By the client's packets, and the hash that it is written down by.
    pub flow: Option<(FlowKey, u64)>,
}

/// A flow that is translated.
#[derive(Clone, Copy, Debug)]
pub struct Translated {
    /// The client's packets.
    pub client: FlowKey,
    /// The backend's, if it is known where that is.
    pub backend: Option<FlowKey>,
    pub flow: Flow,
}

/// A flow that is written down.
#[derive(Clone, Copy, Debug)]
pub struct Noted {
    pub entry: Entry,
    pub beside: WrittenFor,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The first of them.
    pub translated: Vec<Translated>,
    pub written: Vec<Noted>,
    /// How many there are.
    pub translated_total: u64,
    pub written_total: u64,
    /// The clock that they are stamped with.
    pub now: u64,
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub translated: u64,
    pub written: u64,
    /// Clients whose next flow would have gone where their last one went.
    pub clients: u64,
}

impl Records {
    /// Opens the pinned tables of a program whose flows are hashed under `hash_key`.
    ///
    /// # Errors
    /// When they are not there.
    pub fn open(pins: &Pins, hash_key: [u64; 2]) -> Result<Self> {
        let open = |name| {
            let path = pins.map(name);
            MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))
        };
        let flows = open(maps::FLOWS)?;
        let capacity = flows.info()?.max_entries() as usize;
        Ok(Self {
            flows: Map::LruHashMap(flows).try_into()?,
            replies: Map::LruHashMap(open(maps::REPLIES)?).try_into()?,
            backends: Map::Array(open(maps::BACKENDS)?).try_into()?,
            written: WrittenTable::open(pins)?,
            lines: Lines::of(&Map::Array(open(maps::LINES)?).try_into()?)?,
            hash_key,
            capacity,
        })
    }

    /// Finds the flows that are meant; of each kind the first `limit`.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn find(&self, select: &Select, limit: usize) -> Result<Found> {
        let mut found = Found {
            now: sweep::now()?,
            ..Found::default()
        };
        for client in self.keys(select)? {
            let Some(flow) = self.meant(&client, select)? else {
                continue;
            };
            found.translated_total += 1;
            if found.translated.len() < limit {
                found.translated.push(Translated {
                    client,
                    backend: self.answered_as(&client, &flow)?,
                    flow,
                });
            }
        }
        self.written
            .each(select.flow.map(|(_, hash)| hash), |_, entry, beside| {
                if is_meant(select, entry, beside) && entry.state() != WrittenState::Client {
                    found.written_total += 1;
                    if found.written.len() < limit {
                        found.written.push(Noted { entry, beside });
                    }
                }
            });
        Ok(found)
    }

    /// Forgets the flows that are meant, both ways, and takes them off the counters of active flows.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn forget(&mut self, select: &Select) -> Result<Forgotten> {
        let mut forgotten = Forgotten::default();
        if let Some((client, _)) = select.flow {
            // Its line may be all that is left of it.
            self.lines.forget(client.hash(self.hash_key));
        }
        for client in self.keys(select)? {
            let Some(flow) = self.meant(&client, select)? else {
                continue;
            };
            let answered = match self.answered_as(&client, &flow)? {
                Some(key) => recall::found(&self.replies, &key)?
                    .filter(|reply| reply.flow == client)
                    .map(|_| key),
                None => None,
            };
            // An entry that the LRU has taken meanwhile is gone already.
            let is_gone = self.flows.remove(&client).is_err();
            if let Some(answered) = answered.filter(|_| !is_gone) {
                drop(self.replies.remove(&answered));
            }
            // Last: a packet that has the entry in hand writes its line once more, and takes it back where it finds nothing for the
            // answers.
            self.lines.forget(client.hash(self.hash_key));
            if is_gone {
                continue;
            }
            forgotten.translated += 1;
            if flow_table::is_active(&flow) {
                self.written.unload(flow.backend, flow.service);
            }
        }
        let written = &self.written;
        written.each(select.flow.map(|(_, hash)| hash), |index, entry, beside| {
            if !is_meant(select, entry, beside) || !written.take_out(index, entry, beside) {
                return;
            }
            match entry.state() {
                WrittenState::Client => forgotten.clients += 1,
                _ => forgotten.written += 1,
            }
        });
        Ok(forgotten)
    }

    fn keys(&self, select: &Select) -> Result<BTreeSet<FlowKey>> {
        if let Some((client, _)) = select.flow {
            return Ok([client].into());
        }
        let keys = flow_table::walk(self.flows.keys(), self.capacity);
        Ok(keys.context("read the flows")?.into_iter().collect())
    }

    /// The flow of a key, if it is meant.
    fn meant(&self, client: &FlowKey, select: &Select) -> Result<Option<Flow>> {
        let Some(mut flow) = recall::found(&self.flows, client).context("read the flows")? else {
            return Ok(None);
        };
        let by_line = self.lines.last_seen(client.hash(self.hash_key));
        flow.last_seen = flow.last_seen.max(by_line);
        let is_meant = select.service.is_none_or(|service| flow.service == service)
            && select
                .backend
                .is_none_or(|meant| (flow.backend, flow.generation) == meant);
        Ok(is_meant.then_some(flow))
    }

    /// What the backend of a flow answers it with.
    fn answered_as(&self, client: &FlowKey, flow: &Flow) -> Result<Option<FlowKey>> {
        if flow.backend >= self.backends.len() {
            return Ok(None);
        }
        let backend = self.backends.get(&flow.backend, 0).context("read the backends")?;
        let known = (!backend.addr.is_none())
            .then(|| recall::answered_as(client, &backend, flow.source, flow.source_port));
        Ok(known)
    }
}

fn is_meant(select: &Select, entry: Entry, beside: WrittenFor) -> bool {
    select.service.is_none_or(|service| beside.service() == service)
        && select
            .backend
            .is_none_or(|(id, generation)| entry.backend() == id && entry.is_of_generation(generation))
        && select.flow.is_none_or(|(_, hash)| entry.is_of(hash))
}
