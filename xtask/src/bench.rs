//! `cargo xtask bench`: what a packet costs, in nanoseconds, on the kernel that runs.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{process, setup, workspace};

/// Measures, and writes the results to `json` as well if that is named.
pub fn run(json: Option<&Path>) -> Result<()> {
    setup::for_verify(false)?;
    let mut bench = Command::new(workspace::example("bench")?);
    if let Some(file) = json {
        bench.arg("--json").arg(file);
    }
    process::run(&mut bench)
}
