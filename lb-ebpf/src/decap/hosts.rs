//! Whose packets are whose: destinations of this host, and sources of tunnels.

use aya_ebpf::{
    btf_maps::{LpmTrie, lpm_trie::Key},
    macros::btf_map,
};
use lb_common::{addr::Addr, decap::MAX_PREFIXES};

use crate::config;

type Networks = LpmTrie<Addr, u32, { MAX_PREFIXES as usize }>;

#[btf_map]
static LOCALS: Networks = LpmTrie::new();

#[btf_map]
static TUNNEL_SOURCES: Networks = LpmTrie::new();

/// Whether packets to it are for this host.
#[inline(always)]
pub fn is_local(address: Addr) -> bool {
    let [a, b, c, d] = address.words();
    in_locals(a, b, c, d)
}

/// Whether tunnels may come from it.
#[inline(always)]
pub fn may_send(address: Addr) -> bool {
    let [a, b, c, d] = address.words();
    config::options().restricted == 0 || in_sources(a, b, c, d)
}

// Functions of their own, whose parameters are registers: inlined, the code generator carries the words of an address from the
// packet to the key in pieces, and the verifier refuses stores of pieces that are not aligned.

#[inline(never)]
fn in_locals(a: u32, b: u32, c: u32, d: u32) -> bool {
    LOCALS.get(&whole([a, b, c, d])).is_some()
}

#[inline(never)]
fn in_sources(a: u32, b: u32, c: u32, d: u32) -> bool {
    TUNNEL_SOURCES.get(&whole([a, b, c, d])).is_some()
}

/// The key of one address.
#[inline(always)]
fn whole(words: [u32; 4]) -> Key<Addr> {
    Key::new(128, Addr::from_words(words))
}
