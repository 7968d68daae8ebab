//! Virtual machines with Debian's kernels, for what the kernel that runs cannot show. They need no KVM.
//!
//! `kernel` finds Debian's kernels, `modules` puts what one takes in the order in which it loads, `initramfs` packs a program and
//! what that needs, `machine` boots both and follows the console.

pub mod initramfs;
pub mod kernel;
pub mod machine;
pub mod modules;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace;

const STAGE: &str = "guest";

/// Where kernels are kept from one run to the next.
fn directory() -> Result<PathBuf> {
    let directory = workspace::root().join("target/guest");
    std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    Ok(directory)
}
