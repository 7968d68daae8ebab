//! What a VIP does beside its services: `[[vip]]`.

use lb_common::service;
use serde::{Deserialize, Serialize};

use super::network::Network;

/// The policy of one VIP, an address or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VipPolicy {
    pub address: Network,
    /// What becomes of packets that no service takes.
    #[serde(default)]
    pub unserved: Unserved,
    /// Whether pings are answered.
    #[serde(default = "yes")]
    pub ping: bool,
}

/// What becomes of packets for a VIP that no service takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unserved {
    /// To the kernel if it would keep them, else nowhere.
    #[default]
    Auto,
    Drop,
    /// To the kernel.
    Pass,
    /// Refused, as by a host without a listener.
    Reset,
}

impl VipPolicy {
    /// The policy of a VIP that has none of its own.
    #[must_use]
    pub const fn of(address: Network) -> Self {
        Self {
            address,
            unserved: Unserved::Auto,
            ping: true,
        }
    }
}

impl Unserved {
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.in_maps().name()
    }

    /// What the data path calls it.
    #[must_use]
    pub const fn in_maps(self) -> service::Unserved {
        match self {
            Self::Auto => service::Unserved::Auto,
            Self::Drop => service::Unserved::Drop,
            Self::Pass => service::Unserved::Pass,
            Self::Reset => service::Unserved::Reset,
        }
    }
}

const fn yes() -> bool {
    true
}
