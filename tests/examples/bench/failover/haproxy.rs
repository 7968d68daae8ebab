//! HAProxy as a TCP proxy with the same checks: every 100 ms, two failures count.

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};
use xlb_tests::{Host, Lab, process::Process};

use super::served::{CHECKED_PORT, PORT};

const PATIENCE: Duration = Duration::from_secs(10);

/// Starts it on the balancer's host, which gets the address that it listens on; it ends with the value.
pub fn start(lab: &Lab, vip: SocketAddr) -> Result<Process> {
    let address = format!("{}/32", vip.ip());
    lab.lb.ns.ip(&["addr", "add", &address, "dev", "lo"])?;
    let file = lab.lb.dir.join("haproxy.cfg");
    fs::write(&file, config(vip, &lab.backends)).with_context(|| format!("write {}", file.display()))?;
    let mut command = lab.lb.ns.command("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    let mut haproxy = Process::spawn("haproxy", command, &lab.lb.dir.join("haproxy.log"))?;
    lab.lb
        .ns
        .run(|| haproxy.wait_ready(PATIENCE, || TcpStream::connect(vip).is_ok()))??;
    Ok(haproxy)
}

/// With redispatch, so that an attempt that fails is not made again at the dead backend.
fn config(vip: SocketAddr, backends: &[Host]) -> String {
    let mut config = format!(
        "defaults\n  mode tcp\n  option redispatch 1\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n  \
         timeout check 100ms\nlisten web\n  bind {vip}\n  balance roundrobin\n  \
         default-server check port {CHECKED_PORT} inter 100ms fall 2 rise 2\n"
    );
    for host in backends {
        // A String takes everything.
        let _ = writeln!(config, "  server {} {}:{PORT}", host.name, host.addr);
    }
    config
}
