//! Services: the address that clients connect to, and how it is balanced.

use crate::{addr::Addr, map_struct, wire_enum};

map_struct! {
    /// Key of `SERVICES`: one address, one port and protocol.
    pub struct ServiceKey {
        pub vip: Addr,
        /// Network order.
        pub port: u16,
        /// IP protocol number.
        pub protocol: u16,
        pub _pad: u32,
    }
}

map_struct! {
    /// Key of `PORTS`, behind its prefix length: the ports of a VIP that are served by ranges, and the ports of networks.
    ///
    /// A range of ports is a handful of prefixes; all ports are a prefix that ends before the port.
    pub struct PortKey {
        /// The VIP's address, or a network's first.
        pub base: Addr,
        /// Length of the network's prefix, as in [`Vip::prefix_len`].
        pub prefix_len: u16,
        /// IP protocol number.
        pub protocol: u16,
        /// Network order: its bits are matched from the highest on.
        pub port: u16,
        pub _pad: u16,
    }
}

impl PortKey {
    /// Bits of the key before the port's.
    pub const BITS_BEFORE_PORT: u32 = 160;
    /// Bits of a key with a whole port.
    pub const BITS: u32 = Self::BITS_BEFORE_PORT + 16;
}

wire_enum! {
    /// What becomes of packets for a VIP that no service takes.
    pub enum Unserved {
        /// To the kernel if it would keep them: for an address of this host, or where it does not forward. Else dropped: sent
        /// on they would come back.
        Auto = 0 => "auto",
        Drop = 1 => "drop",
        /// To the kernel.
        Pass = 2 => "pass",
        /// Refused as by a host without a listener (RFC 9293 §3.10.7.1, RFC 1122 §4.1.3.1).
        Reset = 3 => "reset",
    }
}

map_struct! {
    /// Entry of `VIPS`, by address, and of `NETWORKS`, by prefix.
    pub struct Vip {
        /// The VIP's address, or the network's first.
        pub base: Addr,
        /// Of the 128 bits of an [`Addr`], those that the VIP fixes: an IPv4 network of /24 has 120.
        pub prefix_len: u16,
        /// [`Unserved`].
        pub unserved: u8,
        /// Bits of [`vip_flags`].
        pub flags: u8,
        pub _pad: u32,
    }
}

/// Bits of [`Vip::flags`].
pub mod vip_flags {
    /// Pings are answered.
    pub const ECHO: u8 = 1;
    /// `PORTS` has entries for it.
    pub const PORTS: u8 = 2;
}

wire_enum! {
    /// How a packet gets to its backend.
    pub enum ForwardMode {
        /// Destination rewritten; replies come back through us.
        Nat = 1 => "nat",
        /// Source rewritten as well: backends answer us, wherever they are.
        FullNat = 2 => "full-nat",
        /// Only the Ethernet addresses: the backend has the VIP and answers the client itself.
        Dsr = 3 => "dsr",
        /// In an IP packet of its own (RFC 2003, 2473, 4213): as `dsr`, over routers.
        Ipip = 4 => "ipip",
        /// In a UDP datagram (draft-ietf-intarea-gue, variant 1): as `ipip`, where only UDP spreads or gets through.
        Gue = 5 => "gue",
    }
}

impl ForwardMode {
    /// Whether replies come back through us and are translated.
    #[must_use]
    #[inline(always)]
    pub const fn translates(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat)
    }

    /// Whether packets get an outer header, so that VIP and backend may be of different families.
    #[must_use]
    #[inline(always)]
    pub const fn encapsulates(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }

    /// Bytes that an outer header takes, to a backend of either family.
    #[must_use]
    #[inline(always)]
    pub const fn overhead(self, backend_is_v4: bool) -> u32 {
        let ip = if backend_is_v4 { 20 } else { 40 };
        match self {
            Self::Nat | Self::FullNat | Self::Dsr => 0,
            Self::Ipip => ip,
            Self::Gue => ip + 8,
        }
    }
}

/// Port that GUE is sent to (IANA).
pub const GUE_PORT: u16 = 6080;

wire_enum! {
    /// How a new flow gets its backend (docs/flows.md).
    pub enum Picker {
        /// Keyed hash of the five-tuple into a Maglev table (Eisenbud et al., NSDI 2016).
        Maglev = 1 => "maglev",
        /// The same of the source, under its prefix.
        Source = 2 => "source",
        /// The same of the destination address.
        Dest = 3 => "dest",
        /// The same of the destination port.
        DestPort = 4 => "dest-port",
        /// Slot after slot, each CPU for itself; the table is a smooth sequence.
        RoundRobin = 5 => "round-robin",
        /// A random slot.
        Random = 6 => "random",
        /// The less loaded of two random slots' owners.
        TwoChoices = 7 => "p2c",
        /// The least loaded of the members, or of some of them.
        LeastConn = 8 => "least-conn",
        /// The first member that is neither down nor full.
        First = 9 => "first",
        /// The first member that is not down.
        Failover = 10 => "failover",
        /// As Maglev, past those that have more than their share.
        Bounded = 11 => "bounded",
    }
}

impl Picker {
    /// Whether a flow's backend follows from its hash, as long as the slot does not change.
    #[must_use]
    #[inline(always)]
    pub const fn has_slot(self) -> bool {
        matches!(self, Self::Maglev | Self::Source | Self::Dest | Self::DestPort)
    }

    /// By which a flow of such a service has its home.
    #[must_use]
    pub const fn home(self) -> Self {
        if self.has_slot() { self } else { Self::Maglev }
    }
}

wire_enum! {
    /// What becomes of a new flow when all backends are full.
    pub enum OnFull {
        /// Refused, as by a host without a listener.
        Reject = 0 => "reject",
        Drop = 1 => "drop",
        /// It gets a backend all the same.
        Spill = 2 => "spill",
    }
}

map_struct! {
    /// Entry of `SERVICES` and `PORTS`.
    pub struct Service {
        /// Index of the service's slot table and counters.
        pub id: u32,
        /// [`ForwardMode`].
        pub mode: u8,
        /// [`Picker`].
        pub picker: u8,
        /// The [`Picker`] by whose hash flows have their home that are not written down.
        pub home: u8,
        /// Bytes of a server ID in QUIC connection IDs, 1 to 8; 0 for a service that does not route by them.
        pub quic_server_id_len: u8,
        /// Bits of [`service_flags`].
        pub flags: u16,
        /// Longest IP packet that may be sent to its backends, outer header included; 0 for what the next hop takes.
        pub mtu: u16,
        /// The config rotation bits of the connection IDs that are read, 0 to 6.
        pub quic_config: u8,
        /// [`SlotBits`](crate::slot::SlotBits) of its table; the slots themselves say so too, and are right.
        pub slot_bits: u8,
        /// Bits of sources, of IPv4 and IPv6, that `source` goes by.
        pub source_v4: u8,
        pub source_v6: u8,
        /// How many members stand behind the slots.
        pub members: u32,
        /// Their weight in all.
        pub weight: u32,
        /// Seconds that a client stays with its backend after its last new flow; 0 for no affinity.
        pub affinity: u32,
        /// Percent of its share of active flows that a backend may have (`bounded`).
        pub load_factor: u16,
        /// Replicas of an address (`dest`): 1 for no more than itself.
        pub replicas: u8,
        /// [`OnFull`].
        pub on_full: u8,
        /// The port of the first replica, network order.
        pub first_port: u16,
        /// Bits of sources, of IPv4 and IPv6, that share a rate.
        pub rate_v4: u8,
        pub rate_v6: u8,
        /// New flows in a second, and how many at once; 0 for any number.
        pub flow_rate: u32,
        pub flow_burst: u32,
        /// The same for each source.
        pub source_rate: u32,
        pub source_burst: u32,
        /// Bits of sources, of IPv4 and IPv6, that affinity goes by.
        pub affinity_v4: u8,
        pub affinity_v6: u8,
        pub _end: u16,
    }
}

/// Bits of [`Service::flags`].
pub mod service_flags {
    /// Flows are chosen by addresses and protocol alone, so that fragments need no first one.
    pub const BY_ADDRESSES: u16 = 1;
    /// GUE's UDP has a checksum.
    pub const GUE_CHECKSUM: u16 = 2;
    /// Every flow is written down.
    pub const TRACKED: u16 = 4;
    /// Each datagram is balanced for itself.
    pub const ONE_PACKET: u16 = 8;
    /// Datagrams go elsewhere at once when their slot changes or their backend drains.
    pub const UDP_MOVES: u16 = 16;
    /// It has translated, and `FLOWS` may have flows of it.
    pub const LOOKS_BACK: u16 = 32;
    /// It has rates of new flows.
    pub const RATED: u16 = 64;
    /// Flows are not all chosen by their slot, whatever it says: other algorithms, affinity or homes of before.
    pub const UNSETTLED: u16 = 128;
    /// Packets that no backend takes are refused, as by a host without a listener.
    pub const DOWN_RESETS: u16 = 256;
    /// Packets that no backend takes are the kernel's.
    pub const DOWN_PASSES: u16 = 512;
}

map_struct! {
    /// Key of `QUIC_SERVERS`: who has issued a connection ID.
    pub struct QuicServerKey {
        pub service: u32,
        /// Bytes of the server ID, as in [`Service::quic_server_id_len`].
        pub len: u32,
        /// The server ID's bytes, the first one lowest, zeros behind.
        pub server_id: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_key_has_its_port_last() {
        let key = PortKey::default();
        let offset = (&raw const key.port).addr() - (&raw const key).addr();
        assert_eq!(offset * 8, PortKey::BITS_BEFORE_PORT as usize);
    }

    #[test]
    fn the_overheads_are_those_of_the_headers() {
        let both = |mode: ForwardMode| (mode.overhead(true), mode.overhead(false));
        assert_eq!(both(ForwardMode::Ipip), (20, 40));
        assert_eq!(both(ForwardMode::Gue), (28, 48));
        assert_eq!(both(ForwardMode::Dsr), (0, 0));
    }
}
