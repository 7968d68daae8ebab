//! The network: a sender, a receiver, and between them a host of each contender's own, all of them alike.
//!
//! ```text
//!   sender         xlb           receiver
//!      xlb ─── eth0   eth1 ─── xlb
//!                limit
//!    limit ─── eth0   eth1 ─── limit
//!       …                      …
//! ```

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;
use xlb_tests::{
    lab::address::{BALANCER, FIRST_HOST, Mac, Net, PREFIX_LEN, PREFIX_LEN6},
    netns::Netns,
    preflight,
    scope::Scope,
    xdp::arrivals::Arrivals,
};

/// Backends of every contender; all of them are the receiver.
pub const BACKENDS: u8 = 16;
/// No router tells neighbours apart from backends, and none waits for duplicates of addresses.
const QUIET: [(&str, &str); 6] = [
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv6.conf.all.forwarding", "1"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.router_solicitations", "0"),
];

pub struct Stage {
    pub sender: Netns,
    pub arrivals: Arrivals,
    hosts: Vec<(&'static str, Netns)>,
    _receiver: Netns,
    // Last: takes the namespaces away.
    pub scope: Scope,
}

impl Stage {
    /// A stage with a host of each of these names.
    pub fn build(names: &[&'static str]) -> Result<Self> {
        preflight::mount_bpffs()?;
        let scope = Scope::claim()?;
        let ends = scope.namespaces(&["sender", "receiver"])?;
        let [sender, receiver] = <[Netns; 2]>::try_from(ends).ok().context("two namespaces")?;
        for end in [&sender, &receiver] {
            end.sysctl(&[("net.ipv6.conf.default.disable_ipv6", "1")])?;
        }
        let hosts: Vec<_> = names.iter().copied().zip(scope.namespaces(names)?).collect();
        for (name, host) in &hosts {
            wire(&sender, &receiver, name, host).with_context(|| format!("build the host {name}"))?;
        }
        let arrivals = Arrivals::at(&receiver, names, Self::receiver_mac())?;
        Ok(Self {
            sender,
            arrivals,
            hosts,
            _receiver: receiver,
            scope,
        })
    }

    /// A contender's host.
    pub fn host(&self, name: &str) -> Result<&Netns> {
        let found = self.hosts.iter().find(|(other, _)| *other == name);
        found.map(|(_, ns)| ns).with_context(|| format!("no host {name}"))
    }

    /// The sender's device towards a contender.
    pub fn way_to(&self, name: &str) -> Result<u32> {
        let index = self.sender.run(|| if_nametoindex(name))?;
        index.with_context(|| format!("look up {name}"))
    }

    /// Of every contender's first interface.
    pub fn contender_mac() -> Mac {
        Net::Front.mac(BALANCER)
    }

    /// Of all backends.
    pub fn receiver_mac() -> Mac {
        Net::Back.mac(FIRST_HOST)
    }

    /// Host parts of the backends.
    pub fn backends() -> impl Iterator<Item = u8> {
        FIRST_HOST..FIRST_HOST + BACKENDS
    }
}

/// Two cables, addresses, and neighbours that nobody has to ask for.
fn wire(sender: &Netns, receiver: &Netns, name: &str, host: &Netns) -> Result<()> {
    host.sysctl(&QUIET)?;
    let cable = |mac: Mac, device: &str| {
        format!(
            "link add {name} type veth peer name {device} address {mac} netns {}",
            host.name()
        )
    };
    sender.ip_batch(&[
        cable(Stage::contender_mac(), "eth0"),
        format!("link set {name} up"),
    ])?;
    let own = Stage::receiver_mac();
    receiver.ip_batch(&[
        cable(Net::Back.mac(BALANCER), "eth1"),
        format!("link set {name} address {own} up"),
    ])?;
    let mut lines = vec!["link set lo up".to_owned()];
    for (net, device) in [(Net::Front, "eth0"), (Net::Back, "eth1")] {
        lines.extend([
            format!("addr add {}/{PREFIX_LEN} dev {device}", net.v4(BALANCER)),
            format!("addr add {}/{PREFIX_LEN6} dev {device} nodad", net.v6(BALANCER)),
            format!("link set {device} up"),
        ]);
    }
    let neighbour = |address: String| format!("neigh add {address} lladdr {own} dev eth1 nud permanent");
    for backend in Stage::backends() {
        lines.push(neighbour(Net::Back.v4(backend).to_string()));
        lines.push(neighbour(Net::Back.v6(backend).to_string()));
    }
    host.ip_batch(&lines)
}
