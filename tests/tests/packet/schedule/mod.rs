//! Which backend a flow gets, and why it stays there: `docs/flows.md`.
//!
//! [`shares`] and [`loads`] are about algorithms in the long run, [`order`] and [`parts`] about those that want a backend in particular,
//! [`clients`] about what goes by clients, [`down`] about pools of which nobody is up, [`slots`] about the states of a slot, [`entries`] about flows that are written down, and
//! [`sizes`] about tables that grow.

mod clients;
mod down;
mod entries;
mod flood;
mod loads;
mod order;
mod parts;
mod rates;
mod shares;
mod sizes;
mod slots;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Result, ensure};
use lb_common::{
    backend::BackendLimits,
    outcome::Outcome,
    service::{ForwardMode, Picker, Service, service_flags},
    slot::{Slot, SlotBits},
    written::{Entry, WrittenState},
};
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};
use xlb::{
    config::Algorithm,
    datapath::{Datapath as _, SlotTable},
    schedule::{self, Member},
};

use crate::{
    model::Key,
    rig::{HASH_KEY, Rig, TIMEOUTS, settings},
    wire::{Frame, protocol, read, tcp, udp},
    world::{ALL_PORTS, Backend, Net, Way, World, standard},
};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
const VIP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 0xa));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const TCP_PORT: u16 = 80;
const UDP_PORT: u16 = 53;
/// The only service: TCP 80 and UDP 53 of the VIPs, and all of TCP on a network of 2^20 addresses, by `ipip`.
const SERVICE: u32 = 0;
const NETWORK: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 0);
const NETWORK_BITS: u8 = 12;
/// Of algorithms without a stable slot.
const TRACKED: u16 = service_flags::TRACKED | service_flags::UNSETTLED;

/// A rig with that service.
struct Scene {
    rig: Rig,
    entry: Service,
}

/// Rounds are each CPU's own.
pub fn stay_on_one_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(sched_getcpu()?)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cpus)?)
}

/// The address of a backend, by its id.
fn server(id: u32) -> IpAddr {
    Ipv4Addr::new(10, 20, 0, 10 + u8::try_from(id).unwrap()).into()
}

fn world(backends: u32) -> World {
    let network = Net::new(NETWORK.into(), NETWORK_BITS);
    let mut service = crate::world::Service::new(ForwardMode::Ipip).on(network, protocol::TCP, ALL_PORTS);
    for vip in [VIP, VIP_V6] {
        service = service.tcp(vip, TCP_PORT).udp(vip, UDP_PORT);
    }
    World {
        services: vec![service],
        vips: [Net::host(VIP), Net::host(VIP_V6), network]
            .map(standard::policy)
            .to_vec(),
        backends: (1..=backends)
            .map(|id| Backend {
                service: SERVICE,
                addr: server(id),
                port: 0,
                way: 1,
                server_id: Vec::new(),
            })
            .collect(),
        ways: vec![Way {
            ifindex: standard::INGRESS,
            tags: None,
            mtu: 0,
            source: Ipv4Addr::new(10, 20, 0, 1).into(),
        }],
        answers_per_second: 1_000_000,
        ..World::default()
    }
}

impl Scene {
    /// So many backends of one weight, by `maglev`.
    fn new(backends: u32) -> Result<Self> {
        Self::with_room(backends, 4096)
    }

    /// The same with room for so many flows to be written down.
    fn with_room(backends: u32, written: u32) -> Result<Self> {
        stay_on_one_cpu()?;
        let world = world(backends);
        let mut settings = settings(&world, TIMEOUTS, false);
        settings.capacity.written = written;
        let rig = Rig::with_settings(world, &settings)?;
        let entry = rig.entry(SERVICE);
        Ok(Self { rig, entry })
    }

    /// Changes the service's entry.
    fn tune(&mut self, change: impl FnOnce(&mut Service)) -> Result<()> {
        change(&mut self.entry);
        self.rig.put_entry(&self.entry)
    }

    /// Has the service go by another algorithm.
    fn go_by(&mut self, picker: Picker) -> Result<()> {
        self.tune(|entry| {
            (entry.picker, entry.home) = (picker.wire(), picker.home().wire());
            if !picker.has_slot() {
                entry.flags |= TRACKED;
            }
        })
    }

    /// Gives the backends weights, and the slots that the algorithm's scheduler makes of them.
    fn weigh(&mut self, algorithm: Algorithm, bits: SlotBits, weights: &[u16]) -> Result<()> {
        let keys: Vec<String> = (1..).zip(weights).map(|(id, _)| server(id).to_string()).collect();
        let members: Vec<Member> = (1..)
            .zip(weights.iter().zip(&keys))
            .map(|(id, (&weight, key))| Member {
                key,
                id,
                weight: u32::from(weight),
                priority: 0,
            })
            .collect();
        let owners = schedule::of(algorithm).fill(bits.slots() as usize, &members);
        let order = schedule::order(algorithm, &members);
        self.rig.put_table(SERVICE, &SlotTable::settled(&owners, order))?;
        for (id, &weight) in (1..).zip(weights) {
            self.rig.datapath.set_limits(id, BackendLimits::new(0, weight));
        }
        self.go_by(algorithm.picker())?;
        let weight = weights.iter().map(|&weight| u32::from(weight)).sum();
        self.tune(|entry| {
            (entry.slot_bits, entry.weight) = (u8::try_from(bits.bits()).unwrap(), weight);
            entry.members = u32::try_from(weights.len()).unwrap();
        })
    }

    /// How many flows a backend may have.
    fn limit(&mut self, id: u32, max_connections: u32) {
        let limits = BackendLimits::new(max_connections, crate::world::WEIGHT);
        self.rig.datapath.set_limits(id, limits);
    }

    /// Puts the members in this order.
    fn order(&mut self, members: &[u32]) -> Result<()> {
        self.rig.share(SERVICE, members)
    }

    /// Puts one slot for all hashes but those of `key`'s, which gets another.
    fn slots(&mut self, key: &Key, slot: Slot, others: Slot) -> Result<()> {
        let at = SlotBits::MIN.slot(hash(key));
        let filled = |index| if index == at { slot } else { others };
        let table = SlotTable::filled(SlotBits::MIN, vec![1, 2, 3], filled);
        self.rig.put_table(SERVICE, &table)
    }

    /// Sends a client's frame; gives the backend that it went to.
    fn serve(&mut self, sent: &Frame) -> Result<u32> {
        let got = self.rig.run(&sent.bytes())?;
        ensure!(got.outcome == Outcome::Forwarded, "{:?}", got.outcome);
        let arrived = read::frame(&got.frame).map_err(anyhow::Error::msg)?;
        let mut ids = 1..=u32::try_from(self.rig.world.backends.len())?;
        ids.find(|&id| server(id) == arrived.ip.to)
            .ok_or_else(|| anyhow::anyhow!("to {}", arrived.ip.to))
    }

    /// Sends a client's frame that does not reach a backend.
    fn refuse(&mut self, sent: &Frame, outcome: Outcome) -> Result<Vec<u8>> {
        let got = self.rig.run(&sent.bytes())?;
        ensure!(got.outcome == outcome, "{:?} instead of {outcome:?}", got.outcome);
        Ok(got.frame)
    }

    fn segment(&mut self, port: u16, flags: u8) -> Result<u32> {
        self.serve(&segment(port, flags))
    }

    fn datagram(&mut self, port: u16) -> Result<u32> {
        self.serve(&datagram(port))
    }

    /// What is written down of a flow: its backend and state.
    fn note(&self, key: &Key) -> Option<(u32, WrittenState)> {
        let entry: Option<Entry> = self.rig.written_for(hash(key));
        entry.map(|entry| (entry.backend(), entry.state()))
    }
}

/// A segment of the client's port.
fn segment(port: u16, flags: u8) -> Frame {
    tcp((CLIENT, port), (VIP, TCP_PORT), flags)
}

/// A datagram of the client's port.
fn datagram(port: u16) -> Frame {
    udp((CLIENT, port), (VIP, UDP_PORT), b"?")
}

/// The five-tuple of the client's segments.
fn connection(port: u16) -> Key {
    key(
        SocketAddr::new(CLIENT, port),
        SocketAddr::new(VIP, TCP_PORT),
        protocol::TCP,
    )
}

/// The five-tuple of the client's datagrams.
fn exchange(port: u16) -> Key {
    key(
        SocketAddr::new(CLIENT, port),
        SocketAddr::new(VIP, UDP_PORT),
        protocol::UDP,
    )
}

fn key(from: SocketAddr, to: SocketAddr, protocol: u8) -> Key {
    Key { from, to, protocol }
}

fn hash(key: &Key) -> u64 {
    key.in_maps().hash(HASH_KEY)
}
