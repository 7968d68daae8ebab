//! Gets the toolchain that builds the BPF program, by the route that `route` chooses.

use std::{env, fs, process::Command};

use anyhow::{Context, Result, bail, ensure};

use super::{
    STAGE,
    apt::{Apt, install_command},
    probe,
    route::{Facts, Plan, Route, plan},
};
use crate::{
    process::{self, quietly},
    say, workspace,
};

/// rustup's name for Debian's Rust.
pub const DEBIAN: &str = "debian-web";
pub const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

const WHAT: &str = "bpf toolchain";
const LINKER: &str = "bpf-linker";
const LINKER_VERSION: &str = "0.13.0";
const PACKAGES: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
];

/// Finds or installs a toolchain, and notes its name for lb-userspace's build script.
pub fn ready(apt: &mut Apt) -> Result<()> {
    if let Ok(name) = env::var("XLB_BPF_TOOLCHAIN") {
        say::step(STAGE, WHAT, format_args!("{name} (as XLB_BPF_TOOLCHAIN says)"));
        return Ok(());
    }
    let route = match choose(apt) {
        (Plan::Use(route), _) => route,
        (Plan::Install(route), facts) => install(route, &facts, apt)?,
        (Plan::TellUser, _) => bail!("no way to build the BPF program. {}", what_to_install()),
    };
    write_choice(name(route))?;
    say::step(STAGE, WHAT, format_args!("ok ({})", name(route)));
    Ok(())
}

fn choose(apt: &mut Apt) -> (Plan, Facts) {
    let facts = probe::facts();
    (plan(&facts, || apt.offers(PACKAGES)), facts)
}

fn install(route: Route, facts: &Facts, apt: &mut Apt) -> Result<Route> {
    match route {
        Route::Debian => install_debian(facts, apt)?,
        Route::Nightly => install_nightly(facts).with_context(what_to_install)?,
    }
    let found = probe::facts();
    ensure!(
        found.complete(route),
        "installed, but it does not work: {found:?}. {}",
        what_to_install()
    );
    Ok(route)
}

fn install_debian(facts: &Facts, apt: &mut Apt) -> Result<()> {
    if facts.debian_packages_missing() {
        apt.install(WHAT, PACKAGES)?;
    }
    if !facts.debian_linked {
        quietly(
            STAGE,
            WHAT,
            Command::new("rustup").args(["toolchain", "link", DEBIAN, "/usr"]),
        )?;
    }
    if !probe::facts().linker_fits(Route::Debian) {
        say::step(STAGE, LINKER, "building (one to two minutes)");
        let mut build = install_linker();
        build
            .args(["--no-default-features", "--features", "llvm-22"])
            .env("LLVM_PREFIX", LLVM_PREFIX)
            .env("LLVM_SYS_221_PREFIX", LLVM_PREFIX)
            .env("RUSTFLAGS", format!("-L native={LLVM_PREFIX}/lib"));
        quietly(STAGE, LINKER, &mut build)?;
        say::step(STAGE, LINKER, "ok");
    }
    Ok(())
}

fn install_nightly(facts: &Facts) -> Result<()> {
    if facts.nightly.is_none() || !facts.rust_src {
        say::step(STAGE, WHAT, "installing rustup's nightly with rust-src");
        let mut rustup = Command::new("rustup");
        rustup.args([
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "--component",
            "rust-src",
        ]);
        quietly(STAGE, WHAT, rustup.arg("--no-self-update"))?;
    }
    if !probe::facts().linker_fits(Route::Nightly) {
        say::step(
            STAGE,
            LINKER,
            "building (one to two minutes; needs LLVM's libraries)",
        );
        quietly(STAGE, LINKER, &mut install_linker())?;
        say::step(STAGE, LINKER, "ok");
    }
    Ok(())
}

/// Replaces one that does not fit.
fn install_linker() -> Command {
    let mut command = workspace::cargo(&[
        "install",
        LINKER,
        "--version",
        LINKER_VERSION,
        "--locked",
        "--force",
    ]);
    // Its objects are of no use to this workspace.
    command.env_remove("CARGO_TARGET_DIR");
    command
}

/// The file is touched only when the choice changes: the build script runs again when it is.
fn write_choice(name: &str) -> Result<()> {
    let path = workspace::bpf_toolchain_file();
    let line = format!("{name}\n");
    if fs::read_to_string(&path).is_ok_and(|old| old == line) {
        return Ok(());
    }
    fs::create_dir_all(workspace::root().join("target"))
        .and_then(|()| fs::write(&path, line))
        .with_context(|| format!("write {}", path.display()))
}

fn name(route: Route) -> &'static str {
    match route {
        Route::Debian => DEBIAN,
        Route::Nightly => "nightly",
    }
}

fn what_to_install() -> String {
    let rustup = if process::installed("rustup") {
        ""
    } else {
        "rustup (https://rustup.rs), and then "
    };
    format!(
        "Install {rustup}one of these, then run `cargo xtask setup` again:
  with rustup's nightly: `rustup toolchain install nightly --component rust-src`, and a bpf-linker {LINKER_VERSION} or later
    in PATH whose LLVM is at least nightly's (https://github.com/aya-rs/bpf-linker/releases);
  with Debian's packages, as root: `{}`",
        install_command(PACKAGES)
    )
}
