//! Services and backends, as the configuration's `[[service]]`, the HTTP API and the persisted changes write them.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use lb_common::service::{ForwardMode, Picker};
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    check::CheckSpec,
    ports::Ports,
    quic::{QuicSpec, ServerId},
    value::{Bounded, Bounds, Port, address, bounded, quoted},
    vip::{self, Protocol, Vip},
};

/// The weight of a backend that names none.
pub const DEFAULT_WEIGHT: u16 = 100;
/// The highest weight.
pub const MAX_WEIGHT: u16 = 1000;
pub(super) const WEIGHT: Bounds = Bounds::new(0, MAX_WEIGHT as i64);
/// Longest packets that any network may be set to, and the shortest that every host of a family takes (RFC 791, RFC 8200).
pub(super) const MTU: Bounds = Bounds::new(576, 65_535);
pub(super) const MTU_V6: Bounds = Bounds::new(1280, 65_535);

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
    /// Longest packet that may be sent to its backends, outer header included; without it, what the way takes.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "mtu")]
    pub mtu: Option<u16>,
    #[serde(default, skip_serializing_if = "Fragments::is_default")]
    pub fragments: Fragments,
    /// Whether the outer UDP of mode `gue` has a checksum.
    #[serde(default, skip_serializing_if = "is_off")]
    pub checksum: bool,
    /// Without it, connection IDs are not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quic: Option<QuicSpec>,
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
    /// By which QUIC connection IDs name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_id: Option<ServerId>,
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
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    #[default]
    Nat,
    FullNat,
    Dsr,
    Ipip,
    Gue,
}

/// How fragments get to the backend of their packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fragments {
    /// By the first one, which has the ports.
    #[default]
    Track,
    /// All packets of two addresses go to one backend, so that ports do not matter.
    Hash,
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
            mtu: None,
            fragments: Fragments::default(),
            checksum: false,
            quic: None,
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
        let mut ports = ports.iter();
        match (ports.next(), ports.next(), backend.port) {
            (Some(_), _, Some(port)) => Some(port),
            (Some(Ports::One(port)), None, None) => Some(*port),
            _ => None,
        }
    }

    /// The ports of the VIPs that are served by TCP.
    pub(super) fn tcp_ports(&self) -> BTreeSet<Ports> {
        self.vips
            .iter()
            .filter(|vip| vip.protocol == Protocol::Tcp)
            .map(|vip| vip.ports)
            .collect()
    }
}

impl BackendSpec {
    /// A backend with the defaults for everything else: named by its address and port, ready.
    #[must_use]
    pub fn new(address: IpAddr, port: Option<u16>) -> Self {
        let name = match (address, port) {
            // Names are for command lines, and shells have a meaning of their own for brackets (RFC 5952 §6 has this form too).
            (IpAddr::V6(address), Some(port)) => format!("{address}.{port}"),
            (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
            (address, None) => address.to_string(),
        };
        Self {
            name,
            address,
            port,
            weight: DEFAULT_WEIGHT,
            admin: Admin::default(),
            server_id: None,
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
    pub const ALL: &'static [Self] = &[Self::Nat, Self::FullNat, Self::Dsr, Self::Ipip, Self::Gue];

    #[must_use]
    pub const fn name(self) -> &'static str {
        self.forward().name()
    }

    /// What the data path does for it.
    #[must_use]
    pub const fn forward(self) -> ForwardMode {
        match self {
            Self::Nat => ForwardMode::Nat,
            Self::FullNat => ForwardMode::FullNat,
            Self::Dsr => ForwardMode::Dsr,
            Self::Ipip => ForwardMode::Ipip,
            Self::Gue => ForwardMode::Gue,
        }
    }
}

impl Fragments {
    pub const ALL: &'static [Self] = &[Self::Track, Self::Hash];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Hash => "hash",
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
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
    server_id: Option<ServerId>,
}

impl From<BackendFields> for BackendSpec {
    fn from(fields: BackendFields) -> Self {
        let BackendFields {
            name,
            address,
            port,
            weight,
            admin,
            server_id,
        } = fields;
        let unnamed = Self::new(address, port.map(|port| port.0));
        Self {
            name: name.unwrap_or(unnamed.name),
            weight,
            admin,
            server_id,
            ..unnamed
        }
    }
}

const fn default_weight() -> u16 {
    DEFAULT_WEIGHT
}

fn mtu<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let mtu = Option::<Bounded<u16, { MTU.min }, { MTU.max }>>::deserialize(deserializer)?;
    Ok(mtu.map(|mtu| mtu.0))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over so")]
const fn is_off(setting: &bool) -> bool {
    !*setting
}
