//! How many new flows there may be, and how long clients stay: `[service.new_flows]`, `[service.new_flows_per_source]` and
//! `[service.affinity]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    invalid::Invalid,
    prefix::Prefix,
    value::{self, Bounded, Bounds, is_default, lasts},
};

pub(super) const RATE: Bounds = Bounds::new(1, 10_000_000);
const AFFINITY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2 * 60 * 60));

type Number = Bounded<u32, { RATE.min }, { RATE.max }>;

/// New flows that a service takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "RateFields", into = "RateFields")]
pub struct Rate {
    pub per_second: u32,
    /// How many may come at once; unless given, those of a second.
    pub burst: u32,
}

/// New flows that a service takes of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "SourceFields", into = "SourceFields")]
pub struct SourceRate {
    pub rate: Rate,
    /// Sources that differ behind it are one.
    pub prefix: Prefix,
}

/// Clients stay with their backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Affinity {
    /// For how long after their last new flow.
    #[serde(with = "value::duration")]
    pub timeout: Duration,
    /// Clients that differ behind it are one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prefix: Prefix,
}

impl Rate {
    /// So many, at once or one after the other.
    #[must_use]
    pub const fn new(per_second: u32) -> Self {
        Self {
            per_second,
            burst: per_second,
        }
    }

    /// Whether it can be.
    ///
    /// # Errors
    /// When a part of it is too low or too high.
    pub fn check(&self) -> Result<(), Invalid> {
        RATE.check(self.per_second)
            .map_err(|problem| Invalid::field("per_second", problem))?;
        RATE.check(self.burst)
            .map_err(|problem| Invalid::field("burst", problem))
    }
}

impl SourceRate {
    /// Whether it can be.
    ///
    /// # Errors
    /// When a part of it is too low or too high.
    pub fn check(&self) -> Result<(), Invalid> {
        self.rate.check()?;
        self.prefix
            .check()
            .map_err(|problem| Invalid::field("prefix", problem))
    }
}

impl Affinity {
    /// Whether it can be.
    ///
    /// # Errors
    /// When a part of it is too low or too high.
    pub fn check(&self) -> Result<(), Invalid> {
        lasts(self.timeout, AFFINITY.0, AFFINITY.1).map_err(|problem| Invalid::field("timeout", problem))?;
        self.prefix
            .check()
            .map_err(|problem| Invalid::field("prefix", problem))
    }
}

/// The rate as it is written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RateFields {
    per_second: Number,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<Number>,
}

/// The same with a prefix.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SourceFields {
    per_second: Number,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<Number>,
    #[serde(default, skip_serializing_if = "is_default")]
    prefix: Prefix,
}

impl From<RateFields> for Rate {
    fn from(RateFields { per_second, burst }: RateFields) -> Self {
        Self {
            per_second: per_second.0,
            burst: burst.unwrap_or(per_second).0,
        }
    }
}

impl From<Rate> for RateFields {
    fn from(Rate { per_second, burst }: Rate) -> Self {
        Self {
            per_second: Bounded(per_second),
            burst: (burst != per_second).then_some(Bounded(burst)),
        }
    }
}

impl From<SourceFields> for SourceRate {
    fn from(fields: SourceFields) -> Self {
        let SourceFields {
            per_second,
            burst,
            prefix,
        } = fields;
        Self {
            rate: RateFields { per_second, burst }.into(),
            prefix,
        }
    }
}

impl From<SourceRate> for SourceFields {
    fn from(SourceRate { rate, prefix }: SourceRate) -> Self {
        let RateFields { per_second, burst } = rate.into();
        Self {
            per_second,
            burst,
            prefix,
        }
    }
}
