//! Who carries the packets from the sender to the receiver.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use lb_common::{LAYOUT_VERSION, maps::FLOWS, service::ForwardMode};
use xlb_tests::{
    agent::{Agent, AgentBuilder},
    lab::address::{BALANCER, Net},
    xdp::push::Push,
};

use super::{
    stage::Stage,
    traffic::{Family, Kind, Traffic},
};
use crate::nftables;

/// Port of the first service; each mode has one of its own.
const PORT: u16 = 80;
/// Port of backends in modes that translate.
const BACKEND_PORT: u16 = 8080;
/// Of the GUE that xlb writes: a UDP header, and no other.
const UDP: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// A program that moves the head, writes a constant header and sends.
    Limit,
    Xlb(ForwardMode),
    /// The kernel's, without any choice.
    Routing,
    Nftables,
}

impl Contender {
    pub const ALL: [Self; 7] = [
        Self::Limit,
        Self::Xlb(ForwardMode::Ipip),
        Self::Xlb(ForwardMode::Dsr),
        Self::Xlb(ForwardMode::Gue),
        Self::Xlb(ForwardMode::Nat),
        Self::Routing,
        Self::Nftables,
    ];
    /// Hosts of the contenders.
    pub const HOSTS: [&str; 4] = ["limit", "xlb", "routing", "nftables"];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Limit => "head-move-send",
            Self::Xlb(mode) => mode.name(),
            Self::Routing => "routing",
            Self::Nftables => "nftables",
        }
    }

    pub const fn host(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Xlb(_) => "xlb",
            Self::Routing => "routing",
            Self::Nftables => "nftables",
        }
    }

    /// Whether its packets go up the kernel's stack.
    pub const fn is_kernels(self) -> bool {
        matches!(self, Self::Routing | Self::Nftables)
    }

    /// Whether it is to be measured with these packets: of the modes, one with a packet that is new each time. The limit is, always.
    pub fn takes(self, kind: Kind) -> bool {
        match (self, kind) {
            (Self::Limit, _) => false,
            (_, Kind::Settled(_)) | (Self::Xlb(ForwardMode::Ipip), Kind::New) => true,
            (Self::Xlb(_) | Self::Routing | Self::Nftables, Kind::New) => false,
        }
    }

    /// Whether it knows the flows from before.
    pub const fn remembers(self) -> bool {
        match self {
            Self::Limit | Self::Routing => false,
            Self::Xlb(mode) => mode.translates(),
            Self::Nftables => true,
        }
    }

    /// The port of the VIP that is this contender's.
    pub const fn port(self) -> u16 {
        match self {
            Self::Xlb(mode) => PORT + mode.wire() as u16,
            Self::Limit | Self::Routing | Self::Nftables => PORT,
        }
    }

    /// By how many bytes packets are longer when they leave.
    pub const fn adds(self, family: Family) -> usize {
        match self {
            Self::Limit | Self::Xlb(ForwardMode::Ipip) => family.header(),
            Self::Xlb(ForwardMode::Gue) => family.header() + UDP,
            Self::Xlb(ForwardMode::Nat | ForwardMode::FullNat | ForwardMode::Dsr) => 0,
            Self::Routing | Self::Nftables => 0,
        }
    }
}

/// All of them at work, but for the limit, which is of a family.
pub struct Contenders {
    agent: Agent,
    /// Connections that the kernel remembers at most.
    most_connections: u32,
}

impl Contenders {
    /// With room for so many flows of each mode and family.
    pub fn start(stage: &Stage, flows: u32) -> Result<Self> {
        let xlb = stage.host(Contender::HOSTS[1])?;
        let config = config(flows);
        let agent = AgentBuilder::outside_of_labs(xlb, stage.scope.dir(), &stage.scope.pin_dir(), &config)
            // Senders here leave no checksum unfinished, as none does behind a NIC: "auto" looks at what kind of interface it is.
            .node("partial_checksums = \"off\"")
            .start()?;
        for contender in [Contender::Routing, Contender::Nftables] {
            let host = stage.host(contender.host())?;
            // Without XDP it is GRO that lets frames in that XDP sends.
            host.exec(&["ethtool", "-K", "eth0", "gro", "on"])?;
        }
        let routing = stage.host(Contender::Routing.host())?;
        let nftables = stage.host(Contender::Nftables.host())?;
        for family in Family::BOTH {
            let backends: Vec<IpAddr> = backends(family).collect();
            let hop = backends.first().context("no backends")?;
            routing.ip(&["route", "add", &family.vip().to_string(), "via", &hop.to_string()])?;
            nftables::balance(nftables, SocketAddr::new(family.vip(), PORT), &backends)?;
        }
        Ok(Self {
            agent,
            most_connections: nftables::most_connections()?,
        })
    }

    /// Where xlb's table of flows is pinned.
    pub fn flows(&self) -> PathBuf {
        let version = self.agent.pin_dir().join(format!("v{LAYOUT_VERSION}"));
        version.join(FLOWS)
    }

    /// Whether this one has room for the flows, where a run is of all of these, of each family.
    pub fn have_room(&self, contender: Contender, flows: u32, all: &[u32]) -> bool {
        contender != Contender::Nftables || fits(flows, all, self.most_connections)
    }
}

/// The kernel remembers established connections for days: flows of both families and of all that came before have to fit.
fn fits(flows: u32, all: &[u32], most: u32) -> bool {
    let so_far = all.iter().filter(|&&other| other <= flows);
    so_far.map(|&flows| u64::from(flows)).sum::<u64>() * 2 <= most.into()
}

/// Attaches the limit for these packets.
pub fn limit(stage: &Stage, traffic: Traffic) -> Result<Push> {
    let host = stage.host(Contender::Limit.host())?;
    let frames = traffic.frames(Contender::Limit.port(), Stage::contender_mac());
    Push::at(
        host,
        ("eth0", "eth1"),
        &outer(traffic.family, frames.bytes.len())?,
    )
}

/// An Ethernet header to the receiver, and the IP header of a tunnel around a frame of so many bytes.
fn outer(family: Family, frame: usize) -> Result<Vec<u8>> {
    let mut header = [Stage::receiver_mac().0, Net::Back.mac(BALANCER).0].concat();
    let inner = u16::try_from(frame - 14)?;
    let backend = *Stage::backends()
        .collect::<Vec<_>>()
        .first()
        .context("no backends")?;
    match family {
        Family::V4 => {
            header.extend([8, 0, 0x45, 0]);
            header.extend((inner + 20).to_be_bytes());
            // No checksum: nobody looks at it.
            header.extend([0, 0, 0, 0, 64, 4, 0, 0]);
            header.extend(Net::Back.v4(BALANCER).octets());
            header.extend(Net::Back.v4(backend).octets());
        }
        Family::V6 => {
            header.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            header.extend(inner.to_be_bytes());
            header.extend([41, 64]);
            header.extend(Net::Back.v6(BALANCER).octets());
            header.extend(Net::Back.v6(backend).octets());
        }
    }
    Ok(header)
}

fn backends(family: Family) -> impl Iterator<Item = IpAddr> {
    Stage::backends().map(move |host| match family {
        Family::V4 => Net::Back.v4(host).into(),
        Family::V6 => Net::Back.v6(host).into(),
    })
}

/// A service for each mode and family.
fn config(flows: u32) -> String {
    // Flows of both families, and half of it free.
    let room = flows.saturating_mul(4).clamp(1 << 18, 1 << 24);
    let mut config = format!(
        "[limits]\nflows = {room}\n[timeouts]\nsyn = \"1h\"\n[[interface]]\nname = \"eth0\"\n[[interface]]\nname = \"eth1\"\n"
    );
    let modes = Contender::ALL
        .into_iter()
        .filter_map(|contender| match contender {
            Contender::Xlb(mode) => Some((contender, mode)),
            Contender::Limit | Contender::Routing | Contender::Nftables => None,
        });
    for (contender, mode) in modes {
        for family in Family::BOTH {
            let vip = SocketAddr::new(family.vip(), contender.port());
            // A String takes everything.
            let _ = write!(
                config,
                "[[service]]\nname = \"{}-{}\"\nvip = \"{vip}/tcp\"\nmode = \"{}\"\n",
                mode.name(),
                family.header(),
                mode.name()
            );
            for backend in backends(family) {
                let _ = writeln!(config, "[[service.backend]]\naddress = \"{backend}\"");
                if mode.translates() {
                    let _ = writeln!(config, "port = {BACKEND_PORT}");
                }
            }
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_of_both_families_and_of_all_groups_have_to_fit() {
        let all = [1, 100_000, 1_000_000];
        assert!(fits(100_000, &all, 262_144) && !fits(1_000_000, &all, 262_144));
        assert!(!fits(100_000, &all, 200_001));
    }

    #[test]
    fn every_mode_has_a_port_of_its_own() {
        let ports: std::collections::BTreeSet<u16> = Contender::ALL
            .into_iter()
            .filter(|contender| matches!(contender, Contender::Xlb(_)))
            .map(Contender::port)
            .collect();
        assert_eq!(ports.len(), 4);
    }

    #[test]
    fn outer_headers_are_of_words_but_for_the_ethernet_header() {
        for family in Family::BOTH {
            assert_eq!(outer(family, 60).unwrap().len(), 14 + family.header());
        }
    }
}
