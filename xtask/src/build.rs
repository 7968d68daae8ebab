//! `cargo xtask build`: the agent, which carries the BPF program.

use std::path::PathBuf;

use anyhow::Result;

use crate::{process, workspace};

/// Builds `xlb`; returns where it is.
pub fn run() -> Result<PathBuf> {
    process::run(&mut workspace::cargo(&[
        "build",
        "--release",
        "--package",
        "lb-userspace",
    ]))?;
    Ok(workspace::binary("xlb"))
}
