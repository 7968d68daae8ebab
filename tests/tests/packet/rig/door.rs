//! The program on the door of the namespace of probes.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use lb_common::{
    maps::{PROBE_PROGRAM, switches},
    next_hop::{NextHop, Vlans},
    probe::{Probe, ProbeKey},
};
use xlb::datapath::{
    Datapath as _,
    probing::{self, Probes, Put},
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
        Self::with_door_as(world, false)
    }

    /// The same with a line for each packet.
    pub fn with_door_and_lines(world: World) -> Result<(Self, Probes)> {
        Self::with_door_as(world, true)
    }

    fn with_door_as(world: World, log_packets: bool) -> Result<(Self, Probes)> {
        let settings = settings(&world, TIMEOUTS, log_packets);
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
    /// What its packets are known by, and their answers.
    pub fn keys(&self) -> [ProbeKey; 2] {
        [self.vip, self.server].map(|peer| ProbeKey {
            peer: peer.ip().into(),
            peer_port: peer.port().to_be(),
            port: self.port.to_be(),
            protocol: self.protocol.into(),
        })
    }

    /// Begins the probe.
    pub fn begin(&self, probes: &mut Probes) -> Result<()> {
        self.begin_as(probes, &self.entry())
    }

    /// Begins it with another entry.
    pub fn begin_as(&self, probes: &mut Probes, entry: &Probe) -> Result<()> {
        let [asks, answers] = self.keys();
        ensure!(probes.put(&asks, entry)? == Put::Done, "the table has it already");
        ensure!(
            answers == asks || probes.put(&answers, entry)? == Put::Done,
            "the table has the server's"
        );
        Ok(())
    }

    /// Ends it.
    pub fn end(&self, probes: &mut Probes) -> Result<()> {
        self.keys().iter().try_for_each(|key| probes.remove(key))
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
