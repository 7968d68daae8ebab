//! Checks and what they have found.

use serde::{Deserialize, Serialize};

use super::{Health, State};
use crate::{config::Via, health::Wish};

/// Whose checks `GET /v1/checks` tells: everybody's, unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// One of the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}

/// What the checks of one backend say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendChecks {
    pub service: String,
    pub backend: String,
    /// What all checks together come to.
    pub health: Health,
    /// What the data plane does with it.
    pub state: State,
    /// For how long it has been so, in seconds; `None` where this agent has not seen it change.
    pub since_seconds: Option<u64>,
    /// Failures that flap damping counts.
    pub failures: u32,
    /// How long it is still held down for them.
    pub held_seconds: Option<u64>,
    /// Its weight as it is set.
    pub weight: u16,
    /// Its weight by now, where it is not what is set: it grows after a recovery, or its agent wishes so.
    pub weight_now: u16,
    /// What its agent wishes, if it has said anything.
    pub wish: Option<Wish>,
    /// It is kept although its checks fail: too much of the pool fails at once.
    pub kept_in_panic: bool,
    pub checks: Vec<Check>,
}

/// One check of a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    #[serde(rename = "type")]
    pub kind: String,
    /// What it asks: an address and a port, or an address; the VIP where it goes by the data path.
    pub target: String,
    pub via: Via,
    /// How it probes, in a line.
    pub how: String,
    pub health: Health,
    /// Results in a row that speak against `health`, and how many it takes.
    pub streak: u32,
    pub needed: Option<u32>,
    /// φ: how unlikely the present silence is, where that decides.
    pub suspicion: Option<f64>,
    /// Whether it probes at its fast interval.
    pub hurries: bool,
    pub last: Option<CheckResult>,
    /// It cannot be made: its backend stays as it is.
    pub unprobed: Option<Unprobed>,
}

/// Why a check finds out nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unprobed {
    /// For how long already.
    pub seconds: u64,
    /// What this host lacks.
    pub reason: String,
}

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    pub passed: bool,
    /// In a line: `passed in 0.4 ms: status 200`, `connect: connection refused`.
    pub said: String,
    pub took_ms: f64,
    /// How long ago it was.
    pub age_seconds: f64,
}

/// Probes made because somebody asked for them. They count for nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckRun {
    pub service: String,
    pub backend: String,
    pub checks: Vec<CheckRunResult>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckRunResult {
    #[serde(rename = "type")]
    pub kind: String,
    pub target: String,
    pub via: Via,
    pub passed: bool,
    pub said: String,
    pub took_ms: f64,
}
