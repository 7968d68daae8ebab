//! What boots other kernels than the one that runs.

use anyhow::{Result, ensure};

use super::{STAGE, apt::Apt};
use crate::{process, say};

const QEMU: &str = "qemu-system-x86_64";

pub fn programs(apt: &mut Apt) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "guests with other kernels are for x86-64: --kernel running"
    );
    if !process::installed(QEMU) {
        apt.install("virtual machine", &["qemu-system-x86"])?;
    }
    say::step(STAGE, "virtual machine", "ok");
    Ok(())
}
