//! Runs a BPF program instruction by instruction, to count them.
//!
//! The program is the one that the kernel has verified; its maps are the kernel's, read as they are needed and written in a copy. So a
//! packet goes the way that it goes in the kernel, at a price that depends on nothing but the program.
//!
//! Reading order: [`Machine`], [`arithmetic`] and [`memory`] (what instructions do), [`calls`] and [`maps`] (what they call).

mod arithmetic;
mod calls;
mod maps;
mod memory;

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail, ensure};
use aya_obj::generated::bpf_insn;

use self::{
    arithmetic::{alu, jumps},
    maps::Maps,
    memory::{Memory, Packet, STACK},
};

/// What a packet has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub instructions: u64,
    /// Calls of helpers, lookups in maps apart.
    pub helpers: u64,
    pub lookups: u64,
}

/// Classes, modes and sources of instructions (Documentation/bpf/standardization/instruction-set.rst).
mod class {
    pub const LD: u8 = 0;
    pub const LDX: u8 = 1;
    pub const ST: u8 = 2;
    pub const STX: u8 = 3;
    pub const ALU: u8 = 4;
    pub const JMP: u8 = 5;
    pub const ALU64: u8 = 7;
}
const LOAD_IMMEDIATE: u8 = 0x18;
const ATOMIC: u8 = 0xc0;
const SIGNED: u8 = 0x80;
const REGISTER: u8 = 0x08;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const GOTO: u8 = 0x05;
const FAR_GOTO: u8 = 0x06;
/// Sources of immediates, and of calls.
const MAP: u8 = 1;
const MAP_VALUE: u8 = 2;
const FUNCTION: u8 = 1;
/// The frame pointer.
const FRAME: usize = 10;
/// So many that no packet needs them.
const MOST: u64 = 1_000_000;

pub struct Machine {
    code: Vec<bpf_insn>,
    memory: Memory,
    maps: Maps,
    /// Of the maps, by the descriptors in the code.
    descriptors: HashMap<i32, usize>,
    registers: [u64; 11],
    callers: Vec<Caller>,
    tally: Tally,
    /// How often each instruction has been run.
    runs: Vec<u64>,
}

/// Where a function was called, and the registers that it must not change.
struct Caller {
    at: usize,
    kept: [u64; 5],
}

impl Machine {
    /// `descriptors` are those of the maps that the code names, `cpu` is the one that the program is to find itself on.
    pub fn new(
        code: Vec<bpf_insn>,
        descriptors: impl IntoIterator<Item = (i32, u32)>,
        cpu: usize,
    ) -> Result<Self> {
        let mut maps = Maps::new(cpu);
        let opened = descriptors
            .into_iter()
            .map(|(descriptor, id)| Ok((descriptor, maps.open(id)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            runs: vec![0; code.len()],
            code,
            memory: Memory::new(),
            maps,
            descriptors: opened,
            registers: [0; 11],
            callers: Vec::new(),
            tally: Tally::default(),
        })
    }

    /// Gives the program a frame; its action, and what that has cost.
    pub fn run(&mut self, frame: &[u8]) -> Result<(u32, Tally)> {
        self.memory.packet = Packet::new(frame);
        self.registers = [0; 11];
        self.registers[1] = memory::CONTEXT;
        self.registers[FRAME] = memory::stack_top(0);
        self.callers.clear();
        self.tally = Tally::default();
        self.runs.fill(0);
        let mut at = 0;
        loop {
            ensure!(self.tally.instructions < MOST, "the program does not end");
            self.tally.instructions += 1;
            let instruction = *self.code.get(at).context("the program runs past its end")?;
            self.runs[at] += 1;
            match self.step(at, &instruction) {
                Ok(Some(next)) => at = next,
                #[expect(clippy::cast_possible_truncation, reason = "an action of 32 bits")]
                Ok(None) => return Ok((self.registers[0] as u32, self.tally)),
                Err(error) => return Err(error.context(format!("instruction {at}"))),
            }
        }
    }

    /// The last frame, as the program has left it.
    pub fn frame(&self) -> &[u8] {
        self.memory.packet.frame()
    }

    /// How often each instruction of the program was run for the last frame.
    pub fn runs(&self) -> &[u64] {
        &self.runs
    }

    /// One instruction; where the next one is, unless the program has ended.
    fn step(&mut self, at: usize, instruction: &bpf_insn) -> Result<Option<usize>> {
        let next = at + 1;
        match instruction.code & 7 {
            class::ALU | class::ALU64 => self.alu(instruction)?,
            class::LDX => self.load(instruction)?,
            class::ST | class::STX => self.store(instruction)?,
            class::LD => {
                self.load_immediate(at, instruction)?;
                return Ok(Some(at + 2));
            }
            _ => return self.jump(next, instruction),
        }
        Ok(Some(next))
    }

    fn alu(&mut self, instruction: &bpf_insn) -> Result<()> {
        let (to, from) = registers(instruction)?;
        let operand = self.operand(instruction, from);
        self.registers[to] = alu(instruction, self.registers[to], operand)?;
        Ok(())
    }

    fn operand(&self, instruction: &bpf_insn, from: usize) -> u64 {
        if instruction.code & REGISTER == 0 {
            i64::from(instruction.imm).cast_unsigned()
        } else {
            self.registers[from]
        }
    }

    fn load(&mut self, instruction: &bpf_insn) -> Result<()> {
        let (to, from) = registers(instruction)?;
        let size = size(instruction.code);
        let address = displaced(self.registers[from], instruction.off);
        let value = self.memory.load(address, size)?;
        self.registers[to] = if instruction.code & 0xe0 == SIGNED {
            arithmetic::extended(value, size)
        } else {
            value
        };
        Ok(())
    }

    fn store(&mut self, instruction: &bpf_insn) -> Result<()> {
        let (to, from) = registers(instruction)?;
        let size = size(instruction.code);
        let address = displaced(self.registers[to], instruction.off);
        if instruction.code & 7 == class::ST {
            let value = i64::from(instruction.imm).cast_unsigned();
            return self.memory.store(address, size, value);
        }
        if instruction.code & 0xe0 != ATOMIC {
            return self.memory.store(address, size, self.registers[from]);
        }
        let old = self.memory.load(address, size)?;
        let new = arithmetic::atomic(instruction.imm, old, self.registers[from], self.registers[0])?;
        self.memory.store(address, size, new)?;
        if let Some(register) = arithmetic::fetches_into(instruction.imm, from) {
            self.registers[register] = old;
        }
        Ok(())
    }

    /// A constant, a map, or an address in the one value of a map.
    fn load_immediate(&mut self, at: usize, instruction: &bpf_insn) -> Result<()> {
        ensure!(
            instruction.code == LOAD_IMMEDIATE,
            "no way to load: {:#x}",
            instruction.code
        );
        let high = self.code.get(at + 1).context("half a constant")?.imm;
        let (to, _) = registers(instruction)?;
        let map = |machine: &Self| {
            let known = machine.descriptors.get(&instruction.imm).copied();
            known.context("a map that the program does not have")
        };
        self.registers[to] = match instruction.src_reg() {
            0 => u64::from(high.cast_unsigned()) << 32 | u64::from(instruction.imm.cast_unsigned()),
            MAP => maps::handle(map(self)?),
            MAP_VALUE => {
                let map = map(self)?;
                let value = self.maps.lookup(&mut self.memory, map, &[0; 4])?;
                value + u64::from(high.cast_unsigned())
            }
            other => bail!("a constant of kind {other}"),
        };
        Ok(())
    }

    fn jump(&mut self, next: usize, instruction: &bpf_insn) -> Result<Option<usize>> {
        match instruction.code {
            CALL if instruction.src_reg() == FUNCTION => {
                let [.., r6, r7, r8, r9, frame] = self.registers;
                self.callers.push(Caller {
                    at: next,
                    kept: [r6, r7, r8, r9, frame],
                });
                ensure!(self.callers.len() < STACK.frames, "calls that are too deep");
                self.registers[FRAME] = memory::stack_top(self.callers.len());
                Ok(Some(target(next, instruction.imm)?))
            }
            CALL => {
                self.call(instruction.imm)?;
                Ok(Some(next))
            }
            EXIT => match self.callers.pop() {
                Some(caller) => {
                    self.registers[6..].copy_from_slice(&caller.kept);
                    Ok(Some(caller.at))
                }
                None => Ok(None),
            },
            GOTO => Ok(Some(target(next, instruction.off.into())?)),
            FAR_GOTO => Ok(Some(target(next, instruction.imm)?)),
            _ => {
                let (to, from) = registers(instruction)?;
                let operand = self.operand(instruction, from);
                if jumps(instruction.code, self.registers[to], operand)? {
                    return Ok(Some(target(next, instruction.off.into())?));
                }
                Ok(Some(next))
            }
        }
    }
}

fn registers(instruction: &bpf_insn) -> Result<(usize, usize)> {
    let (to, from) = (
        usize::from(instruction.dst_reg()),
        usize::from(instruction.src_reg()),
    );
    ensure!(to <= FRAME && from <= FRAME, "no such register");
    Ok((to, from))
}

/// Bytes that an instruction loads or stores.
const fn size(code: u8) -> usize {
    match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

fn displaced(address: u64, by: i16) -> u64 {
    address.wrapping_add_signed(by.into())
}

fn target(next: usize, by: i32) -> Result<usize> {
    let by = isize::try_from(by).context("a distance")?;
    next.checked_add_signed(by).context("a jump before the start")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(code: u8, to: u8, from: u8, off: i16, imm: i32) -> bpf_insn {
        bpf_insn {
            code,
            _bitfield_align_1: [],
            _bitfield_1: bpf_insn::new_bitfield_1(to, from),
            off,
            imm,
        }
    }

    #[test]
    fn a_frame_is_read_and_moved_by_functions_that_keep_registers() {
        let code = vec![
            // The first byte of the frame, kept over a call that moves the head.
            instruction(0x61, 2, 1, 0, 0),
            instruction(0x71, 6, 2, 0, 0),
            instruction(CALL, 0, FUNCTION, 0, 2),
            instruction(0x0f, 0, 6, 0, 0),
            instruction(EXIT, 0, 0, 0, 0),
            instruction(0xb7, 6, 0, 0, 9),
            instruction(0xb7, 2, 0, 0, -20),
            instruction(CALL, 0, 0, 0, 44),
            instruction(0x55, 0, 0, 1, 0),
            instruction(0xb7, 0, 0, 0, 100),
            instruction(EXIT, 0, 0, 0, 0),
        ];
        let mut machine = Machine::new(code, [], 0).unwrap();
        let (result, tally) = machine.run(&[7; 60]).unwrap();
        assert_eq!(result, 107);
        let expected = Tally {
            instructions: 11,
            helpers: 1,
            lookups: 0,
        };
        assert_eq!(tally, expected);
        assert!(machine.runs().iter().all(|&runs| runs == 1));
        assert_eq!(machine.memory.packet.end - machine.memory.packet.start, 80);
    }

    #[test]
    fn what_no_verifier_would_take_is_an_error() {
        let run = |code: Vec<bpf_insn>| Machine::new(code, [], 0).unwrap().run(&[0; 60]);
        assert!(run(vec![instruction(0xb7, 0, 0, 0, 1)]).is_err());
        assert!(run(vec![instruction(GOTO, 0, 0, -1, 0)]).is_err());
        assert!(run(vec![instruction(0x79, 0, 3, 0, 0), instruction(EXIT, 0, 0, 0, 0)]).is_err());
    }
}
