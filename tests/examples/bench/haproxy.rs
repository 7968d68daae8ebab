//! HAProxy as a TCP proxy, the way one would set it up: a thread for each CPU, in turns, with checks.

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};
use xlb_tests::{Host, Lab, preflight, process::Process};

const PATIENCE: Duration = Duration::from_secs(10);
const DEFAULTS: &str =
    "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n";

/// How it checks its servers.
#[derive(Clone, Copy)]
pub enum Checks {
    /// As it does where nothing is said: a connection every two seconds.
    Usual,
    /// A connection to this port every 100 ms, of which two that fail count.
    Quick { port: u16 },
}

/// Whether it is installed.
pub fn ready() -> Result<()> {
    preflight::tools(&[("haproxy", "haproxy")])
}

/// Starts it on the balancer's host, which gets the address that it listens on; it ends with the value. Servers listen on the same port.
pub fn start(lab: &Lab, vip: SocketAddr, checks: Checks) -> Result<Process> {
    let address = format!("{}/32", vip.ip());
    lab.lb.ns.ip(&["addr", "add", &address, "dev", "lo"])?;
    let file = lab.lb.dir.join("haproxy.cfg");
    fs::write(&file, config(vip, checks, &lab.backends))
        .with_context(|| format!("write {}", file.display()))?;
    let mut command = lab.lb.ns.command("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    let mut haproxy = Process::spawn("haproxy", command, &lab.lb.dir.join("haproxy.log"))?;
    lab.lb
        .ns
        .run(|| haproxy.wait_ready(PATIENCE, || TcpStream::connect(vip).is_ok()))??;
    Ok(haproxy)
}

fn config(vip: SocketAddr, checks: Checks, backends: &[Host]) -> String {
    let (defaults, each) = match checks {
        Checks::Usual => ("", String::new()),
        // With redispatch, so that an attempt that fails is not made again at the dead backend.
        Checks::Quick { port } => (
            "  option redispatch 1\n  timeout check 100ms\n",
            format!(" port {port} inter 100ms fall 2 rise 2"),
        ),
    };
    let mut config = format!("{DEFAULTS}{defaults}listen web\n  bind {vip}\n  balance roundrobin\n");
    for host in backends {
        let server = SocketAddr::new(host.addr.into(), vip.port());
        // A String takes everything.
        let _ = writeln!(config, "  server {} {server} check{each}", host.name);
    }
    config
}
