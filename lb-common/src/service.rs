//! Services: the address that clients connect to, and how it is balanced.

use crate::{addr::Addr, map_struct, wire_enum};

map_struct! {
    /// Key of `SERVICES`: VIP, port and protocol.
    pub struct ServiceKey {
        pub vip: Addr,
        /// Network order.
        pub port: u16,
        /// IP protocol number.
        pub protocol: u16,
    }
}

wire_enum! {
    /// How a packet gets to its backend.
    pub enum ForwardMode {
        /// Destination rewritten; replies come back through us.
        Nat = 1 => "nat",
    }
}

wire_enum! {
    /// How a flow becomes a slot number.
    pub enum Picker {
        /// Keyed hash of the five-tuple into a Maglev table (Eisenbud et al., NSDI 2016).
        Maglev = 1 => "maglev",
    }
}

map_struct! {
    /// Entry of `SERVICES`.
    pub struct Service {
        /// Index of the service's slot table and counters.
        pub id: u32,
        /// [`ForwardMode`].
        pub mode: u8,
        /// [`Picker`].
        pub picker: u8,
        pub _pad: [u8; 2],
    }
}
