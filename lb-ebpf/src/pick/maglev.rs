//! Maglev: the keyed hash of the five-tuple, so that every balancer with the same key and pool chooses alike.

use crate::{config, parse::Packet};

/// Where the flow's way through the slots begins.
#[inline(always)]
pub fn first(packet: &Packet) -> u64 {
    packet.flow.hash(config::hash_key())
}
