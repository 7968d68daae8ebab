//! Loads every variant of the XDP programs on the kernel that runs, and says what each costs there: what `cargo xtask verify`
//! runs, on this host and as the first and only process of guests with other kernels.
//!
//! Reading order: [`variant`] (what is loaded, as the agent loads it), [`statistics`] (what the verifier says of it), [`stack`] (what
//! that means together), [`host`] (the file systems that it takes).
#![expect(clippy::print_stdout, reason = "a command-line tool")]

mod host;
mod stack;
mod statistics;
mod variant;

use std::process::ExitCode;

use anyhow::Result;
use xlb::datapath::load::Refused;

use crate::variant::{Cost, Variant};

/// Lines of the verifier's log that are shown of a program that is refused: the end says why.
const LAST_LINES: usize = 25;

fn main() -> ExitCode {
    env_logger::init();
    let accepted = run().unwrap_or_else(|error| {
        println!("{error:#}");
        false
    });
    // A guest's console has no exit code.
    println!("verify: {}", if accepted { "all accepted" } else { "FAILED" });
    ExitCode::from(u8::from(!accepted))
}

/// Whether the kernel takes every variant.
fn run() -> Result<bool> {
    host::prepare()?;
    let kernel = host::kernel()?;
    println!("Linux {kernel}");
    let step = stack::step(&kernel, has_jit());
    println!("{}", Cost::HEADINGS);
    let mut accepted = true;
    for variant in Variant::ALL {
        match variant.cost(step) {
            Ok(cost) => println!("{cost}"),
            Err(error) => {
                accepted = false;
                println!("  {:<54} REFUSED: {error:#}", variant.to_string());
                if let Some(refused) = error.downcast_ref::<Refused>() {
                    show_end(&refused.verifier_log);
                }
            }
        }
    }
    Ok(accepted)
}

/// Whether programs run as machine code, which is the usual way.
fn has_jit() -> bool {
    let enabled = std::fs::read_to_string("/proc/sys/net/core/bpf_jit_enable");
    enabled.map_or(true, |enabled| enabled.trim() != "0")
}

fn show_end(log: &str) {
    let lines: Vec<&str> = log.trim_end().lines().collect();
    for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
        println!("    {line}");
    }
}
