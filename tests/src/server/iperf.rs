//! iperf3's server.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::host::Host;
use crate::process::Process;

const PATIENCE: Duration = Duration::from_secs(10);

/// A running server, for one test at a time.
#[derive(Debug)]
pub struct Iperf(#[expect(dead_code, reason = "held for its drop")] Process);

impl Iperf {
    pub(super) fn start(host: &Host, addr: SocketAddr) -> Result<Self> {
        let mut command = host.ns.command("iperf3");
        let (ip, port) = (addr.ip().to_string(), addr.port().to_string());
        command.args(["-s", "--forceflush", "-B", &ip, "-p", &port]);
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let log = host.dir.join(format!("iperf3-{n}.log"));
        let mut process = Process::spawn(&format!("iperf3 on {}", host.name), command, &log)?;
        let listens = || fs::read_to_string(&log).is_ok_and(|log| log.contains("Server listening"));
        process.wait_ready(PATIENCE, listens)?;
        Ok(Self(process))
    }
}
