//! What the kernel is, and the file systems that loading takes.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// A BPF file system of this process's own.
pub const BPFFS: &str = "/sys/fs/bpf";

pub struct Kernel {
    pub release: String,
    /// Steps in which the verifier counts a function's stack (`round_up_stack_depth` in kernel/bpf/verifier.c): those of the
    /// interpreter, since Linux 6.9 those of the machine code where there is any.
    pub stack_step: u32,
}

impl Kernel {
    pub fn running() -> Result<Self> {
        let release = "/proc/sys/kernel/osrelease";
        let release = fs::read_to_string(release).with_context(|| format!("read {release}"))?;
        let release = release.trim().to_owned();
        let jit = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").unwrap_or_default();
        Ok(Self {
            stack_step: stack_step(&release, jit.trim() != "0"),
            release,
        })
    }
}

fn stack_step(release: &str, jit: bool) -> u32 {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if jit && version >= (6, 9) { 16 } else { 32 }
}

/// Mounts what a guest does not have yet, and a BPF file system that goes with this process: nothing stays, however it ends.
pub fn prepare() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace (as root)")?;
    for (kind, place) in [("proc", "/proc"), ("sysfs", "/sys")] {
        if fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_some()) {
            continue;
        }
        fs::create_dir_all(place).with_context(|| format!("make {place}"))?;
        mount_new(kind, place)?;
    }
    let nothing = None::<&str>;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )
    .context("keep mounts to this process")?;
    mount_new("bpf", BPFFS)
}

fn mount_new(kind: &str, place: &str) -> Result<()> {
    mount(
        Some(kind),
        Path::new(place),
        Some(kind),
        MsFlags::empty(),
        None::<&str>,
    )
    .with_context(|| format!("mount {kind} on {place}"))
}

#[cfg(test)]
mod tests {
    use super::stack_step;

    #[test]
    fn steps_are_smaller_since_6_9_where_there_is_machine_code() {
        assert_eq!(stack_step("6.1.0-56-cloud-amd64", true), 32);
        assert_eq!(stack_step("6.8.0", true), 32);
        assert_eq!(stack_step("6.12.117+deb12-cloud-amd64", true), 16);
        assert_eq!(stack_step("7.0", true), 16);
        assert_eq!(stack_step("6.12.117", false), 32);
    }
}
