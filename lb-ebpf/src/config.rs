//! Load-time settings. The loader writes them before the program is verified, so that the verifier sees constants.

use aya_ebpf::Global;
use lb_common::{
    addr::Addr,
    conn::Timeouts,
    settings::{Options, Outer, Own, Remembered, Translation},
    written::WrittenTimeouts,
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

#[unsafe(no_mangle)]
static REMEMBERED: Global<Remembered> = Global::new(Remembered {
    bucket_mask: 0,
    found_mask: 0,
    lines: 0,
    _pad: 0,
});

#[unsafe(no_mangle)]
static WRITTEN_TIMEOUTS: Global<WrittenTimeouts> = Global::new(WrittenTimeouts { by_state: [0; 8] });

/// How long an entry is kept, by the number of its state. By its place, not by value: the stack has no room for them all.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "below 8")]
pub fn written_timeout(state: u64) -> u64 {
    let timeouts = (&raw const WRITTEN_TIMEOUTS).cast::<u64>();
    // SAFETY: eight numbers, of which this is one.
    let timeout = unsafe { timeouts.add(state as usize & 7) };
    // SAFETY: the loader may have changed it, so the compiler must not know it.
    unsafe { core::ptr::read_volatile(timeout) }
}

/// One field of a setting: of a whole one, which is volatile, every word is read.
macro_rules! field {
    ($setting:ident: $whole:ty, $field:ident) => {{
        let whole = (&raw const $setting).cast::<$whole>();
        // SAFETY: the setting is nothing but this value.
        let field = unsafe { &raw const (*whole).$field };
        // SAFETY: as above. The loader may have changed it, so the compiler must not know it.
        unsafe { field.read_volatile() }
    }};
}

#[inline(always)]
pub fn bucket_mask() -> u32 {
    field!(REMEMBERED: Remembered, bucket_mask)
}

#[inline(always)]
pub fn found_mask() -> u32 {
    field!(REMEMBERED: Remembered, found_mask)
}

#[inline(always)]
pub fn lines() -> u32 {
    field!(REMEMBERED: Remembered, lines)
}

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

/// Whether senders on this host may leave checksums unfinished, in whatever mode the interfaces are. One byte of the options: the others would be read, too.
#[inline(always)]
pub fn has_partial_checksums() -> bool {
    // SAFETY: the loader may have changed it, so the compiler must not know it.
    unsafe { core::ptr::read_volatile((&raw const OPTIONS).cast::<u8>()) != 0 }
}

/// Whether frames may be longer than one buffer: the second byte.
#[inline(always)]
pub fn is_multi_buffer() -> bool {
    // SAFETY: the second byte of four.
    let byte = unsafe { (&raw const OPTIONS).cast::<u8>().add(1) };
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(byte) != 0 }
}

#[inline(always)]
pub fn own() -> Own {
    OWN.load()
}

/// How many hosts the network of outer sources has, as a mask; 0 without one.
#[inline(always)]
pub fn outer_host_bits(is_v4: bool) -> u32 {
    if is_v4 {
        field!(OUTER: Outer, v4_host_bits)
    } else {
        field!(OUTER: Outer, v6_host_bits)
    }
}

/// That network.
#[inline(always)]
pub fn outer_network(is_v4: bool) -> Addr {
    if is_v4 {
        field!(OUTER: Outer, v4_network)
    } else {
        field!(OUTER: Outer, v6_network)
    }
}

#[inline(always)]
pub fn translation() -> Translation {
    TRANSLATION.load()
}
