//! Whether a lab can run on this host.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{FsType, statfs};
use nix::unistd::geteuid;

use crate::xdp;

const BPFFS: &str = "/sys/fs/bpf";
const BPF_FS_MAGIC: FsType = FsType(0xcafe_4a11);

/// Programs that labs call, and the Debian package of each.
const TOOLS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("ethtool", "ethtool"),
    ("ping", "iputils-ping"),
    ("curl", "curl"),
    ("sha256sum", "coreutils"),
    ("nginx", "nginx-light"),
    ("iperf3", "iperf3"),
    ("traceroute", "traceroute"),
    ("dnsmasq", "dnsmasq-base"),
    ("dig", "bind9-dnsutils"),
];

/// Why a lab cannot run here; `None` when it can.
pub fn preflight() -> Option<String> {
    check().err().map(|e| format!("{e:#}"))
}

/// For the first line of a test: true when a lab can run here. Otherwise the test is a skip that says why, except
/// where XLB_LAB=required or CI=true: there it fails, so that no suite is green because nothing ran.
#[expect(clippy::print_stderr, reason = "the message of a skipped test")]
pub fn ready() -> bool {
    let Some(reason) = preflight() else { return true };
    let is = |name, value| env::var_os(name).as_deref() == Some(OsStr::new(value));
    assert!(
        !is("CI", "true") && !is("XLB_LAB", "required"),
        "the lab cannot run here: {reason}"
    );
    eprintln!("skipped: {reason}");
    false
}

/// Mounts bpffs where it belongs unless it is there.
pub fn mount_bpffs() -> Result<()> {
    if statfs(BPFFS).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC) {
        return Ok(());
    }
    let none: Option<&str> = None;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none)
        .with_context(|| format!("mount bpffs on {BPFFS}"))
}

/// Whether the kernel has IPv6 at all.
pub(crate) fn has_ipv6() -> bool {
    fs::exists("/proc/sys/net/ipv6").unwrap_or(false)
}

fn check() -> Result<()> {
    if !geteuid().is_root() {
        bail!("not root");
    }
    tools(TOOLS)?;
    // On a thread of its own: the namespace ends with it.
    let unshared = thread::scope(|scope| scope.spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join());
    unshared
        .map_err(|_| anyhow::anyhow!("a thread panicked"))?
        .context("no network namespaces")?;
    xdp::stub::load().context("no XDP programs")?;
    fs::metadata(BPFFS).with_context(|| format!("no {BPFFS}"))?;
    Ok(())
}

/// Whether programs are there, each named with its Debian package.
pub fn tools(tools: &[(&str, &str)]) -> Result<()> {
    for (tool, package) in tools {
        if !installed(tool) {
            bail!("{tool} not found in PATH (Debian package {package})");
        }
    }
    Ok(())
}

fn installed(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| Path::new(&dir).join(tool).is_file())
}
