//! What is remembered of flows, and what that costs.

use serde::{Deserialize, Serialize};

/// The table of flows that are written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Entries that there is room for.
    pub room: u64,
    /// Flows that have had one packet.
    pub opened: u64,
    pub confirmed: u64,
    /// Flows whose client has closed or reset.
    pub closing: u64,
    /// Clients that stay with their backend.
    pub clients: u64,
    /// Entries ever made.
    pub inserted: u64,
    /// Living entries that made room for others, none of them confirmed.
    pub displaced: u64,
    /// Flows that found no room.
    pub refused: u64,
}

impl Written {
    /// Entries in use.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.opened + self.confirmed + self.closing + self.clients
    }
}

/// From the results of failed probes to the words that took their backends out, in nanoseconds, since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// How often that was.
    pub count: u64,
    pub min: u64,
    /// The time that half of them have not been longer than, to an eighth; then 90 and 99 of a hundred.
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

/// Kernel memory of one map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapMemory {
    pub map: String,
    pub bytes: u64,
}
