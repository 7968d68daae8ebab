//! What the tests and the demo need besides a build: rights, a kernel, programs.

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use super::{STAGE, apt::Apt};
use crate::{process, say};

/// Programs that the lab runs, and Debian's packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("nginx", "nginx-light"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("ethtool", "ethtool"),
    ("nsenter", "util-linux"),
    ("mount", "util-linux"),
    ("ps", "procps"),
    ("sysctl", "procps"),
    ("ping", "iputils-ping"),
    ("tcpdump", "tcpdump"),
    ("timeout", "coreutils"),
    ("iperf3", "iperf3"),
    ("traceroute", "traceroute"),
    ("dnsmasq", "dnsmasq-base"),
    ("dig", "bind9-dnsutils"),
];

/// What benchmarks compare xlb with and measure it with, besides.
const COMPARED_PROGRAMS: &[(&str, &str)] = &[("nft", "nftables"), ("haproxy", "haproxy"), ("wrk", "wrk")];

/// XDP programs attached as links, bounded loops and batched map operations, all of them in a kernel that is maintained.
const OLDEST_KERNEL: (u32, u32) = (5, 15);

const BPFFS: &str = "/sys/fs/bpf";

pub fn is_root() -> bool {
    // The owner of a process's directory is its effective user.
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Says all that is in the way at once, each with its remedy.
pub fn may_run() -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let problems = problems(
        is_root(),
        release.trim(),
        Path::new("/sys/kernel/btf/vmlinux").exists(),
    );
    ensure!(
        problems.is_empty(),
        "this machine cannot run the lab:\n  {}",
        problems.join("\n  ")
    );
    say::step(
        STAGE,
        "kernel and rights",
        format_args!("ok (Linux {})", release.trim()),
    );
    Ok(())
}

pub fn programs(apt: &mut Apt) -> Result<()> {
    install(apt, "lab programs", PROGRAMS)
}

pub fn compared_programs(apt: &mut Apt) -> Result<()> {
    install(apt, "other balancers", COMPARED_PROGRAMS)
}

fn install(apt: &mut Apt, what: &str, programs: &[(&str, &'static str)]) -> Result<()> {
    let missing = packages_of_missing(programs, process::installed);
    if !missing.is_empty() {
        apt.install(what, &missing)?;
    }
    say::step(STAGE, what, "ok");
    Ok(())
}

/// Where programs and maps outlive the agent.
pub fn bpffs() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    if !has_bpffs(&mounts) {
        process::run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]))?;
    }
    say::step(STAGE, "bpffs", format_args!("ok ({BPFFS})"));
    Ok(())
}

fn problems(root: bool, release: &str, btf: bool) -> Vec<String> {
    let mut problems = Vec::new();
    if !root {
        problems.push(r#"not root: run it again as `sudo -E env "PATH=$PATH" cargo xtask …`"#.to_owned());
    }
    let (major, minor) = OLDEST_KERNEL;
    if kernel(release).is_none_or(|kernel| kernel < OLDEST_KERNEL) {
        problems.push(format!(
            "Linux {release} is too old: boot {major}.{minor} or later"
        ));
    }
    if !btf {
        let config = "CONFIG_DEBUG_INFO_BTF=y";
        problems.push(format!(
            "no /sys/kernel/btf/vmlinux: boot a kernel with {config}, as distributions' kernels have"
        ));
    }
    problems
}

fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn packages_of_missing(
    programs: &[(&str, &'static str)],
    installed: impl Fn(&str) -> bool,
) -> Vec<&'static str> {
    let missing = programs.iter().filter(|(program, _)| !installed(program));
    let mut packages: Vec<_> = missing.map(|&(_, package)| package).collect();
    packages.dedup();
    packages
}

fn has_bpffs(mounts: &str) -> bool {
    mounts.lines().any(|mount| {
        let mut fields = mount.split(' ').skip(1);
        fields.next() == Some(BPFFS) && fields.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_machine_has_no_problems_and_a_bad_one_has_all() {
        assert_eq!(problems(true, "6.1.0-13-amd64", true), Vec::<String>::new());
        assert_eq!(problems(false, "5.10.0", false).len(), 3);
        assert_eq!(problems(true, "?", true).len(), 1);
    }

    #[test]
    fn kernels_compare_by_number() {
        assert_eq!(kernel("5.15.0-91-generic"), Some((5, 15)));
        assert!(kernel("6.1").unwrap() > OLDEST_KERNEL);
        assert!(kernel("5.4.0").unwrap() < OLDEST_KERNEL);
        assert_eq!(kernel("six"), None);
    }

    #[test]
    fn a_package_is_named_once() {
        assert_eq!(
            packages_of_missing(PROGRAMS, |program| !["ip", "tc", "ping"].contains(&program)),
            ["iproute2", "iputils-ping"]
        );
        assert!(packages_of_missing(PROGRAMS, |_| true).is_empty());
    }

    #[test]
    fn only_a_bpf_file_system_in_that_place_counts() {
        assert!(has_bpffs("sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n"));
        assert!(!has_bpffs("tmpfs /sys/fs/bpf tmpfs rw 0 0\n"));
        assert!(!has_bpffs("bpf /mnt bpf rw 0 0\n"));
    }
}
