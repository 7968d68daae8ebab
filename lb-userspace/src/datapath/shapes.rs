//! What maps hold, and how much.

use aya::maps::MapType;
use lb_common::{
    addr::Addr,
    backend::Backend,
    board,
    conn::{Flow, Fragment, FragmentKey, Reply},
    flow::FlowKey,
    limits,
    line::Line,
    maps,
    next_hop::{Egress, VlanDevice},
    outcome::Outcome,
    rate::SourceKey,
    service::{PortKey, QuicServerKey, Service, ServiceKey, Vip},
    settings::Remembered,
    sign::Signs,
    traffic::{Count, Traffic},
    written::{Bucket, ForBucket, WAYS, WrittenCount},
};

/// How much the maps hold.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    pub flows: u32,
    pub backends: u32,
    pub services: u32,
    /// Flows that are written down: a power of two.
    pub written: u32,
}

/// One map's type, sizes and capacity.
pub(super) struct Shape {
    pub name: &'static str,
    pub kind: MapType,
    pub key: usize,
    pub value: usize,
    pub room: Room,
}

/// How many entries a map has: those that a limit asks for, and some that no limit counts.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub limit: &'static str,
    pub asked: u32,
    /// Entries for each that is asked for, or for each few of them.
    pub each: u32,
    pub few: u32,
    pub more: u32,
}

impl Room {
    pub const fn entries(self) -> u32 {
        self.asked / self.few * self.each + self.more
    }

    /// The limit that a map of so many entries was made for.
    pub fn made_for(self, entries: u32) -> u32 {
        entries.saturating_sub(self.more) / self.each.max(1) * self.few
    }
}

/// How many fragmented packets are remembered. Each CPU takes up to 128 free entries at once (`LOCAL_FREE_TARGET` in
/// kernel/bpf/bpf_lru_list.c), and those that find none left throw out each other's.
fn fragments(cpus: u32) -> u32 {
    limits::FRAGMENTS.max(cpus.saturating_mul(2 * 128))
}

/// How many entries of the written flows share a cache line.
#[expect(clippy::cast_possible_truncation, reason = "eight")]
const FEW: u32 = WAYS as u32;

/// How many services each CPU keeps at hand: two places for each, so that few of them share one, and as many of 90 bytes as a cache
/// takes.
pub(super) fn found(capacity: Capacity) -> u32 {
    2 * capacity.services.clamp(32, 1 << 12).next_power_of_two()
}

/// What the program has to know of tables' sizes.
pub(super) fn remembered(capacity: Capacity) -> Remembered {
    Remembered {
        bucket_mask: (capacity.written / FEW).saturating_sub(1),
        found_mask: found(capacity) - 1,
        lines: capacity.flows,
        _pad: 0,
    }
}

/// Every map that outlives the agent.
#[expect(clippy::too_many_lines, reason = "one entry for each map")]
pub(super) fn all(capacity: Capacity, cpus: u32) -> Vec<Shape> {
    let Capacity {
        flows,
        backends,
        services,
        written,
    } = capacity;
    let shape = |name, kind, key, value, room| Shape {
        name,
        kind,
        key,
        value,
        room,
    };
    let room = |limit, asked, each, more| Room {
        limit,
        asked,
        each,
        few: 1,
        more,
    };
    let of_written = Room {
        few: FEW,
        ..room("written", written, 1, 0)
    };
    let (of_flows, of_services) = (room("flows", flows, 1, 0), room("services", services, 1, 0));
    let of_vips = room("services", services, limits::VIPS_PER_SERVICE, 0);
    let of_ports = room("services", services, limits::PORTS_PER_SERVICE, 0);
    // Id 0 is no backend, index 0 no next hop.
    let (of_backends, of_hops) = (room("backends", backends, 1, 1), room("backends", backends, 2, 1));
    let of_addresses = room("backends", backends, 1, 0);
    // No limit: another number is another layout.
    let fixed = |entries| room("", 0, 0, entries);
    #[expect(clippy::cast_possible_truncation, reason = "an enum of one byte")]
    let of_outcomes = fixed(Outcome::ALL.len() as u32);
    #[expect(clippy::cast_possible_truncation, reason = "an enum of one byte")]
    let of_written_counts = fixed(WrittenCount::ALL.len() as u32);
    let (word, index) = (size_of::<u64>(), size_of::<u32>());
    let (address, flow) = (size_of::<Addr>(), size_of::<FlowKey>());
    let (service, traffic) = (size_of::<Service>(), size_of::<Traffic>());
    // An LPM trie's key has the length of the prefix before it.
    let (network, ports) = (index + address, index + size_of::<PortKey>());
    use MapType::{Array, ArrayOfMaps, Hash, LpmTrie, LruHash, PerCpuArray};
    vec![
        shape(maps::SERVICES, Hash, size_of::<ServiceKey>(), service, of_vips),
        shape(maps::VIPS, Hash, address, size_of::<Vip>(), of_vips),
        shape(
            maps::NETWORKS,
            LpmTrie,
            network,
            size_of::<Vip>(),
            fixed(limits::NETWORKS),
        ),
        shape(maps::PORTS, LpmTrie, ports, service, of_ports),
        shape(
            maps::QUIC_SERVERS,
            Hash,
            size_of::<QuicServerKey>(),
            index,
            of_addresses,
        ),
        shape(maps::SWITCHES, Array, index, word, fixed(board::ENTRIES)),
        shape(maps::HAIRPINS, Hash, address, index, of_addresses),
        shape(maps::LOCALS, Hash, address, index, fixed(2 * limits::LOCALS)),
        shape(maps::SOURCES, Array, index, address, fixed(2 * limits::SOURCES)),
        shape(
            maps::VLAN_DEVICES,
            Hash,
            index,
            size_of::<VlanDevice>(),
            fixed(limits::VLAN_DEVICES),
        ),
        shape(
            maps::FRAGMENTS,
            LruHash,
            size_of::<FragmentKey>(),
            size_of::<Fragment>(),
            fixed(fragments(cpus)),
        ),
        shape(maps::SLOTS, ArrayOfMaps, index, index, of_services),
        shape(maps::BACKENDS, Array, index, size_of::<Backend>(), of_backends),
        shape(maps::BACKEND_WORDS, Array, index, word, of_backends),
        shape(maps::BACKEND_LIMITS, Array, index, word, of_backends),
        shape(maps::BACKEND_LOADS, Array, index, word, of_backends),
        shape(maps::SERVICE_LOADS, Array, index, word, of_services),
        shape(maps::WRITTEN, Array, index, size_of::<Bucket>(), of_written),
        shape(
            maps::WRITTEN_FOR,
            Array,
            index,
            size_of::<ForBucket>(),
            of_written,
        ),
        shape(maps::WRITTEN_COUNTS, PerCpuArray, index, word, of_written_counts),
        shape(maps::SERVICE_RATES, Array, index, word, of_services),
        shape(
            maps::SOURCE_RATES,
            LruHash,
            size_of::<SourceKey>(),
            word,
            fixed(limits::RATED_SOURCES),
        ),
        shape(maps::NEXT_HOPS, Array, index, size_of::<Egress>(), of_hops),
        shape(maps::FLOWS, LruHash, flow, size_of::<Flow>(), of_flows),
        shape(maps::REPLIES, LruHash, flow, size_of::<Reply>(), of_flows),
        shape(maps::LINES, Array, index, size_of::<Line>(), of_flows),
        shape(
            maps::OUTCOMES,
            PerCpuArray,
            index,
            size_of::<Count>(),
            of_outcomes,
        ),
        shape(maps::SERVICE_TRAFFIC, PerCpuArray, index, traffic, of_services),
        shape(maps::BACKEND_TRAFFIC, PerCpuArray, index, traffic, of_backends),
        shape(
            maps::BACKEND_SIGNS,
            PerCpuArray,
            index,
            size_of::<Signs>(),
            of_backends,
        ),
    ]
}

#[cfg(test)]
pub mod tests {
    use lb_common::maps::PINNED;

    use super::*;

    pub fn shapes() -> Vec<Shape> {
        let capacity = Capacity {
            flows: 4096,
            backends: 16,
            services: 4,
            written: 2048,
        };
        all(capacity, 4)
    }

    #[test]
    fn no_cpu_starves_another_of_fragments() {
        assert_eq!([1, 32, 33, 512].map(fragments), [8192, 8192, 8448, 131_072]);
    }

    #[test]
    fn every_map_that_is_pinned_has_its_size() {
        let mut sized: Vec<_> = shapes().iter().map(|shape| shape.name).collect();
        let mut pinned = PINNED.to_vec();
        sized.sort_unstable();
        pinned.sort_unstable();
        assert_eq!(sized, pinned);
    }

    #[test]
    fn a_map_tells_the_limit_that_it_was_made_for() {
        for Shape { name, room, .. } in shapes() {
            assert_eq!(room.made_for(room.entries()), room.asked, "{name}");
        }
    }
}
