//! The program under test, with a [`World`] in its maps.

pub mod door;
mod lines;
mod logged;
mod maps;
mod settings;
mod written;

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, HashMap, IterableMap as _, Map, MapData},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    backend::{BackendState, BackendWord},
    conn::{Flow, Fragment, FragmentKey, Reply, Timeouts},
    flow::FlowKey,
    line::Line,
    maps::{
        BACKEND_LOADS, FLOWS, FRAGMENTS, FRAGS_PROGRAM, LINES, PROGRAM, REPLIES, SERVICE_LOADS, WRITTEN,
        switches,
    },
    outcome::Outcome,
    service::Service,
    slot::Slot,
    written::Bucket,
};
use nix::sched::{CloneFlags, unshare};
use xlb::{
    config::AttachMode,
    datapath::{
        Datapath as _, SlotTable,
        bpf::BpfDatapath,
        generic::Generic,
        load::{self, Settings},
        mapped::MappedArray,
        pins::Pins,
    },
};
use xlb_tests::scope::Scope;

pub use self::settings::{HASH_KEY, SOURCE_PORTS, TIMEOUTS, settings};
use crate::{
    model::Key,
    world::{Change, World},
};

/// The program has 256 bytes before each frame of a test run, and may not make it longer than these.
const HEADROOM: usize = 256;

/// Bytes of a frame in its first buffer: a page, less the room before it and what the kernel keeps behind it
/// (`xdp_test_run_setup` in net/bpf/test_run.c).
pub const FIRST_BUFFER: usize = 4096 - HEADROOM - 320;

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub action: u32,
    pub outcome: Outcome,
    pub frame: Vec<u8>,
}

pub struct Rig {
    pub world: World,
    pub datapath: BpfDatapath,
    ebpf: Ebpf,
    flows: HashMap<MapData, FlowKey, Flow>,
    replies: HashMap<MapData, FlowKey, Reply>,
    fragments: HashMap<MapData, FragmentKey, Fragment>,
    /// What is written down, a word for each.
    written: MappedArray,
    /// Lines of translated flows, word by word.
    lines: MappedArray,
    /// Active flows, by backend and by service.
    loads: [MappedArray; 2],
    /// By id less one.
    words: Vec<BackendWord>,
    /// Services whose slots are no longer as the world has them.
    changed: BTreeSet<u32>,
    pins: Option<Pins>,
    _scope: Scope,
}

impl Rig {
    pub fn new(world: World) -> Result<Self> {
        Self::with_timeouts(world, TIMEOUTS)
    }

    pub fn with_timeouts(world: World, timeouts: Timeouts) -> Result<Self> {
        let settings = settings(&world, timeouts, false);
        Self::with_settings(world, &settings)
    }

    pub fn with_settings(world: World, settings: &Settings) -> Result<Self> {
        Self::make(world, settings, |_| Ok(()))
    }

    /// Has `more` loaded from the object that has the program, before its maps are taken.
    fn make(world: World, settings: &Settings, more: impl Fn(&mut Ebpf) -> Result<()>) -> Result<Self> {
        // A host of our own, without routes: this thread's, and gone with it.
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
        let scope = Scope::claim()?;
        let pins = Pins::take(&scope.pin_dir().join("packet"))?;
        let mut ebpf = load::load(&pins, settings)?;
        more(&mut ebpf)?;
        let mut generic = Generic::take(&mut ebpf)?;
        for &interface in &world.generic {
            generic.set(interface, AttachMode::Generic)?;
        }
        let mut datapath = BpfDatapath::new(&mut ebpf)?;
        maps::fill(&mut datapath, &world)?;
        let open = |name| Ok::<_, anyhow::Error>(Map::LruHashMap(MapData::from_pin(pins.map(name))?));
        Ok(Self {
            flows: open(FLOWS)?.try_into()?,
            replies: open(REPLIES)?.try_into()?,
            fragments: open(FRAGMENTS)?.try_into()?,
            written: mapped::<Bucket>(&pins, WRITTEN)?,
            lines: mapped::<Line>(&pins, LINES)?,
            loads: [
                mapped::<u64>(&pins, BACKEND_LOADS)?,
                mapped::<u64>(&pins, SERVICE_LOADS)?,
            ],
            words: (world.backends.iter())
                .map(|backend| BackendWord::new(BackendState::Up, backend.way, 1))
                .collect(),
            changed: BTreeSet::new(),
            world,
            datapath,
            ebpf,
            pins: Some(pins),
            _scope: scope,
        })
    }

    /// Runs the program on a frame, and finds which outcome was counted: exactly one, with the frame's bytes.
    pub fn run(&mut self, frame: &[u8]) -> Result<Verdict> {
        self.run_program(self.program(), frame)
    }

    fn run_program(&mut self, name: &str, frame: &[u8]) -> Result<Verdict> {
        let before = self.datapath.outcomes()?;
        let mut out = Vec::new();
        let action = self.send_to(name, frame, &mut out)?;
        let after = self.datapath.outcomes()?;
        let counted: Vec<_> = Outcome::ALL
            .iter()
            .zip(before.iter().zip(&after))
            .filter(|(_, (before, after))| before != after)
            .map(|(outcome, (before, after))| {
                let packets = after.packets - before.packets;
                (*outcome, packets, after.bytes - before.bytes)
            })
            .collect();
        let [(outcome, 1, bytes)] = counted[..] else {
            panic!("not one outcome: {counted:?}")
        };
        assert_eq!(bytes, frame.len() as u64, "{outcome:?}");
        Ok(Verdict {
            action,
            outcome,
            frame: out,
        })
    }

    /// Runs the program on a frame, for its action and the frame that comes out.
    pub fn send(&self, frame: &[u8], out: &mut Vec<u8>) -> Result<u32> {
        self.send_to(self.program(), frame, out)
    }

    fn program(&self) -> &'static str {
        if self.world.multi_buffer {
            FRAGS_PROGRAM
        } else {
            PROGRAM
        }
    }

    fn send_to(&self, name: &str, frame: &[u8], out: &mut Vec<u8>) -> Result<u32> {
        out.resize(frame.len() + HEADROOM, 0);
        let program: &Xdp = self.ebpf.program(name).context("no program")?.try_into()?;
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(out),
            ..TestRunOptions::new()
        };
        let result = program.test_run(options)?;
        out.truncate(result.data_size_out as usize);
        Ok(result.return_value)
    }

    /// Sets the state of a backend, under generation 1 and with the way that the world gives it. One that has been anything but up
    /// counts as scattered from then on.
    pub fn set(&mut self, backend: u32, state: BackendState) {
        let way = self.world.backend(backend).way;
        let was_scattered = self.words[backend as usize - 1].is_scattered();
        let word = BackendWord::new(state, way, 1);
        self.set_word(
            backend,
            word.scattered(was_scattered || state != BackendState::Up),
        );
    }

    pub fn set_word(&mut self, backend: u32, word: BackendWord) {
        self.words[backend as usize - 1] = word;
        self.datapath.set_word(backend, word);
    }

    /// Lets these backends share a service's slots.
    pub fn share(&mut self, service: u32, backends: &[u32]) -> Result<()> {
        let slots = self.world.table(service).len();
        let owners: Vec<u32> = backends.iter().copied().cycle().take(slots).collect();
        self.put_table(service, &SlotTable::settled(&owners, backends.to_vec()))
    }

    pub fn put_table(&mut self, service: u32, table: &SlotTable) -> Result<()> {
        self.changed.insert(service);
        self.datapath.put_table(service, table)
    }

    /// Changes all slots of a service.
    pub fn change(&mut self, service: u32, change: Change) -> Result<()> {
        let old = self.datapath.table(service)?;
        let next = |slot: Slot| match change {
            Change::PassTo(owner) => slot.passed_to(owner, false),
            Change::Age => slot.aged(),
            Change::Part => slot.without_previous(),
            Change::Settle => slot.without_written(),
        };
        let slot = |index: u32| next(old.slots()[index as usize]);
        let new = SlotTable::filled(old.bits(), old.members.clone(), slot);
        self.put_table(service, &new)
    }

    /// The entry of a service, as the world has it.
    pub fn entry(&self, service: u32) -> Service {
        maps::entry(&self.world, service)
    }

    /// Has packets for a service find another entry.
    pub fn put_entry(&mut self, entry: &Service) -> Result<()> {
        let service = self.world.service(entry.id).clone();
        maps::listen(&mut self.datapath, &service, entry)
    }

    /// Has the next packet go the long way, whatever it is: with what was found for others forgotten, and networks to be looked at, even
    /// if there are none.
    pub fn go_long(&mut self) -> Result<()> {
        let switches = maps::switches_of(&self.world) | switches::NETWORKS;
        self.datapath.set_switches(switches);
        self.put_entry(&self.entry(0))
    }

    /// Takes that back.
    pub fn go_short(&mut self) {
        self.datapath.set_switches(maps::switches_of(&self.world));
    }

    /// Gives a backend's id to the server at another address.
    pub fn put_backend(&mut self, id: u32, server: SocketAddr) -> Result<()> {
        let backend = maps::backend(self.world.backend(id).service, server.ip(), server.port());
        self.datapath.put_backend(id, &backend)
    }

    /// Puts what a service listens on under another one.
    pub fn move_listener(&mut self, from: u32, to: u32) -> Result<()> {
        let (old, new) = (self.world.service(from).clone(), self.entry(to));
        maps::listen(&mut self.datapath, &old, &new)
    }

    pub fn flow(&self, key: &FlowKey) -> Option<Flow> {
        self.flows.get(key, 0).ok()
    }

    /// The source that a client's flow is translated to.
    pub fn source(&self, key: &Key) -> Option<SocketAddr> {
        let flow = self.flow(&key.in_maps())?;
        let port = u16::from_be(flow.source_port);
        (!flow.source.is_none()).then(|| SocketAddr::new(flow.source.into(), port))
    }

    /// Takes away what a backend's packets are known by, as eviction does.
    pub fn evict_reply(&mut self, key: &FlowKey) -> Result<()> {
        Ok(self.replies.remove(key)?)
    }

    /// Puts every slot back to where the world has it, and takes back that flows are scattered.
    fn settle(&mut self) -> Result<()> {
        for service in std::mem::take(&mut self.changed) {
            let table = maps::table(&self.world, service);
            self.datapath.put_table(service, &table)?;
        }
        for (id, word) in (1..).zip(self.words.clone()) {
            if word.is_scattered() && word.takes_new_flows() {
                self.set_word(id, word.scattered(false));
            }
        }
        Ok(())
    }

    /// Forgets every flow and fragment, and every change of slots.
    pub fn forget(&mut self) -> Result<()> {
        for key in keys(&self.flows)? {
            self.flows.remove(&key)?;
        }
        for key in keys(&self.replies)? {
            self.replies.remove(&key)?;
        }
        for key in keys(&self.fragments)? {
            self.fragments.remove(&key)?;
        }
        let tables = self.loads.iter().chain([&self.written, &self.lines]);
        tables.for_each(|table| table.fill(std::iter::repeat_n(0, table.words())));
        self.settle()
    }
}

/// The memory of a pinned array of `V`.
fn mapped<V: aya::Pod>(pins: &Pins, name: &str) -> Result<MappedArray> {
    let array = Array::<_, V>::try_from(Map::Array(MapData::from_pin(pins.map(name))?))?;
    MappedArray::of(array.map().fd(), array.len(), size_of::<V>())
}

fn keys<K: aya::Pod, V: aya::Pod>(map: &HashMap<MapData, K, V>) -> Result<Vec<K>> {
    Ok(map.keys().collect::<Result<_, _>>()?)
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(pins) = self.pins.take() {
            pins.remove().unwrap();
        }
    }
}
