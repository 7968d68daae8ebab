//! What is counted.

use std::env::consts::ARCH;

use anyhow::{Context as _, Result};

use super::variant::{Cost, Variant};
use crate::host;

/// One count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// `xlb/helper-calls`.
    pub name: String,
    pub unit: &'static str,
    pub count: u64,
    pub by: By,
}

/// What a count depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The program as it is built.
    Compiler,
    /// The kernel that has taken it, too.
    Kernel,
}

/// Where counts are from.
pub struct Origin {
    /// The version of rustc that has built the programs.
    pub compiler: String,
    /// `6.18 x86_64`: within a series of stable releases, the verifier counts alike.
    pub kernel: String,
}

impl Origin {
    pub fn here() -> Result<Self> {
        let release = host::kernel()?;
        Ok(Self {
            compiler: compiler(xlb::datapath::load::OBJECT)
                .context("the BPF object does not say which rustc has built it")?,
            kernel: format!("{} {ARCH}", series(&release)),
        })
    }
}

/// `6.18` of `6.18.44-generic`.
fn series(release: &str) -> String {
    let numbers: Vec<&str> = release.split('.').take(2).collect();
    numbers.join(".")
}

/// Debug information names the producer: `clang LLVM (rustc version 1.96.0 (…))`.
fn compiler(object: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b"rustc version ";
    let at = object.windows(BEFORE.len()).position(|window| window == BEFORE)?;
    let version = object[at + BEFORE.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    String::from_utf8(version.copied().collect()).ok()
}

/// What the kernel says of a variant.
pub fn of_kernel(cost: &Cost) -> [Number; 4] {
    let of = |what: &str, unit, count: u32| Number {
        name: format!("{}/{what}", name(cost.variant)),
        unit,
        count: count.into(),
        by: By::Kernel,
    };
    [
        of("verified", "insns", cost.verified),
        of("translated", "insns", cost.instructions),
        of("machine-code", "bytes", cost.machine_code),
        of("stack", "bytes", cost.stack.bytes),
    ]
}

/// `xlb+checksums+logs`.
fn name(variant: Variant) -> String {
    let (checksums, logs) = match variant {
        Variant::Balancer {
            log_packets,
            partial_checksums,
            ..
        } => (partial_checksums, log_packets),
        Variant::Probe { log_packets } => (false, log_packets),
        Variant::Decap { .. } => (false, false),
    };
    let checksums = if checksums { "+checksums" } else { "" };
    let logs = if logs { "+logs" } else { "" };
    format!("{}{checksums}{logs}", variant.program())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_the_first_two_numbers() {
        assert_eq!(series("6.18.44-fc"), "6.18");
        assert_eq!(series("6.1.0-56-cloud-amd64"), "6.1");
    }

    #[test]
    fn the_compiler_is_named_in_the_object() {
        let object = b"\x7fELF\0clang LLVM (rustc version 1.96.0 (ac68faa20 2026-05-25))\0";
        assert_eq!(compiler(object).as_deref(), Some("1.96.0"));
        let nightly = b"(rustc version 1.97.0-nightly (abc 2026-05-19))";
        assert_eq!(compiler(nightly).as_deref(), Some("1.97.0-nightly"));
        assert_eq!(compiler(b"clang version 19"), None);
    }

    #[test]
    fn no_two_variants_have_a_name() {
        let mut names: Vec<String> = Variant::ALL.iter().map(|variant| name(*variant)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Variant::ALL.len());
    }
}
