//! `cargo xtask setup`: what building and testing need, installed where the machine offers it.
//!
//! Each step first proves that there is something to do, so that on a machine that has everything this takes a moment and
//! changes nothing. `apt` installs Debian's packages, `route` chooses how the BPF program is built, `probe` finds the facts
//! for that choice, `toolchain` carries it out, `lab` is what the tests and the demo need, `guest` what other kernels need.

mod apt;
mod guest;
mod lab;
mod probe;
mod route;
mod toolchain;

use anyhow::Result;

use crate::{process, say};

pub use apt::Apt;

const STAGE: &str = "setup";

/// What building needs.
pub fn for_build() -> Result<()> {
    let mut apt = Apt::new();
    compiler_driver(&mut apt)?;
    toolchain::ready(&mut apt)
}

/// What building, the tests and the demo need.
pub fn for_lab() -> Result<()> {
    let mut apt = Apt::new();
    lab::may_run()?;
    compiler_driver(&mut apt)?;
    lab::programs(&mut apt)?;
    lab::bpffs()?;
    toolchain::ready(&mut apt)
}

/// What [`for_lab`] gives, and what xlb is compared with and measured with.
pub fn for_comparing() -> Result<()> {
    lab::may_run()?;
    lab::compared_programs(&mut Apt::new())?;
    for_lab()
}

/// What building and loading the programs needs, and with `guests` what boots other kernels.
pub fn for_verify(guests: bool) -> Result<Apt> {
    let mut apt = Apt::new();
    lab::may_run()?;
    if guests {
        guest::programs(&mut apt)?;
    }
    compiler_driver(&mut apt)?;
    toolchain::ready(&mut apt)?;
    Ok(apt)
}

/// Packages that [`for_guest_bench`] would have to install.
pub fn missing_for_guest_bench() -> Vec<&'static str> {
    guest::missing_for_bench()
}

/// What building needs, and what boots a guest with IPVS.
pub fn for_guest_bench() -> Result<Apt> {
    let mut apt = Apt::new();
    guest::for_bench(&mut apt)?;
    compiler_driver(&mut apt)?;
    toolchain::ready(&mut apt)?;
    Ok(apt)
}

/// Everything. Without root, what can be had without root, and then an error that says what is missing.
pub fn everything() -> Result<()> {
    if lab::is_root() {
        return for_lab();
    }
    for_build()?;
    for_lab()
}

/// Rust links with `cc`.
fn compiler_driver(apt: &mut Apt) -> Result<()> {
    if !process::installed("cc") {
        apt.install("C compiler", &["gcc", "libc6-dev"])?;
    }
    say::step(STAGE, "C compiler", "ok");
    Ok(())
}
