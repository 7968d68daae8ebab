//! Questions to DNS servers.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};

use crate::host::Host;

impl Host {
    /// Asks a server for the text of a name by dig, over UDP alone, with room for an answer of 8192 bytes.
    pub fn dig(&self, server: IpAddr, name: &str, args: &[&str]) -> Result<String> {
        let mut command = self.ns.command("dig");
        command.args([
            "+notcp",
            "+ignore",
            "+bufsize=8192",
            "+tries=1",
            "+timeout=3",
            "+short",
        ]);
        command.args(args).arg(format!("@{server}")).args([name, "TXT"]);
        let output = command.output().context("start dig")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("dig on {} to {server}: {}", self.name, printed.trim());
        }
        // Strings in quotes.
        Ok(printed.trim().trim_matches('"').replace("\" \"", ""))
    }
}
