//! Probes through the data path: by what a packet of one is known, and what is written into it.
//!
//! A probe's socket is in a network namespace of the agent's own, which has one door: a veth pair. What comes out of it is sent to one
//! backend as a client's packet would be; what the backend answers goes back in. The socket's port is the same inside and outside, so one
//! entry serves both ways where the VIP answers. Where the mode translates, the backend's own address does, and the probe has two.

use crate::{addr::Addr, flow::FlowKey, map_struct, next_hop::NextHop};

/// Ports that probes have: above those that the kernel gives out by itself (`net.ipv4.ip_local_port_range` ends at 60999).
pub const FIRST_PORT: u16 = 61_000;
pub const LAST_PORT: u16 = u16::MAX;

map_struct! {
    /// Key of `PROBES`. Ports in network order.
    pub struct ProbeKey {
        /// Who is asked, as the probe has it, or who answers, as it stands in the packet that comes here.
        pub peer: Addr,
        pub peer_port: u16,
        /// The probe's own: one that no other probe of this peer has.
        pub port: u16,
        /// IP protocol number.
        pub protocol: u32,
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
    /// Of a packet that a probe has sent, as it comes out of the namespace.
    #[must_use]
    #[inline(always)]
    pub const fn of_question(flow: &FlowKey) -> Self {
        Self {
            peer: flow.destination,
            peer_port: flow.destination_port,
            port: flow.source_port,
            protocol: flow.protocol,
        }
    }

    /// Of a packet that may answer one, as it comes from a backend.
    #[must_use]
    #[inline(always)]
    pub const fn of_answer(flow: &FlowKey) -> Self {
        Self {
            peer: flow.source,
            peer_port: flow.source_port,
            port: flow.destination_port,
            protocol: flow.protocol,
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
    fn an_answer_has_the_key_of_its_question() {
        let question = FlowKey {
            source: Addr::from_words([1, 2, 3, 4]),
            destination: Addr::from_words([5, 6, 7, 8]),
            source_port: FIRST_PORT.to_be(),
            destination_port: 80_u16.to_be(),
            protocol: 6,
        };
        let key = ProbeKey::of_question(&question);
        assert_eq!(key, ProbeKey::of_answer(&question.reversed()));
        // Another VIP's probe may have the same port.
        let mut other = question;
        other.destination_port = 81_u16.to_be();
        assert_ne!(key, ProbeKey::of_question(&other));
    }

    #[test]
    fn the_kernels_own_ports_are_no_probes() {
        assert!(!is_port(60_999_u16.to_be()) && !is_port(443_u16.to_be()));
        assert!(is_port(FIRST_PORT.to_be()) && is_port(LAST_PORT.to_be()));
    }
}
