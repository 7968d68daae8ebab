//! What is fixed when the program is loaded.

use std::{net::IpAddr, ops::RangeInclusive};

use lb_common::{
    addr::Addr,
    conn::Timeouts,
    settings::{Options, Outer, Own, Translation},
};
use xlb::datapath::load::{Capacity, Settings};

use crate::world::{Net, World};

pub const HASH_KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0x0f1e_2d3c_4b5a_6978];

const SECOND: u64 = 1_000_000_000;

/// Longer than any test.
pub const TIMEOUTS: Timeouts = Timeouts {
    syn: 600 * SECOND,
    established: 7200 * SECOND,
    fin: 600 * SECOND,
    closed: 600 * SECOND,
    udp: 600 * SECOND,
};

const FIRST_PORT: u16 = 1024;
const PORTS_PER_CPU: u16 = 64;

/// Source ports of translated flows on up to 256 CPUs.
pub const SOURCE_PORTS: RangeInclusive<u16> = FIRST_PORT..=FIRST_PORT + PORTS_PER_CPU * 256;

pub fn settings(world: &World, timeouts: Timeouts, log_packets: bool) -> Settings {
    let own = |v4| world.own_of(v4).map_or_else(Addr::default, Addr::from);
    let sources = |v4| world.sources.iter().filter(|ip| ip.is_ipv4() == v4).count();
    let count = |v4| u8::try_from(sources(v4)).unwrap();
    Settings {
        hash_key: HASH_KEY,
        timeouts,
        options: Options {
            partial_checksums: u8::from(world.partial_checksums),
            multi_buffer: u8::from(world.multi_buffer),
            _pad: [0; 2],
            answers_per_second: world.answers_per_second,
        },
        own: Own {
            v4: own(true),
            v6: own(false),
        },
        outer: outer(&world.tunnel_sources),
        translation: Translation {
            first_port: FIRST_PORT,
            ports_per_cpu: PORTS_PER_CPU,
            last_port: *SOURCE_PORTS.end(),
            v4_sources: count(true),
            v6_sources: count(false),
        },
        capacity: Capacity {
            flows: 4096,
            backends: 256,
            services: 64,
            written: 4096,
        },
        log_packets,
    }
}

fn outer(networks: &[Net]) -> Outer {
    let mut outer = Outer::default();
    for net in networks {
        let host_bits = |bits: u8| {
            let left = bits - net.len;
            u32::try_from((1_u64 << left) - 1).unwrap().to_be()
        };
        match net.base {
            IpAddr::V4(_) => (outer.v4_network, outer.v4_host_bits) = (net.base.into(), host_bits(32)),
            IpAddr::V6(_) => (outer.v6_network, outer.v6_host_bits) = (net.base.into(), host_bits(128)),
        }
    }
    outer
}
