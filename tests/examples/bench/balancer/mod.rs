//! The program under test, as the agent loads it, with what a benchmark wants in its maps.
//!
//! Reading order: [`Balancer`], [`settings`] (what is fixed when it is loaded), [`served`] (a service and its pool).

mod served;
pub mod settings;

use std::{net::IpAddr, os::fd::AsFd as _, path::Path};

use anyhow::{Context as _, Result};
use aya::{Ebpf, programs::ProgramInfo};
use lb_common::{
    addr::Addr,
    limits,
    maps::{FLOWS, switches},
    next_hop::VlanDevice,
    outcome::Outcome,
    service::{QuicServerKey, Unserved, Vip, vip_flags},
};
use xlb::datapath::{
    Datapath as _, SlotTable,
    bpf::BpfDatapath,
    load::{self, Capacity},
    pins::Pins,
    usage::{Meter, Usage},
};

pub use self::served::{Ports, Remembered, Served};
use crate::{
    established,
    host::BPFFS,
    sys::{self, Linkage},
    wrapper::Target,
};

/// Source addresses of each family: with the ports that a CPU has of them, enough for all flows.
const SOURCES: u8 = 16;

pub struct Balancer {
    ebpf: Ebpf,
    datapath: BpfDatapath,
    pins: Option<Pins>,
    linkage: Linkage,
    /// Ids that the next service's backends have.
    next_backend: u32,
}

/// What the program does beyond what every packet needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Features {
    /// As for services of the modes alone: all that is off has been taken out by the verifier.
    Plain,
    /// Frames of several buffers, unfinished checksums, own addresses, spread tunnels, and entries in all tables that few need.
    All,
}

impl Balancer {
    pub fn load(capacity: Capacity, features: Features) -> Result<Self> {
        let pins = Pins::take(&Path::new(BPFFS).join("xlb"))?;
        let mut ebpf = load::load(&pins, &settings::of(capacity, features))?;
        let mut balancer = Self {
            datapath: BpfDatapath::new(&mut ebpf)?,
            ebpf,
            pins: Some(pins),
            linkage: Linkage {
                frags: features == Features::All,
                ..Linkage::default()
            },
            next_backend: 1,
        };
        for index in 0..SOURCES {
            let at = u32::from(index);
            balancer.datapath.put_source(at, &address(true, 3, at))?;
            balancer
                .datapath
                .put_source(limits::SOURCES + at, &address(false, 3, at))?;
        }
        // As where services of all modes are there.
        balancer.datapath.set_switches(switches::REPLIES);
        if features == Features::All {
            balancer.fill_rare_tables()?;
        }
        Ok(balancer)
    }

    pub fn target(&mut self) -> Result<Target> {
        let program = load::xdp(&mut self.ebpf)?;
        Target::new(program.fd()?.as_fd(), self.linkage)
    }

    /// Gives the program one frame; its action, and the frame as it is then.
    pub fn run_once(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        sys::run_once(load::xdp(&mut self.ebpf)?.fd()?.as_fd(), frame)
    }

    pub fn info(&mut self) -> Result<ProgramInfo> {
        Ok(load::xdp(&mut self.ebpf)?.info()?)
    }

    pub const fn linkage(&self) -> Linkage {
        self.linkage
    }

    /// Packets that had this outcome.
    pub fn count_of(&self, outcome: Outcome) -> Result<u64> {
        Ok(self.datapath.outcomes()?[usize::from(outcome.wire())].packets)
    }

    /// Whether there are services whose replies come back through here.
    pub fn translate(&mut self, translates: bool) {
        let switches = if translates { switches::REPLIES } else { 0 };
        self.datapath.set_switches(switches);
    }

    /// Has the connections that clients have opened be established, as the backends' answers would make them.
    pub fn establish(&self) -> Result<()> {
        let pins = self.pins.as_ref().context("no maps are pinned")?;
        established::all(&pins.map(FLOWS))
    }

    /// Serves under an id that is free; the ids of its backends.
    pub fn serve(&mut self, id: u32, served: &Served) -> Result<Vec<u32>> {
        let backends: Vec<u32> = (self.next_backend..).take(served.backends as usize).collect();
        self.next_backend += served.backends;
        for &backend in &backends {
            served::put_backend(&mut self.datapath, backend, id, served)?;
        }
        let slots = served.slots();
        let owners: Vec<u32> = backends
            .iter()
            .copied()
            .cycle()
            .take(slots.slots() as usize)
            .collect();
        self.pass(id, &owners, backends.clone())?;
        self.enter(id, served)?;
        if let (Ports::All, Some(&backend)) = (served.ports, backends.first()) {
            // The zeros of the packets' connection IDs.
            let server = QuicServerKey {
                service: id,
                len: served::QUIC_SERVER_ID.into(),
                server_id: 0,
            };
            self.datapath.put_quic_server(&server, backend)?;
        }
        Ok(backends)
    }

    /// Makes the entries of a service, by which packets find it, in the place of those of before.
    pub fn enter(&mut self, id: u32, served: &Served) -> Result<()> {
        served::put_entries(&mut self.datapath, id, served)
    }

    /// Gives the slots of a service to others.
    pub fn pass(&mut self, service: u32, owners: &[u32], members: Vec<u32>) -> Result<()> {
        self.datapath
            .put_table(service, &SlotTable::settled(owners, members))
    }

    /// The memory of the maps, and of the slot tables of so many services.
    pub fn memory(&self, services: u32) -> Result<(Vec<Usage>, u64)> {
        let pins = self.pins.as_ref().context("the pins are gone")?;
        let services: Vec<u32> = (0..services).collect();
        Ok((Meter::open(pins)?.read()?, self.datapath.table_memory(&services)))
    }

    /// Entries that packets of the benchmarks look for and do not find, in the tables that are empty as a rule.
    fn fill_rare_tables(&mut self) -> Result<()> {
        let base = address(true, 250, 0);
        let network = Vip {
            base,
            prefix_len: 120,
            unserved: Unserved::Drop.wire(),
            flags: vip_flags::PORTS,
            ..Vip::default()
        };
        self.datapath.put_network(120, &base, &network)?;
        self.datapath.put_hairpin(&address(true, 251, 0), 1)?;
        self.datapath.put_vlan_device(99, &VlanDevice::default())?;
        self.datapath.set_switches(
            switches::REPLIES | switches::NETWORKS | switches::HAIRPINS | switches::VLAN_DEVICES,
        );
        Ok(())
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(pins) = self.pins.take() {
            // The file system that they are in ends with the process, too.
            let _ = pins.remove();
        }
    }
}

/// The address with a number in one of our networks.
fn address(is_v4: bool, network: u8, number: u32) -> Addr {
    let [_, high, middle, low] = number.to_be_bytes();
    let ip: IpAddr = if is_v4 {
        [10, network.wrapping_add(high), middle, low].into()
    } else {
        let low = u16::from_be_bytes([middle, low]);
        [0x2001, 0xdb8, network.into(), 0, 0, 0, high.into(), low].into()
    };
    ip.into()
}
