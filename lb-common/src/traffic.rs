//! Counters. Each CPU has its own; user space adds them up.

use crate::map_struct;

map_struct! {
    /// Entry of `OUTCOMES`.
    pub struct Count {
        pub packets: u64,
        /// Of whole frames.
        pub bytes: u64,
    }
}

map_struct! {
    /// Entry of `SERVICE_TRAFFIC` and `BACKEND_TRAFFIC`. "In" is from client to backend, "out" is back.
    pub struct Traffic {
        pub packets_in: u64,
        pub bytes_in: u64,
        pub packets_out: u64,
        pub bytes_out: u64,
        pub flows_opened: u64,
        /// Packets for the service that were not forwarded; 0 for a backend.
        pub packets_dropped: u64,
    }
}

impl Traffic {
    /// The sum of two, as of two CPUs.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            packets_in: self.packets_in.wrapping_add(other.packets_in),
            bytes_in: self.bytes_in.wrapping_add(other.bytes_in),
            packets_out: self.packets_out.wrapping_add(other.packets_out),
            bytes_out: self.bytes_out.wrapping_add(other.bytes_out),
            flows_opened: self.flows_opened.wrapping_add(other.flows_opened),
            packets_dropped: self.packets_dropped.wrapping_add(other.packets_dropped),
        }
    }
}
