//! `cargo xtask verify`: is every variant of the XDP programs taken by the kernels that users have, and what does it cost there?
//!
//! lb-userspace's example `verify` loads them on the kernel that runs. For other kernels it is the first process of a guest:
//! `kernel` finds Debian's, `initramfs` packs the example, `guest` boots both.

mod guest;
mod initramfs;
mod kernel;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::{process, say, setup, workspace};

const STAGE: &str = "verify";

/// Kernels that can be asked.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// The one that runs here
    Running,
    /// Debian's, in a virtual machine
    #[value(name = "6.12")]
    V6_12,
    /// Debian's, in a virtual machine
    #[value(name = "6.1")]
    V6_1,
}

impl Kernel {
    /// What is asked unless somebody says otherwise.
    pub const DEFAULT: [&str; 2] = ["running", "6.12"];

    /// The series of Debian's kernel.
    const fn series(self) -> Option<&'static str> {
        match self {
            Self::Running => None,
            Self::V6_12 => Some("6.12"),
            Self::V6_1 => Some("6.1"),
        }
    }
}

/// Asks these kernels, all of them also when one refuses a program.
pub fn run(kernels: &[Kernel]) -> Result<()> {
    let mut apt = setup::for_verify(kernels.iter().any(|kernel| kernel.series().is_some()))?;
    let program = build()?;
    let mut refusing = Vec::new();
    for kernel in kernels {
        let start = Instant::now();
        let (name, accepted) = match kernel.series() {
            None => ("the running kernel", on_this_host(&program).is_ok()),
            Some(series) => {
                let image = kernel::image(series, &mut apt)?;
                (series, guest::boot(&image, &initramfs::around(&program)?)?)
            }
        };
        let outcome = if accepted { "ok" } else { "FAILED" };
        say::step(
            STAGE,
            name,
            format_args!("{outcome} ({})", say::seconds(start.elapsed())),
        );
        if !accepted {
            refusing.push(name);
        }
    }
    ensure!(refusing.is_empty(), "refused by {}", refusing.join(" and "));
    Ok(())
}

/// For `cargo xtask test`, which has set everything up.
pub fn running_kernel() -> Result<()> {
    on_this_host(&build()?)
}

fn build() -> Result<PathBuf> {
    workspace::example("verify")
}

fn on_this_host(program: &Path) -> Result<()> {
    process::run(&mut Command::new(program))
}

/// Where kernels are kept from one run to the next.
fn directory() -> Result<PathBuf> {
    let directory = workspace::root().join("target/verify");
    std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    Ok(directory)
}
