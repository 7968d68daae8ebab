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

/// Kernel memory of one map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapMemory {
    pub map: String,
    pub bytes: u64,
}
