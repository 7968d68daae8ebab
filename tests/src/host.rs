//! One host of the lab: a namespace with an interface `eth0` and an address. What it can serve is in
//! [`crate::server`], what it can ask for in [`crate::client`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::Result;

use crate::lab::address::Mac;
use crate::netns::Netns;

/// A namespace with an address.
#[derive(Clone, Debug)]
pub struct Host {
    /// `client`, `c2`, `lb`, `b1` and so on.
    pub name: String,
    /// Its namespace.
    pub ns: Netns,
    /// Its IPv4 address.
    pub addr: Ipv4Addr,
    /// Its IPv6 address, in a lab that has IPv6.
    pub addr6: Ipv6Addr,
    /// The MAC address of its `eth0`.
    pub mac: Mac,
    /// Its directory, removed with the lab.
    pub dir: PathBuf,
}

impl Host {
    /// The host as a backend, in the configuration behind its service.
    #[must_use]
    pub fn as_backend(&self) -> String {
        format!(
            "[[service.backend]]\nname = \"{}\"\naddress = \"{}\"\n",
            self.name, self.addr
        )
    }

    /// Sends `count` echo requests, 10 ms apart; how many were answered.
    pub fn ping(&self, to: IpAddr, count: u32) -> Result<u32> {
        let mut ping = self.ns.command("ping");
        let output = ping
            .args([
                "-n",
                "-i",
                "0.01",
                "-W",
                "1",
                "-c",
                &count.to_string(),
                &to.to_string(),
            ])
            .env("LC_ALL", "C")
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let received = text
            .split(", ")
            .find_map(|part| part.strip_suffix(" received")?.parse().ok());
        received
            .ok_or_else(|| anyhow::anyhow!("ping: {text}{}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Gives `eth0` another MAC address and tells nobody.
    pub fn set_mac(&self, mac: Mac) -> Result<()> {
        self.ns
            .ip(&["link", "set", "eth0", "address", &mac.to_string()])
            .map(drop)
    }
}
