//! The topology: clients, a switch, the balancer, the switch again, backends.
//!
//! ```text
//!  client  c2 …         lb            b1  b2 …
//!    eth0  eth0     eth0  eth1      eth0  eth0
//!      │     │        │    │          │     │       veth pairs
//!    client  c2   front    back      b1    b2
//!  └──────── br-front ┘    └──────── br-back ───┘    bridges in the namespace `sw`
//! ```
//!
//! With one arm, the balancer has `eth0` alone, with the addresses of both nets, and one bridge joins everything.
//! Clients have the balancer as default route, so that VIPs reach it, and backends have the way that their [`Mode`] asks
//! for: by the balancer, none, or past it by the switch, which then routes. [`LabBuilder::path_mtu`] puts a router between
//! clients and balancer, and [`LabBuilder::tagged`] a VLAN trunk between switch and balancer. The bridge ports facing
//! the balancer carry an XDP stub, without which nothing that it sends from XDP would arrive.

pub mod address;
mod assemble;
mod build;
mod cpu_time;
mod mode;
mod plan;
mod routes;
mod wiring;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::agent::AgentBuilder;
use crate::host::Host;
use crate::netns::Netns;
use crate::scope::Scope;
use crate::xdp::stub::Stub;
use crate::xdp::trunk::Trunk;

pub use build::LabBuilder;
pub use mode::Mode;

/// A running lab. Dropping it kills what runs in it and removes all of it.
#[derive(Debug)]
pub struct Lab {
    /// The first client.
    pub client: Host,
    /// The clients after the first.
    pub more_clients: Vec<Host>,
    /// The backends, `b1` and up.
    pub backends: Vec<Host>,
    /// The balancer's host; its address is that of `front`.
    pub lb: Host,
    /// The router before it, in a lab with a path MTU.
    pub router: Option<Host>,
    /// The balancer's interface towards the clients.
    pub front: Interface,
    /// The balancer's interface towards the backends; with one arm the same device with another address.
    pub back: Interface,
    /// The namespace of the bridges; its ports are named after the hosts, `front` and `back`.
    pub switch: Netns,
    generic: bool,
    _stubs: Vec<Stub>,
    _trunks: Vec<Trunk>,
    // Last: takes the namespaces away.
    scope: Scope,
}

/// An interface of the balancer.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name in the balancer's namespace.
    pub device: String,
    /// Its IPv4 address.
    pub addr: Ipv4Addr,
    /// Its IPv6 address, in a lab that has IPv6.
    pub addr6: Ipv6Addr,
    /// Its MAC address.
    pub mac: address::Mac,
}

impl Lab {
    /// One client, one backend, two arms, IPv4, MTU 1500, until the builder is told otherwise.
    #[expect(
        clippy::new_ret_no_self,
        reason = "reads as the lab it will be: Lab::new().backends(3).build()"
    )]
    pub fn new() -> LabBuilder {
        LabBuilder::default()
    }

    /// Backend `index`, counted from 0: `backend(0)` is `b1`.
    ///
    /// # Panics
    /// When the lab has fewer backends.
    pub fn backend(&self, index: usize) -> &Host {
        &self.backends[index]
    }

    /// The address that services are usually given.
    pub fn vip(&self) -> Ipv4Addr {
        address::vip(routes::VIP)
    }

    /// Its IPv6 counterpart.
    pub fn vip6(&self) -> Ipv6Addr {
        address::vip6(routes::VIP)
    }

    /// Pulls a client's or backend's cable out of the switch, or puts it in again.
    pub fn set_plugged(&self, host: &Host, plugged: bool) -> Result<()> {
        let state = if plugged { "up" } else { "down" };
        self.switch.ip(&["link", "set", &host.name, state])?;
        if plugged {
            wiring::wait_running(&self.switch, &host.name)?;
            wiring::wait_running(&host.ns, "eth0")?;
        }
        Ok(())
    }

    /// A directory of this lab, for logs, sockets and served files.
    pub fn dir(&self) -> &Path {
        self.scope.dir()
    }

    /// A bpffs directory of this lab's own.
    pub fn pin_dir(&self) -> PathBuf {
        self.scope.pin_dir()
    }

    /// What the names of this lab's traces carry: `PID-N`.
    pub fn id(&self) -> &str {
        self.scope.id()
    }

    /// `[[interface]]` entries of a configuration for the balancer's devices.
    pub fn interfaces_toml(&self) -> String {
        let mut devices = vec![&self.front.device, &self.back.device];
        devices.dedup();
        let mode = if self.generic { "mode = \"generic\"\n" } else { "" };
        devices
            .iter()
            .map(|device| format!("[[interface]]\nname = \"{device}\"\n{mode}\n"))
            .collect()
    }

    /// xlb in the balancer's namespace; `services` is its configuration from the `[[service]]` entries on.
    pub fn agent(&self, services: &str) -> AgentBuilder {
        AgentBuilder::new(self, services)
    }
}
