//! `cargo xtask verify`: is every variant of the XDP programs taken by the kernels that users have, and what does it cost there?
//!
//! `tests/examples/verify` loads them on the kernel that runs. For other kernels it is the first process of a guest.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::{
    guest::{
        initramfs::{self, Contents},
        kernel,
        machine::{self, Pace, Script, Setting},
    },
    process, say,
    setup::{self, Apt},
    workspace,
};

const STAGE: &str = "verify";

/// What the example prints, and how long it takes: a minute is usual without the processor's help; the log of a program that is
/// refused takes longer.
const SCRIPT: Script = Script {
    first: "Linux ",
    last: "verify: ",
    longest: Duration::from_secs(240),
};
const ACCEPTED: &str = "verify: all accepted";
const SETTING: Setting<'_> = Setting {
    pace: Pace::Fast,
    memory: "1G",
    command_line: "",
};

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
            Some(series) => (series, in_guest(series, &program, &mut apt)?),
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

/// For `cargo xtask test`, which has set everything up, and built it with the labs: to build it alone would choose other features, and build
/// all that it depends on once more. The same, and whether the programs have grown.
pub fn running_kernel() -> Result<()> {
    process::run(Command::new(workspace::built_example("bench")).args(["counts", "--check"]))
}

fn build() -> Result<PathBuf> {
    workspace::example("verify")
}

fn on_this_host(program: &Path) -> Result<()> {
    process::run(&mut Command::new(program))
}

fn in_guest(series: &str, program: &Path, apt: &mut Apt) -> Result<bool> {
    let kernel = kernel::get(series, apt)?;
    let initramfs = initramfs::of(Contents {
        init: program,
        programs: Vec::new(),
        files: Vec::new(),
    })?;
    let last = machine::boot(&kernel.image, &initramfs, &SETTING, &SCRIPT, |line| {
        say::line(line);
        Ok(())
    })?;
    Ok(last == ACCEPTED)
}
