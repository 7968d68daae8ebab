//! Where things are, and how to run cargo here.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::process;

pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => env::current_dir().unwrap_or_default().join(dir),
        None => root().join("target"),
    }
}

/// A release binary that cargo has built.
pub fn binary(name: &str) -> PathBuf {
    target_dir().join("release").join(name)
}

/// What is tested and linted by itself: lb-userspace's build script has it too, and would get its tests' features of the crates that they
/// share. The agent and the BPF programs would be built once more.
pub const COMMON: [&str; 1] = ["lb-common"];

/// Builds one of the programs in `tests/examples`; returns where it is.
pub fn example(name: &str) -> Result<PathBuf> {
    process::run(&mut cargo(&[
        "build",
        "--release",
        "--package",
        "xlb-tests",
        "--example",
        name,
    ]))?;
    Ok(built_example(name))
}

/// Where such a program is, once it is built.
pub fn built_example(name: &str) -> PathBuf {
    binary("examples").join(name)
}

/// Names the toolchain that builds the BPF program: `setup` writes it, lb-userspace's build script reads it.
pub fn bpf_toolchain_file() -> PathBuf {
    root().join("target/bpf-toolchain")
}

/// `cargo ARGS` in the workspace's root.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(args)
        .current_dir(root())
        .env("PATH", process::search_path());
    if env::var_os("CARGO_TARGET_DIR").is_some() {
        // It may have been relative to another directory.
        command.env("CARGO_TARGET_DIR", target_dir());
    }
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(about_xtask) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether cargo set this variable to describe xtask: a build script that watches such a one would run again each time.
fn about_xtask(variable: &str) -> bool {
    [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
    ]
    .iter()
    .any(|prefix| variable.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_this_package() {
        assert!(root().join("xtask/Cargo.toml").is_file());
    }

    #[test]
    fn only_cargo_s_description_of_xtask_is_dropped() {
        assert!(about_xtask("CARGO_PKG_NAME"));
        assert!(about_xtask("CARGO_MANIFEST_DIR"));
        assert!(!about_xtask("CARGO_HOME"));
        assert!(!about_xtask("CARGO_TARGET_DIR"));
    }
}
