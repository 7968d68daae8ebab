//! bpf(2) as it is.

use std::ffi::c_int;

use anyhow::{Context as _, Result};
use aya_obj::generated::{bpf_attr, bpf_cmd};
use nix::{errno::Errno, libc};

/// Attributes to be filled in.
pub fn empty() -> bpf_attr {
    // SAFETY: a union of structures of integers, of which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// bpf(2).
///
/// # Safety
/// What `attr` points to must be valid for `command`.
pub unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> Result<c_int> {
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
