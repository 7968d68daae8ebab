//! What a lab shall be like.

use anyhow::{Context, Result, ensure};

use super::address::{MAX_HOSTS, Net};
use super::mode::Mode;
use super::plan::{APART, Plan};
use super::routes::Routes;
use super::wiring::{Families, Wiring};
use super::{Lab, assemble};
use crate::xdp::trunk::Tag;
use crate::{interrupt, preflight};

/// What the lab shall be like.
#[derive(Clone, Debug)]
pub struct LabBuilder {
    clients: u8,
    backends: u8,
    beside_clients: bool,
    one_arm: bool,
    pub(super) mtu: u16,
    path_mtu: Option<u16>,
    pub(super) tags: Vec<Tag>,
    pub(super) mode: Mode,
    pub(super) forwarding: bool,
    pub(super) checksum_offload: bool,
    pub(super) sends_from_xdp: bool,
    pub(super) generic: bool,
    families: Families,
}

impl Default for LabBuilder {
    fn default() -> Self {
        Self {
            clients: 1,
            backends: 1,
            beside_clients: false,
            one_arm: false,
            mtu: 1500,
            path_mtu: None,
            tags: Vec::new(),
            mode: Mode::Nat,
            forwarding: true,
            checksum_offload: false,
            sends_from_xdp: true,
            generic: false,
            families: Families { v4: true, v6: false },
        }
    }
}

impl LabBuilder {
    /// How many clients, at least one.
    pub fn clients(mut self, count: u8) -> Self {
        self.clients = count;
        self
    }

    /// How many backends.
    pub fn backends(mut self, count: u8) -> Self {
        self.backends = count;
        self
    }

    /// Prepares the backends for a mode other than `nat`.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Puts the backends in the net of the clients.
    pub fn backends_beside_clients(mut self) -> Self {
        self.beside_clients = true;
        self
    }

    /// Gives the balancer one interface for both directions.
    pub fn one_arm(mut self) -> Self {
        self.one_arm = true;
        self
    }

    /// The MTU of every link.
    pub fn mtu(mut self, bytes: u16) -> Self {
        self.mtu = bytes;
        self
    }

    /// Puts a router between the clients and the balancer, whose way to the clients takes packets of so many bytes. The
    /// clients do not know: their links have the MTU of all others.
    pub fn path_mtu(mut self, bytes: u16) -> Self {
        self.path_mtu = Some(bytes);
        self
    }

    /// Lets all frames to and from the balancer have these VLAN tags, each TPID and TCI, outermost first. Its kernel has no
    /// VLAN devices: it hears and reaches nobody, and everybody's MAC addresses are set by hand.
    pub fn tagged(mut self, tags: &[Tag]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    /// Whether the balancer's kernel forwards what XDP passes; it does unless told otherwise.
    pub fn forwarding(mut self, on: bool) -> Self {
        self.forwarding = on;
        self
    }

    /// Leaves it to the "hardware" to finish L4 checksums, as veth pretends to: frames then travel with partial
    /// ones, as they do on a host with containers. Off unless asked for.
    pub fn checksum_offload(mut self, on: bool) -> Self {
        self.checksum_offload = on;
        self
    }

    /// Leaves out the stubs at the far ends of the balancer's cables, which cost something: for a balancer that is no XDP program.
    pub fn without_stubs(mut self) -> Self {
        self.sends_from_xdp = false;
        self
    }

    /// Has xlb attached in generic mode. The switch then sends the balancer no packet that its sender has left to a device to cut, and
    /// finishes checksums on the way to all others.
    pub fn generic(mut self) -> Self {
        self.generic = true;
        self
    }

    /// IPv6 beside IPv4. Without it the lab has none, so that no packet of its own accord disturbs a count.
    pub fn ipv6(mut self) -> Self {
        self.families.v6 = true;
        self
    }

    /// IPv6 instead of IPv4.
    pub fn ipv6_only(mut self) -> Self {
        self.families = Families { v4: false, v6: true };
        self
    }

    /// Builds it, after sweeping what killed runs left.
    pub fn build(self) -> Result<Lab> {
        ensure!(
            (1..=MAX_HOSTS).contains(&self.clients),
            "a lab has 1 to {MAX_HOSTS} clients"
        );
        ensure!(
            self.backends <= MAX_HOSTS,
            "a lab has at most {MAX_HOSTS} backends"
        );
        ensure!(
            !self.beside_clients || self.clients.max(self.backends) <= APART,
            "one net has at most {APART} clients and as many backends"
        );
        ensure!(
            !self.beside_clients || self.path_mtu.is_none(),
            "backends beside clients behind a router are out of the balancer's reach"
        );
        preflight::mount_bpffs()?;
        interrupt::install().context("handle Ctrl-C")?;
        assemble::assemble(&self)
    }

    pub(super) fn routes(&self) -> Routes {
        Routes {
            families: self.families,
            mode: self.mode,
            path_mtu: self.path_mtu,
            backends_in: if self.beside_clients {
                Net::Front
            } else {
                Net::Back
            },
            one_arm: self.one_arm,
        }
    }

    pub(super) fn plan(&self) -> Plan {
        let routes = self.routes();
        Plan {
            clients: self.clients,
            clients_in: routes.clients_in(),
            backends: self.backends,
            backends_in: routes.backends_in,
            one_arm: self.one_arm,
        }
    }

    pub(super) fn wiring(&self) -> Wiring {
        Wiring {
            mtu: self.mtu,
            families: self.families,
            one_bridge: self.one_arm,
        }
    }
}
