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
        /// No unicast IP packet: left to the kernel, untouched.
        NotIp = 3 => "not_ip",
        /// Headers that end early, or lengths that contradict each other or the frame.
        Malformed = 4 => "malformed",
        /// A fragment that nothing is known of: its first one did not come, or not before it.
        Fragment = 5 => "fragment",
        /// The TTL or hop limit ends here.
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
        /// The IPv4 header's checksum is wrong.
        BadChecksum = 14 => "bad_checksum",
        /// From an address that no client can have, or from the VIP itself.
        BadSource = 15 => "bad_source",
        /// From or to port 0.
        BadPort = 16 => "bad_port",
        /// Extension headers that are too many, too long, or not at their end here.
        HeaderChain = 17 => "header_chain",
        /// An ICMP error about a flow, sent on to its backend.
        ErrorForwarded = 18 => "error_forwarded",
        /// An ICMP error about a flow, sent on to its client.
        ErrorReturned = 19 => "error_returned",
        /// An ICMP error to a VIP that is about no flow of it.
        ErrorUnknown = 20 => "error_unknown",
        /// A ping, answered.
        EchoAnswered = 21 => "echo_answered",
        /// A ping beyond the rate.
        EchoLimited = 22 => "echo_limited",
        /// The TTL or hop limit ends here, and the sender was told.
        TtlAnswered = 23 => "ttl_answered",
        /// Longer than the way takes.
        TooBig = 24 => "too_big",
        /// Longer than the way takes, and the sender was told what fits.
        TooBigAnswered = 25 => "too_big_answered",
        /// For a VIP, but for no service of it.
        Unserved = 26 => "unserved",
        /// For a VIP, but for no service of it: left to the kernel, untouched.
        UnservedPassed = 27 => "unserved_passed",
        /// For a VIP, but for no service of it: refused.
        UnservedReset = 28 => "unserved_reset",
        /// No source port is free to translate the flow with.
        NoSourcePort = 29 => "no_source_port",
        /// The driver leaves no room for an outer header.
        NoHeadroom = 30 => "no_headroom",
        /// A checksum that a device should have finished, in a frame too long to be finished here.
        PartialChecksum = 31 => "partial_checksum",
        /// Every backend that is up has as many active flows as it may.
        Full = 32 => "full",
        /// Every backend that is up has as many active flows as it may: refused.
        FullReset = 33 => "full_reset",
        /// A new flow beyond the service's rate.
        FlowLimited = 34 => "flow_limited",
        /// A new flow beyond its source's rate.
        SourceLimited = 35 => "source_limited",
        /// The service has no backend that could take the packet: refused.
        DownReset = 36 => "down_reset",
        /// The service has no backend that could take the packet: left to the kernel, untouched.
        DownPassed = 37 => "down_passed",
        /// Of a probe through the data path, sent on to its backend.
        ProbeSent = 38 => "probe_sent",
        /// The answer to one, sent on into the namespace of probes.
        ProbeAnswered = 39 => "probe_answered",
        /// From the namespace of probes, but of no probe that goes on.
        ProbeOver = 40 => "probe_over",
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
            Self::Forwarded
            | Self::Returned
            | Self::ErrorForwarded
            | Self::ErrorReturned
            | Self::EchoAnswered
            | Self::TtlAnswered
            | Self::TooBigAnswered
            | Self::UnservedReset
            | Self::FullReset
            | Self::DownReset
            | Self::ProbeSent
            | Self::ProbeAnswered => Fate::Send,
            Self::NotOurs | Self::NotIp | Self::UnservedPassed | Self::DownPassed => Fate::Pass,
            Self::Malformed
            | Self::Fragment
            | Self::TtlExpired
            | Self::NoBackend
            | Self::FlowCollision
            | Self::FlowTableFull
            | Self::NoRoute
            | Self::NoNeighbour
            | Self::BadConfig
            | Self::StaleReply
            | Self::BadChecksum
            | Self::BadSource
            | Self::BadPort
            | Self::HeaderChain
            | Self::ErrorUnknown
            | Self::EchoLimited
            | Self::TooBig
            | Self::Unserved
            | Self::NoSourcePort
            | Self::NoHeadroom
            | Self::PartialChecksum
            | Self::Full
            | Self::FlowLimited
            | Self::SourceLimited
            | Self::ProbeOver => Fate::Drop,
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
