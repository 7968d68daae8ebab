//! Bodies of the API's requests and answers. `xlb -o json` prints them as they come, so they are also its format.
//!
//! | Request | Body | Answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`Status`] |
//! | `GET /v1/services` | | list of [`Service`] |
//! | `GET /v1/services/S` | | [`Service`] |
//! | `POST /v1/services` | [`ServiceSpec`](crate::config::ServiceSpec) | [`Service`] |
//! | `PATCH /v1/services/S` | [`ServiceChange`] | [`Service`] |
//! | `DELETE /v1/services/S` | | [`Removed`] |
//! | `POST /v1/services/S/backends` | [`BackendSpec`](crate::config::BackendSpec) | [`Backend`] |
//! | `PATCH /v1/services/S/backends/B` | [`BackendChange`] | [`Backend`] |
//! | `DELETE /v1/services/S/backends/B` | | [`Removed`] |
//! | `GET /v1/services/S/slots` | | [`Slots`] |
//! | `POST /v1/services/S/slots`, which changes nothing | [`PoolChange`] | [`Moves`] |
//! | `GET /v1/checks?service=…&backend=…` | (a [`CheckQuery`]) | list of [`BackendChecks`] |
//! | `POST /v1/services/S/backends/B/check`, which counts for nothing | | [`CheckRun`] |
//! | `GET /v1/events?service=…&backend=…&since=…&follow=…` | (an [`EventQuery`]) | lines, each an [`Event`] |
//! | `GET /v1/vips` | | list of [`Vip`] |
//! | `PATCH /v1/vips/V` | [`VipChange`] | [`Vip`] |
//! | `GET /v1/lookup?from=…&to=…&packet=…` | (a [`Probe`]) | [`Lookup`] |
//! | `GET /v1/flows?service=…&backend=…&limit=…` | (a [`FlowQuery`]) | [`Flows`] |
//! | `GET /v1/flows?from=…&to=…` | (the same) | [`Flows`] |
//! | `DELETE /v1/flows?…` | (the same) | [`Purged`] |
//!
//! Success is any 2xx; with 4xx and 5xx the answer is a [`Failure`]. Names in paths are percent-encoded. Counters count
//! since the service, or the backend in it, was made. New fields may come, so readers ignore those they do not know.

mod checks;
mod events;
mod flows;
mod lookup;
mod remembered;
mod slots;

use std::net::IpAddr;

use lb_common::{backend::BackendState, traffic::Traffic};
use serde::{Deserialize, Serialize};

pub use self::checks::{BackendChecks, Check, CheckQuery, CheckResult, CheckRun, CheckRunResult, Unprobed};
pub use self::events::{Event, EventQuery, What};
pub use self::flows::{FlowQuery, Flows, Purged, TranslatedFlow, WrittenFlow};
pub use self::lookup::{
    By, Lookup, LookupService, LookupSlot, Match, PacketKind, Probe, Remembered, SlotState, Table, Target,
};
pub use self::slots::{Move, Moves, PoolChange, Share, Slots};
use crate::config::{
    self, Admin, AttachMode, Balance, CheckSpec, Fragments, HealthSpec, Mode, Network, QuicSpec, ServerId,
    Unserved,
};
pub use crate::config::{BackendChange, ServiceChange};

pub use remembered::{MapMemory, Reaction, Written};

/// One screen about the agent and all that it balances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent, such as `0.1.0`.
    pub version: String,
    /// Process id of the agent.
    pub pid: u32,
    /// Seconds since the agent started; packets may have flowed for longer.
    pub uptime_seconds: u64,
    pub interfaces: Vec<Interface>,
    /// In the order of their names.
    pub services: Vec<Service>,
    /// Every outcome that a packet can have, also those that none had. Their packets add up to `packets_seen`.
    pub outcomes: Vec<OutcomeCount>,
    /// Packets that reached the XDP program on any interface, those for others included.
    pub packets_seen: u64,
    /// Flows that are remembered, of all services.
    pub flows: u64,
    /// The table of those that are written down.
    #[serde(default)]
    pub written: Written,
    /// How fast backends that failed were taken out.
    #[serde(default)]
    pub reaction: Reaction,
    /// Kernel memory of each map.
    #[serde(default)]
    pub memory: Vec<MapMemory>,
    /// One line for each thing that somebody should look at.
    pub warnings: Vec<String>,
}

/// An interface with xlb's program on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub name: String,
    /// How the program runs there: `native` (in the driver) or `generic` (in the kernel's stack, slower).
    pub mode: AttachMode,
    /// False while the interface is missing or carries no program.
    pub attached: bool,
}

/// What became of packets, in one of the ways that [`lb_common::outcome::Outcome`] names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeCount {
    /// Name of the outcome, such as `forwarded`.
    pub name: String,
    pub packets: u64,
    /// Of whole frames.
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    pub vips: Vec<config::Vip>,
    pub mode: Mode,
    /// How new flows are spread, from `algorithm` to `new_flows_per_source`.
    #[serde(flatten)]
    pub balance: Balance,
    /// Longest packet that may be sent to its backends, outer header included; null: what the way takes.
    #[serde(default)]
    pub mtu: Option<u16>,
    /// How fragments find the backend of their packet.
    #[serde(default)]
    pub fragments: Fragments,
    /// Whether the outer UDP of mode `gue` has a checksum.
    #[serde(default)]
    pub checksum: bool,
    /// Which QUIC connection IDs name their backend; null: none.
    #[serde(default)]
    pub quic: Option<QuicSpec>,
    /// How backends are probed; null when they are not.
    #[serde(rename = "check", default, with = "config::one_or_more_checks")]
    pub checks: Vec<CheckSpec>,
    /// How their results are judged together, where that is not as everywhere.
    #[serde(default, skip_serializing_if = "HealthSpec::is_usual")]
    pub health: HealthSpec,
    /// Whether a new flow finds a backend: one that is up and has a share of them.
    #[serde(default)]
    pub usable: bool,
    pub counters: Counters,
    /// In the order of their names.
    pub backends: Vec<Backend>,
    /// Those that have been removed and still have flows.
    #[serde(default)]
    pub leaving: Vec<Backend>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Unique within its service.
    pub name: String,
    pub address: IpAddr,
    /// Port that packets are sent to; null: the one of the VIP they came for.
    pub port: Option<u16>,
    /// Share of new flows relative to the service's other backends, 0 to 1000.
    pub weight: u16,
    /// The weight that it has by now, where that is another: it grows after a recovery, or its agent wishes so.
    #[serde(default)]
    pub weight_now: u16,
    /// Active flows with which it gets no new one; 0 for any number.
    #[serde(default)]
    pub max_connections: u32,
    /// The same by now, where that is another: its agent wishes so.
    #[serde(default)]
    pub max_connections_now: u32,
    /// 0 serves first, the next ones where too few of those before do.
    #[serde(default)]
    pub priority: u8,
    /// What the administrator wants.
    pub admin: Admin,
    /// By which QUIC connection IDs name it; null: not at all.
    #[serde(default)]
    pub server_id: Option<ServerId>,
    /// What the probes see.
    pub health: Health,
    /// What the data path makes of both.
    pub state: State,
    /// Where its packets leave; null while no route or no neighbour is known.
    pub next_hop: Option<NextHop>,
    /// Flows that are remembered and belong to it now.
    pub flows: u64,
    /// Those of them that are neither closed nor reset, as the data path counts them; null where it does not.
    #[serde(default)]
    pub active: Option<u64>,
    /// By how much that number was put right last.
    #[serde(default)]
    pub drift: Option<i64>,
    /// When it takes no packets any more; null where it does not drain.
    #[serde(default)]
    pub drain_ends_seconds: Option<u64>,
    /// Result of the newest probe in words; null before the first.
    pub last_check: Option<String>,
    pub counters: Counters,
}

/// What the probes see of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Up,
    Down,
    /// Probed, but not yet often enough to know.
    Checking,
    /// Not probed: its service has no check.
    Unchecked,
}

/// What the data path does with a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Takes new flows.
    Up,
    /// Keeps the flows it has and takes no new ones.
    Drain,
    /// Gets no packets.
    Down,
}

impl From<BackendState> for State {
    fn from(state: BackendState) -> Self {
        match state {
            BackendState::Up => Self::Up,
            BackendState::Drain => Self::Drain,
            BackendState::Down | BackendState::Free => Self::Down,
        }
    }
}

/// The way to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// Name of the interface that packets leave by.
    pub interface: String,
    /// Ethernet address they are sent to, such as `02:00:00:00:00:01`.
    pub mac: String,
}

/// "In" is from client to backend, "out" is back. Bytes are those of whole frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    /// Flows ever opened, not those open now.
    pub flows_opened: u64,
    /// Packets for a service that were not forwarded; always 0 for a backend.
    #[serde(default)]
    pub packets_dropped: u64,
}

/// An address or network that clients connect to, whatever the port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vip {
    /// Such as `192.0.2.10` or `198.51.100.0/24`.
    pub address: Network,
    /// What becomes of packets that no service takes.
    pub unserved: Unserved,
    /// Whether pings are answered.
    pub ping: bool,
    /// Names of the services that have it, in order.
    pub services: Vec<String>,
    /// Whether a route should lead here: not while a service of it withdraws and none of them is usable. xlb announces none itself.
    #[serde(default = "announced")]
    pub announce: bool,
}

const fn announced() -> bool {
    true
}

/// Body of a VIP's `PATCH`: what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VipChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unserved: Option<Unserved>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping: Option<bool>,
}

/// Answer to a `DELETE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Name of what is gone: `web`, or `web/b1` for a backend.
    pub removed: String,
}

/// Why a request was not carried out; nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One line that names the thing.
    pub error: String,
}

impl Service {
    /// Backends that the data path sends new flows to.
    #[must_use]
    pub fn backends_up(&self) -> usize {
        self.backends
            .iter()
            .filter(|backend| backend.state == State::Up)
            .count()
    }

    /// Flows that are remembered and belong to any of its backends.
    #[must_use]
    pub fn flows(&self) -> u64 {
        self.backends.iter().map(|backend| backend.flows).sum()
    }
}

impl Backend {
    /// Whether new flows may go there. One of weight 0 is up, but has no share.
    #[must_use]
    pub fn takes_new_flows(&self) -> bool {
        self.state == State::Up && self.weight > 0
    }
}

impl Health {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Checking => "checking",
            Self::Unchecked => "unchecked",
        }
    }
}

impl State {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Drain => "drain",
            Self::Down => "down",
        }
    }
}

impl From<Traffic> for Counters {
    fn from(traffic: Traffic) -> Self {
        let Traffic {
            packets_in,
            bytes_in,
            packets_out,
            bytes_out,
            flows_opened,
            packets_dropped,
        } = traffic;
        Self {
            packets_in,
            bytes_in,
            packets_out,
            bytes_out,
            flows_opened,
            packets_dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_leaves_out_what_stays() {
        let weight = BackendChange {
            weight: Some(50),
            ..BackendChange::default()
        };
        assert_eq!(serde_json::to_value(weight).unwrap(), json!({"weight": 50}));
        let drain: BackendChange = serde_json::from_value(json!({"admin": "drain"})).unwrap();
        assert_eq!(
            drain,
            BackendChange {
                admin: Some(Admin::Drain),
                ..BackendChange::default()
            }
        );
        serde_json::from_value::<BackendChange>(json!({"wieght": 50})).unwrap_err();
    }

    #[test]
    fn a_backend_in_json() {
        let backend = json!({
            "name": "b1", "address": "10.0.0.2", "port": null, "weight": 100, "weight_now": 10, "max_connections": 0, "max_connections_now": 0, "priority": 1,
            "admin": "ready", "server_id": "0a0b", "health": "checking", "state": "down",
            "next_hop": {"interface": "eth0", "mac": "02:00:00:00:00:01"}, "flows": 7, "active": 5, "drift": -1, "drain_ends_seconds": null, "last_check": null,
            "counters": {
                "packets_in": 1, "bytes_in": 2, "packets_out": 3, "bytes_out": 4,
                "flows_opened": 5, "packets_dropped": 0,
            },
        });
        let read: Backend = serde_json::from_value(backend.clone()).unwrap();
        assert_eq!(read.health, Health::Checking);
        assert_eq!(serde_json::to_value(&read).unwrap(), backend);
        let takes = |state, weight| {
            Backend {
                state,
                weight,
                ..read.clone()
            }
            .takes_new_flows()
        };
        assert!(takes(State::Up, 1) && !takes(State::Up, 0));
        assert!(!takes(State::Drain, 1) && !takes(State::Down, 1));
    }
}
