//! From what is to what shall be: a pure diff of two states of the data plane.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use lb_common::{
    backend::{Backend, BackendLimits, BackendState, BackendWord},
    maps::switches,
    service::{Picker, Service},
    slot::SlotBits,
};

use crate::{
    config::Algorithm,
    control::entries::{Entries, Entry, Key},
    datapath::Snapshot,
};

/// The data plane's state, with each slot table as the members that it is filled with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub entries: Entries,
    /// Bits of [`switches`].
    pub switches: u32,
    pub backends: BTreeMap<u32, (Backend, u64)>,
    /// Of the same backends.
    pub limits: BTreeMap<u32, BackendLimits>,
    pub tables: BTreeMap<u32, Table>,
}

/// What a slot table is filled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub algorithm: Algorithm,
    /// The size that its pool needs.
    pub size: SlotBits,
    pub sharers: Vec<Sharer>,
    /// The ids behind the slots, in their order.
    pub members: Vec<u32>,
    pub found: Found,
}

/// A backend with slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharer {
    /// The same on every balancer.
    pub key: String,
    pub id: u32,
    pub weight: u16,
    pub priority: u8,
}

/// How the flows of a service are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// By the slot of its hash, if they are not written down.
    pub home: Picker,
    /// All are written down.
    pub is_tracked: bool,
    /// Whatever their slot says, they may be written down.
    pub is_unsettled: bool,
}

/// The word of an id that was never used.
const FREE: BackendWord = BackendWord(0);

/// One write to the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A backend that is new under its id, with counters at zero.
    NewBackend {
        id: u32,
        backend: Backend,
    },
    SetLimits {
        id: u32,
        limits: BackendLimits,
    },
    SetWord {
        id: u32,
        word: BackendWord,
    },
    /// Counters of a service that is new under its id.
    NewService {
        id: u32,
    },
    PutTable {
        service: u32,
        table: Table,
    },
    SetSwitches(u32),
    Put(Entry),
    Remove(Key),
    ClearTable {
        service: u32,
    },
    /// A backend that is to go is nobody's owner before any more.
    Forget {
        service: u32,
        backend: u32,
    },
    /// What is written down for backends that are gone.
    Purge(BTreeSet<u32>),
}

impl State {
    /// The state that an earlier agent has left. What its tables are filled with is not known.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            entries: Entries::of(snapshot),
            switches: snapshot.switches,
            backends: snapshot
                .backends
                .iter()
                .map(|(&id, &(backend, word))| (id, (backend, word.0)))
                .collect(),
            limits: snapshot.limits.clone(),
            tables: BTreeMap::new(),
        }
    }

    /// The entry that packets for a service find.
    #[must_use]
    pub fn service(&self, id: u32) -> Option<Service> {
        self.entries.service(id)
    }

    /// The state of a backend under this generation of its id.
    #[must_use]
    pub fn word(&self, id: u32, generation: u32) -> Option<BackendWord> {
        let word = self.backends.get(&id).map(|&(_, word)| BackendWord(word));
        word.filter(|word| word.generation() == generation)
    }

    /// Which tables have to be looked at for `entries` after this state. Replies are as long as there are any: flows of a
    /// service that is gone, or that translates no more, live on.
    #[must_use]
    pub fn switches_for(&self, entries: &Entries) -> u32 {
        entries.switches() | self.switches & switches::REPLIES
    }

    /// Takes in that a step has been carried out.
    pub fn took(&mut self, step: Step) {
        match step {
            // Nobody meets a backend without a word: until then it is there, and free.
            Step::NewBackend { id, backend } => {
                self.backends.entry(id).or_insert((backend, FREE.0)).0 = backend;
            }
            Step::SetLimits { id, limits } => _ = self.limits.insert(id, limits),
            Step::SetWord { id, word } if word.state() == BackendState::Free => {
                self.backends.remove(&id);
                self.limits.remove(&id);
            }
            Step::SetWord { id, word } => {
                if let Some(entry) = self.backends.get_mut(&id) {
                    entry.1 = word.0;
                }
            }
            Step::NewService { .. } | Step::Forget { .. } | Step::Purge(_) => {}
            Step::PutTable { service, table } => _ = self.tables.insert(service, table),
            Step::SetSwitches(switches) => self.switches = switches,
            Step::Put(entry) => self.entries.put(entry),
            Step::Remove(key) => self.entries.remove(key),
            Step::ClearTable { service } => _ = self.tables.remove(&service),
        }
    }

    fn service_ids(&self) -> BTreeSet<u32> {
        self.entries.services().collect()
    }
}

/// The steps from `applied` to `desired`, in an order in which packets never meet a name without its meaning: a backend
/// before a table that names it, a table before a service that uses it, a service before the address that it is found by, and
/// the other way round when they go. A switch is on from before the first entry of its table until after the last.
#[must_use]
pub fn plan(desired: &State, applied: &State) -> Vec<Step> {
    let mut steps = Vec::new();
    for (&id, &(backend, word)) in &desired.backends {
        let old = applied.backends.get(&id);
        if old.is_none_or(|(old, old_word)| *old != backend || generation(*old_word) != generation(word)) {
            steps.push(Step::NewBackend { id, backend });
        }
        if let Some(&limits) = desired.limits.get(&id)
            && applied.limits.get(&id) != Some(&limits)
        {
            steps.push(Step::SetLimits { id, limits });
        }
        if old.is_none_or(|(_, old_word)| *old_word != word) {
            steps.push(Step::SetWord {
                id,
                word: BackendWord(word),
            });
        }
    }
    let (new_ids, old_ids) = (desired.service_ids(), applied.service_ids());
    steps.extend(new_ids.difference(&old_ids).map(|&id| Step::NewService { id }));
    for (&service, table) in &desired.tables {
        if applied.tables.get(&service) != Some(table) {
            steps.push(Step::PutTable {
                service,
                table: table.clone(),
            });
        }
    }
    let both = applied.switches | desired.switches;
    if both != applied.switches {
        steps.push(Step::SetSwitches(both));
    }
    steps.extend(desired.entries.missing_in(&applied.entries).map(Step::Put));
    steps.extend(applied.entries.not_in(&desired.entries).map(Step::Remove));
    if desired.switches != both {
        steps.push(Step::SetSwitches(desired.switches));
    }
    let tables = old_ids.iter().chain(applied.tables.keys()).copied();
    let unused: BTreeSet<u32> = tables.filter(|id| !desired.tables.contains_key(id)).collect();
    steps.extend(unused.into_iter().map(|service| Step::ClearTable { service }));
    steps.extend(ends(desired, applied));
    steps
}

/// How backends go: nothing may name them any more, and then nothing is written down for them.
fn ends(desired: &State, applied: &State) -> Vec<Step> {
    let gone: Vec<_> = applied
        .backends
        .iter()
        .filter(|(id, (_, word))| {
            !desired.backends.contains_key(id) && BackendWord(*word).state() != BackendState::Free
        })
        .collect();
    if gone.is_empty() {
        return Vec::new();
    }
    let named = gone
        .iter()
        .map(|&(&backend, &(Backend { service, .. }, _))| (service, backend));
    let named = named.filter(|(service, _)| desired.tables.contains_key(service));
    let forget = named.map(|(service, backend)| Step::Forget { service, backend });
    let free = gone.iter().map(|&(&id, &(_, word))| Step::SetWord {
        id,
        word: BackendWord::new(BackendState::Free, 0, generation(word)),
    });
    let purge = Step::Purge(gone.iter().map(|(id, _)| **id).collect());
    forget.chain(free).chain([purge]).collect()
}

fn generation(word: u64) -> u32 {
    BackendWord(word).generation()
}
