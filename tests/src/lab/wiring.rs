//! Cables and addresses.

use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

use super::address::{Mac, Net, PREFIX_LEN, PREFIX_LEN6, ROUTER};
use super::plan::{Role, Seat};
use crate::netns::Netns;
use crate::preflight;

const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
/// Bytes that two VLAN tags take in a frame: the MTU does not count them, but veth drops what is longer than it by more than one.
const TAGS: u16 = 8;

/// The families that a lab has addresses of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Families {
    pub v4: bool,
    pub v6: bool,
}

/// How all links of a lab are.
pub(super) struct Wiring {
    pub mtu: u16,
    pub families: Families,
    /// One bridge for the balancer's nets, instead of one each.
    pub one_bridge: bool,
}

/// Where a host's device meets the switch.
pub(super) struct Plug<'a> {
    pub ns: &'a Netns,
    /// The end of the cable in the switch.
    pub port: &'a str,
    pub role: Role,
    pub seat: &'a Seat,
}

impl Wiring {
    /// Kernel parameters of every host, to be set before it has devices: no filter by reverse path, no redirects, no
    /// IPv6 in a lab without it, and no wait for duplicate addresses in a lab with it.
    pub fn quiet(&self, ns: &Netns) -> Result<()> {
        let mut settings = vec![("ipv4", "rp_filter", "0")];
        // On one arm the balancer's kernel would tell hosts of the shorter way past it.
        settings.extend([("ipv4", "send_redirects", "0"), ("ipv4", "accept_redirects", "0")]);
        if preflight::has_ipv6() {
            settings.push(("ipv6", "disable_ipv6", if self.families.v6 { "0" } else { "1" }));
            settings.extend([("ipv6", "accept_dad", "0"), ("ipv6", "accept_ra", "0")]);
        }
        let name = |scope, (family, name, _)| format!("net.{family}.conf.{scope}.{name}");
        for setting in settings {
            ns.sysctl(&[
                (&name("all", setting), setting.2),
                (&name("default", setting), setting.2),
            ])?;
        }
        Ok(())
    }

    /// Makes a host a router, or not.
    pub fn forwarding(&self, ns: &Netns, on: bool) -> Result<()> {
        let value = if on { "1" } else { "0" };
        let mut settings = vec![("net.ipv4.ip_forward", value)];
        if self.families.v6 {
            settings.push(("net.ipv6.conf.all.forwarding", value));
        }
        ns.sysctl(&settings)
    }

    /// Builds the bridges and a veth pair per plug. With a trunk, the balancer's cables end there: in the switch's place it
    /// has `PORT-in`.
    pub fn switch(&self, switch: &Netns, plugs: &[Plug<'_>], trunk: Option<&Netns>) -> Result<()> {
        no_switch_filters(switch)?;
        let mut lines = vec!["link set lo up".to_owned()];
        let mut bridges: Vec<&str> = plugs.iter().map(|plug| self.bridge(plug.seat.net)).collect();
        bridges.extend(["br-front", self.bridge(Net::Back)]);
        bridges.sort_unstable();
        bridges.dedup();
        let add = |bridge: &&str| format!("link add {bridge} type bridge mcast_snooping 0");
        lines.extend(bridges.iter().map(add));
        for plug in plugs {
            let (port, bridge) = (plug.port, self.bridge(plug.seat.net));
            let (mtu, peer) = match trunk.filter(|_| plug.role == Role::Balancer) {
                Some(trunk) => {
                    let mtu = self.mtu + TAGS;
                    (mtu, format!("{port}-in mtu {mtu} netns {}", trunk.name()))
                }
                None => (self.mtu, self.end(plug, self.mtu)),
            };
            lines.push(format!("link add {port} mtu {mtu} type veth peer name {peer}"));
            lines.push(format!("link set {port} master {bridge} up"));
        }
        lines.extend(bridges.iter().map(|bridge| format!("link set {bridge} up")));
        switch.ip_batch(&lines).context("build the switch")
    }

    /// The cables between a trunk and the balancer, to `PORT-out`.
    pub fn trunk(&self, trunk: &Netns, plugs: &[Plug<'_>]) -> Result<()> {
        let mut lines = vec!["link set lo up".to_owned()];
        let mtu = self.mtu + TAGS;
        for plug in plugs.iter().filter(|plug| plug.role == Role::Balancer) {
            let (port, end) = (plug.port, self.end(plug, mtu));
            lines.push(format!("link add {port}-out mtu {mtu} type veth peer name {end}"));
            lines.extend(["in", "out"].map(|side| format!("link set {port}-{side} up")));
        }
        trunk.ip_batch(&lines).context("build the trunk")
    }

    /// Lines that give a host its addresses and start its devices.
    pub fn addresses(&self, seats: &[Seat]) -> Vec<String> {
        let mut lines = vec!["link set lo up".to_owned()];
        for Seat {
            device, net, number, ..
        } in seats
        {
            // The router makes the routes to the clients itself, with an MTU.
            let more = if (*net, *number) == (Net::Far, ROUTER) {
                " noprefixroute"
            } else {
                ""
            };
            if self.families.v4 {
                lines.push(format!(
                    "addr add {}/{PREFIX_LEN} dev {device}{more}",
                    net.v4(*number)
                ));
            }
            if self.families.v6 {
                lines.push(format!(
                    "addr add {}/{PREFIX_LEN6} dev {device} nodad{more}",
                    net.v6(*number)
                ));
            }
            lines.push(format!("link set {device} up"));
        }
        lines
    }

    /// A line for each family that tells a device the MAC address of a neighbour, for good.
    pub fn neighbour(&self, device: &str, seat: &Seat, mac: Mac) -> Vec<String> {
        let mut lines = Vec::new();
        let line = |address: String| format!("neigh add {address} lladdr {mac} dev {device} nud permanent");
        if self.families.v4 {
            lines.push(line(seat.net.v4(seat.number).to_string()));
        }
        if self.families.v6 {
            lines.push(line(seat.net.v6(seat.number).to_string()));
        }
        lines
    }

    /// Makes senders compute L4 checksums: what veth leaves out, a rewritten frame would carry wrong. All at once,
    /// for each is a process.
    pub fn finish_checksums(plugs: &[Plug<'_>]) -> Result<()> {
        let start = |plug: &Plug<'_>| {
            let mut command = plug.ns.command("ethtool");
            command
                .args(["-K", plug.seat.device, "tx", "off"])
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            command.spawn().context("start ethtool")
        };
        let running: Vec<Child> = plugs.iter().map(start).collect::<Result<_>>()?;
        for child in running {
            let output = child.wait_with_output().context("wait for ethtool")?;
            ensure!(
                output.status.success(),
                "ethtool -K: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    /// Makes the switch cut and finish what devices would: long packets on their way to the balancer, checksums on their way to others.
    pub fn finish_in_switch(switch: &Netns, plugs: &[Plug<'_>]) -> Result<()> {
        for plug in plugs {
            let off: &[&str] = match plug.role {
                Role::Balancer => &["tso", "off", "gso", "off"],
                Role::Router | Role::Client | Role::Backend => &["tx", "off"],
            };
            switch.exec(&[&["ethtool", "-K", plug.port], off].concat())?;
        }
        Ok(())
    }

    /// Waits until every cable carries frames: the kernel activates devices some time after it was told to.
    pub fn wait_running(switch: &Netns, plugs: &[Plug<'_>]) -> Result<()> {
        for plug in plugs {
            wait_running(switch, plug.port)?;
            wait_running(plug.ns, plug.seat.device)?;
        }
        Ok(())
    }

    /// The host's end of a cable, for `ip link add`.
    fn end(&self, plug: &Plug<'_>, mtu: u16) -> String {
        let Seat {
            device, net, number, ..
        } = plug.seat;
        format!(
            "{device} address {} mtu {mtu} netns {}",
            net.mac(*number),
            plug.ns.name()
        )
    }

    fn bridge(&self, net: Net) -> &'static str {
        match net {
            Net::Front => "br-front",
            Net::Back if self.one_bridge => "br-front",
            Net::Back => "br-back",
            Net::Far => "br-far",
        }
    }
}

/// Keeps bridges out of netfilter, where the kernel takes their packets there too: it costs something, and switches do not.
fn no_switch_filters(switch: &Netns) -> Result<()> {
    for family in ["ip", "ip6"] {
        let name = format!("net.bridge.bridge-nf-call-{family}tables");
        if Path::new("/proc/sys").join(name.replace('.', "/")).exists() {
            switch.sysctl(&[(&name, "0")])?;
        }
    }
    Ok(())
}

/// Waits until a device is up, with a carrier, and a bridge port forwards.
pub(super) fn wait_running(ns: &Netns, device: &str) -> Result<()> {
    let running = |address: &InterfaceAddress| {
        address.interface_name == device && address.flags.contains(InterfaceFlags::IFF_RUNNING)
    };
    let deadline = Instant::now() + PATIENCE;
    ns.run(|| {
        while !getifaddrs()?.any(|address| running(&address)) {
            ensure!(
                Instant::now() < deadline,
                "{device} in {} has no carrier after {PATIENCE:?}",
                ns.name()
            );
            thread::sleep(POLL);
        }
        Ok(())
    })?
}
