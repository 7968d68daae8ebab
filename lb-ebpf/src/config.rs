//! Load-time settings. The loader writes them before the program is verified, so that the verifier sees constants.

use aya_ebpf::Global;
use lb_common::{
    addr::Addr,
    conn::Timeouts,
    settings::{Options, Outer, Own, Translation},
};

const NO_ADDRESS: Addr = Addr::from_words([0; 4]);

/// Key of the flow hash.
#[unsafe(no_mangle)]
static HASH_KEY: Global<[u64; 2]> = Global::new([0; 2]);

/// How long silent flows are remembered.
#[unsafe(no_mangle)]
static TIMEOUTS: Global<Timeouts> = Global::new(Timeouts {
    syn: 0,
    established: 0,
    fin: 0,
    closed: 0,
    udp: 0,
});

#[unsafe(no_mangle)]
static OPTIONS: Global<Options> = Global::new(Options {
    partial_checksums: 0,
    multi_buffer: 0,
    _pad: [0; 2],
    answers_per_second: 0,
});

#[unsafe(no_mangle)]
static OWN: Global<Own> = Global::new(Own {
    v4: NO_ADDRESS,
    v6: NO_ADDRESS,
});

#[unsafe(no_mangle)]
static OUTER: Global<Outer> = Global::new(Outer {
    v4_network: NO_ADDRESS,
    v6_network: NO_ADDRESS,
    v4_host_bits: 0,
    v6_host_bits: 0,
});

#[unsafe(no_mangle)]
static TRANSLATION: Global<Translation> = Global::new(Translation {
    first_port: 0,
    ports_per_cpu: 0,
    last_port: 0,
    v4_sources: 0,
    v6_sources: 0,
});

#[inline(always)]
pub fn hash_key() -> [u64; 2] {
    HASH_KEY.load()
}

#[inline(always)]
pub fn timeouts() -> Timeouts {
    TIMEOUTS.load()
}

#[inline(always)]
pub fn options() -> Options {
    OPTIONS.load()
}

#[inline(always)]
pub fn own() -> Own {
    OWN.load()
}

#[inline(always)]
pub fn outer() -> Outer {
    OUTER.load()
}

#[inline(always)]
pub fn translation() -> Translation {
    TRANSLATION.load()
}
