//! What boots other kernels than the one that runs.

use anyhow::{Result, ensure};

use super::{STAGE, apt::Apt};
use crate::{process, say};

const MACHINE: (&str, &str) = ("qemu-system-x86_64", "qemu-system-x86");

/// What a guest for a benchmark is made with and has in it, and Debian's packages that have them.
const FOR_BENCH: [(&str, &str); 6] = [
    MACHINE,
    ("ipvsadm", "ipvsadm"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("xz", "xz-utils"),
    ("dpkg-deb", "dpkg"),
];

pub fn programs(apt: &mut Apt) -> Result<()> {
    install(apt, &[MACHINE])
}

pub fn for_bench(apt: &mut Apt) -> Result<()> {
    install(apt, &FOR_BENCH)
}

/// Packages that a guest for a benchmark takes and that are not here.
pub fn missing_for_bench() -> Vec<&'static str> {
    missing(&FOR_BENCH)
}

fn install(apt: &mut Apt, programs: &[(&'static str, &'static str)]) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "guests with other kernels are for x86-64: here only the running kernel can be asked (verify --kernel running)"
    );
    let missing = missing(programs);
    if !missing.is_empty() {
        apt.install("virtual machine", &missing)?;
    }
    say::step(STAGE, "virtual machine", "ok");
    Ok(())
}

fn missing(programs: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    let missing = programs
        .iter()
        .filter(|(program, _)| !process::installed(program));
    missing.map(|&(_, package)| package).collect()
}
