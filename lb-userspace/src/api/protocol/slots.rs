//! Bodies of `/v1/services/S/slots`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SlotState;
use crate::config::{Algorithm, BackendSpec};

/// A service's slot table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slots {
    pub service: String,
    pub algorithm: Algorithm,
    /// How many there are.
    pub slots: u32,
    /// How many are in each state.
    pub states: BTreeMap<SlotState, u32>,
    /// How many are nobody's.
    pub unowned: u32,
    /// In the order of the backends' names.
    pub shares: Vec<Share>,
}

/// What a backend has of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Name of the backend.
    pub backend: String,
    pub weight: u16,
    pub slots: u32,
    /// How many would be its share of the weight; 0 where it has none for now.
    pub ideal: f64,
    /// Slots that others own, whose flows of before are its as far as they are not written down.
    pub previous: u32,
}

/// A change of a pool, to be thought through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolChange {
    pub add: Vec<BackendSpec>,
    /// Names of backends.
    pub remove: Vec<String>,
    /// By the names of backends.
    pub weights: BTreeMap<String, u16>,
}

/// What it would do to the slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    pub service: String,
    /// How many there would be.
    pub slots: u32,
    /// Those of them that would change hands.
    pub moved: u32,
    /// As few would if no backend got more than it must: whoever gains gets only what it gains.
    pub least: u32,
    /// Most slots first.
    pub moves: Vec<Move>,
}

/// Slots that change hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Name of the backend; null for nobody.
    pub from: Option<String>,
    pub to: Option<String>,
    pub slots: u32,
}

impl PoolChange {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty() && self.weights.is_empty()
    }
}
