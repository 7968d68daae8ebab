//! Capacities. Those that a deployment may choose are defaults here and set when the maps are made.

/// Flows written down, by default: a power of two, 12 bytes each.
pub const WRITTEN: u32 = 262_144;
/// Sources whose new flows are limited, of all services.
pub const RATED_SOURCES: u32 = 16_384;
/// Members that `least-conn` looks at.
pub const LEAST_TRIES: u32 = 16;
/// Members that `first` and `failover` look at.
pub const ORDER_TRIES: u32 = 64;
/// Most replicas of an address.
pub const REPLICAS: u32 = 4;
/// Flows remembered, by default.
pub const FLOWS: u32 = 262_144;
/// Backends of all services, by default. Id 0 is never given out: in a slot it means "no backend".
pub const BACKENDS: u32 = 4_096;
/// Services, by default.
pub const SERVICES: u32 = 1_024;
/// VIP:port:protocol entries, for each service that fits.
pub const VIPS_PER_SERVICE: u32 = 4;
/// VIPs that are networks, in all.
pub const NETWORKS: u32 = 1_024;
/// Prefixes of ports that ranges and networks need, for each service that fits.
pub const PORTS_PER_SERVICE: u32 = 32;
/// Fragmented packets whose first fragment is remembered, at least: hosts of many CPUs have room for more.
pub const FRAGMENTS: u32 = 8_192;
/// VLAN devices that are known.
pub const VLAN_DEVICES: u32 = 4_096;
/// Addresses of the balancer itself that are known. The table has room for twice as many: those of before are taken out last.
pub const LOCALS: u32 = 4_096;
/// Interfaces in generic mode.
pub const GENERIC: u32 = 1_024;
/// Source addresses of translated flows, of each family.
pub const SOURCES: u32 = 16;
/// Source ports tried for a flow before it is refused.
pub const SOURCE_PORT_TRIES: u32 = 64;
/// Keys of probes through the data path that are under way, or whose ports rest: one for each, two where the mode translates.
pub const PROBES: u32 = 1 << 16;
/// Slots tried for a flow before it is refused. With half of the weight down, the chance that all miss is 2^-32; the agent
/// rebuilds a table in which more than half is down.
pub const PICK_TRIES: u32 = 32;
/// Of those, how many may fail because the backend already has a flow of the same client address and port.
pub const COLLISION_TRIES: u32 = 4;
/// The slot that names no backend.
pub const NO_BACKEND: u32 = 0;
