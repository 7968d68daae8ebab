//! What is fixed when the program is loaded.

use lb_common::{
    conn::Timeouts,
    settings::{Options, Outer, Own, Translation},
};
use xlb::datapath::load::{Capacity, Settings};

use super::{Features, SOURCES, address};

const HOUR: u64 = 3_600_000_000_000;
const FIRST_PORT: u16 = 1024;
/// For one of three CPUs: a run stays on one of them.
const PORTS_PER_CPU: u16 = 20_000;
/// So many that none is refused.
const ANSWERS_PER_SECOND: u32 = 1_000_000_000;

pub fn of(capacity: Capacity, features: Features) -> Settings {
    let is_all = features == Features::All;
    Settings {
        hash_key: [1, 2],
        timeouts: Timeouts {
            syn: HOUR,
            established: HOUR,
            fin: HOUR,
            closed: HOUR,
            udp: HOUR,
        },
        capacity,
        log_packets: false,
        options: Options {
            partial_checksums: is_all.into(),
            multi_buffer: is_all.into(),
            _pad: [0; 2],
            answers_per_second: ANSWERS_PER_SECOND,
        },
        own: if is_all {
            Own {
                v4: address(true, 3, 1),
                v6: address(false, 3, 1),
            }
        } else {
            Own::default()
        },
        outer: if is_all { outer() } else { Outer::default() },
        translation: Translation {
            first_port: FIRST_PORT,
            ports_per_cpu: PORTS_PER_CPU,
            last_port: u16::MAX,
            v4_sources: SOURCES,
            v6_sources: SOURCES,
        },
    }
}

/// Tunnels from a /16 and a /112.
fn outer() -> Outer {
    Outer {
        v4_network: address(true, 252, 0),
        v6_network: address(false, 252, 0),
        v4_host_bits: 0xffff_u32.to_be(),
        v6_host_bits: 0xffff_u32.to_be(),
    }
}
