//! The whole configuration file.

use std::{path::PathBuf, time::Duration};

use lb_common::limits;
use serde::{Deserialize, Serialize};

use super::{
    service::ServiceSpec,
    value::{self, Bounds, bounded},
};

pub(super) const FLOWS: Bounds = Bounds::new(1024, 16_777_216);
pub(super) const BACKENDS: Bounds = Bounds::new(1, 65_535);
pub(super) const SERVICES: Bounds = Bounds::new(1, 16_384);

/// What a configuration file says, valid as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
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
    #[serde(rename = "service", default)]
    pub services: Vec<ServiceSpec>,
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
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: limits::FLOWS,
            backends: limits::BACKENDS,
            services: limits::SERVICES,
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
        }
    }
}
