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
/// What every packet asks first: array of `u64` ([`board`](crate::board)), also mapped into the agent's memory.
pub const SWITCHES: &str = "SWITCHES";
/// Backends of translating services, which are translated when they are clients: hash of `Addr` to the number of backends.
pub const HAIRPINS: &str = "HAIRPINS";
/// Addresses of the balancer itself, which no client has: hash of `Addr` to nothing of interest.
pub const LOCALS: &str = "LOCALS";
/// Source addresses of translated flows: array of `Addr`, IPv4 first, then IPv6.
pub const SOURCES: &str = "SOURCES";
/// What frames to a VLAN device leave by: hash of interface index to `VlanDevice`.
pub const VLAN_DEVICES: &str = "VLAN_DEVICES";
/// Fragmented packets: LRU hash of `FragmentKey` to `Fragment`.
pub const FRAGMENTS: &str = "FRAGMENTS";
/// Slot tables: array of maps, by service id; each an array of `Slot`, and behind the slots the ids of the members in their order.
pub const SLOTS: &str = "SLOTS";
/// Fixed part of the backends: array of `Backend`, by backend id.
pub const BACKENDS: &str = "BACKENDS";
/// Changing part of the backends: array of `BackendWord`, by backend id, also mapped into the agent's memory.
pub const BACKEND_WORDS: &str = "BACKEND_WORDS";
/// Weight and limit of the backends: array of `BackendLimits`, by backend id, also mapped into the agent's memory.
pub const BACKEND_LIMITS: &str = "BACKEND_LIMITS";
/// Active flows: array of `u64`, by backend id, also mapped into the agent's memory.
pub const BACKEND_LOADS: &str = "BACKEND_LOADS";
/// Active flows: array of `u64`, by service id, also mapped into the agent's memory.
pub const SERVICE_LOADS: &str = "SERVICE_LOADS";
/// Flows that are written down: array of `written::Bucket`, also mapped into the agent's memory.
pub const WRITTEN: &str = "WRITTEN";
/// What belongs to each of them: array of `written::ForBucket`, also mapped into the agent's memory.
pub const WRITTEN_FOR: &str = "WRITTEN_FOR";
/// Per-CPU array of `u64`, by `WrittenCount`.
pub const WRITTEN_COUNTS: &str = "WRITTEN_COUNTS";
/// How many new flows services may have: array of `u64` (`rate`), by service id.
pub const SERVICE_RATES: &str = "SERVICE_RATES";
/// How many new flows sources may have: LRU hash of `rate::SourceKey` to `u64`.
pub const SOURCE_RATES: &str = "SOURCE_RATES";
/// Resolved next hops: array of `Egress`; entry 0 is unused.
pub const NEXT_HOPS: &str = "NEXT_HOPS";
/// Flows by the client's packets: LRU hash of `FlowKey` to `Flow`.
pub const FLOWS: &str = "FLOWS";
/// Flows by the backend's packets: LRU hash of `FlowKey` to `Reply`.
pub const REPLIES: &str = "REPLIES";
/// What the short way knows of flows: array of `Line`, also mapped into the agent's memory.
pub const LINES: &str = "LINES";
/// Per-CPU array of `Count`, by `Outcome`.
pub const OUTCOMES: &str = "OUTCOMES";
/// Per-CPU array of `Traffic`, by service id.
pub const SERVICE_TRAFFIC: &str = "SERVICE_TRAFFIC";
/// Per-CPU array of `Traffic`, by backend id.
pub const BACKEND_TRAFFIC: &str = "BACKEND_TRAFFIC";
/// Per-CPU array of `Signs`, by backend id.
pub const BACKEND_SIGNS: &str = "BACKEND_SIGNS";
/// Per-CPU array of `u32`, by service id: where each round has come. Not pinned.
pub const TURNS: &str = "TURNS";
/// Per-CPU array of services that were found for the last packets. Not pinned.
pub const FOUND: &str = "FOUND";
/// Interfaces that the program is attached to in generic mode: hash of interface index to a number that means nothing. Not pinned: each
/// program has those that it is on.
pub const GENERIC: &str = "GENERIC";
/// Probes through the data path: hash of `ProbeKey` to `Probe`. Not pinned: they end with their agent.
pub const PROBES: &str = "PROBES";

/// Every map that outlives the agent.
pub const PINNED: &[&str] = &[
    SERVICES,
    VIPS,
    NETWORKS,
    PORTS,
    QUIC_SERVERS,
    SWITCHES,
    HAIRPINS,
    LOCALS,
    SOURCES,
    VLAN_DEVICES,
    FRAGMENTS,
    SLOTS,
    BACKENDS,
    BACKEND_WORDS,
    BACKEND_LIMITS,
    BACKEND_LOADS,
    SERVICE_LOADS,
    WRITTEN,
    WRITTEN_FOR,
    WRITTEN_COUNTS,
    SERVICE_RATES,
    SOURCE_RATES,
    NEXT_HOPS,
    FLOWS,
    REPLIES,
    LINES,
    OUTCOMES,
    SERVICE_TRAFFIC,
    BACKEND_TRAFFIC,
    BACKEND_SIGNS,
];

/// The XDP program.
pub const PROGRAM: &str = "xlb";
/// The same for frames longer than one buffer.
pub const FRAGS_PROGRAM: &str = "xlb_frags";
/// The program on the door of the namespace of probes.
pub const PROBE_PROGRAM: &str = "xlb_probe";

/// Bits of the first entry of [`SWITCHES`]: a table without entries is not looked at.
pub mod switches {
    /// [`super::NETWORKS`].
    pub const NETWORKS: u32 = 1;
    /// [`super::REPLIES`]: a service translates, or has done so and flows of it may live.
    pub const REPLIES: u32 = 2;
    /// [`super::VLAN_DEVICES`].
    pub const VLAN_DEVICES: u32 = 4;
    /// [`super::HAIRPINS`].
    pub const HAIRPINS: u32 = 8;
    /// [`super::PROBES`]: services are probed through the data path.
    pub const PROBING: u32 = 16;
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
/// Load-time global: `Remembered`, of flows that are written down.
pub const REMEMBERED: &str = "REMEMBERED";
/// Load-time global: `WrittenTimeouts`.
pub const WRITTEN_TIMEOUTS: &str = "WRITTEN_TIMEOUTS";
/// Load-time global: `Translation` of sources.
pub const TRANSLATION: &str = "TRANSLATION";
