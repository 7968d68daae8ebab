//! As much of the forwarding modes as needs no map.

#[path = "../../../lb-ebpf/src/forward/hop_limit.rs"]
#[allow(dead_code, reason = "the other modes use all of it")]
mod hop_limit;
#[path = "../../../lb-ebpf/src/forward/nat.rs"]
mod nat;

pub use nat::{address_change, addresses_change, apply, fix_l4_check, rewrite_ip, write_ports};
