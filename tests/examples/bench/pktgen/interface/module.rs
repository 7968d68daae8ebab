//! pktgen's module.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::pktgen::generator;

/// That the module is loaded; it goes again if it was not there before.
pub struct Module {
    is_ours: bool,
}

impl Module {
    pub fn load() -> Result<Self> {
        if generator::is_there() {
            return Ok(Self { is_ours: false });
        }
        const REMEDY: &str =
            "boot a kernel with CONFIG_NET_PKTGEN, as distributions' kernels have, or use --vm";
        modprobe(&["pktgen"]).map_err(|error| anyhow!("this kernel has no pktgen ({error:#}): {REMEDY}"))?;
        let module = Self { is_ours: true };
        ensure!(
            generator::is_there(),
            "pktgen is loaded, and there is no /proc/net/pktgen: {REMEDY}"
        );
        Ok(module)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = modprobe(&["--remove", "pktgen"])
        {
            eprintln!("bench: the module pktgen stays loaded: {error:#}");
        }
    }
}

fn modprobe(args: &[&str]) -> Result<()> {
    let output = Command::new("modprobe")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("run modprobe (Debian's package kmod)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.trim());
    Ok(())
}
