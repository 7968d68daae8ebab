//! A random story of changes and packets.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use etherparse::PacketBuilder;
use lb_common::{hash, outcome::Outcome};
use xlb::{
    api::protocol::{By, Lookup, PacketKind, Probe, Target},
    config::{Admin, Algorithm, BackendChange, BackendSpec, OnDown, OnFull, Protocol, ServiceChange, Udp},
    control::change::Change,
};

use crate::rig::{Rig, mac};

/// One service for each mode, with two VIPs so that client ports meet on their backends, and some with settings of their own.
pub const CONFIG: &str = r#"
    [[interface]]
    name = "lo"
    [timeouts]
    udp = "1s"
    settle = "2s"
    [limits]
    flows = 65536
    backends = 256
    services = 64
    written = 1024

    [[service]]
    name = "nat"
    mode = "nat"
    vip = ["192.0.2.1:80/tcp", "192.0.2.101:80/tcp", "192.0.2.1:80/udp"]
    [[service]]
    name = "full-nat"
    mode = "full-nat"
    vip = ["192.0.2.2:80/tcp", "192.0.2.2:80/udp"]
    [[service]]
    name = "dsr"
    mode = "dsr"
    vip = ["192.0.2.3:80/tcp", "192.0.2.3:80/udp", "192.0.2.3:80/sctp"]
    [[service]]
    name = "ipip"
    mode = "ipip"
    vip = ["192.0.2.4:80/tcp", "192.0.2.4:80/udp"]
    affinity = { timeout = "1h", prefix = [28, 64] }
    [[service]]
    name = "gue"
    mode = "gue"
    vip = ["192.0.2.5:80-89/tcp", "192.0.2.5:80/udp"]
    [[service]]
    name = "replicas"
    mode = "dsr"
    algorithm = "dest"
    replicas = 3
    vip = "198.51.100.0/24:80-89/tcp"
    [[service]]
    name = "single"
    mode = "dsr"
    one_packet = true
    vip = "192.0.2.7:80/udp"
    [[service]]
    name = "rated"
    mode = "dsr"
    vip = ["192.0.2.8:80/tcp", "192.0.2.8:80/udp"]
    new_flows = { per_second = 1, burst = 40 }
    new_flows_per_source = { per_second = 1, burst = 3 }
"#;

const NAMES: [&str; 8] = [
    "nat", "full-nat", "dsr", "ipip", "gue", "replicas", "single", "rated",
];
/// Services whose algorithm may be any.
const FREE: u64 = 5;
/// Backends that each of them may have.
const BACKENDS: u64 = 7;
/// Packets after each change.
const PACKETS: u64 = 150;

pub struct Story {
    rig: Rig,
    random: u64,
    pools: BTreeMap<(u64, u64), bool>,
    /// How often packets got their backend in each way, or none.
    seen: BTreeMap<String, u64>,
    looked_up: u64,
}

impl Story {
    pub fn begin() -> Result<Self> {
        let mut story = Self {
            rig: Rig::new(CONFIG)?,
            random: 7,
            pools: BTreeMap::new(),
            seen: BTreeMap::new(),
            looked_up: 0,
        };
        for service in 0..NAMES.len() as u64 {
            for number in 1..=4 {
                story.add(service, number)?;
            }
        }
        Ok(story)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random = hash::next(self.random);
        self.random % end
    }

    /// Changes one thing.
    pub fn change(&mut self) -> Result<()> {
        let (service, number) = (self.below(NAMES.len() as u64), 1 + self.below(BACKENDS));
        let is_there = self.pools.contains_key(&(service, number));
        match self.below(12) {
            0 if is_there => self.remove(service, number),
            0..=1 if !is_there => self.add(service, number),
            2..=6 if is_there => self.set(service, number),
            7..=8 => self.choose(service % FREE),
            9 => self.settle_udp(service),
            10 => {
                thread::sleep(Duration::from_millis(300));
                self.rig.census()
            }
            _ => self.rig.census(),
        }
    }

    fn add(&mut self, service: u64, number: u64) -> Result<()> {
        let address = address(service, number);
        let mut backend = BackendSpec::new(address.into(), (service < 2).then_some(8080));
        backend.name = format!("b{number}");
        backend.weight = u16::try_from(50 + 25 * self.below(4))?;
        self.apply(Change::AddBackend {
            service: NAMES[usize::try_from(service)?].into(),
            backend,
        })?;
        self.pools.insert((service, number), true);
        self.rig.resolve(address)
    }

    fn remove(&mut self, service: u64, number: u64) -> Result<()> {
        self.pools.remove(&(service, number));
        self.apply(Change::RemoveBackend {
            service: NAMES[usize::try_from(service)?].into(),
            backend: format!("b{number}"),
        })
    }

    fn set(&mut self, service: u64, number: u64) -> Result<()> {
        let mut set = BackendChange::default();
        match self.below(6) {
            0 => set.weight = Some(u16::try_from(self.below(200))?),
            1 => set.max_connections = Some(u32::try_from(self.below(30))?),
            2 => set.priority = Some(u8::try_from(self.below(2))?),
            3 => set.admin = Some(Admin::Drain),
            4 => set.admin = Some(Admin::Maintenance),
            _ => set.admin = Some(Admin::Ready),
        }
        self.apply(Change::SetBackend {
            service: NAMES[usize::try_from(service)?].into(),
            backend: format!("b{number}"),
            set,
        })
    }

    fn choose(&mut self, service: u64) -> Result<()> {
        let algorithms = Algorithm::ALL;
        let algorithm = algorithms[usize::try_from(self.below(algorithms.len() as u64))?];
        let on_full = OnFull::ALL[usize::try_from(self.below(3))?];
        let on_down = OnDown::ALL[usize::try_from(self.below(3))?];
        self.apply(Change::SetService {
            service: NAMES[usize::try_from(service)?].into(),
            set: ServiceChange {
                algorithm: Some(algorithm),
                on_full: Some(on_full),
                on_down: Some(on_down),
                ..ServiceChange::default()
            },
        })
    }

    fn settle_udp(&mut self, service: u64) -> Result<()> {
        let udp = if self.below(2) == 0 { Udp::Stay } else { Udp::Move };
        self.apply(Change::SetService {
            service: NAMES[usize::try_from(service)?].into(),
            set: ServiceChange {
                udp: Some(udp),
                ..ServiceChange::default()
            },
        })
    }

    /// Makes a change, if it is one that is taken.
    fn apply(&mut self, change: Change) -> Result<()> {
        let done = self.rig.act(|controller| controller.change(change));
        match done {
            // What a mode or a protocol does not allow is no matter here.
            Err(error) if error.is::<xlb::config::Invalid>() => Ok(()),
            done => done,
        }
    }

    pub fn packets(&mut self, round: u64) -> Result<()> {
        for _ in 0..PACKETS {
            let probe = self.probe()?;
            let kind = probe.kind().map_err(anyhow::Error::msg)?;
            let ends = probe.to.protocol == Protocol::Tcp && self.below(12) == 0;
            if ends {
                let reset = self.below(2) == 0;
                self.rig.run(&frame(
                    &probe,
                    |tcp| if reset { tcp.rst() } else { tcp.fin().ack(1) },
                )?)?;
                continue;
            }
            let told = self.rig.controller.lookup(&self.rig.node, &probe, kind)?;
            let sent = match kind {
                PacketKind::Syn => frame(&probe, |tcp| tcp.syn())?,
                PacketKind::Data | PacketKind::Datagram => frame(&probe, |tcp| tcp.ack(1))?,
            };
            let got = self.rig.run(&sent)?;
            self.compare(&told, got)
                .with_context(|| format!("round {round}: {told:#?}"))?;
        }
        Ok(())
    }

    fn compare(&mut self, told: &Lookup, (outcome, to): (Outcome, [u8; 6])) -> Result<()> {
        self.looked_up += 1;
        let way = told
            .by
            .map_or_else(|| told.outcome.clone(), |by| format!("{by:?}"));
        *self.seen.entry(way).or_default() += 1;
        let is_so = match outcome {
            // What the kernel would keep is asked of its routes, packet by packet.
            Outcome::UnservedPassed => told.outcome == Outcome::Unserved.name(),
            _ => told.outcome == outcome.name(),
        };
        ensure!(is_so, "the kernel says {outcome:?}");
        if outcome != Outcome::Forwarded {
            return Ok(());
        }
        let service = told.service.as_ref().context("no service")?;
        let index = NAMES
            .iter()
            .position(|name| *name == service.name)
            .context("another service")?;
        let named = |name: &str| -> Option<[u8; 6]> {
            let number = name.strip_prefix('b')?.parse().ok()?;
            Some(mac(address(index as u64, number)))
        };
        let is_told = match told.by {
            Some(By::Chance) => told.candidates.iter().any(|name| named(name) == Some(to)),
            _ => told.backend.as_ref().and_then(|backend| named(&backend.name)) == Some(to),
        };
        ensure!(is_told, "the kernel sends it to {to:?}");
        Ok(())
    }

    /// A packet of one of a few thousand flows, now and then of none.
    fn probe(&mut self) -> Result<Probe> {
        let client = Ipv4Addr::from(0x0a01_0000 + u32::try_from(self.below(64))?);
        let from = SocketAddr::new(client.into(), u16::try_from(4000 + self.below(12))?);
        let last = |number: u64| Ipv4Addr::from(0xc000_0200 + u32::try_from(number).unwrap_or(0));
        let service = self.below(9);
        let (vip, port) = match service {
            0 if self.below(2) == 0 => (last(101), 80),
            4 => (last(5), 80 + self.below(2)),
            5 => (
                Ipv4Addr::from(0xc633_6400 + u32::try_from(self.below(16))?),
                80 + self.below(10),
            ),
            8 => (last(9), 80),
            _ => (last(service + 1), 80),
        };
        let protocol = match self.below(4) {
            0 => Protocol::Udp,
            1 if service == 2 => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        let protocol = if service == 6 { Protocol::Udp } else { protocol };
        let packet = (protocol == Protocol::Tcp && self.below(2) == 0).then_some(PacketKind::Data);
        Ok(Probe {
            from,
            to: Target {
                socket: SocketAddr::new(vip.into(), u16::try_from(port)?),
                protocol,
            },
            packet,
        })
    }

    /// The story has had every way in which a packet gets its backend, and some in which it gets none.
    pub fn ensure_broad(&self) -> Result<()> {
        let mut wanted: Vec<String> = [
            By::Flow,
            By::Entry,
            By::Owner,
            By::Previous,
            By::Affinity,
            By::Algorithm,
            By::Replica,
            By::NextHash,
            By::Chance,
            // By::Room is rare: eight confirmed flows must have met in one line of the table.
        ]
        .iter()
        .map(|by| format!("{by:?}"))
        .collect();
        wanted.extend(["source_limited", "flow_limited", "not_ours", "unserved"].map(str::to_owned));
        wanted.retain(|way| !self.seen.contains_key(way));
        ensure!(wanted.is_empty(), "never seen: {wanted:?}, only {:?}", self.seen);
        ensure!(
            self.looked_up > 5000,
            "only {} packets were looked up",
            self.looked_up
        );
        Ok(())
    }
}

fn address(service: u64, number: u64) -> Ipv4Addr {
    let byte = |number: u64| u8::try_from(number).unwrap();
    Ipv4Addr::new(10, 20, byte(service), byte(number))
}

type Tcp = etherparse::PacketBuilderStep<etherparse::TcpHeader>;

pub fn frame(probe: &Probe, flags: impl Fn(Tcp) -> Tcp) -> Result<Vec<u8>> {
    let (from, to) = (probe.from, probe.to.socket);
    let (SocketAddr::V4(source), SocketAddr::V4(vip)) = (from, to) else {
        anyhow::bail!("only IPv4 here");
    };
    let start = PacketBuilder::ethernet2([2, 5, 5, 5, 5, 5], [2, 6, 6, 6, 6, 6]);
    let ip = start.ipv4(source.ip().octets(), vip.ip().octets(), 64);
    let mut frame = Vec::new();
    match probe.to.protocol {
        Protocol::Tcp => flags(ip.tcp(from.port(), to.port(), 1, 64_000)).write(&mut frame, b"payload")?,
        Protocol::Udp => ip.udp(from.port(), to.port()).write(&mut frame, b"payload")?,
        Protocol::Sctp => {
            let mut body = [0; 32];
            body[..2].copy_from_slice(&from.port().to_be_bytes());
            body[2..4].copy_from_slice(&to.port().to_be_bytes());
            ip.write(&mut frame, etherparse::IpNumber::SCTP, &body)?;
        }
    }
    Ok(frame)
}
