//! A trunk between a device without VLANs and one behind them, for kernels without VLAN devices: frames that come in by the
//! first leave by the second with tags before them, and the other way round without. What comes back with other tags, or with
//! none, goes nowhere.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

use super::{ADJUST_HEAD, EXIT, Instruction, REDIRECT, XDP_DROP, link, load_program};
use crate::netns::Netns;

/// A VLAN tag: TPID and TCI.
pub type Tag = (u16, u16);

/// Length of the Ethernet addresses.
const MACS: i16 = 12;
/// Stands for the way to the end, until that is known.
const TO_DROP: i16 = i16::MAX;

/// Keeps a trunk in place.
#[derive(Debug)]
pub(crate) struct Trunk {
    _links: [OwnedFd; 2],
}

/// Joins `plain` and `tagged`, two devices of `ns`.
pub(crate) fn join(ns: &Netns, plain: &str, tagged: &str, tags: &[Tag]) -> Result<Trunk> {
    ns.run(|| {
        let index = |device: &str| if_nametoindex(device).with_context(|| format!("look up {device}"));
        let (plain, tagged) = (index(plain)?, index(tagged)?);
        let attach = |program: &[Instruction], device| {
            let program = load_program(program).context("load a trunk's program")?;
            link(&program, device).context("attach a trunk's program")
        };
        let push = attach(&push(tags, i32::try_from(tagged)?)?, plain)?;
        let pop = attach(&pop(tags, i32::try_from(plain)?)?, tagged)?;
        Ok(Trunk { _links: [push, pop] })
    })?
}

/// Puts the tags in and sends the frame to the device of index `to`.
fn push(tags: &[Tag], to: i32) -> Result<Vec<Instruction>> {
    let len = i16::try_from(4 * tags.len())?;
    let mut program = vec![
        Instruction::new(0xbf, 0x16, 0, 0),               // r6 = r1
        Instruction::new(0xb7, 0x02, 0, -i32::from(len)), // r2 = -len
        Instruction::new(0x85, 0, 0, ADJUST_HEAD),        // r0 = adjust_head(r1, r2)
        Instruction::new(0x55, 0x00, TO_DROP, 0),         // if r0 != 0 goto drop
    ];
    program.extend(bounds(len));
    for at in [0, 4, 8] {
        program.extend(copy(at + len, at));
    }
    for (at, tag) in (MACS..).step_by(4).zip(tags) {
        program.push(Instruction::new(0x62, 0x02, at, word(*tag))); // *(u32 *)(r2 + at) = tag
    }
    Ok(finish(program, to))
}

/// Takes the tags out and sends the frame to the device of index `to`.
fn pop(tags: &[Tag], to: i32) -> Result<Vec<Instruction>> {
    let len = i16::try_from(4 * tags.len())?;
    let mut program = vec![Instruction::new(0xbf, 0x16, 0, 0)]; // r6 = r1
    program.extend(bounds(len));
    for (at, tag) in (MACS..).step_by(4).zip(tags) {
        program.push(Instruction::new(0x61, 0x25, at, 0)); // r5 = *(u32 *)(r2 + at)
        program.push(Instruction::new(0x56, 0x05, TO_DROP, word(*tag))); // if w5 != tag goto drop
    }
    for at in [8, 4, 0] {
        program.extend(copy(at, at + len));
    }
    program.extend([
        Instruction::new(0xbf, 0x61, 0, 0),          // r1 = r6
        Instruction::new(0xb7, 0x02, 0, len.into()), // r2 = len
        Instruction::new(0x85, 0, 0, ADJUST_HEAD),   // r0 = adjust_head(r1, r2)
        Instruction::new(0x55, 0x00, TO_DROP, 0),    // if r0 != 0 goto drop
    ]);
    Ok(finish(program, to))
}

/// r2 to the frame's start, which is followed by `len` bytes of tags and an Ethernet header's, or to the end.
fn bounds(len: i16) -> [Instruction; 5] {
    [
        Instruction::new(0x61, 0x62, 0, 0),                         // r2 = data
        Instruction::new(0x61, 0x63, 4, 0),                         // r3 = data_end
        Instruction::new(0xbf, 0x24, 0, 0),                         // r4 = r2
        Instruction::new(0x07, 0x04, 0, i32::from(MACS + 2 + len)), // r4 += …
        Instruction::new(0x2d, 0x34, TO_DROP, 0),                   // if r4 > r3 goto drop
    ]
}

/// Four bytes of the frame, from an offset to another.
fn copy(from: i16, to: i16) -> [Instruction; 2] {
    [
        Instruction::new(0x61, 0x25, from, 0), // r5 = *(u32 *)(r2 + from)
        Instruction::new(0x63, 0x52, to, 0),   // *(u32 *)(r2 + to) = r5
    ]
}

/// The redirect, and the end that drops, which is where all jumps go.
fn finish(mut program: Vec<Instruction>, to: i32) -> Vec<Instruction> {
    program.extend([
        Instruction::new(0xb7, 0x01, 0, to), // r1 = to
        Instruction::new(0xb7, 0x02, 0, 0),  // r2 = 0
        Instruction::new(0x85, 0, 0, REDIRECT),
        EXIT,
        Instruction::new(0xb7, 0x00, 0, XDP_DROP), // drop:
        EXIT,
    ]);
    let drop = program.len() - 2;
    for (at, instruction) in program.iter_mut().enumerate() {
        if instruction.offset == TO_DROP {
            // Programs are a few dozen instructions long.
            instruction.offset = i16::try_from(drop - at - 1).unwrap_or(TO_DROP);
        }
    }
    program
}

/// A tag as a load of four bytes of the frame has it.
fn word((protocol, control): Tag) -> i32 {
    let ([a, b], [c, d]) = (protocol.to_be_bytes(), control.to_be_bytes());
    i32::from_ne_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_of_a_trunk_goes_to_its_last_two_instructions() {
        let tags = [(0x88a8, 100), (0x8100, 10)];
        for program in [push(&tags, 7).unwrap(), pop(&tags, 7).unwrap()] {
            let drop = program.len() - 2;
            let jumps = program
                .iter()
                .enumerate()
                .filter(|(_, instruction)| matches!(instruction.code, 0x55 | 0x56 | 0x2d));
            for (at, jump) in jumps {
                assert_eq!(at + 1 + usize::try_from(jump.offset).unwrap(), drop);
            }
        }
    }
}
