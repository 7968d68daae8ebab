//! The program on the door of the namespace of probes.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use lb_common::{
    maps::{PROBE_PROGRAM, switches},
    next_hop::{NextHop, Vlans},
    probe::{Probe, ProbeKey},
};
use xlb::datapath::{
    Datapath as _,
    probing::{self, Probes},
};

use super::{Rig, TIMEOUTS, Verdict, maps, settings};
use crate::{wire::Mac, world::World};

/// The interface in front of the door, and the MAC addresses on both sides of it.
pub const DOOR: u32 = 9;
pub const INSIDE_MAC: Mac = [2, 0, 0, 0, 0, 2];
pub const OUTSIDE_MAC: Mac = [2, 0, 0, 0, 0, 1];

/// A probe, as the agent has it in mind.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    pub protocol: u8,
    pub backend: u32,
    pub service: u32,
    pub vip: SocketAddr,
    /// Where the answers come from.
    pub server: SocketAddr,
    pub inside: IpAddr,
    pub outside: IpAddr,
    pub port: u16,
}

impl Rig {
    /// With the program for the door, and answers looked for.
    pub fn with_door(world: World) -> Result<(Self, Probes)> {
        let settings = settings(&world, TIMEOUTS, false);
        let mut rig = Self::make(world, &settings, |object| probing::load(object).map(drop))?;
        let probes = Probes::take(&mut rig.ebpf)?;
        rig.probing();
        Ok((rig, probes))
    }

    /// Has answers looked for.
    pub fn probing(&mut self) {
        self.datapath
            .set_switches(maps::switches_of(&self.world) | switches::PROBING);
    }

    /// Runs that program on a frame out of the namespace.
    pub fn leave(&mut self, frame: &[u8]) -> Result<Verdict> {
        self.run_program(PROBE_PROGRAM, frame)
    }
}

impl Asking {
    pub fn key(&self) -> ProbeKey {
        ProbeKey::new(self.port.to_be(), self.protocol.into(), self.vip.is_ipv4())
    }

    /// Its entry, under generation 1.
    pub fn entry(&self) -> Probe {
        Probe {
            inside: self.inside.into(),
            outside: self.outside.into(),
            vip: self.vip.ip().into(),
            server: self.server.ip().into(),
            vip_port: self.vip.port().to_be(),
            server_port: self.server.port().to_be(),
            backend: self.backend,
            generation: 1,
            service: self.service,
            door: NextHop::new(DOOR, INSIDE_MAC, OUTSIDE_MAC, Vlans::none()),
        }
    }

    pub fn inside(&self) -> SocketAddr {
        SocketAddr::new(self.inside, self.port)
    }

    pub fn outside(&self) -> SocketAddr {
        SocketAddr::new(self.outside, self.port)
    }
}
