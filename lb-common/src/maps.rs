//! Names of maps, program and load-time globals, once.

/// VIP:port:protocol to service: hash of `ServiceKey` to `Service`.
pub const SERVICES: &str = "SERVICES";
/// Addresses that are VIPs: hash of `Addr` to `Vip`.
pub const VIPS: &str = "VIPS";
/// Networks that are VIPs: LPM trie of `Addr` to `Vip`.
pub const NETWORKS: &str = "NETWORKS";
/// Services by ranges of ports and of networks: LPM trie of `PortKey` to `Service`.
pub const PORTS: &str = "PORTS";
/// Backends by the server ID of QUIC connection IDs: hash of `QuicServerKey` to a backend id.
pub const QUIC_SERVERS: &str = "QUIC_SERVERS";
/// Which of the tables have entries at all: array of one `u32` of [`switches`], also mapped into the agent's memory.
pub const SWITCHES: &str = "SWITCHES";
/// Backends of translating services, which are translated when they are clients: hash of `Addr` to the number of backends.
pub const HAIRPINS: &str = "HAIRPINS";
/// Source addresses of translated flows: array of `Addr`, IPv4 first, then IPv6.
pub const SOURCES: &str = "SOURCES";
/// What frames to a VLAN device leave by: hash of interface index to `VlanDevice`.
pub const VLAN_DEVICES: &str = "VLAN_DEVICES";
/// Fragmented packets: LRU hash of `FragmentKey` to `Fragment`.
pub const FRAGMENTS: &str = "FRAGMENTS";
/// Slot tables: array of maps, by service id; each an array of `SLOTS` backend ids.
pub const SLOTS: &str = "SLOTS";
/// Fixed part of the backends: array of `Backend`, by backend id.
pub const BACKENDS: &str = "BACKENDS";
/// Changing part of the backends: array of `BackendWord`, by backend id, also mapped into the agent's memory.
pub const BACKEND_WORDS: &str = "BACKEND_WORDS";
/// Resolved next hops: array of `Egress`; entry 0 is unused.
pub const NEXT_HOPS: &str = "NEXT_HOPS";
/// Flows by the client's packets: LRU hash of `FlowKey` to `Flow`.
pub const FLOWS: &str = "FLOWS";
/// Flows by the backend's packets: LRU hash of `FlowKey` to `Reply`.
pub const REPLIES: &str = "REPLIES";
/// Per-CPU array of `Count`, by `Outcome`.
pub const OUTCOMES: &str = "OUTCOMES";
/// Per-CPU array of `Traffic`, by service id.
pub const SERVICE_TRAFFIC: &str = "SERVICE_TRAFFIC";
/// Per-CPU array of `Traffic`, by backend id.
pub const BACKEND_TRAFFIC: &str = "BACKEND_TRAFFIC";

/// Every map that outlives the agent.
pub const PINNED: &[&str] = &[
    SERVICES,
    VIPS,
    NETWORKS,
    PORTS,
    QUIC_SERVERS,
    SWITCHES,
    HAIRPINS,
    SOURCES,
    VLAN_DEVICES,
    FRAGMENTS,
    SLOTS,
    BACKENDS,
    BACKEND_WORDS,
    NEXT_HOPS,
    FLOWS,
    REPLIES,
    OUTCOMES,
    SERVICE_TRAFFIC,
    BACKEND_TRAFFIC,
];

/// The XDP program.
pub const PROGRAM: &str = "xlb";
/// The same for frames longer than one buffer.
pub const FRAGS_PROGRAM: &str = "xlb_frags";

/// Bits of the entry of [`SWITCHES`]: a table without entries is not looked at.
pub mod switches {
    /// [`super::NETWORKS`].
    pub const NETWORKS: u32 = 1;
    /// [`super::REPLIES`]: a service translates, or has done so and flows of it may live.
    pub const REPLIES: u32 = 2;
    /// [`super::VLAN_DEVICES`].
    pub const VLAN_DEVICES: u32 = 4;
    /// [`super::HAIRPINS`].
    pub const HAIRPINS: u32 = 8;
}

/// Load-time global: key of the flow hash, `[u64; 2]`.
pub const HASH_KEY: &str = "HASH_KEY";
/// Load-time global: `Timeouts` of flows.
pub const TIMEOUTS: &str = "TIMEOUTS";
/// Load-time global: `Options`.
pub const OPTIONS: &str = "OPTIONS";
/// Load-time global: `Own` addresses.
pub const OWN: &str = "OWN";
/// Load-time global: `Outer` source networks.
pub const OUTER: &str = "OUTER";
/// Load-time global: `Translation` of sources.
pub const TRANSLATION: &str = "TRANSLATION";
