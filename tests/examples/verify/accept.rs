//! Does the kernel that runs take every variant?

use anyhow::Result;
use xlb::datapath::load::Refused;

use super::{
    host, stack,
    variant::{Cost, Variant},
};

/// Lines of the verifier's log that are shown of a program that is refused: the end says why.
const LAST_LINES: usize = 25;

/// Loads all, also when one is refused, and says what each costs; gives the costs of those that are taken, and whether they are all.
pub fn all() -> Result<(Vec<Cost>, bool)> {
    let kernel = host::kernel()?;
    println!("Linux {kernel}");
    let step = stack::step(&kernel, has_jit());
    println!("{}", Cost::HEADINGS);
    let mut costs = Vec::new();
    for variant in Variant::ALL {
        match variant.cost(step) {
            Ok(cost) => {
                println!("{cost}");
                costs.push(cost);
            }
            Err(error) => {
                println!("  {:<54} REFUSED: {error:#}", variant.to_string());
                if let Some(refused) = error.downcast_ref::<Refused>() {
                    show_end(&refused.verifier_log);
                }
            }
        }
    }
    let accepted = costs.len() == Variant::ALL.len();
    Ok((costs, accepted))
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
