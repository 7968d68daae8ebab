//! HAProxy as a TCP proxy, the way one would set it up: a thread for each CPU, in turns, with checks.

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};
use xlb_tests::{Host, Lab, process::Process};

const PATIENCE: Duration = Duration::from_secs(10);

/// Starts it on the balancer's host, which gets the address that it listens on; it ends with the value.
pub fn start(lab: &Lab, vip: SocketAddr) -> Result<Process> {
    lab.lb
        .ns
        .ip(&["addr", "add", &format!("{}/32", vip.ip()), "dev", "lo"])?;
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

fn config(vip: SocketAddr, backends: &[Host]) -> String {
    let mut config = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\nlisten web\n  bind {vip}\n  balance roundrobin\n"
    );
    for host in backends {
        // A String takes everything.
        let _ = writeln!(
            config,
            "  server {} {}:{} check",
            host.name,
            host.addr,
            vip.port()
        );
    }
    config
}
