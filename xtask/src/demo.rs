//! `cargo xtask demo`.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{build, process, setup, workspace};

pub fn run(args: &[String]) -> Result<()> {
    setup::for_lab()?;
    let xlb = build::run()?;
    process::run(&mut workspace::cargo(&[
        "build",
        "--release",
        "--package",
        "xlb-tests",
        "--bin",
        "demo",
    ]))?;
    let demo = workspace::binary("demo");
    // The demo takes xtask's place, so that Ctrl-C reaches the one process that must tidy up.
    let error = Command::new(&demo)
        .args(args)
        .env("XLB_BIN", xlb)
        .env("PATH", process::search_path())
        .exec();
    Err(error).with_context(|| format!("run {}", demo.display()))
}
