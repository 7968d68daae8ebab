//! What became of a packet: one enum for the counter, the CLI and the decision to pass or drop.

use crate::wire_enum;

wire_enum! {
    /// The outcome of one packet. Every packet has exactly one, so the outcomes add up to the packets seen.
    pub enum Outcome {
        /// Sent on to a backend.
        Forwarded = 0 => "forwarded",
        /// A reply, sent on to its client.
        Returned = 1 => "returned",
        /// Neither for a service nor a reply of one: left to the kernel, untouched.
        NotOurs = 2 => "not_ours",
        /// No IPv4 unicast frame: left to the kernel, untouched.
        NotIpv4 = 3 => "not_ipv4",
        /// For a VIP, with lengths that contradict each other or the frame.
        Malformed = 4 => "malformed",
        /// For a VIP, a fragment: without ports it has no flow.
        Fragment = 5 => "fragment",
        /// The TTL ends here.
        TtlExpired = 6 => "ttl_expired",
        /// The service has no backend that could take the packet.
        NoBackend = 7 => "no_backend",
        /// Every backend that was tried already serves the same client address and port for another VIP.
        FlowCollision = 8 => "flow_collision",
        /// The flow table took no entry.
        FlowTableFull = 9 => "flow_table_full",
        /// No route to the backend or back to the client.
        NoRoute = 10 => "no_route",
        /// The route's neighbour has no known Ethernet address.
        NoNeighbour = 11 => "no_neighbour",
        /// The service's entry is of a kind that this program does not know.
        BadConfig = 12 => "bad_config",
        /// A reply of a backend that its flow has left.
        StaleReply = 13 => "stale_reply",
    }
}

/// What the entry point returns to the kernel for a packet that was not sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// To the kernel's own stack, unchanged.
    Pass,
    /// Nowhere.
    Drop,
    /// Out of an interface.
    Send,
}

impl Outcome {
    /// The policy, in one place.
    #[must_use]
    #[inline(always)]
    pub const fn fate(self) -> Fate {
        match self {
            Self::Forwarded | Self::Returned => Fate::Send,
            Self::NotOurs | Self::NotIpv4 => Fate::Pass,
            Self::Malformed
            | Self::Fragment
            | Self::TtlExpired
            | Self::NoBackend
            | Self::FlowCollision
            | Self::FlowTableFull
            | Self::NoRoute
            | Self::NoNeighbour
            | Self::BadConfig
            | Self::StaleReply => Fate::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_index_an_array_without_gaps() {
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(usize::from(outcome.wire()), index);
            assert_eq!(Outcome::from_wire(outcome.wire()), Some(*outcome));
        }
        assert_eq!(Outcome::from_wire(255), None);
    }
}
