//! What the loader fixes before the program is verified: the verifier sees constants, and removes what is off.

use crate::{addr::Addr, map_struct};

map_struct! {
    /// What the program does beyond balancing.
    pub struct Options {
        /// Whether senders on this host may leave L4 checksums to a device (`CHECKSUM_PARTIAL`), as on veth: they are
        /// finished here, or in generic mode kept fit for being finished later.
        pub partial_checksums: u8,
        /// Whether frames may be longer than one buffer (`xdp.frags`, Linux 5.18).
        pub multi_buffer: u8,
        pub _pad: [u8; 2],
        /// Answers of each kind (pings, ICMP errors, resets) that each CPU sends in a second.
        pub answers_per_second: u32,
    }
}

map_struct! {
    /// The sizes of tables without a hash map's own.
    pub struct Remembered {
        /// Buckets of written flows, a power of two, less one.
        pub bucket_mask: u32,
        /// Places for services that were found, a power of two, less one.
        pub found_mask: u32,
        /// Lines of translated flows.
        pub lines: u32,
        pub _pad: u32,
    }
}

map_struct! {
    /// Our own addresses, to answer with as a router on the way; none where the host has none.
    pub struct Own {
        pub v4: Addr,
        pub v6: Addr,
    }
}

map_struct! {
    /// Networks that outer source addresses are spread over, so that backends' NICs spread tunnels over their queues. Host bits
    /// of zero: not spread.
    pub struct Outer {
        pub v4_network: Addr,
        pub v6_network: Addr,
        /// The bits that the flow's hash fills, in network order.
        pub v4_host_bits: u32,
        /// Of the last word of the address, in network order.
        pub v6_host_bits: u32,
    }
}

map_struct! {
    /// Source ports and addresses of translated flows. Each CPU that could run at the agent's start has ports of its own; one that
    /// came later has none.
    pub struct Translation {
        /// Host order.
        pub first_port: u16,
        /// Ports of each CPU; the CPU with number n has those from `first_port + n * ports_per_cpu` on.
        pub ports_per_cpu: u16,
        /// No CPU has ports beyond it. Host order.
        pub last_port: u16,
        /// Entries of `SOURCES` from 0 on that are IPv4 addresses; with none, the next hop's source is taken.
        pub v4_sources: u8,
        /// The same for IPv6, from [`limits::SOURCES`](crate::limits::SOURCES) on.
        pub v6_sources: u8,
    }
}
