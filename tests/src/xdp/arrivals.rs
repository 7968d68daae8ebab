//! Where frames end: an XDP program that counts, by their lengths, those that are for it, and drops them all.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

use super::{
    BPF_MAP_CREATE, BPF_MAP_LOOKUP_ELEM, EXIT, Instruction, XDP_DROP, call, link, load_program, opened,
};
use crate::lab::address::Mac;
use crate::netns::Netns;

const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_PSEUDO_MAP_FD: u8 = 1;
/// `bpf_map_lookup_elem` (include/uapi/linux/bpf.h).
const LOOKUP: i32 = 1;
/// Frames of so many bytes and more are not counted.
const LENGTHS: u32 = 256;

/// Keeps the program attached.
#[derive(Debug)]
pub struct Arrivals {
    counts: OwnedFd,
    _links: Vec<OwnedFd>,
}

impl Arrivals {
    /// Counts what comes for `mac` by any of these devices.
    pub fn at(ns: &Netns, devices: &[&str], mac: Mac) -> Result<Self> {
        let mut array = MapCreate {
            map_type: BPF_MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: 8,
            max_entries: LENGTHS,
        };
        let counts = opened(BPF_MAP_CREATE, &mut array).context("make an array of counts")?;
        let program = load_program(&program(mac, counts.as_raw_fd())).context("load a counter of frames")?;
        let attach = |device: &&str| {
            let index = if_nametoindex(*device).with_context(|| format!("look up {device}"))?;
            link(&program, index).with_context(|| format!("attach a counter of frames to {device}"))
        };
        let links = ns.run(|| devices.iter().map(attach).collect::<Result<_>>())??;
        Ok(Self {
            counts,
            _links: links,
        })
    }

    /// How many frames of so many bytes have come.
    pub fn of_length(&self, bytes: usize) -> Result<u64> {
        let (key, mut count) = (u32::try_from(bytes)?, 0_u64);
        let mut lookup = MapLookup {
            map_fd: u32::try_from(self.counts.as_raw_fd())?,
            _pad: 0,
            key: &raw const key as u64,
            value: &raw mut count as u64,
            flags: 0,
        };
        // SAFETY: key and value outlive the call and are as long as the array's.
        unsafe { call(BPF_MAP_LOOKUP_ELEM, &mut lookup) }
            .with_context(|| format!("read the count of frames of {bytes} bytes"))?;
        Ok(count)
    }
}

fn program(mac: Mac, counts: i32) -> Vec<Instruction> {
    let [a, b, c, d, e, f] = mac.0;
    let (front, back) = (i32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]));
    vec![
        Instruction::new(0xb7, 0x00, 0, XDP_DROP),
        Instruction::new(0x61, 0x12, 0, 0),            // r2 = data
        Instruction::new(0x61, 0x13, 4, 0),            // r3 = data_end
        Instruction::new(0xbf, 0x24, 0, 0),            // r4 = r2
        Instruction::new(0x07, 0x04, 0, 14),           // r4 += 14
        Instruction::new(0x2d, 0x34, 15, 0),           // if r4 > r3 goto end
        Instruction::new(0x61, 0x25, 0, 0),            // r5 = the destination's first four bytes
        Instruction::new(0x56, 0x05, 13, front),       // if w5 != front goto end
        Instruction::new(0x69, 0x25, 4, 0),            // r5 = its last two
        Instruction::new(0x56, 0x05, 11, back.into()), // if w5 != back goto end
        Instruction::new(0x1f, 0x23, 0, 0),            // r3 -= r2
        Instruction::new(0x63, 0x3a, -4, 0),           // key = r3
        Instruction::new(0xbf, 0xa2, 0, 0),            // r2 = &key
        Instruction::new(0x07, 0x02, 0, -4),
        Instruction::new(0x18, BPF_PSEUDO_MAP_FD << 4 | 1, 0, counts), // r1 = counts
        Instruction::new(0, 0, 0, 0),
        Instruction::new(0x85, 0, 0, LOOKUP),
        Instruction::new(0x15, 0x00, 2, 0), // if r0 == 0 goto out
        Instruction::new(0xb7, 0x01, 0, 1),
        Instruction::new(0xdb, 0x10, 0, 0), // lock *(u64 *)r0 += 1
        // out:
        Instruction::new(0xb7, 0x00, 0, XDP_DROP),
        EXIT,
    ]
}

/// The beginning of `union bpf_attr` for BPF_MAP_CREATE.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// The beginning of `union bpf_attr` for BPF_MAP_LOOKUP_ELEM.
#[repr(C)]
struct MapLookup {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}
