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

/// Builds `xlb` together with what tests it, once for both: the crates that they share have all features that either asks for. That
/// the agent needs none of the tests' is found out by building its documentation without them ([`crate::check`]).
pub fn with_tests() -> Result<PathBuf> {
    let mut command = workspace::cargo(&["build", "--release", "--package", "lb-userspace"]);
    for package in workspace::TESTED_TOGETHER {
        command.args(["--package", package]);
    }
    process::run(command.args(["--bin", "xlb", "--example", "*", "--test", "*"]))?;
    Ok(workspace::binary("xlb"))
}
