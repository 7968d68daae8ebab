//! The CPUs of this host: those that run now, and those that the kernel has made room for.

use std::fs;

use anyhow::{Context as _, Result, anyhow};
use aya::util::nr_cpus;

/// Documentation/admin-guide/cputopology.rst: ranges and numbers, as in "0-3,8".
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// How many numbers of CPUs there are up to the highest of a CPU that runs now.
///
/// # Errors
/// When the kernel does not say.
pub fn online() -> Result<usize> {
    let list = fs::read_to_string(ONLINE).with_context(|| format!("read {ONLINE}"))?;
    let highest =
        highest(&list).with_context(|| format!("{ONLINE}: {:?} is no list of CPUs", list.trim()))?;
    Ok(usize::from(highest) + 1)
}

/// How many CPUs the kernel may ever run on: as many values has an entry of a per-CPU map.
///
/// # Errors
/// When the kernel does not say.
pub fn possible() -> Result<u32> {
    let cpus = nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
    u32::try_from(cpus).context("count the CPUs")
}

fn highest(list: &str) -> Option<u16> {
    let numbers = list.trim().split([',', '-']).map(str::parse);
    numbers.collect::<Result<Vec<u16>, _>>().ok()?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_cpu_counts_however_many_are_off() {
        let lists = ["0\n", "0-3\n", "0-3,8\n", "0,2-11\n", "1"];
        assert_eq!(lists.map(highest), [Some(0), Some(3), Some(8), Some(11), Some(1)]);
        assert_eq!(["", "\n", "all", "0-", "0-x"].map(highest), [None; 5]);
    }

    #[test]
    fn this_host_runs_on_cpus_that_are_possible() {
        let online = online().unwrap();
        assert!(online >= 1 && online <= possible().unwrap() as usize);
    }
}
