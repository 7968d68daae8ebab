//! Probes through the data path: by what a packet of one is known, and what is written into it.
//!
//! A probe's socket is in a network namespace of the agent's own, which has one door: a veth pair. What comes out of it is sent to one
//! backend as a client's packet would be; what the backend answers goes back in. The socket's port is the same inside and outside, so one
//! entry serves both ways.

use crate::{addr::Addr, map_struct, next_hop::NextHop};

/// Ports that probes have: above those that the kernel gives out by itself (`net.ipv4.ip_local_port_range` ends at 60999).
pub const FIRST_PORT: u16 = 61_000;
pub const LAST_PORT: u16 = u16::MAX;

map_struct! {
    /// Key of `PROBES`.
    pub struct ProbeKey {
        /// Network order.
        pub port: u16,
        /// IP protocol number.
        pub protocol: u16,
        /// Of IP.
        pub version: u32,
    }
}

map_struct! {
    /// Entry of `PROBES`. Ports in network order.
    pub struct Probe {
        /// The probe's address in its namespace.
        pub inside: Addr,
        /// The address of ours that the backend sees and answers.
        pub outside: Addr,
        /// What is asked.
        pub vip: Addr,
        /// Where the answers come from: the VIP, or the backend where it is translated.
        pub server: Addr,
        pub vip_port: u16,
        pub server_port: u16,
        pub backend: u32,
        pub generation: u32,
        pub service: u32,
        /// The way into the namespace.
        pub door: NextHop,
    }
}

impl ProbeKey {
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a protocol number")]
    pub const fn new(port: u16, protocol: u32, is_v4: bool) -> Self {
        Self {
            port,
            protocol: protocol as u16,
            version: if is_v4 { 4 } else { 6 },
        }
    }
}

/// Whether a port, in network order, may be a probe's.
#[must_use]
#[inline(always)]
pub const fn is_port(port: u16) -> bool {
    u16::from_be(port) >= FIRST_PORT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_ports_are_no_probes() {
        assert!(!is_port(60_999_u16.to_be()) && !is_port(443_u16.to_be()));
        assert!(is_port(FIRST_PORT.to_be()) && is_port(LAST_PORT.to_be()));
    }
}
