//! The program under test, with a small pool in its maps.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    addr::Addr,
    backend::{Backend, BackendState, BackendWord},
    conn::{Flow, Reply, Timeouts},
    flow::FlowKey,
    hash,
    limits::SLOTS,
    maps,
    next_hop::NextHop,
    outcome::Outcome,
    service::{ForwardMode, Picker, Service, ServiceKey},
};
use xlb::{
    datapath::{
        Datapath as _,
        bpf::BpfDatapath,
        load::{self, Capacity, Settings},
        pins::Pins,
    },
    schedule::{Maglev, Member, Scheduler as _},
};
use xlb_tests::scope::Scope;

use crate::frames::{BACKEND_MAC, LB_MAC};

pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// A second address with the same backends.
pub const OTHER_VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
/// Port of the TCP service, whose backends listen on 8080.
pub const TCP_PORT: u16 = 80;
/// Port of the UDP service, whose backends keep the port.
pub const UDP_PORT: u16 = 53;
pub const BACKEND_PORT: u16 = 8080;
pub const HASH_KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0x0f1e_2d3c_4b5a_6978];
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
/// Actions of XDP (include/uapi/linux/bpf.h).
pub const DROP: u32 = 1;
pub const PASS: u32 = 2;
pub const TX: u32 = 3;
pub const REDIRECT: u32 = 4;

const SECOND: u64 = 1_000_000_000;
/// Test runs come in by the loopback interface.
const INGRESS: u32 = 1;
/// Any other: a redirect is not carried out in a test run.
const ELSEWHERE: u32 = 7;
/// Entries of `NEXT_HOPS`.
pub const BACK: u32 = 1;
pub const AWAY: u32 = 2;

/// Ids of the services of [`Rig::new`]: TCP, UDP, and TCP on the other VIP.
pub const SERVICES: [(Ipv4Addr, u16, u8); 3] = [
    (VIP, TCP_PORT, TCP),
    (VIP, UDP_PORT, UDP),
    (OTHER_VIP, TCP_PORT, TCP),
];

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    pub action: u32,
    pub frame: Vec<u8>,
    pub outcome: Outcome,
}

pub struct Rig {
    ebpf: Ebpf,
    pub datapath: BpfDatapath,
    flows: HashMap<MapData, FlowKey, Flow>,
    replies: HashMap<MapData, FlowKey, Reply>,
    pins: Option<Pins>,
    _scope: Scope,
}

impl Rig {
    /// Three services over backends 1 to 3 (each service has entries of its own: ids 1 to 9), all up, reached by the
    /// interface that frames come in by.
    pub fn new() -> Result<Self> {
        let second = |count| count * SECOND;
        Self::with_timeouts(Timeouts {
            syn: second(10),
            established: second(7200),
            fin: second(30),
            closed: second(10),
            udp: second(60),
        })
    }

    pub fn with_timeouts(timeouts: Timeouts) -> Result<Self> {
        let scope = Scope::claim()?;
        let pins = Pins::take(&scope.pin_dir().join("packet"))?;
        let mut ebpf = load::load(&pins, &settings(timeouts, false))?;
        let datapath = BpfDatapath::new(&mut ebpf)?;
        let open = |name| Ok::<_, anyhow::Error>(Map::LruHashMap(MapData::from_pin(pins.map(name))?));
        let flows = open(maps::FLOWS)?.try_into()?;
        let replies = open(maps::REPLIES)?.try_into()?;
        let mut rig = Self {
            ebpf,
            datapath,
            flows,
            replies,
            pins: Some(pins),
            _scope: scope,
        };
        rig.fill()?;
        Ok(rig)
    }

    fn fill(&mut self) -> Result<()> {
        let hop = |ifindex| NextHop {
            ifindex,
            destination_mac: BACKEND_MAC,
            source_mac: LB_MAC,
        };
        self.datapath.put_next_hop(BACK, &hop(INGRESS))?;
        self.datapath.put_next_hop(AWAY, &hop(ELSEWHERE))?;
        for (service, (vip, port, protocol)) in (0..).zip(SERVICES) {
            for number in 1..=3 {
                let port = if protocol == TCP { BACKEND_PORT } else { 0 };
                self.put_backend(service, number, (backend_ip(number), port))?;
                self.set(service, number, BackendState::Up);
            }
            self.share(service, &[1, 2, 3])?;
            self.move_vip((vip, port, protocol), service)?;
            self.datapath.put_vip(&v4(vip))?;
        }
        Ok(())
    }

    /// Gives a backend's id to the server at this address.
    pub fn put_backend(&mut self, service: u32, number: u8, server: (Ipv4Addr, u16)) -> Result<()> {
        let backend = Backend {
            addr: v4(server.0),
            port: server.1.to_be(),
            _pad: [0; 2],
            service,
        };
        self.datapath.put_backend(backend_id(service, number), &backend)
    }

    /// Runs the program on a frame, and finds which outcome was counted: exactly one, with the frame's bytes.
    pub fn run(&mut self, frame: &[u8]) -> Result<Verdict> {
        let before = self.datapath.outcomes()?;
        let mut out = vec![0; frame.len() + 256];
        let program: &Xdp = self
            .ebpf
            .program(maps::PROGRAM)
            .context("no program")?
            .try_into()?;
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
                (
                    *outcome,
                    after.packets - before.packets,
                    after.bytes - before.bytes,
                )
            })
            .collect();
        let [(outcome, 1, bytes)] = counted[..] else {
            panic!("not one outcome: {counted:?}")
        };
        assert_eq!(bytes, frame.len() as u64, "{outcome:?}");
        Ok(Verdict {
            action: result.return_value,
            frame: out,
            outcome,
        })
    }

    /// Sets the state of a backend of a service, under generation 1.
    pub fn set(&mut self, service: u32, number: u8, state: BackendState) {
        self.set_word(service, number, BackendWord::new(state, BACK, 1));
    }

    pub fn set_word(&mut self, service: u32, number: u8, word: BackendWord) {
        self.datapath.set_word(backend_id(service, number), word);
    }

    /// Lets these backends share the service's slots, equally.
    pub fn share(&mut self, service: u32, numbers: &[u8]) -> Result<()> {
        self.datapath.put_table(service, &table(service, numbers))
    }

    /// The remembered flow of a frame's five-tuple.
    pub fn flow(&self, source: (Ipv4Addr, u16), vip: (Ipv4Addr, u16), protocol: u8) -> Option<Flow> {
        self.flows.get(&flow_key(source, vip, protocol), 0).ok()
    }
}

impl Rig {
    /// Takes away what the packets of a backend to a client are known by, as eviction does.
    pub fn evict_reply(&mut self, number: u8, client: (Ipv4Addr, u16)) -> Result<()> {
        let key = flow_key((backend_ip(number), BACKEND_PORT), client, TCP);
        Ok(self.replies.remove(&key)?)
    }

    /// Puts a VIP's port under another service.
    pub fn move_vip(&mut self, vip: (Ipv4Addr, u16, u8), service: u32) -> Result<()> {
        let key = ServiceKey {
            vip: v4(vip.0),
            port: vip.1.to_be(),
            protocol: u16::from(vip.2),
        };
        self.datapath.put_service(&key, &entry(service))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(pins) = self.pins.take() {
            pins.remove().unwrap();
        }
    }
}

pub fn settings(timeouts: Timeouts, log_packets: bool) -> Settings {
    let capacity = Capacity {
        flows: 4096,
        backends: 16,
        services: 4,
    };
    Settings {
        hash_key: HASH_KEY,
        timeouts,
        capacity,
        log_packets,
    }
}

/// 10.20.0.11, .12, .13.
pub fn backend_ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 20, 0, 10 + number)
}

fn backend_id(service: u32, number: u8) -> u32 {
    service * 3 + u32::from(number)
}

/// The backend that a new flow gets from a table of these backends, by the documented steps alone.
pub fn expected(service: u32, numbers: &[u8], source: (Ipv4Addr, u16)) -> u8 {
    let (vip, port, protocol) = SERVICES[service as usize];
    let slot = hash::slot(flow_key(source, (vip, port), protocol).hash(HASH_KEY), SLOTS);
    let id = table(service, numbers)[slot as usize];
    u8::try_from(id - service * 3).unwrap()
}

fn table(service: u32, numbers: &[u8]) -> Vec<u32> {
    let keys: Vec<_> = numbers
        .iter()
        .map(|&number| backend_ip(number).to_string())
        .collect();
    let members: Vec<_> = numbers
        .iter()
        .zip(&keys)
        .map(|(&number, key)| Member {
            key,
            id: backend_id(service, number),
            weight: 1,
        })
        .collect();
    Maglev.fill(SLOTS as usize, &members)
}

fn flow_key(source: (Ipv4Addr, u16), vip: (Ipv4Addr, u16), protocol: u8) -> FlowKey {
    FlowKey {
        source: v4(source.0),
        destination: v4(vip.0),
        source_port: source.1.to_be(),
        destination_port: vip.1.to_be(),
        protocol: u32::from(protocol),
    }
}

fn entry(service: u32) -> Service {
    Service {
        id: service,
        mode: ForwardMode::Nat.wire(),
        picker: Picker::Maglev.wire(),
        _pad: [0; 2],
    }
}

fn v4(ip: Ipv4Addr) -> Addr {
    std::net::IpAddr::V4(ip).into()
}
