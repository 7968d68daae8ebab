//! xlb's program, as the agent loads it.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use anyhow::{Context as _, Result};
use aya::{Ebpf, programs::XdpMode};
use lb_common::{
    addr::Addr,
    backend::{Backend, BackendState, BackendWord},
    maps::switches,
    next_hop::{Egress, NextHop, Vlans},
    outcome::Outcome,
    service::{Picker, Service, ServiceKey, Unserved, Vip},
    slot::SlotBits,
};
use nix::net::if_::if_nametoindex;
use xlb::{
    config::Algorithm,
    datapath::{
        Datapath as _, SlotTable,
        bpf::BpfDatapath,
        load::{self, Capacity},
        pins::Pins,
    },
    schedule::{self, Member},
};
use xlb_tests::netns::Netns;

use super::bed::{BACKEND_PORT, BACKENDS, Line, VIP};
use crate::{
    balancer::{Features, settings},
    host::BPFFS,
    pktgen::lane::Mode,
};

const UDP: u16 = 17;
const MTU: u32 = 1500;
/// More than there are of each.
const CAPACITY: Capacity = Capacity {
    flows: 1 << 14,
    backends: 64,
    services: 16,
    written: 1 << 10,
};

/// The program, on the fronts of its lanes.
pub struct Xlb {
    ebpf: Ebpf,
    datapath: BpfDatapath,
    pins: Option<Pins>,
}

impl Xlb {
    pub fn load() -> Result<Self> {
        let pins = Pins::take(&Path::new(BPFFS).join("xlb"))?;
        let mut ebpf = load::load(&pins, &settings::of(CAPACITY, Features::Plain))?;
        let mut xlb = Self {
            datapath: BpfDatapath::new(&mut ebpf)?,
            ebpf,
            pins: Some(pins),
        };
        let vip = address(VIP);
        let whole = Vip {
            base: vip,
            prefix_len: 128,
            unserved: Unserved::Drop.wire(),
            ..Vip::default()
        };
        xlb.datapath.put_vip(&vip, &whole)?;
        // As where services of all modes are there.
        xlb.datapath.set_switches(switches::REPLIES);
        Ok(xlb)
    }

    /// Packets that were sent to a backend.
    pub fn forwarded(&self) -> Result<u64> {
        Ok(self.datapath.outcomes()?[usize::from(Outcome::Forwarded.wire())].packets)
    }

    /// Adds the service of a lane, and puts the program on the lane's front.
    pub fn add(&mut self, space: &Netns, line: &Line, mode: Mode) -> Result<()> {
        let service = mode.number();
        let back = line.back();
        let index = space
            .run(|| if_nametoindex(back.as_str()))?
            .with_context(|| format!("look up {back}"))?;
        let mut backends = Vec::new();
        for (number, (ip, mac)) in (0..).zip(line.backends()) {
            let id = service * u32::from(BACKENDS) + number + 1;
            let way = Egress {
                hop: NextHop::new(index, mac, line.back_mac(), Vlans::keep()),
                mtu: MTU,
                source: address(line.back_address()),
                ..Egress::default()
            };
            self.datapath.put_next_hop(id, &way)?;
            let entry = Backend {
                addr: address(ip),
                port: match mode {
                    Mode::Nat => BACKEND_PORT.to_be(),
                    Mode::Direct | Mode::Tunnel => 0,
                },
                service,
                ..Backend::default()
            };
            self.datapath.put_backend(id, &entry)?;
            self.datapath
                .set_word(id, BackendWord::new(BackendState::Up, id, 1));
            backends.push((id, ip.to_string()));
        }
        self.fill(service, &backends)?;
        let entry = Service {
            id: service,
            mode: mode.forward().wire(),
            picker: Picker::Maglev.wire(),
            home: Picker::Maglev.wire(),
            ..Service::default()
        };
        let key = ServiceKey {
            vip: address(VIP),
            port: mode.port().to_be(),
            protocol: UDP,
            ..ServiceKey::default()
        };
        self.datapath.put_service(&key, &entry)?;
        self.attach(space, &line.front())
    }

    fn fill(&mut self, service: u32, backends: &[(u32, String)]) -> Result<()> {
        let members: Vec<Member<'_>> = backends
            .iter()
            .map(|(id, key)| Member {
                key,
                id: *id,
                weight: 100,
                priority: 0,
            })
            .collect();
        let slots = SlotBits::of(members.len()).slots() as usize;
        let owners = schedule::of(Algorithm::Maglev).fill(slots, &members);
        let ids = backends.iter().map(|(id, _)| *id).collect();
        self.datapath
            .put_table(service, &SlotTable::settled(&owners, ids))
    }

    fn attach(&mut self, space: &Netns, interface: &str) -> Result<()> {
        let program = load::xdp(&mut self.ebpf)?;
        space
            .run(|| program.attach(interface, XdpMode::Driver).map(drop))?
            .with_context(|| format!("attach xlb's program to {interface}"))
    }
}

impl Drop for Xlb {
    fn drop(&mut self) {
        if let Some(pins) = self.pins.take() {
            // The file system that they are in ends with the guest, too.
            let _ = pins.remove();
        }
    }
}

fn address(ip: Ipv4Addr) -> Addr {
    IpAddr::from(ip).into()
}
