//! Ageing, counting and forgetting of the flows that are written down.
//!
//! The table is in our memory, and an entry is one word: it is taken out by a compare-and-swap, so that one which the program has
//! refreshed meanwhile stays.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use aya::maps::{Array, IterableMap as _, Map, MapData, MapError};
use lb_common::{
    maps,
    written::{self, Bucket, Entry, ForBucket, MAX_SILENCE, WAYS, WrittenFor, WrittenState, WrittenTimeouts},
};

use crate::datapath::{mapped::MappedArray, pins::Pins};

/// The table, and the counters of active flows that follow it.
#[derive(Debug)]
pub struct WrittenTable {
    entries: MappedArray,
    beside: MappedArray,
    backend_loads: MappedArray,
    service_loads: MappedArray,
}

/// How long entries last, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Lifetimes {
    /// Of flows that may be TCP.
    pub tcp: WrittenTimeouts,
    /// Of services that have no other flows than UDP.
    pub udp: u64,
    pub services: BTreeMap<u32, Lifetime>,
}

/// What of it depends on the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    pub only_udp: bool,
    /// How long a client stays with its backend.
    pub client: u64,
}

/// What is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenCensus {
    /// Entries that there is room for.
    pub room: u64,
    /// Entries by state, in the order of [`WrittenState::ALL`].
    pub by_state: [u64; WrittenState::ALL.len()],
    /// Flows, by backend.
    pub flows: BTreeMap<u32, u64>,
    /// Those of them that are active: neither closed nor reset.
    pub active: BTreeMap<u32, u64>,
    /// The same by service.
    pub active_of_services: BTreeMap<u32, u64>,
    /// Who has flows of which slots, by service.
    pub places: BTreeMap<u32, Places>,
}

/// Who has flows that are written down, by the 16 bits of a hash that choose a slot in a table of any size. In order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(Vec<u32>);

impl Places {
    /// A hash of the slot, and the backend.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        let parts = |&place: &u32| (u64::from(place >> 16) << 48, place & 0xffff);
        self.0.iter().map(parts)
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(u64, u32)> for Places {
    fn from_iter<I: IntoIterator<Item = (u64, u32)>>(places: I) -> Self {
        let packed = |(hash, backend): (u64, u32)| WrittenFor::new(backend, hash).0.rotate_left(16);
        let mut places = Self(places.into_iter().map(packed).collect());
        places.order();
        places
    }
}

impl Places {
    fn order(&mut self) {
        self.0.sort_unstable();
        self.0.dedup();
    }
}

impl WrittenTable {
    /// Opens the pinned tables.
    ///
    /// # Errors
    /// When they are not there.
    pub fn open(pins: &Pins) -> Result<Self> {
        Self::of(
            &pinned(pins, maps::WRITTEN)?,
            &pinned(pins, maps::WRITTEN_FOR)?,
            [
                &pinned(pins, maps::BACKEND_LOADS)?,
                &pinned(pins, maps::SERVICE_LOADS)?,
            ],
        )
    }

    /// Takes the tables of a loaded object.
    ///
    /// # Errors
    /// When they cannot be mapped.
    pub fn of(
        entries: &Array<MapData, Bucket>,
        beside: &Array<MapData, ForBucket>,
        [backends, services]: [&Array<MapData, u64>; 2],
    ) -> Result<Self> {
        Ok(Self {
            entries: MappedArray::of(entries.map().fd(), entries.len(), size_of::<Bucket>())?,
            beside: MappedArray::of(beside.map().fd(), beside.len(), size_of::<ForBucket>())?,
            backend_loads: MappedArray::new(backends.map().fd(), backends.len())?,
            service_loads: MappedArray::new(services.map().fd(), services.len())?,
        })
    }

    /// Active flows of backends and services, as they are counted.
    #[must_use]
    pub const fn loads(&self) -> (&MappedArray, &MappedArray) {
        (&self.backend_loads, &self.service_loads)
    }

    /// All that is written down in the place of a hash.
    #[must_use]
    pub fn bucket(&self, hash: u64) -> [Entry; WAYS] {
        let first = self.first_of(hash);
        std::array::from_fn(|way| Entry(self.entries.load(first + way)))
    }

    /// Calls `act` with the place of every entry, the entry and what is beside it; with a hash, of its bucket alone.
    pub fn each(&self, hash: Option<u64>, mut act: impl FnMut(usize, Entry, WrittenFor)) {
        let places = match hash.map(|hash| self.first_of(hash)) {
            Some(first) => first..first + WAYS,
            None => 0..self.entries.words(),
        };
        for index in places {
            let entry = Entry(self.entries.load(index));
            if entry.state() != WrittenState::Empty {
                act(index, entry, WrittenFor(self.beside.load_half(index)));
            }
        }
    }

    /// Where the entries of a hash begin.
    fn first_of(&self, hash: u64) -> usize {
        let buckets = u32::try_from(self.entries.words() / WAYS).unwrap_or(u32::MAX);
        written::bucket(hash, buckets.saturating_sub(1)) as usize * WAYS
    }

    /// Counts what lives, and removes the rest.
    #[must_use]
    pub fn sweep(&self, lifetimes: &Lifetimes, now: u64) -> WrittenCensus {
        let mut census = WrittenCensus {
            room: self.entries.words() as u64,
            ..WrittenCensus::default()
        };
        for index in 0..self.entries.words() {
            let entry = Entry(self.entries.load(index));
            if entry.state() == WrittenState::Empty {
                continue;
            }
            let beside = WrittenFor(self.beside.load_half(index));
            if lifetimes.is_over(entry, beside.service(), now) && self.take_out(index, entry, beside) {
                continue;
            }
            census.count(entry, beside);
        }
        census.places.values_mut().for_each(Places::order);
        census
    }

    /// Forgets what is written down for `backends`.
    pub fn purge(&self, backends: &BTreeSet<u32>) {
        self.each(None, |index, entry, beside| {
            if backends.contains(&entry.backend()) {
                self.take_out(index, entry, beside);
            }
        });
    }

    /// Takes an entry out, unless it has changed; whether it did.
    pub(super) fn take_out(&self, index: usize, entry: Entry, beside: WrittenFor) -> bool {
        if !self.entries.replace(index, entry.0, 0) {
            return false;
        }
        if entry.state().is_active() {
            self.unload(entry.backend(), beside.service());
        }
        true
    }

    /// Takes in that an active flow is over.
    pub fn unload(&self, backend: u32, service: u32) {
        self.backend_loads.add(backend as usize, -1);
        self.service_loads.add(service as usize, -1);
    }
}

impl Lifetimes {
    /// Whether an entry of a service has been silent for too long.
    #[must_use]
    pub fn is_over(&self, entry: Entry, service: u32, now: u64) -> bool {
        let service = self.services.get(&service).copied().unwrap_or_default();
        let lifetime = match entry.state() {
            WrittenState::Client => service.client,
            _ if service.only_udp => self.udp,
            state => self.tcp.of(state),
        };
        entry.is_expired(lifetime.min(MAX_SILENCE), now)
    }
}

impl WrittenCensus {
    fn count(&mut self, entry: Entry, beside: WrittenFor) {
        let state = entry.state();
        self.by_state[usize::from(state.wire())] += 1;
        if state == WrittenState::Client {
            return;
        }
        let (backend, service) = (entry.backend(), beside.service());
        *self.flows.entry(backend).or_default() += 1;
        if entry.state().is_active() {
            *self.active.entry(backend).or_default() += 1;
            *self.active_of_services.entry(service).or_default() += 1;
        }
        let place = beside.0 << 16 | backend;
        self.places.entry(service).or_default().0.push(place);
    }
}

fn pinned<M: TryFrom<Map, Error = MapError>>(pins: &Pins, name: &str) -> Result<M> {
    let path = pins.map(name);
    let open = MapData::from_pin(&path).and_then(|data| M::try_from(Map::Array(data)));
    open.with_context(|| format!("open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use lb_common::{conn::Timeouts, slot::SlotBits};

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 100_000 * SECOND;

    fn array(words: usize) -> MappedArray {
        let file = tempfile::tempfile().unwrap();
        file.set_len(words as u64 * 8).unwrap();
        MappedArray::new(file, words.try_into().unwrap()).unwrap()
    }

    fn table() -> WrittenTable {
        WrittenTable {
            entries: array(64),
            beside: array(32),
            backend_loads: array(8),
            service_loads: array(8),
        }
    }

    fn lifetimes() -> Lifetimes {
        let service = |only_udp, seconds| Lifetime {
            only_udp,
            client: seconds * SECOND,
        };
        Lifetimes {
            tcp: WrittenTimeouts::new(&Timeouts {
                syn: 10 * SECOND,
                established: 7200 * SECOND,
                fin: 120 * SECOND,
                closed: 10 * SECOND,
                udp: 60 * SECOND,
            }),
            udp: 60 * SECOND,
            services: [(1, service(false, 300)), (2, service(true, 0))].into(),
        }
    }

    impl WrittenTable {
        /// Writes a flow of `service` down that has been silent for so many seconds.
        fn write(&self, index: usize, service: u32, backend: u32, state: WrittenState, silent: u64) {
            let hash = (index as u64) << 58;
            let entry = Entry::new(hash, backend, 1, state, NOW - silent * SECOND);
            let half = self.beside.load_half(index ^ 1);
            let beside = WrittenFor::new(service, hash).0;
            let (low, high) = if index.is_multiple_of(2) {
                (beside, half)
            } else {
                (half, beside)
            };
            self.beside
                .store(index / 2, u64::from(low) | u64::from(high) << 32);
            self.entries.store(index, entry.0);
            if entry.state().is_active() {
                self.backend_loads.add(backend as usize, 1);
                self.service_loads.add(service as usize, 1);
            }
        }
    }

    #[test]
    fn what_is_over_goes_with_its_load_and_the_rest_is_counted() {
        use WrittenState::{Client, Closing, Confirmed, Opened};
        let table = table();
        let living = [
            (1, Opened, 50),
            (1, Confirmed, 7100),
            (1, Closing, 100),
            (1, Client, 290),
            (2, Confirmed, 50),
        ];
        let over = [
            (1, Opened, 70),
            (1, Confirmed, 7300),
            (1, Closing, 130),
            (1, Client, 310),
            (2, Confirmed, 70),
            // Nobody keeps clients of a service without affinity.
            (2, Client, 10),
        ];
        for (index, (service, state, silent)) in living.into_iter().chain(over).enumerate() {
            table.write(index, service, 3, state, silent);
        }
        let census = table.sweep(&lifetimes(), NOW);
        assert_eq!(census.by_state, [0, 1, 2, 1, 1, 0, 0]);
        assert_eq!((census.room, census.flows[&3], census.active[&3]), (64, 4, 3));
        assert_eq!(census.active_of_services, [(1, 2), (2, 1)].into());
        let (backends, services) = table.loads();
        assert_eq!((backends.load(3), services.load(1), services.load(2)), (3, 2, 1));
        assert_eq!(table.sweep(&lifetimes(), NOW), census);
    }

    #[test]
    fn a_backend_is_forgotten_and_no_other() {
        let table = table();
        for index in 0..8 {
            let backend = u32::try_from(index).unwrap() % 4;
            table.write(index, 1, backend, WrittenState::Confirmed, 0);
        }
        table.purge(&[1, 2].into());
        let census = table.sweep(&lifetimes(), NOW);
        assert_eq!(census.flows, [(0, 2), (3, 2)].into());
        let loads: Vec<_> = table.loads().0.all().take(4).collect();
        assert_eq!((loads, table.loads().1.load(1)), (vec![2, 0, 0, 2], 4));
    }

    #[test]
    fn places_say_the_slot_in_any_table_and_the_backend() {
        let table = table();
        for index in [3, 63, 3] {
            table.write(index, 1, 65_535, WrittenState::Closing, 0);
        }
        let census = table.sweep(&lifetimes(), NOW);
        let slots: Vec<_> = census.places[&1]
            .iter()
            .map(|(hash, backend)| (SlotBits::MIN.slot(hash), backend))
            .collect();
        assert_eq!(slots, [(3 << 4, 65_535), (63 << 4, 65_535)]);
        assert_eq!(census.places[&1].iter().collect::<Places>(), census.places[&1]);
    }
}
