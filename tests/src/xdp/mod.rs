//! XDP programs that the lab itself needs, by bpf(2) as it is: a few instructions need no compiler and no ELF file. Their links
//! end with their descriptors, hence also when the owner is killed.
//!
//! [`stub`] lets frames that XDP sends arrive; [`trunk`] carries them over a VLAN; [`live`] makes very many of them, [`flood`] of SYNs;
//! [`arrivals`] counts them, and [`push`] sends them on with a header before them.

pub mod arrivals;
mod flood;
pub mod live;
pub mod push;
pub mod stub;
pub(crate) mod trunk;

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

/// Commands of bpf(2), and what they are given (include/uapi/linux/bpf.h).
const BPF_MAP_CREATE: c_long = 0;
const BPF_MAP_LOOKUP_ELEM: c_long = 1;
const BPF_PROG_LOAD: c_long = 5;
const BPF_PROG_TEST_RUN: c_long = 10;
const BPF_LINK_CREATE: c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// Actions of XDP.
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
/// Helpers that programs call.
const PRANDOM: i32 = 7;
const REDIRECT: i32 = 23;
const ADJUST_HEAD: i32 = 44;

fn load_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut attributes = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: u32::try_from(program.len()).map_err(io::Error::other)?,
        insns: program.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        ..ProgLoad::default()
    };
    opened(BPF_PROG_LOAD, &mut attributes)
}

fn link(program: &OwnedFd, index: u32) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreate {
        prog_fd: program.as_raw_fd(),
        target_ifindex: index,
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    opened(BPF_LINK_CREATE, &mut attributes)
}

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    /// `registers` has the destination in its low half, the source in the high one.
    const fn new(code: u8, registers: u8, offset: i16, immediate: i32) -> Self {
        Self {
            code,
            registers,
            offset,
            immediate,
        }
    }
}

const EXIT: Instruction = Instruction::new(0x95, 0, 0, 0);

/// The beginning of `union bpf_attr` for BPF_PROG_LOAD; the kernel takes what is not given as zero.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The beginning of `union bpf_attr` for BPF_LINK_CREATE.
#[repr(C)]
struct LinkCreate {
    prog_fd: RawFd,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// A command that returns a descriptor.
fn opened<T>(command: c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: what the attributes of these commands point to is an instruction array and a C string that outlive the call.
    let fd = unsafe { call(command, attributes) }?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: these commands return a new descriptor that nothing else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// bpf(2).
///
/// # Safety
/// What the attributes point to must be as the command wants it.
unsafe fn call<T>(command: c_long, attributes: &mut T) -> io::Result<c_long> {
    let (attributes, len) = (std::ptr::from_mut(attributes), size_of::<T>());
    // SAFETY: the kernel reads and writes as many bytes at the reference as there are; for where they point to the caller answers.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, len) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
