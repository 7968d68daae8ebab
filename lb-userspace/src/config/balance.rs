//! How new flows are spread: the algorithm, and what becomes of flows that it cannot place or keep.

use std::time::Duration;

use lb_common::service::{self, Picker};
use serde::{Deserialize, Serialize};

use super::{
    factor,
    prefix::Prefix,
    rates::{Affinity, Rate, SourceRate},
    service::{DRAIN_TIMEOUT, ServiceSpec},
    value,
};

/// How a flow gets its backend (docs/flows.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    #[default]
    Maglev,
    Source,
    Dest,
    DestPort,
    Bounded,
    RoundRobin,
    Random,
    #[serde(rename = "p2c")]
    TwoChoices,
    LeastConn,
    First,
    Failover,
}

/// All of a service's settings about that, as the API tells them; [`ServiceSpec`] says what they mean.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Balance {
    pub algorithm: Algorithm,
    #[serde(default)]
    pub source_prefix: Prefix,
    #[serde(default = "one")]
    pub replicas: u8,
    #[serde(default = "load_factor", with = "factor")]
    pub load_factor: u16,
    #[serde(default = "one")]
    pub need: u8,
    #[serde(default)]
    pub on_full: OnFull,
    #[serde(default)]
    pub on_down: OnDown,
    #[serde(default)]
    pub withdraw: bool,
    #[serde(default)]
    pub udp: Udp,
    #[serde(default)]
    pub one_packet: bool,
    #[serde(default = "drain_timeout", with = "value::duration")]
    pub drain_timeout: Duration,
    #[serde(default)]
    pub affinity: Option<Affinity>,
    #[serde(default)]
    pub new_flows: Option<Rate>,
    #[serde(default)]
    pub new_flows_per_source: Option<SourceRate>,
}

/// What becomes of a new flow when every backend has as many flows as it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFull {
    /// Refused, as by a host without a listener.
    #[default]
    Reject,
    Drop,
    /// It gets a backend all the same.
    Spill,
}

/// What becomes of packets that no backend takes, since none is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDown {
    #[default]
    Drop,
    /// Refused, as by a host without a listener.
    Reset,
    /// To the kernel: something on this host serves in the backends' place.
    Pass,
}

/// What becomes of datagrams when their slot gets another backend, or their backend drains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Udp {
    /// They go on to the backend that they had, for `timeouts.udp` after the last one.
    #[default]
    Stay,
    /// They go to the new one at once.
    Move,
}

impl From<&ServiceSpec> for Balance {
    fn from(spec: &ServiceSpec) -> Self {
        Self {
            algorithm: spec.algorithm,
            source_prefix: spec.source_prefix,
            replicas: spec.replicas,
            load_factor: spec.load_factor,
            need: spec.need,
            on_full: spec.on_full,
            on_down: spec.on_down,
            withdraw: spec.withdraw,
            udp: spec.udp,
            one_packet: spec.one_packet,
            drain_timeout: spec.drain_timeout,
            affinity: spec.affinity,
            new_flows: spec.new_flows,
            new_flows_per_source: spec.new_flows_per_source,
        }
    }
}

impl Algorithm {
    pub const ALL: &'static [Self] = &[
        Self::Maglev,
        Self::Source,
        Self::Dest,
        Self::DestPort,
        Self::Bounded,
        Self::RoundRobin,
        Self::Random,
        Self::TwoChoices,
        Self::LeastConn,
        Self::First,
        Self::Failover,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        self.picker().name()
    }

    /// What the data path does for it.
    #[must_use]
    pub const fn picker(self) -> Picker {
        match self {
            Self::Maglev => Picker::Maglev,
            Self::Source => Picker::Source,
            Self::Dest => Picker::Dest,
            Self::DestPort => Picker::DestPort,
            Self::Bounded => Picker::Bounded,
            Self::RoundRobin => Picker::RoundRobin,
            Self::Random => Picker::Random,
            Self::TwoChoices => Picker::TwoChoices,
            Self::LeastConn => Picker::LeastConn,
            Self::First => Picker::First,
            Self::Failover => Picker::Failover,
        }
    }

    /// Whether it goes by how many flows backends have.
    #[must_use]
    pub const fn counts_flows(self) -> bool {
        matches!(
            self,
            Self::Bounded | Self::TwoChoices | Self::LeastConn | Self::First | Self::Failover
        )
    }

    /// Whether packets of the same addresses and ports always ask for the same backend.
    #[must_use]
    pub const fn is_hash(self) -> bool {
        self.picker().has_slot()
    }
}

impl OnFull {
    pub const ALL: &'static [Self] = &[Self::Reject, Self::Drop, Self::Spill];

    #[must_use]
    pub const fn name(self) -> &'static str {
        self.in_maps().name()
    }

    /// What the data path calls it.
    #[must_use]
    pub const fn in_maps(self) -> service::OnFull {
        match self {
            Self::Reject => service::OnFull::Reject,
            Self::Drop => service::OnFull::Drop,
            Self::Spill => service::OnFull::Spill,
        }
    }
}

impl OnDown {
    pub const ALL: &'static [Self] = &[Self::Drop, Self::Reset, Self::Pass];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Reset => "reset",
            Self::Pass => "pass",
        }
    }
}

impl Udp {
    pub const ALL: &'static [Self] = &[Self::Stay, Self::Move];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stay => "stay",
            Self::Move => "move",
        }
    }
}

pub(super) const fn one() -> u8 {
    1
}

pub(super) const fn drain_timeout() -> Duration {
    DRAIN_TIMEOUT
}

/// The load factor of a service that names none, in percent.
pub(super) const fn load_factor() -> u16 {
    125
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over so")]
pub(super) const fn is_usual_factor(percent: &u16) -> bool {
    *percent == load_factor()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_written_by_the_name_that_the_maps_have() {
        for algorithm in Algorithm::ALL {
            let name = serde_json::to_value(algorithm).unwrap();
            assert_eq!(name, algorithm.name());
        }
        let mut names: Vec<_> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
        names.dedup();
        assert_eq!(names.len(), Picker::ALL.len());
        for (on_full, name) in OnFull::ALL.iter().zip(["reject", "drop", "spill"]) {
            assert_eq!(
                (on_full.name(), serde_json::to_value(on_full).unwrap()),
                (name, name.into())
            );
        }
        for on_down in OnDown::ALL {
            assert_eq!(serde_json::to_value(on_down).unwrap(), on_down.name());
        }
    }
}
