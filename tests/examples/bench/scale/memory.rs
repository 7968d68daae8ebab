//! Memory of maps, and whether there is enough of it.

use std::fs;

use anyhow::{Context as _, Result};

use super::curve::Point;
use crate::balancer::Balancer;

const MIB: f64 = 1024.0 * 1024.0;
/// Bytes of a translated flow, generously: its entries in both tables, and its share of their buckets.
const OF_FLOW: u64 = 600;
const OF_WRITTEN: u64 = 16;
/// What everything else may need.
const REST: u64 = 512 << 20;

/// MiB of all maps, slot tables included.
#[expect(clippy::cast_precision_loss, reason = "a figure that is rounded anyway")]
pub fn of(balancer: &Balancer, services: u32) -> Result<f64> {
    let (maps, tables) = balancer.memory(services)?;
    let bytes = maps.iter().map(|usage| usage.bytes).sum::<u64>() + tables;
    Ok(bytes as f64 / MIB)
}

/// Why a point cannot be measured here, if so.
pub fn lack(point: &Point) -> Result<Option<String>> {
    let capacity = point.shape().capacity();
    let needed = u64::from(capacity.flows) * OF_FLOW + u64::from(capacity.written) * OF_WRITTEN + REST;
    let memory = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let free = available(&memory).context("/proc/meminfo has no MemAvailable")?;
    let lack = format!("it needs {} MiB of memory, {} are free", needed >> 20, free >> 20);
    Ok((needed > free).then_some(lack))
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_what_is_free() {
        let meminfo = "MemTotal:       100 kB\nMemFree:  1 kB\nMemAvailable:         42 kB\n";
        assert_eq!(available(meminfo), Some(42 << 10));
        assert_eq!(available("MemTotal: 100 kB\n"), None);
    }
}
