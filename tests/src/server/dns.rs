//! dnsmasq with one long text, and one address.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::Result;

use crate::host::Host;
use crate::process::Process;

const PATIENCE: Duration = Duration::from_secs(10);
/// Longest string of a TXT record (RFC 1035 §3.3).
const STRING: usize = 255;

/// A running DNS server.
#[derive(Debug)]
pub struct Dns {
    _process: Process,
    text: String,
}

impl Dns {
    /// The name that has the text.
    pub const NAME: &str = "long.test";
    /// A name that has an address.
    pub const SITE: &str = "site.test";
    /// Its address.
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);

    pub(super) fn start(host: &Host, bytes: usize) -> Result<Self> {
        let text: String = ('a'..='z').cycle().take(bytes).collect();
        let strings: Vec<&str> = (0..bytes)
            .step_by(STRING)
            .map(|at| &text[at..bytes.min(at + STRING)])
            .collect();
        let mut command = host.ns.command("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--log-facility=-",
            "--conf-file=/dev/null",
            "--pid-file",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--edns-packet-max=8192",
        ]);
        command.arg(format!("--txt-record={},{}", Self::NAME, strings.join(",")));
        command.arg(format!("--host-record={},{}", Self::SITE, Self::ADDRESS));
        let log = host.dir.join("dnsmasq.log");
        let mut process = Process::spawn(&format!("dnsmasq on {}", host.name), command, &log)?;
        // It is there once nobody else can be.
        let taken = || UdpSocket::bind("127.0.0.1:53").is_err();
        host.ns.run(|| process.wait_ready(PATIENCE, taken))??;
        Ok(Self {
            _process: process,
            text,
        })
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }
}
