//! Programs of a few instructions: what counts packets at the receiver, and what sends them on without a decision.

use std::os::fd::AsRawFd as _;

use anyhow::Result;
use aya_obj::generated::bpf_map_type;

use crate::sys::{Hook, Instruction, Map, lookup};

/// Helpers, by the numbers that user space knows them by (include/uapi/linux/bpf.h).
const REDIRECT: i32 = 23;
const XDP_ADJUST_HEAD: i32 = 44;
const XDP_DROP: i32 = 1;
const TCX_DROP: i32 = 2;
/// An outer IPv4 header.
const MOVED: i32 = 20;

/// Sends every packet out of another interface.
pub fn redirect(to: u32) -> Vec<Instruction> {
    vec![
        Instruction::set(1, to.cast_signed()),
        Instruction::set(2, 0),
        Instruction::call(REDIRECT),
        Instruction::exit(),
    ]
}

/// The same with room for an outer header in front of the packet.
pub fn head_move_redirect(to: u32) -> Vec<Instruction> {
    let mut code = vec![Instruction::set(2, -MOVED), Instruction::call(XDP_ADJUST_HEAD)];
    code.extend(redirect(to));
    code
}

/// How many packets have been received.
pub struct Counter(Map);

impl Counter {
    pub fn new() -> Result<Self> {
        Ok(Self(Map::new(bpf_map_type::BPF_MAP_TYPE_ARRAY, 4, 8, 1)?))
    }

    pub fn packets(&self) -> Result<u64> {
        let mut packets = [0; 8];
        lookup(self.0.fd(), &[0; 4], &mut packets)?;
        Ok(u64::from_ne_bytes(packets))
    }

    /// A program that counts every packet here and drops it.
    pub fn count_and_drop(&self, hook: Hook) -> Vec<Instruction> {
        let verdict = match hook {
            Hook::Tc => TCX_DROP,
            Hook::Xdp => XDP_DROP,
        };
        let mut code = Instruction::map_value(1, self.0.fd().as_raw_fd()).to_vec();
        code.extend([
            Instruction::set(2, 1),
            Instruction::atomic_add(1, 0, 2),
            Instruction::set(0, verdict),
            Instruction::exit(),
        ]);
        code
    }
}
