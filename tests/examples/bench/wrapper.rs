//! Gives a program the same packet again and again.
//!
//! A test run repeats a program on one buffer, and takes back neither what it writes nor how it moves the frame's head. So each
//! repetition is a wrapper that puts the head back, writes the packet anew, and only then goes on to the program by a tail
//! call. What the wrapper costs is in every figure, and in the base that they are compared with.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use anyhow::{Context as _, Result};
use aya_obj::generated::bpf_map_type;

use crate::{
    bases::{XDP_ADJUST_HEAD, XDP_ADJUST_TAIL},
    frame::Frame,
    sys::{Attached, Instruction, Linkage, Map, Program, Run, action},
};

/// Helpers, by the numbers that user space knows them by (include/uapi/linux/bpf.h).
const GET_PRANDOM_U32: i32 = 7;
const TAIL_CALL: i32 = 12;
/// Offsets in `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;
/// Registers that keep their values over calls.
const CONTEXT: u8 = 6;
const PACKET: u8 = 7;
/// Goes along while the head is put back: how much too long the frame is.
const EXCESS: u8 = 8;

/// Of which flows the packets are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flows {
    /// All of one.
    One,
    /// Each of a random one of so many.
    Random(u32),
    /// Of each of so many in turn.
    InTurn(u32),
}

impl Flows {
    /// Random ones, where there are several.
    pub const fn random(count: u32) -> Self {
        if count > 1 { Self::Random(count) } else { Self::One }
    }
}

/// A program to be given packets.
pub struct Target {
    program: OwnedFd,
    linkage: Linkage,
}

impl Target {
    pub fn new(program: BorrowedFd<'_>, linkage: Linkage) -> Result<Self> {
        let program = program.try_clone_to_owned().context("open a program once more")?;
        Ok(Self { program, linkage })
    }

    /// A program of which nothing is known: the linkage is the first that fits.
    pub fn foreign(program: OwnedFd) -> Result<Self> {
        let programs = Map::of_program(program.as_fd())?;
        let caller = caller(programs.fd().as_raw_fd());
        let fits = |linkage: &Linkage| Program::load(&caller, "caller", *linkage).is_ok();
        let linkage = Linkage::ALL
            .into_iter()
            .find(fits)
            .context("no other program may call it")?;
        Ok(Self { program, linkage })
    }
}

/// A program together with the packet that it is given.
pub struct Wrapper {
    program: Program,
    /// With the last descriptor of the array, what is in it would go.
    _programs: Map,
    frame: Vec<u8>,
}

impl Wrapper {
    /// Gives `target` packets of these flows.
    pub fn new(frame: &Frame, flows: Flows, target: &Target) -> Result<Self> {
        let programs = Map::of_program(target.program.as_fd())?;
        let mut code = restore(frame)?;
        code.extend(write_packet(&frame.bytes)?);
        // The program holds on to it.
        let turn = Map::new(bpf_map_type::BPF_MAP_TYPE_ARRAY, 4, 8, 1)?;
        match flows {
            Flows::One => {}
            Flows::Random(count) => {
                code.push(Instruction::call(GET_PRANDOM_U32));
                code.extend(write_flow(frame, count)?);
            }
            Flows::InTurn(count) => {
                code.extend(next_turn(turn.fd().as_raw_fd()));
                code.extend(write_flow(frame, count)?);
            }
        }
        code.push(Instruction::copy(1, CONTEXT));
        code.extend(caller(programs.fd().as_raw_fd()));
        Ok(Self {
            program: Program::load(&code, "wrapper", target.linkage)?,
            _programs: programs,
            frame: frame.bytes.clone(),
        })
    }

    /// Where many short runs follow: see [`Program::attach`].
    pub fn attach(&self, interface: u32) -> Result<Attached> {
        self.program.attach(interface)
    }

    pub fn run(&self, packets: u32) -> Result<Run> {
        self.program.run(&self.frame, packets)
    }
}

/// Puts the frame's head back, and the end where that moves. Else it never does: what is missing from or added to the length is where
/// the head was moved.
fn restore(frame: &Frame) -> Result<Vec<Instruction>> {
    let len = i32::try_from(frame.bytes.len()).context("a frame that is too long")?;
    let mut code = vec![Instruction::copy(CONTEXT, 1)];
    code.extend(excess(len));
    code.push(Instruction::copy(1, CONTEXT));
    match frame.answered_behind {
        None => code.extend([Instruction::copy(2, EXCESS), Instruction::call(XDP_ADJUST_HEAD)]),
        Some(head) => {
            let mut put_back = vec![Instruction::set(2, head), Instruction::call(XDP_ADJUST_HEAD)];
            put_back.extend(excess(len));
            put_back.extend([
                Instruction::set(2, 0),
                Instruction::subtract(2, EXCESS),
                Instruction::copy(1, CONTEXT),
                Instruction::call(XDP_ADJUST_TAIL),
            ]);
            let over = i16::try_from(put_back.len()).context("a long way to go")?;
            code.push(Instruction::skip_if_zero(EXCESS, over));
            code.extend(put_back);
        }
    }
    code.extend([
        Instruction::load_u32(PACKET, CONTEXT, DATA),
        Instruction::load_u32(3, CONTEXT, DATA_END),
        Instruction::copy(2, PACKET),
        Instruction::add(2, len),
        Instruction::skip_unless_greater(2, 3, 2),
        Instruction::set(0, number(action::ABORTED)),
        Instruction::exit(),
    ]);
    Ok(code)
}

fn excess(len: i32) -> [Instruction; 5] {
    [
        Instruction::load_u32(3, CONTEXT, DATA_END),
        Instruction::load_u32(2, CONTEXT, DATA),
        Instruction::subtract(3, 2),
        Instruction::copy(EXCESS, 3),
        Instruction::add(EXCESS, -len),
    ]
}

/// Goes on to the program in an array, with the context in register 1.
fn caller(programs: RawFd) -> Vec<Instruction> {
    let mut code = Instruction::map(2, programs).to_vec();
    code.extend([
        Instruction::set(3, 0),
        Instruction::call(TAIL_CALL),
        Instruction::set(0, number(action::ABORTED)),
        Instruction::exit(),
    ]);
    code
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

/// Counts up, for a flow in register 0. Only one CPU runs it.
fn next_turn(turn: RawFd) -> Vec<Instruction> {
    let mut code = Instruction::map_value(1, turn).to_vec();
    code.extend([
        Instruction::load_u32(0, 1, 0),
        Instruction::copy(2, 0),
        Instruction::add(2, 1),
        Instruction::store_u32(1, 0, 2),
    ]);
    code
}

/// One flow of so many, by the number in register 0: its low 16 bits are in the client's address, the others in its port.
fn write_flow(frame: &Frame, flows: u32) -> Result<Vec<Instruction>> {
    let flows = i32::try_from(flows).context("too many flows")?;
    let mut code = vec![
        Instruction::modulo(0, flows),
        Instruction::copy(1, 0),
        Instruction::store_u16(PACKET, frame.client, 1),
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
