//! Services and backends, as the configuration's `[[service]]`, the HTTP API and the persisted changes write them.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use lb_common::service::{ForwardMode, Picker};
use serde::{Deserialize, Serialize};

use super::{
    check::CheckSpec,
    value::{Bounds, Port, address, bounded, quoted},
    vip::{self, Protocol, Vip},
};

/// The weight of a backend that names none.
pub const DEFAULT_WEIGHT: u16 = 100;
/// The highest weight.
pub const MAX_WEIGHT: u16 = 1000;
pub(super) const WEIGHT: Bounds = Bounds::new(0, MAX_WEIGHT as i64);

/// A service: VIPs and the backends behind them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    pub name: String,
    #[serde(rename = "vip", deserialize_with = "vip::one_or_more")]
    pub vips: Vec<Vip>,
    #[serde(default)]
    pub algorithm: Algorithm,
    #[serde(default)]
    pub mode: Mode,
    /// Without a check, backends count as up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckSpec>,
    #[serde(rename = "backend", default)]
    pub backends: Vec<BackendSpec>,
}

/// A server behind a service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "BackendFields")]
pub struct BackendSpec {
    pub name: String,
    pub address: IpAddr,
    /// Without a port, the one that the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub weight: u16,
    #[serde(rename = "state")]
    pub admin: Admin,
}

/// What the administrator wants of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// Takes new connections.
    #[default]
    Ready,
    /// Keeps the connections it has, takes no new ones.
    Drain,
}

/// How a flow gets its backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    #[default]
    Maglev,
}

/// How a packet gets to its backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Nat,
}

impl ServiceSpec {
    /// A service with the defaults for everything else, and no backends.
    #[must_use]
    pub fn new(name: impl Into<String>, vips: Vec<Vip>) -> Self {
        Self {
            name: name.into(),
            vips,
            algorithm: Algorithm::default(),
            mode: Mode::default(),
            check: None,
            backends: Vec::new(),
        }
    }

    /// Where the check probes `backend`: nowhere without a check, or where no port can be told (which a valid service
    /// rules out).
    #[must_use]
    pub fn check_target(&self, backend: &BackendSpec) -> Option<SocketAddr> {
        let check = self.check.as_ref()?;
        let port = check.port.or_else(|| self.probed_port(backend))?;
        Some(SocketAddr::new(backend.address, port))
    }

    /// How errors name it.
    pub(super) fn thing(&self) -> String {
        format!("service {}", quoted(&self.name))
    }

    /// The one port at which a TCP connection to `backend` tells something of the service, if there is one.
    pub(super) fn probed_port(&self, backend: &BackendSpec) -> Option<u16> {
        let ports = self.tcp_ports();
        match backend.port {
            _ if ports.is_empty() => None,
            Some(port) => Some(port),
            None if ports.len() == 1 => ports.first().copied(),
            None => None,
        }
    }

    /// The ports of the VIPs that are served by TCP.
    pub(super) fn tcp_ports(&self) -> BTreeSet<u16> {
        self.vips
            .iter()
            .filter(|vip| vip.protocol == Protocol::Tcp)
            .map(|vip| vip.port)
            .collect()
    }
}

impl BackendSpec {
    /// A backend with the defaults for everything else: named by its address and port, ready.
    #[must_use]
    pub fn new(address: IpAddr, port: Option<u16>) -> Self {
        let name = match port {
            Some(port) => SocketAddr::new(address, port).to_string(),
            None => address.to_string(),
        };
        Self {
            name,
            address,
            port,
            weight: DEFAULT_WEIGHT,
            admin: Admin::default(),
        }
    }

    /// How errors name it.
    pub(super) fn thing(&self) -> String {
        format!("backend {}", quoted(&self.name))
    }
}

impl Admin {
    pub const ALL: &'static [Self] = &[Self::Ready, Self::Drain];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
        }
    }
}

impl Algorithm {
    pub const ALL: &'static [Self] = &[Self::Maglev];

    #[must_use]
    pub const fn name(self) -> &'static str {
        self.picker().name()
    }

    /// What the data path does for it.
    #[must_use]
    pub const fn picker(self) -> Picker {
        match self {
            Self::Maglev => Picker::Maglev,
        }
    }
}

impl Mode {
    pub const ALL: &'static [Self] = &[Self::Nat];

    #[must_use]
    pub const fn name(self) -> &'static str {
        self.forward().name()
    }

    /// What the data path does for it.
    #[must_use]
    pub const fn forward(self) -> ForwardMode {
        match self {
            Self::Nat => ForwardMode::Nat,
        }
    }
}

/// The backend as it is written: the name may be missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendFields {
    name: Option<String>,
    #[serde(deserialize_with = "address")]
    address: IpAddr,
    port: Option<Port>,
    #[serde(
        default = "default_weight",
        deserialize_with = "bounded::<_, _, { WEIGHT.min }, { WEIGHT.max }>"
    )]
    weight: u16,
    #[serde(default, rename = "state")]
    admin: Admin,
}

impl From<BackendFields> for BackendSpec {
    fn from(fields: BackendFields) -> Self {
        let BackendFields {
            name,
            address,
            port,
            weight,
            admin,
        } = fields;
        let unnamed = Self::new(address, port.map(|port| port.0));
        Self {
            name: name.unwrap_or(unnamed.name),
            weight,
            admin,
            ..unnamed
        }
    }
}

const fn default_weight() -> u16 {
    DEFAULT_WEIGHT
}
