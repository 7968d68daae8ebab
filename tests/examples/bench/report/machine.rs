//! What figures depend on.

use std::fs;

use anyhow::{Context as _, Result};

use crate::host;

/// `Intel(R) Xeon(R) …, 2 CPUs, Linux 6.12.0`.
pub fn describe() -> Result<String> {
    let processors = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    Ok(format!(
        "{}, {} CPUs, Linux {}",
        model(&processors),
        cpus(&processors),
        host::kernel()?
    ))
}

/// The first processor's name in `/proc/cpuinfo`, which not every architecture has there.
fn model(processors: &str) -> &str {
    processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim())
}

/// All of them, whatever this process may use.
fn cpus(processors: &str) -> usize {
    processors
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_the_first_processor_s() {
        assert_eq!(
            model("processor\t: 0\nmodel name\t: Fast 9\nmodel name\t: Slow 1\n"),
            "Fast 9"
        );
        assert_eq!(model("processor\t: 0\n"), "unknown processor");
        assert_eq!(cpus("processor\t: 0\nmodel name\t: A\n\nprocessor\t: 1\n"), 2);
    }
}
