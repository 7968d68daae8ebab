//! Backends, as `[[service.backend]]`, the HTTP API and the persisted changes write them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    quic::ServerId,
    value::{Bounds, Port, address, bounded, is_default, quoted},
};

/// The weight of a backend that names none.
pub const DEFAULT_WEIGHT: u16 = 100;
/// The highest weight.
pub const MAX_WEIGHT: u16 = 1000;
pub(super) const WEIGHT: Bounds = Bounds::new(0, MAX_WEIGHT as i64);
pub(super) const CONNECTIONS: Bounds = Bounds::new(0, u32::MAX as i64);
pub(super) const PRIORITY: Bounds = Bounds::new(0, u8::MAX as i64);

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
    /// Active flows with which it gets no new one; 0 for any number.
    #[serde(skip_serializing_if = "is_default")]
    pub max_connections: u32,
    /// 0 serves first, the next ones where too few of those before do.
    #[serde(skip_serializing_if = "is_default")]
    pub priority: u8,
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
    /// Gets nothing: its connections end.
    Maintenance,
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
            max_connections: 0,
            priority: 0,
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
    pub const ALL: &'static [Self] = &[Self::Ready, Self::Drain, Self::Maintenance];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
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
    #[serde(
        default,
        deserialize_with = "bounded::<_, _, { CONNECTIONS.min }, { CONNECTIONS.max }>"
    )]
    max_connections: u32,
    #[serde(
        default,
        deserialize_with = "bounded::<_, _, { PRIORITY.min }, { PRIORITY.max }>"
    )]
    priority: u8,
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
            max_connections,
            priority,
            admin,
            server_id,
        } = fields;
        let unnamed = Self::new(address, port.map(|port| port.0));
        Self {
            name: name.unwrap_or(unnamed.name),
            weight,
            max_connections,
            priority,
            admin,
            server_id,
            ..unnamed
        }
    }
}

const fn default_weight() -> u16 {
    DEFAULT_WEIGHT
}
