//! `cargo xtask check`: formatting, lints, documentation.

use std::{process::Command, time::Instant};

use anyhow::Result;

use crate::{
    process, say,
    workspace::{self, cargo},
};

/// What lb-userspace's build script takes as a wish for no BPF program.
pub const NO_PROGRAM: (&str, &str) = ("AYA_BUILD_SKIP", "1");

pub fn run() -> Result<()> {
    stage("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    stage(
        "lint of what is shared",
        &mut clippy(&workspace::COMMON, &["--all-targets"]),
    )?;
    stage(
        "lint",
        &mut clippy(
            &["lb-userspace", "xtask", "xlb-tests", "xlb-fuzz", "xlb-blockstore"],
            &["--all-targets"],
        ),
    )?;
    // With the features that it asks for itself, as it is shipped. For this and for documentation no program is built.
    stage(
        "lint of the agent alone",
        clippy(&["lb-userspace"], &[]).env(NO_PROGRAM.0, NO_PROGRAM.1),
    )?;
    // By itself: built together with the agent it would get the agent's features of the crates they share. For this host, as
    // far as the lints go: without a standard library nothing can unwind. And in a place of its own, as build scripts of crates that
    // all share run again when that variable changes, and the labs would be built anew.
    stage(
        "lint of the BPF programs",
        clippy(&["lb-ebpf"], &["--config", "profile.release.panic=\"abort\""])
            .env("RUSTC_BOOTSTRAP", "aya_ebpf,lb_ebpf,xlb_xdp,xlb_decap")
            .env("CARGO_TARGET_DIR", workspace::target_dir().join("bpf-lint")),
    )?;
    // For those who work on it: nobody else uses these crates.
    let mut doc = cargo(&[
        "doc",
        "--release",
        "--no-deps",
        "--document-private-items",
        "--package",
        "lb-common",
        "--package",
        "lb-userspace",
    ]);
    doc.env("RUSTDOCFLAGS", "-D warnings")
        .env(NO_PROGRAM.0, NO_PROGRAM.1);
    stage("documentation", &mut doc)
}

fn clippy(packages: &[&str], options: &[&str]) -> Command {
    let mut command = cargo(&["clippy", "--release"]);
    for package in packages {
        command.args(["--package", package]);
    }
    command.args(options).args(["--", "-D", "warnings"]);
    command
}

fn stage(name: &str, command: &mut Command) -> Result<()> {
    let start = Instant::now();
    process::run(command)?;
    say::step(
        "check",
        name,
        format_args!("ok ({})", say::seconds(start.elapsed())),
    );
    Ok(())
}
