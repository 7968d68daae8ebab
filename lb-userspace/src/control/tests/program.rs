//! The program in a few lines: what docs/flows.md says of a packet, with the decisions that both sides share.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use lb_common::{
    backend::{BackendLimits, BackendWord},
    flow::FlowKey,
    hash,
    limits::{NO_BACKEND, PICK_TRIES},
    pick::{self, Opens, Pool, Rigour},
    service::{Picker, Service, service_flags},
    slot::Slot,
    written::{Entry, WrittenFor, WrittenState, WrittenTimeouts},
};

use crate::{
    control::clock,
    datapath::{
        SlotTable,
        memory::MemoryDatapath,
        sweep::Census,
        written_table::{Lifetime, Lifetimes, WrittenCensus},
    },
};

pub const HASH_KEY: [u64; 2] = [3, 5];
pub const UDP: u32 = 17;
const SECOND: u64 = 1_000_000_000;

/// The program's own memory: a table of written flows that is never full.
#[derive(Debug)]
pub struct Program {
    written: HashMap<u64, (Entry, WrittenFor)>,
    started: Instant,
    random: std::cell::Cell<u64>,
}

struct Tables<'a> {
    datapath: &'a MemoryDatapath,
    table: &'a SlotTable,
    random: &'a std::cell::Cell<u64>,
}

impl Tables<'_> {
    fn next(&self) -> u64 {
        self.random.set(hash::next(self.random.get()));
        self.random.get()
    }
}

impl Pool for Tables<'_> {
    fn slot(&self, hash: u64) -> Slot {
        self.table.slot(hash)
    }

    fn member(&self, place: u32) -> u32 {
        self.table.members.get(place as usize).copied().unwrap_or(0)
    }

    fn word(&self, id: u32) -> BackendWord {
        self.datapath.words.get(&id).copied().unwrap_or_default()
    }

    fn limits(&self, id: u32) -> BackendLimits {
        self.datapath
            .snapshot
            .limits
            .get(&id)
            .copied()
            .unwrap_or_default()
    }

    fn load(&self, id: u32) -> u64 {
        let load = self.datapath.loads.get(&id).copied().unwrap_or(0);
        u64::try_from(load).unwrap_or(0)
    }

    fn service_load(&self) -> u64 {
        self.datapath
            .service_loads
            .values()
            .map(|&load| u64::try_from(load).unwrap_or(0))
            .sum()
    }

    fn random(&self) -> u32 {
        (self.next() >> 32).try_into().unwrap()
    }

    fn turn(&self) -> u32 {
        (self.next() >> 48).try_into().unwrap()
    }
}

impl Program {
    pub fn new() -> Self {
        Self {
            written: HashMap::new(),
            started: clock::now(),
            random: std::cell::Cell::new(1),
        }
    }

    /// Where a packet of the one service goes; 0 for nowhere.
    pub fn send(&mut self, datapath: &mut MemoryDatapath, flow: &FlowKey, opens: Opens) -> u32 {
        let Some(service) = datapath.snapshot.services.values().next().copied() else {
            return NO_BACKEND;
        };
        let tables = Tables {
            datapath,
            table: &datapath.tables[&service.id],
            random: &self.random,
        };
        let picker = Picker::from_wire(service.picker).unwrap();
        let home = Picker::from_wire(service.home).unwrap();
        let home_hash = pick::slot_key(home, &service, flow).hash(HASH_KEY);
        let slot = tables.slot(home_hash);
        let is_unsettled = service.flags & service_flags::UNSETTLED != 0;
        if !is_unsettled && slot.is_settled() && tables.word(slot.owner()).is_plain() {
            return slot.owner();
        }
        let key = pick::flow_key(&service, flow).hash(HASH_KEY);
        let now = self.now();
        if let Some((entry, _)) = self.written.get_mut(&key) {
            let word = tables.word(entry.backend());
            let is_alive = !lifetimes(flow.protocol == UDP).is_over(*entry, 0, now)
                && word.keeps_flow_of(word.generation())
                && entry.is_of_generation(word.generation());
            let stays = match opens {
                Opens::First => word.takes_new_flows(),
                Opens::Unknown => service.flags & service_flags::UDP_MOVES == 0 || word.takes_new_flows(),
                Opens::Later => true,
            };
            if is_alive && stays {
                let state = match opens {
                    Opens::First => entry.state(),
                    Opens::Later | Opens::Unknown => WrittenState::Confirmed,
                };
                let before = active(*entry);
                *entry = entry.refreshed(state, now);
                let (after, backend) = (active(*entry), entry.backend());
                load(datapath, service.id, backend, after - before);
                return backend;
            }
        }
        let moves = pick::datagrams_move(&service, slot);
        // An entry that does not hold says that the flow was somewhere else; left alone, it would hold again once its backend is back.
        let is_known = self.written.contains_key(&key);
        let is_old = !is_known && pick::stays_home(slot, tables.word(slot.home()), opens, moves);
        let backend = if is_old {
            slot.home()
        } else {
            pick_new(&tables, &service, picker, flow)
        };
        if backend != NO_BACKEND && (is_known || pick::is_written(&service, slot, backend)) {
            let generation = tables.word(backend).generation();
            let state = if opens == Opens::Later {
                WrittenState::Claimed
            } else {
                WrittenState::Opened
            };
            let entry = Entry::new(key, backend, generation, state, now);
            let beside = WrittenFor::new(service.id, home_hash);
            if let Some((old, _)) = self.written.insert(key, (entry, beside)) {
                load(datapath, service.id, old.backend(), -active(old));
            }
            load(datapath, service.id, backend, active(entry));
        }
        backend
    }

    /// What the agent purges is gone, as in the kernel's table.
    pub fn purge(&mut self, datapath: &mut MemoryDatapath) {
        for backend in std::mem::take(&mut datapath.purged) {
            self.remove(datapath, |entry, _| entry.backend() == backend);
        }
    }

    /// Sweeps the table, and counts what is there.
    pub fn census(&mut self, datapath: &mut MemoryDatapath) -> Census {
        self.sweep(datapath);
        let mut census = Census::empty(clock::now());
        let mut places: BTreeMap<u32, Vec<(u64, u32)>> = BTreeMap::new();
        let mut written = WrittenCensus::default();
        for (entry, beside) in self.written.values() {
            let (backend, service) = (entry.backend(), beside.service());
            *written.flows.entry(backend).or_default() += 1;
            *written.active.entry(backend).or_default() += 1;
            *written.active_of_services.entry(service).or_default() += 1;
            let place = (beside.home_hash(), backend);
            places.entry(service).or_default().push(place);
        }
        written.places = places
            .into_iter()
            .map(|(id, places)| (id, places.into_iter().collect()))
            .collect();
        let loads = |loads: &BTreeMap<u32, i64>| {
            let ids = 0..=loads.keys().max().copied().unwrap_or(0);
            ids.map(|id| loads.get(&id).copied().unwrap_or(0))
                .collect::<Vec<_>>()
        };
        census.backend_loads.before = loads(&datapath.loads);
        census.backend_loads.after = loads(&datapath.loads);
        census.service_loads.before = loads(&datapath.service_loads);
        census.service_loads.after = loads(&datapath.service_loads);
        census.written = written;
        census
    }

    /// Removes what is over: often enough that no age counts round.
    pub fn sweep(&mut self, datapath: &mut MemoryDatapath) {
        let (lifetimes, now) = (lifetimes(false), self.now());
        self.remove(datapath, |entry, service| lifetimes.is_over(entry, service, now));
    }

    pub fn written(&self) -> usize {
        self.written.len()
    }

    fn remove(&mut self, datapath: &mut MemoryDatapath, is_over: impl Fn(Entry, u32) -> bool) {
        self.written.retain(|_, (entry, beside)| {
            let goes = is_over(*entry, beside.service());
            if goes {
                load(datapath, beside.service(), entry.backend(), -active(*entry));
            }
            !goes
        });
    }

    /// What is written down of a flow, by its hash.
    pub fn known(&self, flow: &FlowKey) -> Option<(u64, Entry)> {
        let hash = flow.hash(HASH_KEY);
        self.written.get(&hash).map(|&(entry, _)| (hash, entry))
    }

    pub fn now(&self) -> u64 {
        let since = clock::now() - self.started;
        u64::try_from(since.as_nanos()).unwrap() + 1000 * SECOND
    }
}

/// How many active flows an entry counts as.
fn active(entry: Entry) -> i64 {
    entry.state().is_active().into()
}

fn load(datapath: &mut MemoryDatapath, service: u32, backend: u32, by: i64) {
    *datapath.loads.entry(backend).or_default() += by;
    *datapath.service_loads.entry(service).or_default() += by;
}

fn pick_new(tables: &Tables<'_>, service: &Service, picker: Picker, flow: &FlowKey) -> u32 {
    let wanted = pick::wanted(tables, service, picker);
    if pick::takes(tables, service, wanted, Rigour::Limits) {
        return wanted;
    }
    for rigour in [Rigour::Strict, Rigour::Limits] {
        let mut step = pick::slot_key(picker, service, flow).hash(HASH_KEY);
        for _ in 0..PICK_TRIES {
            let id = tables.slot(step).owner();
            if pick::takes(tables, service, id, rigour) {
                return id;
            }
            step = hash::next(step);
        }
    }
    let hash = pick::slot_key(picker, service, flow).hash(HASH_KEY);
    let is_limited = service.flags & service_flags::TRACKED != 0;
    match pick::first(tables, service, pick::place_of(service, hash)) {
        id if is_limited => id,
        _ => NO_BACKEND,
    }
}

/// The defaults, of service 0.
fn lifetimes(only_udp: bool) -> Lifetimes {
    let lifetime = Lifetime {
        only_udp,
        ..Lifetime::default()
    };
    Lifetimes {
        tcp: WrittenTimeouts::new(&lb_common::conn::Timeouts {
            syn: 10 * SECOND,
            established: 7200 * SECOND,
            fin: 120 * SECOND,
            closed: 10 * SECOND,
            udp: 60 * SECOND,
        }),
        udp: seconds(60),
        services: [(0, lifetime)].into(),
    }
}

fn seconds(seconds: u64) -> u64 {
    u64::try_from(Duration::from_secs(seconds).as_nanos()).unwrap()
}
