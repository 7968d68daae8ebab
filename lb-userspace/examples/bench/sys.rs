//! bpf(2) as it is, for programs of a few instructions.

use std::{
    ffi::c_int,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_map_type, bpf_prog_type};
use nix::{errno::Errno, libc};

/// `enum xdp_action` of include/uapi/linux/bpf.h.
pub mod action {
    pub const ABORTED: u32 = 0;
    pub const PASS: u32 = 2;
    pub const TX: u32 = 3;
}

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

    pub const fn store_u64(base: u8, offset: i16, from: u8) -> Self {
        Self::new(0x7b, base, from, offset, 0)
    }

    pub const fn store_u16(base: u8, offset: i16, from: u8) -> Self {
        Self::new(0x6b, base, from, offset, 0)
    }

    pub const fn store_u8(base: u8, offset: i16, from: u8) -> Self {
        Self::new(0x73, base, from, offset, 0)
    }

    /// Goes over the next so many instructions if `a` is no more than `b`.
    pub const fn skip_unless_greater(a: u8, b: u8, instructions: i16) -> Self {
        Self::new(0xbd, a, b, instructions, 0)
    }

    pub const fn call(helper: i32) -> Self {
        Self::new(0x85, 0, 0, 0, helper)
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

    /// The address of a map (`BPF_PSEUDO_MAP_FD`).
    pub const fn map(register: u8, fd: RawFd) -> [Self; 2] {
        [Self::new(0x18, register, 1, 0, fd), Self::new(0, 0, 0, 0, 0)]
    }
}

/// A loaded XDP program.
pub struct Program(OwnedFd);

/// What a test run gives.
pub struct Run {
    pub action: u32,
    /// For each packet.
    pub nanoseconds: u32,
}

impl Program {
    #[expect(clippy::cast_possible_truncation, reason = "a few instructions")]
    pub fn load(instructions: &[Instruction], what: &str) -> Result<Self> {
        let mut log = vec![0_u8; 1 << 16];
        let mut attr = empty();
        // SAFETY: all bytes of it are zero, which is a value of each of its fields.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = bpf_prog_type::BPF_PROG_TYPE_XDP as u32;
        // Programs that call each other agree on it.
        load.expected_attach_type = bpf_attach_type::BPF_XDP as u32;
        load.insns = instructions.as_ptr() as u64;
        load.insn_cnt = instructions.len() as u32;
        load.license = c"GPL".as_ptr() as u64;
        (load.log_level, load.log_size) = (1, log.len() as u32);
        load.log_buf = log.as_mut_ptr() as u64;
        // SAFETY: what the attributes point to lives until the call has returned, with the lengths that they say.
        let fd = unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) }.with_context(|| {
            let log = String::from_utf8_lossy(&log);
            format!("load the {what}: {}", log.trim_end_matches('\0'))
        })?;
        // SAFETY: the kernel has just opened it for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Runs it so many times on one buffer, which is `frame` at first.
    #[expect(clippy::cast_possible_truncation, reason = "the length of a frame")]
    pub fn run(&self, frame: &[u8], times: u32) -> Result<Run> {
        let mut attr = empty();
        attr.test.prog_fd = number(self.0.as_raw_fd());
        attr.test.data_in = frame.as_ptr() as u64;
        attr.test.data_size_in = frame.len() as u32;
        attr.test.repeat = times;
        // SAFETY: the frame lives until the call has returned, with the length that is said.
        unsafe { bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr) }.context("run a program on a frame")?;
        // SAFETY: the kernel has written these.
        let test = unsafe { attr.test };
        Ok(Run {
            action: test.retval,
            nanoseconds: test.duration,
        })
    }
}

/// A map with one program to go on to.
pub struct Programs(OwnedFd);

impl Programs {
    pub fn of(program: BorrowedFd<'_>) -> Result<Self> {
        let mut attr = empty();
        attr.__bindgen_anon_1.map_type = bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY as u32;
        attr.__bindgen_anon_1.key_size = 4;
        attr.__bindgen_anon_1.value_size = 4;
        attr.__bindgen_anon_1.max_entries = 1;
        // SAFETY: the attributes point to nothing.
        let fd = unsafe { bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr) }.context("make an array of programs")?;
        // SAFETY: the kernel has just opened it for us.
        let map = unsafe { OwnedFd::from_raw_fd(fd) };
        let (index, program) = (0_u32, program.as_raw_fd());
        let mut attr = empty();
        attr.__bindgen_anon_2.map_fd = number(map.as_raw_fd());
        attr.__bindgen_anon_2.key = &raw const index as u64;
        attr.__bindgen_anon_2.__bindgen_anon_1.value = &raw const program as u64;
        // SAFETY: index and descriptor live until the call has returned, and are as long as the map's keys and values.
        unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.context("put a program into the array")?;
        Ok(Self(map))
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An open descriptor as the kernel's structures have it.
const fn number(fd: RawFd) -> u32 {
    fd.cast_unsigned()
}

fn empty() -> bpf_attr {
    // SAFETY: a union of structures of integers, of which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// bpf(2).
///
/// # Safety
/// What `attr` points to must be valid for `command`.
unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> Result<c_int> {
    // SAFETY: `attr` is as long as it is said to be, and the caller answers for what it points to.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as c_int,
            &raw mut *attr,
            size_of::<bpf_attr>(),
        )
    };
    c_int::try_from(Errno::result(result)?).context("no int")
}
