//! What one would use without a balancer of its own: the kernel's DNAT to a backend that a hash of the client chooses.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use xlb_tests::{netns::Netns, preflight};

/// Where one says how many connections the kernel remembers.
pub const CONNECTIONS: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// Whether it is installed.
pub fn ready() -> Result<()> {
    preflight::tools(&[("nft", "nftables")])
}

/// Spreads what comes to `vip` over the same port of these addresses, which are of the same family.
pub fn balance(ns: &Netns, vip: SocketAddr, backends: &[IpAddr]) -> Result<()> {
    let family = if vip.is_ipv4() { "ip" } else { "ip6" };
    let members: Vec<String> = backends
        .iter()
        .enumerate()
        .map(|(at, backend)| format!("{at} : {backend}"))
        .collect();
    let rules = format!(
        "table {family} balancer {{
  chain arriving {{
    type nat hook prerouting priority dstnat
    {family} daddr {} tcp dport {} dnat to jhash {family} saddr . tcp sport mod {} map {{ {} }}
  }}
}}
",
        vip.ip(),
        vip.port(),
        backends.len(),
        members.join(", ")
    );
    let mut nft = ns.command("nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = nft.spawn().context("start nft")?;
    // Taken, so that nft sees the end of it.
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(rules.as_bytes()).context("give nft its rules")?;
    }
    let output = child.wait_with_output().context("wait for nft")?;
    ensure!(
        output.status.success(),
        "nft -f -:\n{rules}{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// How many connections the kernel remembers for each namespace, once it remembers any.
pub fn most_connections() -> Result<u32> {
    let most = fs::read_to_string(CONNECTIONS).with_context(|| format!("read {CONNECTIONS}"))?;
    most.trim()
        .parse()
        .with_context(|| format!("{CONNECTIONS} is {most}"))
}
