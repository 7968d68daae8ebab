//! The guest's network: a client, a backend host, and between them the balancers, all of them there at once.
//!
//! Each lane has links of its own: `cN` at the client to `fN` at its balancer, and `bN` there to `sN` at the backends, which are
//! several addresses on that link.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;
use xlb_tests::{netns::Netns, scope::Scope};

use super::programs::{self, Counter};
use crate::{
    pktgen::lane::Lane,
    sys::{Attached, Hook},
};

/// Where every packet goes.
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Backends of each service.
pub const BACKENDS: u8 = 4;
/// Where they listen in the mode that rewrites ports.
pub const BACKEND_PORT: u16 = 9000;
/// Host part of the first backend.
const FIRST_BACKEND: u8 = 10;
const KINDS: [&str; 6] = ["client", "plain", "router", "xlb", "ipvs", "backends"];

/// Namespaces, by what they are for. They are gone with the value.
pub struct Bed {
    _scope: Scope,
    pub client: Netns,
    pub plain: Netns,
    pub router: Netns,
    pub xlb: Netns,
    pub ipvs: Netns,
    pub backends: Netns,
}

/// A lane, and where its packets are counted.
pub struct Line {
    pub lane: Lane,
    number: u8,
    counter: Counter,
    programs: Vec<Attached>,
}

impl Bed {
    pub fn make() -> Result<Self> {
        let scope = Scope::claim()?;
        let made = scope.namespaces(&KINDS)?;
        for space in &made {
            // No frame but pktgen's is to be counted.
            space.sysctl(&[
                ("net.ipv6.conf.all.disable_ipv6", "1"),
                ("net.ipv6.conf.default.disable_ipv6", "1"),
                ("net.ipv4.ip_forward", "1"),
            ])?;
            space.ip(&["link", "set", "lo", "up"])?;
        }
        let [client, plain, router, xlb, ipvs, backends] =
            <[Netns; 6]>::try_from(made).ok().context("make six namespaces")?;
        Ok(Self {
            _scope: scope,
            client,
            plain,
            router,
            xlb,
            ipvs,
            backends,
        })
    }

    /// Where a lane's packets are decided on.
    pub const fn between(&self, lane: Lane) -> &Netns {
        match lane {
            Lane::Drop(_) | Lane::Redirect(_) | Lane::HeadMove => &self.plain,
            Lane::Routing => &self.router,
            Lane::Xlb(_) => &self.xlb,
            Lane::Ipvs(_) => &self.ipvs,
        }
    }

    /// Lays the links of a lane, with what receives at their end and what sends on where that is not a balancer.
    pub fn lay(&self, number: u8, lane: Lane) -> Result<Line> {
        let mut line = Line {
            lane,
            number,
            counter: Counter::new()?,
            programs: Vec::new(),
        };
        line.link(self)
            .with_context(|| format!("lay the links of {lane}"))?;
        line.attach(self).with_context(|| lane.to_string())?;
        Ok(line)
    }
}

impl Line {
    /// What pktgen sends on.
    pub fn sender(&self) -> String {
        format!("c{}", self.number)
    }

    /// The balancer's interface to the client.
    pub fn front(&self) -> String {
        format!("f{}", self.number)
    }

    /// The balancer's interface to the backends.
    pub fn back(&self) -> String {
        format!("b{}", self.number)
    }

    fn receiver(&self) -> String {
        format!("s{}", self.number)
    }

    pub const fn client_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 100 + self.number, 0, 2)
    }

    pub const fn front_mac(&self) -> [u8; 6] {
        [2, 0, 0, 2, 0, self.number]
    }

    pub const fn back_mac(&self) -> [u8; 6] {
        [2, 0, 0, 3, 0, self.number]
    }

    /// The balancer's address on the backends' link.
    pub const fn back_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 150 + self.number, 0, 1)
    }

    /// Addresses of the backends, on the link and in it.
    pub fn backends(&self) -> impl Iterator<Item = (Ipv4Addr, [u8; 6])> {
        let number = self.number;
        (0..BACKENDS).map(move |backend| {
            (
                Ipv4Addr::new(10, 150 + number, 0, FIRST_BACKEND + backend),
                [2, 0, 0, 4, backend, number],
            )
        })
    }

    /// Packets that have arrived.
    pub fn received(&self) -> Result<u64> {
        self.counter.packets()
    }

    /// Routes the VIP to a backend, where nobody balances.
    pub fn route(&self, space: &Netns) -> Result<()> {
        let (address, _) = self.backends().next().context("find a backend")?;
        space
            .ip(&["route", "add", &VIP.to_string(), "via", &address.to_string()])
            .map(drop)
    }

    fn link(&self, bed: &Bed) -> Result<()> {
        let between = bed.between(self.lane);
        let (sender, front, back, receiver) = (self.sender(), self.front(), self.back(), self.receiver());
        let (front_mac, back_mac) = (text(self.front_mac()), text(self.back_mac()));
        bed.client.ip_batch(&[
            format!(
                "link add {sender} type veth peer name {front} address {front_mac} netns {}",
                between.name()
            ),
            format!("link set {sender} up"),
        ])?;
        let mut lines = vec![
            format!("address add 10.{}.0.1/24 dev {front}", 100 + self.number),
            format!("link set {front} up"),
            format!(
                "link add {back} address {back_mac} type veth peer name {receiver} netns {}",
                bed.backends.name()
            ),
            format!("address add {}/24 dev {back}", self.back_address()),
            format!("link set {back} up"),
        ];
        for (address, mac) in self.backends() {
            lines.push(format!("neighbour add {address} lladdr {} dev {back}", text(mac)));
        }
        between.ip_batch(&lines)?;
        bed.backends.ip_batch(&[format!("link set {receiver} up")])
    }

    fn attach(&mut self, bed: &Bed) -> Result<()> {
        let between = bed.between(self.lane);
        let index = |space: &Netns, name: String| -> Result<u32> {
            space
                .run(|| if_nametoindex(name.as_str()))?
                .with_context(|| format!("look up {name}"))
        };
        let receiving = self.counter.count_and_drop(self.lane.receiver());
        let (end, name) = match self.lane {
            Lane::Drop(_) => (between, self.front()),
            _ => (&bed.backends, self.receiver()),
        };
        let mut put = |space: &Netns, hook: Hook, name: String, code: &[_], what: &str| -> Result<()> {
            let interface = index(space, name)?;
            self.programs
                .push(space.run(|| Attached::load(hook, interface, code, what))??);
            Ok(())
        };
        put(end, self.lane.receiver(), name, &receiving, "receiver")?;
        let (front, back) = (format!("f{}", self.number), format!("b{}", self.number));
        match self.lane {
            Lane::Redirect(hook) => {
                let code = programs::redirect(index(between, back)?);
                put(between, hook, front, &code, "redirect")
            }
            Lane::HeadMove => {
                let code = programs::head_move_redirect(index(between, back)?);
                put(between, Hook::Xdp, front, &code, "head move")
            }
            Lane::Drop(_) | Lane::Routing | Lane::Xlb(_) | Lane::Ipvs(_) => Ok(()),
        }
    }
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
