//! iperf3's client.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::host::Host;

/// What a test has moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moved {
    /// That the receiver has got.
    pub bytes: u64,
    /// Datagrams lost, in per cent; 0 over TCP.
    pub lost_percent: f64,
}

impl Host {
    /// Runs iperf3 against a server, with more arguments, such as `-R` for data from there, or `-u` for UDP.
    pub fn iperf(&self, to: SocketAddr, args: &[&str]) -> Result<Moved> {
        // It takes no limit of its own when nothing arrives.
        let mut command = self.ns.command("timeout");
        let (ip, port) = (to.ip().to_string(), to.port().to_string());
        command.args([
            "20",
            "iperf3",
            "-J",
            "--connect-timeout",
            "3000",
            "-c",
            &ip,
            "-p",
            &port,
        ]);
        let output = command.args(args).output().context("start iperf3")?;
        let printed: Value = serde_json::from_slice(&output.stdout).with_context(|| {
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            format!(
                "what iperf3 printed: {printed}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })?;
        if let Some(error) = printed["error"].as_str() {
            bail!("iperf3 on {} to {to}: {error}", self.name);
        }
        let end = &printed["end"];
        // Of UDP the sum is the receiver's count; of TCP it has a name of its own.
        let received = if end["sum_received"]["bytes"].is_u64() {
            &end["sum_received"]
        } else {
            &end["sum"]
        };
        Ok(Moved {
            bytes: received["bytes"].as_u64().context("iperf3 counted no bytes")?,
            lost_percent: end["sum"]["lost_percent"].as_f64().unwrap_or_default(),
        })
    }
}
