//! More backends than hosts: each host has many addresses, and each of them is a backend.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde_json::Value;
use xlb_tests::Host;

use crate::stage::{backend, backends};

/// Backends on each host.
pub const EACH: u8 = 50;
/// The last byte of the first one's address.
const FIRST: u8 = 40;

/// As many addresses more for the host at this place among the hosts, each as a backend.
pub fn crowd(host: &Host, at: u8) -> Result<String> {
    let addresses = (0..EACH).map(|i| Ipv4Addr::new(10, 20, 0, FIRST + at * EACH + i));
    let lines: Vec<_> = addresses
        .clone()
        .map(|address| format!("address add {address}/24 dev eth0"))
        .collect();
    host.ns.ip_batch(&lines)?;
    Ok(addresses
        .map(|address| backend(&format!("{}-{address}", host.name), address))
        .collect())
}

/// How many of these hosts' backends probes see so.
pub fn count(status: &Value, health: &str, hosts: &[&str]) -> usize {
    let of = |backend: &Value| {
        let name = backend["name"].as_str().unwrap_or_default();
        let host = name.split('-').next().unwrap_or_default();
        hosts.contains(&host)
    };
    backends(status)
        .filter(|(_, backend)| backend["health"] == health && of(backend))
        .count()
}
