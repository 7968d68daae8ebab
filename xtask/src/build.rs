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

/// Builds `xlb` together with the labs that test it, once for both: the crates that they share have all features that either asks for.
/// That the agent needs none of the labs' is for [`crate::check`] to find out.
pub fn with_labs() -> Result<PathBuf> {
    process::run(&mut workspace::cargo(&[
        "build",
        "--release",
        "--package",
        "lb-userspace",
        "--package",
        "xlb-tests",
        "--bin",
        "xlb",
        "--example",
        "*",
        "--test",
        "*",
    ]))?;
    Ok(workspace::binary("xlb"))
}
