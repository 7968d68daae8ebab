//! Load-time settings. The loader writes them before the program is verified, so that the verifier sees constants.

use aya_ebpf::Global;
use lb_common::conn::Timeouts;

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

#[inline(always)]
pub fn hash_key() -> [u64; 2] {
    HASH_KEY.load()
}

#[inline(always)]
pub fn timeouts() -> Timeouts {
    TIMEOUTS.load()
}
