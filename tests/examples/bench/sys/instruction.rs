//! Instructions, by hand.

use std::os::fd::RawFd;

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Instruction {
    code: u8,
    /// The destination in the low half, the source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Classes, sizes and operations (Documentation/bpf/standardization/instruction-set.rst).
impl Instruction {
    const fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Self {
        Self {
            code,
            registers: source << 4 | destination,
            offset,
            immediate,
        }
    }

    pub const fn set(register: u8, value: i32) -> Self {
        Self::new(0xb7, register, 0, 0, value)
    }

    pub const fn copy(to: u8, from: u8) -> Self {
        Self::new(0xbf, to, from, 0, 0)
    }

    pub const fn add(register: u8, value: i32) -> Self {
        Self::new(0x07, register, 0, 0, value)
    }

    pub const fn subtract(register: u8, other: u8) -> Self {
        Self::new(0x1f, register, other, 0, 0)
    }

    /// Of the low 32 bits.
    pub const fn modulo(register: u8, value: i32) -> Self {
        Self::new(0x94, register, 0, 0, value)
    }

    pub const fn exclusive_or(register: u8, value: i32) -> Self {
        Self::new(0xa7, register, 0, 0, value)
    }

    pub const fn shift_right(register: u8, bits: i32) -> Self {
        Self::new(0x77, register, 0, 0, bits)
    }

    pub const fn load_u32(to: u8, base: u8, offset: i16) -> Self {
        Self::new(0x61, to, base, offset, 0)
    }

    pub const fn store_u32(base: u8, offset: i16, from: u8) -> Self {
        Self::new(0x63, base, from, offset, 0)
    }

    pub const fn store_u64(base: u8, offset: i16, from: u8) -> Self {
        Self::new(0x7b, base, from, offset, 0)
    }

    pub const fn store_u16(base: u8, offset: i16, from: u8) -> Self {
        Self::new(0x6b, base, from, offset, 0)
    }

    pub const fn store_u8(base: u8, offset: i16, from: u8) -> Self {
        Self::new(0x73, base, from, offset, 0)
    }

    /// Adds to 64 bits of memory, whoever else does so.
    pub const fn atomic_add(base: u8, offset: i16, from: u8) -> Self {
        Self::new(0xdb, base, from, offset, 0)
    }

    /// Goes over the next so many instructions if `register` is zero.
    pub const fn skip_if_zero(register: u8, instructions: i16) -> Self {
        Self::new(0x15, register, 0, instructions, 0)
    }

    /// Goes over the next so many instructions if `a` is no more than `b`.
    pub const fn skip_unless_greater(a: u8, b: u8, instructions: i16) -> Self {
        Self::new(0xbd, a, b, instructions, 0)
    }

    pub const fn call(helper: i32) -> Self {
        Self::new(0x85, 0, 0, 0, helper)
    }

    /// Calls the function that begins so many instructions after the next.
    pub const fn call_function(instructions: i32) -> Self {
        Self::new(0x85, 0, 1, 0, instructions)
    }

    pub const fn exit() -> Self {
        Self::new(0x95, 0, 0, 0, 0)
    }

    /// 64 bits, which take two instructions.
    #[expect(clippy::cast_possible_truncation, reason = "each half in turn")]
    pub const fn constant(register: u8, value: u64) -> [Self; 2] {
        let (low, high) = (value as u32, (value >> 32) as u32);
        [
            Self::new(0x18, register, 0, 0, low.cast_signed()),
            Self::new(0, 0, 0, 0, high.cast_signed()),
        ]
    }

    /// The address of the first value of an array (`BPF_PSEUDO_MAP_VALUE`).
    pub const fn map_value(register: u8, fd: RawFd) -> [Self; 2] {
        [Self::new(0x18, register, 2, 0, fd), Self::new(0, 0, 0, 0, 0)]
    }

    /// The address of a map (`BPF_PSEUDO_MAP_FD`).
    pub const fn map(register: u8, fd: RawFd) -> [Self; 2] {
        [Self::new(0x18, register, 1, 0, fd), Self::new(0, 0, 0, 0, 0)]
    }
}
