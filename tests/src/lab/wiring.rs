//! Cables, addresses and routes.

use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

use super::address::{BALANCER, Net, PREFIX_LEN, PREFIX_LEN6};
use crate::netns::Netns;
use crate::preflight;

const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);

/// How all links of a lab are.
pub(super) struct Wiring {
    pub mtu: u16,
    pub ipv6: bool,
    /// One bridge for both nets, instead of one each.
    pub one_bridge: bool,
}

/// Where a host's device meets the switch.
pub(super) struct Plug<'a> {
    pub ns: &'a Netns,
    /// The end of the cable in the switch.
    pub port: &'a str,
    /// The end in the host.
    pub device: &'a str,
    pub net: Net,
    pub number: u8,
}

impl Wiring {
    /// Kernel parameters of every host, to be set before it has devices: no filter by reverse path, no redirects, no
    /// IPv6 in a lab without it, and no wait for duplicate addresses in a lab with it.
    pub fn quiet(&self, ns: &Netns) -> Result<()> {
        let mut settings = vec![("ipv4", "rp_filter", "0")];
        // On one arm the balancer's kernel would tell hosts of the shorter way past it.
        settings.extend([("ipv4", "send_redirects", "0"), ("ipv4", "accept_redirects", "0")]);
        if preflight::has_ipv6() {
            settings.push(("ipv6", "disable_ipv6", if self.ipv6 { "0" } else { "1" }));
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

    /// Builds the bridges and a veth pair per plug.
    pub fn switch(&self, switch: &Netns, plugs: &[Plug<'_>]) -> Result<()> {
        let bridges: &[&str] = if self.one_bridge {
            &["br-front"]
        } else {
            &["br-front", "br-back"]
        };
        let mut lines = vec!["link set lo up".to_owned()];
        lines.extend(
            bridges
                .iter()
                .map(|bridge| format!("link add {bridge} type bridge mcast_snooping 0")),
        );
        for plug in plugs {
            let (port, device, mac, mtu) = (plug.port, plug.device, plug.net.mac(plug.number), self.mtu);
            let bridge = if plug.net == Net::Back && !self.one_bridge {
                "br-back"
            } else {
                "br-front"
            };
            let peer = format!("{device} address {mac} mtu {mtu} netns {}", plug.ns.name());
            lines.push(format!("link add {port} mtu {mtu} type veth peer name {peer}"));
            lines.push(format!("link set {port} master {bridge} up"));
        }
        lines.extend(bridges.iter().map(|bridge| format!("link set {bridge} up")));
        switch.ip_batch(&lines).context("build the switch")
    }

    /// Gives the balancer its addresses; with `forward`, makes it a router.
    pub fn balancer(&self, lb: &Netns, devices: &[(&String, Net)], forward: bool) -> Result<()> {
        let forward = if forward { "1" } else { "0" };
        let mut settings = vec![("net.ipv4.ip_forward", forward)];
        if self.ipv6 {
            settings.push(("net.ipv6.conf.all.forwarding", forward));
        }
        lb.sysctl(&settings)?;
        let mut lines = vec!["link set lo up".to_owned()];
        for (device, net) in devices {
            self.addresses(&mut lines, device, *net, BALANCER);
            lines.push(format!("link set {device} up"));
        }
        lb.ip_batch(&lines).context("configure the balancer's host")
    }

    /// Gives a client or backend its addresses and the balancer as default route.
    pub fn host(&self, plug: &Plug<'_>) -> Result<()> {
        let mut lines = vec!["link set lo up".to_owned()];
        self.addresses(&mut lines, plug.device, plug.net, plug.number);
        lines.push(format!("link set {} up", plug.device));
        lines.push(format!("route add default via {}", plug.net.v4(BALANCER)));
        if self.ipv6 {
            lines.push(format!("route add ::/0 via {}", plug.net.v6(BALANCER)));
        }
        plug.ns.ip_batch(&lines)
    }

    /// Makes senders compute L4 checksums: what veth leaves out, a rewritten frame would carry wrong. All at once,
    /// for each is a process.
    pub fn finish_checksums(plugs: &[Plug<'_>]) -> Result<()> {
        let start = |plug: &Plug<'_>| {
            let mut command = plug.ns.command("ethtool");
            command
                .args(["-K", plug.device, "tx", "off"])
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

    /// Waits until every cable carries frames: the kernel activates devices some time after it was told to.
    pub fn wait_running(switch: &Netns, plugs: &[Plug<'_>]) -> Result<()> {
        for plug in plugs {
            wait_running(switch, plug.port)?;
            wait_running(plug.ns, plug.device)?;
        }
        Ok(())
    }

    fn addresses(&self, lines: &mut Vec<String>, device: &str, net: Net, number: u8) {
        lines.push(format!("addr add {}/{PREFIX_LEN} dev {device}", net.v4(number)));
        if self.ipv6 {
            lines.push(format!(
                "addr add {}/{PREFIX_LEN6} dev {device} nodad",
                net.v6(number)
            ));
        }
    }
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
