//! A controller over the kernel's maps, and the program run on single frames.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData, PerCpuArray},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    addr::Addr,
    conn::{Reply, Timeouts},
    flow::FlowKey,
    maps::{OUTCOMES, PROGRAM, REPLIES},
    next_hop::{Egress, NextHop},
    outcome::Outcome,
    settings::{Options, Outer, Own, Translation},
    traffic::Count,
};
use nix::sched::{CloneFlags, unshare};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
};
use xlb::{
    config::Config,
    control::{Controller, Node, Outlets, events::Journal, lookup::Loaded},
    datapath::{
        bpf::BpfDatapath,
        load::{self, Capacity, Settings},
        pins::Pins,
        records::Records,
        sweep::Sweep,
        written_table::WrittenTable,
    },
    health::results,
};
use xlb_tests::scope::Scope;

const SECOND: u64 = 1_000_000_000;
const HASH_KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0x0f1e_2d3c_4b5a_6978];
/// Longer than the test: what a lookup says must still hold a moment later.
const TIMEOUTS: Timeouts = Timeouts {
    syn: 600 * SECOND,
    established: 7200 * SECOND,
    fin: 600 * SECOND,
    closed: 600 * SECOND,
    udp: 600 * SECOND,
};
/// Few enough that the table of written flows fills up.
const WRITTEN: u32 = 1024;
const HEADROOM: usize = 256;

pub struct Rig {
    pub controller: Controller<BpfDatapath>,
    pub node: Node,
    pub records: Records,
    loads: WrittenTable,
    outcomes: PerCpuArray<MapData, Count>,
    replies: HashMap<MapData, FlowKey, Reply>,
    sweep: Sweep,
    ebpf: Ebpf,
    pins: Option<Pins>,
    runtime: Runtime,
    _scope: Scope,
}

impl Rig {
    pub fn new(config: &str) -> Result<Self> {
        // A host of our own, without routes: this thread's, and gone with it.
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
        let scope = Scope::claim()?;
        let mut config = Config::parse(config, "test")?;
        config.node.state_dir = scope.dir().join("state");
        std::fs::create_dir_all(&config.node.state_dir)?;
        let pins = Pins::take(&scope.pin_dir().join("lookup"))?;
        let mut ebpf = load::load(&pins, &settings())?;
        let datapath = BpfDatapath::new(&mut ebpf)?;
        let (observed, observations) = results::channel(8);
        let (lifetimes, lasting) = watch::channel(BTreeMap::new());
        let outlets = Outlets {
            observations: observed,
            targets: watch::channel(BTreeSet::new()).0,
            suspects: mpsc::channel(8).0,
            lifetimes,
            path: None,
            own: Own::default(),
            journal: Journal::default(),
        };
        // Probes would need one; no service has any.
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let controller = {
            let _inside = runtime.enter();
            Controller::adopt(datapath, &config, outlets, observations)?
        };
        let outcomes = Map::PerCpuArray(MapData::from_pin(pins.map(OUTCOMES))?);
        Ok(Self {
            controller,
            node: Node {
                started: Instant::now(),
                attached: Vec::new(),
                records: None,
                loaded: Loaded {
                    hash_key: HASH_KEY,
                    timeouts: TIMEOUTS,
                },
                nics: Vec::new(),
                interfaces: BTreeMap::new(),
            },
            records: Records::open(&pins, HASH_KEY)?,
            loads: WrittenTable::open(&pins)?,
            outcomes: outcomes.try_into()?,
            replies: Map::LruHashMap(MapData::from_pin(pins.map(REPLIES))?).try_into()?,
            sweep: Sweep::open(&pins, TIMEOUTS, lasting)?,
            ebpf,
            pins: Some(pins),
            runtime,
            _scope: scope,
        })
    }

    /// Does something as the control loop does.
    pub fn act<T>(&mut self, act: impl FnOnce(&mut Controller<BpfDatapath>) -> T) -> T {
        let _inside = self.runtime.enter();
        act(&mut self.controller)
    }

    /// Lets packets for the address of a backend leave by the MAC address that [`mac`] gives it.
    pub fn resolve(&mut self, address: Ipv4Addr) -> Result<()> {
        let hop = NextHop {
            ifindex: 1,
            destination_mac: mac(address),
            source_mac: [2, 1, 1, 1, 1, 1],
            ..NextHop::default()
        };
        let way = Egress {
            hop,
            source: IpAddr::from([10, 9, 9, 9]).into(),
            ..Egress::default()
        };
        self.act(|controller| {
            controller.resolved(address.into(), Ok(way), None)?;
            controller.settle()
        })
    }

    /// Counts what is remembered, as the agent does all the time.
    pub fn census(&mut self) -> Result<()> {
        let census = self.sweep.run()?;
        self.act(|controller| {
            controller.counted(census)?;
            controller.settle()
        })
    }

    /// What becomes of a frame, and the MAC address that it leaves for.
    pub fn run(&mut self, frame: &[u8]) -> Result<(Outcome, [u8; 6])> {
        let before = self.counts()?;
        let mut out = vec![0; frame.len() + HEADROOM];
        let program: &Xdp = self.ebpf.program(PROGRAM).context("no program")?.try_into()?;
        program.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        })?;
        let after = self.counts()?;
        let mut outcomes = Outcome::ALL.iter().zip(before.iter().zip(&after));
        let counted = outcomes.find(|(_, (before, after))| before != after);
        let (outcome, _) = counted.context("no outcome was counted")?;
        let to = out.first_chunk().context("a frame without a header")?;
        Ok((*outcome, *to))
    }

    /// Active flows of a service.
    pub fn service_load(&self, id: u32) -> u64 {
        self.loads.loads().1.load(id as usize)
    }

    /// Entries that answers are known by.
    pub fn replies(&self) -> Result<usize> {
        let keys: Result<Vec<_>, _> = self.replies.keys().collect();
        Ok(keys?.len())
    }

    fn counts(&self) -> Result<Vec<u64>> {
        let counts = Outcome::ALL.iter().map(|outcome| {
            let values = self.outcomes.get(&u32::from(outcome.wire()), 0)?;
            Ok(values.iter().map(|count| count.packets).sum())
        });
        counts.collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(pins) = self.pins.take() {
            pins.remove().unwrap();
        }
    }
}

/// The MAC address that stands for a backend's address.
pub fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [2, 0, a, b, c, d]
}

fn settings() -> Settings {
    let own: Addr = IpAddr::from([10, 9, 9, 9]).into();
    Settings {
        hash_key: HASH_KEY,
        timeouts: TIMEOUTS,
        options: Options {
            answers_per_second: 1_000_000,
            ..Options::default()
        },
        own: Own {
            v4: own,
            ..Own::default()
        },
        outer: Outer::default(),
        translation: Translation {
            first_port: 1024,
            ports_per_cpu: 8000,
            last_port: 65_535,
            ..Translation::default()
        },
        capacity: Capacity {
            flows: 65_536,
            backends: 256,
            services: 64,
            written: WRITTEN,
        },
        log_packets: false,
    }
}
