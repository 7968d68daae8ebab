//! Gives a program the same packet again and again.
//!
//! A test run repeats a program on one buffer, and takes back neither what it writes nor how it moves the frame's head. So each
//! repetition is a wrapper that puts the head back, writes the packet anew, and only then goes on to the program by a tail
//! call. What the wrapper costs is in every figure, and in the base that they are compared with.

use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

use anyhow::{Context as _, Result};

use crate::{
    frame::Frame,
    sys::{Instruction, Program, Programs, Run, action},
};

/// Helpers, by the numbers that user space knows them by (include/uapi/linux/bpf.h).
const GET_PRANDOM_U32: i32 = 7;
const TAIL_CALL: i32 = 12;
const XDP_ADJUST_HEAD: i32 = 44;
/// Offsets in `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;
/// Registers that keep their values over calls.
const CONTEXT: u8 = 6;
const PACKET: u8 = 7;

/// The bytes that the base puts before a packet: an outer IPv4 header.
const MOVED: i32 = 20;

/// A program together with the packet that it is given.
pub struct Wrapper {
    program: Program,
    /// With the last descriptor of the array, what is in it would go.
    _programs: Programs,
    frame: Vec<u8>,
}

impl Wrapper {
    /// Gives `program` packets of so many flows, in a random order if there are several.
    pub fn new(frame: &Frame, flows: u32, program: BorrowedFd<'_>) -> Result<Self> {
        let programs = Programs::of(program)?;
        let instructions = instructions(frame, flows, programs.fd().as_raw_fd())?;
        Ok(Self {
            program: Program::load(&instructions, "wrapper")?,
            _programs: programs,
            frame: frame.bytes.clone(),
        })
    }

    pub fn run(&self, packets: u32) -> Result<Run> {
        self.program.run(&self.frame, packets)
    }
}

/// A program that moves the frame's head and sends the frame: the least that a balancer with tunnels does.
pub fn head_move_send() -> Vec<Instruction> {
    vec![
        Instruction::set(2, -MOVED),
        Instruction::call(XDP_ADJUST_HEAD),
        Instruction::set(0, number(action::TX)),
        Instruction::exit(),
    ]
}

fn instructions(frame: &Frame, flows: u32, programs: RawFd) -> Result<Vec<Instruction>> {
    let len = i32::try_from(frame.bytes.len()).context("a frame that is too long")?;
    let mut code = vec![
        Instruction::copy(CONTEXT, 1),
        // The end never moves: what is missing from or added to the length is where the head was moved.
        Instruction::load_u32(3, CONTEXT, DATA_END),
        Instruction::load_u32(2, CONTEXT, DATA),
        Instruction::subtract(3, 2),
        Instruction::copy(2, 3),
        Instruction::add(2, -len),
        Instruction::copy(1, CONTEXT),
        Instruction::call(XDP_ADJUST_HEAD),
        Instruction::load_u32(PACKET, CONTEXT, DATA),
        Instruction::load_u32(3, CONTEXT, DATA_END),
        Instruction::copy(2, PACKET),
        Instruction::add(2, len),
        Instruction::skip_unless_greater(2, 3, 2),
        Instruction::set(0, number(action::ABORTED)),
        Instruction::exit(),
    ];
    code.extend(write_packet(&frame.bytes)?);
    if flows > 1 {
        code.extend(write_flow(frame, flows)?);
    }
    code.push(Instruction::copy(1, CONTEXT));
    code.extend(Instruction::map(2, programs));
    code.extend([
        Instruction::set(3, 0),
        Instruction::call(TAIL_CALL),
        Instruction::set(0, number(action::ABORTED)),
        Instruction::exit(),
    ]);
    Ok(code)
}

fn write_packet(bytes: &[u8]) -> Result<Vec<Instruction>> {
    let mut code = Vec::new();
    let mut at = 0_i16;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        code.extend(Instruction::constant(1, u64::from_ne_bytes(*word)));
        code.push(Instruction::store_u64(PACKET, at, 1));
        at += 8;
    }
    for &byte in rest {
        code.push(Instruction::set(1, byte.into()));
        code.push(Instruction::store_u8(PACKET, at, 1));
        at = at.checked_add(1).context("a frame that is too long")?;
    }
    Ok(code)
}

/// A random flow: its low 16 bits are in the client's address, the others in its port.
fn write_flow(frame: &Frame, flows: u32) -> Result<Vec<Instruction>> {
    let flows = i32::try_from(flows).context("too many flows")?;
    let mut code = vec![
        Instruction::call(GET_PRANDOM_U32),
        Instruction::modulo(0, flows),
        Instruction::copy(1, 0),
        Instruction::store_u16(PACKET, frame.source, 1),
    ];
    if let Some(complement) = frame.complement {
        code.push(Instruction::exclusive_or(1, -1));
        code.push(Instruction::store_u16(PACKET, complement, 1));
    }
    code.extend([
        Instruction::shift_right(0, 16),
        Instruction::store_u8(PACKET, frame.port, 0),
    ]);
    Ok(code)
}

/// Actions are small numbers.
const fn number(action: u32) -> i32 {
    action.cast_signed()
}
