//! bpf(2) for programs of a few instructions.

mod hook;
mod instruction;
mod map;

use std::{
    ffi::CString,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{BPF_F_XDP_HAS_FRAGS, bpf_cmd};
use nix::time::{ClockId, clock_gettime};

use crate::syscall::{bpf, empty};

pub use self::{
    hook::{Attached, Hook},
    instruction::Instruction,
    map::{Map, lookup},
};

/// `enum xdp_action` of include/uapi/linux/bpf.h.
pub mod action {
    pub const ABORTED: u32 = 0;
    pub const DROP: u32 = 1;
    pub const PASS: u32 = 2;
    pub const TX: u32 = 3;
    pub const REDIRECT: u32 = 4;

    /// `XDP_…`, as the kernel calls it.
    pub const fn name(action: u32) -> &'static str {
        match action {
            ABORTED => "XDP_ABORTED",
            DROP => "XDP_DROP",
            PASS => "XDP_PASS",
            TX => "XDP_TX",
            REDIRECT => "XDP_REDIRECT",
            _ => "an unknown action",
        }
    }
}

/// What programs must have in common to call each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Linkage {
    /// Whether they take frames of several buffers.
    pub frags: bool,
    /// Loaded without saying that they are attached to interfaces, as programs of before Linux 5.9 are.
    pub unattached: bool,
}

impl Linkage {
    pub const ALL: [Self; 4] = [
        Self::new(false, false),
        Self::new(true, false),
        Self::new(false, true),
        Self::new(true, true),
    ];

    const fn new(frags: bool, unattached: bool) -> Self {
        Self { frags, unattached }
    }
}

/// Bytes that a frame may grow by.
const ROOM: usize = 256;

/// A loaded XDP program.
pub struct Program(OwnedFd);

/// What a test run gives.
pub struct Run {
    pub action: u32,
    /// For each packet. Of the thread's own time, in which nobody else runs; the kernel's own figure has no fractions.
    pub nanoseconds: f64,
}

impl Program {
    pub fn load(instructions: &[Instruction], what: &str, linkage: Linkage) -> Result<Self> {
        Self::load_for(Hook::Xdp, instructions, what, linkage)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a few instructions")]
    fn load_for(hook: Hook, instructions: &[Instruction], what: &str, linkage: Linkage) -> Result<Self> {
        let mut log = vec![0_u8; 1 << 16];
        let mut attr = empty();
        // SAFETY: all bytes of it are zero, which is a value of each of its fields.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = hook.kind() as u32;
        if !linkage.unattached {
            load.expected_attach_type = hook.place() as u32;
        }
        if linkage.frags {
            load.prog_flags = BPF_F_XDP_HAS_FRAGS;
        }
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
        let start = own_time()?;
        // SAFETY: the frame lives until the call has returned, with the length that is said.
        unsafe { bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr) }.context("run a program on a frame")?;
        let took = own_time()?.saturating_sub(start);
        // SAFETY: the kernel has written it.
        let test = unsafe { attr.test };
        Ok(Run {
            action: test.retval,
            nanoseconds: took.as_secs_f64() * 1e9 / f64::from(times),
        })
    }
}

/// Gives a program one frame; its action, and the frame as it is then.
#[expect(clippy::cast_possible_truncation, reason = "the length of a frame")]
pub fn run_once(program: BorrowedFd<'_>, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
    let mut after = vec![0; frame.len() + ROOM];
    let mut attr = empty();
    attr.test.prog_fd = number(program.as_raw_fd());
    attr.test.data_in = frame.as_ptr() as u64;
    attr.test.data_size_in = frame.len() as u32;
    attr.test.data_out = after.as_mut_ptr() as u64;
    attr.test.data_size_out = after.len() as u32;
    // SAFETY: both frames live until the call has returned, with the lengths that are said.
    unsafe { bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr) }.context("run a program on a frame")?;
    // SAFETY: the kernel has written it.
    let test = unsafe { attr.test };
    after.truncate(test.data_size_out as usize);
    Ok((test.retval, after))
}

/// The time that this thread has run.
fn own_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("read the thread's clock")?;
    Ok(time.into())
}

/// Opens what is pinned.
pub fn open_pinned(path: &Path) -> Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes()).context("a path with a zero in it")?;
    let mut attr = empty();
    // SAFETY: all bytes of it are zero, which is a value of each of its fields.
    let object = unsafe { &mut attr.__bindgen_anon_4 };
    object.pathname = name.as_ptr() as u64;
    // SAFETY: the name lives until the call has returned.
    let fd = unsafe { bpf(bpf_cmd::BPF_OBJ_GET, &mut attr) }
        .with_context(|| format!("open {}: is a program pinned there?", path.display()))?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An open descriptor as the kernel's structures have it.
const fn number(fd: RawFd) -> u32 {
    fd.cast_unsigned()
}
