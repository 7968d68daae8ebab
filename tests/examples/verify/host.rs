//! The kernel's version, and the file systems that loading takes.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// A BPF file system of this process's own.
pub const BPFFS: &str = "/sys/fs/bpf";

/// The version of the kernel that runs.
pub fn kernel() -> Result<String> {
    let place = "/proc/sys/kernel/osrelease";
    let release = fs::read_to_string(place).with_context(|| format!("read {place}"))?;
    Ok(release.trim().to_owned())
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
