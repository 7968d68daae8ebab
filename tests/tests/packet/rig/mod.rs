//! The program under test, with a [`World`] in its maps.

mod maps;
mod settings;

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    backend::{BackendState, BackendWord},
    conn::{Flow, Fragment, FragmentKey, Reply, Timeouts},
    flow::FlowKey,
    maps::{FLOWS, FRAGMENTS, FRAGS_PROGRAM, PROGRAM, REPLIES},
    outcome::Outcome,
};
use nix::sched::{CloneFlags, unshare};
use xlb::datapath::{Datapath as _, bpf::BpfDatapath, load, pins::Pins};
use xlb_tests::scope::Scope;

pub use self::settings::{HASH_KEY, SOURCE_PORTS, TIMEOUTS, settings};
use crate::{model::Key, world::World};

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
    pins: Option<Pins>,
    _scope: Scope,
}

impl Rig {
    pub fn new(world: World) -> Result<Self> {
        Self::with_timeouts(world, TIMEOUTS)
    }

    pub fn with_timeouts(world: World, timeouts: Timeouts) -> Result<Self> {
        // A host of our own, without routes: this thread's, and gone with it.
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
        let scope = Scope::claim()?;
        let pins = Pins::take(&scope.pin_dir().join("packet"))?;
        let mut ebpf = load::load(&pins, &settings(&world, timeouts, false))?;
        let mut datapath = BpfDatapath::new(&mut ebpf)?;
        maps::fill(&mut datapath, &world)?;
        let open = |name| Ok::<_, anyhow::Error>(Map::LruHashMap(MapData::from_pin(pins.map(name))?));
        Ok(Self {
            flows: open(FLOWS)?.try_into()?,
            replies: open(REPLIES)?.try_into()?,
            fragments: open(FRAGMENTS)?.try_into()?,
            world,
            datapath,
            ebpf,
            pins: Some(pins),
            _scope: scope,
        })
    }

    /// Runs the program on a frame, and finds which outcome was counted: exactly one, with the frame's bytes.
    pub fn run(&mut self, frame: &[u8]) -> Result<Verdict> {
        let before = self.datapath.outcomes()?;
        let mut out = vec![0; frame.len() + HEADROOM];
        let name = if self.world.multi_buffer {
            FRAGS_PROGRAM
        } else {
            PROGRAM
        };
        let program: &Xdp = self.ebpf.program(name).context("no program")?.try_into()?;
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        };
        let result = program.test_run(options)?;
        out.truncate(result.data_size_out as usize);
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
            action: result.return_value,
            outcome,
            frame: out,
        })
    }

    /// Sets the state of a backend, under generation 1 and with the way that the world gives it.
    pub fn set(&mut self, backend: u32, state: BackendState) {
        let way = self.world.backend(backend).way;
        self.set_word(backend, BackendWord::new(state, way, 1));
    }

    pub fn set_word(&mut self, backend: u32, word: BackendWord) {
        self.datapath.set_word(backend, word);
    }

    /// Lets these backends share a service's slots.
    pub fn share(&mut self, service: u32, backends: &[u32]) -> Result<()> {
        let slots: Vec<u32> = self.world.table(service).iter().map(|_| 0).collect();
        let shared = backends.iter().copied().cycle().take(slots.len());
        self.datapath.put_table(service, &shared.collect::<Vec<_>>())
    }

    /// Gives a backend's id to the server at another address.
    pub fn put_backend(&mut self, id: u32, server: SocketAddr) -> Result<()> {
        let backend = maps::backend(self.world.backend(id).service, server.ip(), server.port());
        self.datapath.put_backend(id, &backend)
    }

    /// Puts what a service listens on under another one.
    pub fn move_listener(&mut self, from: u32, to: u32) -> Result<()> {
        let (old, new) = (self.world.service(from).clone(), self.world.service(to));
        for listener in &old.listeners {
            maps::listen(&mut self.datapath, to, new, listener)?;
        }
        Ok(())
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

    /// Forgets every flow and fragment.
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
        Ok(())
    }
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
