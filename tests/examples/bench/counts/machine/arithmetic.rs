//! What instructions compute.

use anyhow::{Result, bail};
use aya_obj::generated::bpf_insn;

use super::{REGISTER, class};

const OPERATION: u8 = 0xf0;
const MOVE: u8 = 0xb0;
const SWAP: u8 = 0xd0;
/// Operations of atomic instructions.
const FETCH: i32 = 0x01;
const EXCHANGE: i32 = 0xe1;
const COMPARE_AND_EXCHANGE: i32 = 0xf1;

/// The result of an arithmetic instruction, of 32 bits or 64.
pub fn alu(instruction: &bpf_insn, a: u64, b: u64) -> Result<u64> {
    let is_wide = instruction.code & 7 == class::ALU64;
    let bytes = if is_wide { 8 } else { 4 };
    let (a, b) = (cut(a, bytes), cut(b, bytes));
    // Both say by another field what else they do.
    match instruction.code & OPERATION {
        SWAP => return swapped(instruction, a),
        MOVE if instruction.off != 0 => {
            let from = usize::from(instruction.off.cast_unsigned()) / 8;
            return Ok(cut(extended(b, from), bytes));
        }
        _ => {}
    }
    let is_signed = instruction.off != 0;
    let signed = |value| extended(value, bytes).cast_signed();
    let shift = if is_wide { b & 63 } else { b & 31 };
    let result = match instruction.code & OPERATION {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        0x30 if is_signed => signed(a).checked_div(signed(b)).unwrap_or(0).cast_unsigned(),
        0x30 => a.checked_div(b).unwrap_or(0),
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a << shift,
        0x70 => a >> shift,
        0x80 => a.wrapping_neg(),
        0x90 if is_signed => signed(a)
            .checked_rem(signed(b))
            .unwrap_or(signed(a))
            .cast_unsigned(),
        0x90 => a.checked_rem(b).unwrap_or(a),
        0xa0 => a ^ b,
        MOVE => b,
        0xc0 => (signed(a) >> shift).cast_unsigned(),
        other => bail!("no such operation: {other:#x}"),
    };
    Ok(cut(result, bytes))
}

/// Bytes the other way round: to network order, or, of 64 bits, always.
fn swapped(instruction: &bpf_insn, value: u64) -> Result<u64> {
    let bytes = match instruction.imm {
        16 => 2,
        32 => 4,
        64 => 8,
        other => bail!("no word of {other} bits"),
    };
    let is_swapped = instruction.code & 7 == class::ALU64 || instruction.code & REGISTER != 0;
    let value = cut(value, bytes);
    Ok(if is_swapped {
        value.swap_bytes() >> (64 - 8 * bytes)
    } else {
        value
    })
}

/// Whether a conditional jump is taken.
pub fn jumps(code: u8, a: u64, b: u64) -> Result<bool> {
    let bytes = if code & 7 == class::JMP { 8 } else { 4 };
    let (a, b) = (cut(a, bytes), cut(b, bytes));
    let (s, t) = (extended(a, bytes).cast_signed(), extended(b, bytes).cast_signed());
    Ok(match code & OPERATION {
        0x10 => a == b,
        0x20 => a > b,
        0x30 => a >= b,
        0x40 => a & b != 0,
        0x50 => a != b,
        0x60 => s > t,
        0x70 => s >= t,
        0xa0 => a < b,
        0xb0 => a <= b,
        0xc0 => s < t,
        0xd0 => s <= t,
        other => bail!("no such jump: {other:#x}"),
    })
}

/// What an atomic instruction stores.
pub fn atomic(operation: i32, old: u64, operand: u64, expected: u64) -> Result<u64> {
    Ok(match operation {
        EXCHANGE => operand,
        COMPARE_AND_EXCHANGE if old == expected => operand,
        COMPARE_AND_EXCHANGE => old,
        _ => match operation & !FETCH {
            0x00 => old.wrapping_add(operand),
            0x40 => old | operand,
            0x50 => old & operand,
            0xa0 => old ^ operand,
            other => bail!("no such atomic operation: {other:#x}"),
        },
    })
}

/// The register that gets the value of before.
pub const fn fetches_into(operation: i32, operand: usize) -> Option<usize> {
    match operation {
        COMPARE_AND_EXCHANGE => Some(0),
        _ if operation & FETCH != 0 => Some(operand),
        _ => None,
    }
}

/// The lowest bytes of a word.
pub const fn cut(value: u64, bytes: usize) -> u64 {
    if bytes >= 8 {
        value
    } else {
        value & ((1 << (8 * bytes)) - 1)
    }
}

/// The lowest bytes of a word, with the sign that they have.
pub const fn extended(value: u64, bytes: usize) -> u64 {
    if bytes == 0 || bytes >= 8 {
        return value;
    }
    let unused = 64 - 8 * bytes;
    ((value << unused).cast_signed() >> unused).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(code: u8, off: i16, imm: i32) -> bpf_insn {
        bpf_insn {
            code,
            _bitfield_align_1: [],
            _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
            off,
            imm,
        }
    }

    #[test]
    fn thirty_two_bits_are_cut_and_sixty_four_are_not() {
        let of = |code, a, b| alu(&instruction(code, 0, 0), a, b).unwrap();
        assert_eq!(of(0x04, u64::MAX, 2), 1);
        assert_eq!(of(0x07, u64::MAX, 2), 1);
        assert_eq!(of(0x1c, 0, 1), 0xffff_ffff);
        assert_eq!(of(0xc4, 0x8000_0000, 4), 0xf800_0000);
        assert_eq!(of(0xc7, 0x8000_0000, 4), 0x0800_0000);
        assert_eq!(of(0x67, 1, 65), 2);
        assert_eq!((of(0x3f, 7, 0), of(0x9f, 7, 0)), (0, 7));
    }

    #[test]
    fn signs_are_kept_where_an_instruction_says_so() {
        let minus_seven = (-7_i64).cast_unsigned();
        assert_eq!(
            alu(&instruction(0x3f, 1, 0), minus_seven, 2).unwrap(),
            (-3_i64).cast_unsigned()
        );
        assert_eq!(
            alu(&instruction(0xbf, 8, 0), 0, 0x80).unwrap(),
            (-128_i64).cast_unsigned()
        );
        assert_eq!(alu(&instruction(0xbc, 8, 0), 0, 0x80).unwrap(), 0xffff_ff80);
    }

    #[test]
    fn bytes_are_swapped_to_network_order() {
        let of = |code, bits| alu(&instruction(code, 0, bits), 0x1122_3344_5566_7788, 0).unwrap();
        assert_eq!((of(0xdc, 16), of(0xdc, 32)), (0x8877, 0x8877_6655));
        assert_eq!((of(0xd4, 16), of(0xd7, 64)), (0x7788, 0x8877_6655_4433_2211));
    }

    #[test]
    fn jumps_compare_as_they_say() {
        let minus_one = u64::MAX;
        assert!(jumps(0x2d, minus_one, 1).unwrap() && !jumps(0x6d, minus_one, 1).unwrap());
        assert!(jumps(0x1e, 1 << 32, 0).unwrap() && !jumps(0x1d, 1 << 32, 0).unwrap());
    }

    #[test]
    fn an_exchange_needs_what_is_expected() {
        assert_eq!(atomic(COMPARE_AND_EXCHANGE, 5, 9, 5).unwrap(), 9);
        assert_eq!(atomic(COMPARE_AND_EXCHANGE, 5, 9, 4).unwrap(), 5);
        assert_eq!(
            (fetches_into(COMPARE_AND_EXCHANGE, 3), fetches_into(1, 3)),
            (Some(0), Some(3))
        );
        assert_eq!((atomic(0, 5, 9, 0).unwrap(), fetches_into(0, 3)), (14, None));
    }
}
