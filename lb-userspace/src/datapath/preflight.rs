//! Can this host run a balancer? Every "no" is one line that names the thing and the remedy.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::{statfs, utsname};

/// Oldest kernel that has all we use: coarse clock helper 5.11, bounded loops 5.3, XDP links 5.9; the stable series from
/// which on they have been seen together.
const OLDEST_KERNEL: (u32, u32) = (5, 15);
/// Magic number of a BPF file system (`BPF_FS_MAGIC`, include/uapi/linux/magic.h).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// `CAP_NET_ADMIN`, `CAP_SYS_ADMIN`, `CAP_PERFMON` and `CAP_BPF` (include/uapi/linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Checks privileges, kernel and BPF type information.
///
/// # Errors
/// The first thing that is missing.
pub fn check() -> Result<()> {
    privileges(&fs::read_to_string("/proc/self/status").context("read /proc/self/status")?)?;
    ensure_recent(&release()?)?;
    type_information(Path::new("/sys/kernel/btf/vmlinux"))
}

/// The kernel's version.
///
/// # Errors
/// When it cannot be told.
pub fn kernel() -> Result<(u32, u32)> {
    version(&release()?)
}

/// Checks that `directory` is or can be made below the root of a BPF file system.
///
/// # Errors
/// When it cannot, with the command that mounts one or a better name.
pub fn bpf_file_system(directory: &Path) -> Result<()> {
    let shown = directory.display();
    ensure!(
        is_bpf(directory)?,
        "pin_dir {shown}: not on a BPF file system: run 'mount -t bpf bpf /sys/fs/bpf', or name a place on one"
    );
    let parent = directory.parent().unwrap_or(directory);
    ensure!(
        is_bpf(parent)?,
        "pin_dir {shown}: the BPF file system itself, which others share: name a directory in it, such as {}",
        directory.join("xlb").display()
    );
    // kernel/bpf/inode.c, `bpf_lookup`
    let mut missing = directory.ancestors().take_while(|path| !path.exists());
    ensure!(
        missing.all(|path| !path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .contains('.')),
        "pin_dir {shown}: a BPF file system takes no dot in a name: name a directory without one"
    );
    Ok(())
}

/// Whether what there is of the path is on a BPF file system.
fn is_bpf(path: &Path) -> Result<bool> {
    let existing = path.ancestors().find(|path| path.exists());
    let existing = existing.unwrap_or(Path::new("/"));
    let on = statfs::statfs(existing).with_context(|| format!("look at {}", existing.display()))?;
    Ok(on.filesystem_type().0 == BPF_FS_MAGIC)
}

fn privileges(status: &str) -> Result<()> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .context("read the capabilities of this process")?;
    let has = |capability: u32| effective & 1 << capability != 0;
    let may_load = has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON));
    ensure!(
        may_load && has(CAP_NET_ADMIN),
        "not enough privileges to load and attach an XDP program: run as root (or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN)"
    );
    Ok(())
}

fn release() -> Result<String> {
    let system = utsname::uname().context("ask for the kernel's version")?;
    Ok(system.release().to_string_lossy().into_owned())
}

fn version(release: &str) -> Result<(u32, u32)> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        bail!("kernel {release}: cannot tell its version");
    };
    Ok((major, minor))
}

fn ensure_recent(release: &str) -> Result<()> {
    let (oldest_major, oldest_minor) = OLDEST_KERNEL;
    ensure!(
        version(release)? >= OLDEST_KERNEL,
        "kernel {release} is too old: xlb needs {oldest_major}.{oldest_minor} or newer"
    );
    Ok(())
}

fn type_information(file: &Path) -> Result<()> {
    ensure!(
        file.exists(),
        "{}: the kernel has no BPF type information: use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        file.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_refused_by_name() {
        let refusal = ensure_recent("5.10.0-28-amd64").unwrap_err().to_string();
        assert_eq!(
            refusal,
            "kernel 5.10.0-28-amd64 is too old: xlb needs 5.15 or newer"
        );
        ensure_recent("4.19.0").unwrap_err();
        ensure_recent("5.15.0").unwrap();
        ensure_recent("6.1.0-44-amd64").unwrap();
        ensure_recent("10.0").unwrap();
        ensure_recent("strange").unwrap_err();
    }

    #[test]
    fn a_kernel_without_type_information_is_refused() {
        let refusal = type_information(Path::new("/nonexistent/vmlinux"))
            .unwrap_err()
            .to_string();
        assert!(refusal.contains("CONFIG_DEBUG_INFO_BTF=y"), "{refusal}");
    }

    #[test]
    fn capabilities_decide_not_the_user_id() {
        privileges("CapEff:\t000001ffffffffff").unwrap();
        privileges("CapEff:\t000000c000001000").unwrap();
        assert!(
            privileges("CapEff:\t0000000000000000")
                .unwrap_err()
                .to_string()
                .contains("run as root")
        );
        privileges("CapEff:\t0000008000001000").unwrap_err();
        privileges("no such line").unwrap_err();
    }

    #[test]
    fn an_ordinary_directory_is_no_place_for_pins() {
        let refusal = bpf_file_system(Path::new("/proc/nothing/here"))
            .unwrap_err()
            .to_string();
        assert!(refusal.contains("mount -t bpf bpf /sys/fs/bpf"), "{refusal}");
    }
}
