//! Names of maps, program and load-time globals, once.

/// VIP:port:protocol to service: hash of `ServiceKey` to `Service`.
pub const SERVICES: &str = "SERVICES";
/// Addresses that are VIPs of any service: hash of `Addr` to the number of services.
pub const VIPS: &str = "VIPS";
/// Slot tables: array of maps, by service id; each an array of `SLOTS` backend ids.
pub const SLOTS: &str = "SLOTS";
/// Fixed part of the backends: array of `Backend`, by backend id.
pub const BACKENDS: &str = "BACKENDS";
/// Changing part of the backends: array of `BackendWord`, by backend id, also mapped into the agent's memory.
pub const BACKEND_WORDS: &str = "BACKEND_WORDS";
/// Resolved next hops: array of `NextHop`; entry 0 is unused.
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

/// Load-time global: key of the flow hash, `[u64; 2]`.
pub const HASH_KEY: &str = "HASH_KEY";
/// Load-time global: `Timeouts` of flows.
pub const TIMEOUTS: &str = "TIMEOUTS";
