//! The whole configuration file.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use lb_common::limits;
use serde::{Deserialize, Serialize};

use super::{
    network::Network,
    policy::VipPolicy,
    ports::Ports,
    service::ServiceSpec,
    value::{self, Bounds, bounded},
};

pub(super) const FLOWS: Bounds = Bounds::new(1024, 16_777_216);
pub(super) const BACKENDS: Bounds = Bounds::new(1, 65_535);
pub(super) const SERVICES: Bounds = Bounds::new(1, 16_384);
pub(super) const WRITTEN: Bounds = Bounds::new(1024, 16_777_216);
pub(super) const ANSWERS: Bounds = Bounds::new(0, 1_000_000);

/// What a configuration file says, valid as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub node: Node,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub timeouts: Timeouts,
    #[serde(rename = "interface", default)]
    pub interfaces: Vec<Interface>,
    #[serde(rename = "vip", default)]
    pub vips: Vec<VipPolicy>,
    #[serde(rename = "service", default)]
    pub services: Vec<ServiceSpec>,
}

/// What is balanced: the part that changes at run time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    pub services: Vec<ServiceSpec>,
    /// Of the VIPs that have one of their own.
    pub policies: BTreeMap<Network, VipPolicy>,
}

/// Where this balancer keeps its things; different for each balancer on a host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// In a bpffs: program, link and maps.
    pub pin_dir: PathBuf,
    /// Where the agent listens for the command line.
    pub socket: PathBuf,
    /// What must outlive a reboot: changes made at run time.
    pub state_dir: PathBuf,
    /// Whether the BPF program logs; off, the code for it is not loaded.
    pub log_packets: bool,
    /// Networks that the outer source addresses of tunnels are spread over, one of each family at most; without one, our
    /// address on the way is the source.
    pub tunnel_sources: Vec<Network>,
    /// Source addresses of translated flows; without one of a family, our address on the way is the source.
    pub sources: Vec<IpAddr>,
    /// Source ports of translated flows.
    pub source_ports: Ports,
    /// Pings, ICMP errors and resets that each CPU sends in a second, each kind for itself.
    #[serde(deserialize_with = "bounded::<_, _, { ANSWERS.min }, { ANSWERS.max }>")]
    pub answers_per_second: u32,
    pub partial_checksums: PartialChecksums,
    /// A program, by its whole path, and its arguments, that is run for each event; empty: none.
    pub on_event: Vec<String>,
    /// Whether the thread that hears results of probes goes before other programs.
    pub realtime: bool,
}

/// Whether checksums that a sender on this host has left to a device are finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PartialChecksums {
    /// Where there is an interface that such packets come from.
    #[default]
    Auto,
    On,
    Off,
}

/// How much fits; sizes of maps.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    #[serde(deserialize_with = "bounded::<_, _, { FLOWS.min }, { FLOWS.max }>")]
    pub flows: u32,
    #[serde(deserialize_with = "bounded::<_, _, { BACKENDS.min }, { BACKENDS.max }>")]
    pub backends: u32,
    #[serde(deserialize_with = "bounded::<_, _, { SERVICES.min }, { SERVICES.max }>")]
    pub services: u32,
    /// Flows written down, of all services that do not translate.
    #[serde(deserialize_with = "bounded::<_, _, { WRITTEN.min }, { WRITTEN.max }>")]
    pub written: u32,
}

/// How long a flow is remembered after its last packet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Until both sides have been heard.
    #[serde(with = "value::duration")]
    pub syn: Duration,
    #[serde(with = "value::duration")]
    pub established: Duration,
    /// After one side has closed, or one has reset.
    #[serde(with = "value::duration")]
    pub fin: Duration,
    /// After both sides have closed.
    #[serde(with = "value::duration")]
    pub closed: Duration,
    #[serde(with = "value::duration")]
    pub udp: Duration,
    /// Until no flow is left that is as old as a change of its service's backends, and has not been written down since.
    #[serde(with = "value::duration")]
    pub settle: Duration,
}

/// An interface to attach to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    pub name: String,
    #[serde(default)]
    pub mode: AttachMode,
}

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// In the driver.
    #[default]
    Native,
    /// After the driver: any interface, but slow.
    Generic,
    /// In the driver if it can.
    Auto,
}

impl Config {
    /// What is balanced.
    #[must_use]
    pub fn setup(&self) -> Setup {
        Setup {
            services: self.services.clone(),
            policies: self.vips.iter().map(|policy| (policy.address, *policy)).collect(),
        }
    }
}

impl Setup {
    /// Whether a service has the VIP.
    #[must_use]
    pub fn has_vip(&self, vip: Network) -> bool {
        let mut vips = self.services.iter().flat_map(|service| &service.vips);
        vips.any(|one| one.network == vip)
    }

    /// The policy of a VIP.
    #[must_use]
    pub fn policy(&self, vip: Network) -> VipPolicy {
        let own = self.policies.get(&vip).copied();
        own.unwrap_or(VipPolicy::of(vip))
    }
}

impl Limits {
    /// Entries of the table of written flows: a power of two.
    #[must_use]
    pub const fn written_entries(&self) -> u32 {
        self.written.next_power_of_two()
    }
}

impl AttachMode {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Auto => "auto",
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self {
            pin_dir: "/sys/fs/bpf/xlb".into(),
            socket: "/run/xlb/xlb.sock".into(),
            state_dir: "/var/lib/xlb".into(),
            log_packets: false,
            tunnel_sources: Vec::new(),
            sources: Vec::new(),
            // Below the kernel's own (`ip_local_port_range`), so that no connection of this host has one of them.
            source_ports: Ports::Range(1024, 32_767),
            answers_per_second: 1000,
            partial_checksums: PartialChecksums::Auto,
            on_event: Vec::new(),
            realtime: true,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: limits::FLOWS,
            backends: limits::BACKENDS,
            services: limits::SERVICES,
            written: limits::WRITTEN,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            syn: Duration::from_secs(10),
            established: Duration::from_secs(2 * 60 * 60),
            fin: Duration::from_secs(120),
            closed: Duration::from_secs(10),
            udp: Duration::from_secs(60),
            settle: Duration::from_secs(2 * 60 * 60),
        }
    }
}
